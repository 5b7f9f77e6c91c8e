"""What one sample says: moments of a small block of four raw frames and a denoised one.

Knows: frames, camera constants, the formulae of ``quality.blind``. Must not know: averages,
streams, clocks. Everything here is a mean square, a mean product or a count, in counts (ADU) or
electrons, that may be averaged over samples; roots and logarithms come last (``quality.meter``).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from livedenoise.core.constants import CameraConstants
from livedenoise.core.frame import Frame, max_count
from livedenoise.quality.blind import lag1_sums, noise_variance_adu2, pairs_mse
from livedenoise.quality.motion import BURST_FRAMES, Evidence, align_brightness, motion_evidence

Image = npt.NDArray[np.float32]

BRIGHT_FRACTION = 0.01
_ROUNDING_ADU2 = 1.0 / 12.0
_NO_NUMBER = float("nan")


class Burst(msgspec.Struct, frozen=True, kw_only=True):
    """One region of four successive raw frames, and of the first of them denoised.

    Attributes
    ----------
    raw : sequence of ndarray (Y, X)
        Frames t, t+1, t+2, t+3 as the camera gave them: one epoch, no frame missing.
    denoised : ndarray (Y, X) or None
        Frame t from the denoiser; None when it was skipped, passed through, or there is none.
    epoch : int
        Camera epoch; the figures start anew in another one.
    bit_depth : int
        Valid bits of integer frames; not used for float32.
    """

    raw: Sequence[Frame]
    denoised: Frame | None = None
    epoch: int = 0
    bit_depth: int = 16


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """Moments of one burst; not a number where something needed for it is missing.

    Attributes
    ----------
    level_adu, bright_adu : float
        Mean count of the four frames; of the three following ones over the brightest pixels.
    saturated, zero : float
        Fractions of the pixels of the four frames; ``saturated`` is missing for float32.
    temporal_adu2 : float
        Noise variance by frame difference.
    raw_mse_adu2, clean_mse_adu2 : float
        Mean squared error of frame t, raw and denoised, from the following frames.
    residual_ratio : float
        Mean squared residual over expected variance.
    residual_lag1, residual_power, noise_lag1, noise_power : float
        Lag-1 product and power of the residual, and of the frame difference, standardised alike.
    evidence : Evidence
        For or against motion.
    """

    level_adu: float
    saturated: float
    zero: float
    temporal_adu2: float
    raw_mse_adu2: float
    evidence: Evidence
    bright_adu: float = _NO_NUMBER
    clean_mse_adu2: float = _NO_NUMBER
    residual_ratio: float = _NO_NUMBER
    residual_lag1: float = _NO_NUMBER
    residual_power: float = _NO_NUMBER
    noise_lag1: float = _NO_NUMBER
    noise_power: float = _NO_NUMBER


def measure(burst: Burst, constants: CameraConstants | None) -> Sample:
    """Return the moments of a burst.

    Parameters
    ----------
    constants : CameraConstants or None
        Used as scalars, without per-pixel maps. None leaves out what needs them.

    Raises
    ------
    ValueError
        If there are not four raw frames, or shapes differ.
    """
    if len(burst.raw) != BURST_FRAMES:
        raise ValueError(f"{BURST_FRAMES} successive raw frames are needed, got {len(burst.raw)}")
    if burst.denoised is not None and burst.denoised.shape != burst.raw[0].shape:
        raise ValueError(
            f"images of different shape: {burst.raw[0].shape} and {burst.denoised.shape}"
        )
    counts: npt.NDArray[Any] = np.stack(burst.raw)
    level = float(counts.mean(dtype=np.float64))
    # About zero, float32 keeps 24 bits of what differs between frames.
    frames = counts.astype(np.float32) - np.float32(level)
    aligned = align_brightness(frames)
    saturated = _NO_NUMBER
    if counts.dtype.kind == "u":
        saturated = np.count_nonzero(counts >= max_count(burst.bit_depth)) / counts.size
    sample = Sample(
        level_adu=level,
        saturated=saturated,
        zero=np.count_nonzero(counts == 0) / counts.size,
        temporal_adu2=_temporal_variance(aligned),
        raw_mse_adu2=pairs_mse(aligned[0], list(aligned[1:])),
        evidence=motion_evidence(aligned),
    )
    if burst.denoised is None:
        return sample
    clean = burst.denoised.astype(np.float32) - np.float32(level)
    expected = None
    if constants is not None:
        # A pixel without expected noise (no light, no read noise) counts with the rounding error.
        variance = np.maximum(noise_variance_adu2(burst.denoised, constants), _ROUNDING_ADU2)
        expected = np.sqrt(variance).astype(np.float32)
    return msgspec.structs.replace(
        _with_residual(sample, aligned, clean, expected),
        bright_adu=level + _bright_level(frames[1:], clean),
        clean_mse_adu2=pairs_mse(clean, list(aligned[1:])),
    )


def _with_residual(sample: Sample, aligned: Image, clean: Image, deviation: Image | None) -> Sample:
    residual, difference = aligned[0] - clean, aligned[2] - aligned[1]
    ratio = _NO_NUMBER
    if deviation is not None:
        residual /= deviation
        difference /= deviation
        ratio = float(np.einsum("yx,yx->", residual, residual)) / residual.size
    residual_lag1, residual_power = lag1_sums(residual)
    noise_lag1, noise_power = lag1_sums(difference)
    return msgspec.structs.replace(
        sample,
        residual_ratio=ratio,
        residual_lag1=residual_lag1,
        residual_power=residual_power,
        noise_lag1=noise_lag1,
        noise_power=noise_power,
    )


def _temporal_variance(aligned: Image) -> float:
    """Return the unbiased variance of each pixel over the frames, mean over the pixels."""
    centred = aligned - aligned.mean(axis=0)
    power = float(np.einsum("tyx,tyx->", centred, centred))
    return power / int(centred.size - centred[0].size)


def _bright_level(following: Image, clean: Image) -> float:
    """Return the mean of the following raw frames over the pixels brightest in the denoised one.

    Chosen on one frame and measured on others: the brightest pixels of a frame are partly those
    whose noise happens to be high, and would read too bright in that frame itself.
    """
    count = max(1, round(clean.size * BRIGHT_FRACTION))
    brightest = np.argpartition(clean, clean.size - count, axis=None)[-count:]
    return float(following.reshape(len(following), -1)[:, brightest].mean())
