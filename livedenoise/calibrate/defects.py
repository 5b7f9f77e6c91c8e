"""Hot, telegraph and dead pixels, with the rate of false alarms under control.

Knows: tests over all pixels at once. Must not know: cameras, files, gains.

- Hot: dark current (with one exposure: dark mean) beyond what a normal or a log-normal law of the
  bulk gives one pixel in twenty sensors (Bonferroni at 5 %).
- Telegraph: a trap read by correlated double sampling gives three levels, -A, 0, +A (Wang et al.,
  IEDM 2006): the variance is high and the kurtosis low. The two tail probabilities are combined
  (Fisher, "Statistical Methods for Research Workers", 1932, sec. 21.1) and 5 % of false ones among
  those found are allowed (Benjamini & Hochberg, J. R. Statist. Soc. B 57, 1995). The bulk's own
  spread is measured on the side away from the outliers.
- Dead: hardly any signal where all its neighbours have plenty: in every of two levels. A scene
  through an objective has no such pixel of its own; a dark one beside bright ones is common.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from livedenoise.calibrate.results import Index
from livedenoise.imaging.ptc_moments import PixelSummary

DoubleMap = npt.NDArray[np.float64]

FAMILY_RATE = 0.05
FALSE_SHARE = 0.05
LEAST_FRAMES = 50
LEAST_VARIANCE_SD = 1.0
DEAD_SHARE = 0.2
DEAD_SD = 20.0
QUARTER = 0.1587


def hot_pixels(current: DoubleMap, error: DoubleMap) -> tuple[Index, str]:
    """Return the indices of hot pixels, and how they were told.

    Parameters
    ----------
    current : ndarray (Y, X)
        Dark current, or dark mean, of each pixel in any unit.
    error : ndarray (Y, X)
        Standard error of each from its own noise: a pixel that a few thermal electrons hit by
        chance has a large one, and is not hot.
    """
    from scipy.stats import norm

    values = current.ravel()
    limit = float(norm.isf(FAMILY_RATE / values.size))
    low, middle, high = (float(q) for q in np.quantile(values, (QUARTER, 0.5, 1.0 - QUARTER)))
    spread = max(high - middle, middle - low, 1e-12)
    hot = values > middle + limit * np.maximum(spread, error.ravel())
    if low > 0 and high > middle:
        # The bulk is skewed: what a log-normal law of this spread reaches is not hot.
        hot &= values > middle * (high / middle) ** limit
    index = np.flatnonzero(hot).astype(np.int64)
    return index, f"beyond {limit:.1f} sd of the bulk (false alarms: {FAMILY_RATE:g} per sensor)"


def choose_series(darks: Mapping[float, PixelSummary]) -> PixelSummary | None:
    """Return the dark series for the telegraph test: most frames, then the shortest exposure."""
    kept = [(-s.n_frames, e) for e, s in darks.items() if s.excess_kurtosis is not None]
    return darks[min(kept)[1]] if kept else None


def telegraph_pixels(dark: PixelSummary | None, hot: Index | None) -> tuple[Index | None, str]:
    """Return the indices of telegraph pixels and how they were told; None where it cannot be.

    Parameters
    ----------
    dark : PixelSummary or None
        A dark series with its fourth moments.
    hot : ndarray of int64, optional
        Hot pixels: their noise is thermal and they are not judged.
    """
    if dark is None or dark.excess_kurtosis is None or dark.sample_variance_adu2 is None:
        return None, "needs a dark series with fourth moments"
    if dark.n_frames < LEAST_FRAMES:
        return None, f"needs {LEAST_FRAMES} dark frames of one exposure, there are {dark.n_frames}"
    variance = dark.sample_variance_adu2.ravel().astype(np.float64)
    if not (variance > 0).all():
        return None, "the dark noise is below the rounding of the converter in some pixels"
    high = _upper_score(np.log(variance))
    flat = _upper_score(-dark.excess_kurtosis.ravel().astype(np.float64))
    probability = _fisher(high, flat)
    probability[high < LEAST_VARIANCE_SD] = 1.0
    if hot is not None:
        probability[hot] = 1.0
    index = _false_discovery(probability)
    text = f"variance and kurtosis of {dark.n_frames} frames, {FALSE_SHARE:.0%} false ones allowed"
    return index, text


def _upper_score(values: DoubleMap) -> DoubleMap:
    """Return (value - median) / sd, the sd taken on the lower side, where no outlier is."""
    low, middle = np.quantile(values, (QUARTER, 0.5))
    return np.asarray((values - middle) / max(float(middle - low), 1e-12), dtype=np.float64)


def _fisher(first: DoubleMap, second: DoubleMap) -> DoubleMap:
    """Return the probability of two independent upper tails together (chi squared, 4 dof)."""
    from scipy.stats import norm

    half = -(norm.logsf(first) + norm.logsf(second))
    return np.asarray(np.exp(-half) * (1.0 + half), dtype=np.float64)


def _false_discovery(probability: DoubleMap) -> Index:
    order = np.argsort(probability, kind="stable")
    allowed = FALSE_SHARE * np.arange(1, order.size + 1) / order.size
    passed = np.flatnonzero(probability[order] <= allowed)
    found = order[: passed[-1] + 1] if passed.size else order[:0]
    return np.sort(found).astype(np.int64)


def dead_pixels(
    lit: Sequence[PixelSummary], offset: DoubleMap | float, *, flat_field: bool = False
) -> tuple[Index | None, str]:
    """Return the indices of pixels without response; None where there is too little light.

    Parameters
    ----------
    lit : sequence of PixelSummary
        The brightest series that are not saturated; a pixel must be dead in all that show it.
    offset : ndarray (Y, X) or float
        Counts without light.
    flat_field : bool
        Whether the light is even: the pixels around are then compared by their median, which finds
        neighbouring dead ones too.
    """
    if not lit:
        return None, "needs light below saturation"
    shape = lit[0].shape
    dead, seen = np.ones(shape, dtype=bool), np.zeros(shape, dtype=bool)
    for one in lit:
        signal = np.asarray(one.mean_adu - offset, dtype=np.float64)
        around = _around(signal, flat_field=flat_field)
        noise = np.sqrt(_around(one.variance_adu2.astype(np.float64), flat_field=True))
        bright = around > DEAD_SD * noise / np.sqrt(one.n_frames)
        dead &= ~bright | (signal < DEAD_SHARE * around)
        seen |= bright
    if not seen.any():
        return None, "needs more light"
    index = np.flatnonzero(dead & seen).astype(np.int64)
    against = "the pixels around" if flat_field else "the dimmest of its eight neighbours"
    return index, f"below {DEAD_SHARE:.0%} of {against}, in the {seen.mean():.0%} with light"


def _around(image: DoubleMap, *, flat_field: bool) -> DoubleMap:
    """Return the median of 5x5 pixels, or the lowest of the eight neighbours."""
    from scipy.ndimage import median_filter, minimum_filter

    if flat_field:
        return np.asarray(median_filter(image, size=5, mode="nearest"))
    ring = np.ones((3, 3), dtype=bool)
    ring[1, 1] = False
    return np.asarray(minimum_filter(image, footprint=ring, mode="mirror"))
