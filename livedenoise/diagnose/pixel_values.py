"""Signs in the counts themselves that they are not what a converter gave.

Knows: histograms. Must not know: files, noise models.

A converter uses every count in the range it covers. Stretched data (8 bits blown up to 16, a
contrast setting burnt in) leaves counts out; squeezed data piles them up; clipped data piles up
at its end. Only counts that are frequent are looked at: where pixels are few, counts are left out
by chance.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Counts = npt.NDArray[np.int64]
Doubles = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

_LEAST_RANGE = 12
_FREQUENT = 50
_PILE_SIGMAS = 8.0
_PILE_RATIO = 1.25
_LEAST_PILES = 5
_TOP_RATIO = 1.5
_TOP_WINDOW = 4


def step_between_counts(histogram: Counts) -> int:
    """Return the greatest common step between the frequent counts, 1 for untouched data.

    0 when too few different counts are frequent to say.
    """
    used = np.flatnonzero(histogram >= _FREQUENT)
    if used.size < _LEAST_RANGE:
        return 0
    return int(np.gcd.reduce(np.diff(used)))


def missing_counts(histogram: Counts) -> float:
    """Return the fraction of counts that never occur between counts that are frequent.

    Only gaps up to four times the usual one count (at least 4): a far peak of saturated or hot
    pixels leaves a gap as well.
    """
    frequent = np.flatnonzero(histogram >= _FREQUENT)
    if frequent.size < _LEAST_RANGE:
        return 0.0
    gaps = np.diff(frequent)
    inside = gaps <= max(4, 4 * int(np.median(gaps)))
    bounds = zip(frequent[:-1][inside], frequent[1:][inside], strict=True)
    missing = sum(int((histogram[low + 1 : high] == 0).sum()) for low, high in bounds)
    return missing / max(1, int(gaps[inside].sum()))


def uneven_counts(histogram: Counts) -> float:
    """Return the fraction of counts that occur far more, or far less, often than those beside them.

    By a quarter, and 8 standard errors, beyond both neighbours. A smooth histogram has at most a
    few peaks that narrow, so that fewer than five count as none.
    """
    middle = histogram[1:-1].astype(np.float64)
    more = np.maximum(histogram[:-2], histogram[2:]).astype(np.float64)
    less = np.minimum(histogram[:-2], histogram[2:]).astype(np.float64)
    frequent = more >= _FREQUENT
    if int(frequent.sum()) < _LEAST_RANGE:
        return 0.0
    high = frequent & _far_above(middle, more)
    low = frequent & _far_above(less, middle)
    count = int(max(high.sum(), low.sum()))
    return count / float(frequent.sum()) if count >= _LEAST_PILES else 0.0


def _far_above(these: Doubles, those: Doubles) -> Bools:
    limit = np.maximum(_PILE_RATIO * those, those + _PILE_SIGMAS * np.sqrt(these))
    return np.asarray(these > limit)


def clipped_at(histogram: Counts) -> int | None:
    """Return the highest count where pixels pile up on it as if cut off, None otherwise.

    At least 50 pixels and half as many again as at any of the four counts before it: the
    top of a 12-bit camera in 16-bit pixels, or a detector that saturates below the converter.
    """
    used = np.flatnonzero(histogram)
    if used.size < _LEAST_RANGE:
        return None
    top = int(used[-1])
    before = histogram[max(0, top - _TOP_WINDOW) : top]
    if histogram[top] < _FREQUENT or histogram[top] <= _TOP_RATIO * int(before.max(initial=0)):
        return None
    return top
