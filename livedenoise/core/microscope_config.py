"""The ``[camera.microscope]`` tables: what stands around a camera when pairs are collected.

Knows: every key, its unit and its default. Must not know: what a device makes of it.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from livedenoise.core.config_base import NotNegative, Positive, Strict
from livedenoise.core.sensor_config import SensorConfig

FaultKind = Literal[
    "drift",
    "defocus",
    "bleaching",
    "stage_error",
    "swapped_exposure",
    "stale_frames",
    "moving_object",
    "saturation",
    "light_flicker",
    "stuck_shutter",
]
_Visit = Annotated[int, Field(ge=0)]


class MicroscopeFaultConfig(Strict):
    """A fault of a simulated microscope at chosen visits; a visit is a move to another place.

    ``amount`` by kind: ``drift`` pixels per second; ``defocus`` micrometres per second;
    ``bleaching`` fraction lost per frame of the brightest role; ``stage_error`` micrometres that
    the stage moves of itself between two exposures; ``stale_frames`` frames that still have the
    exposure before; ``moving_object`` pixels an object moves between exposures;
    ``saturation`` and ``light_flicker`` factor on the light. Others take none.
    """

    kind: FaultKind = Field(description="what goes wrong")
    visits: tuple[_Visit, ...] = Field(
        min_length=1, description="at which places, counted from 0 in the order they are visited"
    )
    amount: NotNegative = Field(default=0.0, description="see the line above this table")
    attempts: int = Field(
        default=0, ge=0, description="only the first n times at that place; 0 every time"
    )


class SimulatedMicroscopeConfig(Strict):
    """A simulated specimen on a simulated stage, in front of a simulated camera.

    The specimen is the camera's scene, larger than the sensor, fixed (``motion_px_per_s`` is not
    used); it bleaches by the light it receives, place by place. The light is device ``Light``,
    property ``Power`` in percent.
    """

    pixel_size_um: Positive = Field(default=0.11, description="of a sensor pixel in the sample")
    stage_speed_um_per_s: Positive = Field(default=5000.0, description="of the stage")
    stage_error_um: NotNegative = Field(default=0.0, description="sd of where a move ends")
    drift_um_per_s: NotNegative = Field(default=0.0, description="of the sample, straight on")
    focus_drift_um_per_s: NotNegative = Field(default=0.0, description="of the sample, in z")
    depth_of_field_um: Positive = Field(
        default=0.8, description="defocus that widens the point-spread function by half"
    )
    tilt_um_per_mm: float = Field(default=0.0, description="height of the specimen along x")
    autofocus_error_um: NotNegative = Field(default=0.05, description="sd of the focus found")
    bleaching_per_photon: NotNegative = Field(
        default=0.0, description="fraction of the dye lost for each photon per pixel it emits"
    )
    light_lag_ms: NotNegative = Field(
        default=0.0, description="time constant of the light after a change"
    )
    exposure_min_us: int = Field(default=10, ge=1, description="shortest exposure")
    exposure_max_us: int = Field(default=10_000_000, ge=1, description="longest exposure")
    fault: tuple[MicroscopeFaultConfig, ...] = Field(default=(), description="what goes wrong")


class MicroManagerScopeConfig(Strict):
    """Devices around a Micro-Manager camera; default each: the core's own.

    ``sensor`` treats each frame as an ideal image, whose brightest possible count stands for
    ``sensor_photons_per_s``, and exposes it by a simulated sensor: for demo cameras without noise;
    the data is marked as simulated.
    """

    xy_stage: str = Field(default="", description="XY stage")
    focus: str = Field(default="", description="focus drive (z)")
    shutter: str = Field(default="", description="shutter")
    autofocus: str = Field(default="", description="autofocus device")
    pixel_size_um: Positive | None = Field(
        default=None, description="of a delivered pixel in the sample; default the core's"
    )
    move_timeout_s: Positive = Field(default=30.0, description="longest wait for a device")
    light_device: str = Field(
        default="", description="with sensor: the device whose property is the light level"
    )
    light_property: str = Field(default="", description="with sensor: that property, in percent")
    sensor: SensorConfig | None = Field(
        default=None, description="expose ideal frames by a simulated sensor (demo)"
    )
    sensor_photons_per_s: Positive = Field(
        default=20000.0, description="with sensor: photon flux of the brightest count"
    )
    sensor_seed: int = Field(default=0, description="with sensor: seed of its maps and noise")
