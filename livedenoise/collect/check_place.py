"""Checks of place and focus: whether high is where low is, and as sharp.

Knows: two images above offset. Must not know: doses, noise models, files.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from livedenoise.collect.check_camera import FloatImage, PairCamera
from livedenoise.collect.check_light import Signal
from livedenoise.collect.program import Limits
from livedenoise.collect.shots import Taken
from livedenoise.collect.verdict import Check
from livedenoise.imaging.cross_spectrum import LEAST_SIDE_PX, N_RINGS
from livedenoise.imaging.registration import Shift, measure_shift, register
from livedenoise.quality.sharpness import SharpnessChange, compare_sharpness

TOLD_SHIFT_PX = 1.0
"""Standard error from which on a shift is not given."""

_TOLD_FOCUS = 0.3
_DRIFT_BINNING = 2

NO_SHIFT = Shift((0.0, 0.0), float("inf"), 0.0, found=False, cross=np.zeros(N_RINGS))
NO_CHANGE = SharpnessChange(0.0, float("inf"), 0.0, float("inf"))


@dataclass(frozen=True, eq=False)
class Place:
    """Shift and sharpness of high against low, and the drift while high was averaged."""

    shift: Shift
    sharpness: SharpnessChange
    drift: Shift

    @property
    def aligned_by_px(self) -> tuple[float, float]:
        """Return the shift to correct by: 0 where it is too uncertain to correct."""
        return self.shift.shift_px if self.told else (0.0, 0.0)

    @property
    def told(self) -> bool:
        """Return whether the shift is known to less than a pixel."""
        return self.shift.found and self.shift.error_px < TOLD_SHIFT_PX


def measure_place(low: Signal, high: Signal, camera: PairCamera) -> Place:
    """Measure shift and sharpness; images under 32 pixels a side say nothing."""
    if min(low.image.shape) < LEAST_SIDE_PX:
        return Place(NO_SHIFT, NO_CHANGE, NO_SHIFT)
    spectra, shift = register(low.image, high.image)
    return Place(shift, compare_sharpness(spectra, shift), _drift(high.taken, camera))


def _drift(high: Taken, camera: PairCamera) -> Shift:
    ends = _ends(high, camera)
    if ends is None or min(ends[0].shape) < _DRIFT_BINNING * LEAST_SIDE_PX:
        return NO_SHIFT
    return measure_shift(*ends, least_binning=_DRIFT_BINNING)


def _ends(high: Taken, camera: PairCamera) -> tuple[FloatImage, FloatImage] | None:
    if high.first is None or high.last is None or high.shot.frames < 2:
        return None
    first, last = (camera.signal_adu(f, high.shot.exposure_us) for f in (high.first, high.last))
    return first, last


def check_shift(place: Place, limits: Limits) -> Check:
    """Check how far high lies from low, and how far it drifted while it was averaged."""
    shift, drift = place.shift, place.drift
    moved = drift.found and _beyond(drift, limits)
    if moved and not (place.told and _beyond(shift, limits)):
        text = (
            f"{_in_words(drift)} between first and last frame of the high shot: its average is "
            "blurred; stage or focus drifts, or it had not settled"
        )
        return _shift_check(drift.length_px, drift.error_px, limits, text, passed=False)
    if not place.told:
        text = "too little structure or light to measure a shift"
        return _shift_check(None, None, limits, text, passed=True)
    passed = not _beyond(shift, limits)
    text = f"{_in_words(shift)} of high against low"
    text += "" if passed else "; stage drift, stage not settled, or a field taken elsewhere?"
    return _shift_check(shift.length_px, shift.error_px, limits, text, passed=passed)


def _in_words(shift: Shift) -> str:
    dy, dx = shift.shift_px
    return f"shift {shift.length_px:.2f} +- {shift.error_px:.2f} px (y {dy:+.2f}, x {dx:+.2f})"


def _beyond(shift: Shift, limits: Limits) -> bool:
    return shift.length_px > limits.max_shift_px + limits.sigmas * shift.error_px


def _shift_check(
    value: float | None, error: float | None, limits: Limits, text: str, *, passed: bool
) -> Check:
    return Check(
        name="shift",
        value=value,
        error=error,
        limit=limits.max_shift_px,
        unit="px",
        passed=passed,
        text=text,
    )


def check_focus(place: Place, limits: Limits, not_judged: str) -> Check:
    """Check that one image is not blurred against the other."""
    change = place.sharpness
    if not_judged or not change.found or change.error > _TOLD_FOCUS:
        text = not_judged or "too little structure or light to compare sharpness"
        return _focus_check(None, None, limits, text, passed=True)
    passed = abs(change.change) <= limits.max_focus_change + limits.sigmas * change.error
    which = "low" if change.change < 0 else "high"
    text = f"{which} is {100 * abs(change.change):.1f} +- {100 * change.error:.1f} % less sharp"
    text += "" if passed else "; focus drift, vibration, or the sample moved during the exposure?"
    return _focus_check(change.change, change.error, limits, text, passed=passed)


def _focus_check(
    value: float | None, error: float | None, limits: Limits, text: str, *, passed: bool
) -> Check:
    return Check(
        name="focus",
        value=value,
        error=error,
        limit=limits.max_focus_change,
        passed=passed,
        text=text,
    )
