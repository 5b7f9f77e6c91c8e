"""The calibration: from pixel summaries of dark and lit series to a ``CalibrationResult``.

Knows: which measurement needs which, and in what order. Must not know: files, cameras, reports.

Order: darks -> hot and telegraph pixels (left out of the fit) -> photon transfer -> thermal part
of the dark variance by its slope -> photon transfer once more -> maps, saturation, linearity.

Example
-------
>>> result = measure({10_000.0: dark}, [LitSeries(exposure_us=10_000, light=1.0, summary=s)],
...                  bit_depth=16)
>>> result.gain_e_per_adu.value, result.gain_e_per_adu.error
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
import numpy as np
import numpy.typing as npt

from livedenoise.calibrate import doubts, scalars, series_facts
from livedenoise.calibrate.bright_part import dose_levels
from livedenoise.calibrate.defects import dead_pixels
from livedenoise.calibrate.limits import limits_of
from livedenoise.calibrate.linearity import linearity
from livedenoise.calibrate.map_making import make_maps
from livedenoise.calibrate.results import (
    CalibrationResult,
    Defects,
    Known,
    Level,
    Linearity,
    SaturationKind,
    Value,
)
from livedenoise.calibrate.saturation import full_well, saturation
from livedenoise.calibrate.stages import (
    Darkness,
    LitSeries,
    Transfer,
    dark_stage,
    ordinary_pixels,
    transfer_stage,
    unsaturated,
)
from livedenoise.core.constants import CameraConstants
from livedenoise.core.errors import CalibrationError
from livedenoise.imaging.ptc_moments import PixelSummary

__all__ = ["LitSeries", "measure", "to_constants"]

LEAST_SIDE_PX = 16
UNSURE = ("assumed", "given", "measured, biased")
MOST_ZEROS = 0.01
"""Dark series with more samples at zero have lost part of their mean and variance: not used."""


def measure(
    darks: Mapping[float, PixelSummary],
    levels: Sequence[LitSeries],
    *,
    bit_depth: int,
    known: Known | None = None,
) -> CalibrationResult:
    """Calibrate a camera.

    Parameters
    ----------
    darks : mapping
        Exposure in microseconds -> summary of frames without light (``fourth=True`` for the
        telegraph test). May be empty: offset and read noise are then not told apart.
    levels : sequence of LitSeries
        Series of a scene that stands still, even light or structured; several light levels for
        linearity, saturation and maps. May be empty: then only counts are measured.
    bit_depth : int
        Valid bits.
    known : Known, optional
        What is known beforehand.

    Returns
    -------
    CalibrationResult
        Everything found, and why the rest was not.

    Raises
    ------
    CalibrationError
        If there is no series at all, shapes differ, or an exposure is not positive.
    """
    known = known or Known()
    _check(darks, levels)
    usable = {e: s for e, s in darks.items() if s.zero_fraction <= MOST_ZEROS}
    # Mean and variance of one exposure lie on the line together, dark current or not: a slope
    # through them is right, and takes the thermal noise out of the longer exposures.
    shortest = min(usable, default=0.0)
    darkness = dark_stage({e: s for e, s in usable.items() if e == shortest}, 0.0)
    if len(usable) > 1:
        darkness = dark_stage(usable, _first_slope(levels, darkness, known))
    transfer = transfer_stage(levels, darkness, known)
    taken = _Taken(darks=darks, levels=levels, bit_depth=bit_depth, known=known)
    return _assemble(taken, darkness, transfer)


def _first_slope(levels: Sequence[LitSeries], darkness: Darkness, known: Known) -> float:
    """Return the photon transfer slope, 0 where there is none; its blocks are not kept."""
    fit = transfer_stage(levels, darkness, known).fit
    return fit.slope_adu if fit is not None and fit.significant else 0.0


class _Taken(msgspec.Struct, frozen=True, kw_only=True):
    """What a calibration was given."""

    darks: Mapping[float, PixelSummary]
    levels: Sequence[LitSeries]
    bit_depth: int
    known: Known


def _check(darks: Mapping[float, PixelSummary], levels: Sequence[LitSeries]) -> None:
    series = [*darks.values(), *(x.summary for x in levels)]
    if not series:
        raise CalibrationError("no frames to calibrate from", "give dark frames, light, or both")
    shapes = {s.shape for s in series}
    if len(shapes) > 1:
        raise CalibrationError(
            f"series of different sizes cannot be calibrated together: {sorted(shapes)} (Y, X)",
            "take all of them with one region of interest and binning",
        )
    if min(min(shape) for shape in shapes) < LEAST_SIDE_PX:
        raise CalibrationError(
            f"frames of {shapes.pop()} (Y, X) are too small, {LEAST_SIDE_PX} px are needed"
        )
    exposures = [*darks, *(x.exposure_us for x in levels)]
    if min(exposures) < 0 or any(x.light is not None and x.light < 0 for x in levels):
        raise CalibrationError(f"exposures and light must be >= 0, got {sorted(exposures)}")


def _assemble(taken: _Taken, darkness: Darkness, transfer: Transfer) -> CalibrationResult:
    darks, levels, known = taken.darks, taken.levels, taken.known
    fit = transfer.fit
    series = [*darks.values(), *(x.summary for x in levels)]
    shape = series[0].shape
    usable = unsaturated(levels, transfer)
    # Saturated series have no noise to be correlated.
    noisy = [levels[i].summary for i in usable] or [x.summary for x in levels]
    correlation = series_facts.correlations(noisy or list(darks.values()))
    gain = doubts.doubted(
        transfer.gain,
        transfer.steady,
        correlation[2],
        worrying=series_facts.correlated(correlation[0], correlation[1]),
    )
    transfer = msgspec.structs.replace(transfer, gain=gain)
    offset, noise = _offset_and_noise(darkness, transfer, known)
    base = float(offset.value or 0.0) if gain.value is not None else 0.0
    defects = _with_dead(levels, usable, darkness, base, known)
    ordinary = ordinary_pixels(shape, defects)
    pixel_maps = make_maps(
        [levels[i] for i in usable],
        darkness,
        transfer,
        flat_field=known.flat_field,
        ordinary=ordinary,
        defects=defects,
    )
    top, kind = _saturation(transfer, taken.bit_depth, known)
    facts = _facts(darks, levels, usable, base)
    result = CalibrationResult(
        sensor=shape,
        bit_depth=taken.bit_depth,
        n_frames=sum(x.summary.n_frames for x in levels),
        n_dark_frames=sum(s.n_frames for s in darks.values()),
        model="gaussian" if fit is not None and not fit.significant else "poisson_gaussian",
        gain_e_per_adu=gain,
        offset_adu=offset,
        read_noise_e=doubts.as_the_gain(noise.rms, gain),
        read_noise_median_e=doubts.as_the_gain(noise.median, gain),
        excess_noise_factor=transfer.excess,
        dark_current_e_per_s=doubts.as_the_gain(
            scalars.dark_current(darkness.fit, gain, defects.hot_index), gain
        ),
        saturation_adu=top,
        saturation_kind=kind,
        full_well_e=doubts.as_the_gain(full_well(top, kind, offset, gain), gain),
        prnu_percent=scalars.gain_spread(pixel_maps.slopes, pixel_maps.response),
        dsnu_e=doubts.as_the_gain(scalars.offset_spread(darkness.fit, gain), gain),
        lag1_x=correlation[0],
        lag1_y=correlation[1],
        correlation_factor=correlation[2],
        linearity=_linearity(levels, usable, darkness, offset, top, valid=ordinary),
        defects=defects,
        transfer=fit,
        dark_levels=facts[0],
        levels=facts[1],
        maps=pixel_maps.maps,
        map_errors=pixel_maps.errors,
        maps_text=pixel_maps.text,
        warnings=(),
    )
    warnings = limits_of(result, darkness, transfer, pixel_maps.flat_refused)
    return msgspec.structs.replace(result, warnings=tuple(warnings))


def _offset_and_noise(
    darkness: Darkness, transfer: Transfer, known: Known
) -> tuple[Value, scalars.ReadNoise]:
    if darkness.fit is not None and darkness.variance_adu2 is not None:
        noise = scalars.read_noise_from_darks(darkness.variance_adu2, darkness.dof, transfer.gain)
        return scalars.offset_from_darks(darkness.fit), noise
    if transfer.blocks is None:
        missing = Value.missing("no usable dark series and no light", "e")
        offset = Value.missing("no usable dark series and no light", "ADU")
        return offset, scalars.ReadNoise(rms=missing, median=missing)
    offset = scalars.offset_without_darks(transfer.blocks, transfer.fit, known)
    return offset, scalars.read_noise_without_darks(transfer.fit, offset, transfer.gain)


def _with_dead(
    levels: Sequence[LitSeries],
    usable: Sequence[int],
    darkness: Darkness,
    offset_adu: float,
    known: Known,
) -> Defects:
    lit = sorted((levels[i].summary for i in usable), key=lambda s: float(s.mean_adu.mean()))
    base = offset_adu if darkness.fit is None else darkness.fit.offset_adu
    index, text = dead_pixels(lit[-2:], base, flat_field=known.flat_field)
    return msgspec.structs.replace(darkness.defects, dead_index=index, dead_text=text)


def _saturation(transfer: Transfer, bit_depth: int, known: Known) -> tuple[Value, SaturationKind]:
    if transfer.blocks is None:
        return Value.missing("needs light", "ADU"), ""
    found, kind = saturation(transfer.blocks, transfer.fit, bit_depth)
    if found.value is None and known.saturation_adu is not None:
        return Value(value=known.saturation_adu, unit="ADU", status="given"), ""
    return found, kind


def _facts(
    darks: Mapping[float, PixelSummary],
    levels: Sequence[LitSeries],
    usable: Sequence[int],
    offset_adu: float,
) -> tuple[tuple[Level, ...], tuple[Level, ...]]:
    dark = tuple(
        series_facts.level_of(one, exposure, 0.0, offset_adu=offset_adu)
        for exposure, one in sorted(darks.items())
    )
    lit = tuple(
        series_facts.level_of(
            x.summary,
            x.exposure_us,
            x.light,
            offset_adu=offset_adu,
            excluded="" if i in usable else "partly or wholly saturated, or beyond the fit",
        )
        for i, x in enumerate(levels)
    )
    return dark, lit


def _linearity(
    levels: Sequence[LitSeries],
    usable: Sequence[int],
    darkness: Darkness,
    offset: Value,
    top: Value,
    *,
    valid: npt.NDArray[np.bool_],
) -> Linearity:
    if offset.value is None:
        missing = Value.missing("needs the offset", "%")
        return Linearity(error_percent=missing, largest_percent=missing)
    doses = dose_levels(
        levels,
        usable,
        offset_adu=offset.value,
        offset_error_adu=float(offset.error or 0.0),
        thermal_adu_per_s=0.0 if darkness.fit is None else darkness.fit.mean_current(None),
        valid=valid,
    )
    return linearity(doses, None if top.value is None else top.value - offset.value)


def to_constants(result: CalibrationResult) -> CameraConstants:
    """Return the constants of a result, as a calibration folder takes them.

    Raises
    ------
    CalibrationError
        If gain, offset or read noise was not measurable.
    """
    wanted = {
        "gain_e_per_adu": result.gain_e_per_adu,
        "offset_adu": result.offset_adu,
        "read_noise_e": result.read_noise_e,
        "excess_noise_factor": result.excess_noise_factor,
    }
    numbers = {name: value.value for name, value in wanted.items() if value.value is not None}
    missing = [f"{n}: {v.text}" for n, v in wanted.items() if v.value is None]
    if missing:
        raise CalibrationError(
            f"not enough for a calibration: {'; '.join(missing)}",
            "take dark frames and several light levels of a scene that stands still",
        )
    # A noise measurement may come out just below the factor of no multiplication at all.
    return CameraConstants(
        gain_e_per_adu=numbers["gain_e_per_adu"],
        offset_adu=numbers["offset_adu"],
        read_noise_e=numbers["read_noise_e"],
        excess_noise_factor=max(numbers["excess_noise_factor"], 1.0),
        source="calibration",
        model=result.model,
        note=_note(result),
    )


def _note(result: CalibrationResult) -> str:
    unsure = [n for n, v in result.values().items() if v.status in UNSURE and v.value]
    text = f"measured from {result.n_dark_frames} dark and {result.n_frames} lit frames"
    return f"{text}; not plainly measured: {', '.join(unsure)}" if unsure else text
