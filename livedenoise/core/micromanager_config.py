"""The configuration of a camera that Micro-Manager drives.

Knows: every key of ``kind = "micromanager"`` and which of them go together. Must not know: what
Micro-Manager makes of them.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, StrictBool, model_validator

from livedenoise.core.camera_config import CameraBase, Positive, Strict
from livedenoise.core.microscope_config import MicroManagerScopeConfig

DEMO = "demo"
"""``app_path``: the demo adapters that ``livedenoise[micromanager-demo]`` installs."""
AUTO = "auto"
"""``app_path``: look where Micro-Manager's installer puts it."""

_CHANGING = ("presets", "properties", "exposure_us", "roi", "binning", "buffer_mb", "event")

_LOOPBACK = re.compile(r"tcp://127\.0\.0\.1:[1-9][0-9]{0,4}")
_CHANNEL = re.compile(r"[0-9]|1[0-5]")

PropertyValue = str | StrictBool | int | float


class EventConfig(Strict):
    """One exposure of a cycle that is repeated for as long as the camera runs."""

    exposure_us: int = Field(ge=1, description="commanded exposure")
    role: Literal["", "low", "high"] = Field(default="", description="role in a pair")


class MicroManagerCameraConfig(CameraBase):
    """A camera driven by Micro-Manager, through pycromanager.

    ``backend`` ``python`` starts Micro-Manager's core in the camera's own process, ``java``
    attaches to a running Micro-Manager window. ``mode`` ``own`` drives the camera; ``tap`` watches
    a live view that somebody else started in that window, and changes nothing.
    """

    kind: Literal["micromanager"]
    backend: Literal["python", "java"] = Field(
        default="python", description="python: our own core; java: a running Micro-Manager"
    )
    mode: Literal["own", "tap"] = Field(
        default="own", description="own drives the camera; tap watches a live view (java)"
    )
    app_path: str = Field(
        default=AUTO,
        description='Micro-Manager\'s folder (python; java does not need it); "demo": the demo '
        "adapters",
    )
    config_file: Path | None = Field(
        default=None,
        description="hardware configuration, .cfg (python; java takes what Micro-Manager has "
        "loaded, and says so)",
    )
    host: Literal["127.0.0.1"] = Field(
        default="127.0.0.1", description="where Micro-Manager runs (java): this machine"
    )
    port: int = Field(default=4827, ge=1024, le=65535, description="of its ZMQ server (java)")
    call_timeout_s: Positive = Field(
        default=5.0, description="longest wait for an answer of Micro-Manager (java)"
    )
    device: str = Field(default="", description="camera device; default the core's camera")
    presets: dict[str, str] = Field(
        default={}, description="configuration group = preset, applied in this order"
    )
    properties: dict[str, dict[str, PropertyValue]] = Field(
        default={}, description="device = { property = value }, applied after the presets"
    )
    exposure_us: int | None = Field(
        default=None, ge=1, description="of each frame; default: as Micro-Manager has it"
    )
    rate_hz: Positive | None = Field(
        default=None,
        description="what to expect, for limits: it sets no rate, Micro-Manager's camera goes as "
        "fast as exposure and readout allow; default: measured at each start by 8 exposures behind "
        "the automatic shutter, without one not known",
    )
    roi: tuple[int, int, int, int] | None = Field(
        default=None, description="x, y, width, height in unbinned pixels; default: as it is"
    )
    binning: int | None = Field(
        default=None, ge=1, le=64, description="default: as Micro-Manager has it"
    )
    buffer_mb: int | None = Field(
        default=None,
        ge=8,
        description="Micro-Manager's sequence buffer, MiB; default 1024 (python), as it is (java)",
    )
    channel: int = Field(
        default=0, ge=0, le=15, description="which channel of a multi-camera device"
    )
    forward: dict[str, str] = Field(
        default={}, description='other channels: "1" = "tcp://127.0.0.1:5571" (a network camera)'
    )
    event: tuple[EventConfig, ...] = Field(
        default=(), max_length=1000, description="exposures commanded in turn, again and again"
    )
    sensor_px: tuple[int, int] | None = Field(
        default=None, description="width, height of the largest frame a tap may see"
    )
    microscope: MicroManagerScopeConfig = MicroManagerScopeConfig()

    @model_validator(mode="after")
    def _keys_that_go_together(self) -> Self:
        for problem in _problems(self):
            raise ValueError(problem)
        return self

    def anchored(self, base: Path) -> Self:
        """Return a copy whose relative paths start at ``base``."""
        camera = super().anchored(base)
        changes: dict[str, object] = {}
        if camera.config_file is not None and not camera.config_file.is_absolute():
            beside = base / camera.config_file
            # MMConfig_demo.cfg beside the adapters is as usual as a file beside the TOML.
            changes["config_file"] = beside if beside.exists() else camera.config_file
        if camera.app_path not in (DEMO, AUTO) and not camera.app_path.startswith("~"):
            changes["app_path"] = str(base / camera.app_path)
        return camera.model_copy(update=changes)


def _problems(camera: MicroManagerCameraConfig) -> list[str]:
    """Return what does not go together, in words."""
    found = []
    if camera.mode == "tap":
        if camera.backend == "python":
            found.append(
                'mode = "tap" goes with backend = "java": a python core lives in the process of '
                "the program that made it; there call livedenoise.tap(core), here use "
                'kind = "network"'
            )
        set_keys = [key for key in _CHANGING if getattr(camera, key)]
        if set_keys:
            found.append(f'mode = "tap" changes nothing: remove {", ".join(set_keys)}')
    if camera.mode == "own" and camera.sensor_px is not None:
        found.append('sensor_px goes with mode = "tap"')
    if camera.event and camera.exposure_us is not None:
        found.append("exposure_us and event exclude each other: each event has its exposure")
    found += _forward_problems(camera)
    return found


def _forward_problems(camera: MicroManagerCameraConfig) -> list[str]:
    found = []
    if camera.forward and camera.mode == "tap":
        found.append(
            'forward goes with mode = "own": a second [[camera]] with mode = "tap" and its own '
            "channel watches another channel"
        )
    if camera.forward and camera.event:
        found.append("forward and event exclude each other: events need a single camera (device)")
    for channel, endpoint in camera.forward.items():
        found += _channel_problems(camera, channel)
        if _LOOPBACK.fullmatch(endpoint) is None:
            found.append(f"forward.{channel}: {endpoint} is not tcp://127.0.0.1:PORT")
        elif list(camera.forward.values()).count(endpoint) > 1:
            found.append(
                f"forward.{channel}: {endpoint} is named twice: each channel needs a network "
                "camera of its own"
            )
    return found


def _channel_problems(camera: MicroManagerCameraConfig, channel: str) -> list[str]:
    """Return what is wrong with a channel that is forwarded; "01" beside "1" would be one twice."""
    if _CHANNEL.fullmatch(channel) is None:
        return [f"forward.{channel}: a channel is a number from 0 to 15, without leading zeros"]
    if int(channel) == camera.channel:
        return [f"forward.{channel}: name another channel than {camera.channel}, as a number"]
    return []
