"""How to read the noise of a recording: whether its scene holds still and its noise is white.

Knows: block statistics. Must not know: frames, lines, cameras.

Direct differences of two frames are noise only where nothing moves; high-pass differences are
noise everywhere, but miss the part of it that neighbouring pixels share. Which of the two holds
is decided here, from how their ratio changes over the field and over the levels.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt

from livedenoise.imaging.noise_blocks import DIRECT_DOF, HIGH_PASS_DOF, TINY, BlockStatistics
from livedenoise.imaging.noise_line import level_bins

NoiseMethod = Literal["frame pairs", "moving frame pairs", "single image", "pixels"]

MIN_BLOCKS = 16
MOVING_EXCESS = 0.02
"""Rise of direct over high-pass variance, beyond its error, that is called motion."""


def quiet_blocks(statistics: BlockStatistics) -> npt.NDArray[np.int_]:
    """Return the blocks around which least moves (or, in one image, least is to be seen).

    At least the quietest 5 %; more, up to all, while the ratio of direct to high-pass variance
    of the chosen blocks does not rise beyond its own error. The choice is made on the
    neighbours of a block, so its own noise does not bias what is then measured in it.
    """
    order = np.argsort(statistics.structure, kind="stable")
    total = len(order)
    count = min(total, max(MIN_BLOCKS, total // 20))
    base, error = _ratio(statistics, order[:count])
    while count < total:
        more = min(total, 2 * count)
        ratio, _ = _ratio(statistics, order[:more])
        if ratio > base + max(2.5 * error, 0.01 * base):
            break
        count = more
    return order[:count]


def _ratio(statistics: BlockStatistics, chosen: npt.NDArray[np.int_]) -> tuple[float, float]:
    """Return direct over high-pass variance of the chosen blocks, and its standard error."""
    high_pass = max(float(statistics.high_pass[chosen].sum()), TINY)
    ratio = float(statistics.direct[chosen].sum()) / high_pass
    samples = len(chosen) * statistics.n_pairs
    return ratio, ratio * float(
        np.sqrt(2.0 / (DIRECT_DOF * samples) + 2.0 / (HIGH_PASS_DOF * samples))
    )


def choose_method(
    statistics: BlockStatistics, quiet: npt.NDArray[np.int_]
) -> tuple[NoiseMethod, float]:
    """Return how to read the variance, and per-pixel over high-pass variance of the noise.

    A scene holds still when that ratio is the same at every level: only then is the difference
    of two frames nothing but noise.
    """
    still, _ = _ratio(statistics, quiet)
    if statistics.single:
        return "single image", min(_correlation(statistics), max(still, 1.0))
    if _something_moves(statistics, still):
        return "moving frame pairs", min(_correlation(statistics), max(still, 1.0))
    return "frame pairs", still


def _something_moves(statistics: BlockStatistics, still: float) -> bool:
    """Return whether any level, or the brighter half, quarter or tenth, exceeds the quiet ratio.

    A wrong yes costs precision only: high-pass differences are right for a still scene too.
    """
    order = np.argsort(statistics.level, kind="stable")
    total = len(order)
    parts = [*level_bins(total), *(slice(total - total // part, total) for part in (2, 4, 10))]
    for part in parts:
        if part.stop > part.start:
            ratio, error = _ratio(statistics, order[part])
            if ratio > still * (1.0 + MOVING_EXCESS) + 3.0 * error:
                return True
    return False


def _correlation(statistics: BlockStatistics) -> float:
    """Return per-pixel over high-pass variance, from the shape of the noise spectrum alone.

    Noise smoothed over neighbouring pixels has less power in the fourth difference than in the
    second; motion and structure, smoother by far, reach neither. For Gaussian, box and
    autoregressive smoothing per-pixel over fourth-difference power is about the fifth power of
    second over fourth (exponents 4 to 7 up to a lag-1 correlation of 0.4). 1 unless significant.
    """
    order = np.argsort(statistics.structure, kind="stable")
    quiet = order[: max(2 * MIN_BLOCKS, len(order) // 10)]
    high_pass, mid_pass = statistics.high_pass[quiet], statistics.mid_pass[quiet]
    total = max(float(high_pass.sum()), TINY)
    ratio = float(mid_pass.sum()) / total
    error = float(np.sqrt(np.square(mid_pass - ratio * high_pass).sum())) / total
    return max(ratio, 1.0) ** 5 if ratio > 1.0 + 3.0 * error else 1.0
