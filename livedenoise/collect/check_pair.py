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

import msgspec

from livedenoise.collect.check_camera import PairCamera
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
    check_motion,
    common_ground,
    peak_psnr_db,
)
from livedenoise.collect.check_place import Place, check_focus, check_shift, measure_place
from livedenoise.collect.check_range import check_saturated, check_zero
from livedenoise.collect.program import Limits
from livedenoise.collect.shots import Pair
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


def check_pair(pair: Pair, camera: PairCamera, limits: Limits) -> PairVerdict:
    """Judge a pair.

    Parameters
    ----------
    pair : Pair
        What was taken: low and high, and low once more for a bracket. Images (Y, X).
    camera : PairCamera
        Offset, noise and hot pixels.
    limits : Limits
        Held with the standard error of what was measured.

    Raises
    ------
    ValueError
        If the images of the pair, or the dark images, differ in shape.
    """
    _require_one_shape(pair)
    low, high = signal_of(pair.low, camera), signal_of(pair.high, camera)
    after = signal_of(pair.after, camera) if pair.after is not None else None
    measured = measure_ratio(low, high, camera)
    light = _light_checks(pair, (low, high, after), measured, camera, limits)
    place = measure_place(low, high, camera)
    shift = check_shift(place, limits)
    excuse = _excuse({c.name: c for c in (*light, shift)})
    residual = None if not shift.passed else common_ground(low, high, place.aligned_by_px)
    ratio = _ratio_for_pixels(measured)
    focus = check_focus(place, limits, excuse)
    motion = check_motion(residual, ratio, place, camera, limits=limits, not_judged=excuse)
    verdict = _verdict(pair, (*light, shift, focus, motion), measured, place)
    gain = camera.constants.gain_e_per_adu
    return msgspec.structs.replace(
        verdict,
        low_electrons=low.mean_adu * gain,
        high_electrons=high.mean_adu * gain,
        psnr_db=peak_psnr_db(residual, ratio) if residual is not None else 0.0,
    )


def _require_one_shape(pair: Pair) -> None:
    shapes = {one.image.shape for one in (pair.low, pair.high, pair.after) if one is not None}
    if len(shapes) != 1:
        raise ValueError(f"the images of a pair differ in shape: {sorted(shapes)}")


def _light_checks(
    pair: Pair,
    signals: tuple[Signal, Signal, Signal | None],
    measured: Ratio,
    camera: PairCamera,
    limits: Limits,
) -> tuple[Check, ...]:
    low, high, after = signals
    shots = [one for one in (pair.low, pair.high, pair.after) if one is not None]
    return (
        check_dark(high, camera, limits),
        check_exposure(shots),
        check_saturated(pair.low, pair.high, camera, limits),
        check_zero(pair.low, pair.high, limits),
        check_ratio(low, high, measured, camera, limits),
        check_bleaching(low, high, after, camera, limits),
    )


def _excuse(checks: dict[Reason, Check]) -> str:
    """Return why focus and motion are not judged; empty when they are."""
    for name in ("dark", "ratio", "saturated", "shift"):
        if not checks[name].passed:
            return f"not judged: the pair fails {name}"
    return ""


def _ratio_for_pixels(measured: Ratio) -> float:
    sure = measured.error < _SURE_RATIO and measured.ratio > 0
    return measured.ratio if sure else measured.expected


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
