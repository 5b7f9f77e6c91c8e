"""Camera sections of the configuration: one strict model for each kind of camera.

The sensor section of a simulated camera is in ``core.sensor_config``, what stands around a camera
when pairs are collected in ``core.microscope_config``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from livedenoise.core.config_base import Fraction, NotNegative, Positive, Strict
from livedenoise.core.microscope_config import SimulatedMicroscopeConfig
from livedenoise.core.sensor_config import SensorConfig

__all__ = [
    "CameraBase",
    "ConstantsConfig",
    "FaultConfig",
    "Fraction",
    "NetworkCameraConfig",
    "NotNegative",
    "Positive",
    "ReplayCameraConfig",
    "SceneConfig",
    "SensorConfig",
    "SimulatedCameraConfig",
    "Strict",
]


class ConstantsConfig(Strict):
    """Camera constants given by hand (they win over the camera's own, lose to a calibration)."""

    gain_e_per_adu: Positive = Field(description="electrons per count")
    offset_adu: float = Field(default=0.0, description="counts without light")
    read_noise_e: NotNegative = Field(default=0.0, description="root mean square, electrons")
    excess_noise_factor: float = Field(default=1.0, ge=1, description="2 for an EMCCD")


class CameraBase(Strict):
    """What every camera has."""

    name: str = Field(
        default="camera",
        pattern=r"^[A-Za-z0-9._-]+$",
        max_length=40,
        description="names the stream; unique",
    )
    calibration: Path | None = Field(default=None, description="calibration folder")
    constants: ConstantsConfig | None = Field(default=None, description="given by hand")
    estimate_constants: bool = Field(
        default=False, description="ignore what the camera reports and estimate once from frames"
    )

    def anchored(self, base: Path) -> Self:
        """Return a copy whose relative paths start at ``base``."""
        if self.calibration is None or self.calibration.is_absolute():
            return self
        return self.model_copy(update={"calibration": base / self.calibration})


class SceneConfig(Strict):
    """What stands in front of a simulated camera."""

    kind: Literal["tubules", "granules", "cells", "mixed", "flat", "file"] = Field(
        default="mixed", description="what the scene shows"
    )
    file: Path | None = Field(default=None, description="any TIFF, scaled to the photon levels")
    photons_per_s: NotNegative = Field(
        default=3000.0, description="mean photon flux of the brightest 1 % of pixels, per pixel"
    )
    background_photons_per_s: NotNegative = Field(
        default=150.0, description="photon flux of the background"
    )
    psf_sigma_px: NotNegative = Field(
        default=1.2, description="sd of the Gaussian point-spread function"
    )
    motion_px_per_s: NotNegative = Field(default=5.0, description="speed of the sample")
    bleaching_per_s: NotNegative = Field(default=0.0, description="rate of exponential bleaching")

    @model_validator(mode="after")
    def _file_goes_with_kind(self) -> Self:
        if (self.kind == "file") != (self.file is not None):
            raise ValueError('file = "..." goes with kind = "file" and only with it')
        return self


class FaultConfig(Strict):
    """Seeded faults of a simulated camera, each at a frame number or with a probability."""

    drop_probability: Fraction = Field(default=0.0, description="a frame is lost at the camera")
    duplicate_probability: Fraction = Field(default=0.0, description="a frame number is repeated")
    stall_at_frame: int = Field(
        default=-1, ge=-1, description="frame at which frames stop coming; -1 never"
    )
    stall_s: NotNegative = Field(default=0.0, description="how long no frame comes")
    disconnect_at_frame: int = Field(
        default=-1, ge=-1, description="frame at which the camera goes away; -1 never"
    )
    burst_at_frame: int = Field(
        default=-1, ge=-1, description="frame at which frames come at once; -1 never"
    )
    burst_frames: int = Field(default=0, ge=0, description="how many come at once")
    resize_at_frame: int = Field(
        default=-1, ge=-1, description="frame at which the size changes; -1 never"
    )
    resize_to: tuple[int, int] = Field(default=(0, 0), description="new (width, height)")


class SimulatedCameraConfig(CameraBase):
    """A camera with the noise of a real sensor. See docs for what repeats in its frames."""

    kind: Literal["simulated"]
    exposure_us: int = Field(default=10000, ge=1, description="exposure of each frame")
    rate_hz: Positive | None = Field(default=None, description="default: as fast as it can")
    roi: tuple[int, int, int, int] | None = Field(default=None, description="x, y, width, height")
    binning: Literal[1, 2, 4] = Field(default=1, description="pixels summed in each direction")
    channel: int = Field(default=0, ge=0, description="channel number in the headers")
    seed: int = Field(default=0, description="of scene, maps, noise and faults")
    pool_frames: int = Field(
        default=64,
        ge=0,
        description="frames rendered before the start and served in turn; 0 renders every frame",
    )
    pool_mb: int = Field(default=512, ge=1, description="upper bound of the rendered frames, MiB")
    save_truth: bool = Field(default=False, description="write the true electrons beside the run")
    sensor: SensorConfig = SensorConfig()
    scene: SceneConfig = SceneConfig()
    faults: FaultConfig = FaultConfig()
    microscope: SimulatedMicroscopeConfig = SimulatedMicroscopeConfig()

    def anchored(self, base: Path) -> Self:
        """Return a copy whose relative paths start at ``base``."""
        camera = super().anchored(base)
        file = camera.scene.file
        if file is None or file.is_absolute():
            return camera
        scene = camera.scene.model_copy(update={"file": base / file})
        return camera.model_copy(update={"scene": scene})


class ReplayCameraConfig(CameraBase):
    """A recording as a camera: pace lossless waits for every reader, recorded keeps its times.

    ``pace`` ``lossless`` goes as fast as the slowest reader (every frame denoised), ``recorded``
    keeps the times of the recording, ``rate`` serves at ``rate_hz`` in real time.
    """

    kind: Literal["replay"]
    input: Path | None = Field(default=None, description="TIFF stack, NDTiff data set, run folder")
    pace: Literal["lossless", "recorded", "rate"] = Field(
        default="lossless", description="how fast: see the line above this table"
    )
    rate_hz: Positive | None = Field(default=None, description="frames per second for pace rate")
    loops: int = Field(default=1, ge=0, description="times to play it; 0 for ever")
    bit_depth: int | None = Field(
        default=None, ge=8, le=16, description="valid bits, when the file does not say"
    )
    exposure_us: int = Field(default=0, ge=0, description="exposure of the recording, 0 unknown")
    buffer_frames: int = Field(
        default=32, ge=1, description="frames a paced replay holds while the ring is full"
    )

    @model_validator(mode="after")
    def _rate_goes_with_pace(self) -> Self:
        if self.pace == "rate" and self.rate_hz is None:
            raise ValueError('pace = "rate" needs rate_hz')
        return self

    def anchored(self, base: Path) -> Self:
        """Return a copy whose relative paths start at ``base``."""
        camera = super().anchored(base)
        if camera.input is None or camera.input.is_absolute():
            return camera
        return camera.model_copy(update={"input": base / camera.input})


class NetworkCameraConfig(CameraBase):
    """Frames that another program or machine sends with ``livedenoise.client.FrameSender``.

    ``listen`` beyond loopback needs ``keys``, a folder made by ``livedenoise keys``.
    """

    kind: Literal["network"]
    listen: str = Field(
        default="tcp://127.0.0.1:5570",
        pattern=r"^tcp://[^\s]+:([0-9]{1,5}|\*)$",
        description="where senders connect",
    )
    keys: Path | None = Field(default=None, description="folder of CURVE keys (server)")
    width_px: int = Field(ge=1, le=16384, description="columns of the largest frame")
    height_px: int = Field(ge=1, le=16384, description="rows of the largest frame")
    bit_depth: int = Field(default=16, ge=8, le=16, description="8 takes 8-bit frames")
    rate_hz: Positive | None = Field(
        default=None, description="expected rate, for limits on age and for stalls"
    )
    exposure_us: int = Field(default=0, ge=0, description="when the sender does not say; 0 unknown")
    buffer_frames: int = Field(
        default=32, ge=1, le=1024, description="frames that may wait in the socket"
    )
    first_frame_timeout_s: float = Field(
        default=0.0, ge=0, description="silence at the start that is an error; 0 waits for ever"
    )

    def anchored(self, base: Path) -> Self:
        """Return a copy whose relative paths start at ``base``."""
        camera = super().anchored(base)
        if camera.keys is None or camera.keys.is_absolute():
            return camera
        return camera.model_copy(update={"keys": base / camera.keys})
