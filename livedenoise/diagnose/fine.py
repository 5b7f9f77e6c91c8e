"""The noise in the finest detail, which next to nothing an objective forms reaches.

Knows: autocovariances of tiles, difference filters. Must not know: frames, verdicts.

The power that a filter passes is a weighted sum of the autocovariance, so no frame is filtered.
The fourth and the sixth difference have the same power in white noise; smoothed noise has less of
it in the sixth. Their ratio along one axis, with the sixth difference along the other, gives the
correlation of neighbours along that axis even where everything moves: motion is far coarser. It
does so for noise smoothed (or sharpened) by a small filter [a, 1, a], the usual case: correlations
``2 a / (1 + 2 a^2)`` at lag 1 and ``a^2 / (1 + 2 a^2)`` at lag 2.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from livedenoise.diagnose.tiles import TileNoise, at_lag

Doubles = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

_MEDIAN_ERROR = 1.2533
"""Standard error of a median over that of a mean, normal errors: sqrt(pi / 2)."""


def _kernel_lags(kernel: tuple[int, ...]) -> Doubles:
    """Return the autocorrelation of a filter, 1 at lag 0 in the middle."""
    both: Doubles = np.convolve(kernel, kernel) / float(np.square(kernel).sum())
    return both


FOURTH = _kernel_lags((1, -4, 6, -4, 1))
SIXTH = _kernel_lags((1, -6, 15, -20, 15, -6, 1))


def fine_variance(covariance: Doubles, along_y: Doubles, along_x: Doubles) -> Doubles:
    """Return the variance that two filters pass, for white noise the variance, per tile.

    Parameters
    ----------
    covariance : ndarray
        Autocovariances of tiles as in ``TileNoise``.
    along_y, along_x : ndarray
        Autocorrelations of the filters, ``FOURTH`` or ``SIXTH``.
    """
    reach_y, reach_x = len(along_y) // 2, len(along_x) // 2
    total = np.zeros(len(covariance))
    for dy in range(reach_y + 1):
        for dx in range(-reach_x, reach_x + 1):
            weight = along_y[reach_y + dy] * along_x[reach_x + dx] * (1.0 if dy == 0 else 2.0)
            total += weight * at_lag(covariance, dy, dx)
    return total


def fine_correlation(noise: TileNoise, axis: str) -> tuple[float, float]:
    """Return the correlation of neighbours along ``x`` or ``y`` and its standard error.

    The median over all tiles that have noise.
    """
    covariance = noise.near[noise.variance > 0]
    filters = (SIXTH, FOURTH) if axis == "x" else (FOURTH, SIXTH)
    both = fine_variance(covariance, SIXTH, SIXTH)
    ratio = fine_variance(covariance, *filters)[both > 0] / both[both > 0]
    if ratio.size < 2:
        return float("nan"), float("nan")
    middle = float(np.median(ratio))
    spread = float(np.quantile(ratio, 0.8413) - np.quantile(ratio, 0.1587)) / 2.0
    error = _MEDIAN_ERROR * spread / float(np.sqrt(ratio.size))
    low, value, high = np.interp([middle - error, middle, middle + error], _RATIOS, _LAG1)
    return float(value), float(high - low) / 2.0


def _ratios(strength: Doubles) -> tuple[Doubles, Doubles]:
    """Return correlations at lag 1 and fourth over sixth power for filters [a, 1, a]."""
    power = 1.0 + 2.0 * strength**2
    lag1, lag2 = 2.0 * strength / power, strength**2 / power
    passed = [
        1.0 + 2.0 * (lags[len(lags) // 2 + 1] * lag1 + lags[len(lags) // 2 + 2] * lag2)
        for lags in (FOURTH, SIXTH)
    ]
    return lag1, passed[0] / passed[1]


_LAG1, _RATIOS = _ratios(np.linspace(-0.4, 0.4, 401))
