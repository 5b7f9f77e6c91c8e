"""Sub-pixel shift between two noisy images of one scene, with its standard error; alignment.

Knows: two images and what their spectra say. Must not know: cameras, exposures, limits.

Method. Generalised cross-correlation: the cross spectrum is weighted ring by ring, its inverse
transform searched over all shifts (so tens of pixels are found as well as tenths), and the peak
refined by Newton steps on the exact trigonometric sum: no upsampling, no fitted parabola. The
search weighs as a matched filter does (whitened by the noisier image); the refinement with the
weights of maximum likelihood, ``coherence^2 / (1 - coherence^2)`` over the signal power (Knapp &
Carter, IEEE Trans. Acoust. Speech Signal Process. 24, 1976, after Hannan & Thomson), the coherence
being measured on the pair itself. Plain phase correlation weighs every frequency alike and drowns
in the noise of a low exposure.

The standard error is measured too: after alignment the imaginary part of the cross spectrum is
noise alone, and its power propagates through the curvature of the peak.

Pixels that stay with the camera (fixed pattern) correlate at shift 0: subtract dark images first.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from livedenoise.imaging.cross_spectrum import (
    HANN_VARIANCE_FACTOR,
    LEAST_SIDE_PX,
    N_RINGS,
    TAIL_RINGS,
    Band,
    Doubles,
    FloatImage,
    ImageSpectrum,
    PairSpectra,
    Spectrum,
    band_of,
    cross_spectra,
    image_spectrum,
    low_frequencies,
    pair_spectra,
    ring_means,
)

LEAST_PEAK = 6.5
"""Standard deviations of the correlation that its peak must reach: noise alone reaches 5."""

_LARGEST_COHERENCE2 = 0.98
"""Windows and interpolation, not noise, limit what very clean pairs tell."""

_NEAR_STEPS = 3
_NEARER_BY = 4.0
"""Standard deviations by which a far peak must stand above one within 6 px of no shift."""

_FLOOR_PX = 0.01
"""Standard error granted always: interpolation, distortion, windows."""

_SAME_PX = 0.02
"""Steps below this leave the mean of the cross spectrum on every ring: 0.2 % at the highest."""

_FAST_SIDE_PX = 32
_LARGEST_REST_PX = 2.0
_NEWTON_STEPS = 4
_SUPPORT_RINGS = 2.0


@dataclass(frozen=True, eq=False)
class Shift:
    """Where the second image lies beside the first.

    Attributes
    ----------
    shift_px : tuple of float
        (Y, X): ``second[y + dy, x + dx]`` shows what ``first[y, x]`` does.
    error_px : float
        Standard error of the less certain direction; infinite where nothing was found.
    peak : float
        Height of the correlation peak in its standard deviations.
    found : bool
        Whether the images have enough structure in common.
    cross : ndarray
        float64 (N_RINGS,): real part of the cross spectrum after alignment, mean of each ring.
    """

    shift_px: tuple[float, float]
    error_px: float
    peak: float
    found: bool
    cross: Doubles

    @property
    def length_px(self) -> float:
        """Return the distance."""
        return float(np.hypot(*self.shift_px))


def register(
    first: FloatImage,
    second: FloatImage,
    *,
    least_binning: int = 1,
    second_spectrum: ImageSpectrum | None = None,
) -> tuple[PairSpectra, Shift]:
    """Return the spectra of two images and the shift of the second against the first.

    A shift of a pixel or more is measured once more on the parts that show the same: else the
    window, which stays where it is, would draw the result towards 0 (by about 1 %).
    ``second_spectrum`` is that of ``second`` (with ``least_binning``), where it is known already.
    """
    if second_spectrum is None:
        spectra = pair_spectra(first, second, least_binning=least_binning)
    else:
        one = image_spectrum(first, least_binning=least_binning)
        spectra = cross_spectra(one, second_spectrum)
    shift = shift_of_spectra(spectra)
    whole = [round(d) for d in shift.shift_px]
    if not shift.found or not any(whole):
        return spectra, shift
    parts = _common_parts(first, second, whole, LEAST_SIDE_PX * least_binning)
    if parts is None:
        return spectra, shift
    again = pair_spectra(*parts, least_binning=least_binning)
    rest = shift_of_spectra(again)
    if not rest.found or rest.length_px > _LARGEST_REST_PX * again.binning:
        return spectra, shift
    total = (rest.shift_px[0] + whole[0], rest.shift_px[1] + whole[1])
    return again, replace(rest, shift_px=total)


def _common_parts(
    first: FloatImage, second: FloatImage, whole: list[int], least_px: int
) -> tuple[FloatImage, FloatImage] | None:
    """Return what both images show, in sizes that transform fast; None where it is too little."""
    here, there = [], []
    for length, shift in zip(first.shape, whole, strict=True):
        common = (length - abs(shift)) // _FAST_SIDE_PX * _FAST_SIDE_PX
        if common < max(length // 2, least_px):
            return None
        start = max(0, -shift)
        here.append(slice(start, start + common))
        there.append(slice(start + shift, start + shift + common))
    return first[here[0], here[1]], second[there[0], there[1]]


def measure_shift(first: FloatImage, second: FloatImage, *, least_binning: int = 1) -> Shift:
    """Measure the shift of the second image against the first; see :func:`register`."""
    return register(first, second, least_binning=least_binning)[1]


def shift_of_spectra(spectra: PairSpectra) -> Shift:
    """Measure the shift of the second image against the first.

    Parameters
    ----------
    spectra : PairSpectra
        Of the two images, offset subtracted; the second is the cleaner one, if either is.

    Returns
    -------
    Shift
        In pixels of the images given, whatever their spectra were binned to.
    """
    weights = _search_weights(spectra)
    if not weights.any():
        return _nothing(0.0)
    start, peak = _search(weights, spectra)
    if peak < LEAST_PEAK:
        return _nothing(peak)
    near = _refine(band_of(weights, spectra), start)
    cross = _aligned_rings(spectra, near)
    band = band_of(_likelihood_weights(spectra, cross), spectra)
    shift = _refine(band, near)
    if np.abs(shift - near).max() > _SAME_PX:
        cross = _aligned_rings(spectra, shift)
    aligned = _aligned(band.cross, band.ky, band.kx, shift)
    if _significance(aligned, band.weight) < LEAST_PEAK:
        return _nothing(peak)
    error = _standard_error(aligned, band)
    scale = spectra.binning
    return Shift(
        shift_px=(float(shift[0] * scale), float(shift[1] * scale)),
        error_px=float(np.hypot(error * scale, _FLOOR_PX)),
        peak=peak,
        found=bool(np.isfinite(error)),
        cross=cross,
    )


def _nothing(peak: float) -> Shift:
    return Shift((0.0, 0.0), float("inf"), peak, found=False, cross=np.zeros(N_RINGS))


def tail_power(power: Doubles, count: Doubles) -> float:
    """Return the mean power next to the Nyquist frequency: white noise, and little else."""
    return float(np.average(power[-TAIL_RINGS:], weights=count[-TAIL_RINGS:]))


def _search_weights(spectra: PairSpectra) -> Doubles:
    """Return the weights of a matched filter, 0 for rings where the second has no signal."""
    power, count = spectra.second_power, spectra.grid.count
    spread = power * np.sqrt(HANN_VARIANCE_FACTOR / np.maximum(count, 1.0))
    signal = power - tail_power(power, count) - _SUPPORT_RINGS * spread
    product = spectra.first_power * power
    usable = (signal > 0) & (product > 0)
    return np.divide(signal, product, out=np.zeros(N_RINGS), where=usable)


def _likelihood_weights(spectra: PairSpectra, cross: Doubles) -> Doubles:
    product = np.maximum(spectra.first_power * spectra.second_power, 1e-300)
    signal = np.maximum(cross, 0.0)
    coherence2 = np.minimum(signal**2 / product, _LARGEST_COHERENCE2)
    # What chance alone makes of no coherence is not weighed.
    chance = HANN_VARIANCE_FACTOR / np.maximum(spectra.grid.count, 1.0)
    coherence2 = np.where(coherence2 > 2.0 * chance, coherence2, 0.0)
    ratio = coherence2 / (1.0 - coherence2)
    return np.divide(ratio, signal, out=np.zeros(N_RINGS), where=signal > 0)


def _search(weights: Doubles, spectra: PairSpectra) -> tuple[Doubles, float]:
    """Return the place of the largest correlation, to a pixel or two, and its significance."""
    from scipy import fft

    rows, columns = spectra.grid.ky.size, 2 * (spectra.grid.kx.size - 1)
    # Half the band is enough to find the place and costs a quarter.
    y, x = rows // 4, columns // 4
    half = low_frequencies(weights, spectra, y, x + 1)
    correlation = fft.irfft2(half.weight * half.cross, s=(2 * y, 2 * x))
    spread = float(correlation.std())
    if spread == 0:
        return np.zeros(2), 0.0
    step, value = _likely_peak(np.asarray(correlation), _NEARER_BY * spread)
    return np.array([step[0] * rows / (2 * y), step[1] * columns / (2 * x)]), value / spread


def _likely_peak(correlation: FloatImage, margin: float) -> tuple[tuple[int, int], float]:
    """Return the steps to the highest value; one near 0 wins unless it is lower by ``margin``.

    Fields with next to no structure have many maxima of about one height.
    """
    rows, columns = correlation.shape
    reach = _NEAR_STEPS
    near = np.take(np.take(correlation, range(-reach, reach + 1), 0), range(-reach, reach + 1), 1)
    y, x = np.unravel_index(int(np.argmax(near)), near.shape)
    far_y, far_x = np.unravel_index(int(np.argmax(correlation)), correlation.shape)
    if correlation[far_y, far_x] - near[y, x] < margin:
        return (int(y) - reach, int(x) - reach), float(near[y, x])
    wrapped = (
        (far_y + rows // 2) % rows - rows // 2,
        (far_x + columns // 2) % columns - columns // 2,
    )
    return (int(wrapped[0]), int(wrapped[1])), float(correlation[far_y, far_x])


def _moments(
    weighted: Spectrum, ky: Doubles, kx: Doubles, shift: Doubles
) -> npt.NDArray[np.complex64]:
    """Return sums of ``ky^i kx^j weighted exp(i k shift)`` for i, j in 0, 1, 2."""
    ey = np.exp(1j * ky * shift[0]) * np.stack((np.ones_like(ky), ky, ky**2))
    ex = np.exp(1j * kx * shift[1]) * np.stack((np.ones_like(kx), kx, kx**2))
    return np.asarray(ey.astype(np.complex64) @ (weighted @ ex.T.astype(np.complex64)))


def _refine(band: Band, start: Doubles) -> Doubles:
    """Climb to the maximum of the correlation; never further than 3 px from the start."""
    shift = start.copy()
    weighted = band.weight * band.cross
    for _ in range(_NEWTON_STEPS):
        m = _moments(weighted, band.ky, band.kx, shift)
        slope = -np.array([m[1, 0].imag, m[0, 1].imag], np.float64)
        curvature = np.array([[m[2, 0].real, m[1, 1].real], [m[1, 1].real, m[0, 2].real]])
        step = _uphill(slope, curvature.astype(np.float64))
        shift = np.clip(shift + step, start - 3.0, start + 3.0)
        if np.abs(step).max() < 1e-4:
            break
    return shift


def _uphill(slope: Doubles, curvature: Doubles) -> Doubles:
    """Return the Newton step where the peak is convex, else a step along the slope."""
    values = np.linalg.eigvalsh(curvature)
    if values[0] > 1e-6 * abs(values[1]):
        step = np.linalg.solve(curvature, slope)
    else:
        step = slope / max(float(np.abs(slope).max()), 1e-300)
    longest = float(np.abs(step).max())
    return np.asarray(step if longest <= 1.0 else step / longest)


def _aligned(cross: Spectrum, ky: Doubles, kx: Doubles, shift: Doubles) -> Spectrum:
    ey = np.exp(1j * ky * shift[0]).astype(np.complex64)
    ex = np.exp(1j * kx * shift[1]).astype(np.complex64)
    return np.asarray(cross * ey[:, None] * ex)


def _aligned_rings(spectra: PairSpectra, shift: Doubles) -> Doubles:
    grid = spectra.grid
    return ring_means(_aligned(spectra.cross, grid.ky, grid.kx, shift).real, grid)


def _significance(aligned: Spectrum, weight: FloatImage) -> float:
    """Return the weighted sum of the real part over the noise that the imaginary part shows."""
    noise = HANN_VARIANCE_FACTOR * float(np.square(weight * aligned.imag).sum(dtype=np.float64))
    signal = float((weight * aligned.real).sum(dtype=np.float64))
    return signal / float(np.sqrt(noise)) if noise > 0 else float("inf") if signal > 0 else 0.0


def _standard_error(aligned: Spectrum, band: Band) -> float:
    """Return the standard error of the less certain axis: sandwich of curvature and noise."""
    signal = band.weight * aligned.real
    noise = np.square(band.weight * aligned.imag)
    curvature, power = (_second_moments(values, band.ky, band.kx) for values in (signal, noise))
    if np.linalg.eigvalsh(curvature)[0] <= 1e-9 * abs(curvature).max():
        return float("inf")
    inverse = np.linalg.inv(curvature)
    covariance = HANN_VARIANCE_FACTOR * inverse @ power @ inverse
    return float(np.sqrt(np.linalg.eigvalsh(covariance)[-1]))


def _second_moments(values: FloatImage, ky: Doubles, kx: Doubles) -> Doubles:
    along_x = values @ np.stack((np.ones_like(kx), kx, kx**2), axis=1).astype(np.float32)
    m = np.stack((np.ones_like(ky), ky, ky**2)) @ along_x.astype(np.float64)
    return np.array([[m[2, 0], m[1, 1]], [m[1, 1], m[0, 2]]])


def align_high(
    image: npt.NDArray[np.generic], shift_px: tuple[float, float]
) -> tuple[FloatImage, tuple[slice, slice]]:
    """Lay the high image onto the low one by cubic splines; the raw low one is never touched.

    Parameters
    ----------
    image : ndarray
        (Y, X), any real type.
    shift_px : tuple of float
        (Y, X) as measured: ``image[y + dy, x + dx]`` shows what the low image does at (y, x).

    Returns
    -------
    aligned : ndarray
        float32 (Y, X): ``aligned[y, x] = image[y + dy, x + dx]``; beyond the border of ``image``
        its mirror image.
    valid : tuple of slice
        (Y, X): the part computed from pixels inside the image alone.
    """
    from scipy.ndimage import shift as spline_shift

    floating = image.astype(np.float32)
    backwards = (-shift_px[0], -shift_px[1])
    aligned = floating if not any(shift_px) else spline_shift(floating, backwards, mode="mirror")
    return np.asarray(aligned, dtype=np.float32), valid_region(floating.shape, shift_px)


def valid_region(
    shape: tuple[int, ...], shift_px: tuple[float, float], margin_px: int = 0
) -> tuple[slice, slice]:
    """Return where an image moved by ``shift_px`` still has pixels, less a margin."""
    y, x = (_inside(n, d, margin_px) for n, d in zip(shape, shift_px, strict=True))
    return y, x


def _inside(length: int, shift: float, margin_px: int) -> slice:
    first = max(0, int(np.ceil(-shift))) + margin_px
    last = min(length, length - int(np.ceil(shift))) - margin_px
    return slice(min(first, length), max(last, first if first < length else 0))
