"""Quality without a reference: what a live display and a first look at new data can know.

Knows: frames, denoised frames and the camera's noise model. Must not know: displays, streams.

Counts are in counts (ADU), electrons in electrons; nothing here is a photon. All figures assume
that the noise of different frames is independent; those that use following frames assume that
the scene holds still between them (choose a still region, average over at least 20 frames).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from livedenoise.core.constants import CameraConstants

Array = npt.NDArray[np.generic]
FloatArray = npt.NDArray[np.float64]
Floats = npt.NDArray[np.float32] | npt.NDArray[np.float64]


def noise_variance_adu2(denoised: Array, constants: CameraConstants) -> FloatArray:
    """Return the expected noise variance of each raw pixel, counts squared, from its clean level.

    ``(F2 max(e, 0) + r^2) / gain^2`` with e = (counts - offset) * gain electrons.
    """
    electrons = (denoised.astype(np.float64) - constants.offset_adu) * constants.gain_e_per_adu
    variance_e = constants.excess_noise_factor * np.maximum(electrons, 0.0)
    return np.asarray((variance_e + constants.read_noise_e**2) / constants.gain_e_per_adu**2)


def electron_snr(denoised: Array, constants: CameraConstants) -> FloatArray:
    """Return the signal-to-noise ratio of each raw pixel, ``N / sqrt(F2 N + r^2)``.

    Parameters
    ----------
    denoised : ndarray (Y, X)
        The clean level in counts: the denoised image, not the raw one.
    constants : CameraConstants
        The camera.

    Returns
    -------
    ndarray of float64 (Y, X)
        At least 0; 20 log10 of it is the ratio in decibel.
    """
    signal = np.maximum(denoised.astype(np.float64) - constants.offset_adu, 0.0)
    noise = np.sqrt(noise_variance_adu2(denoised, constants))
    return np.asarray(np.divide(signal, noise, out=np.zeros_like(signal), where=noise > 0))


def difference_noise_adu(first: Array, second: Array) -> float:
    """Return the rms noise of one frame from two of a still scene: ``std(f1 - f2) / sqrt(2)``.

    The mean difference (bleaching, flicker) is taken out. Motion and drift read as noise.

    Raises
    ------
    ValueError
        If the shapes differ.
    """
    a, b = _same(first, second)
    return float(np.sqrt((a - b).var() / 2.0))


def residual_lag1(raw: Array, denoised: Array, constants: CameraConstants) -> tuple[float, float]:
    """Return the lag-1 autocorrelation along (x, y) of the standardised residual.

    ``(y - f) / sqrt(var(f))``: about 0 where the denoiser removed white noise and nothing else;
    positive where it removed structure, or where the noise itself is correlated (compare with
    the lag-1 correlation of the camera's noise).
    """
    residual = _standardised(raw, denoised, constants)
    residual = residual - residual.mean()
    power = float(np.square(residual).mean())
    if power == 0:
        return 0.0, 0.0
    along_x = float((residual[:, 1:] * residual[:, :-1]).mean()) / power
    along_y = float((residual[1:] * residual[:-1]).mean()) / power
    return along_x, along_y


def variance_ratio(raw: Array, denoised: Array, constants: CameraConstants) -> float:
    """Return the mean squared standardised residual, ``mean((y - f)^2 / var(f))``.

    About 1 for a good denoiser of a calibrated camera (a little below: some noise always stays
    in f); well below 1 where noise was kept, above 1 where signal was lost.
    """
    return float(np.square(_standardised(raw, denoised, constants)).mean())


def unbiased_mse(denoised: Array, following: Array, later: Array, latest: Array) -> float:
    """Return the mean squared error of a denoised frame from three other frames of its scene.

    ``uMSE = mean((a - f)^2) - mean((b - c)^2) / 2`` (Marcos-Morales et al., "Evaluating
    unsupervised denoising requires unsupervised metrics", ICML 2023), where the noise of a is
    independent of f, and b, c measure how much of the first term is noise. Unbiased, so it can
    come out negative for a single frame.

    Parameters
    ----------
    denoised : ndarray (Y, X)
        f, made from a frame other than the three.
    following, later, latest : ndarray (Y, X)
        Raw frames a, b, c of the same still scene.

    Raises
    ------
    ValueError
        If the shapes differ.
    """
    a, f = _same(following, denoised)
    b, c = _same(later, latest)
    noise = float(np.square(b - c).mean()) / 2.0
    return float(np.square(a - f).mean()) - noise


def cross_mse(denoised: Array, following: Array, later: Array) -> float:
    """Return the mean squared error from two other frames: ``mean((a - f) (b - f))``.

    Unbiased where the noise of a, b and f is independent; scatters less than
    :func:`unbiased_mse` and needs one frame fewer.
    """
    a, f = _same(following, denoised)
    b, _ = _same(later, denoised)
    return float(((a - f) * (b - f)).mean())


def pairs_mse(image: Array, others: Sequence[Array]) -> float:
    """Return the mean of ``cross_mse`` over every pair of two or more other frames.

    With S the sum and Q the sum of squares of ``x_k - f`` over n frames it is
    ``mean((S^2 - Q) / (n (n - 1)))``: unbiased as :func:`cross_mse` is, and with three frames it
    scatters 1.7 times less. Applied to a raw frame of the same scene it is that frame's own mean
    squared error, its noise variance.

    Raises
    ------
    ValueError
        If there are fewer than two other frames, or the shapes differ.

    Notes
    -----
    float32 images are worked on in float32, everything else in float64.
    """
    n = len(others)
    if n < 2:
        raise ValueError(f"at least 2 other frames are needed, got {n}")
    if any(other.shape != image.shape for other in others):
        raise ValueError(f"images of different shape: {image.shape}, {[o.shape for o in others]}")
    f: npt.NDArray[Any] = _floating(image)
    errors = np.stack([_floating(other) for other in others]) - f
    total = errors.sum(axis=0)
    return (_mean_square(total) - n * _mean_square(errors)) / (n * (n - 1))


def lag1_sums(image: Array) -> tuple[float, float]:
    """Return (lag-1 product, power) of an image about its mean, to be averaged over many images.

    The product is the mean over pixels and over the two axes (x, y); product / power is the
    lag-1 autocorrelation. Average both apart, then divide: the mean of ratios is biased.
    """
    centred = _floating(image)
    centred = centred - centred.mean()
    along_x = _sum_of_products(centred[:, 1:], centred[:, :-1]) / max(centred[:, 1:].size, 1)
    along_y = _sum_of_products(centred[1:], centred[:-1]) / max(centred[1:].size, 1)
    return (along_x + along_y) / 2.0, _mean_square(centred)


def unbiased_psnr(mse_adu2: float, data_range: float) -> float:
    """Return ``10 log10(data_range^2 / uMSE)`` in decibel; not a number for uMSE <= 0.

    Average the mean squared errors of many frames first, then convert: the mean of logarithms is
    biased, and single estimates scatter by about 1 dB.

    Raises
    ------
    ValueError
        If ``data_range`` is not positive.
    """
    if data_range <= 0:
        raise ValueError(f"data_range must be > 0, got {data_range}")
    return float(10.0 * np.log10(data_range**2 / mse_adu2)) if mse_adu2 > 0 else float("nan")


def _standardised(raw: Array, denoised: Array, constants: CameraConstants) -> FloatArray:
    y, f = _same(raw, denoised)
    # A pixel without expected noise (no light, no read noise) counts with the rounding error.
    deviation = np.sqrt(np.maximum(noise_variance_adu2(f, constants), 1.0 / 12.0))
    return np.asarray((y - f) / deviation)


def _floating(image: Array) -> Floats:
    if image.dtype == np.float32:
        return np.asarray(image, np.float32)
    return np.asarray(image, np.float64)


def _mean_square(values: Floats) -> float:
    flat = values.reshape(-1)
    return float(np.einsum("i,i->", flat, flat)) / flat.size


def _sum_of_products(first: Floats, second: Floats) -> float:
    # Not a matrix product: for one number no thread of a BLAS library need wake up.
    return float(np.einsum("yx,yx->", first, second))


def _same(first: Array, second: Array) -> tuple[FloatArray, FloatArray]:
    if first.shape != second.shape:
        raise ValueError(f"images of different shape: {first.shape} and {second.shape}")
    return first.astype(np.float64), second.astype(np.float64)
