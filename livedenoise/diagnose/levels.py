"""Gain, offset and read noise of a recording, and how they compare with a calibration.

Knows: noise fits, camera constants. Must not know: files, how frames were sampled, verdicts.

A recording alone does not hold its offset: any from ``-intercept / slope`` (no read noise) to the
level of the darkest part (no light there) gives the same line.
"""

from __future__ import annotations

import msgspec
import numpy as np

from livedenoise.core.constants import CameraConstants
from livedenoise.diagnose.facts import Number, beyond, measured
from livedenoise.imaging.noise_estimate import QUANTISATION_ADU2
from livedenoise.imaging.noise_fit import NoiseFit, constants_from_fit

_DARKEST = "if the darkest part of the image is dark"
_GIVEN = "given"
_LEVEL = "the noise does not follow the signal"
_GRAIN = 0.02
_FLICKER = 0.01
_BOUND_ERRORS = 2.0
_CLIPPED = 0.01
_FILTERED = 1.5
"""Fits of the finest detail alone scatter wider than the line's error: 1.2 times over ten scenes
that moved, and more in still scenes taken for moving ones."""


class Known(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of the camera beforehand: its offset, or a whole calibration."""

    offset_adu: float | None = None
    calibrated: CameraConstants | None = None

    @property
    def offset(self) -> float | None:
        """Return the counts without light, None if unknown."""
        return self.offset_adu if self.calibrated is None else self.calibrated.offset_adu


class Offset(msgspec.Struct, frozen=True, kw_only=True):
    """Counts without light: known, or between ``least_adu`` (if that can be told) and ``adu``."""

    adu: float
    known: bool = False
    least_adu: float | None = None


class Camera(msgspec.Struct, frozen=True, kw_only=True):
    """A noise fit and the constants and the offset it stands for."""

    fit: NoiseFit
    constants: CameraConstants
    offset: Offset
    known: Known


def camera_of(fit: NoiseFit, known: Known) -> Camera:
    """Return the constants of a fit, with what is known of the camera."""
    constants = constants_from_fit(fit, offset_adu=known.offset)
    is_known = known.offset is not None
    least = None if is_known else _least_offset(fit, constants)
    offset = Offset(adu=constants.offset_adu, known=is_known, least_adu=least)
    return Camera(fit=fit, constants=constants, offset=offset, known=known)


def _least_offset(fit: NoiseFit, constants: CameraConstants) -> float | None:
    if constants.model != "poisson_gaussian":
        return None
    bare = -fit.intercept_adu2 / fit.slope_adu
    lever = abs(float(np.mean(fit.level_means)) - bare)
    bound = bare - _BOUND_ERRORS * lever * fit.slope_error_adu / fit.slope_adu
    return min(float(bound), constants.offset_adu)


def levels(
    camera: Camera, grain: Number, flicker: Number, *, evened: bool, rounded: bool
) -> dict[str, Number]:
    """Return gain, offset and read noise, and the noise over what a calibration says.

    Parameters
    ----------
    camera : Camera
        Constants of the fit.
    grain : Number
        Noise power of large areas over that of a pixel.
    flicker : Number
        Of the light.
    evened : bool
        Whether the fit is of frames divided by their light.
    rounded : bool
        Whether pixels are whole counts.
    """
    offset = measured(
        camera.offset.adu,
        unit="counts",
        note=_GIVEN if camera.offset.known else "",
        upper_limit=not camera.offset.known,
    )
    return {
        "offset": offset,
        "noise_factor": _noise_factor(camera, rounded=rounded),
        **_electrons(camera, grain, flicker, evened=evened),
    }


def _electrons(
    camera: Camera, grain: Number, flicker: Number, *, evened: bool
) -> dict[str, Number]:
    fit, constants, known = camera.fit, camera.constants, camera.offset.known
    if constants.model != "poisson_gaussian":
        return {name: Number(value=None, note=_LEVEL) for name in ("gain", "read_noise")}
    gain = constants.gain_e_per_adu
    wider = 1.0 if fit.method == "frame pairs" else _FILTERED
    errors, notes = [wider * gain * fit.slope_error_adu / fit.slope_adu], list[str]()
    for error, note in (_flickering(flicker, evened=evened), _grainy(grain), _cut_off(fit)):
        errors.append(gain * error)
        notes += [note] if note else []
    note = "" if known else _DARKEST
    return {
        "gain": measured(
            gain, float(np.hypot.reduce(errors)), unit="e/count", note="; ".join(notes)
        ),
        "read_noise": measured(constants.read_noise_e, unit="e", note=note, upper_limit=not known),
    }


def _flickering(flicker: Number, *, evened: bool) -> tuple[float, str]:
    """Return the relative error that uneven light makes, and a note."""
    if evened:
        return 0.0, "from frames divided by their light, which changes"
    if not beyond(flicker, _FLICKER):
        return 0.0, ""
    return flicker.value or 0.0, "the light flickers, and could not be evened out: may read low"


def _grainy(grain: Number) -> tuple[float, str]:
    """Return the relative error that a filter makes, and a note.

    A filter that keeps the mean lowers the variance of a pixel by the sum of all correlations.
    """
    if grain.value is None or grain.upper_limit or grain.value <= 0:
        return 0.0, ""
    excess = measured(grain.value - 1.0, grain.error)
    if not beyond(excess, _GRAIN):
        return 0.0, ""
    over = "high" if grain.value > 1.0 else "low"
    factor = max(grain.value, 1.0 / grain.value)
    note = f"{factor:.2f} times too {over} if a filter made neighbours correlate"
    return abs(1.0 - 1.0 / grain.value), note


def _cut_off(fit: NoiseFit) -> tuple[float, str]:
    if fit.clipped_fraction <= _CLIPPED:
        return 0.0, ""
    return 0.0, f"without the {fit.clipped_fraction:.0%} of the image that is cut off"


def _noise_factor(camera: Camera, *, rounded: bool) -> Number:
    """Compare the variance at every level with ``F S / gain + (read noise / gain)^2``."""
    said = camera.known.calibrated
    if said is None:
        return Number(value=None, note="needs a calibration")
    level, variance = np.array(camera.fit.level_means), np.array(camera.fit.level_variances)
    gain = said.gain_e_per_adu
    shot = said.excess_noise_factor * np.maximum(level - said.offset_adu, 0.0) / gain
    expected = shot + (said.read_noise_e / gain) ** 2 + (QUANTISATION_ADU2 if rounded else 0.0)
    if not level.size or not (expected > 0).all():
        return Number(value=None, note="the calibration says that there is no noise")
    ratio = variance / expected
    error = float(ratio.std(ddof=1)) / np.sqrt(ratio.size) if ratio.size > 1 else None
    return measured(float(ratio.mean()), error)
