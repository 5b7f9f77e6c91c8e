"""The straight line variance = slope * level + intercept through the blocks of a recording.

Knows: gamma-distributed variances, outliers that only ever lie too high, levels that are
themselves noisy. Must not know: frames, cameras, electrons.

A variance measured with n degrees of freedom scatters in proportion to itself (relative sd
sqrt(2 / n)), so blocks are weighted with 1 / line^2, and the line is iterated: weighted least
squares of a gamma mean (McCullagh & Nelder, "Generalized Linear Models", 1989, ch. 8). Motion and
structure only add variance, so blocks are rejected on the high side only, beyond six standard
deviations of the clean, lower half of their level. A level read from noisy pixels would flatten
the line (errors in variables); its known noise is taken out of the moments (Fuller, "Measurement
Error Models", 1987, sec. 1.2).
"""

from __future__ import annotations

from itertools import pairwise

import msgspec
import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

ITERATIONS = 20
CUT_SD = 6.0
MOST_BINS = 24
BLOCKS_PER_BIN = 12


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """A fitted line and how far to trust it.

    ``r2`` is the part of the weighted variation between level bins that the line explains, in
    [0, 1]. ``level_means`` and ``level_variances`` are the bins themselves, after rejection.
    """

    slope: float
    intercept: float
    slope_error: float
    r2: float
    level_means: tuple[float, ...]
    level_variances: tuple[float, ...]


def fit_line(level: FloatArray, variance: FloatArray, *, dof: float, n_level: float) -> Line:
    """Fit the line to blocks.

    Parameters
    ----------
    level, variance : ndarray (n_blocks,)
        Mean counts and noise variance (counts squared) of each block; at least two blocks.
    dof : float
        Degrees of freedom of one block's variance.
    n_level : float
        Number of pixels averaged in one block's level.
    """
    order = np.argsort(level, kind="stable")
    level, variance = level[order], variance[order]
    bins = level_bins(len(level))
    slope, intercept = _start(level, variance, bins, dof)
    error, weights = np.inf, np.ones_like(level)
    for _ in range(ITERATIONS):
        line = _floored(slope, intercept, level, variance)
        weights = _weights(line, variance, bins, dof, slope)
        previous = slope
        slope, intercept, error = _solve(level, variance, weights, line, n_level)
        if abs(slope - previous) <= 1e-5 * abs(previous):
            break
    means, variances, r2 = _goodness(level, variance, weights, bins)
    return Line(
        slope=slope,
        intercept=intercept,
        slope_error=error,
        r2=r2,
        level_means=means,
        level_variances=variances,
    )


def level_bins(n_blocks: int) -> list[slice]:
    """Return slices of equally many sorted blocks; the brightest bin is cut in four once more.

    Dark background is most of a fluorescence image: without the second cut everything bright
    would share one bin.
    """
    n_bins = int(np.clip(n_blocks // BLOCKS_PER_BIN, 1, MOST_BINS))
    edges = np.linspace(0, n_blocks, n_bins + 1).round().astype(int)
    if n_blocks - edges[-2] >= 4 * BLOCKS_PER_BIN:
        fine = np.linspace(edges[-2], n_blocks, 5).round().astype(int)
        edges = np.concatenate([edges[:-2], fine])
    return [slice(int(low), int(high)) for low, high in pairwise(edges) if high > low]


def _start(
    level: FloatArray, variance: FloatArray, bins: list[slice], dof: float
) -> tuple[float, float]:
    """Return a line through bin medians: median of pairwise slopes, weighted by distance (Sen)."""
    median_over_mean = (1.0 - 2.0 / (9.0 * max(dof, 1.0))) ** 3
    means = np.array([level[b].mean() for b in bins])
    medians = np.array([np.median(variance[b]) for b in bins]) / median_over_mean
    i, j = np.triu_indices(len(bins), 1)
    run = means[j] - means[i]
    usable = run > 0
    if not usable.any():
        return 0.0, float(medians.mean())
    slopes = (medians[j] - medians[i])[usable] / run[usable]
    order = np.argsort(slopes)
    total = np.cumsum(run[usable][order])
    slope = float(slopes[order][np.searchsorted(total, 0.5 * total[-1])])
    return slope, float(np.median(medians - slope * means))


def _floored(slope: float, intercept: float, level: FloatArray, variance: FloatArray) -> FloatArray:
    floor = max(0.02 * float(np.median(variance)), 1e-30)
    return np.maximum(slope * level + intercept, floor)


def _weights(
    line: FloatArray, variance: FloatArray, bins: list[slice], dof: float, slope: float
) -> FloatArray:
    """Return 1 / (expected variance of each block's variance), 0 for rejected blocks.

    The kurtosis of few electrons (slope^2 / line is one over their number) widens the scatter.
    """
    ratio = variance / line
    spread = np.sqrt((2.0 + slope**2 / line) / dof)
    keep = np.ones(len(line), dtype=bool)
    for b in bins:
        low, middle = np.quantile(ratio[b], (0.1587, 0.5))
        keep[b] = ratio[b] <= middle + CUT_SD * np.maximum(middle - low, spread[b])
    return np.asarray(keep / np.square(line * spread), dtype=np.float64)


def _solve(
    level: FloatArray, variance: FloatArray, weights: FloatArray, line: FloatArray, n_level: float
) -> tuple[float, float, float]:
    """Return slope, intercept and standard error of the slope.

    The noise of a level has variance line / n and, through the third moment of shot noise,
    covariance slope * (line - darkest) / n with the measured variance; both leave the moments.
    """
    share = weights / weights.sum()
    mean_level, mean_variance = float(share @ level), float(share @ variance)
    off_level, off_variance = level - mean_level, variance - mean_variance
    spread, joint = float(share @ off_level**2), float(share @ (off_level * off_variance))
    if spread <= 0:
        return 0.0, mean_variance, np.inf
    noise = float(share @ line) / n_level
    shot = max(float(share @ (line - line.min())), 0.0) / n_level
    slope = joint / spread
    if noise < 0.9 * spread:
        slope = joint / (spread - noise + shot)
    residual = off_variance - slope * off_level
    kept = max(int(np.count_nonzero(weights)) - 2, 1)
    error = np.sqrt(float(share @ residual**2) / (kept * spread))
    return slope, mean_variance - slope * mean_level, float(error)


def _goodness(
    level: FloatArray, variance: FloatArray, weights: FloatArray, bins: list[slice]
) -> tuple[tuple[float, ...], tuple[float, ...], float]:
    kept = [(level[b], variance[b], weights[b]) for b in bins if weights[b].any()]
    means = np.array([lv[w > 0].mean() for lv, _, w in kept])
    variances = np.array([v[w > 0].mean() for _, v, w in kept])
    total = np.array([w.sum() for _, _, w in kept])
    r2 = 0.0
    if len(means) > 2 and np.ptp(means) > 0 and np.ptp(variances) > 0:
        share = total / total.sum()
        centred_mean, centred_variance = means - share @ means, variances - share @ variances
        slope = float(share @ (centred_mean * centred_variance)) / float(share @ centred_mean**2)
        left = float(share @ (centred_variance - slope * centred_mean) ** 2)
        r2 = 1.0 - left / float(share @ centred_variance**2)
    return tuple(means.tolist()), tuple(variances.tolist()), float(np.clip(r2, 0.0, 1.0))
