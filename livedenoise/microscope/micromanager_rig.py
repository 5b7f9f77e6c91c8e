"""Setting up a microscope of Micro-Manager: dark first, then everything else, then what it is.

Knows: in which order that is done, what there is to find out. Must not know: commands.
"""

from __future__ import annotations

from dataclasses import dataclass

from livedenoise.core.camera import CameraInfo, StreamRequest
from livedenoise.core.errors import CameraError
from livedenoise.core.micromanager_config import MicroManagerCameraConfig
from livedenoise.core.microscope import Capability, MicroscopeInfo
from livedenoise.micromanager.changes import Changes
from livedenoise.micromanager.core import Core
from livedenoise.micromanager.focusing import Autofocus
from livedenoise.micromanager.owning import (
    buffer_frames,
    camera_still,
    require_idle,
    where_from,
)
from livedenoise.micromanager.setup import (
    Format,
    apply_request,
    apply_settings,
    choose_camera,
    full_sensor,
)
from livedenoise.micromanager.shutter import Shutter
from livedenoise.micromanager.stage import Stage
from livedenoise.microscope.micromanager_exposing import Exposing

_EXPOSURE = "Exposure"


@dataclass(frozen=True)
class Rig:
    """What an open microscope consists of. ``camera`` is the camera device's label."""

    core: Core
    camera: str
    changes: Changes
    shutter: Shutter
    stage: Stage
    autofocus: Autofocus
    exposing: Exposing
    info: MicroscopeInfo


def set_up(core: Core, changes: Changes, config: MicroManagerCameraConfig) -> Rig:
    """Close the shutter, apply the configuration, find the devices.

    Raises
    ------
    CameraError
        If the camera or a device is not there, a live view runs, a setting is refused.
    """
    require_idle(core, changes, config.name)
    shutter = Shutter(
        core,
        changes,
        name=config.name,
        device=config.microscope.shutter,
        limit_s=config.microscope.move_timeout_s,
    )
    shutter.hold()
    choose_camera(core, changes, config)
    changes.note_format()
    apply_settings(core, changes, config)
    # A preset may have chosen another shutter.
    shutter.follow()
    label = camera_still(core, config.name, config.device)
    _require_one_camera(core, config.name, label)
    sensor = full_sensor(core, changes, label)
    form = apply_request(core, changes, config, _request(config), sensor)
    if config.buffer_mb is not None:
        changes.set_buffer_mb(config.buffer_mb)
    stage = Stage(core, changes, config)
    autofocus = Autofocus(core, changes, config, stage)
    exposing = Exposing(
        core, changes, name=config.name, form=form, buffer_frames=buffer_frames(core, form)
    )
    info = _describe(core, config, sensor, form, _capabilities(stage, shutter, autofocus))
    return Rig(core, label, changes, shutter, stage, autofocus, exposing, info)


def _request(config: MicroManagerCameraConfig) -> StreamRequest:
    return StreamRequest(
        exposure_us=config.exposure_us or 0, roi=config.roi, binning=config.binning or 0
    )


def _require_one_camera(core: Core, name: str, label: str) -> None:
    if core.channels() > 1:
        raise CameraError(
            f"camera {name}: {label} is a device of {core.channels()} cameras",
            "name one of them with camera.device: exposures on command are of one camera",
        )


def _capabilities(stage: Stage, shutter: Shutter, autofocus: Autofocus) -> tuple[Capability, ...]:
    there: dict[Capability, bool] = {
        "xy": bool(stage.xy),
        "z": bool(stage.focus),
        "shutter": shutter.exists,
        "autofocus": autofocus.exists,
        "light": True,
    }
    return tuple(name for name, is_there in there.items() if is_there)


def _describe(
    core: Core,
    config: MicroManagerCameraConfig,
    sensor: tuple[int, int],
    form: Format,
    capabilities: tuple[Capability, ...],
) -> MicroscopeInfo:
    label = core.camera()
    notes = (*where_from(core, config, label), *form.notes)
    low_us, high_us = _exposure_limits_us(core, label)
    camera = CameraInfo(
        name=config.name,
        kind=config.kind,
        sensor=sensor,
        dtype=form.dtype,
        bit_depth=form.bit_depth,
        notes=notes,
    )
    return MicroscopeInfo(
        camera=camera,
        shape=form.shape,
        roi=form.roi,
        binning=form.binning,
        capabilities=capabilities,
        pixel_size_um=config.microscope.pixel_size_um or core.number("getPixelSizeUm"),
        exposure_min_us=low_us,
        exposure_max_us=high_us,
        notes=notes,
    )


def _exposure_limits_us(core: Core, camera: str) -> tuple[int, int]:
    """Return the shortest and longest exposure; 0 where the camera does not tell."""
    if not core.flag("hasProperty", camera, _EXPOSURE):
        return 0, 0
    if not core.flag("hasPropertyLimits", camera, _EXPOSURE):
        return 0, 0
    low_ms, high_ms = (
        core.number(f"getProperty{which}Limit", camera, _EXPOSURE) for which in ("Lower", "Upper")
    )
    return max(0, round(low_ms * 1000)), max(0, round(high_ms * 1000))
