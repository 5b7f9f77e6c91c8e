"""The ``[camera.microscope]`` tables: what stands around a camera when pairs are collected.

Knows: every key, its unit and its default. Must not know: what a device makes of it.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

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
_WITHOUT_AMOUNT: tuple[FaultKind, ...] = ("swapped_exposure", "stuck_shutter")
_Visit = Annotated[int, Field(ge=0)]


class MicroscopeFaultConfig(Strict):
    """A fault of a simulated microscope at chosen places, numbered as they are first visited.

    ``amount`` by kind: ``drift`` pixels per second; ``defocus`` micrometres per second;
    ``bleaching`` rate per second of full light, beside ``bleaching_per_s``; ``stage_error``
    micrometres that the stage moves of itself between two commands to expose; ``stale_frames``
    frames that still have the exposure before; ``moving_object`` pixels an object moves between
    two commands; ``saturation`` factor on the light; ``light_flicker`` factor on the light of
    every second command. Others take none.
    """

    kind: FaultKind = Field(description="what goes wrong")
    visits: tuple[_Visit, ...] = Field(
        min_length=1, description="at which places, counted from 0 in the order of first visits"
    )
    amount: NotNegative = Field(
        default=0.0, description="how much: its unit is that of the kind (simulated-microscope.md)"
    )
    attempts: int = Field(
        default=0, ge=0, description="only the first n attempts at that place; 0 every one"
    )

    @model_validator(mode="after")
    def _amount_goes_with_kind(self) -> Self:
        if (self.kind in _WITHOUT_AMOUNT) != (self.amount == 0.0):
            takes = "takes no amount" if self.kind in _WITHOUT_AMOUNT else "needs an amount above 0"
            raise ValueError(f"fault {self.kind} {takes}, got {self.amount:g}")
        return self


class SimulatedMicroscopeConfig(Strict):
    """A simulated specimen on a simulated stage, in front of a simulated camera.

    The specimen is the camera's scene, going on beyond the sensor without end; it is fixed, and
    bleaches by the light it receives, place by place (``motion_px_per_s`` and ``bleaching_per_s``
    of the scene are not used). The light is device ``Light``, property ``Power`` in percent.
    """

    pixel_size_um: Positive = Field(default=0.11, description="of a sensor pixel in the sample")
    stage_speed_um_per_s: Positive = Field(default=5000.0, description="of stage and focus drive")
    stage_error_um: NotNegative = Field(
        default=0.0, description="sd of where a move in xy ends, along each axis"
    )
    drift_um_per_s: NotNegative = Field(default=0.0, description="of the sample, straight on")
    focus_drift_um_per_s: float = Field(default=0.0, description="of the sample, in z")
    depth_of_field_um: Positive = Field(
        default=0.8, description="defocus that widens the point-spread function by half"
    )
    tilt_um_per_mm: float = Field(default=0.0, description="height of the specimen along x")
    autofocus_error_um: NotNegative = Field(default=0.05, description="sd of the focus found")
    bleaching_per_s: NotNegative = Field(
        default=0.0, description="rate of exponential bleaching, per second of full light"
    )
    light_lag_ms: NotNegative = Field(
        default=0.0, description="time constant of the light after a change"
    )
    exposure_min_us: int = Field(default=10, ge=1, description="shortest exposure")
    exposure_max_us: int = Field(default=10_000_000, ge=1, description="longest exposure")
    fault: tuple[MicroscopeFaultConfig, ...] = Field(default=(), description="what goes wrong")

    @model_validator(mode="after")
    def _limits_in_order(self) -> Self:
        if self.exposure_min_us > self.exposure_max_us:
            raise ValueError(
                f"exposure_min_us = {self.exposure_min_us} is above exposure_max_us = "
                f"{self.exposure_max_us}"
            )
        return self


class MicroManagerScopeConfig(Strict):
    """Devices around a Micro-Manager camera; default each: the core's own.

    ``sensor`` treats each frame as an ideal image, whose count ``sensor_full_adu`` stands for
    ``sensor_photons_per_s``, and exposes it by a simulated sensor of the camera's size: for demo
    cameras without noise; the data is marked as simulated.
    """

    xy_stage: str = Field(default="", description="XY stage")
    focus: str = Field(default="", description="focus drive (z)")
    shutter: str = Field(default="", description="shutter")
    autofocus: str = Field(default="", description="autofocus device")
    autofocus_lock: bool = Field(
        default=False,
        description="focus by locking a continuous focus, and hold the lock until z is moved; "
        "false: focus once",
    )
    pixel_size_um: Positive | None = Field(
        default=None, description="of a delivered pixel in the sample; default the core's"
    )
    move_timeout_s: Positive = Field(default=30.0, description="longest wait for a device")
    xy_tolerance_um: Positive = Field(
        default=2.0, description="an XY stage that ends further from its target is an error"
    )
    z_tolerance_um: Positive = Field(default=1.0, description="the same for the focus drive")
    light_device: str = Field(
        default="", description="with sensor: the device whose property is the light level"
    )
    light_property: str = Field(default="", description="with sensor: that property, a number")
    light_full: Positive = Field(
        default=100.0, description="with sensor: value of that property at full light"
    )
    sensor: SensorConfig | None = Field(
        default=None, description="expose ideal frames by a simulated sensor (demo)"
    )
    sensor_photons_per_s: Positive = Field(
        default=20000.0, description="with sensor: photon flux of sensor_full_adu at full light"
    )
    sensor_full_adu: int | None = Field(
        default=None, ge=1, le=65535, description="with sensor: default the highest count"
    )
    sensor_background_photons_per_s: NotNegative = Field(
        default=0.0, description="with sensor: photon flux that count 0 stands for, at full light"
    )
    sensor_seed: int = Field(default=0, description="with sensor: seed of its maps and noise")

    @model_validator(mode="after")
    def _light_is_a_property(self) -> Self:
        if bool(self.light_device) != bool(self.light_property):
            raise ValueError("light_device and light_property go together")
        if self.light_device and self.sensor is None:
            raise ValueError(
                "light_device goes with sensor; a real light is named by the plan of a collection"
            )
        return self
