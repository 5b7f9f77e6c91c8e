"""Maps of offset, gain and variance for every pixel, or the reason why there are none.

Knows: how many frames a map needs and how accurate it is. Must not know: files, cameras.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
import numpy.typing as npt

from livedenoise.calibrate.pixel_maps import (
    OF_DEAD,
    OF_HOT,
    FlatLevel,
    Response,
    SlopeMaps,
    flat_response,
    slope_maps,
)
from livedenoise.calibrate.results import Defects, MapErrors
from livedenoise.calibrate.scalars import relative_error
from livedenoise.calibrate.stages import Darkness, LitSeries, Transfer
from livedenoise.core.constants import CameraMaps

LEAST_DARK_FRAMES = 20
UNKNOWN_SPREAD = 0.02
"""Pixels may differ by that much where their spread was not measured at all."""


DoubleMap = npt.NDArray[np.float64]


class PixelMaps(msgspec.Struct, frozen=True, kw_only=True):
    """The maps and what they rest on.

    ``flat_refused`` says why light that the user calls even was not used as such.
    """

    maps: CameraMaps | None
    errors: MapErrors | None
    text: str
    slopes: SlopeMaps | None = None
    response: Response | None = None
    flat_refused: str = ""


def make_maps(
    levels: Sequence[LitSeries],
    darkness: Darkness,
    transfer: Transfer,
    *,
    flat_field: bool,
    ordinary: npt.NDArray[np.bool_],
    defects: Defects,
) -> PixelMaps:
    """Return per-pixel maps.

    Parameters
    ----------
    levels : sequence of LitSeries
        Series whose pixels lie below saturation.
    darkness, transfer
        The stages before.
    flat_field : bool
        Whether the user says that the light is even.
    ordinary : ndarray of bool (Y, X)
        False at defects.
    defects : Defects
        Hot and dead pixels get the common gain with a large error.
    """
    gain, fit = transfer.gain.value, transfer.fit
    if darkness.fit is None or darkness.reference is None or darkness.variance_adu2 is None:
        return _none("no maps: they need a dark series")
    if gain is None or fit is None:
        return _none("no maps: they need the gain")
    frames = darkness.fit.n_frames
    if frames < LEAST_DARK_FRAMES:
        return _none(f"no maps: they need {LEAST_DARK_FRAMES} dark frames, there are {frames}")
    response, refused = _response(levels, darkness, ordinary, defects) if flat_field else (None, "")
    slopes = slope_maps(
        [x.summary for x in levels],
        darkness.reference,
        fit.slope_adu,
        excess=float(transfer.excess.value or 1.0),
        signal_limit_adu=fit.signal_limit_adu,
        response=response,
        ordinary=ordinary,
    )
    shape = darkness.variance_adu2.shape
    gains = _gain_maps(shape, gain, fit.slope_adu, slopes, response)
    _mask_defects(gains, gain, defects)
    # What is wrong with the common gain is wrong with every pixel's.
    gain_error = np.hypot(gains[1], gains[0] * relative_error(transfer.gain))
    variance = darkness.variance_adu2.astype(np.float32)
    maps = CameraMaps(
        offset_adu=darkness.fit.offset_adu.astype(np.float32),
        gain_e_per_adu=gains[0].astype(np.float32),
        variance_adu2=variance,
    )
    errors = MapErrors(
        offset_adu=darkness.fit.offset_error_adu.astype(np.float32),
        gain_e_per_adu=gain_error.astype(np.float32),
        variance_adu2=variance * np.float32(np.sqrt(2.0 / darkness.dof)),
        gain_shrinkage=gains[2].astype(np.float32),
    )
    text = _text(errors, darkness, slopes, response, len(levels))
    return PixelMaps(
        maps=maps, errors=errors, text=text, slopes=slopes, response=response, flat_refused=refused
    )


def _none(reason: str) -> PixelMaps:
    return PixelMaps(maps=None, errors=None, text=reason)


def _response(
    levels: Sequence[LitSeries],
    darkness: Darkness,
    ordinary: npt.NDArray[np.bool_],
    defects: Defects,
) -> tuple[Response | None, str]:
    if darkness.reference is None:
        return None, ""
    found = flat_response(
        [_flat_level(x, darkness) for x in levels],
        darkness.reference,
        ordinary,
        hot=defects.hot_index,
        dead=defects.dead_index,
    )
    if found is None:
        return None, "flat_field was said, but it needs two unsaturated levels with light"
    structure = _neighbour_correlation(found.relative, ordinary)
    if structure > 0.5 and found.spread > 0.01:
        return None, (
            f"flat_field was said, but the light shows structure ({100 * found.spread:.1f} %, "
            f"neighbours alike by {structure:.2f}): pixel gains were not taken from it"
        )
    return found, ""


def _flat_level(x: LitSeries, darkness: Darkness) -> FlatLevel:
    """Return the level with what the dark current of each pixel adds to it."""
    current = None if darkness.fit is None else darkness.fit.current_adu_per_s
    thermal = None if current is None else current * (x.exposure_us * 1e-6)
    return FlatLevel(summary=x.summary, thermal_adu=thermal)


def _mask_defects(
    gains: tuple[DoubleMap, DoubleMap, DoubleMap], gain: float, found: Defects
) -> None:
    """Give hot and dead pixels the common gain, with a large error, in place."""
    for index, error in ((found.hot_index, OF_HOT), (found.dead_index, OF_DEAD)):
        if index is not None:
            for image, value in zip(gains, (gain, gain * error, 0.0), strict=True):
                image.ravel()[index] = value


def _neighbour_correlation(image: npt.NDArray[np.float64], ok: npt.NDArray[np.bool_]) -> float:
    centred = np.where(ok, image - image[ok].mean(), 0.0)
    power = float(np.mean(centred**2))
    return float(np.mean(centred[:, 1:] * centred[:, :-1])) / power if power > 0 else 0.0


def _gain_maps(
    shape: tuple[int, ...],
    gain: float,
    slope: float,
    slopes: SlopeMaps | None,
    response: Response | None,
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return gain, its error and the shrinkage weight of every pixel."""
    if slopes is not None:
        gains = gain * slope / slopes.slope_adu
        return gains, gains * slopes.error_adu / slopes.slope_adu, slopes.shrinkage
    if response is not None:
        gains = gain / response.relative
        return gains, gains * response.error, np.zeros(shape)
    return np.full(shape, gain), np.full(shape, UNKNOWN_SPREAD * gain), np.zeros(shape)


