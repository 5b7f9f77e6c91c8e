"""Checks of place and focus: whether high is where low is, and as sharp.

Knows: two images above offset. Must not know: doses, noise models, files.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from livedenoise.collect.check_high import NO_SHIFT, High
from livedenoise.collect.check_light import Signal
from livedenoise.collect.program import Limits
from livedenoise.collect.verdict import Check
from livedenoise.imaging.registration import Shift, register
from livedenoise.quality.sharpness import SharpnessChange, compare_sharpness

TOLD_SHIFT_PX = 1.0
"""Standard error from which on a shift is not given."""

_TOLD_FOCUS = 0.3

NO_CHANGE = SharpnessChange(0.0, float("inf"), 0.0, float("inf"))


@dataclass(frozen=True, eq=False)
class Place:
    """Shift and sharpness of high against low, and the drift while high was averaged.

    ``low`` says in words which low image.
    """

    shift: Shift
    sharpness: SharpnessChange
    drift: Shift
    low: str = "low"

    @property
    def aligned_by_px(self) -> tuple[float, float]:
        """Return the shift to correct by: 0 where it is too uncertain to correct."""
        return self.shift.shift_px if self.told else (0.0, 0.0)

    @property
    def told(self) -> bool:
        """Return whether the shift is known to less than a pixel."""
        return self.shift.found and self.shift.error_px < TOLD_SHIFT_PX


def measure_place(low: Signal, high: High) -> Place:
    """Measure shift and sharpness; images under 32 pixels a side say nothing."""
    which = "second low" if low.taken.shot.part == "after" else "low"
    if high.spectrum is None:
        return Place(NO_SHIFT, NO_CHANGE, NO_SHIFT, which)
    spectra, shift = register(low.image, high.signal.image, second_spectrum=high.spectrum)
    return Place(shift, compare_sharpness(spectra, shift), high.drift, which)


def check_shift(place: Place, after: Place | None, limits: Limits) -> Check:
    """Check how far high lies from each low image, these from each other, and its own drift."""
    first = _shift_of_high(place, limits)
    if after is None or not first.passed:
        return first
    second = _shift_of_high(after, limits)
    return (_shift_of_lows(place, after, limits) or first) if second.passed else second


def _shift_of_lows(place: Place, after: Place, limits: Limits) -> Check | None:
    """Return the failed check of two low images that do not lie on each other, else None."""
    if not (place.told and after.told):
        return None
    (y, x), (later_y, later_x) = place.shift.shift_px, after.shift.shift_px
    error = float(np.hypot(place.shift.error_px, after.shift.error_px))
    between = replace(place.shift, shift_px=(y - later_y, x - later_x), error_px=error)
    if not _beyond(between, limits):
        return None
    text = f"{_in_words(between)} between the low images before and after; stage drift?"
    return _shift_check(between.length_px, between.error_px, limits, text, passed=False)


def _shift_of_high(place: Place, limits: Limits) -> Check:
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
    text = f"{_in_words(shift)} of high against {place.low}"
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


def check_focus(place: Place, after: Place | None, limits: Limits, not_judged: str) -> Check:
    """Check that neither high nor a low image is blurred against the other."""
    first = _focus_of(place, limits, not_judged)
    if after is None or not first.passed:
        return first
    second = _focus_of(after, limits, not_judged)
    return first if second.passed else second


def _focus_of(place: Place, limits: Limits, not_judged: str) -> Check:
    change = place.sharpness
    if not_judged or not change.found or change.error > _TOLD_FOCUS:
        text = not_judged or "too little structure or light to compare sharpness"
        return _focus_check(None, None, limits, text, passed=True)
    passed = abs(change.change) <= limits.max_focus_change + limits.sigmas * change.error
    which, other = (place.low, "high") if change.change < 0 else ("high", place.low)
    text = f"{which} is {100 * abs(change.change):.1f} +- {100 * change.error:.1f} % less sharp"
    text += f" than {other}" if place.low != "low" else ""
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
