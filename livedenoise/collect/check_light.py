"""Checks of intensity: whether light follows the dose, whether it bleaches, whether there is any.

Knows: mean intensities and their errors. Must not know: places, focus, files.

Deviations are judged in counts, not as quotients: a quotient with a weak denominator has no
useful error, while a low image far too bright is found however dark the high one is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from livedenoise.collect.check_camera import FloatImage, PairCamera
from livedenoise.collect.program import Limits
from livedenoise.collect.shots import Shot, Taken
from livedenoise.collect.verdict import Check

UNTOLD = 0.3
"""Relative standard error from which on a quotient is not given."""

_THEIL_SEN = 1.1
"""Variance of the median of slopes over that of least squares."""

EXPOSURE_LIMIT = 0.02
_EXPOSURE_SLACK_US = 25
"""Cameras round an exposure to whole lines (5-20 us)."""


@dataclass(frozen=True, eq=False)
class Signal:
    """A shot above its offset.

    Attributes
    ----------
    taken : Taken
        What it is of.
    image : ndarray
        float32 (Y, X): counts above offset of one frame, or their mean.
    mean_adu, error_adu : float
        Mean over the field, and its standard error from photons, read noise and dark images;
        the uncertainty that all shots share (``PairCamera.offset_error_adu``) not included.
    """

    taken: Taken
    image: FloatImage
    mean_adu: float
    error_adu: float


def signal_of(taken: Taken, camera: PairCamera) -> Signal:
    """Return a shot above its offset, with the error of its mean."""
    image = camera.signal_adu(taken.image, taken.shot.exposure_us)
    mean = float(image.mean())
    variance = _mean_variance(mean, camera, image.size) / taken.shot.frames
    if camera.dark_frames:
        variance += camera.read_variance_adu2 / (camera.dark_frames * image.size)
    return Signal(taken, image, mean, float(np.sqrt(variance)))


def _mean_variance(mean_adu: float, camera: PairCamera, pixels: int) -> float:
    """Return the variance of the mean of one frame."""
    return (camera.shot_adu * max(mean_adu, 0.0) + camera.read_variance_adu2) / pixels


def expected_ratio(low: Shot, high: Shot) -> float:
    """Return low over high intensity as exposure x light command it."""
    return low.frame_dose_us / high.frame_dose_us


@dataclass(frozen=True)
class Ratio:
    """Intensity of low over high: deviation from what was commanded, in counts and relative."""

    ratio: float
    expected: float
    deviation: float
    error: float

    @property
    def told(self) -> bool:
        """Return whether the error is small enough to speak of a ratio."""
        return self.error < UNTOLD


def measure_ratio(low: Signal, high: Signal, camera: PairCamera) -> Ratio:
    """Measure low over high; ``deviation`` and ``error`` are relative to the expected low."""
    expected = expected_ratio(low.taken.shot, high.taken.shot)
    shared = (1.0 - expected) * camera.offset_error_adu
    error_adu = float(np.sqrt(low.error_adu**2 + (expected * high.error_adu) ** 2 + shared**2))
    scale = max(expected * high.mean_adu, error_adu, 1e-12)
    return Ratio(
        ratio=low.mean_adu / high.mean_adu if high.mean_adu > 0 else 0.0,
        expected=expected,
        deviation=(low.mean_adu - expected * high.mean_adu) / scale,
        error=error_adu / scale,
    )


def check_ratio(
    signals: Sequence[Signal], measured: Ratio, camera: PairCamera, limits: Limits
) -> Check:
    """Check that intensity follows the dose, between the shots and within any average."""
    odd = max(
        (_odd_frame(one, camera, limits.sigmas) for one in signals),
        key=lambda o: o.excess(limits),
    )
    bound = limits.ratio_tolerance + limits.sigmas * measured.error
    fits = abs(measured.deviation) <= bound
    if fits and odd.excess(limits) > 0:
        return _ratio_check(odd.deviation, odd.error, limits, odd.text, passed=False)
    if fits and not measured.told:
        return _ratio_check(None, measured.error, limits, _UNTOLD_RATIO, passed=True)
    text = (
        f"low/high intensity {measured.ratio:.4g}, exposure x light says {measured.expected:.4g}: "
        f"off by {100 * measured.deviation:+.1f} +- {100 * measured.error:.1f} %"
    )
    text += "" if fits else f"; {_ratio_cause(measured)}"
    return _ratio_check(measured.deviation, measured.error, limits, text, passed=fits)


_UNTOLD_RATIO = "too few electrons to tell the ratio; low is not brighter than it may be"


def _ratio_check(
    value: float | None, error: float, limits: Limits, text: str, *, passed: bool
) -> Check:
    limit = limits.ratio_tolerance
    return Check(name="ratio", value=value, error=error, limit=limit, passed=passed, text=text)


def _ratio_cause(measured: Ratio) -> str:
    ratio, expected = measured.ratio, measured.expected
    if ratio <= 0.05 * expected:
        return "hardly any light in the low shot: shutter closed or light off?"
    if abs(ratio * expected - 1.0) < 0.3 and expected < 0.8:
        return "the inverse: low and high exposure swapped?"
    if abs(ratio - 1.0) < 0.2 and expected < 0.8:
        return "both shots equally bright: a stale frame, or the exposure did not change?"
    return "wrong or stale exposure, flickering light, or a slow lamp or shutter?"


@dataclass(frozen=True)
class _Odd:
    """The frame of an average that fits its neighbours least."""

    deviation: float
    error: float
    text: str

    def excess(self, limits: Limits) -> float:
        return abs(self.deviation) - limits.ratio_tolerance - limits.sigmas * self.error


def _odd_frame(signal: Signal, camera: PairCamera, sigmas: float) -> _Odd:
    """Find a stale or flickering frame within an average, whatever bleaching there is.

    Bleaching is a slope: each frame is held against the line through its two neighbours.
    """
    shot = signal.taken.shot
    offset = camera.mean_offset_adu(shot.exposure_us)
    means = np.array(signal.taken.frame_means_adu, np.float64) - offset
    if means.size < 2 or signal.mean_adu <= 0:
        return _Odd(0.0, 0.0, "")
    kinks, widths = _kinks(means)
    level = max(float(np.median(means)), 1e-12)
    one = float(np.sqrt(_mean_variance(signal.mean_adu, camera, signal.image.size)))
    worst = int(np.argmax(np.abs(kinks) - sigmas * one * widths))
    frame = _named(means, worst)
    beside = float(np.mean(means[[k for k in (frame - 1, frame + 1) if 0 <= k < means.size]]))
    text = (
        f"frame {frame + 1} of {means.size} of the {shot.role} shot has mean {means[frame]:.4g} "
        f"counts above offset, those beside it {beside:.4g}: a stale frame or flickering light?"
    )
    return _Odd(float(kinks[worst]) / level, one * float(widths[worst]) / level, text)


def _kinks(means: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.float64], ...]:
    """Return how far each frame is off its neighbours' line, and the noise factor of that."""
    if means.size == 2:
        return np.diff(means), np.array([np.sqrt(2.0)])
    inner = means[1:-1] - 0.5 * (means[:-2] + means[2:])
    first = means[0] - 2.0 * means[1] + means[2]
    last = means[-1] - 2.0 * means[-2] + means[-3]
    widths = np.full(means.size, np.sqrt(1.5))
    widths[[0, -1]] = np.sqrt(6.0)
    return np.concatenate(([first], inner, [last])), widths


