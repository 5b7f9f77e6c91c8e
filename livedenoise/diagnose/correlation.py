"""What neighbouring pixels, rows and columns share of the noise.

Knows: autocovariances of tiles. Must not know: frames, verdicts.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from livedenoise.diagnose.tiles import REACH_PX, TILE_PX, TileNoise, at_lag, pairs_at

Doubles = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

LAGS = {
    "lag1_x": (0, 1),
    "lag1_y": (1, 0),
    "diagonal": (1, 1),
    "antidiagonal": (1, -1),
    "lag2_x": (0, 2),
    "lag2_y": (2, 0),
}
"""(Y, X) offsets of the neighbours looked at."""
SHARED_FRAMES = 1.5
"""Neighbouring differences have a frame in common: n of them tell as much as n / 1.5."""
_GRAIN_PX = 2
_ASIDE_PX = (4, 5, 6)
_BEYOND_PX = 8
"""Pixels further apart than this share what whole rows share, not what a small filter did."""


def correlations(noise: TileNoise, still: Bools) -> dict[str, tuple[float, float]]:
    """Return the correlation of the noise at each of ``LAGS`` with its standard error.

    The mean over the tiles chosen of covariance over variance; its error from their scatter, but
    never less than white noise would have.
    """
    variance = noise.variance[still]
    pixels = TILE_PX**2 * noise.n_near * int(still.sum())
    least = float(np.sqrt(SHARED_FRAMES / max(1, pixels)))
    found = {}
    for name, (dy, dx) in LAGS.items():
        mean, error = _mean(at_lag(noise.near, dy, dx)[still] / variance)
        found[name] = (mean, max(error, least))
    return found


def grain_factor(noise: TileNoise, still: Bools) -> tuple[float, float]:
    """Return the sum of all correlations up to two pixels away and its standard error.

    1 for white noise. A linear filter that keeps the mean leaves a pixel 1 over it of its
    variance: so many times too high the gain (electrons per count) then reads.
    """
    reach = range(-_GRAIN_PX, _GRAIN_PX + 1)
    half = [(dy, dx) for dy in range(_GRAIN_PX + 1) for dx in reach if dy > 0 or dx > 0]
    around = np.sum([at_lag(noise.near, dy, dx)[still] for dy, dx in half], axis=0)
    mean, error = _mean(2.0 * around / noise.variance[still])
    pixels = TILE_PX**2 * noise.n_near * int(still.sum())
    least = 2.0 * float(np.sqrt(len(half) * SHARED_FRAMES / max(1, pixels)))
    return 1.0 + mean, max(error, least)


def shared_noise(noise: TileNoise, still: Bools, axis: str) -> tuple[float, float]:
    """Return the noise that whole rows (or columns) share and its standard error.

    Parameters
    ----------
    noise : TileNoise
        Autocovariances.
    still : ndarray of bool
        (tiles,) tiles to be used.
    axis : str
        ``x``: rows, whose pixels lie along x; ``y``: columns.

    Returns
    -------
    shared, error : float
        Its standard deviation over that of all noise of a pixel. It is the covariance of pixels of
        one row 8 to 24 px apart, less that of pixels as far apart in rows 4 to 6 px away (which
        takes out what is smooth in both directions: speckle, light that wanders).
    """
    line = _far_covariance(noise.near[still], axis) / noise.variance[still] / _LINE_PART
    mean, error = _mean(line)
    pairs = sum(pairs_at(0, lag) for lag in range(_BEYOND_PX, REACH_PX + 1))
    error = max(error, float(np.sqrt(SHARED_FRAMES / (pairs * noise.n_near * len(line)))))
    root = float(np.sqrt(max(mean, 0.0)))
    return root, error / (2.0 * root) if mean > error else float(np.sqrt(error))


def _far_covariance(covariance: Doubles, axis: str) -> Doubles:
    turned = covariance if axis == "x" else _transposed(covariance)
    far = np.arange(_BEYOND_PX, REACH_PX + 1)
    weights = (TILE_PX - far).astype(np.float64)
    along = np.average(turned[:, 0, REACH_PX + far], axis=1, weights=weights)
    rows = turned[:, _ASIDE_PX].mean(axis=1)
    both = 0.5 * (rows[:, REACH_PX + far] + rows[:, REACH_PX - far])
    aside = np.average(both, axis=1, weights=weights)
    difference: Doubles = along - aside
    return difference


def _transposed(covariance: Doubles) -> Doubles:
    """Return the autocovariance with x and y exchanged: that of (dy, dx) is that of (-dy, -dx)."""
    positive = covariance[:, :, REACH_PX:].swapaxes(1, 2)
    negative = covariance[:, :, REACH_PX::-1].swapaxes(1, 2)
    return np.concatenate((negative[:, :, :0:-1], positive), axis=2)


def _mean(values: Doubles) -> tuple[float, float]:
    error = float(values.std(ddof=1)) / np.sqrt(len(values)) if len(values) > 1 else 0.0
    return float(values.mean()), float(error)


def _line_part() -> float:
    """Return the part that the plane leaves of noise that rows share."""
    ramp = np.arange(TILE_PX) - (TILE_PX - 1) / 2
    left = np.eye(TILE_PX) - 1.0 / TILE_PX - np.outer(ramp, ramp) / np.square(ramp).sum()
    aside = np.mean([np.diagonal(left, n).mean() for n in _ASIDE_PX])
    return float(np.diagonal(left).mean() - aside)


_LINE_PART = _line_part()
