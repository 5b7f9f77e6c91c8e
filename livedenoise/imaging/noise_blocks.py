"""Level and noise of small blocks of a recording: the raw material of a noise estimate.

Knows: how frames are sampled, which pairs of frames are subtracted, and three statistics of every
8x8 block. Must not know: lines, cameras, electrons.

For one block, averaged over all pairs (f1, f2) of frames, with d = (f2 - f1) / sqrt(2):

``level``
    mean of f1 and f2, counts.
``direct``
    sample variance of d over the block (its mean removed, so bleaching and flicker drop out):
    the variance of the noise where nothing moves. Photon transfer from frame pairs (Janesick,
    "Photon Transfer", SPIE 2007).
``high_pass``
    mean square of d after the fourth difference [1, -4, 6, -4, 1] / sqrt(70) along both axes,
    which has unit gain for white noise and nearly none for anything an objective can form: the
    variance of white noise even where things move, and even in a single image (then d is the
    image itself). The kernel of Immerkaer (CVIU 64, 1996) is the second difference of the same
    family; on live lysosomes (spinning disk, PSF of about 1.3 px) it still reads up to 60 % of
    structure as noise, the fourth difference does not.

Averaging over a block or over time keeps a straight line: where variance = a * level + b holds
for pixels it holds for these averages, through motion and bleaching alike.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
import numpy.typing as npt

from livedenoise.core.frame import Frame, max_count

BLOCK_PX = 8
MARGIN_PX = 2
BLOCK_PIXELS = BLOCK_PX * BLOCK_PX
MIN_SIDE_PX = BLOCK_PX + 2 * MARGIN_PX
PIXEL_BUDGET = 1 << 21
WINDOW_PX = 64
WINDOWS_PER_AXIS = 8
TINY = 1e-30
"""Keeps a ratio of two zeros finite; far below any variance of a float image."""

DIRECT_DOF = BLOCK_PIXELS - 1
HIGH_PASS_DOF = 11.4
"""Degrees of freedom of one block's ``high_pass``: its 64 values are correlated by the filter."""

FloatArray = npt.NDArray[np.float64]
Image = npt.NDArray[np.float32]


class BlockStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """Statistics of all sampled blocks, each array of shape (n_blocks,).

    Attributes
    ----------
    level : ndarray of float64
        Counts.
    direct, high_pass : ndarray of float64
        Noise variance of one frame in counts squared, see the module. From a single image
        ``direct`` holds the structure as well.
    mid_pass : ndarray of float64
        The same as ``high_pass`` with the second difference [1, -2, 1] / sqrt(6): more, where the
        noise is correlated over neighbouring pixels.
    structure : ndarray of float64
        ``direct`` over ``high_pass`` of the eight blocks around: about the same everywhere for a
        static scene, larger where something moves. The block's own noise is not in it.
    clipped : ndarray of bool
        Blocks that touch the top of the range, or lie at zero for more than 1 % of their pixels.
    n_pairs, n_frames : int
        Pairs averaged (1 for a single image) and frames read.
    single : bool
        True for a single image.
    lag1 : ndarray (2, n_blocks)
        Lag-1 autocorrelation of d along x and along y in each block, from up to four pairs.
    """

    level: FloatArray
    direct: FloatArray
    high_pass: FloatArray
    mid_pass: FloatArray
    structure: FloatArray
    clipped: npt.NDArray[np.bool_]
    lag1: FloatArray
    n_pairs: int
    n_frames: int
    single: bool

    @property
    def n_pixels(self) -> int:
        """Return the number of differences behind the statistics."""
        return int(self.level.size) * BLOCK_PIXELS * self.n_pairs

    def subset(self, keep: npt.NDArray[np.bool_]) -> BlockStatistics:
        """Return the statistics of the blocks where ``keep`` is true."""
        chosen = {
            name: getattr(self, name)[..., keep]
            for name in ("level", "direct", "high_pass", "mid_pass", "structure", "clipped", "lag1")
        }
        return msgspec.structs.replace(self, **chosen)


