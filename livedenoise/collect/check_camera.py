"""What the checks know of the camera: dark images, noise, hot pixels.

Knows: constants, darks as they come, hot pixels.
Must not know: microscopes, files, limits.

Darks are accumulated frame by frame (Welford, Technometrics 4, 1962): memory for two images,
however many frames.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from livedenoise.collect.check_estimate import estimate_constants
from livedenoise.core.constants import CameraConstants
from livedenoise.core.frame import Frame, max_count

__all__ = [
    "DarkStatistics",
    "PairCamera",
    "camera_from_darks",
    "estimate_constants",
    "hot_pixels",
]

FloatImage = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]

_HOT_DEVIATIONS = 12.0
_HOT_VARIANCES = 60.0
"""A pixel is hot when its dark mean or its dark variance is this far above the others."""

_DRIFT_MEASURED = 0.02
_DRIFT_GIVEN = 0.1
_DRIFT_ESTIMATED = 0.25
"""Uncertainty of the mean offset in units of the read noise: offsets drift with temperature."""

_MAD_TO_SD = 1.4826


class DarkStatistics:
    """Mean and variance of every pixel over dark frames that come one by one."""

    def __init__(self) -> None:
        self.frames = 0
        self._mean: npt.NDArray[np.float64] | None = None
        self._squares: npt.NDArray[np.float64] | None = None

    @classmethod
    def known(cls, mean_adu: FloatImage, variance_adu2: FloatImage, frames: int) -> Self:
        """Return what ``frames`` frames with this mean and variance (Y, X) would have given."""
        found = cls()
        found.frames = frames
        found._mean = mean_adu.astype(np.float64)
        found._squares = variance_adu2.astype(np.float64) * max(frames - 1, 0)
        return found

    def add(self, frame: Frame) -> None:
        """Take one dark frame (Y, X).

        Raises
        ------
        ValueError
            If its shape is not that of the frames before.
        """
        values = frame.astype(np.float64)
        if self._mean is None or self._squares is None:
            self._mean, self._squares = np.zeros_like(values), np.zeros_like(values)
        if values.shape != self._mean.shape:
            raise ValueError(f"dark frame is {values.shape}, those before {self._mean.shape}")
        self.frames += 1
        before = values - self._mean
        self._mean += before / self.frames
        self._squares += before * (values - self._mean)

    @property
    def mean_adu(self) -> FloatImage:
        """Return the mean dark image, float32 (Y, X).

        Raises
        ------
        ValueError
            If there is no frame.
        """
        if self._mean is None:
            raise ValueError("no dark frame was added")
        return self._mean.astype(np.float32)

    @property
    def variance_adu2(self) -> FloatImage | None:
        """Return the unbiased variance of each pixel, float32 (Y, X); None for fewer than 2."""
        if self._squares is None or self.frames < 2:
            return None
        return (self._squares / (self.frames - 1)).astype(np.float32)


@dataclass(frozen=True, eq=False)
class PairCamera:
    """The camera as the checks see it.

    Attributes
    ----------
    constants : CameraConstants
        Scalar gain, offset, read noise, excess noise factor, and where they came from.
    bit_depth : int
        Valid bits: the highest count is saturation.
    offsets_adu : mapping
        Exposure in microseconds to mean dark counts: float32 (Y, X) or a number. The nearest
        exposure serves for one that is not there; empty: the offset of ``constants``.
    dark_variance_adu2 : ndarray or None
        float32 (Y, X), counts squared; None: the read noise of ``constants``.
    hot : ndarray or None
        bool (Y, X): pixels left out of intensities and of what counts as saturated.
    dark_frames : int
        Frames behind each dark image; 0 for none.
    """

    constants: CameraConstants
    bit_depth: int
    offsets_adu: Mapping[int, FloatImage | float] = field(default_factory=dict)
    dark_variance_adu2: FloatImage | None = None
    hot: Mask | None = None
    dark_frames: int = 0

    @property
    def saturation_adu(self) -> int:
        """Return the highest count."""
        return max_count(self.bit_depth)

    @property
    def shot_adu(self) -> float:
        """Return the noise variance each count of signal brings, counts squared per count.

        Excess noise factor over gain; 0 where the noise was found not to follow the signal.
        """
        if self.constants.model == "gaussian":
            return 0.0
        return self.constants.excess_noise_factor / self.constants.gain_e_per_adu

    @cached_property
    def read_variance_adu2(self) -> float:
        """Return the mean dark variance of a pixel of one frame, counts squared."""
        if self.dark_variance_adu2 is not None:
            return float(self.dark_variance_adu2.mean(dtype=np.float64))
        return (self.constants.read_noise_e / self.constants.gain_e_per_adu) ** 2

    @cached_property
    def offset_error_adu(self) -> float:
        """Return the uncertainty of the offset that all pixels share, counts."""
        if self.dark_frames:
            share = _DRIFT_MEASURED
        else:
            share = _DRIFT_ESTIMATED if self.constants.source == "estimated" else _DRIFT_GIVEN
        return share * float(np.sqrt(self.read_variance_adu2))

    @cached_property
    def hot_index(self) -> npt.NDArray[np.intp]:
        """Return the flat indices of the hot pixels."""
        return np.flatnonzero(self.hot) if self.hot is not None else np.empty(0, np.intp)

    @cached_property
    def _offset_means(self) -> dict[int, float]:
        return {us: float(np.mean(offset)) for us, offset in self.offsets_adu.items()}

    def offset_adu(self, exposure_us: int) -> FloatImage | float:
        """Return the dark counts at an exposure: an image (Y, X) or a number."""
        if not self.offsets_adu:
            return self.constants.offset_adu
        return self.offsets_adu[self._nearest(exposure_us)]

    def mean_offset_adu(self, exposure_us: int) -> float:
        """Return the mean dark counts at an exposure, hot pixels included."""
        if not self.offsets_adu:
            return self.constants.offset_adu
        return self._offset_means[self._nearest(exposure_us)]

    def _nearest(self, exposure_us: int) -> int:
        wanted = np.log(max(exposure_us, 1))
        return min(self.offsets_adu, key=lambda us: abs(float(np.log(max(us, 1)) - wanted)))

    def signal_adu(self, image: npt.NDArray[Any], exposure_us: int) -> FloatImage:
        """Return counts above offset, float32 (Y, X), hot pixels replaced by their neighbours."""
        signal: FloatImage = np.subtract(image, self.offset_adu(exposure_us), dtype=np.float32)
        if self.hot_index.size:
            flat = signal.ravel()
            left, right = (flat.take(self.hot_index + step, mode="clip") for step in (-1, 1))
            flat[self.hot_index] = (left + right) * np.float32(0.5)
        return signal


def camera_from_darks(
    darks: Mapping[int, DarkStatistics],
    constants: CameraConstants | None,
    scenes: Iterable[Sequence[Frame]] = (),
    *,
    bit_depth: int,
) -> PairCamera:
    """Make the camera of the checks from what was measured before the first field.

    Parameters
    ----------
    darks : mapping
        Exposure in microseconds to its dark frames; may be empty.
    constants : CameraConstants or None
        From a calibration, from the configuration or from the camera; None: gain, and without
        darks offset and read noise too, are estimated from ``scenes``.
    scenes : iterable of sequence of ndarray
        Single frames (Y, X), grouped by scene and exposure: repeats in one group. Of an average,
        its first and last frame.
    bit_depth : int
        Valid bits.

    Raises
    ------
    ValueError
        If there are neither constants nor frames to estimate them from.
    """
    usable = {us: dark for us, dark in darks.items() if dark.frames}
    offsets = {us: dark.mean_adu for us, dark in usable.items()}
    variance = _dark_variance(list(usable.values()))
    if constants is None:
        offset = float(np.mean(offsets[min(offsets)])) if offsets else None
        read = float(variance.mean(dtype=np.float64)) if variance is not None else None
        constants = estimate_constants(scenes, offset, read, bit_depth=bit_depth)
    return PairCamera(
        constants=constants,
        bit_depth=bit_depth,
        offsets_adu=offsets,
        dark_variance_adu2=variance,
        hot=hot_pixels(list(offsets.values()), variance),
        dark_frames=min((dark.frames for dark in usable.values()), default=0),
    )


def hot_pixels(means: Sequence[FloatImage], variance: FloatImage | None) -> Mask | None:
    """Return the pixels whose dark mean or dark variance stands out, None without darks.

    The spread of the means is robust (median absolute deviation) and at least a tenth of a count.
    """
    if not means:
        return None
    hot = np.zeros(means[0].shape, np.bool_)
    for mean in means:
        centre = float(np.median(mean))
        spread = max(_MAD_TO_SD * float(np.median(np.abs(mean - centre))), 0.1)
        hot |= mean > centre + _HOT_DEVIATIONS * spread
    if variance is not None:
        hot |= variance > _HOT_VARIANCES * max(float(np.median(variance)), 1e-3)
    return hot


def _dark_variance(darks: Sequence[DarkStatistics]) -> FloatImage | None:
    """Return the variance of each pixel over all exposures, weighed by degrees of freedom.

    Pixels of few frames are uncertain: each is drawn towards the mean of all as if that were
    known from 8 frames more.
    """
    parts = [(d.frames - 1, v) for d in darks if (v := d.variance_adu2) is not None]
    if not parts:
        return None
    freedom = sum(n for n, _ in parts)
    pooled = sum((np.float32(n) * v for n, v in parts), np.zeros_like(parts[0][1])) / freedom
    share = np.float32(freedom / (freedom + 8))
    return np.asarray(share * pooled + (np.float32(1) - share) * pooled.mean(), np.float32)
