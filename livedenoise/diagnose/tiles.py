"""Correlations of the noise, from differences of frames, tile by tile.

Knows: arrays. Must not know: files, gains, verdicts.

Two frames of a still scene differ by noise alone: ``d = (f2 - f1) / sqrt(2)`` has its variance and
its correlation. Per tile of 32 px, after taking out what is smooth over the tile (a plane: drift,
flicker and slow motion), products of neighbours are summed over all pairs. Tiles in which
something moves are left out: there frames further apart differ more than neighbours do. The result
is the mean over tiles of covariance over variance; its error comes from the scatter of the tiles.

Taking out a plane lowers every correlation of white noise by about 3 / 1024; that is added back.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import msgspec
import numpy as np
import numpy.typing as npt

Image = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

TILE_PX = 32
LAGS = ((0, 1), (1, 0), (1, 1), (1, -1), (0, 2), (2, 0))
"""(Y, X) offsets of the neighbours looked at."""
MOST_TILES = 1024
_PLANE_BIAS = 3.0 / TILE_PX**2
_FAR_FRAMES = 4
MOVING_SIGMAS = 6.0
_SLACK = 1.1


class TileSums(msgspec.Struct, frozen=True, kw_only=True):
    """Sums over pairs of frames for every tile, arrays of (tiles,) or (tiles, lags).

    ``variance`` and ``far`` are noise variances of one frame from neighbouring frames and from
    frames ``_FAR_FRAMES`` apart; ``lagged`` covariances at ``LAGS``; ``rows`` and ``columns``
    variances of row and column means times the tile's edge. ``n_pairs`` is how many pairs were
    added, ``far_ratio`` the part of ``far`` over ``variance`` that is noise, 1 for independent
    frames.
    """

    variance: Doubles
    far: Doubles
    lagged: Doubles
    rows: Doubles
    columns: Doubles
    n_pairs: int
    far_ratio: float

    @property
    def still(self) -> Bools:
        """Return the tiles in which nothing moves beyond noise, never fewer than a quarter."""
        excess = excess_sigmas(self)
        still = excess < MOVING_SIGMAS
        least = max(1, excess.size // 4)
        if int(still.sum()) < least:
            still = excess <= np.partition(excess, least - 1)[least - 1]
        return np.asarray(still & (self.variance > 0))


def tile_sums(runs: Sequence[Sequence[Image]], far_ratio: float = 1.0) -> TileSums:
    """Add up differences of neighbouring frames over runs of consecutive frames.

    Parameters
    ----------
    runs : sequence of sequences of ndarray
        Each a run of at least two consecutive frames, float32 (Y, X), at least one tile large.
    far_ratio : float
        Noise variance of differences of distant frames over that of neighbours.

    Raises
    ------
    ValueError
        If a frame is smaller than a tile, or no run has two frames.
    """
    near = [tiles_of(b - a) for run in runs for a, b in pairwise(run)]
    if not near:
        raise ValueError("no two consecutive frames")
    far = [tiles_of(b - a) for run in runs for a, b in zip(run, run[_FAR_FRAMES:], strict=False)]
    sums = [_products(tile) for tile in near]
    variance, lagged, rows, columns = (np.mean([one[i] for one in sums], axis=0) for i in range(4))
    far_variance = (
        np.mean([_products(tile)[0] for tile in far], axis=0) if far else np.array(variance)
    )
    return TileSums(
        variance=variance,
        far=far_variance,
        lagged=lagged,
        rows=rows,
        columns=columns,
        n_pairs=len(near),
        far_ratio=far_ratio,
    )


def correlations(sums: TileSums) -> tuple[Doubles, Doubles]:
    """Return the correlation of the noise at each of ``LAGS``, and its standard error."""
    still = sums.still
    ratio = sums.lagged[still] / sums.variance[still][:, None] + _PLANE_BIAS
    error = ratio.std(axis=0) / np.sqrt(max(1, len(ratio) - 1))
    return ratio.mean(axis=0), error


def shared_noise(sums: TileSums) -> tuple[Doubles, Doubles]:
    """Return noise that rows and columns share, relative to a pixel's, and its standard error.

    With a part rho of the variance shared by a whole row of n pixels, and correlations l1, l2
    between neighbours, n times the variance of the row's mean over a pixel's variance is
    ``1 + (n - 1) rho + 2 (l1 - rho) + 2 (l2 - rho)``; solved for rho.
    """
    still = sums.still
    found, errors = [], []
    for means, lags in ((sums.rows, (0, 4)), (sums.columns, (1, 5))):
        variance = sums.variance[still]
        near = 1.0 + 2.0 * sum(sums.lagged[still][:, lag] / variance for lag in lags)
        shared = (means[still] / variance - near) / (TILE_PX - 5)
        error = float(shared.std()) / np.sqrt(max(1, len(shared) - 1))
        mean = float(shared.mean())
        root = np.sqrt(max(mean, 0.0))
        found.append(root)
        errors.append(error / (2.0 * root) if mean > error else np.sqrt(max(error, 0.0)))
    return np.array(found), np.array(errors)


def excess_sigmas(sums: TileSums) -> Doubles:
    """Return by how many standard errors distant frames differ more than neighbours, per tile.

    Less what noise shared by neighbouring frames explains (``far_ratio``), and 10 % for what that
    is not known to.
    """
    freedom = max(1, sums.n_pairs) * TILE_PX**2
    expected = np.maximum(_SLACK * sums.far_ratio * sums.variance, 1e-12)
    excess: Doubles = (sums.far - expected) / (expected * np.sqrt(4.0 / freedom))
    return excess


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


def _without_plane(tiles: Image) -> Image:
    ramp = np.arange(TILE_PX, dtype=np.float32) - (TILE_PX - 1) / 2
    power = float(np.square(ramp).sum()) * TILE_PX
    level = tiles.mean(axis=(1, 2), keepdims=True)
    along_y = np.einsum("tyx,y->t", tiles, ramp)[:, None, None] / power * ramp[:, None]
    along_x = np.einsum("tyx,x->t", tiles, ramp)[:, None, None] / power * ramp
    flat: Image = (tiles - level - along_y - along_x).astype(np.float32)
    return flat


def _products(tiles: Image) -> tuple[Doubles, Doubles, Doubles, Doubles]:
    variance = np.square(tiles).mean(axis=(1, 2), dtype=np.float64)
    lagged = np.stack([_lagged(tiles, dy, dx) for dy, dx in LAGS], axis=1)
    rows = TILE_PX * np.square(tiles.mean(axis=2)).mean(axis=1, dtype=np.float64)
    columns = TILE_PX * np.square(tiles.mean(axis=1)).mean(axis=1, dtype=np.float64)
    # The plane took the mean and slope of the row means with it: 2 of TILE_PX freedoms.
    freedom = TILE_PX / (TILE_PX - 2.0)
    return variance, lagged, rows * freedom, columns * freedom


def _lagged(tiles: Image, dy: int, dx: int) -> Doubles:
    """Return the mean product of pixels (dy, dx) apart, per tile."""
    first = tiles[:, : TILE_PX - dy, max(0, -dx) : TILE_PX - max(0, dx)]
    second = tiles[:, dy:, max(0, dx) : TILE_PX + min(0, dx)]
    mean: Doubles = (first * second).mean(axis=(1, 2), dtype=np.float64)
    return mean
