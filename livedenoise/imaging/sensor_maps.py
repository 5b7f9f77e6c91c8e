"""Per-pixel maps of a simulated sensor, and the constants a user would be given for it.

Knows: how offset, gain, read noise, dark current and telegraph pixels are spread over a sensor;
how binning changes them; how they become ``CameraConstants`` and ``CameraMaps``.
Must not know: light, frames, cameras, files.

Model
-----
- Offset (DSNU): normal around ``offset_adu`` with sd ``offset_spread_adu``.
- Gain (PRNU): normal around ``gain_e_per_adu`` with relative sd ``gain_spread``.
- Read noise: log-normal with median ``read_noise_e`` and sd ``read_noise_log_sd`` of its
  logarithm, as measured on sCMOS sensors (Huang et al., Nature Methods 10, 2013).
- Telegraph pixels: a share ``telegraph_fraction`` also switches. A two-level trap read by
  correlated double sampling gives three levels (Wang et al., "Random telegraph signal in CMOS
  image sensor pixels", IEDM 2006): ``-A, 0, +A`` with probabilities 1/4, 1/2, 1/4, drawn anew
  for every frame (traps faster than the frame rate). ``A`` is such that the rms noise of the
  pixel is ``telegraph_factor`` times that of its Gaussian part.
- Dark current: log-normal with median ``dark_current_e_per_s``; a share ``hot_pixel_fraction``
  is ``hot_pixel_factor`` times hotter.

A map depends on the seed and the pixel only: rows are drawn in blocks with their own seeds, so
a region of interest has the maps that the full sensor has there.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from livedenoise.core.camera_config import SensorConfig
from livedenoise.core.constants import CameraConstants, CameraMaps

FloatImage = npt.NDArray[np.float32]
Roi = tuple[int, int, int, int]

_BLOCK_ROWS = 64
_SEED_TAG = 0x5E4502
_ROUNDING_ADU2 = 1.0 / 12.0


@dataclass(frozen=True, eq=False)
class SensorMaps:
    """Maps of the pixels that are read, float32 (Y, X) of one shape.

    Attributes
    ----------
    offset_adu, gain_e_per_adu : ndarray
        Mean dark counts and electrons per count (at the output register for an EMCCD).
    read_noise_e : ndarray
        Standard deviation of the Gaussian part, electrons (at the output register).
    dark_current_e_per_s : ndarray
        Mean thermal electrons per second.
    telegraph_index : ndarray
        int64 (K,), ascending: flat indices of the telegraph pixels.
    telegraph_e : ndarray
        float32 (K,): their amplitude ``A`` in electrons.
    full_well_e : float
        Electrons a (binned) pixel holds.
    """

    offset_adu: FloatImage
    gain_e_per_adu: FloatImage
    read_noise_e: FloatImage
    dark_current_e_per_s: FloatImage
    telegraph_index: npt.NDArray[np.int64]
    telegraph_e: FloatImage
    full_well_e: float

    @property
    def shape(self) -> tuple[int, int]:
        """Return (Y, X) in read pixels."""
        rows, columns = self.offset_adu.shape
        return (rows, columns)

    def rows(self, start: int, stop: int) -> SensorMaps:
        """Return the maps of rows ``start`` to ``stop`` (views, not copies)."""
        columns = self.shape[1]
        first, last = np.searchsorted(self.telegraph_index, (start * columns, stop * columns))
        return SensorMaps(
            offset_adu=self.offset_adu[start:stop],
            gain_e_per_adu=self.gain_e_per_adu[start:stop],
            read_noise_e=self.read_noise_e[start:stop],
            dark_current_e_per_s=self.dark_current_e_per_s[start:stop],
            telegraph_index=self.telegraph_index[first:last] - start * columns,
            telegraph_e=self.telegraph_e[first:last],
            full_well_e=self.full_well_e,
        )


def draw_maps(
    sensor: SensorConfig, seed: int, roi: Roi | None = None, binning: int = 1
) -> SensorMaps:
    """Draw the maps of a sensor, or of one region of it.

    Parameters
    ----------
    sensor : SensorConfig
        Constants of the sensor.
    seed : int
        The sensor's identity: the same seed gives the same sensor.
    roi : tuple of int, optional
        (x, y, width, height) in sensor pixels; default the full sensor.
    binning : int
        Pixels summed along each axis; must divide width and height.

    Returns
    -------
    SensorMaps
        Maps of shape (height / binning, width / binning).
    """
    x, y, width, height = roi or (0, 0, sensor.width_px, sensor.height_px)
    parts = [
        _draw_block(sensor, seed, block, (x, y, width, height))
        for block in range(y // _BLOCK_ROWS, -(-(y + height) // _BLOCK_ROWS))
    ]
    offset, gain, noise, dark, telegraph = (
        np.concatenate([part[name] for part in parts]) for name in range(5)
    )
    maps = _assemble(sensor, (offset, gain, noise, dark), telegraph > 0)
    return _binned(maps, sensor, binning) if binning > 1 else maps


def _draw_block(sensor: SensorConfig, seed: int, block: int, roi: Roi) -> tuple[FloatImage, ...]:
    # The whole width is drawn before cropping: a pixel's values must not depend on the region.
    x, y, width, height = roi
    entropy = [seed % 2**64, _SEED_TAG, block]
    rng = np.random.Generator(np.random.SFC64(np.random.SeedSequence(entropy)))
    shape = (_BLOCK_ROWS, sensor.width_px)
    normals = [rng.standard_normal(shape, dtype=np.float32) for _ in range(4)]
    offset = sensor.offset_adu + sensor.offset_spread_adu * normals[0]
    gain = sensor.gain_e_per_adu * np.maximum(1.0 + sensor.gain_spread * normals[1], 0.1)
    noise = sensor.read_noise_e * np.exp(sensor.read_noise_log_sd * normals[2])
    dark = sensor.dark_current_e_per_s * np.exp(sensor.dark_current_log_sd * normals[3])
    hot = rng.random(shape, dtype=np.float32) < sensor.hot_pixel_fraction
    dark[hot] *= np.float32(sensor.hot_pixel_factor)
    telegraph = rng.random(shape, dtype=np.float32) < sensor.telegraph_fraction
    top = block * _BLOCK_ROWS
    window = (slice(max(y - top, 0), y + height - top), slice(x, x + width))
    return tuple(
        image[window].astype(np.float32) for image in (offset, gain, noise, dark, telegraph)
    )


def _assemble(
    sensor: SensorConfig, images: tuple[FloatImage, ...], telegraph: npt.NDArray[np.bool_]
) -> SensorMaps:
    offset, gain, noise, dark = images
    index = np.flatnonzero(telegraph)
    # Var = A**2 / 2 for the three levels, and it must be (factor**2 - 1) times the Gaussian part.
    scale = np.float32(np.sqrt(2.0 * (sensor.telegraph_factor**2 - 1.0)))
    return SensorMaps(
        offset_adu=offset,
        gain_e_per_adu=gain,
        read_noise_e=noise,
        dark_current_e_per_s=dark,
        telegraph_index=index,
        telegraph_e=noise.ravel()[index] * scale,
        full_well_e=sensor.full_well_e,
    )


def _binned(maps: SensorMaps, sensor: SensorConfig, binning: int) -> SensorMaps:
    """Return the maps of binned pixels: see ``imaging.sensor`` for the two kinds of binning."""
    area = np.float32(binning * binning)
    noise_e2 = _block_sum(maps.read_noise_e**2, binning)
    offset = _block_sum(maps.offset_adu - np.float32(sensor.offset_adu), binning)
    amplitude_e2 = np.zeros(maps.shape, np.float32)
    amplitude_e2.ravel()[maps.telegraph_index] = maps.telegraph_e**2
    amplitude_e2 = _block_sum(amplitude_e2, binning)
    if bins_on_chip(sensor):
        noise_e2, offset, amplitude_e2 = noise_e2 / area, offset / area, amplitude_e2 / area
    index = np.flatnonzero(amplitude_e2)
    return SensorMaps(
        offset_adu=offset + np.float32(sensor.offset_adu),
        gain_e_per_adu=_block_sum(maps.gain_e_per_adu, binning) / area,
        read_noise_e=np.sqrt(noise_e2),
        dark_current_e_per_s=_block_sum(maps.dark_current_e_per_s, binning),
        telegraph_index=index,
        telegraph_e=np.sqrt(amplitude_e2.ravel()[index]),
        full_well_e=maps.full_well_e * float(area),
    )


def _block_sum(image: FloatImage, binning: int) -> FloatImage:
    rows, columns = image.shape[0] // binning, image.shape[1] // binning
    total: FloatImage = image.reshape(rows, binning, columns, binning).sum(axis=(1, 3))
    return total


def bins_on_chip(sensor: SensorConfig) -> bool:
    """Return whether binning sums charge before one readout (EMCCD) or counts after it."""
    return sensor.em_gain > 1.0


def camera_maps(maps: SensorMaps, sensor: SensorConfig) -> CameraMaps:
    """Return the maps a perfect calibration of this sensor would find, input-referred.

    The dark variance is that of Gaussian and telegraph noise and of rounding to counts.
    """
    variance_e2 = maps.read_noise_e**2
    variance_e2.ravel()[maps.telegraph_index] += maps.telegraph_e**2 / np.float32(2.0)
    return CameraMaps(
        offset_adu=maps.offset_adu,
        gain_e_per_adu=maps.gain_e_per_adu / np.float32(sensor.em_gain),
        variance_adu2=variance_e2 / maps.gain_e_per_adu**2 + np.float32(_ROUNDING_ADU2),
    )


def sensor_constants(sensor: SensorConfig, binning: int = 1) -> CameraConstants:
    """Return the scalar constants of a sensor, as a camera would report them.

    ``read_noise_e`` is the root mean square over the pixels of all noise without light that is
    not thermal: the log-normal map (``r**2 * exp(2 sd**2)``), the telegraph tail, and rounding
    to counts (1/12 count squared), as a photon transfer measurement finds it. With EM gain,
    gain and read noise are input-referred (divided by it) and the excess noise factor is 2.
    """
    gaussian_e2 = sensor.read_noise_e**2 * np.exp(2.0 * sensor.read_noise_log_sd**2)
    tail = 1.0 + sensor.telegraph_fraction * (sensor.telegraph_factor**2 - 1.0)
    reads = 1 if bins_on_chip(sensor) else binning**2
    total_e2 = gaussian_e2 * tail * reads + _ROUNDING_ADU2 * sensor.gain_e_per_adu**2
    return CameraConstants(
        gain_e_per_adu=sensor.gain_e_per_adu / sensor.em_gain,
        offset_adu=sensor.offset_adu,
        read_noise_e=float(np.sqrt(total_e2)) / sensor.em_gain,
        excess_noise_factor=2.0 if sensor.em_gain > 1.0 else 1.0,
        source="camera",
        note="constants of the simulated sensor",
    )
