"""Check of motion: what differs between low and high by more than noise explains.

Knows: two aligned images, their ratio, the noise of the camera. Must not know: limits of other
checks, files.

Method. Both images are summed over squares of 4 pixels. Low is held against high times the ratio
by the signed root of the Poisson deviance, with everything that is not shot noise of low (read
noise, noise of high, systematic errors) as a background both share: right in the far tail down to
a few electrons per square, where a Gaussian score would cry wolf on every bright pixel. Sums of
four squared scores (blocks of 8 pixels) follow chi-square; a block differs when chance would make
it do so less often than ``sigmas`` allows.

Granted as systematic: 3 % of the local intensity (uneven bleaching, gain differences of pixels),
the error of the shift times the gradient, the measured difference of blur times the Laplacian, the
error of the offset. What noise the model lacks (wrong gain, correlated noise) is seen in the
quieter blocks of each brightness and scales the scores.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from livedenoise.collect.check_camera import FloatImage, PairCamera
from livedenoise.collect.check_light import Signal
from livedenoise.collect.check_place import Place
from livedenoise.collect.program import Limits
from livedenoise.collect.verdict import Check
from livedenoise.imaging.cross_spectrum import block_sums
from livedenoise.imaging.interpolation import interpolate

SQUARE_PX = 4
BLOCK_PX = 2 * SQUARE_PX
_AREA = float(SQUARE_PX**2)
_FREEDOM = 4

_LOCAL_INTENSITY = 0.03
_LEAST_SHIFT_ERROR_PX = 0.05
_UNKNOWN_SHIFT_PX = 1.0
_LEAST_BLUR_PX2 = 0.05
_UNKNOWN_BLUR_PX2 = 0.2
_NO_SHIFT_PX = 0.02
"""Shifts below this are not worth an interpolation."""

_SAME_SHIFT_PX = 0.05
"""Shifts that differ by less need high to be moved but once; the difference is then granted."""

_GROUPS = 8
_GROUP_BLOCKS = 64
_QUIET_QUANTILE = 0.25
_LARGEST_EXCESS = 6.0
"""Noise variance over the model's that is believed: on-camera filters bring up to 5."""

_LEAST_BLOCKS = 2
"""One block alone may be a cosmic ray or a pixel that blinks."""

_TOGETHER = 3
"""Blocks side by side that are an object, in a field of any size."""

Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Residual:
    """Low and high on common ground.

    Attributes
    ----------
    low, high : ndarray
        float32: the part both cover, high aligned to low, counts above offset.
    region : tuple of slice
        (Y, X) of it in the low image.
    low_frames, high_frames : int
        Frames averaged.
    left_px : float
        Shift that is known and was not undone.
    """

    low: FloatImage
    high: FloatImage
    region: tuple[slice, slice]
    low_frames: int
    high_frames: int
    left_px: float = 0.0


def common_ground(low: Signal, high: Signal, shift_px: tuple[float, float]) -> Residual:
    """Return the parts of both images that show the same."""
    frames = low.taken.shot.frames, high.taken.shot.frames
    if max(abs(d) for d in shift_px) < _NO_SHIFT_PX:
        everything = (slice(0, low.image.shape[0]), slice(0, low.image.shape[1]))
        return Residual(low.image, high.image, everything, *frames)
    moved, region = interpolate(high.image, shift_px)
    return Residual(low.image[region], moved, region, *frames)


def common_ground_again(
    low: Signal,
    high: Signal,
    shifts_px: tuple[tuple[float, float], tuple[float, float]],
    before: Residual,
) -> Residual:
    """Return the same for another low image, high being moved already for the one before.

    Parameters
    ----------
    low, high : Signal
        The other low image, and the high one.
    shifts_px : tuple of tuple of float
        (Y, X) of high against the low image before, and against this one.
    before : Residual
        Of the low image before.
    """
    left = float(np.hypot(*np.subtract(*shifts_px)))
    if left > _SAME_SHIFT_PX:
        return common_ground(low, high, shifts_px[1])
    frames = low.taken.shot.frames, high.taken.shot.frames
    return Residual(low.image[before.region], before.high, before.region, *frames, left_px=left)


