"""The photon transfer line: variance against signal of blocks, with honest errors.

Knows: weights of variances, errors in both coordinates, outliers that only lie too high, and the
jackknife. Must not know: saturation, gains, cameras.

A variance with n degrees of freedom scatters in proportion to itself, so blocks are weighted with
1 / line^2 and the line is iterated (McCullagh & Nelder, "Generalized Linear Models", 1989, ch. 8).
The known noise of the signal leaves the moments (Fuller, "Measurement Error Models", 1987, sec.
1.2). Standard errors come from leaving out one of 64 parts of the frame at a time (Efron & Stein,
Ann. Statist. 9, 1981): what the levels share within a part (dark frames, gains, correlated noise)
is in them.
"""

from __future__ import annotations

import msgspec
import numpy as np
import numpy.typing as npt

from livedenoise.imaging.ptc_blocks import FloatArray, Mask, TransferBlocks

ITERATIONS = 15
CUT_SD = 6.0
BLOCKS_PER_BIN = 64
MOST_BINS = 24
MEDIAN_FLOOR = 0.02


class TransferLine(msgspec.Struct, frozen=True, kw_only=True):
    """variance = slope * signal + intercept; ``kept`` marks the blocks that were not rejected."""

    slope: float
    slope_error: float
    intercept: float
    intercept_error: float
    kept: Mask


class Bin(msgspec.Struct, frozen=True, kw_only=True):
    """Blocks of about the same signal within one series."""

    signal: float
    variance: float
    error: float
    n_pixels: int
    level: int


def fit_transfer(blocks: TransferBlocks, *, through_zero: bool) -> TransferLine:
    """Fit the line to blocks.

    Parameters
    ----------
    blocks : TransferBlocks
        At least four.
    through_zero : bool
        Whether the intercept is 0 (darks were subtracted).

    Raises
    ------
    ValueError
        If there are fewer than four blocks.
    """
    if len(blocks) < 4:
        raise ValueError(f"a photon transfer fit needs 4 blocks of pixels, got {len(blocks)}")
    slope, intercept = _start(blocks, through_zero=through_zero)
    kept = np.ones(len(blocks), dtype=bool)
    sums = np.zeros((1, 6))
    for _ in range(ITERATIONS):
        line = _model(blocks, slope, intercept)
        kept = _not_too_high(blocks, line)
        sums = _tile_sums(blocks, line, kept, slope)
        previous, (slope, intercept) = slope, _solve(sums.sum(axis=0), through_zero=through_zero)
        if abs(slope - previous) <= 1e-6 * abs(previous):
            break
    errors = _jackknife(sums, through_zero=through_zero)
    return TransferLine(
        slope=slope,
        slope_error=errors[0],
        intercept=intercept,
        intercept_error=errors[1],
        kept=kept,
    )


