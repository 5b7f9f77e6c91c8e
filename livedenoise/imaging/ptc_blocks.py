"""Signal and variance of small blocks of pixels: the raw material of a photon transfer fit.

Knows: averaging over blocks with a mask, the dark values to subtract. Must not know: fits, gains.

Blocks are chosen by place, not by brightness: pixels sorted by their own noisy mean would bring
that noise into the curve. A straight line between mean and variance of pixels holds for averages
over pixels too, so a block may cross an edge of the scene.
"""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from livedenoise.core.frame import max_count
from livedenoise.imaging.ptc_distant import BLOCK_PX, block_sums
from livedenoise.imaging.ptc_moments import PixelSummary

TILES_PER_AXIS = 8
CLIP_SD = 5.0
MOST_AT_ZERO = 1e-3
MOST_AT_TOP = 1e-4

FloatArray = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]


class DarkReference(msgspec.Struct, frozen=True, kw_only=True):
    """What is subtracted: mean and variance of each pixel without light, and their weight.

    ``n_frames`` and ``dof`` are what mean and variance rest on.
    """

    offset_adu: npt.NDArray[np.float32]
    variance_adu2: npt.NDArray[np.float32]
    n_frames: float
    dof: float


class TransferBlocks(msgspec.Struct, frozen=True, kw_only=True):
    """Blocks of one or more series, each array (n_blocks,).

    Attributes
    ----------
    signal : ndarray
        Mean counts, the dark mean subtracted where there is one.
    variance : ndarray
        Temporal variance, the dark variance subtracted where there is one.
    raw_mean, raw_variance, dark_variance : ndarray
        Before subtraction; the dark variance is 0 without darks.
    n_pixels : ndarray
        Valid pixels in the block.
    level, tile : ndarray of int64
        Which series, and which of the 8x8 parts of the frame.
    n_frames, dof : ndarray
        Of the series; and ``dark_frames``, ``dark_dof`` of the darks (infinite without).
    clipped : ndarray of bool
        The block comes within five standard deviations of the highest count or touches it (0.01 %
        of its samples), or touches zero in more than 0.1 %.
    place : ndarray of int64
        Where the block lies: row * columns + column of the grid of whole blocks.
    """

    signal: FloatArray
    variance: FloatArray
    raw_mean: FloatArray
    raw_variance: FloatArray
    dark_variance: FloatArray
    n_pixels: FloatArray
    level: npt.NDArray[np.int64]
    tile: npt.NDArray[np.int64]
    place: npt.NDArray[np.int64]
    n_frames: FloatArray
    dof: FloatArray
    dark_frames: FloatArray
    dark_dof: FloatArray
    clipped: Mask

    def __len__(self) -> int:
        return int(self.signal.size)

    def subset(self, keep: Mask | npt.NDArray[np.int64]) -> TransferBlocks:
        """Return the blocks that ``keep`` selects."""
        return TransferBlocks(**{n: getattr(self, n)[keep] for n in self.__struct_fields__})


def transfer_blocks(
    series: list[PixelSummary], dark: DarkReference | None, valid: Mask | None = None
) -> TransferBlocks:
    """Return the blocks of all series, one after another.

    Parameters
    ----------
    series : list of PixelSummary
        Of one shape, at least one.
    dark : DarkReference, optional
        Subtracted pixel by pixel.
    valid : ndarray of bool (Y, X), optional
        False for pixels that are left out (hot, telegraph, dead).
    """
    parts = [_one_series(number, s, dark, valid) for number, s in enumerate(series)]
    return TransferBlocks(**{name: np.concatenate([p[name] for p in parts]) for name in parts[0]})


def _one_series(
    number: int, series: PixelSummary, dark: DarkReference | None, valid: Mask | None
) -> dict[str, npt.NDArray[np.generic]]:
    shape = series.shape
    weight = np.ones(shape) if valid is None else valid.astype(np.float64)
    n_pixels = block_sums(weight)
    kept = n_pixels >= BLOCK_PX
    safe = np.maximum(n_pixels, 1.0)

    def average(
        image: npt.NDArray[np.floating[Any]] | npt.NDArray[np.unsignedinteger[Any]],
    ) -> FloatArray:
        return np.asarray((block_sums(image * weight) / safe)[kept], dtype=np.float64)

    raw_mean, raw_variance = average(series.mean_adu), average(series.variance_adu2)
    zero = average(series.at_zero) / series.n_frames
    top = average(series.saturated) / series.n_frames
    count = int(kept.sum())
    offset, dark_variance = np.zeros(count), np.zeros(count)
    if dark is not None:
        offset, dark_variance = average(dark.offset_adu), average(dark.variance_adu2)
    near_top = raw_mean + CLIP_SD * np.sqrt(raw_variance) >= max_count(series.bit_depth)
    return {
        "signal": raw_mean - offset,
        "variance": raw_variance - dark_variance,
        "raw_mean": raw_mean,
        "raw_variance": raw_variance,
        "dark_variance": dark_variance,
        "n_pixels": n_pixels[kept],
        "level": np.full(count, number),
        "tile": _tiles(n_pixels.shape)[kept],
        "place": np.flatnonzero(kept),
        "n_frames": np.full(count, float(series.n_frames)),
        "dof": np.full(count, series.dof),
        "dark_frames": np.full(count, np.inf if dark is None else dark.n_frames),
        "dark_dof": np.full(count, np.inf if dark is None else dark.dof),
        "clipped": near_top | (zero > MOST_AT_ZERO) | (top > MOST_AT_TOP),
    }


def _tiles(grid: tuple[int, ...]) -> npt.NDArray[np.int64]:
    rows = np.arange(grid[0]) * TILES_PER_AXIS // max(grid[0], 1)
    columns = np.arange(grid[1]) * TILES_PER_AXIS // max(grid[1], 1)
    return np.asarray(rows[:, None] * TILES_PER_AXIS + columns[None, :], dtype=np.int64)
