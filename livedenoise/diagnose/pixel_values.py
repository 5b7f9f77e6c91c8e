"""Signs in the counts themselves that they are not what a converter gave.

Knows: histograms. Must not know: files, noise models.

A converter uses every count in the range it covers. Stretched data (8 bits blown up to 16, a
contrast setting burnt in) leaves counts out at regular steps; squeezed data piles them up.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Counts = npt.NDArray[np.int64]

_LEAST_RANGE = 12
_FREQUENT = 50
_NEAR_COUNTS = 4
_PILE_SIGMAS = 8.0
_LEAST_PILES = 5


def step_between_counts(histogram: Counts) -> int:
    """Return the greatest common step between the counts that occur, 1 for untouched data.

    0 when too few different counts occur to say.
    """
    used = np.flatnonzero(histogram)
    if used.size < _LEAST_RANGE:
        return 0
    return int(np.gcd.reduce(np.diff(used)))


def missing_counts(histogram: Counts) -> float:
    """Return the fraction of counts that never occur although counts on both sides are frequent.

    Frequent: at least 50 pixels at a count no more than four away. 0 for untouched data: the ends
    of a histogram have frequent counts on one side only.
    """
    frequent = np.flatnonzero(histogram >= _FREQUENT)
    if frequent.size < _LEAST_RANGE:
        return 0.0
    inside = np.arange(frequent[0], frequent[-1] + 1)
    before = frequent[np.searchsorted(frequent, inside, side="right") - 1]
    after = frequent[np.searchsorted(frequent, inside, side="left")]
    near = (inside - before <= _NEAR_COUNTS) & (after - inside <= _NEAR_COUNTS)
    return float(((histogram[inside] == 0) & near).sum()) / float(max(1, near.sum()))


def piled_counts(histogram: Counts) -> float:
    """Return the fraction of counts that occur far more often than the counts beside them.

    More than 1.5 times, and 8 standard errors, beyond both neighbours: a smooth histogram has at
    most a peak or two like that, so that fewer than five count as none.
    """
    middle = histogram[1:-1].astype(np.float64)
    beside = np.maximum(histogram[:-2], histogram[2:]).astype(np.float64)
    frequent = beside >= _FREQUENT
    if int(frequent.sum()) < _LEAST_RANGE:
        return 0.0
    limit = np.maximum(1.5 * beside, beside + _PILE_SIGMAS * np.sqrt(beside))
    high = frequent & (middle > limit)
    count = int(high.sum())
    return count / float(frequent.sum()) if count >= _LEAST_PILES else 0.0
