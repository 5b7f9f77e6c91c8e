"""Whether frames have independent noise, and whether the scene stood still.

Knows: the noise of frames two apart against that of neighbouring frames, block by block. Must not
know: gains, files, cameras.

- A filter over time acts on every pixel alike: the ratio of the two variances departs from 1 by
  the same factor everywhere.
- Motion acts where there is structure: the ratio departs from 1 in some blocks and not in others.
  Its noise is known (about sqrt(2 / n) of itself a pixel), so blocks that moved can be told.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
import numpy.typing as npt

from livedenoise.core.frame import max_count
from livedenoise.imaging.ptc_distant import BLOCK_PX, block_sums
from livedenoise.imaging.ptc_moments import PixelSummary

Mask = npt.NDArray[np.bool_]
DoubleMap = npt.NDArray[np.float64]

TILES_PER_AXIS = 8
CLIP_SD = 5.0
MOVING_SD = 5.0
MOVING_EXCESS = 0.15
LEAST_MOVING = 4
GROWN = 2
LEAST_BLOCKS = 64
UNEVEN = 0.15
CHANCE_SD = 4.0
OF_MEDIAN = 1.25
MOST_MOVING = 0.5
WORTH_TELLING = 0.02
PIXELS = BLOCK_PX**2


class Steadiness(msgspec.Struct, frozen=True, kw_only=True):
    """What distant frames say; all series of one camera together.

    Attributes
    ----------
    ratio, error : float
        Median over parts of the frames of the variance from frames two apart over that from
        neighbours, and its standard error; 1 and infinity where it could not be had.
    uniform : bool
        Whether a ratio that is not 1 is the same in all blocks: so is a filter's, not motion's.
    moving : tuple of ndarray of bool (Y // 4, X // 4)
        For each series the blocks in which something moved, with their neighbours.
    moving_share : float
        Largest share of moving blocks in a series, without the neighbours; 0 for a few by chance.
    """

    ratio: float
    error: float
    uniform: bool
    moving: tuple[Mask, ...]
    moving_share: float


class _Ratios(msgspec.Struct):
    near: DoubleMap
    far: DoubleMap
    usable: Mask
    block_error: float


def steadiness(series: Sequence[PixelSummary]) -> Steadiness:
    """Judge series of frames, at least one; series of two frames tell nothing."""
    found = [_ratios(one) for one in series]
    blocks = [one.far[one.usable] / one.near[one.usable] for one in found]
    every = np.concatenate(blocks)
    if not every.size:
        still = tuple(np.zeros(one.usable.shape, dtype=bool) for one in found)
        return Steadiness(
            ratio=1.0, error=float("inf"), uniform=False, moving=still, moving_share=0.0
        )
    ratio = float(np.median(every))
    uniform = abs(ratio - 1.0) > WORTH_TELLING and not _uneven(found, blocks, ratio)
    moving = [_moving(one, ratio if uniform else 1.0) for one in found]
    shares = [
        float(m.sum()) / max(float(one.usable.sum()), 1.0)
        for m, one in zip(moving, found, strict=True)
    ]
    tiles = np.concatenate(
        [
            _tile_ratios(one, m if share < MOST_MOVING else np.zeros_like(m))
            for one, m, share in zip(found, moving, shares, strict=True)
        ]
    )
    low, middle, high = (float(q) for q in np.quantile(tiles, (0.1587, 0.5, 0.8413)))
    return Steadiness(
        ratio=middle,
        error=OF_MEDIAN * 0.5 * (high - low) / float(np.sqrt(tiles.size)),
        uniform=uniform,
        moving=tuple(_grown(m) for m in moving),
        moving_share=max(shares),
    )


def _ratios(one: PixelSummary) -> _Ratios:
    near = block_sums(one.variance_adu2) / PIXELS
    far = one.distant_variance_adu2.astype(np.float64)
    mean = block_sums(one.mean_adu) / PIXELS
    room = mean + CLIP_SD * np.sqrt(near) < max_count(one.bit_depth)
    usable = room & (block_sums(one.saturated) == 0) & (near > 0) & (far > 0)
    error = float(np.sqrt(2.0 / (PIXELS * max(one.n_frames - 2, 1))))
    return _Ratios(near=near, far=far, usable=usable, block_error=error)


def _uneven(found: Sequence[_Ratios], blocks: Sequence[DoubleMap], ratio: float) -> bool:
    """Return whether the blocks of a series differ by more than their noise allows a filter."""
    for one, values in zip(found, blocks, strict=True):
        if values.size < LEAST_BLOCKS:
            continue
        low, high = np.quantile(values, (0.1587, 0.8413))
        noise = (ratio * one.block_error) ** 2
        chance = CHANCE_SD * noise * float(np.sqrt(2.0 / values.size))
        real = max((0.5 * float(high - low)) ** 2 - noise - chance, 0.0)
        if real > (UNEVEN * (ratio - 1.0)) ** 2:
            return True
    return False


def _tile_ratios(one: _Ratios, moving: Mask) -> DoubleMap:
    """Return the ratio of each of at most 8x8 parts, without what moved."""
    rows, columns = (np.arange(n) * TILES_PER_AXIS // max(n, 1) for n in one.usable.shape)
    taken = one.usable & ~_grown(moving)
    if not taken.any():
        taken = one.usable
    tile = (rows[:, None] * TILES_PER_AXIS + columns[None, :])[taken]
    count = np.bincount(tile, minlength=TILES_PER_AXIS**2)
    near = np.bincount(tile, weights=one.near[taken], minlength=TILES_PER_AXIS**2)
    far = np.bincount(tile, weights=one.far[taken], minlength=TILES_PER_AXIS**2)
    full = (count > 0) & (count >= count.max() // 4)
    return np.asarray(far[full] / near[full], dtype=np.float64)


def _moving(one: _Ratios, common: float) -> Mask:
    """Return the blocks whose distant frames differ by more than noise makes them."""
    ratio = np.where(one.usable, one.far / np.maximum(one.near, 1e-300) / common, 1.0)
    excess = np.log(np.maximum(ratio, 1e-12))
    moving = excess > max(MOVING_SD * one.block_error, MOVING_EXCESS)
    return moving if moving.sum() >= LEAST_MOVING else np.zeros_like(moving)


def _grown(moving: Mask) -> Mask:
    """Return the mask with two blocks more around: the tails of what moved."""
    if not moving.any():
        return moving
    wide, size = np.pad(moving, GROWN), range(2 * GROWN + 1)
    shifts = [wide[y : y + moving.shape[0], x : x + moving.shape[1]] for y in size for x in size]
    return np.asarray(np.any(shifts, axis=0), dtype=np.bool_)