def _start(blocks: TransferBlocks, *, through_zero: bool) -> tuple[float, float]:
    """Return a line through medians: of ratios, or of slopes between signal bins (Sen)."""
    if through_zero:
        far = blocks.signal >= np.quantile(blocks.signal, 0.5)
        positive = blocks.signal[far] > 0
        if not positive.any():
            return 0.0, 0.0
        ratios = blocks.variance[far][positive] / blocks.signal[far][positive]
        return float(np.median(ratios)), 0.0
    order = np.argsort(blocks.signal, kind="stable")
    parts = np.array_split(order, min(MOST_BINS, max(2, len(order) // 8)))
    x = np.array([blocks.signal[p].mean() for p in parts])
    y = np.array([np.median(blocks.variance[p]) for p in parts])
    i, j = np.triu_indices(len(parts), 1)
    run = x[j] - x[i]
    usable = run > 0.25 * np.ptp(x)
    if not usable.any():
        return 0.0, float(np.median(y))
    slope = float(np.median((y[j] - y[i])[usable] / run[usable]))
    return slope, float(np.median(y - slope * x))


def _model(blocks: TransferBlocks, slope: float, intercept: float) -> FloatArray:
    """Return the variance expected of each block before subtraction."""
    expected = slope * blocks.signal + intercept + blocks.dark_variance
    floor = max(MEDIAN_FLOOR * float(np.median(blocks.raw_variance)), 1e-30)
    return np.maximum(expected, floor)


def _not_too_high(blocks: TransferBlocks, line: FloatArray) -> Mask:
    """Return which blocks lie less than six sd of the lower half of their like above the line."""
    ratio = blocks.raw_variance / line
    spread = np.sqrt(2.0 / (blocks.dof * blocks.n_pixels))
    kept = np.ones(len(blocks), dtype=bool)
    order = np.lexsort((blocks.signal, blocks.level))
    for part in np.array_split(order, max(1, len(order) // 256)):
        low, middle = np.quantile(ratio[part], (0.1587, 0.5))
        kept[part] = ratio[part] <= middle + CUT_SD * np.maximum(middle - low, spread[part])
    return kept


def _tile_sums(blocks: TransferBlocks, line: FloatArray, kept: Mask, slope: float) -> FloatArray:
    """Return (tiles, 6): sums of w, wx, wy, wxx, wxy (signal noise removed) and blocks."""
    scatter = line**2 / blocks.dof + blocks.dark_variance**2 / blocks.dark_dof
    weight = kept * blocks.n_pixels / np.maximum(scatter, 1e-300)
    x, y = blocks.signal, blocks.variance
    frames = blocks.n_pixels * blocks.n_frames
    noise = line / frames + blocks.dark_variance / (blocks.n_pixels * blocks.dark_frames)
    # Third moment of shot noise: mean and variance of the same frames rise together.
    joint = slope * np.maximum(slope * x, 0.0) / frames
    columns = (weight, weight * x, weight * y, weight * (x * x - noise), weight * (x * y - joint))
    tiles = np.unique(blocks.tile, return_inverse=True)[1].ravel()
    sums = [np.bincount(tiles, weights=column) for column in (*columns, kept.astype(float))]
    return np.stack(sums, axis=1)


def _solve(sums: FloatArray, *, through_zero: bool) -> tuple[float, float]:
    w, wx, wy, wxx, wxy = (float(s) for s in sums[:5])
    if through_zero:
        return (wxy / wxx if wxx > 0 else 0.0), 0.0
    determinant = w * wxx - wx * wx
    if w <= 0 or determinant <= 1e-12 * w * abs(wxx):
        return 0.0, wy / w if w > 0 else 0.0
    slope = (w * wxy - wx * wy) / determinant
    return slope, (wy - slope * wx) / w


def _jackknife(sums: FloatArray, *, through_zero: bool) -> tuple[float, float]:
    tiles = sums.shape[0]
    if tiles < 2:
        return float("inf"), float("inf")
    total = sums.sum(axis=0)
    without = np.array([_solve(total - part, through_zero=through_zero) for part in sums])
    deviation = without - without.mean(axis=0)
    errors = np.sqrt((tiles - 1) / tiles * np.square(deviation).sum(axis=0))
    return float(errors[0]), float(errors[1])


def bin_blocks(blocks: TransferBlocks) -> list[Bin]:
    """Return bins of each series for plots and goodness of fit.

    A series is cut into as many bins as its signal has real differences: even light gives one.
    """
    bins: list[Bin] = []
    for level in np.unique(blocks.level):
        index = np.flatnonzero(blocks.level == level)
        bins.extend(_bins_of(blocks, index[np.argsort(blocks.signal[index], kind="stable")]))
    return bins


def _bins_of(blocks: TransferBlocks, order: npt.NDArray[np.int64]) -> list[Bin]:
    signal = blocks.signal[order]
    noise = np.sqrt(blocks.raw_variance[order] / (blocks.n_pixels * blocks.n_frames)[order]).mean()
    low, high = np.quantile(signal, (0.05, 0.95))
    real = (high - low) > 8.0 * noise and (high - low) > 0.1 * abs(float(signal.mean()))
    count = int(np.clip(len(order) // BLOCKS_PER_BIN, 1, MOST_BINS)) if real else 1
    return [_bin(blocks, part) for part in np.array_split(order, count) if part.size]


def _bin(blocks: TransferBlocks, part: npt.NDArray[np.int64]) -> Bin:
    weight = blocks.n_pixels[part]
    variance = blocks.variance[part]
    mean = float(np.average(variance, weights=weight))
    if part.size > 4:
        scatter = float(np.sqrt(np.average((variance - mean) ** 2, weights=weight)))
        error = scatter / float(np.sqrt(part.size - 1))
    else:
        freedom = blocks.dof[part] * weight
        error = float(np.sqrt(np.sum(2.0 * blocks.raw_variance[part] ** 2 / freedom)) / part.size)
    return Bin(
        signal=float(np.average(blocks.signal[part], weights=weight)),
        variance=mean,
        error=error,
        n_pixels=int(weight.sum()),
        level=int(blocks.level[part[0]]),
    )
