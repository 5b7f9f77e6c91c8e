"""Running moments of every pixel of a series of frames of a scene that stands still.

Knows: streaming means, variances and fourth moments; frame differences freed of flicker; the
correlation of neighbouring pixels' noise. Must not know: offsets, gains, cameras, files.

- Mean, variance and fourth moment by the updating formulae of Welford (Technometrics 4, 1962) and
  Pebay (Sandia report SAND2008-6212), float64: no cancellation, and two series can be merged.
- Variance from differences of successive frames, ``sum d^2 / (2 (n - 1))`` (von Neumann et al.,
  Ann. Math. Statist. 12, 1941): fixed pattern cancels (Janesick, "Photon Transfer", SPIE 2007,
  ch. 5) and slow drift and bleaching leave it alone. It is worth ``2 (n - 1)^2 / (3 n - 4)``
  degrees of freedom, two thirds of those of the plain variance.
- A lamp that flickers multiplies the light of a whole frame, so a difference holds
  ``a + b * image``. The mean ``a`` is always taken off, ``b`` where it is significant. The image
  regressed on is the mean of the frames before the two (for the first two the third): with a frame
  of the difference in it, its noise would be taken for flicker.

Example
-------
>>> moments = PixelMoments((64, 64), bit_depth=16)
>>> for frame in frames:
...     moments.add(frame)
>>> moments.summary().variance_adu2
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from livedenoise.core.frame import max_count
from livedenoise.imaging.ptc_distant import DistantDifferences
from livedenoise.imaging.ptc_drift import FrameMeans, LightChange

FloatMap = npt.NDArray[np.float32]
DoubleMap = npt.NDArray[np.float64]
CountMap = npt.NDArray[np.unsignedinteger[Any]]

BLOCK_PIXELS = 1 << 15
MIDDLE_PX = 512
PARTS_PER_AXIS = 8
LEAST_PART_PX = 16
OF_MEDIAN = 1.25


class PixelSummary(msgspec.Struct, frozen=True, kw_only=True):
    """Moments of one series of frames; maps (Y, X). Made by ``PixelMoments.summary``.

    Attributes
    ----------
    n_frames, bit_depth : int
        Frames, and valid bits of their counts.
    mean_adu : ndarray of float32
        Mean counts.
    variance_adu2 : ndarray of float32
        Temporal variance from differences of successive frames, counts squared.
    dof : float
        Degrees of freedom of one pixel's ``variance_adu2``.
    distant_variance_adu2 : ndarray of float32 (Y // 4, X // 4)
        Variance from differences of frames two apart, mean of 4x4 pixels: above that of
        successive frames where frames share noise or something moves. NaN with two frames.
    sample_variance_adu2 : ndarray of float32 or None
        Plain temporal variance (n - 1 degrees of freedom): slow drift and slow telegraph noise
        are in it. None without ``fourth``.
    excess_kurtosis : ndarray of float32 or None
        Fourth standardised moment less 3; 0 for pixels without any noise. None without ``fourth``.
    saturated, at_zero : ndarray of the smallest fitting unsigned type
        How many frames stood at the highest count, and at zero (whole numbers only: averages and
        background-subtracted data may lie on either side of zero).
    frame_mean_error_adu : float
        Standard error of the mean over pixels and frames, from the frame means.
    drift_adu : float
        Change of the frame mean from the first frame to the last (straight line).
    flicker_adu : float
        Standard deviation of the frame means about that line.
    lag1_x, lag1_y, lag1_diagonal, lag1_error : float
        Correlation of neighbouring pixels in the differences (median over parts of the frame, so
        that a thing that moves in one of them does not count), and its standard error.
    """

    n_frames: int
    bit_depth: int
    mean_adu: FloatMap
    variance_adu2: FloatMap
    dof: float
    distant_variance_adu2: FloatMap
    sample_variance_adu2: FloatMap | None
    excess_kurtosis: FloatMap | None
    saturated: CountMap
    at_zero: CountMap
    frame_mean_error_adu: float
    drift_adu: float
    flicker_adu: float
    lag1_x: float
    lag1_y: float
    lag1_diagonal: float
    lag1_error: float

    @property
    def shape(self) -> tuple[int, int]:
        """Return (Y, X)."""
        rows, columns = self.mean_adu.shape
        return (rows, columns)

    @property
    def saturated_fraction(self) -> float:
        """Return the share of all samples at the highest count."""
        return float(self.saturated.mean(dtype=np.float64)) / self.n_frames

    @property
    def zero_fraction(self) -> float:
        """Return the share of all samples at zero."""
        return float(self.at_zero.mean(dtype=np.float64)) / self.n_frames


class PixelMoments:
    """Accumulates frames one at a time; memory of about ten frames, whatever their number.

    Parameters
    ----------
    shape : tuple of int
        (Y, X) of the frames.
    bit_depth : int
        Valid bits; the highest count counts as saturated.
    fourth : bool
        Keep plain variance, third and fourth moments too (dark series).
    """

    def __init__(self, shape: tuple[int, int], *, bit_depth: int, fourth: bool = False) -> None:
        self.shape = shape
        self.bit_depth = bit_depth
        self.n_frames = 0
        self._mean = np.zeros(shape)
        self._higher = (np.zeros(shape), np.zeros(shape), np.zeros(shape)) if fourth else None
        self._last: DoubleMap | None = None
        self._first_difference: DoubleMap | None = None
        self._difference_power = np.zeros(shape)
        self._n_differences = 0
        self._saturated = np.zeros(shape, np.uint32)
        self._at_zero = np.zeros(shape, np.uint32)
        self._neighbours = np.zeros_like(_neighbour_products(_middle(self._mean)))
        self._distant = DistantDifferences(shape)
        self._means = FrameMeans()

    def add(self, frame: npt.NDArray[np.generic]) -> None:
        """Add one frame (Y, X) of counts; it is not kept beyond the next call.

        Raises
        ------
        ValueError
            If the shape differs, the counts are not real numbers, or one is not finite.
        """
        if frame.shape != self.shape or frame.dtype.kind not in "uif":
            raise ValueError(
                f"expected a frame of {self.shape} numbers, got {frame.shape} {frame.dtype}"
            )
        counts = frame.astype(np.float64)
        total = float(counts.mean())
        if not np.isfinite(total):
            raise ValueError("a frame holds counts that are not finite")
        self._saturated += counts >= max_count(self.bit_depth)
        if frame.dtype.kind != "f":
            self._at_zero += counts <= 0
        if self._last is not None:
            if self.n_frames == 1:
                self._first_difference = counts - self._last
            else:
                self._settle_first(counts)
                self._add_difference(counts, self._last)
        self._distant.add(counts, self._mean, self.n_frames)
        self._means.add(total)
        self._add_moments(counts)
        self._last = counts

    def _add_difference(self, counts: DoubleMap, last: DoubleMap) -> None:
        n = self.n_frames
        difference = counts - last
        light = LightChange(difference)
        stride = light.stride
        light.compare((n * self._mean.ravel()[::stride] - last.ravel()[::stride]) / (n - 1))
        for rows in self._row_blocks():
            part = difference[rows]
            image = (n * self._mean[rows] - last[rows]) / (n - 1) if light.slope else None
            light.remove(part, image)
            self._difference_power[rows] += part * part
        self._n_differences += 1
        self._neighbours += _neighbour_products(_middle(difference))

    def _settle_first(self, third: DoubleMap | None) -> None:
        """Add the difference of the first two frames: its flicker needs an image besides them."""
        difference = self._first_difference
        if difference is None:
            return
        self._first_difference = None
        light = LightChange(difference)
        if third is not None:
            light.compare(third.ravel()[:: light.stride])
        for rows in self._row_blocks():
            part = difference[rows]
            light.remove(part, None if third is None else third[rows])
            self._difference_power[rows] += part * part
        self._n_differences += 1
        self._neighbours += _neighbour_products(_middle(difference))

    def _add_moments(self, counts: DoubleMap) -> None:
        self.n_frames += 1
        for rows in self._row_blocks():
            self._add_rows(rows, counts[rows])

    def _add_rows(self, rows: slice, counts: DoubleMap) -> None:
        n = self.n_frames
        step = counts - self._mean[rows]
        step /= n
        if self._higher is not None:
            m2, m3, m4 = (moment[rows] for moment in self._higher)
            square = step * step
            term = square * (n * (n - 1))
            m4 += term * square * (n * n - 3 * n + 3)
            m4 += 6.0 * square * m2 - 4.0 * step * m3
            m3 += term * step * (n - 2) - 3.0 * step * m2
            m2 += term
        self._mean[rows] += step

    def _row_blocks(self) -> Iterator[slice]:
        """Yield parts of the frame whose intermediate arrays stay in the processor's cache."""
        rows = max(1, BLOCK_PIXELS // max(self.shape[1], 1))
        for start in range(0, self.shape[0], rows):
            yield slice(start, start + rows)

    def merge(self, other: PixelMoments) -> None:
        """Add the frames of another series of the same scene; no difference spans the seam.

        Raises
        ------
        ValueError
            If shape, bit depth or the moments kept differ.
        """
        ours = (self.shape, self.bit_depth, self._higher is None)
        theirs = (other.shape, other.bit_depth, other._higher is None)
        if ours != theirs:
            raise ValueError(f"series of {theirs} cannot be merged into one of {ours}")
        if other._last is None:
            return
        self._settle_first(None)
        other._settle_first(None)
        self._merge_moments(other)
        self._difference_power += other._difference_power
        self._n_differences += other._n_differences
        self._saturated += other._saturated
        self._at_zero += other._at_zero
        self._neighbours += other._neighbours
        self._distant.merge(other._distant)
        self._means.merge(other._means)
        self._last = other._last.copy()

    def _merge_moments(self, other: PixelMoments) -> None:
        a, b = self.n_frames, other.n_frames
        n = a + b
        delta = other._mean - self._mean
        square = delta * delta
        if self._higher is not None and other._higher is not None:
            (m2, m3, m4), (o2, o3, o4) = self._higher, other._higher
            m4 += o4 + square**2 * (a * b * (a * a - a * b + b * b) / n**3)
            m4 += 6.0 * square * (a * a * o2 + b * b * m2) / n**2
            m4 += 4.0 * delta * (a * o3 - b * m3) / n
            m3 += o3 + square * delta * (a * b * (a - b) / n**2)
            m3 += 3.0 * delta * (a * o2 - b * m2) / n
            m2 += o2 + square * (a * b / n)
        self._mean += delta * (b / n)
        self.n_frames = n

    def summary(self) -> PixelSummary:
        """Return the moments so far.

        Raises
        ------
        ValueError
            If fewer than two frames in a row were added.
        """
        self._settle_first(None)
        if not self._n_differences:
            raise ValueError(f"a variance needs two frames in a row, got {self.n_frames}")
        pairs = self._n_differences
        segments = self.n_frames - pairs
        lags = _lags(self._neighbours)
        return PixelSummary(
            n_frames=self.n_frames,
            bit_depth=self.bit_depth,
            mean_adu=self._mean.astype(np.float32),
            variance_adu2=(self._difference_power / (2.0 * pairs)).astype(np.float32),
            dof=2.0 * pairs**2 / (3.0 * pairs - segments),
            distant_variance_adu2=self._distant.variance_adu2(),
            sample_variance_adu2=self._sample_variance(),
            excess_kurtosis=self._excess_kurtosis(),
            # A byte a pixel is enough for 255 frames.
            saturated=self._saturated.astype(np.min_scalar_type(self.n_frames)),
            at_zero=self._at_zero.astype(np.min_scalar_type(self.n_frames)),
            frame_mean_error_adu=self._means.error(),
            drift_adu=self._means.drift(),
            flicker_adu=self._means.flicker(),
            lag1_x=lags[0],
            lag1_y=lags[1],
            lag1_diagonal=lags[2],
            lag1_error=self._lag_error(),
        )

    def _lag_error(self) -> float:
        independent = _middle(self._mean).size * max(2.0 * self._n_differences / 3.0, 1.0)
        return float(OF_MEDIAN / np.sqrt(independent))

    def _sample_variance(self) -> FloatMap | None:
        if self._higher is None:
            return None
        return (self._higher[0] / (self.n_frames - 1)).astype(np.float32)

    def _excess_kurtosis(self) -> FloatMap | None:
        if self._higher is None:
            return None
        m2, _, m4 = self._higher
        noisy = m2 > 1e-9
        safe = np.where(noisy, m2, 1.0)
        excess = self.n_frames * m4 / safe**2 - 3.0
        return np.where(noisy, excess, 0.0).astype(np.float32)


def _middle(image: DoubleMap) -> DoubleMap:
    """Return the middle of a large image: enough for a correlation."""
    top, left = ((side - min(side, MIDDLE_PX)) // 2 for side in image.shape)
    return image[top : top + MIDDLE_PX, left : left + MIDDLE_PX]


def _neighbour_products(difference: DoubleMap) -> DoubleMap:
    """Return mean products of a difference with itself and its neighbours, (4, parts)."""
    right, below = difference[:, 1:], difference[1:]
    counts = [max(1, min(PARTS_PER_AXIS, n // LEAST_PART_PX)) for n in difference.shape]
    whole = _part_means(difference * difference, counts)
    x = _part_means(right * difference[:, :-1], counts)
    y = _part_means(below * difference[:-1], counts)
    diagonal = below[:, 1:] * difference[:-1, :-1]
    diagonal += below[:, :-1] * difference[:-1, 1:]
    return np.stack([whole, x, y, 0.5 * _part_means(diagonal, counts)])


def _part_means(products: DoubleMap, counts: list[int]) -> DoubleMap:
    """Return the means of parts of an image, flat; 0 for an image without pixels."""
    if not products.size:
        return np.zeros(counts[0] * counts[1])
    starts = [np.arange(n) * side // n for n, side in zip(counts, products.shape, strict=True)]
    sums = np.add.reduceat(np.add.reduceat(products, starts[1], axis=1), starts[0], axis=0)
    sizes = [np.diff(np.append(s, side)) for s, side in zip(starts, products.shape, strict=True)]
    return np.asarray((sums / np.outer(sizes[0], sizes[1])).ravel(), dtype=np.float64)


def _lags(neighbours: DoubleMap) -> list[float]:
    """Return the median over the parts of the three correlations."""
    noisy = neighbours[0] > 0
    if not noisy.any():
        return [0.0, 0.0, 0.0]
    return [float(v) for v in np.median(neighbours[1:, noisy] / neighbours[0, noisy], axis=1)]
