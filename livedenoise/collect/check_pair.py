"""One pair, all checks, one verdict.

Knows: which checks there are, which excuse others, and in what order their failures are told.
Must not know: how anything is measured; devices, files.

Example
-------
>>> from livedenoise.collect.check_pair import check_pair
>>> verdict = check_pair(pair, camera, Limits())  # doctest: +SKIP
>>> verdict.accepted, verdict.reasons  # doctest: +SKIP
(False, ('shift',))
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from livedenoise.collect.check_camera import PairCamera
from livedenoise.collect.check_high import High, HighShots
from livedenoise.collect.check_light import (
    Ratio,
    Signal,
    check_bleaching,
    check_dark,
    check_exposure,
    check_ratio,
    measure_ratio,
    signal_of,
)
from livedenoise.collect.check_motion import (
    Residual,
    check_motion,
    common_ground,
    common_ground_again,
    peak_psnr_db,
)
from livedenoise.collect.check_place import Place, check_focus, check_shift, measure_place
from livedenoise.collect.check_range import check_saturated, check_zero
from livedenoise.collect.program import Limits
from livedenoise.collect.shots import Pair, Taken
from livedenoise.collect.verdict import Check, PairVerdict, Reason

ORDER: tuple[Reason, ...] = (
    "dark",
    "exposure",
    "saturated",
    "zero_clipped",
    "ratio",
    "bleaching",
    "shift",
    "focus",
    "motion",
)
"""The most telling first: what stands before explains what stands behind."""

_BLEACHING_EXPLAINS = 0.5
"""A ratio further off than this has another cause than bleaching."""

_SWAPPED = 0.5
"""How near 1 measured times expected ratio is for swapped exposures; far above for no light."""

_SURE_RATIO = 0.05
"""Relative error below which intensities are compared with the ratio measured, not commanded."""


def check_pair(
    pair: Pair, camera: PairCamera, limits: Limits, highs: HighShots | None = None
) -> PairVerdict:
    """Judge a pair.

    Parameters
    ----------
    pair : Pair
        What was taken: low and high, and low once more for a bracket. Images (Y, X).
    camera : PairCamera
        Offset, noise and hot pixels.
    limits : Limits
        Held with the standard error of what was measured.
    highs : HighShots, optional
        Shared by the pairs of one field, that their high images are looked at once.

    Raises
    ------
    ValueError
        If the images of the pair, or the dark images, differ in shape.
    """
    _require_one_shape(pair)
    high = (highs or HighShots(camera)).of(pair.high)
    low = _compare(pair.low, high, camera)
    after = _compare(pair.after, high, camera) if pair.after is not None else None
    light = _light_checks(pair, (low, high, after), camera, limits)
    place = low.place
    shift = check_shift(place, after.place if after else None, limits)
    excuse = _excuse({c.name: c for c in (*light, shift)})
    residual = None
    if shift.passed:
        residual = common_ground(low.signal, high.signal, place.aligned_by_px)
    focus = check_focus(place, after.place if after else None, limits, excuse)
    motion = check_motion(
        residual, low.ratio_for_pixels, place, camera, limits=limits, not_judged=excuse
    )
    if after is not None and residual is not None and motion.passed:
        motion = _motion_after(
            (low, high, after), residual, motion, camera, limits=limits, excuse=excuse
        )
    verdict = _verdict(pair, (*light, shift, focus, motion), low.measured, place)
    gain = camera.constants.gain_e_per_adu
    return msgspec.structs.replace(
        verdict,
        low_electrons=low.signal.mean_adu * gain,
        high_electrons=high.signal.mean_adu * gain,
        psnr_db=peak_psnr_db(residual, low.ratio_for_pixels) if residual is not None else 0.0,
    )


@dataclass(frozen=True, eq=False)
class _Compared:
    """A low image, and what it is like beside the high one."""

    signal: Signal
    measured: Ratio
    place: Place

    @property
    def ratio_for_pixels(self) -> float:
        sure = self.measured.error < _SURE_RATIO and self.measured.ratio > 0
        return self.measured.ratio if sure else self.measured.expected


def _compare(low: Taken, high: High, camera: PairCamera) -> _Compared:
    signal = signal_of(low, camera)
    return _Compared(
        signal, measure_ratio(signal, high.signal, camera), measure_place(signal, high)
    )


def _motion_after(
    compared: tuple[_Compared, High, _Compared],
    residual: Residual,
    motion: Check,
    camera: PairCamera,
    *,
    limits: Limits,
    excuse: str,
) -> Check:
    """Return the check of motion of the second low image where it fails, else ``motion``.

    What was bleached within the limit may be bleached unevenly: that is granted.
    """
    low, high, after = compared
    shifts_px = low.place.aligned_by_px, after.place.aligned_by_px
    again = common_ground_again(after.signal, high.signal, shifts_px, residual)
    ratio = after.ratio_for_pixels
    uneven = min(abs(ratio / low.ratio_for_pixels - 1.0), limits.max_bleaching)
    second = check_motion(
        again, ratio, after.place, camera, limits=limits, not_judged=excuse, uneven=uneven
    )
    return motion if second.passed else second


def _require_one_shape(pair: Pair) -> None:
    shapes = {one.image.shape for one in (pair.low, pair.high, pair.after) if one is not None}
    if len(shapes) != 1:
        raise ValueError(f"the images of a pair differ in shape: {sorted(shapes)}")


def _light_checks(
    pair: Pair,
    compared: tuple[_Compared, High, _Compared | None],
    camera: PairCamera,
    limits: Limits,
) -> tuple[Check, ...]:
    low, high = compared[0].signal, compared[1].signal
    after = compared[2].signal if compared[2] is not None else None
    shots = [one for one in (pair.low, pair.high, pair.after) if one is not None]
    signals = [one for one in (low, high, after) if one is not None]
    return (
        check_dark(high, camera, limits),
        check_exposure(shots),
        check_saturated(shots, camera, limits),
        check_zero(shots, limits),
        check_ratio(signals, compared[0].measured, camera, limits),
        check_bleaching(low, high, after, camera, limits),
    )


def _excuse(checks: dict[Reason, Check]) -> str:
    """Return why focus and motion are not judged; empty when they are."""
    for name in ("dark", "ratio", "saturated", "shift"):
        if not checks[name].passed:
            return f"not judged: the pair fails {name}"
    return ""


def _verdict(
    pair: Pair,
    checks: tuple[Check, ...],
    measured: Ratio,
    place: Place,
) -> PairVerdict:
    reasons = _reasons(checks, measured)
    high, low = pair.high.shot, pair.low.shot
    return PairVerdict(
        accepted=not reasons,
        reasons=reasons,
        checks=checks,
        ratio=measured.ratio,
        expected_ratio=measured.expected,
        dose_ratio=high.frame_dose_us * high.frames / (low.frame_dose_us * low.frames),
        shift_px=place.aligned_by_px,
        shift_error_px=place.shift.error_px if place.told else 0.0,
    )


def _reasons(checks: tuple[Check, ...], measured: Ratio) -> tuple[Reason, ...]:
    failed = sorted((c.name for c in checks if not c.passed), key=ORDER.index)
    if {"ratio", "bleaching"} <= set(failed) and abs(measured.deviation) < _BLEACHING_EXPLAINS:
        _put_before(failed, "bleaching", "ratio")
    if {"ratio", "dark"} <= set(failed) and abs(
        measured.ratio * measured.expected - 1.0
    ) < _SWAPPED:
        # High is not without light, low has what high should have: exposures swapped.
        _put_before(failed, "ratio", "dark")
    return tuple(failed)


def _put_before(names: list[Reason], first: Reason, second: Reason) -> None:
    names.remove(first)
    names.insert(names.index(second), first)