def _text(
    errors: MapErrors,
    darkness: Darkness,
    slopes: SlopeMaps | None,
    response: Response | None,
    n_levels: int,
) -> str:
    offset = float(np.median(errors.offset_adu))
    variance = float(np.sqrt(2.0 / darkness.dof))
    frames = darkness.fit.n_frames if darkness.fit else 0
    found = f"offset to {offset:.2g} ADU and variance to {variance:.0%} per pixel"
    lines = [f"{found} from {frames} dark frames (1 % of the variance needs 20,000)"]
    if slopes is None:
        lines.append(
            f"gain: the common one for all, {n_levels} levels are too few to tell "
            f"pixels (taken to differ by up to {UNKNOWN_SPREAD:.0%})"
        )
    else:
        needed = slopes.n_frames * (slopes.own_error / max(slopes.spread, 1e-3)) ** 2
        weight = float(np.median(slopes.shrinkage))
        lines.append(
            f"gain from {slopes.n_levels} levels: a pixel's own to {slopes.own_error:.1%}, pixels "
            f"differ by {slopes.spread:.1%}, weight {weight:.0%} (half needs {needed:.2g} frames)"
        )
    if response is not None:
        lines.append(f"drawn to the response to even light, which differs by {response.spread:.2%}")
    return "; ".join(lines)
