"""Classical denoisers to compare a network with: Gaussian blur, and NLM after stabilisation.

Knows: formulae on arrays. Must not know: files, networks, which images are compared.

The generalised Anscombe transform (GAT) makes Poisson-Gaussian noise nearly Gaussian of unit
variance; a denoiser for white noise follows; the inverse is the closed-form approximation of the
exact unbiased inverse (Makitalo & Foi, IEEE Trans. Image Process. 22, 2013), because the plain
algebraic inverse is biased at low counts.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from livedenoise.core.constants import CameraConstants
from livedenoise.core.frame import Frame

FloatImage = npt.NDArray[np.float32]
_ROOT = float(np.sqrt(1.5))

NLM_PATCH_PX = 5
NLM_DISTANCE_PX = 6
NLM_STRENGTH = 0.8


def gat_forward(electrons: npt.NDArray[np.floating], read_noise_e: float) -> FloatImage:
    """Return the generalised Anscombe transform.

    ``f = 2 sqrt(max(0, e + 3/8 + sigma^2))`` for e = Poisson + N(0, sigma^2); its noise has a
    variance of about 1 from about three electrons on.

    Parameters
    ----------
    electrons : ndarray (Y, X)
        Offset-subtracted electrons, over the excess noise factor for an EMCCD.
    read_noise_e : float
        sigma, in the same units.
    """
    argument = np.asarray(electrons, dtype=np.float64) + 3 / 8 + read_noise_e**2
    return np.asarray(2.0 * np.sqrt(np.maximum(argument, 0.0)), dtype=np.float32)


def gat_inverse(stabilised: npt.NDArray[np.floating], read_noise_e: float) -> FloatImage:
    """Return electrons from the (denoised) transform D, without bias; never negative.

    ``D^2/4 + sqrt(3/2)/4 D^-1 - 11/8 D^-2 + 5/8 sqrt(3/2) D^-3 - 1/8 - sigma^2`` with D clamped to
    ``2 sqrt(3/8 + sigma^2)``, the transform of zero electrons: below it the series has its poles.
    """
    lowest = 2.0 * np.sqrt(3 / 8 + read_noise_e**2)
    d = np.maximum(stabilised, lowest).astype(np.float64)
    series = _ROOT / 4 / d - 11 / 8 / d**2 + 5 / 8 * _ROOT / d**3
    electrons = d**2 / 4 + series - 1 / 8 - read_noise_e**2
    return np.asarray(np.maximum(electrons, 0.0), dtype=np.float32)


def gat_nlm(counts: Frame, constants: CameraConstants) -> FloatImage:
    """Denoise one frame by non-local means after the generalised Anscombe transform.

    Non-local means (Buades, Coll & Morel, CVPR 2005) in scikit-image's fast mode, patches of 5 px
    within 6 px, strength h = 0.8 for noise of standard deviation 1. Needs scikit-image (extras
    ``train`` or ``test``).

    Parameters
    ----------
    counts : ndarray (Y, X)
        Camera counts.
    constants : CameraConstants
        The camera; an excess noise factor is divided out first.

    Returns
    -------
    ndarray of float32 (Y, X)
        Denoised counts, not rounded; not below the offset, because the inverse is not.
    """
    from skimage.restoration import denoise_nl_means

    factor = constants.excess_noise_factor
    scale, read_noise = constants.gain_e_per_adu / factor, constants.read_noise_e / factor
    electrons = (np.asarray(counts, dtype=np.float64) - constants.offset_adu) * scale
    stabilised = gat_forward(electrons, read_noise)
    smooth = denoise_nl_means(
        stabilised,
        patch_size=NLM_PATCH_PX,
        patch_distance=NLM_DISTANCE_PX,
        h=NLM_STRENGTH,
        sigma=1.0,
        fast_mode=True,
    )
    restored = gat_inverse(smooth, read_noise) / np.float32(scale)
    return np.asarray(restored + np.float32(constants.offset_adu), dtype=np.float32)


def gaussian(counts: Frame, sigma_px: float) -> FloatImage:
    """Return (Y, X) blurred with a Gaussian of ``sigma_px``, float32, edges mirrored; 0 copies."""
    from scipy.ndimage import gaussian_filter

    image = np.asarray(counts, dtype=np.float32)
    if sigma_px == 0:
        return image.copy()
    blurred: FloatImage = gaussian_filter(image, sigma_px, mode="reflect")
    return blurred


def tuned_gaussian(
    counts: Frame, reference: npt.NDArray[np.generic], sigmas_px: Sequence[float]
) -> tuple[FloatImage, float]:
    """Return the blur with the smallest mean squared error, and its sigma in pixels.

    Tuned against the reference itself, so it flatters the blur: an honest bar for anything that
    claims to beat one. On correlated noise it beats many methods built for white noise.

    Parameters
    ----------
    counts : ndarray (Y, X)
        Noisy image.
    reference : ndarray (Y, X)
        Clean image in the same units.
    sigmas_px : sequence of float
        Candidates, at least one.

    Raises
    ------
    ValueError
        If no sigma is given or the shapes differ.
    """
    if not sigmas_px or counts.shape != reference.shape:
        raise ValueError(
            f"need sigmas ({list(sigmas_px)}) and one shape ({counts.shape}, {reference.shape})"
        )
    target = np.asarray(reference, dtype=np.float64)
    candidates = [(gaussian(counts, sigma), float(sigma)) for sigma in sigmas_px]
    return min(candidates, key=lambda c: float(np.square(c[0] - target).mean()))
