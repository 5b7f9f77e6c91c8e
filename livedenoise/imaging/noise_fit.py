"""Camera constants from the noise of a recording, for cameras nobody calibrated.

Knows: what of gain, offset and read noise a recording can tell, and what to do when it tells
nothing. Must not know: how the noise was measured, networks beyond their units.

What can be known
-----------------
The network sees ``u = counts / a + b / a**2`` where ``variance = a * counts + b``: slope and
intercept are all it needs, and all that a recording without a dark frame holds. Offset and read
noise are not told apart: any offset o with ``read_noise**2 = (a * o + b) / a**2`` gives the same
u. The offset is put at the darkest part of the image (background light counts as offset), but
never below ``-b / a``, where the noise would be negative.

Where the variance does not follow the mean (read-noise dominated, or processed images) the slope
means nothing. Then one variance sigma^2 for all levels is taken, ``model="gaussian"``, and counts
are scaled by ``k = min(4 R / sigma^2, cap)``, R the signal range: u varies by a quarter of its
level, so noise of constant variance still nearly equals its mean; ``cap`` keeps u within what
networks are trained on. Nothing is meant in electrons then.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from livedenoise.core.constants import CameraConstants
from livedenoise.core.frame import Frame
from livedenoise.imaging.noise_estimate import QUANTISATION_ADU2, NoiseFit, fit_noise

__all__ = ["NoiseFit", "constants_from_fit", "fit_constants", "fit_noise", "follows_signal"]

LARGEST_U = 3000.0
SIGNIFICANT_ERRORS = 4.0
LEAST_R2 = 0.5
LEAST_SHOT_SHARE = 0.25
CORRELATED = 0.1


def fit_constants(
    frames: npt.NDArray[np.generic] | Sequence[Frame],
    *,
    bit_depth: int,
    offset_adu: float | None = None,
) -> CameraConstants:
    """Estimate camera constants once, from the frames of a recording.

    Parameters
    ----------
    frames : ndarray (T, Y, X) or (Y, X), or sequence of ndarray (Y, X)
        Counts of one camera mode, uint8, uint16 or float32: the first 16 frames of a live run,
        or one image.
    bit_depth : int
        Valid bits of integer frames.
    offset_adu : float, optional
        Counts without light, where known; otherwise chosen, see the module.

    Returns
    -------
    CameraConstants
        ``source="estimated"``; ``note`` says from what, and how well it fits.

    Raises
    ------
    ValueError
        If there is no frame, shapes or dtypes differ, or a pixel is not finite.
    """
    return constants_from_fit(fit_noise(frames, bit_depth=bit_depth), offset_adu=offset_adu)


def constants_from_fit(fit: NoiseFit, *, offset_adu: float | None = None) -> CameraConstants:
    """Return the camera constants a noise fit stands for (see :func:`fit_constants`)."""
    if not follows_signal(fit):
        return _gaussian(fit, offset_adu)
    slope, intercept = fit.slope_adu, fit.intercept_adu2
    offset = max(fit.offset_adu, -intercept / slope) if offset_adu is None else offset_adu
    read_noise_e = float(np.sqrt(max(0.0, slope * offset + intercept))) / slope
    note = (
        f"estimated from {_source(fit)}: variance = {slope:.4g} x counts {intercept:+.4g}, "
        f"r2 {fit.r2:.3f}; {_remarks(fit)}"
    )
    return CameraConstants(
        gain_e_per_adu=1.0 / slope,
        offset_adu=offset,
        read_noise_e=read_noise_e,
        source="estimated",
        note=note,
    )


def follows_signal(fit: NoiseFit) -> bool:
    """Return whether the variance follows the mean well enough to speak of electrons.

    The slope must be significant, the line must explain most of the variation between levels,
    and the variance must grow by a quarter at least over the range of the signal.
    """
    if not fit.slope_adu > SIGNIFICANT_ERRORS * fit.slope_error_adu or fit.r2 < LEAST_R2:
        return False
    darkest = fit.slope_adu * fit.offset_adu + fit.intercept_adu2
    return fit.slope_adu * fit.range_adu > LEAST_SHOT_SHARE * darkest


def _gaussian(fit: NoiseFit, offset_adu: float | None) -> CameraConstants:
    sigma = fit.sigma_adu
    found = f"the noise, {sigma:.3g} counts, does not follow the signal (r2 {fit.r2:.2f})"
    if sigma <= 1e-6 * fit.range_adu:
        sigma = 1e-3 * fit.range_adu or float(np.sqrt(QUANTISATION_ADU2))
        found = "no noise found"
    scale = _gaussian_scale(fit.range_adu, sigma)
    note = (
        f"estimated from {_source(fit)}: {found}, so the gain is a scale for the network and "
        f"electrons are not meant literally; {_remarks(fit)}"
    )
    return CameraConstants(
        gain_e_per_adu=scale,
        offset_adu=fit.offset_adu if offset_adu is None else offset_adu,
        read_noise_e=sigma * scale,
        source="estimated",
        model="gaussian",
        note=note,
    )


def _gaussian_scale(range_adu: float, sigma_adu: float) -> float:
    """Return k = 4 R / sigma^2, such that k R + (k sigma)^2 <= LARGEST_U and k sigma >= 1."""
    variance = sigma_adu**2
    root = np.sqrt(range_adu**2 + 4.0 * variance * LARGEST_U)
    cap = float(2.0 * LARGEST_U / (range_adu + root))
    return float(np.clip(4.0 * range_adu / variance, min(1.0 / sigma_adu, cap), cap))


def _source(fit: NoiseFit) -> str:
    if fit.n_frames == 1:
        return f"one image ({fit.method})" if fit.method == "pixels" else "one image"
    return f"{fit.n_frames} frames ({fit.method})"


def _remarks(fit: NoiseFit) -> str:
    still = fit.method == "frame pairs"
    limit = "" if still else " at most"
    remarks = [f"noise lag-1 correlation{limit} x {fit.lag1_x:.2f}, y {fit.lag1_y:.2f}"]
    correlated = max(fit.lag1_x, fit.lag1_y) > CORRELATED
    if correlated and (still or fit.correlation_factor > 1.0 + CORRELATED):
        remarks.append("SPATIALLY CORRELATED noise, expect grain to remain")
    if fit.shared_noise:
        remarks.append("neighbouring frames share noise (averaged?), so one frame was used")
    if fit.clipped_fraction > 0.01:
        remarks.append(f"{100 * fit.clipped_fraction:.0f} % of the image touches zero or the top")
    return "; ".join(remarks)