def peak_psnr_db(residual: Residual, ratio: float) -> float:
    """Return the PSNR of low / ratio against high; data range: 99.9 percentile of high.

    The percentile is that of every second row and column of images over 256 pixels a side.
    """
    step = 2 if min(residual.high.shape) > 256 else 1
    sample = residual.high[::step, ::step].ravel()
    rank = min(int(0.999 * sample.size), sample.size - 1)
    peak = float(np.partition(sample, rank)[rank])
    difference = residual.low * np.float32(1.0 / ratio)
    difference -= residual.high
    error = float(np.einsum("yx,yx->", difference, difference)) / difference.size
    if peak <= 0 or error <= 0:
        return 0.0
    return float(10.0 * np.log10(peak**2 / error))


@dataclass(frozen=True)
class Differing:
    """Blocks that differ by more than noise: of how many, how many, and most of them together."""

    blocks: int
    count: int
    together: int

    @property
    def fraction(self) -> float:
        """Return the fraction of the field."""
        return self.count / max(self.blocks, 1)


def differing_blocks(
    residual: Residual,
    ratio: float,
    place: Place,
    camera: PairCamera,
    *,
    sigmas: float,
    uneven: float = 0.0,
) -> Differing:
    """Count the blocks that differ by more than noise.

    Parameters
    ----------
    residual : Residual
        Both images.
    ratio : float
        Low over high intensity of one frame.
    uneven : float
        Relative change of intensity that may be in some places and not in others (bleaching).
    sigmas : float
        A block differs beyond the one-sided probability of so many standard deviations.
    """
    from scipy.special import chdtri, ndtr

    low, high = (block_sums(i, SQUARE_PX).astype(np.float64) for i in (residual.low, residual.high))
    expected = ratio * high
    shot = camera.shot_adu / residual.low_frames
    other = _other_variance(residual, expected, ratio, camera)
    place_errors = _place_errors(place, residual.left_px)
    local = _LOCAL_INTENSITY + uneven
    other += _systematic_variance(expected, local, ratio, place_errors, camera)
    scores = _block_sums(_deviance(low, expected, shot, other, shot * _skewness(camera)))
    scores = scores / _excess(scores, _block_sums(expected))
    limit = float(chdtri(_FREEDOM, ndtr(-sigmas)))
    differ = scores > limit
    return Differing(scores.size, int(np.count_nonzero(differ)), _largest_group(differ))


def _largest_group(differ: npt.NDArray[np.bool_]) -> int:
    """Return the blocks of the largest group that touch each other, corners included."""
    from scipy.ndimage import label

    if not differ.any():
        return 0
    groups, _ = label(differ, structure=np.ones((3, 3), np.int8))
    return int(np.bincount(groups.ravel())[1:].max())


def _block_sums(squares: Doubles) -> Doubles:
    rows, columns = squares.shape[0] // 2, squares.shape[1] // 2
    whole = squares[: 2 * rows, : 2 * columns]
    return np.asarray(whole.reshape(rows, 2, columns, 2).sum(axis=(1, 3)))


def _deviance(low: Doubles, expected: Doubles, shot: float, other: Doubles, step: float) -> Doubles:
    """Return the squared score of each square: chi-square of one degree without change.

    Low is taken for ``step`` times a Poisson number that has its variance, shifted to its mean.
    """
    expected = np.maximum(expected, 0.0)
    variance = shot * expected + other
    if step <= 0:
        return np.asarray(np.square(low - expected) / np.maximum(variance, 1e-12))
    b = np.maximum(variance / step**2, 1e-3)
    a = np.maximum((low - expected) / step + b, 1e-3)
    return np.asarray(2.0 * (a * np.log(a / b) - a + b))


def _skewness(camera: PairCamera) -> float:
    """Return third cumulant over variance of the shot noise, in units of its variance per count.

    1 for Poisson noise, 1.5 behind a multiplying register (a sum of exponentials: 6 over 2 for
    each electron); where an estimate cannot tell them apart, between the two.
    """
    if camera.constants.source == "estimated":
        return 1.25
    return 1.0 + 0.5 * min(camera.constants.excess_noise_factor - 1.0, 1.0)


def _other_variance(
    residual: Residual, expected: Doubles, ratio: float, camera: PairCamera
) -> Doubles:
    """Return the variance of each square but for the shot noise of low, counts squared."""
    dark = _dark_variance(residual, camera)
    copies = 1.0 / residual.low_frames + ratio**2 / residual.high_frames
    if camera.dark_frames:
        copies += (1.0 - ratio) ** 2 / camera.dark_frames
    of_high = ratio * camera.shot_adu / residual.high_frames * np.maximum(expected, 0.0)
    return np.asarray(dark * copies + of_high)


