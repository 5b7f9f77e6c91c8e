"""Quality against a reference image: what the published tables are made of.

Knows: two arrays of one shape and unit. Must not know: files, methods, cameras.

Every figure names its convention, because they differ: PSNR by 0.04 dB for the crops it is
averaged over, SSIM by several hundredths for its window.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.generic]


def psnr(reference: Array, test: Array, data_range: float) -> float:
    """Return the peak signal-to-noise ratio in decibel: ``20 log10(data_range / rmse)``.

    Parameters
    ----------
    reference, test : ndarray of one shape
        Same units. Clip ``test`` first where the published figure did (FMD: to [0, 255]).
    data_range : float
        Peak, in the same units: 255 for 8-bit sets.

    Returns
    -------
    float
        Infinite for identical images.

    Raises
    ------
    ValueError
        If the shapes differ or ``data_range`` is not positive.
    """
    r, t = _pair(reference, test)
    if data_range <= 0:
        raise ValueError(f"data_range must be > 0, got {data_range}")
    rmse = float(np.sqrt(np.square(r - t).mean()))
    return 20.0 * np.log10(data_range / rmse) if rmse > 0 else float("inf")


def ssim(reference: Array, test: Array, data_range: float) -> float:
    """Return the mean structural similarity, scikit-image's default variant.

    Uniform 7x7 window, sample covariance, K1 = 0.01, K2 = 0.03 (Wang et al., IEEE Trans. Image
    Process. 13, 2004, used an 11x11 Gaussian window, which reads a few thousandths lower on
    noisy images). Needs scikit-image (extras ``train`` or ``test``).

    Raises
    ------
    ValueError
        If the shapes differ, or a side is smaller than 7 pixels.
    """
    from skimage.metrics import structural_similarity

    r, t = _pair(reference, test)
    if min(r.shape) < 7:
        raise ValueError(f"images of {r.shape} are smaller than the 7x7 window")
    similarity: Callable[..., Any] = structural_similarity
    return float(similarity(r, t, data_range=data_range))


def nrmse(reference: Array, test: Array) -> float:
    """Return the root mean square error over the range (max - min) of the reference.

    Raises
    ------
    ValueError
        If the shapes differ or the reference is constant.
    """
    r, t = _pair(reference, test)
    span = float(r.max() - r.min())
    if span == 0:
        raise ValueError("the reference is constant: it has no range to normalise with")
    return float(np.sqrt(np.square(r - t).mean())) / span


def scale_invariant_psnr(reference: Array, test: Array) -> float:
    """Return the PSNR after the best affine fit of ``test`` to ``reference``, in decibel.

    ``10 log10(range(r)^2 / min_ab mean((a t + b - r)^2))`` with centred images, range of the
    reference (Weigert et al., Nat. Methods 15, 2018, "minmse" normalisation): forgives wrong
    units, so it says nothing about photometry.

    Raises
    ------
    ValueError
        If the shapes differ or the reference is constant.
    """
    r, t = _pair(reference, test)
    span = float(r.max() - r.min())
    if span == 0:
        raise ValueError("the reference is constant: it has no range to normalise with")
    r, t = r - r.mean(), t - t.mean()
    power = float(np.square(t).mean())
    scale = float((r * t).mean()) / power if power > 0 else 0.0
    error = float(np.square(scale * t - r).mean())
    return float(10.0 * np.log10(span**2 / error)) if error > 0 else float("inf")


def intensity_bias(reference: Array, test: Array, offset_adu: float = 0.0) -> float:
    """Return mean(test) over mean(reference), both less the camera offset: 1 keeps photometry.

    Parameters
    ----------
    reference, test : ndarray of one shape
        Counts. The noisy image itself may be the reference: its mean is unbiased.
    offset_adu : float
        Counts without light.

    Raises
    ------
    ValueError
        If the shapes differ or the reference holds no signal above the offset.
    """
    r, t = _pair(reference, test)
    signal = float(r.mean()) - offset_adu
    if signal <= 0:
        raise ValueError(f"mean of the reference {r.mean():g} is not above offset {offset_adu:g}")
    return (float(t.mean()) - offset_adu) / signal


def _pair(reference: Array, test: Array) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    if reference.shape != test.shape:
        raise ValueError(f"reference is {reference.shape} but test is {test.shape}")
    return reference.astype(np.float64), test.astype(np.float64)
