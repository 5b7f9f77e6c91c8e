"""In which tiles something moves, and which are still enough to read the noise from.

Knows: autocovariances of tiles. Must not know: frames, verdicts.

Noise has some power in the finest detail (the fourth difference along both axes, as in
``imaging.noise_blocks``); what an objective forms has next to none. So:

- slow motion: frames further apart differ more than neighbours do, beyond what the finest detail
  does (a running average makes distant frames differ more as well, at every scale alike);
- fast motion: the variance over its fine part is larger than in the quietest tenth of the field.
  Looked at only where that is close to 1, its value for white noise: the fine part of smoothed
  noise is so small that rounding to counts changes it from tile to tile.
"""

from __future__ import annotations

import msgspec
import numpy as np
import numpy.typing as npt

from livedenoise.diagnose.correlation import SHARED_FRAMES
from livedenoise.diagnose.fine import FOURTH, fine_variance
from livedenoise.diagnose.tiles import TILE_PX, TileNoise, at_lag
from livedenoise.imaging.noise_blocks import BLOCK_PIXELS, HIGH_PASS_DOF

Doubles = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

_SLACK = 0.1
_FAST_SLACK = 0.15
_SIGMAS = 4.0
_WHITE_RATIO = 1.3
_LEAST_STILL = 0.25


class Motion(msgspec.Struct, frozen=True, kw_only=True):
    """Which tiles move.

    Attributes
    ----------
    moving : ndarray of bool
        (tiles,)
    still : ndarray of bool
        (tiles,) tiles to read the noise from: those that do not move; the quietest quarter where
        fewer are left.
    limit : bool
        Whether that was so: what the noise seems to share is then partly motion.
    """

    moving: Bools
    still: Bools
    limit: bool


def find_motion(noise: TileNoise) -> Motion:
    """Find the tiles in which something moves; some tile must have noise."""
    noisy = noise.variance > 0
    fine = fine_variance(noise.near, FOURTH, FOURTH)
    tiny = 1e-6 * float(noise.variance.mean())
    ratio = noise.variance / np.maximum(fine, tiny)
    moving = noisy & (_fast(ratio, noisy, noise.n_near) | _slow(noise, fine, tiny))
    still = noisy & ~moving
    least = int(np.ceil(_LEAST_STILL * noisy.sum()))
    limit = int(still.sum()) < least
    if limit:
        still = noisy & (ratio <= np.partition(ratio[noisy], least - 1)[least - 1])
    return Motion(moving=moving, still=still, limit=limit)


def _fast(ratio: Doubles, noisy: Bools, n_pairs: int) -> Bools:
    quiet = float(np.quantile(ratio[noisy], 0.1))
    if quiet > _WHITE_RATIO:
        return np.zeros(len(ratio), dtype=bool)
    below = float(np.median(ratio[noisy]) - np.quantile(ratio[noisy], 0.1587))
    error = max(_fine_error(n_pairs / SHARED_FRAMES), min(below / quiet, 0.25))
    return np.asarray(ratio > quiet * (1.0 + _FAST_SLACK + _SIGMAS * error))


def _slow(noise: TileNoise, fine: Doubles, tiny: float) -> Bools:
    if noise.far is None:
        return np.zeros(len(fine), dtype=bool)
    grown = at_lag(noise.far, 0, 0) / np.maximum(noise.variance, tiny)
    expected = np.maximum(fine_variance(noise.far, FOURTH, FOURTH), tiny) / np.maximum(fine, tiny)
    expected = np.maximum(expected, float(np.median(expected)))
    pixels = TILE_PX**2 * min(noise.n_far, noise.n_near / SHARED_FRAMES)
    return np.asarray(grown > expected * (1.0 + _SLACK + _SIGMAS * np.sqrt(4.0 / pixels)))


def _fine_error(n_pairs: float) -> float:
    """Return the relative standard error of a tile's fine variance of white noise."""
    freedom = HIGH_PASS_DOF / BLOCK_PIXELS * TILE_PX**2 * max(1.0, n_pairs)
    return float(np.sqrt(2.0 / freedom))
