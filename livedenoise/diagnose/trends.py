"""What changes from frame to frame: shared noise, bleaching, flicker.

Knows: arrays. Must not know: files, verdicts.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
import numpy.typing as npt

from livedenoise.diagnose.facts import Number, measured
from livedenoise.diagnose.levels import Offset
from livedenoise.diagnose.tiles import Image, Run, tiles_of

Doubles = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

_KERNEL = np.array([1.0, -4.0, 6.0, -4.0, 1.0]) / np.sqrt(70.0)
_LEAST_FRAMES = 4
_CUBIC_FRAMES = 8
_MOSTLY_SHARED = 0.6
_AT_LEAST = "at least: frames further apart than looked at may share noise as well"


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


def brightness(
    index: npt.NDArray[np.int64], mean_adu: Doubles, offset: Offset, noise_of_mean_adu: float
) -> dict[str, Number]:
    """Fit an exponential to the signal of frames spread over the recording.

    Parameters
    ----------
    index : ndarray of int64
        (n,) frame numbers.
    mean_adu : ndarray
        (n,) mean counts of those frames.
    offset : Offset
        Counts without light, as well as they are known.
    noise_of_mean_adu : float
        Shot noise of one such mean.

    Returns
    -------
    dict of Number
        ``bleaching``: fraction of the signal lost from first to last frame (negative: gained).
        ``bleaching_adu``: the same in counts, which needs no offset. ``flicker``: standard
        deviation of the frames' light as a fraction, what shot noise explains taken out; from
        second differences in time, so that a trend that is not exponential does not enter.
        Fractions are upper limits unless the offset is known: it may lie lower, the signal higher.
    """
    if index.size < _LEAST_FRAMES:
        return _none("bleaching", "bleaching_adu", "flicker", why="needs 4 frames")
    lost = {"bleaching_adu": _lost_counts(index, mean_adu, noise_of_mean_adu)}
    signal = mean_adu - offset.adu
    mean = float(signal.mean())
    if mean <= 3.0 * noise_of_mean_adu:
        return lost | _none("bleaching", "flicker", why="no signal above the offset")
    flicker = _flicker(signal / mean, noise_of_mean_adu / mean)
    part = None if offset.least_adu is None else mean / (mean + offset.adu - offset.least_adu)
    least = None if part is None or flicker.value is None else part * flicker.value
    found = lost | {"flicker": _limited(flicker, offset, least)}
    if float(signal.min()) <= 3.0 * noise_of_mean_adu:
        return found | _none("bleaching", why="some frames have no signal above the offset")
    return found | {"bleaching": _bleaching(index, mean_adu, offset, noise_of_mean_adu)}


def _none(*names: str, why: str) -> dict[str, Number]:
    return {name: Number(value=None, note=why) for name in names}


def _limited(number: Number, offset: Offset, least: float | None) -> Number:
    """Return a fraction of the signal as an upper limit, with the least it can be."""
    if offset.known or number.value is None:
        return number
    bound = "" if least is None else f"; {least:.3g} for a camera without read noise"
    note = f"at most: the darkest part of the image counts as dark{bound}"
    return msgspec.structs.replace(number, note=note, upper_limit=True, least=least)


def _bleaching(
    index: npt.NDArray[np.int64], mean_adu: Doubles, offset: Offset, noise_adu: float
) -> Number:
    most = _exponential(index, mean_adu - offset.adu, noise_adu)
    least = None
    if offset.least_adu is not None:
        least = _exponential(index, mean_adu - offset.least_adu, noise_adu).value
    return _limited(most, offset, least)


def _exponential(index: npt.NDArray[np.int64], signal: Doubles, noise_adu: float) -> Number:
    x = (index - index.mean()) / max(1, int(np.ptp(index)))
    y = np.log(signal)
    slope = float((x * (y - y.mean())).sum() / np.square(x).sum())
    residual = y - y.mean() - slope * x
    scatter = float(np.sqrt(np.square(residual).sum() / (index.size - 2)))
    shot = noise_adu / float(signal.mean())
    slope_error = max(scatter, shot) / float(np.sqrt(np.square(x).sum()))
    return measured(1.0 - float(np.exp(slope)), slope_error * float(np.exp(slope)))


def _lost_counts(index: npt.NDArray[np.int64], mean_adu: Doubles, noise_adu: float) -> Number:
    """Return first less last point of a smooth curve: cubic, a line for few frames."""
    degree = 3 if index.size >= _CUBIC_FRAMES else 1
    x = 2.0 * (index - index[0]) / max(1, int(np.ptp(index))) - 1.0
    powers = np.vander(x, degree + 1)
    coefficients = np.linalg.lstsq(powers, mean_adu, rcond=None)[0]
    residual = mean_adu - powers @ coefficients
    scatter = float(np.sqrt(np.square(residual).sum() / (index.size - degree - 1)))
    ends = powers[0] - powers[-1]
    spread = float(np.sqrt(ends @ np.linalg.inv(powers.T @ powers) @ ends))
    return measured(float(ends @ coefficients), max(scatter, noise_adu) * spread, unit="counts")


def _flicker(relative: Doubles, shot: float) -> Number:
    second = relative[:-2] - 2.0 * relative[1:-1] + relative[2:]
    found = float(np.square(second).mean()) / 6.0
    # Second differences two apart share frames: their squares correlate by 16/36 and 1/36.
    error = found * float(np.sqrt(2.0 * (1.0 + 2.0 * 17.0 / 36.0) / second.size))
    power = found - shot**2
    root = float(np.sqrt(max(power, 0.0)))
    return measured(root, error / (2.0 * root) if power > error else float(np.sqrt(error)))


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
