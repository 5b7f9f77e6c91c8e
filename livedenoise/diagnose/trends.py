"""What changes from frame to frame: shared noise, bleaching, flicker, drift.

Knows: arrays. Must not know: files, verdicts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from livedenoise.core.frame import Frame
from livedenoise.diagnose.facts import Number, measured
from livedenoise.diagnose.tiles import Image, Run, tiles_of

if TYPE_CHECKING:
    from livedenoise.imaging.registration import Shift

Doubles = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

_KERNEL = np.array([1.0, -4.0, 6.0, -4.0, 1.0]) / np.sqrt(70.0)
_LEAST_FRAMES = 4
_MOSTLY_SHARED = 0.6
_AT_LEAST = "at least: frames further apart than looked at may share noise as well"
_APART_PX = 0.5
"""Halves of the field that drift further apart than this are not one drift."""


def time_correlation(runs: Sequence[Run], still: Bools) -> Number:
    """Measure the correlation of a pixel's noise with that in the next frame.

    The variance of the difference of frames k apart is ``2 sigma^2 (1 - rho_k)``: neighbours that
    share noise differ less than distant frames, 5 or 6 apart in runs of 8. Neighbours (a, a + 1)
    and (b, b + 1) are compared with (a, b) and (a + 1, b + 1), so that every frame counts equally
    on both sides and light that flickers or bleaches drops out. Everything is high-pass filtered
    (fourth difference along both axes), so that nothing an objective forms takes part.

    Parameters
    ----------
    runs : sequence of sequences of ndarray
        Each a run of consecutive frames, float32 (Y, X).
    still : ndarray of bool
        (tiles,) tiles to be used.
    """
    runs = [run for run in runs if len(run) >= _LEAST_FRAMES]
    if not runs:
        return Number(value=None, note=f"needs {_LEAST_FRAMES} different consecutive frames")
    both = np.sum([_near_and_far([_high_pass(frame) for frame in run]) for run in runs], axis=0)
    near, far = both[:, still & (both.sum(axis=0) > 0)]
    if not near.size:
        return Number(value=None, note="the frames do not differ at all")
    # Tiles count alike, and (far - near) / (far + near) is 0 on average where nothing is shared.
    parts = (far - near) / (far + near)
    part, error = float(parts.mean()), float(parts.std()) / np.sqrt(max(1, parts.size - 1))
    shared = 2.0 * part / (1.0 + part)
    error = max(error, _least_error(parts.size, len(runs))) * 2.0 / (1.0 + part) ** 2
    return measured(shared, error, note=_AT_LEAST if shared > _MOSTLY_SHARED else "")


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
        of the frames' light as a fraction, what shot noise explains taken out. It comes from
        second differences in time, so that a trend that is not exponential does not enter.
    """
    signal = mean_adu - offset_adu
    if index.size < 4 or float(signal.mean()) <= 3.0 * noise_of_mean_adu:
        why = "needs 4 frames" if index.size < 4 else "no signal above the offset"
        return Number(value=None, note=why), Number(value=None, note=why)
    shot = noise_of_mean_adu / float(signal.mean())
    flicker = _flicker(signal / float(signal.mean()), shot)
    if float(signal.min()) <= 3.0 * noise_of_mean_adu:
        return Number(value=None, note="some frames have no signal above the offset"), flicker
    return _bleaching(index, signal, shot), flicker


def _bleaching(index: npt.NDArray[np.int64], signal: Doubles, shot: float) -> Number:
    x = (index - index.mean()) / max(1, int(np.ptp(index)))
    y = np.log(signal)
    slope = float((x * (y - y.mean())).sum() / np.square(x).sum())
    residual = y - y.mean() - slope * x
    scatter = float(np.sqrt(np.square(residual).sum() / (index.size - 2)))
    slope_error = max(scatter, shot) / float(np.sqrt(np.square(x).sum()))
    return measured(1.0 - float(np.exp(slope)), slope_error * float(np.exp(slope)))


