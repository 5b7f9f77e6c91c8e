"""What changes from frame to frame: shared noise, bleaching, flicker, drift.

Knows: arrays. Must not know: files, verdicts.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from livedenoise.core.frame import Frame
from livedenoise.diagnose.facts import Number
from livedenoise.diagnose.tiles import tiles_of

Doubles = npt.NDArray[np.float64]

_KERNEL = np.array([1.0, -4.0, 6.0, -4.0, 1.0]) / np.sqrt(70.0)
_FAR = (3, 4, 5)
"""Frames so far apart are taken to share no noise."""


def time_correlation(runs: Sequence[Sequence[Frame]]) -> Number:
    """Measure the correlation of a pixel's noise with that in the next frame.

    The variance of the difference of frames k apart is ``2 sigma^2 (1 - rho_k)``: neighbours that
    share noise differ less than distant frames. High-pass filtered (fourth difference along both
    axes), so that nothing an objective forms takes part; the mean over tiles, its error from their
    scatter.
    """
    if not runs or len(runs[0]) <= max(_FAR):
        return Number(value=None, note=f"needs {max(_FAR) + 1} consecutive frames")
    filtered = [[_high_pass(frame) for frame in run] for run in runs]
    near = _variances(filtered, 1)
    far = np.mean([_variances(filtered, k) for k in _FAR], axis=0)
    usable = far > 0
    if not usable.any():
        return Number(value=None, note="the frames do not differ at all")
    ratio = 1.0 - near[usable] / far[usable]
    error = float(ratio.std()) / np.sqrt(max(1, ratio.size - 1))
    return Number(value=float(ratio.mean()), error=error)


def bleaching_and_flicker(
    index: npt.NDArray[np.int64], mean_adu: Doubles, offset_adu: float, noise_of_mean_adu: float
) -> tuple[Number, Number]:
    """Fit an exponential to the signal of frames spread over the recording.

    Parameters
    ----------
    index : ndarray of int64
        (n,) frame numbers.
    mean_adu : ndarray
        (n,) mean counts of those frames.
    offset_adu : float
        Counts without light, as well as it is known.
    noise_of_mean_adu : float
        Shot noise of one such mean.

    Returns
    -------
    bleaching, flicker : Number
        Fraction of the signal lost from first to last frame (negative: gained); standard deviation
        around the trend as a fraction, what shot noise explains taken out.
    """
    signal = mean_adu - offset_adu
    if index.size < 4 or float(signal.min()) <= 3.0 * noise_of_mean_adu:
        why = "needs 4 frames" if index.size < 4 else "no signal above the offset"
        return Number(value=None, note=why), Number(value=None, note=why)
    x = (index - index.mean()) / max(1, int(np.ptp(index)))
    y = np.log(signal)
    slope = float((x * (y - y.mean())).sum() / np.square(x).sum())
    residual = y - y.mean() - slope * x
    scatter = float(np.sqrt(np.square(residual).sum() / (index.size - 2)))
    slope_error = scatter / float(np.sqrt(np.square(x).sum()))
    lost = float(1.0 - np.exp(slope))
    shot = noise_of_mean_adu / float(signal.mean())
    flicker = float(np.sqrt(max(scatter**2 - shot**2, 0.0)))
    return (
        Number(value=lost, error=slope_error * float(np.exp(slope))),
        Number(value=flicker, error=scatter / float(np.sqrt(2.0 * index.size))),
    )


def drift(runs: Sequence[Sequence[Frame]], offset_adu: float) -> tuple[Number, tuple[float, float]]:
    """Measure the shift between the means of the first and of the last frames, in pixels."""
    from livedenoise.imaging.registration import measure_shift

    frames = [frame for run in runs for frame in run]
    if len(frames) < 2:
        return Number(value=None, unit="px", note="needs 2 frames"), (0.0, 0.0)
    half = max(1, min(len(runs[0]), len(frames) // 2))
    first, last = (
        np.asarray(np.mean(part, axis=0, dtype=np.float32) - np.float32(offset_adu), np.float32)
        for part in (frames[:half], frames[-half:])
    )
    shift = measure_shift(first, last)
    if not shift.found:
        return Number(value=None, unit="px", note="no structure to compare"), (0.0, 0.0)
    size = float(np.hypot(*shift.shift_px))
    return Number(value=size, error=shift.error_px, unit="px"), shift.shift_px


def _high_pass(frame: Frame) -> npt.NDArray[np.float32]:
    from scipy.ndimage import correlate1d

    image = frame.astype(np.float32)
    for axis in (0, 1):
        image = correlate1d(image, _KERNEL, axis=axis, mode="reflect")
    return image


def _variances(runs: Sequence[Sequence[npt.NDArray[np.float32]]], apart: int) -> Doubles:
    """Return the noise variance of every tile from frames so many numbers apart."""
    found = [
        np.square(tiles_of(b - a)).mean(axis=(1, 2), dtype=np.float64)
        for run in runs
        for a, b in zip(run, run[apart:], strict=False)
    ]
    mean: Doubles = np.mean(found, axis=0)
    return mean
