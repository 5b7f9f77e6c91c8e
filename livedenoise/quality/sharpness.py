"""Is one of two exposures blurred against the other? A measure that noise does not move.

Knows: spectra of two aligned images. Must not know: cameras, exposures, limits.

The usual measures (gradient or Laplacian energy, Brenner) grow with noise, and a low exposure is
noisier than a high one. Here the low image is regressed on the high one, ring by ring of spatial
frequency: ``b(k) = cross(k) / (power_high(k) - noise_high)``. The noise of the low image does not
enter the mean of the cross spectrum, and that of the high image is small and taken out. In focus
``b`` is the same at all frequencies; a Gaussian difference of blur makes it ``a exp(-q k^2)`` with
``2 q`` the difference of the two variances of the point-spread functions (px^2). From ``q`` and
the spectrum follows the relative change of the root mean square Laplacian over intensity.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from livedenoise.imaging.cross_spectrum import HANN_VARIANCE_FACTOR, Doubles, PairSpectra
from livedenoise.imaging.registration import Shift, tail_power

_MODEL_ERROR = 0.03
"""Relative error granted to each ring: windows, residual shift, blur that is not Gaussian."""

_LEAST_RINGS = 4
_STEPS = 12
_SETTLED = 1e-4
_SIGNAL_ERRORS = 3.0
_LEAST_SHARE = 0.5
"""Signal in the power of the high image; below, what is not white noise there is not scene."""

_LARGEST_BLUR_PX2 = 25.0
_WORST_CONDITION = 1e12


@dataclass(frozen=True)
class SharpnessChange:
    """How much less sharp one image is than the other.

    Attributes
    ----------
    change : float
        Relative loss of rms Laplacian of the blurrier image: negative where the first (low) image
        is blurrier, positive where the second is; between -1 and 1.
    error : float
        Standard error; infinite where the images share too little structure.
    blur_px2, blur_error_px2 : float
        ``q``, half the difference of the variances of the point-spread functions, first less
        second, and its error.
    """

    change: float
    error: float
    blur_px2: float
    blur_error_px2: float

    @property
    def found(self) -> bool:
        """Return whether it could be measured."""
        return bool(np.isfinite(self.error))


def compare_sharpness(spectra: PairSpectra, shift: Shift) -> SharpnessChange:
    """Compare the sharpness of two images whose shift is known.

    Parameters
    ----------
    spectra : PairSpectra
        Of the low and the high image.
    shift : Shift
        Measured from these spectra.
    """
    nothing = SharpnessChange(0.0, float("inf"), 0.0, float("inf"))
    if not shift.found:
        return nothing
    signal = np.maximum(spectra.second_power - _high_noise(spectra, shift.cross), 0.0)
    usable = _usable(spectra, signal)
    if np.count_nonzero(usable) < _LEAST_RINGS:
        return nothing
    k2 = spectra.grid.k[usable] ** 2
    slope, error = _slopes(spectra, shift.cross, signal, usable)
    q, q_error = _fit_blur(k2, slope, error)
    energy = spectra.grid.count[usable] * k2**2 * signal[usable]
    change = _change(q, k2, energy)
    step = max(q_error, 1e-6)
    spread = 0.5 * abs(_change(q + step, k2, energy) - _change(q - step, k2, energy))
    area = float(spectra.binning**2)
    return SharpnessChange(change, spread * q_error / step, q * area, q_error * area)


def _high_noise(spectra: PairSpectra, cross: Doubles) -> float:
    """Return the white noise power of the high image: its tail less the signal in the tail."""
    count = spectra.grid.count
    coarse = slice(0, len(count) // 3)
    power = float(np.sum((count * spectra.second_power)[coarse]))
    gain = float(np.sum((count * cross)[coarse])) / power if power > 0 else 0.0
    shared = max(tail_power(cross, count), 0.0) / gain if gain > 0 else 0.0
    return max(tail_power(spectra.second_power, count) - shared, 0.0)


def _usable(spectra: PairSpectra, signal: Doubles) -> npt.NDArray[np.bool_]:
    count = np.maximum(spectra.grid.count, 1.0)
    spread = spectra.second_power * np.sqrt(HANN_VARIANCE_FACTOR / count)
    clear = (signal > _SIGNAL_ERRORS * spread) & (signal > _LEAST_SHARE * spectra.second_power)
    # From the lowest ring up to the first without signal: beyond it chance decides.
    return np.asarray(np.logical_and.accumulate(clear))


def _slopes(
    spectra: PairSpectra, cross: Doubles, signal: Doubles, usable: npt.NDArray[np.bool_]
) -> tuple[Doubles, Doubles]:
    """Return ``b`` of each ring and its standard error."""
    high, low = spectra.second_power[usable], spectra.first_power[usable]
    attenuation = high / signal[usable]
    slope = cross[usable] / high
    free = spectra.grid.count[usable] / HANN_VARIANCE_FACTOR
    residual = np.maximum(low - slope**2 * high, 1e-6 * low)
    error = np.sqrt(residual / (2.0 * free * high)) * attenuation
    slope = slope * attenuation
    return slope, np.hypot(error, _MODEL_ERROR * np.abs(slope)) + 1e-12


def _fit_blur(k2: Doubles, slope: Doubles, error: Doubles) -> tuple[float, float]:
    """Fit ``a exp(-q k^2)`` by weighted least squares (Gauss-Newton); return q and its error."""
    weight = 1.0 / error
    a, q = _first_guess(k2, slope, weight)
    normal = np.eye(2)
    for _ in range(_STEPS):
        decay = np.exp(-q * k2)
        design = np.stack((decay, -a * k2 * decay)) * weight
        normal = design @ design.T
        if not np.isfinite(normal).all() or np.linalg.cond(normal) > _WORST_CONDITION:
            return 0.0, float("inf")
        step = np.linalg.solve(normal, design @ ((slope - a * decay) * weight))
        bound = 1.0 / float(k2[-1])
        a, moved = a + float(step[0]), float(np.clip(step[1], -bound, bound))
        q = float(np.clip(q + moved, -_LARGEST_BLUR_PX2, _LARGEST_BLUR_PX2))
        if abs(moved) < _SETTLED * bound:
            break
    misfit = float(np.square((slope - a * np.exp(-q * k2)) * weight).sum()) / max(len(k2) - 2, 1)
    variance = float(np.linalg.inv(normal)[1, 1]) * max(misfit, 1.0)
    return q, float(np.sqrt(variance))


def _first_guess(k2: Doubles, slope: Doubles, weight: Doubles) -> tuple[float, float]:
    """Return a and q of a straight line through the logarithms of the certain rings."""
    sure = slope * weight > _SIGNAL_ERRORS
    if np.count_nonzero(sure) < _LEAST_RINGS:
        return float(np.average(slope, weights=weight**2)), 0.0
    relative = (slope * weight)[sure]
    falling, height = np.polyfit(k2[sure], np.log(slope[sure]), 1, w=relative)
    return float(np.exp(height)), -float(falling)


def _change(q: float, k2: Doubles, energy: Doubles) -> float:
    exponent = np.clip(-2.0 * q * k2, -60.0, 60.0)
    ratio = float(np.sqrt(np.sum(energy * np.exp(exponent)) / np.sum(energy)))
    return ratio - 1.0 if ratio <= 1.0 else 1.0 - 1.0 / ratio