def block_statistics(frames: Sequence[Frame], *, bit_depth: int) -> BlockStatistics:
    """Return the statistics of a sample of at most about two million pixels.

    Parameters
    ----------
    frames : sequence of ndarray (Y, X), or ndarray (T, Y, X)
        Counts; both sides at least 12 px. One frame is treated as a single image.
    bit_depth : int
        Valid bits of integer frames; ignored for float ones.

    Raises
    ------
    ValueError
        If the frames are smaller than one block with its margin.
    """
    shape = frames[0].shape
    if min(shape) < MIN_SIDE_PX:
        raise ValueError(f"frames of {shape} are smaller than {MIN_SIDE_PX} px")
    windows = sample_windows((shape[0], shape[1]))
    sampled = sum((w[0].stop - w[0].start) * (w[1].stop - w[1].start) for w in windows)
    pairs = choose_pairs(len(frames), max(1, PIXEL_BUDGET // sampled))
    limits = _clip_limits(frames, windows, bit_depth)
    parts = [_window_statistics(frames, pairs, window, limits) for window in windows]
    joined = {name: np.concatenate([p[name] for p in parts], axis=-1) for name in parts[0]}
    return BlockStatistics(
        **joined,
        n_pairs=len(pairs),
        n_frames=len({index for pair in pairs for index in pair}),
        single=len(frames) == 1,
    )


def choose_pairs(n_frames: int, most: int) -> list[tuple[int, int]]:
    """Return at most ``most`` pairs of neighbouring frame numbers, spread over the recording.

    Pairs share no frame while there are enough of them. A single frame is paired with itself.
    """
    if n_frames == 1:
        return [(0, 0)]
    starts = np.arange(n_frames - 1)
    if len(starts[::2]) >= min(most, 8):
        starts = starts[::2]
    if len(starts) > most:
        starts = starts[np.linspace(0, len(starts) - 1, most).round().astype(int)]
    return [(int(s), int(s) + 1) for s in starts]


def sample_windows(shape: tuple[int, int]) -> list[tuple[slice, slice]]:
    """Return the parts of a (Y, X) frame that are read: all of it, or an 8x8 grid of windows."""
    height, width = shape
    if height * width <= 3 * WINDOWS_PER_AXIS**2 * WINDOW_PX**2 // 2:
        return [(slice(0, height), slice(0, width))]
    rows, columns = _spread(height), _spread(width)
    return [(row, column) for row in rows for column in columns]


def _spread(length: int) -> list[slice]:
    if length <= WINDOW_PX * WINDOWS_PER_AXIS:
        return [slice(0, length)]
    starts = np.linspace(0, length - WINDOW_PX, WINDOWS_PER_AXIS).astype(int)
    return [slice(int(s), int(s) + WINDOW_PX) for s in starts]


def _clip_limits(
    frames: Sequence[Frame], windows: list[tuple[slice, slice]], bit_depth: int
) -> tuple[float, float]:
    """Return (low, high): counts at or beyond which a pixel is clipped; infinite for none.

    The top is that of the bit depth, or the highest count itself where pixels pile up on it (a
    12-bit camera in a 16-bit file): at least 16 of them and over three times the next count.
    """
    if frames[0].dtype.kind == "f":
        return -np.inf, np.inf
    sample = np.concatenate([np.asarray(frames[0][w]).ravel() for w in windows])
    top = float(sample.max())
    piled = np.count_nonzero(sample == top)
    if piled >= 16 and top > sample.min() and piled > 3 * np.count_nonzero(sample == top - 1):
        return 0.0, top
    return 0.0, float(max_count(bit_depth))


def _window_statistics(
    frames: Sequence[Frame],
    pairs: list[tuple[int, int]],
    window: tuple[slice, slice],
    limits: tuple[float, float],
) -> dict[str, npt.NDArray[np.generic]]:
    first = np.stack([frames[i][window] for i, _ in pairs]).astype(np.float32)
    if len(frames) == 1:
        second, difference = first, first
    else:
        second = np.stack([frames[j][window] for _, j in pairs]).astype(np.float32)
        difference = (second - first) / np.float32(np.sqrt(2))
    level = blocks(0.5 * (first + second)).mean(axis=(0, 3, 4), dtype=np.float64)
    direct, lag1 = _direct(blocks(difference))
    mid_pass, high_pass = _filtered_variances(difference)
    values = {
        "level": level,
        "direct": direct,
        "high_pass": high_pass,
        "mid_pass": mid_pass,
        "structure": _around(direct) / np.maximum(_around(high_pass), TINY),
        "clipped": _clipped(first, second, limits),
    }
    flat: dict[str, npt.NDArray[np.generic]] = {k: v.ravel() for k, v in values.items()}
    flat["lag1"] = lag1.reshape(2, -1)
    return flat


def blocks(stack: Image) -> Image:
    """Return (n, Y, X) as 8x8 blocks (n, rows, columns, 8, 8), without the filter's margin."""
    inner = stack[:, MARGIN_PX:-MARGIN_PX, MARGIN_PX:-MARGIN_PX]
    return _cut(inner)


def _cut(inner: Image) -> Image:
    rows, columns = inner.shape[1] // BLOCK_PX, inner.shape[2] // BLOCK_PX
    whole = inner[:, : rows * BLOCK_PX, : columns * BLOCK_PX]
    return whole.reshape(-1, rows, BLOCK_PX, columns, BLOCK_PX).swapaxes(2, 3)


def _direct(cut: Image) -> tuple[FloatArray, FloatArray]:
    centred = cut - cut.mean(axis=(3, 4), keepdims=True)
    direct = np.square(centred).sum(axis=(3, 4), dtype=np.float64).mean(axis=0) / DIRECT_DOF
    few = centred[:4]
    power = np.maximum(np.square(few).mean(axis=(0, 3, 4), dtype=np.float64), TINY)
    along_x = (few[..., 1:] * few[..., :-1]).mean(axis=(0, 3, 4), dtype=np.float64)
    along_y = (few[..., 1:, :] * few[..., :-1, :]).mean(axis=(0, 3, 4), dtype=np.float64)
    # Removing the block's mean makes white noise read -1/63.
    return direct, np.stack([along_x, along_y]) / power + 1.0 / DIRECT_DOF


def _filtered_variances(difference: Image) -> tuple[FloatArray, FloatArray]:
    """Return block mean squares of the second and the fourth difference along both axes."""
    second = _second_difference(_second_difference(difference, 2), 1)
    fourth = _second_difference(_second_difference(second, 2), 1)
    return _block_power(second[:, 1:-1, 1:-1]) / 6.0**2, _block_power(fourth) / 70.0**2


def _block_power(filtered: Image) -> FloatArray:
    power = np.square(_cut(filtered)).mean(axis=(0, 3, 4), dtype=np.float64)
    return np.asarray(power, dtype=np.float64)


def _second_difference(stack: Image, axis: int) -> Image:
    moved = np.moveaxis(stack, axis, -1)
    result = moved[..., 2:] + moved[..., :-2]
    result -= 2 * moved[..., 1:-1]
    return np.moveaxis(result, -1, axis)


def _around(grid: FloatArray) -> FloatArray:
    """Return the mean over the eight blocks around each one (edges repeat)."""
    padded = np.pad(grid, 1, mode="edge")
    rows, columns = grid.shape
    total = sum(
        padded[i : i + rows, j : j + columns]
        for i in range(3)
        for j in range(3)
        if (i, j) != (1, 1)
    )
    return np.asarray(total, dtype=np.float64) / 8.0


def _clipped(first: Image, second: Image, limits: tuple[float, float]) -> npt.NDArray[np.bool_]:
    low, high = limits
    cut = (blocks(first), blocks(second))
    at_top = max(float(c.max()) for c in cut) >= high
    at_zero = min(float(c.min()) for c in cut) <= low
    result = np.zeros(cut[0].shape[1:3], dtype=bool)
    for part in cut:
        if at_top:
            result |= (part >= high).any(axis=(0, 3, 4))
        if at_zero:
            result |= (part <= low).mean(axis=(0, 3, 4)) > 0.01
    return result
