"""Which microscope a configuration means. Each backend is imported only when it is used."""

from __future__ import annotations

from pathlib import Path

from livedenoise.core.config import (
    CameraConfig,
    MicroManagerCameraConfig,
    NetworkCameraConfig,
    ReplayCameraConfig,
    SimulatedCameraConfig,
)
from livedenoise.core.errors import ConfigError
from livedenoise.core.microscope import Microscope


def open_microscope_for(camera: CameraConfig, *, journal: Path | None = None) -> Microscope:
    """Return the microscope of a camera's configuration, not yet open.

    Parameters
    ----------
    camera : CameraConfig
        The camera it is built around.
    journal : Path, optional
        File that says what is changed, for hardware that outlives this program.

    Raises
    ------
    ConfigError
        If the camera cannot be commanded: its frames come from a file or from somebody else.
    """
    match camera:
        case SimulatedCameraConfig():
            from livedenoise.microscope.simulated import SimulatedMicroscope

            return SimulatedMicroscope(camera)
        case MicroManagerCameraConfig(mode="tap"):
            raise _not_commanded(camera, 'mode = "tap" watches and changes nothing')
        case MicroManagerCameraConfig():
            from livedenoise.microscope.micromanager import micromanager_microscope

            return micromanager_microscope(camera, journal=journal)
        case ReplayCameraConfig():
            raise _not_commanded(camera, "its frames come from a file")
        case NetworkCameraConfig():
            raise _not_commanded(camera, "its frames come from another program")


def _not_commanded(camera: CameraConfig, why: str) -> ConfigError:
    return ConfigError(
        f"camera {camera.name} ({camera.kind}) cannot be commanded to expose: {why}",
        'use a camera of kind "simulated", or of kind "micromanager" with mode = "own"',
    )
