"""Power and cross spectra of two images of one scene, averaged over rings of equal frequency.

Knows: windows, transforms, rings. Must not know: cameras, counts, what is concluded from them.

The noise of two exposures is independent, so it does not enter the mean of their cross spectrum:
that is what tells shift (``imaging.registration``) and focus (``quality.sharpness``) apart from
noise. Frequencies are in radians per pixel. Images larger than 1024 pixels are summed in squares
first: their transforms would cost more than all other checks together, and a shift needs no more.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

FloatImage = npt.NDArray[np.float32]
Spectrum = npt.NDArray[np.complex64]
Doubles = npt.NDArray[np.float64]

LARGEST_SIDE_PX = 1024
LEAST_SIDE_PX = 32
N_RINGS = 32
TAIL_RINGS = 4
"""Rings next to the Nyquist frequency, where an optical image has next to no signal."""

_LOWEST_CYCLES = 3.0
"""Frequencies below this many cycles per field belong to window and illumination."""

HANN_VARIANCE_FACTOR = (35.0 / 128.0 / (3.0 / 8.0) ** 2) ** 2
"""A Hann window couples neighbouring coefficients: mean w^4 / (mean w^2)^2 in both axes."""


@dataclass(frozen=True, eq=False)
class FrequencyGrid:
    """Frequencies of a half-plane spectrum (Y, X // 2 + 1) and the ring each belongs to.

    Attributes
    ----------
    ky, kx : ndarray
        float64, radians per (binned) pixel.
    ring : ndarray
        intp (Y * (X // 2 + 1),): 0 to ``N_RINGS - 1``; ``N_RINGS`` for frequencies left out.
    k, count : ndarray
        float64 (N_RINGS,): centre of each ring and its coefficients.
    window_y, window_x : ndarray
        float32: Hann windows.
    """

    ky: Doubles
    kx: Doubles
    ring: npt.NDArray[np.intp]
    k: Doubles
    count: Doubles
    window_y: FloatImage
    window_x: FloatImage


@dataclass(frozen=True, eq=False)
class PairSpectra:
    """Transforms of two images, ``cross`` = conj(first) x second, and their powers on rings.

    ``binning`` is in pixels of the images given; ``first_power`` and ``second_power`` are float64
    (N_RINGS,), means of the squared magnitude.
    """

    grid: FrequencyGrid
    cross: Spectrum
    first_power: Doubles
    second_power: Doubles
    binning: int


def pair_spectra(first: FloatImage, second: FloatImage, *, least_binning: int = 1) -> PairSpectra:
    """Transform two images.

    Parameters
    ----------
    first, second : ndarray
        float32 (Y, X) of one shape, at least 32 pixels a side.
    least_binning : int
        Sum squares of this many pixels a side at least.

    Raises
    ------
    ValueError
        If the shapes differ or a side is too short.
    """
    if first.shape != second.shape:
        raise ValueError(f"images of one shape are needed, got {first.shape} and {second.shape}")
    enough = min(first.shape) // LEAST_SIDE_PX
    binning = max(least_binning, min(-(-max(first.shape) // LARGEST_SIDE_PX), enough), 1)
    if min(first.shape) // binning < LEAST_SIDE_PX:
        raise ValueError(f"images of {first.shape} are too small to compare their spectra")
    a, b = (block_sums(image, binning) for image in (first, second))
    grid = frequency_grid(a.shape[0], a.shape[1])
    one, other = _transform(a, grid), _transform(b, grid)
    return PairSpectra(
        grid=grid,
        cross=np.conj(one) * other,
        first_power=ring_means(_power(one), grid),
        second_power=ring_means(_power(other), grid),
        binning=binning,
    )


def block_sums(image: FloatImage, size: int) -> FloatImage:
    """Return the sums over squares of ``size`` pixels a side, left-over rows and columns cut."""
    if size == 1:
        return image
    rows, columns = image.shape[0] // size, image.shape[1] // size
    whole = image[: rows * size, : columns * size]
    # Shifted views, rows first: several times faster than a sum over short axes.
    in_rows = whole[0::size] + whole[1::size]
    for k in range(2, size):
        in_rows += whole[k::size]
    sums = in_rows[:, 0::size] + in_rows[:, 1::size]
    for k in range(2, size):
        sums += in_rows[:, k::size]
    return sums


def ring_means(values: FloatImage, grid: FrequencyGrid) -> Doubles:
    """Return the mean of real values (Y, X // 2 + 1) over each ring, float64 (N_RINGS,)."""
    sums = np.bincount(grid.ring, weights=values.ravel(), minlength=N_RINGS + 1)
    return np.asarray(sums[:N_RINGS] / np.maximum(grid.count, 1.0))


def spread_rings(values: Doubles, grid: FrequencyGrid) -> FloatImage:
    """Return the ring values at every frequency, float32 (Y, X // 2 + 1); 0 where left out."""
    padded = np.append(values, 0.0).astype(np.float32)
    return np.asarray(padded[grid.ring].reshape(grid.ky.size, grid.kx.size))


@lru_cache(maxsize=8)
def frequency_grid(rows: int, columns: int) -> FrequencyGrid:
    """Return the frequencies and rings of images of one size (kept: a run has few sizes)."""
    ky = (2.0 * np.pi * np.fft.fftfreq(rows)).astype(np.float64)
    kx = (2.0 * np.pi * np.fft.rfftfreq(columns)).astype(np.float64)
    k = np.hypot(ky[:, None], kx[None, :])
    lowest = 2.0 * np.pi * _LOWEST_CYCLES / min(rows, columns)
    width = (np.pi - lowest) / N_RINGS
    ring = np.floor((k - lowest) / width).astype(np.intp)
    ring[(k < lowest) | (k >= np.pi)] = N_RINGS
    return FrequencyGrid(
        ky=ky,
        kx=kx,
        ring=ring.ravel(),
        k=np.asarray(lowest + width * (np.arange(N_RINGS) + 0.5), np.float64),
        count=np.bincount(ring.ravel(), minlength=N_RINGS + 1)[:N_RINGS].astype(np.float64),
        window_y=np.hanning(rows).astype(np.float32),
        window_x=np.hanning(columns).astype(np.float32),
    )


def _transform(image: FloatImage, grid: FrequencyGrid) -> Spectrum:
    from scipy import fft

    windowed = image - image.mean()
    windowed *= grid.window_y[:, None]
    windowed *= grid.window_x
    return np.asarray(fft.rfft2(windowed, overwrite_x=True), dtype=np.complex64)


def _power(spectrum: Spectrum) -> FloatImage:
    return np.asarray(np.square(spectrum.real) + np.square(spectrum.imag))