def _flicker(relative: Doubles, shot: float) -> Number:
    second = relative[:-2] - 2.0 * relative[1:-1] + relative[2:]
    found = float(np.square(second).mean()) / 6.0
    # Second differences two apart share frames: their squares correlate by 16/36 and 1/36.
    error = found * float(np.sqrt(2.0 * (1.0 + 2.0 * 17.0 / 36.0) / second.size))
    power = found - shot**2
    root = float(np.sqrt(max(power, 0.0)))
    return measured(root, error / (2.0 * root) if power > error else float(np.sqrt(error)))


def drift(
    runs: Sequence[Sequence[Frame]], n_frames: int, offset_adu: float, *, moves: bool = False
) -> Number:
    """Measure the largest shift of a later part of the recording against its start, in pixels.

    Parameters
    ----------
    runs : sequence of sequences of ndarray
        Runs of consecutive frames spread over the recording, counts (Y, X).
    n_frames : int
        Of the recording: an eighth of it is averaged at most, so that little drift is lost within.
    offset_adu : float
        Counts without light, as well as it is known.
    moves : bool
        Whether most of the field moves: what lies anywhere then looks like a shift, and both
        halves of the field must show it.
    """
    frames = [frame for run in runs for frame in run]
    if len(frames) < 2:
        return Number(value=None, unit="px", note="needs 2 frames")
    width = int(np.clip(n_frames // 8, 1, len(runs[0])))
    parts = [run[-width:] for run in runs[1:]] or [frames[-width:]]
    first = _mean(frames[:width], offset_adu)
    means = [_mean(part, offset_adu) for part in parts]
    found = [(shift, last) for last in means if (shift := _shift(first, last)) is not None]
    if not found:
        return Number(value=None, unit="px", note="no structure to compare")
    largest, last = max(found, key=lambda pair: pair[0].length_px)
    if not _as_one(first, last, largest, sure=not moves):
        return Number(value=None, unit="px", note="parts of the field move differently")
    return measured(largest.length_px, largest.error_px, unit="px")


def _as_one(first: Image, last: Image, whole: Shift, *, sure: bool) -> bool:
    """Return whether the halves of the field moved as the whole did.

    A half in which too little is to be seen counts as the whole does, if that is ``sure``.
    """
    middle = first.shape[1] // 2
    for half in (slice(0, middle), slice(middle, None)):
        shift = _shift(first[:, half], last[:, half])
        if shift is None and not sure:
            return False
        if shift is not None:
            apart = np.subtract(shift.shift_px, whole.shift_px)
            if float(np.hypot(*apart)) > _APART_PX + 3.0 * (shift.error_px + whole.error_px):
                return False
    return True


def _shift(first: Image, last: Image) -> Shift | None:
    from livedenoise.imaging.registration import measure_shift

    shift = measure_shift(first, last)
    return shift if shift.found else None


def _mean(frames: Sequence[Frame], offset_adu: float) -> Image:
    return np.asarray(np.mean(frames, axis=0, dtype=np.float32) - np.float32(offset_adu))


def _near_and_far(run: Run) -> Doubles:
    """Return the summed variances of neighbours and of distant frames, (2, tiles)."""
    n = len(run)
    near, far = [], []
    for apart in range(max(2, n - 3), n - 1):
        for a in range(n - 1 - apart):
            b = a + apart
            near += [(a, a + 1), (b, b + 1)]
            far += [(a, b), (a + 1, b + 1)]
    known = {pair: _power(run, *pair) for pair in {*near, *far}}
    return np.array([np.sum([known[pair] for pair in side], axis=0) for side in (near, far)])


def _power(run: Run, first: int, second: int) -> Doubles:
    power: Doubles = np.square(tiles_of(run[second] - run[first])).mean(
        axis=(1, 2), dtype=np.float64
    )
    return power


def _least_error(n_tiles: int, n_runs: int) -> float:
    """Return the standard error of white noise: some 180 degrees of freedom a tile and pair."""
    return float(np.sqrt(1.0 / (2.0 * 180.0 * n_tiles * n_runs)))


def _high_pass(frame: Image) -> Image:
    from scipy.ndimage import correlate1d

    image = frame
    for axis in (0, 1):
        image = correlate1d(image, _KERNEL, axis=axis, mode="reflect")
    return image
