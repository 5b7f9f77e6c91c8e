"""Differences of frames two apart: what they hold beyond those of neighbouring frames.

Knows: streaming sums over blocks of pixels, flicker taken out. Must not know: what it means, files,
cameras.

Where frames have independent noise and the scene stands still, frames two apart differ exactly as
much as neighbours. Frames that share noise (running mean, recursive filter, repeated frames) and
things that move both make distant frames differ more (Box, Jenkins & Reinsel, "Time Series
Analysis", 2008, sec. 2.1.5: the variogram).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from livedenoise.imaging.ptc_drift import LightChange

BLOCK_PX = 4
PART_PIXELS = 1 << 15

DoubleMap = npt.NDArray[np.float64]


def block_sums(image: npt.NDArray[np.generic]) -> DoubleMap:
    """Return sums over 4x4 blocks (Y // 4, X // 4); a rest at the edge is left out."""
    rows, columns = image.shape[0] // BLOCK_PX, image.shape[1] // BLOCK_PX
    whole = image[: rows * BLOCK_PX, : columns * BLOCK_PX]
    cut = whole.reshape(rows, BLOCK_PX, columns, BLOCK_PX)
    return np.asarray(cut.sum(axis=(1, 3), dtype=np.float64))


class DistantDifferences:
    """Accumulates frames one at a time; holds two of them and one number for each block.

    Parameters
    ----------
    shape : tuple of int
        (Y, X) of the frames.
    """

    def __init__(self, shape: tuple[int, int]) -> None:
        self._power = np.zeros((shape[0] // BLOCK_PX, shape[1] // BLOCK_PX))
        self._n_pairs = 0
        self._before: DoubleMap | None = None
        self._last: DoubleMap | None = None

    def add(self, counts: DoubleMap, mean_adu: DoubleMap, n_frames: int) -> None:
        """Add a frame (float64); ``mean_adu`` is the mean of the ``n_frames`` before it."""
        if self._before is not None:
            self._add_difference(counts, self._before, mean_adu, n_frames)
        self._before, self._last = self._last, counts

    def _add_difference(
        self, counts: DoubleMap, before: DoubleMap, mean: DoubleMap, n: int
    ) -> None:
        difference = counts - before
        light = LightChange(difference)
        stride = light.stride
        # Without the earlier frame of the pair: its noise would be taken for flicker.
        light.compare((n * mean.ravel()[::stride] - before.ravel()[::stride]) / (n - 1))
        step = max(BLOCK_PX, PART_PIXELS // max(counts.shape[1], 1) // BLOCK_PX * BLOCK_PX)
        for start in range(0, self._power.shape[0] * BLOCK_PX, step):
            rows = slice(start, start + step)
            part = difference[rows]
            image = (n * mean[rows] - before[rows]) / (n - 1) if light.slope else None
            light.remove(part, image)
            sums = block_sums(part * part)
            self._power[start // BLOCK_PX : start // BLOCK_PX + len(sums)] += sums
        self._n_pairs += 1

    def merge(self, other: DistantDifferences) -> None:
        """Append another series; no difference spans the seam."""
        self._power += other._power
        self._n_pairs += other._n_pairs
        self._before, self._last = other._before, other._last

    def variance_adu2(self) -> npt.NDArray[np.float32]:
        """Return the mean variance of each block (Y // 4, X // 4); NaN with fewer than 3 frames."""
        if not self._n_pairs:
            return np.full(self._power.shape, np.nan, np.float32)
        pairs = 2.0 * self._n_pairs * BLOCK_PX**2
        return (self._power / pairs).astype(np.float32)
