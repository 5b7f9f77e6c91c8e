"""Bringing a camera into the state a configuration asks for.

Knows: in which order settings depend on each other, what MMCore does not check by itself. Must not
know: how frames are taken.

Order: camera device, presets, properties, binning, region, exposure, buffer. Each may change what
the next one means: a preset may set the exposure, binning moves the region.
"""

from __future__ import annotations

import msgspec

from livedenoise.core.camera import StreamRequest
from livedenoise.core.errors import CameraError
from livedenoise.core.micromanager_config import MicroManagerCameraConfig, PropertyValue
from livedenoise.micromanager.changes import Changes
from livedenoise.micromanager.core import Core, CoreGoneError
from livedenoise.micromanager.devices import CAMERA, devices_of
from livedenoise.micromanager.placing import BINNING, binning_now
from livedenoise.micromanager.tags import binning_of

_EXPOSURE_NOTED = 0.01
_EXPOSURE_ERROR = 0.1
"""Cameras round to their line time; beyond this share it is another exposure."""


class Format(msgspec.Struct, frozen=True, kw_only=True):
    """What the camera delivers: ``roi`` in unbinned pixels (x, y, width, height)."""

    shape: tuple[int, int]
    dtype: str
    bit_depth: int
    roi: tuple[int, int, int, int]
    binning: int
    exposure_us: int
    notes: tuple[str, ...] = ()


def choose_camera(core: Core, changes: Changes, config: MicroManagerCameraConfig) -> str:
    """Make the configured device the core's camera; return its label.

    Raises
    ------
    CameraError
        If there is no such device, or none at all.
    """
    label = config.device or core.camera()
    known = devices_of(core, CAMERA)
    if label not in known:
        asked = f"device {label}" if label else "a camera device"
        raise CameraError(
            f"camera {config.name}: {asked} is not in Micro-Manager; cameras there: "
            f"{', '.join(known) or 'none'}",
            "set camera.device to one of them, or add the camera to the hardware configuration",
        )
    if label != core.camera():
        changes.set_camera(label)
    return label


def apply_settings(core: Core, changes: Changes, config: MicroManagerCameraConfig) -> None:
    """Apply presets, then properties.

    Raises
    ------
    CameraError
        If a group, preset, device or property does not exist or a value is refused; it names what
        there is.
    """
    for group, preset in config.presets.items():
        _check_preset(core, config.name, group, preset)
        changes.set_preset(group, preset)
    for device, properties in config.properties.items():
        for name, value in properties.items():
            _set_checked(core, changes, f"camera {config.name}", (device, name), as_text(value))


def as_text(value: PropertyValue) -> str:
    """Return a property's value as Micro-Manager writes it; yes and no are 1 and 0."""
    if isinstance(value, bool):
        return "1" if value else "0"
    return str(value)


def full_sensor(core: Core, changes: Changes, camera: str) -> tuple[int, int]:
    """Return the sensor (Y, X) in unbinned pixels; the region is then as it was."""
    before = core.roi()
    changes.clear_roi()
    binning = binning_now(core, camera)
    height, width = core.image_shape()
    if core.roi() != before:
        changes.set_roi(before)
    return height * binning, width * binning


def apply_request(
    core: Core,
    changes: Changes,
    config: MicroManagerCameraConfig,
    request: StreamRequest,
    sensor: tuple[int, int],
) -> Format:
    """Apply binning, region and exposure; return what the camera made of them.

    Raises
    ------
    CameraError
        If the camera cannot do what is asked; both values are named.
    """
    camera, notes = core.camera(), []
    if request.binning:
        _apply_binning(core, changes, config.name, camera, request.binning)
    binning = binning_now(core, camera)
    if request.roi is not None:
        _check_roi(config.name, request.roi, sensor, binning)
        notes += _apply_roi(core, changes, request.roi, binning)
    exposure_us = request.events[0].exposure_us if request.events else request.exposure_us
    if exposure_us:
        notes += _apply_exposure(core, changes, config.name, exposure_us)
    return msgspec.structs.replace(format_now(core, binning), notes=tuple(notes))


