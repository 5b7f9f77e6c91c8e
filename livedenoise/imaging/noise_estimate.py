"""ONE robust estimate of the noise of a recording, from its own frames.

Knows: how block statistics become a line variance = slope * counts + intercept, and when that
line must not be believed. Must not know: files, engines, what the constants are used for.
``imaging.noise_fit`` turns the line into camera constants.

Repeats: photon transfer from frame pairs (Janesick, "Photon Transfer", SPIE 2007) where the scene
holds still; where it moves, the same from high-pass filtered differences. One image: high-pass
residuals of small blocks against their level, after Foi et al. (IEEE Trans. Image Process. 17,
2008) and Pyatykh et al. (idem 22, 2013) in their aims, not their algorithms: no segmentation and
no patch PCA, but a filter that structure does not pass.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
import numpy.typing as npt

from livedenoise.core.frame import Frame
from livedenoise.imaging.noise_blocks import (
    BLOCK_PIXELS,
    DIRECT_DOF,
    HIGH_PASS_DOF,
    MIN_SIDE_PX,
    BlockStatistics,
    block_statistics,
)
from livedenoise.imaging.noise_line import fit_line
from livedenoise.imaging.noise_method import MIN_BLOCKS, NoiseMethod, choose_method, quiet_blocks

SHARED_NOISE_RATIO = 1.3
LEAST_BLOCKS = 4
QUANTISATION_ADU2 = 1.0 / 12.0
"""Variance added by rounding to whole counts (Sheppard; holds from about 0.4 counts of noise)."""


class NoiseFit(msgspec.Struct, frozen=True, kw_only=True):
    """The noise of one recording, in counts.

    Attributes
    ----------
    slope_adu, slope_error_adu : float
        Counts squared per count: the inverse of ``gain_e_per_adu``; its standard error.
    intercept_adu2 : float
        Variance at zero counts on the line; negative where the camera has an offset. Rounding
        to whole counts (1/12) is already taken out.
    offset_adu : float
        Level of the darkest 1 % of the blocks.
    range_adu : float
        Signal range: from the darkest to the brightest parts.
    sigma_adu : float
        Median noise over the levels, rounding included.
    r2 : float
        Part of the variation between levels that the line explains, in [0, 1].
    n_frames, n_pixels : int
        Frames read and pixel differences used.
    lag1_x, lag1_y : float
        Lag-1 autocorrelation of the noise along x and y, from the quietest blocks: 0 for white
        noise. An upper limit where the scene moves and from a single image: faint structure adds.
    correlation_factor : float
        Per-pixel variance of the noise over its high-pass variance: 1 for white noise.
    clipped_fraction : float
        Part of the blocks that touch zero or the top of the range.
    shared_noise : bool
        Neighbouring frames share their noise (a running average, say), so that their difference
        says too little: one frame was read as a single image.
    method : str
        ``frame pairs``, ``moving frame pairs`` (high-pass), ``single image`` (high-pass), or
        ``pixels`` (image too small for blocks: one variance for all levels).
    level_means, level_variances : tuple of float
        The binned points of the line, counts and counts squared.
    """

    slope_adu: float
    slope_error_adu: float
    intercept_adu2: float
    offset_adu: float
    range_adu: float
    sigma_adu: float
    r2: float
    n_frames: int
    n_pixels: int
    lag1_x: float
    lag1_y: float
    correlation_factor: float
    clipped_fraction: float
    shared_noise: bool
    method: NoiseMethod
    level_means: tuple[float, ...]
    level_variances: tuple[float, ...]


def fit_noise(frames: npt.NDArray[np.generic] | Sequence[Frame], *, bit_depth: int) -> NoiseFit:
    """Estimate the noise of a recording.

    Parameters
    ----------
    frames : ndarray (T, Y, X) or (Y, X), or sequence of ndarray (Y, X)
        Counts of one camera mode, uint8, uint16 or float32. From two frames on, noise comes from
        differences in time; at most about two million differences are read.
    bit_depth : int
        Valid bits of integer frames.

    Raises
    ------
    ValueError
        If there is no frame, shapes or dtypes differ, or a pixel is not finite.
    """
    stack = distinct_frames(frames)
    if min(stack[0].shape) < MIN_SIDE_PX:
        return _fit_pixels(stack)
    statistics = block_statistics(stack, bit_depth=bit_depth)
    shared = _neighbours_share_noise(statistics, stack, bit_depth)
    if shared:
        statistics = block_statistics(stack[:1], bit_depth=bit_depth)
    clipped = float(statistics.clipped.mean())
    statistics = _informative(statistics)
    if statistics.level.size < LEAST_BLOCKS:
        return _fit_pixels(stack)
    return _fit_blocks(stack[0], statistics, clipped, shared)


def _informative(statistics: BlockStatistics) -> BlockStatistics:
    """Return the blocks that are neither clipped nor constant, where enough of them remain.

    A dark region that the camera shows as one single count says nothing about noise. An image
    that touches zero nearly everywhere (photon counting) is used as it is.
    """
    usable = ~statistics.clipped
    if np.count_nonzero(usable) >= 4 * MIN_BLOCKS:
        statistics = statistics.subset(usable)
    varying = statistics.direct > 0
    if np.count_nonzero(varying) >= LEAST_BLOCKS:
        statistics = statistics.subset(varying)
    return statistics


def distinct_frames(frames: npt.NDArray[np.generic] | Sequence[Frame]) -> list[Frame]:
    """Return the frames as a list without immediate repeats (a camera that sent one twice).

    Raises
    ------
    ValueError
        If there is no frame, shapes or dtypes differ, or a pixel is not finite.
    """
    listed: list[Frame] = [frames] if getattr(frames, "ndim", 3) == 2 else list(frames)  # type: ignore[list-item]
    if not listed:
        raise ValueError("no frame to estimate the noise from")
    first = listed[0]
    if first.ndim != 2:
        raise ValueError(f"frames must be (Y, X), got {first.ndim} axes")
    if any(f.shape != first.shape or f.dtype != first.dtype for f in listed):
        raise ValueError("frames of different shape or dtype in one noise estimate")
    if first.dtype.kind == "f" and not all(np.isfinite(f).all() for f in listed):
        raise ValueError("frames hold pixels that are infinite or not a number")
    kept = [first]
    for frame in listed[1:]:
        if not (np.array_equal(frame[::16], kept[-1][::16]) and np.array_equal(frame, kept[-1])):
            kept.append(frame)
    return kept


def _neighbours_share_noise(
    statistics: BlockStatistics, stack: list[Frame], bit_depth: int
) -> bool:
    """Return whether distant frames differ more than neighbours: a running average, say.

    Judged on the quieter half of the blocks and on the high-pass part, which motion hardly enters.
    """
    if len(stack) < 6:
        return False
    far = block_statistics([stack[0], stack[len(stack) // 2]], bit_depth=bit_depth)
    quiet = statistics.structure <= np.median(statistics.structure)
    near_power = float(statistics.high_pass[quiet].mean())
    return float(far.high_pass[quiet].mean()) > SHARED_NOISE_RATIO * near_power


def _fit_blocks(
    frame: Frame, statistics: BlockStatistics, clipped: float, shared: bool
) -> NoiseFit:
    quiet = quiet_blocks(statistics)
    method, factor = choose_method(statistics, quiet)
    if method == "frame pairs":
        variance, dof = statistics.direct, float(DIRECT_DOF * statistics.n_pairs)
    else:
        variance, dof = factor * statistics.high_pass, HIGH_PASS_DOF * statistics.n_pairs
    n_level = float(BLOCK_PIXELS * statistics.n_frames)
    line = fit_line(statistics.level, variance, dof=dof, n_level=n_level)
    rounding = QUANTISATION_ADU2 if frame.dtype.kind == "u" else 0.0
    lag1 = statistics.lag1[:, quiet].mean(axis=1)
    sigma = float(np.sqrt(max(np.median(line.level_variances), 0.0)))
    return NoiseFit(
        slope_adu=line.slope,
        slope_error_adu=line.slope_error,
        intercept_adu2=line.intercept - rounding,
        offset_adu=float(np.quantile(statistics.level, 0.01)),
        range_adu=_signal_range(frame, statistics.level, sigma),
        sigma_adu=sigma,
        r2=line.r2,
        n_frames=statistics.n_frames,
        n_pixels=statistics.n_pixels,
        lag1_x=float(lag1[0]),
        lag1_y=float(lag1[1]),
        correlation_factor=factor,
        clipped_fraction=clipped,
        shared_noise=shared,
        method=method,
        level_means=line.level_means,
        level_variances=line.level_variances,
    )


def _signal_range(frame: Frame, level: npt.NDArray[np.float64], sigma: float) -> float:
    """Return the range of block levels, or that of pixels less their noise where it is wider."""
    low, high = np.quantile(level, (0.005, 0.995))
    step = max(1, int(np.sqrt(frame.size / 2**17)))
    pixel_low, pixel_high = np.quantile(frame[::step, ::step], (0.001, 0.999))
    return float(max(high - low, pixel_high - pixel_low - 6.2 * sigma, 0.0))


def _fit_pixels(stack: list[Frame]) -> NoiseFit:
    """Return one variance for all levels: too few pixels to see how it follows the signal."""
    values = np.stack(stack[:64]).astype(np.float64)
    if len(values) > 1:
        variance = float(np.median(np.square(np.diff(values, axis=0)))) / 2.0 / 0.4549
    else:
        steps = np.diff(values[0], axis=-1) if values.shape[-1] > 1 else np.zeros((1, 1))
        variance = float(np.median(np.square(steps))) / 2.0 / 0.4549
    mean = values.mean(axis=0)
    return NoiseFit(
        slope_adu=0.0,
        slope_error_adu=float("inf"),
        intercept_adu2=variance,
        offset_adu=float(mean.min()),
        range_adu=float(np.ptp(mean)),
        sigma_adu=float(np.sqrt(variance)),
        r2=0.0,
        n_frames=len(values),
        n_pixels=int(values.size),
        lag1_x=0.0,
        lag1_y=0.0,
        correlation_factor=1.0,
        clipped_fraction=0.0,
        shared_noise=False,
        method="pixels",
        level_means=(float(mean.mean()),),
        level_variances=(variance,),
    )
