"""One setting of a core as it was, and how it is put back.

Knows: how each kind of setting is written down and restored. Must not know: why it was changed, in
which order things are restored beyond ``Before.turn``.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from livedenoise.micromanager.core import Core
from livedenoise.micromanager.devices import wait_ready
from livedenoise.micromanager.moving import BACK, go_xy, go_z

Kind = Literal[
    "property",
    "exposure",
    "roi",
    "camera",
    "buffer_mb",
    "auto_shutter",
    "shutter",
    "xy",
    "z",
    "autofocus",
    "autofocus_offset",
    "continuous_focus",
]


class Before(msgspec.Struct, frozen=True):
    """One setting as it was: ``key`` names the device and property, ``value`` is text."""

    kind: Kind
    key: tuple[str, ...]
    value: str

    @property
    def name(self) -> str:
        """Return the setting's name for people."""
        return ".".join((self.kind, *self.key))

    @property
    def turn(self) -> int:
        """Return when it is put back: the higher, the earlier.

        Darkness first. A focus lock is let go before anything moves, and takes hold at the end.
        """
        if self.kind == "shutter":
            return 2
        if self.kind == "continuous_focus":
            return -1 if self.value == "True" else 1
        return 0


def put_back(core: Core, before: Before) -> None:
    """Make a setting what it was.

    Raises
    ------
    CameraError
        If that is refused, or a stage does not arrive.
    """
    value = before.value
    match before.kind:
        case "property":
            device, name = before.key
            if core.property(device, name) != value:
                core.set_property(device, name, value)
        case "exposure":
            core.call("setExposure", float(value))
        case "roi":
            x, y, width, height = (int(part) for part in value.split())
            if core.roi() != (x, y, width, height):
                core.call("clearROI")
            if core.roi() != (x, y, width, height):
                core.call("setROI", x, y, width, height)
        case "camera":
            core.call("setCameraDevice", value)
        case "buffer_mb":
            core.call("setCircularBufferMemoryFootprint", int(value))
        case "auto_shutter":
            core.call("setAutoShutter", value == "True")
        case _:
            _put_back_around(core, before)


def _put_back_around(core: Core, before: Before) -> None:
    """Put back what stands around the camera."""
    value = before.value
    match before.kind:
        case "shutter":
            core.call("setShutterOpen", before.key[0], value == "True")
            wait_ready(core, before.key[0], BACK.timeout_s)
        case "xy":
            x_um, y_um = (float(part) for part in value.split())
            go_xy(core, before.key[0], (x_um, y_um))
        case "z":
            go_z(core, before.key[0], float(value))
        case "autofocus":
            core.call("setAutoFocusDevice", value)
        case "autofocus_offset":
            _with_autofocus(core, before.key[0], "setAutoFocusOffset", float(value))
        case "continuous_focus":
            _with_autofocus(core, before.key[0], "enableContinuousFocus", value == "True")


def _with_autofocus(core: Core, label: str, call: str, value: float | bool) -> None:
    """Command an autofocus device; the core commands only the one that is chosen."""
    chosen = core.text("getAutoFocusDevice")
    if chosen != label:
        core.call("setAutoFocusDevice", label)
    core.call(call, value)
    if chosen != label:
        core.call("setAutoFocusDevice", chosen)