def _dark_variance(residual: Residual, camera: PairCamera) -> Doubles | float:
    if camera.dark_variance_adu2 is None:
        return _AREA * camera.read_variance_adu2
    return block_sums(camera.dark_variance_adu2[residual.region], SQUARE_PX).astype(np.float64)


def _systematic_variance(
    expected: Doubles,
    local: float,
    ratio: float,
    place_errors: tuple[float, float],
    camera: PairCamera,
) -> Doubles:
    shift, blur = place_errors
    offset = _AREA * (1.0 - ratio) * camera.offset_error_adu
    total = np.square(local * expected) + offset**2
    along_y, along_x, laplacian = _derivatives(expected)
    total += shift**2 * (np.square(along_y) + np.square(along_x))
    return np.asarray(total + np.square(blur * laplacian))


def _place_errors(place: Place, left_px: float) -> tuple[float, float]:
    """Return the shift (px) and blur (px^2) that may be left."""
    shift = place.shift.error_px if place.told else _UNKNOWN_SHIFT_PX
    known = place.sharpness.found and place.sharpness.blur_error_px2 < 1.0
    blur = abs(place.sharpness.blur_px2) if known else _UNKNOWN_BLUR_PX2
    return float(np.hypot(shift, _LEAST_SHIFT_ERROR_PX)) + left_px, blur + _LEAST_BLUR_PX2


def _derivatives(sums: Doubles) -> tuple[Doubles, Doubles, Doubles]:
    """Return gradient (per px) and Laplacian (per px^2) of the sums; borders repeat."""
    padded = np.pad(sums, 1, mode="edge")
    up, down = padded[:-2, 1:-1], padded[2:, 1:-1]
    left, right = padded[1:-1, :-2], padded[1:-1, 2:]
    laplacian = (up + down + left + right - 4.0 * sums) / SQUARE_PX**2
    return (down - up) / (2 * SQUARE_PX), (right - left) / (2 * SQUARE_PX), laplacian


def _excess(scores: Doubles, level: Doubles) -> Doubles:
    """Return by how much noise exceeds the model, for every block, from the quieter of its kind.

    A quarter of the blocks of like brightness is enough: up to three quarters may move.
    """
    from scipy.special import chdtri

    order = np.argsort(level, axis=None)
    groups = max(1, min(_GROUPS, scores.size // _GROUP_BLOCKS))
    usual = float(chdtri(_FREEDOM, 1.0 - _QUIET_QUANTILE))
    excess = np.ones(scores.size)
    flat = scores.ravel()
    for part in np.array_split(order, groups):
        if part.size:
            rank = int(_QUIET_QUANTILE * part.size)
            found = float(np.partition(flat[part], rank)[rank]) / usual
            excess[part] = np.clip(found, 1.0, _LARGEST_EXCESS)
    return excess.reshape(scores.shape)


def check_motion(
    residual: Residual | None,
    ratio: float,
    place: Place,
    camera: PairCamera,
    *,
    limits: Limits,
    not_judged: str,
    uneven: float = 0.0,
) -> Check:
    """Check that nothing in the field moved or changed between the shots.

    Of a large field a small object is a small fraction: blocks that touch each other are counted
    too, and how many of them are too many does not depend on the size of the field.
    """
    limit = limits.max_motion
    if residual is None or not_judged or min(residual.low.shape) < BLOCK_PX:
        text = not_judged or "not judged: the images share too little ground"
        return Check(name="motion", value=None, limit=limit, passed=True, text=text)
    found = differing_blocks(residual, ratio, place, camera, sigmas=limits.sigmas, uneven=uneven)
    value, count = found.fraction, found.count
    passed = (value <= limit or count < _LEAST_BLOCKS) and found.together < _TOGETHER
    text = (
        f"{count} blocks of {BLOCK_PX}x{BLOCK_PX} px ({100 * value:.3g} % of the field) differ by "
        f"more than noise, {found.together} of them side by side"
    )
    text += f", {place.low} against high" if place.low != "low" else ""
    text += "" if passed else "; something moved, came or went between the shots"
    return Check(name="motion", value=value, limit=limit, passed=passed, text=text)