def format_now(core: Core, binning: int) -> Format:
    """Return what the camera delivers as it is set now."""
    x, y, _, _ = core.roi()
    height, width = core.image_shape()
    return Format(
        shape=(height, width),
        dtype=core.dtype(),
        bit_depth=core.bit_depth(),
        roi=(x * binning, y * binning, width * binning, height * binning),
        binning=binning,
        exposure_us=round(core.exposure_ms() * 1000),
    )


def _apply_binning(core: Core, changes: Changes, name: str, camera: str, binning: int) -> None:
    if binning == binning_now(core, camera):
        return
    allowed: tuple[str, ...] = ()
    if core.flag("hasProperty", camera, BINNING):
        allowed = core.texts("getAllowedPropertyValues", camera, BINNING)
    fitting = [value for value in allowed if binning_of(value) == binning]
    if not fitting:
        raise CameraError(
            f"camera {name}: binning = {binning} was asked for, {camera} has "
            f"{', '.join(allowed) or 'none'}",
            "set camera.binning to one of these",
        )
    changes.set_property(camera, BINNING, fitting[0])


def _check_roi(
    name: str, roi: tuple[int, int, int, int], sensor: tuple[int, int], binning: int
) -> None:
    """Refuse a region beyond the sensor: some adapters accept it and fail later."""
    x, y, width, height = roi
    inside = min(x, y) >= 0 and x + width <= sensor[1] and y + height <= sensor[0]
    if not inside or min(width, height) < binning:
        raise CameraError(
            f"camera {name}: roi = {list(roi)} was asked for, the sensor has "
            f"{sensor[1]}x{sensor[0]} pixels",
            "give x, y, width, height inside it, in unbinned pixels",
        )


