"""Light that changes from frame to frame: measured from frame means, removed from differences.

Knows: a common factor on a whole frame. Must not know: pixels' moments, cameras.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

DoubleMap = npt.NDArray[np.float64]

SIGNIFICANT_ERRORS = 5.0
MOST_PIXELS = 1 << 15
TRIM = 0.001


class LightChange:
    """What a common change of the light put into the difference of two frames.

    Parameters
    ----------
    difference : ndarray (Y, X)
        Frame less the frame before it, counts.

    Notes
    -----
    Ordinary least squares on at most about 33,000 pixels. The image is clipped at its outermost
    0.1 % for the fit: a hot pixel in a dark series would otherwise have all the leverage and its
    own noise be taken for flicker. The slope is used only beyond five standard errors.
    """

    def __init__(self, difference: DoubleMap) -> None:
        self.stride = max(1, difference.size // MOST_PIXELS)
        self.slope = 0.0
        self._sample = difference.ravel()[:: self.stride].copy()
        self._mean = float(self._sample.mean())
        self._centre = 0.0

    def compare(self, image: DoubleMap) -> None:
        """Fit the difference to an image of the scene, every ``stride``-th pixel of it."""
        self.slope, self._centre = _significant_slope(self._sample, image)

    def remove(self, difference: DoubleMap, image: DoubleMap | None) -> None:
        """Take the change out of (a part of) the difference, in place."""
        difference -= self._mean
        if self.slope and image is not None:
            difference -= self.slope * (image - self._centre)


def _significant_slope(sample: DoubleMap, image: DoubleMap) -> tuple[float, float]:
    """Return (slope, level about which the image counts), slope 0 where it is not significant."""
    low, high = np.quantile(image, (TRIM, 1.0 - TRIM))
    clipped = np.clip(image, low, high)
    centre = float(clipped.mean())
    x = clipped - centre
    power = _dot(x, x)
    if power <= 0 or x.size < 3:
        return 0.0, centre
    y = sample - sample.mean()
    slope = _dot(x, y) / power
    rest = y - slope * x
    error = float(np.sqrt(_dot(rest, rest) / ((x.size - 2) * power)))
    return (slope if abs(slope) > SIGNIFICANT_ERRORS * error else 0.0), centre


def _dot(a: DoubleMap, b: DoubleMap) -> float:
    # Not ``a @ b``: waking the threads of the linear algebra library costs more than the sum.
    return float(np.einsum("i,i->", a, b))


class FrameMeans:
    """Straight line through the means of successive frames, from running sums."""

    def __init__(self) -> None:
        self._n = 0
        self._origin = 0.0
        self._sum = 0.0
        self._power = 0.0
        self._moment = 0.0

    def add(self, mean_adu: float) -> None:
        """Add the mean of the next frame."""
        if not self._n:
            self._origin = mean_adu
        y = mean_adu - self._origin
        self._sum += y
        self._power += y * y
        self._moment += self._n * y
        self._n += 1

    def merge(self, other: FrameMeans) -> None:
        """Append another series."""
        if not self._n:
            self._origin = other._origin
        n, shift = other._n, other._origin - self._origin
        total = other._sum + n * shift
        self._power += other._power + 2.0 * shift * other._sum + n * shift**2
        self._moment += other._moment + shift * n * (n - 1) / 2.0 + self._n * total
        self._sum += total
        self._n += n

    def drift(self) -> float:
        """Return the change from the first frame to the last along the line, counts."""
        return self._slope() * (self._n - 1)

    def flicker(self) -> float:
        """Return the standard deviation of the frame means about the line, counts."""
        n = self._n
        if n < 3:
            return 0.0
        about_mean = self._power - self._sum**2 / n
        left = about_mean - self._slope() ** 2 * self._times()
        return float(np.sqrt(max(left, 0.0) / (n - 2)))

    def error(self) -> float:
        """Return the standard error of the mean of all frames, counts; drift is not error."""
        return self.flicker() / float(np.sqrt(self._n)) if self._n > 2 else abs(self.drift())

    def _times(self) -> float:
        return self._n * (self._n**2 - 1) / 12.0

    def _slope(self) -> float:
        if self._n < 2:
            return 0.0
        centred = self._moment - self._sum * (self._n - 1) / 2.0
        return centred / self._times()
