"""Which camera a configuration means. Each backend is imported only when it is used."""

from __future__ import annotations

from livedenoise.core.camera import Camera, StreamRequest
from livedenoise.core.config import (
    CameraConfig,
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
