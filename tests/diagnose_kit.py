"""Movies of known noise for the tests of ``diagnose``, through the simulated sensor."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import tifffile

from livedenoise.core.sensor_config import SensorConfig
from livedenoise.diagnose.facts import Diagnosis, Method
from livedenoise.diagnose.run import diagnose
from livedenoise.imaging.scenes import SceneKind, render_scene
from livedenoise.imaging.sensor import draw_maps, expose

Floats = npt.NDArray[np.float32]
Stack = npt.NDArray[np.generic]

CLEAN = SensorConfig(
    width_px=192,
    height_px=192,
    gain_e_per_adu=0.5,
    offset_adu=100.0,
    read_noise_e=1.5,
    read_noise_log_sd=0.0,
    telegraph_fraction=0.0,
    hot_pixel_fraction=0.0,
    dark_current_e_per_s=0.0,
)
"""A sensor whose only faults are its noise, offset spread and gain spread."""


def scene_of(
    kind: SceneKind = "mixed", size: int = 128, *, seed: int = 0, background: float = 0.1
) -> Floats:
    """Return a scene, brightest parts about 1, darkest ``background`` or a little more."""
    return render_scene(kind, (size, size), np.random.default_rng(seed), background=background)


def lit() -> Floats:
    """Return counts (Y, X) of 128 px that show something, to which noise is added."""
    return np.float32(900.0) + np.float32(300.0) * scene_of()


def exposed(mean_e: Floats, sensor: SensorConfig = CLEAN, *, seed: int = 0) -> Stack:
    """Return frames (T, Y, X) of mean electrons (T, Y, X), as the sensor's counts."""
    rows, columns = mean_e.shape[1:]
    sensor = sensor.model_copy(update={"width_px": columns, "height_px": rows})
    maps = draw_maps(sensor, 7)
    rng = np.random.default_rng(seed + 1000)
    return np.stack([expose(frame.astype(np.float32), maps, sensor, rng) for frame in mean_e])


def movie(
    n_frames: int = 16,
    *,
    peak_e: float = 200.0,
    kind: SceneKind = "mixed",
    size: int = 128,
    sensor: SensorConfig = CLEAN,
    seed: int = 0,
    background: float = 0.1,
) -> Stack:
    """Return frames of a scene that stands still."""
    scene = scene_of(kind, size, seed=seed, background=background) * np.float32(peak_e)
    return exposed(np.broadcast_to(scene, (n_frames, size, size)), sensor, seed=seed)


def white(n_frames: int, size: int = 128, *, sigma: float = 10.0, seed: int = 0) -> Floats:
    """Return white Gaussian noise."""
    rng = np.random.default_rng(seed)
    return rng.normal(0.0, sigma, (n_frames, size, size)).astype(np.float32)


def counts(frames: Floats) -> Stack:
    """Return frames as 16-bit counts."""
    return np.clip(np.rint(frames), 0, 65535).astype(np.uint16)


def diagnosed(
    folder: Path,
    frames: Stack,
    *,
    offset_adu: float | None = None,
    calibration: Path | None = None,
) -> Diagnosis:
    """Write frames (T, Y, X) as a TIFF stack and diagnose it."""
    path = folder / "frames.tif"
    tifffile.imwrite(path, frames, photometric="minisblack")
    return diagnose(path, offset_adu=offset_adu, calibration=calibration)


def method(found: Diagnosis, name: str) -> Method:
    """Return the verdict on one way of training."""
    (one,) = (method for method in found.methods if method.name == name)
    return one
