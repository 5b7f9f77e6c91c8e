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
from typing import Any

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
    order, starts, filled : ndarray
        intp: the places in ``ring`` of all coefficients sorted by ring, where among them each ring
        begins that has any, and which rings these are.
    window_y, window_x : ndarray
        float32: Hann windows.
    """

    ky: Doubles
    kx: Doubles
    ring: npt.NDArray[np.intp]
    k: Doubles
    count: Doubles
    order: npt.NDArray[np.intp]
    starts: npt.NDArray[np.intp]
    filled: npt.NDArray[np.intp]
    window_y: FloatImage
    window_x: FloatImage


@dataclass(frozen=True, eq=False)
class ImageSpectrum:
    """Transform of one image, for comparison with several others.

    ``values`` is complex64 (Y, X // 2 + 1), ``power`` float64 (N_RINGS,): means of the squared
    magnitude; ``binning`` in pixels of the image given.
    """

    grid: FrequencyGrid
    values: Spectrum
    power: Doubles
    binning: int


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
    one, other = (image_spectrum(i, least_binning=least_binning) for i in (first, second))
    return cross_spectra(one, other)


def image_spectrum(image: FloatImage, *, least_binning: int = 1) -> ImageSpectrum:
    """Transform one image, float32 (Y, X); see :func:`pair_spectra`.

    Raises
    ------
    ValueError
        If a side is too short.
    """
    enough = min(image.shape) // LEAST_SIDE_PX
    binning = max(least_binning, min(-(-max(image.shape) // LARGEST_SIDE_PX), enough), 1)
    if min(image.shape) // binning < LEAST_SIDE_PX:
        raise ValueError(f"images of {image.shape} are too small to compare their spectra")
    sums = block_sums(image, binning)
    grid = frequency_grid(sums.shape[0], sums.shape[1])
    values = _transform(sums, grid)
    return ImageSpectrum(grid, values, ring_means(_power(values), grid), binning)


def cross_spectra(first: ImageSpectrum, second: ImageSpectrum) -> PairSpectra:
    """Return the cross spectrum of two images that were transformed alike.

    Raises
    ------
    ValueError
        If their sizes or their binning differ.
    """
    if first.values.shape != second.values.shape or first.binning != second.binning:
        shapes = first.values.shape, second.values.shape
        raise ValueError(f"spectra of one size and binning are needed, got {shapes}")
    return PairSpectra(
        grid=first.grid,
        cross=np.conj(first.values) * second.values,
        first_power=first.power,
        second_power=second.power,
        binning=first.binning,
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
    means = np.zeros(N_RINGS)
    # Gathered ring by ring: half the time of a count with weights.
    sums = np.add.reduceat(values.ravel().take(grid.order), grid.starts)
    means[grid.filled] = sums / grid.count[grid.filled]
    return means


@dataclass(frozen=True, eq=False)
class Band:
    """The low frequencies of a cross spectrum: next to none carries weight beyond them.

    ``ky`` and ``kx`` in radians per (binned) pixel; ``cross`` and ``weight`` are (ky, kx).
    """

    ky: Doubles
    kx: Doubles
    cross: Spectrum
    weight: FloatImage


def band_of(weights: Doubles, spectra: PairSpectra) -> Band:
    """Return the frequencies up to the last ring that has weight, and their weights."""
    grid = spectra.grid
    used = np.flatnonzero(weights)
    top = grid.k[used[-1]] + 0.5 * (grid.k[1] - grid.k[0]) if used.size else 0.0
    rows, columns = grid.ky.size // 2, grid.kx.size
    y = int(np.searchsorted(grid.ky[:rows], top, "right")) + 1
    x = int(np.searchsorted(grid.kx, top, "right")) + 1
    return low_frequencies(weights, spectra, min(y, rows), min(x, columns))


def low_frequencies(weights: Doubles, spectra: PairSpectra, rows: int, columns: int) -> Band:
    """Return ``rows`` frequencies of either sign, and the first ``columns``."""
    grid = spectra.grid
    ring = grid.ring.reshape(grid.ky.size, grid.kx.size)[:, :columns]
    padded = np.append(weights, 0.0).astype(np.float32)
    return Band(
        ky=_ends(grid.ky, rows),
        kx=grid.kx[:columns],
        cross=_ends(spectra.cross[:, :columns], rows),
        weight=padded[_ends(ring, rows)],
    )


def _ends(values: Any, rows: int) -> Any:  # noqa: ANN401 - any array
    """Return the first and the last ``rows`` rows; all of an odd number where they would do."""
    if 2 * rows + 1 >= len(values):
        return values
    return np.concatenate((values[:rows], values[-rows:]))


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
    ring = ring.ravel()
    count = np.bincount(ring, minlength=N_RINGS + 1)[:N_RINGS]
    filled = np.flatnonzero(count)
    return FrequencyGrid(
        ky=ky,
        kx=kx,
        ring=ring,
        order=np.argsort(ring, kind="stable")[: count.sum()],
        starts=(np.cumsum(count) - count)[filled],
        filled=filled,
        k=np.asarray(lowest + width * (np.arange(N_RINGS) + 0.5), np.float64),
        count=count.astype(np.float64),
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
