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

from livedenoise.calibrate.results import Index
from livedenoise.imaging.ptc_blocks import DarkReference
from livedenoise.imaging.ptc_moments import PixelSummary

DoubleMap = npt.NDArray[np.float64]

LEAST_LEVELS = 4
SMOOTH_PX = 12.0
CLIP_SD = 5.0
OUTLIER = 5.0
LIMIT_ERRORS = 2.0
DETECTED_ERRORS = 4.5
OF_HOT, OF_DEAD = 0.05, 1.0
"""Relative errors of the gain of pixels whose signal does not tell it."""


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
        True relative standard deviation of the slopes among the pixels, about ``prior``; 0 where
        it was not detected.
    spread_error : float
        Its standard error; the upper limit (two standard errors) where it was not detected.
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
    # A spread that was not detected may still be as large as its limit.
    undetected = spread_error if spread == 0.0 and np.isfinite(spread_error) else 0.0
    if response is None:
        prior_error = prior_error + undetected
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

    Root of their covariance less what errors they share by construction give them (``shared``),
    with half the interval that one standard error of the covariance gives; 0, with the upper limit
    (two standard errors) for its error, within two standard errors of none. The root of what is
    just above none is always four of its errors from it: ``is_detected`` judges the covariance.
    Outliers beyond five robust sd of either are left out.
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
    if covariance <= LIMIT_ERRORS * error:
        return 0.0, float(np.sqrt(max(covariance, 0.0) + LIMIT_ERRORS * error))
    half = 0.5 * (np.sqrt(covariance + error) - np.sqrt(covariance - error))
    return float(np.sqrt(covariance)), float(half)


def is_detected(spread: float, spread_error: float) -> bool:
    """Return whether the covariance behind a spread is 4.5 of its standard errors from none."""
    return spread > 0.0 and spread > 2.0 * DETECTED_ERRORS * spread_error


def _inside(values: DoubleMap) -> npt.NDArray[np.bool_]:
    low, middle, high = np.quantile(values, (0.1587, 0.5, 0.8413))
    half = max(0.5 * float(high - low), 1e-12)
    return np.asarray(np.abs(values - middle) <= OUTLIER * half)


class FlatLevel(msgspec.Struct, frozen=True, kw_only=True):
    """A level of even light; ``thermal_adu`` is what the dark current adds to each pixel."""

    summary: PixelSummary
    thermal_adu: DoubleMap | None = None


def flat_response(
    levels: Sequence[FlatLevel],
    dark: DarkReference,
    ordinary: npt.NDArray[np.bool_] | None = None,
    *,
    hot: Index | None = None,
    dead: Index | None = None,
) -> Response | None:
    """Return the response of each pixel relative to its surroundings under even light.

    Parameters
    ----------
    levels : sequence of FlatLevel
        At least two unsaturated levels of the same even light.
    dark : DarkReference
        Dark mean and variance of each pixel.
    ordinary : ndarray of bool (Y, X), optional
        Pixels the spread is taken from.
    hot, dead : ndarray of int64, optional
        Pixels whose response is not told by their signal: they get that of their surroundings,
        with an error of 5 % and 100 %.

    Notes
    -----
    The surroundings are a Gaussian mean of 12 px sd over ordinary pixels, so shading of the light
    drops out; they are worth 4 pi sd^2 pixels, and their own spread is in the error. Noise is
    drawn out by the same empirical Bayes rule as for slopes.
    """
    if len(levels) < 2:
        return None
    usable = np.ones(levels[0].summary.shape, dtype=bool)
    for index in (hot, dead):
        if index is not None:
            usable.ravel()[index] = False
    order = sorted(levels, key=lambda x: float(x.summary.mean_adu.mean()))
    halves = [_added(part, dark) for part in (order[::2], order[1::2])]
    around = [_surroundings(signal, usable) for signal, _ in halves]
    if min(float(a.min()) for a in around) <= 0:
        return None
    relative = [signal / a for (signal, _), a in zip(halves, around, strict=True)]
    # The offset's error is in every level.
    of_offset = dark.variance_adu2.astype(np.float64) / dark.n_frames
    reach = [len(part) / a for part, a in zip((order[::2], order[1::2]), around, strict=True)]
    judged = usable if ordinary is None else usable & ordinary
    spread, spread_error = common_spread(
        relative[0], relative[1], of_offset * reach[0] * reach[1], judged
    )
    whole = around[0] + around[1]
    total = (halves[0][0] + halves[1][0]) / whole
    error = np.sqrt(halves[0][1] + halves[1][1] + len(order) ** 2 * of_offset) / whole
    weight = spread**2 / np.maximum(spread**2 + error**2, 1e-30)
    prior = spread if spread > 0 else min(spread_error, OF_HOT)
    own = np.where(weight > 0, np.sqrt(weight) * error, prior)
    own = np.hypot(own, prior / np.sqrt(4.0 * np.pi * SMOOTH_PX**2))
    found = np.maximum(1.0 + weight * (total - 1.0), 0.05)
    for index, least in ((hot, max(OF_HOT, LIMIT_ERRORS * spread)), (dead, OF_DEAD)):
        if index is not None:
            found.ravel()[index], own.ravel()[index] = 1.0, least
    return Response(relative=found, error=own, spread=spread, spread_error=spread_error)


def _added(part: Sequence[FlatLevel], dark: DarkReference) -> tuple[DoubleMap, DoubleMap]:
    """Return the sums over levels of signal, and of the variance of its mean; one at a time."""
    signal, noise = np.zeros(part[0].summary.shape), np.zeros(part[0].summary.shape)
    for level in part:
        one = level.summary
        signal += one.mean_adu
        signal -= dark.offset_adu
        if level.thermal_adu is not None:
            signal -= level.thermal_adu
        noise += one.variance_adu2.astype(np.float64) / one.n_frames
    return signal, noise


def _surroundings(signal: DoubleMap, usable: npt.NDArray[np.bool_]) -> DoubleMap:
    """Return the Gaussian mean of the usable pixels around each."""
    from scipy.ndimage import gaussian_filter

    total = gaussian_filter(np.where(usable, signal, 0.0), SMOOTH_PX, mode="reflect")
    weight = gaussian_filter(usable.astype(np.float64), SMOOTH_PX, mode="reflect")
    return np.asarray(total / np.maximum(weight, 1e-12), dtype=np.float64)
