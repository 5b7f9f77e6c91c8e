"""Which camera a configuration means. Each backend is imported only when it is used."""

from __future__ import annotations

from livedenoise.core.camera import Camera, Event, StreamRequest
from livedenoise.core.config import (
    CameraConfig,
    MicroManagerCameraConfig,
    NetworkCameraConfig,
    ReplayCameraConfig,
    SimulatedCameraConfig,
)


def make_camera(config: CameraConfig) -> Camera:
    """Return the camera of a configuration, not yet open."""
    match config:
        case SimulatedCameraConfig():
            from livedenoise.acquire.simulated import SimulatedCamera

            return SimulatedCamera(config)
        case ReplayCameraConfig():
            from livedenoise.acquire.replay import ReplayCamera

            return ReplayCamera(config)
        case NetworkCameraConfig():
            from livedenoise.acquire.network import NetworkCamera

            return NetworkCamera(config)
        case MicroManagerCameraConfig(mode="tap"):
            from livedenoise.acquire.micromanager_tap import MicroManagerTap

            return MicroManagerTap(config)
        case MicroManagerCameraConfig():
            from livedenoise.acquire.micromanager import MicroManagerCamera

            return MicroManagerCamera(config)


def stream_request(config: CameraConfig, n_frames: int | None) -> StreamRequest:
    """Return what a configuration asks of its camera."""
    match config:
        case SimulatedCameraConfig():
            return StreamRequest(
                exposure_us=config.exposure_us,
                rate_hz=config.rate_hz,
                roi=config.roi,
                binning=config.binning,
                n_frames=n_frames,
            )
        case ReplayCameraConfig():
            return StreamRequest(
                exposure_us=config.exposure_us, rate_hz=config.rate_hz, n_frames=n_frames
            )
        case NetworkCameraConfig():
            return StreamRequest(
                exposure_us=config.exposure_us, rate_hz=config.rate_hz, n_frames=n_frames
            )
        case MicroManagerCameraConfig():
            return StreamRequest(
                exposure_us=config.exposure_us or 0,
                rate_hz=config.rate_hz,
                roi=config.roi,
                binning=config.binning or 0,
                n_frames=n_frames,
                events=tuple(
                    Event(index=index, exposure_us=event.exposure_us, role=event.role)
                    for index, event in enumerate(config.event)
                ),
            )