def _named(means: npt.NDArray[np.float64], worst: int) -> int:
    """Return the frame that makes the kink at ``worst``: it, or one beside it.

    Of these the one whose step alone explains most of all kinks. Where that cannot tell (three
    frames or fewer, or equally well), the one furthest from the median.
    """
    near = np.arange(max(0, worst - 2), min(means.size, worst + 3))
    away = np.abs(means - np.median(means))
    if means.size < 4:
        return int(np.argmax(away))
    steps = np.diff(np.eye(means.size), n=2, axis=0)
    along = steps.T @ np.diff(means, n=2)
    explained = np.square(along) / np.square(steps).sum(axis=0)
    best = near[explained[near] >= (1.0 - 1e-6) * explained[near].max()]
    return int(best[np.argmax(away[best])])


def check_exposure(shots: list[Taken]) -> Check:
    """Check what the camera said it exposed for against what it was told."""
    known = [one for one in shots if one.exposure_us > 0]
    if not known:
        text = "the camera does not say what it exposed for"
        return _exposure_check(None, text, passed=True)
    worst = max(known, key=lambda one: abs(_exposure_deviation(one)))
    value = _exposure_deviation(worst)
    slack = abs(worst.exposure_us - worst.shot.exposure_us) <= _EXPOSURE_SLACK_US
    passed = all(
        abs(_exposure_deviation(one)) <= EXPOSURE_LIMIT
        or abs(one.exposure_us - one.shot.exposure_us) <= _EXPOSURE_SLACK_US
        for one in known
    )
    text = (
        f"{worst.shot.role} shot: {worst.exposure_us} us read back, "
        f"{worst.shot.exposure_us} us commanded"
    )
    if not passed:
        text += "; the camera rounds, clips or ignores exposures, or another program sets them"
    elif slack and abs(value) > EXPOSURE_LIMIT:
        text += "; within what cameras round to"
    return _exposure_check(value, text, passed=passed)


