"""Which microscope a configuration means. Each backend is imported only when it is used."""

from __future__ import annotations

from livedenoise.core.config import (
    CameraConfig,
    MicroManagerCameraConfig,
    NetworkCameraConfig,
    ReplayCameraConfig,
    SimulatedCameraConfig,
)
from livedenoise.core.errors import ConfigError
from livedenoise.core.microscope import Microscope


def open_microscope_for(camera: CameraConfig) -> Microscope:
    """Return the microscope of a camera's configuration, not yet open.

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
            from livedenoise.microscope.micromanager import MicroManagerMicroscope

            return MicroManagerMicroscope(camera)
        case ReplayCameraConfig():
            raise _not_commanded(camera, "its frames come from a file")
        case NetworkCameraConfig():
            raise _not_commanded(camera, "its frames come from another program")


def _not_commanded(camera: CameraConfig, why: str) -> ConfigError:
    return ConfigError(
        f"camera {camera.name} ({camera.kind}) cannot be commanded to expose: {why}",
        'use a camera of kind "simulated", or of kind "micromanager" with mode = "own"',
    )
