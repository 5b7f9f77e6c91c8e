"""The physics of a simulated sensor: from photon flux to camera counts.

Knows: the noise of sCMOS and EMCCD sensors, saturation, rounding, readout time.
Must not know: scenes, files, clocks, cameras.

Model (EMVA Standard 1288 with the per-pixel sCMOS terms of Huang et al., Nature Methods 10,
2013; photon transfer: Janesick, "Photon Transfer", SPIE 2007)
---------------------------------------------------------------------------------------------
1. Mean electrons = quantum efficiency x photon flux x exposure + dark current x exposure.
   This is ``true_electrons``: what a perfect denoiser would find.
2. Electrons ~ Poisson(mean), ``imaging.photon_noise``; clipped at the full well.
3. EM gain above 1: the gamma law of ``photon_noise.multiply_electrons``. The register itself
   never saturates here; the converter does.
4. Read noise: a normal draw times the pixel's read noise, plus the three-level switching of the
   telegraph pixels (``imaging.sensor_maps``). For an EMCCD it is added after the register, so
   its effect on the signal is divided by the EM gain.
5. Counts = offset of the pixel + electrons / gain of the pixel, rounded to the nearest whole
   count and clipped to [0, 2^bits - 1].

Binning. sCMOS (``em_gain`` = 1) pixels are read one by one and summed as numbers: read noise
adds up in quadrature, one nominal offset is kept, the sum is clipped at the bit depth, and
nothing is gained in speed. An EMCCD sums charge on the chip: one readout, one read noise, and
``binning`` times fewer rows to read. A binned pixel is simulated as one pixel with the combined
maps: its rounding is that of one conversion.

Not modelled: spatial correlation from on-camera filters, row noise, charge transfer losses,
clock-induced charge, blooming, nonlinearity, blur from motion within an exposure.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from livedenoise.core.camera_config import SensorConfig
from livedenoise.core.frame import max_count
from livedenoise.imaging.photon_noise import multiply_electrons, poisson_electrons
from livedenoise.imaging.sensor_maps import (
    SensorMaps,
    bins_on_chip,
    camera_maps,
    draw_maps,
    sensor_constants,
)

__all__ = [
    "SensorMaps",
    "bin_flux",
    "camera_maps",
    "counts_dtype",
    "draw_maps",
    "expose",
    "readout_ns",
    "sensor_constants",
    "true_electrons",
]

FloatImage = npt.NDArray[np.float32]
Counts = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]

_BLOCK_PX = 1 << 16
"""Pixels worked on at a time: all intermediate arrays then stay in the processor's cache."""


def true_electrons(
    photons_per_s: FloatImage, maps: SensorMaps, sensor: SensorConfig, exposure_us: float
) -> FloatImage:
    """Return the mean electrons of every pixel, thermal ones included.

    Parameters
    ----------
    photons_per_s : ndarray
        Photon flux at each (binned) pixel, float32 (Y, X).
    maps : SensorMaps
        Maps of the same shape.
    sensor : SensorConfig
        Gives the quantum efficiency.
    exposure_us : float
        Exposure time.

    Returns
    -------
    ndarray
        float32 (Y, X), after quantum efficiency, before EM gain; not clipped at the full well.
    """
    exposure_s = np.float32(exposure_us * 1e-6)
    mean_e = photons_per_s * np.float32(sensor.quantum_efficiency)
    mean_e += maps.dark_current_e_per_s
    mean_e *= exposure_s
    return mean_e


def expose(
    mean_e: FloatImage, maps: SensorMaps, sensor: SensorConfig, rng: np.random.Generator
) -> Counts:
    """Draw one frame.

    Parameters
    ----------
    mean_e : ndarray
        Mean electrons (``true_electrons``), float32 (Y, X).
    maps : SensorMaps
        Maps of the same shape.
    sensor : SensorConfig
        EM gain and bit depth.
    rng : numpy.random.Generator
        Source of randomness; the same state gives the same frame.

    Returns
    -------
    ndarray
        Camera counts (Y, X): uint8 up to 8 bits, else uint16.

    Raises
    ------
    ValueError
        If the shapes differ.
    """
    if mean_e.shape != maps.shape:
        raise ValueError(f"mean electrons are {mean_e.shape} but the maps are {maps.shape}")
    counts = np.empty(maps.shape, counts_dtype(sensor.bit_depth))
    rows = max(1, _BLOCK_PX // maps.shape[1])
    for start in range(0, maps.shape[0], rows):
        stop = min(start + rows, maps.shape[0])
        counts[start:stop] = _expose_rows(mean_e[start:stop], maps.rows(start, stop), sensor, rng)
    return counts


def _expose_rows(
    mean_e: FloatImage, maps: SensorMaps, sensor: SensorConfig, rng: np.random.Generator
) -> FloatImage:
    """Return rounded and clipped counts, still as float32."""
    signal = poisson_electrons(mean_e, rng)
    np.minimum(signal, np.float32(maps.full_well_e), out=signal)
    if sensor.em_gain > 1.0:
        signal = multiply_electrons(signal, sensor.em_gain, rng)
    noise = rng.standard_normal(signal.shape, dtype=np.float32)
    noise *= maps.read_noise_e
    signal += noise
    _add_telegraph(signal, maps, rng)
    signal /= maps.gain_e_per_adu
    signal += maps.offset_adu
    np.rint(signal, out=signal)
    return np.clip(signal, 0.0, np.float32(max_count(sensor.bit_depth)), out=signal)


def _add_telegraph(signal: FloatImage, maps: SensorMaps, rng: np.random.Generator) -> None:
    index = maps.telegraph_index
    if index.size:
        # Two fair coins: the trap's state at the two samples of correlated double sampling.
        levels = rng.integers(0, 2, (2, index.size), dtype=np.int8)
        signal.ravel()[index] += maps.telegraph_e * (levels[1] - levels[0])


def counts_dtype(bit_depth: int) -> np.dtype[np.uint8] | np.dtype[np.uint16]:
    """Return the data type that holds counts of ``bit_depth`` bits."""
    return np.dtype(np.uint8) if bit_depth <= 8 else np.dtype(np.uint16)


def bin_flux(photons_per_s: FloatImage, binning: int) -> FloatImage:
    """Sum the photon flux of ``binning`` x ``binning`` pixels; (Y, X) must divide by it."""
    if binning == 1:
        return photons_per_s
    rows, columns = photons_per_s.shape[0] // binning, photons_per_s.shape[1] // binning
    total: FloatImage = photons_per_s.reshape(rows, binning, columns, binning).sum(axis=(1, 3))
    return total


def readout_ns(sensor: SensorConfig, rows: int, binning: int = 1) -> int:
    """Return the time to read ``rows`` sensor rows, which bounds the frame period from below.

    A rolling shutter exposes while it reads, so the shortest period is the longer of exposure
    and readout, and depends on rows only: a narrower region is no faster.
    """
    lines = -(-rows // binning) if bins_on_chip(sensor) else rows
    return round(lines * sensor.line_time_us * 1000.0)