def _exposure_deviation(taken: Taken) -> float:
    return taken.exposure_us / taken.shot.exposure_us - 1.0


def _exposure_check(value: float | None, text: str, *, passed: bool) -> Check:
    return Check(name="exposure", value=value, limit=EXPOSURE_LIMIT, passed=passed, text=text)


def check_dark(high: Signal, camera: PairCamera, limits: Limits) -> Check:
    """Check that light came through at all in the high shot."""
    gain = camera.constants.gain_e_per_adu
    value, error = high.mean_adu * gain, high.error_adu * gain
    passed = value + limits.sigmas * error >= limits.min_signal_e
    text = f"high shot: {value:.3g} +- {error:.2g} electrons above offset in the mean"
    if not passed:
        text += "; shutter closed, light off, or nothing in the field?"
    return Check(
        name="dark",
        value=value,
        error=error,
        limit=limits.min_signal_e,
        unit="electrons",
        passed=passed,
        text=text,
    )


def check_bleaching(
    low: Signal, high: Signal, after: Signal | None, camera: PairCamera, limits: Limits
) -> Check:
    """Check the intensity lost over a bracket, or over the frames of the average."""
    if after is not None:
        error = float(np.hypot(low.error_adu, after.error_adu))
        ends = _Ends(low.mean_adu, after.mean_adu, error, "between the low shots before and after")
        return _bleaching(ends, camera, limits)
    if len(high.taken.frame_means_adu) < 2:
        text = "not measured: no bracket, and the high shot is no average"
        return _bleaching_check(None, None, limits, text, passed=True)
    return _bleaching(_ends(high, camera), camera, limits)


@dataclass(frozen=True)
class _Ends:
    """Intensity before and after, the error of their difference, and what lies between."""

    before: float
    after: float
    error_adu: float
    where: str


def _ends(high: Signal, camera: PairCamera) -> _Ends:
    """Return intensity at the first and last frame (of a line through all) and its error."""
    offset = camera.mean_offset_adu(high.taken.shot.exposure_us)
    means = np.array(high.taken.frame_means_adu, np.float64) - offset
    times = np.linspace(-0.5, 0.5, means.size)
    later, earlier = np.tril_indices(means.size, -1)
    slopes = (means[later] - means[earlier]) / (times[later] - times[earlier])
    # The median of all slopes (Theil & Sen): one stale frame is not bleaching.
    slope, centre = float(np.median(slopes)), float(np.median(means))
    variance = _THEIL_SEN * _mean_variance(centre, camera, high.image.size)
    error = np.sqrt(variance / float(np.square(times).sum()))
    where = f"over the {means.size} frames of the high shot"
    return _Ends(centre - slope / 2, centre + slope / 2, float(error), where)


def _bleaching(ends: _Ends, camera: PairCamera, limits: Limits) -> Check:
    scale = max(ends.before, 1e-12)
    value = 1.0 - ends.after / scale
    # Both ends have the same offset: its error scales the loss and is no loss by itself.
    error_adu = float(np.hypot(ends.error_adu, abs(value) * camera.offset_error_adu))
    error = error_adu / scale
    beyond = abs(ends.before - ends.after) - limits.max_bleaching * max(ends.before, 0.0)
    passed = beyond <= limits.sigmas * error_adu
    if passed and not error < UNTOLD:
        text = "too few electrons to tell bleaching"
        return _bleaching_check(None, error, limits, text, passed=True)
    word = "lost" if value >= 0 else "gained"
    text = f"{100 * abs(value):.1f} +- {100 * error:.1f} % of the intensity {word} {ends.where}"
    if not passed:
        text += "; the sample bleaches" if value > 0 else "; the light rises or flickers"
    return _bleaching_check(value, error, limits, text, passed=passed)


def _bleaching_check(
    value: float | None, error: float | None, limits: Limits, text: str, *, passed: bool
) -> Check:
    return Check(
        name="bleaching",
        value=value,
        error=error,
        limit=limits.max_bleaching,
        passed=passed,
        text=text,
    )