def _apply_roi(
    core: Core, changes: Changes, roi: tuple[int, int, int, int], binning: int
) -> list[str]:
    x, y, width, height = roi
    asked = (x // binning, y // binning, width // binning, height // binning)
    if core.roi() != asked:
        # A region within a region means another place for some adapters.
        changes.clear_roi()
        changes.set_roi(asked)
    found = core.roi()
    if found == asked:
        return []
    made = [value * binning for value in found]
    return [f"the camera made roi {made} of {list(roi)} (x, y, width, height)"]


def _apply_exposure(core: Core, changes: Changes, name: str, exposure_us: int) -> list[str]:
    changes.set_exposure_ms(exposure_us / 1000)
    return check_exposure(core, name, exposure_us)


def check_exposure(core: Core, name: str, exposure_us: int) -> list[str]:
    """Compare the exposure with what was asked for; return what is worth a note.

    Raises
    ------
    CameraError
        If the camera made another exposure of it: some adapters keep the old one without a word.
    """
    found_us = exposure_read_back_us(core, name, exposure_us)
    if abs(found_us - exposure_us) / exposure_us <= _EXPOSURE_NOTED:
        return []
    return [f"the camera made an exposure of {found_us} us of {exposure_us} us"]


def exposure_read_back_us(core: Core, name: str, exposure_us: int) -> int:
    """Return the exposure the camera has, in microseconds, which is about ``exposure_us``.

    Raises
    ------
    CameraError
        As ``check_exposure``.
    """
    found_us = round(core.exposure_ms() * 1000)
    if abs(found_us - exposure_us) / exposure_us > _EXPOSURE_ERROR:
        raise CameraError(
            f"camera {name}: exposure_us = {exposure_us} was asked for, the camera took {found_us}",
            "ask for an exposure within its limits: livedenoise check prints them",
        )
    return found_us


def apply_preset(core: Core, changes: Changes, name: str, group: str, preset: str) -> None:
    """Apply a preset of camera ``name``; what there is is looked up only when it fails.

    Raises
    ------
    CameraError
        If there is no such group or preset, or a device refuses.
    """
    try:
        changes.set_preset(group, preset)
    except CoreGoneError:
        raise
    except CameraError:
        _check_preset(core, name, group, preset)
        raise


def apply_property(
    core: Core, changes: Changes, who: str, key: tuple[str, str], value: str
) -> None:
    """Set a property; what there is is looked up only when it fails.

    Parameters
    ----------
    who : str
        Begins the message.
    key : tuple of str
        Device and property.

    Raises
    ------
    CameraError
        If there is no such property, it can only be read, or the value is refused.
    """
    try:
        changes.set_property(*key, value)
    except CoreGoneError:
        raise
    except CameraError as error:
        raise _refused_property(core, f"{who}: {'.'.join(key)} = {value!r}", key, error) from error


def read_property(core: Core, who: str, key: tuple[str, str]) -> str:
    """Return a property as text.

    Raises
    ------
    CameraError
        If there is no such property; it names what there is.
    """
    try:
        return core.property(*key)
    except CoreGoneError:
        raise
    except CameraError:
        _require_property(core, f"{who}: {'.'.join(key)}", key)
        raise


def presets_of(core: Core, group: str) -> tuple[str, ...]:
    """Return the presets of a configuration group; none: there is no such group."""
    if group not in core.texts("getAvailableConfigGroups"):
        return ()
    return core.texts("getAvailableConfigs", group)


def _refused_property(
    core: Core, what: str, key: tuple[str, str], error: CameraError
) -> CameraError:
    _require_property(core, what, key, to_set=True)
    return CameraError(
        f"{what} was refused: {error.message}; {_limits(core, *key)}", "set an allowed value"
    )


def _check_preset(core: Core, name: str, group: str, preset: str) -> None:
    groups = core.texts("getAvailableConfigGroups")
    if group not in groups:
        raise CameraError(
            f"camera {name}: presets.{group}: there is no such configuration group; there are "
            f"{', '.join(groups) or 'none'}",
            "name a group of the hardware configuration",
        )
    presets = core.texts("getAvailableConfigs", group)
    if preset not in presets:
        raise CameraError(
            f"camera {name}: presets.{group} = {preset!r}: the group has "
            f"{', '.join(presets) or 'no presets'}",
            "name a preset of that group",
        )


def _set_checked(core: Core, changes: Changes, who: str, key: tuple[str, str], value: str) -> None:
    """Set a property; a mistake is answered with what would be right."""
    what = f"{who}: properties.{'.'.join(key)} = {value!r}"
    _require_property(core, what, key, to_set=True)
    try:
        changes.set_property(*key, value)
    except CameraError as error:
        raise _refused_property(core, what, key, error) from error


def _require_property(core: Core, what: str, key: tuple[str, str], *, to_set: bool = False) -> None:
    device, name = key
    devices = core.texts("getLoadedDevices")
    if device not in devices:
        raise CameraError(
            f"{what}: there is no device {device}; there are {', '.join(devices)}",
            "name a device of the hardware configuration",
        )
    names = core.texts("getDevicePropertyNames", device)
    if name not in names:
        raise CameraError(
            f"{what}: {device} has no property {name}; it has {', '.join(names)}",
            "names are as in Micro-Manager's device property browser",
        )
    if to_set and core.flag("isPropertyReadOnly", device, name):
        raise CameraError(f"{what}: the property can only be read", "remove it")


def _limits(core: Core, device: str, name: str) -> str:
    allowed = core.texts("getAllowedPropertyValues", device, name)
    if allowed:
        return f"allowed are {', '.join(allowed)}"
    if core.flag("hasPropertyLimits", device, name):
        low = core.number("getPropertyLowerLimit", device, name)
        high = core.number("getPropertyUpperLimit", device, name)
        return f"allowed is {low:g} to {high:g}"
    return f"it is {core.property(device, name)!r}"
