"""Per-pixel gain from several light levels, drawn towards the common gain as its noise asks.

Knows: Huang's least squares and empirical Bayes shrinkage. Must not know: files, cameras.

- A pixel's slope (counts per electron): ``sum_k w x_k y_k / sum_k w x_k^2`` with ``x`` its signal
  and ``y`` its variance above the dark ones at level k (Huang et al., Nature Methods 10, 2013, who
  take w = 1; here w = 1 / variance(y), which weighs all levels by what they tell).
- With n frames in all a slope is known to about sqrt(3 / n) of itself: 9 % for 400 frames, 1 % for
  30,000, while the pixels of a sensor differ by 0.5 %. So each is drawn towards the common one
  with the weight spread^2 / (spread^2 + error^2) (Efron & Morris, J. Am. Statist. Assoc. 68,
  1973). The true spread comes from the covariance of two estimates from different levels: their
  noise is not in it.
- Under even light a pixel's response tells its gain far better than its noise does: where the
  user says that the light is even (``flat_field``), response relative to its surroundings is what
  the slopes are drawn to.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
import numpy.typing as npt

from livedenoise.imaging.ptc_blocks import DarkReference
from livedenoise.imaging.ptc_moments import PixelSummary

DoubleMap = npt.NDArray[np.float64]

LEAST_LEVELS = 4
SMOOTH_PX = 12.0
CLIP_SD = 5.0
OUTLIER = 5.0
SIGNIFICANT_ERRORS = 2.0


class SlopeMaps(msgspec.Struct, frozen=True, kw_only=True):
    """Slopes of all pixels, float64 (Y, X).

    Attributes
    ----------
    slope_adu : ndarray
        Counts of variance per count of signal, after shrinkage.
    error_adu : ndarray
        Its standard error (posterior).
    shrinkage : ndarray
        Weight of the pixel's own noise measurement, 0 to 1.
    spread : float
        True relative standard deviation of the slopes among the pixels, about ``prior``.
    spread_error : float
        Its standard error (of spread^2, over 2 spread, at least).
    own_error : float
        Median relative error of a pixel's own slope.
    n_levels, n_frames : int
        What it rests on.
    """

    slope_adu: DoubleMap
    error_adu: DoubleMap
    shrinkage: DoubleMap
    spread: float
    spread_error: float
    own_error: float
    n_levels: int
    n_frames: int


class Response(msgspec.Struct, frozen=True, kw_only=True):
    """Relative response of each pixel to even light (mean 1), and its true spread."""

    relative: DoubleMap
    error: DoubleMap
    spread: float
    spread_error: float


class _Half(msgspec.Struct):
    """Weighted sums over every other level: the lit noise of two halves is independent."""

    xy: DoubleMap
    xx: DoubleMap
    x: DoubleMap


def slope_maps(
    levels: Sequence[PixelSummary],
    dark: DarkReference,
    slope_adu: float,
    *,
    excess: float,
    signal_limit_adu: float,
    response: Response | None = None,
    ordinary: npt.NDArray[np.bool_] | None = None,
) -> SlopeMaps | None:
    """Return the slope of every pixel; None with fewer than four levels.

    Parameters
    ----------
    levels : sequence of PixelSummary
        Unsaturated light levels.
    dark : DarkReference
        Dark mean and variance of each pixel.
    slope_adu : float
        Common photon transfer slope.
    excess : float
        Excess noise factor, for the scatter of the variances.
    signal_limit_adu : float
        Signals above it are left out (saturation).
    response : Response, optional
        Response to even light: what slopes are drawn to instead of the common one.
    ordinary : ndarray of bool (Y, X), optional
        Pixels the spread is taken from (no hot, telegraph or dead ones).
    """
    if len(levels) < LEAST_LEVELS:
        return None
    halves = _accumulate(levels, dark, slope_adu, excess, signal_limit_adu)
    xx = np.maximum(halves[0].xx + halves[1].xx, 1e-300)
    own = (halves[0].xy + halves[1].xy) / xx
    error = 1.0 / np.sqrt(xx)
    prior = np.full(own.shape, slope_adu) if response is None else slope_adu * response.relative
    shared = _shared_by_halves(halves, dark, slope_adu)
    if response is not None:
        shared += response.error**2
    first, second = (h.xy / np.maximum(h.xx, 1e-300) / prior - 1.0 for h in halves)
    spread, spread_error = common_spread(first, second, shared, ordinary)
    weight = spread**2 / (spread**2 + (error / prior) ** 2)
    prior_error = np.zeros(own.shape) if response is None else response.error
    left = np.sqrt(weight * (error / prior) ** 2 + (1.0 - weight) ** 2 * prior_error**2)
    return SlopeMaps(
        slope_adu=np.maximum(prior + weight * (own - prior), 0.05 * slope_adu),
        error_adu=prior * left,
        shrinkage=weight,
        spread=spread,
        spread_error=spread_error,
        own_error=float(np.median(error / prior)),
        n_levels=len(levels),
        n_frames=sum(s.n_frames for s in levels),
    )


def _accumulate(
    levels: Sequence[PixelSummary], dark: DarkReference, slope: float, excess: float, limit: float
) -> list[_Half]:
    shape = levels[0].shape
    halves = [_Half(*(np.zeros(shape) for _ in range(3))) for _ in range(2)]
    order = sorted(levels, key=lambda s: float(s.mean_adu.mean()))
    for number, one in enumerate(order):
        x = one.mean_adu.astype(np.float64) - dark.offset_adu
        y = one.variance_adu2.astype(np.float64) - dark.variance_adu2
        weight = _weight(x, one, dark, slope, excess) * (x <= limit)
        half = halves[number % 2]
        half.xy += weight * x * y
        half.xx += weight * x * x
        half.x += weight * x
    return halves


def _shared_by_halves(halves: list[_Half], dark: DarkReference, slope: float) -> DoubleMap:
    """Return the covariance (relative) that the common dark values give the two halves."""
    offset = slope**2 * dark.variance_adu2.astype(np.float64) / dark.n_frames
    variance = 2.0 * dark.variance_adu2.astype(np.float64) ** 2 / dark.dof
    reach = [half.x / np.maximum(half.xx, 1e-300) for half in halves]
    return np.asarray((offset + variance) * reach[0] * reach[1] / slope**2, dtype=np.float64)


def _weight(
    x: DoubleMap, one: PixelSummary, dark: DarkReference, slope: float, excess: float
) -> DoubleMap:
    """Return 1 / variance of y: from the line, so that it does not follow y's own noise.

    The fourth cumulant of shot noise adds to the normal scatter; with multiplication its part is
    ``1 + 2 (F - 1)`` times larger (3 for gamma-distributed multiplication, F = 2).
    """
    shot = np.maximum(slope * x, 0.0)
    expected = np.maximum(shot + dark.variance_adu2, 1e-12)
    fourth = slope**2 * shot * (1.0 + 2.0 * (excess - 1.0))
    scatter = 2.0 * expected**2 / one.dof + fourth / one.n_frames
    scatter += 2.0 * dark.variance_adu2.astype(np.float64) ** 2 / dark.dof
    free = (one.saturated == 0) & (x > 0)
    return np.asarray(free / scatter, dtype=np.float64)


def common_spread(
    first: DoubleMap,
    second: DoubleMap,
    shared: DoubleMap,
    ordinary: npt.NDArray[np.bool_] | None,
) -> tuple[float, float]:
    """Return the standard deviation two independent measurements share, and its error.

    Root of their covariance less what errors they share by construction give them (``shared``);
    0, with the upper limit for its error, within two errors of none. Outliers beyond five robust
    sd of either are left out.
    """
    a, b, common = first.ravel(), second.ravel(), shared.ravel()
    if ordinary is not None:
        a, b, common = (v[ordinary.ravel()] for v in (a, b, common))
    inside = _inside(a) & _inside(b)
    a, b = a[inside] - a[inside].mean(), b[inside] - b[inside].mean()
    if a.size < 16:
        return 0.0, float("inf")
    covariance = float(np.mean(a * b) - np.mean(common[inside]))
    error = float(np.std(a * b) / np.sqrt(a.size))
    if covariance <= SIGNIFICANT_ERRORS * error:
        return 0.0, float(np.sqrt(SIGNIFICANT_ERRORS * error))
    spread = float(np.sqrt(covariance))
    return spread, error / (2.0 * spread)


def _inside(values: DoubleMap) -> npt.NDArray[np.bool_]:
    low, middle, high = np.quantile(values, (0.1587, 0.5, 0.8413))
    half = max(0.5 * float(high - low), 1e-12)
    return np.asarray(np.abs(values - middle) <= OUTLIER * half)


def flat_response(
    levels: Sequence[PixelSummary],
    dark: DarkReference,
    ordinary: npt.NDArray[np.bool_] | None = None,
) -> Response | None:
    """Return the response of each pixel relative to its surroundings under even light.

    Parameters
    ----------
    levels : sequence of PixelSummary
        At least two unsaturated levels of the same even light.
    dark : DarkReference
        Dark mean and variance of each pixel.
    ordinary : ndarray of bool (Y, X), optional
        Pixels the spread is taken from.

    Notes
    -----
    The surroundings are a Gaussian mean of 12 px sd, so shading of the light drops out. Noise is
    drawn out by the same empirical Bayes rule as for slopes.
    """
    if len(levels) < 2:
        return None
    halves = []
    order = sorted(levels, key=lambda s: float(s.mean_adu.mean()))
    for part in (order[::2], order[1::2]):
        signal = np.sum([s.mean_adu.astype(np.float64) - dark.offset_adu for s in part], axis=0)
        noise = np.sum([s.variance_adu2.astype(np.float64) / s.n_frames for s in part], axis=0)
        halves.append((signal, noise))
    around = [_surroundings(signal) for signal, _ in halves]
    if min(float(a.min()) for a in around) <= 0:
        return None
    relative = [signal / a for (signal, _), a in zip(halves, around, strict=True)]
    # The offset's error is in every level.
    of_offset = dark.variance_adu2.astype(np.float64) / dark.n_frames
    reach = [len(part) / a for part, a in zip((order[::2], order[1::2]), around, strict=True)]
    shared = of_offset * reach[0] * reach[1]
    spread, spread_error = common_spread(relative[0], relative[1], shared, ordinary)
    whole = around[0] + around[1]
    total = (halves[0][0] + halves[1][0]) / whole
    error = np.sqrt(halves[0][1] + halves[1][1] + len(order) ** 2 * of_offset) / whole
    weight = spread**2 / np.maximum(spread**2 + error**2, 1e-30)
    return Response(
        relative=np.maximum(1.0 + weight * (total - 1.0), 0.05),
        error=np.sqrt(weight) * error,
        spread=spread,
        spread_error=spread_error,
    )


def _surroundings(signal: DoubleMap) -> DoubleMap:
    from scipy.ndimage import gaussian_filter

    return np.asarray(gaussian_filter(signal, SMOOTH_PX, mode="reflect"), dtype=np.float64)
