"""The autocovariance of the noise, tile by tile, from differences of frames.

Knows: arrays. Must not know: files, gains, verdicts.

Two frames of a still scene differ by noise alone: ``d = (f2 - f1) / sqrt(2)`` has its variance and
its correlation. Frames are cut into tiles of 32 px; a plane is taken out of every tile of every
difference (what is smooth over the tile: bleaching, flicker, slow drift). The autocovariance comes
from the power spectrum (Wiener and Khinchin) of the tile padded with zeros, summed over the pairs.

Taking out the plane lowers the covariance of white noise at lag (dy, dx) by its variance times the
mean of the plane's hat matrix over all pixels so far apart (3 / 1024 at lag 0); added back here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise

import msgspec
import numpy as np
import numpy.typing as npt

Image = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Run = Sequence[Image]

TILE_PX = 32
REACH_PX = 24
"""Largest lag kept: beyond it too few pixels of a tile are that far apart."""
MOST_TILES = 1024
FAR_FRAMES = 4

_RAMP = np.arange(TILE_PX) - (TILE_PX - 1) / 2
_POWER = float(np.square(_RAMP).sum()) * TILE_PX


class TileNoise(msgspec.Struct, frozen=True, kw_only=True):
    """Autocovariances of the noise of one frame in every tile, counts squared.

    Attributes
    ----------
    near : ndarray (tiles, REACH_PX + 1, 2 * REACH_PX + 1)
        At lag (dy, dx): ``near[:, dy, dx + REACH_PX]``, from neighbouring frames.
    far : ndarray or None
        The same from frames ``FAR_FRAMES`` apart; None where no run is long enough.
    n_near, n_far : int
        Pairs of frames behind them.
    """

    near: Doubles
    far: Doubles | None
    n_near: int
    n_far: int

    @property
    def variance(self) -> Doubles:
        """Return the noise variance of every tile from neighbouring frames, (tiles,)."""
        return at_lag(self.near, 0, 0)


def tile_noise(runs: Sequence[Run]) -> TileNoise:
    """Measure the autocovariances over runs of consecutive frames.

    Parameters
    ----------
    runs : sequence of sequences of ndarray
        Each a run of consecutive frames, float32 (Y, X), at least one tile large.

    Raises
    ------
    ValueError
        If a frame is smaller than a tile, or no run has two frames.
    """
    near, n_near = _autocovariance(b - a for run in runs for a, b in pairwise(run))
    if near is None:
        raise ValueError("no two consecutive frames")
    far, n_far = _autocovariance(
        b - a for run in runs for a, b in zip(run, run[FAR_FRAMES:], strict=False)
    )
    return TileNoise(near=near, far=far, n_near=n_near, n_far=n_far)


def at_lag(covariance: Doubles, dy: int, dx: int) -> Doubles:
    """Return the covariance of pixels (dy, dx) apart, ``dy >= 0``, for every tile."""
    found: Doubles = covariance[:, dy, dx + REACH_PX]
    return found


def tiles_of(difference: Image) -> Image:
    """Return the tiles of a difference of two frames, (tiles, Y, X), over sqrt(2), without plane.

    At most ``MOST_TILES``, spread over the frame.
    """
    rows, columns = (n // TILE_PX for n in difference.shape)
    if not rows or not columns:
        raise ValueError(f"frames of {difference.shape} are smaller than {TILE_PX} px")
    cut = difference[: rows * TILE_PX, : columns * TILE_PX]
    tiles = cut.reshape(rows, TILE_PX, columns, TILE_PX).swapaxes(1, 2)
    flat = tiles.reshape(-1, TILE_PX, TILE_PX)
    step = -(-len(flat) // MOST_TILES)
    return _without_plane(flat[::step] * np.float32(1 / np.sqrt(2)))


def pairs_at(dy: int, dx: int) -> int:
    """Return how many pixels of a tile have one (dy, dx) from them."""
    return (TILE_PX - abs(dy)) * (TILE_PX - abs(dx))


def _without_plane(tiles: Image) -> Image:
    ramp = _RAMP.astype(np.float32)
    level = tiles.mean(axis=(1, 2), keepdims=True)
    along_y = np.einsum("tyx,y->t", tiles, ramp)[:, None, None] / _POWER * ramp[:, None]
    along_x = np.einsum("tyx,x->t", tiles, ramp)[:, None, None] / _POWER * ramp
    flat: Image = (tiles - level - along_y - along_x).astype(np.float32)
    return flat


def _autocovariance(differences: Iterable[Image]) -> tuple[Doubles | None, int]:
    """Return the mean autocovariance of every tile, unbiased, and the number of differences."""
    from scipy import fft

    total: Doubles | None = None
    count = 0
    for difference in differences:
        spectrum = fft.rfft2(tiles_of(difference), s=(2 * TILE_PX, 2 * TILE_PX))
        power = np.square(spectrum.real) + np.square(spectrum.imag)
        if total is None:
            total = np.zeros(power.shape)
        total += power
        count += 1
    if total is None:
        return None, 0
    products = fft.irfft2(total / count, s=(2 * TILE_PX, 2 * TILE_PX))
    kept = np.concatenate(
        (products[:, : REACH_PX + 1, -REACH_PX:], products[:, : REACH_PX + 1, : REACH_PX + 1]),
        axis=2,
    )
    mean = kept / _PAIRS
    return mean + _PLANE * mean[:, :1, REACH_PX, None], count


def _pair_counts() -> Doubles:
    dy, dx = np.arange(REACH_PX + 1), np.abs(np.arange(-REACH_PX, REACH_PX + 1))
    counts: Doubles = ((TILE_PX - dy)[:, None] * (TILE_PX - dx)).astype(np.float64)
    return counts


def _plane_bias() -> Doubles:
    """Return the mean of the plane's hat matrix over all pixels (dy, dx) apart."""
    ramps = np.array([np.mean(_RAMP[: TILE_PX - n] * _RAMP[n:]) for n in range(REACH_PX + 1)])
    along_x = ramps[np.abs(np.arange(-REACH_PX, REACH_PX + 1))]
    bias: Doubles = 1.0 / TILE_PX**2 + (ramps[:, None] + along_x) / _POWER
    return bias


_PAIRS = _pair_counts()
_PLANE = _plane_bias()
