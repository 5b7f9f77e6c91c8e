"""Devices of a core: which there are of a kind, and waiting until one is done.

Knows: the numbers of device kinds, how a device tells that it is busy. Must not know:
configurations, what a device is for.
"""

from __future__ import annotations

import threading
from typing import Final

from livedenoise.core.clock import now_ns
from livedenoise.core.errors import CameraError
from livedenoise.micromanager.core import Core

# MM::DeviceType in MMDevice's MMDeviceConstants.h.
CAMERA: Final = 2
SHUTTER: Final = 3
STAGE: Final = 5
XY_STAGE: Final = 6
AUTOFOCUS: Final = 9

_WORDS = {
    CAMERA: "camera",
    SHUTTER: "shutter",
    STAGE: "focus drive",
    XY_STAGE: "XY stage",
    AUTOFOCUS: "autofocus device",
}
_FIRST_PAUSE_S = 0.0005
_LONGEST_PAUSE_S = 0.01


def device_type(core: Core, label: str) -> int:
    """Return the number of a device's type; over the bridge it comes as an object."""
    found = core.call("getDeviceType", label)
    if isinstance(found, int):
        return found
    number = getattr(found, "swigValue", None)
    return int(number()) if callable(number) else -1


def devices_of(core: Core, kind: int) -> tuple[str, ...]:
    """Return the labels of all devices of a kind."""
    labels = core.texts("getLoadedDevices")
    return tuple(label for label in labels if device_type(core, label) == kind)


def require_device(core: Core, who: str, kind: int, label: str) -> str:
    """Return ``label``, which is a device of that kind.

    Parameters
    ----------
    who : str
        Begins the message: which key of which camera names it.

    Raises
    ------
    CameraError
        If there is no such device; it names those there are.
    """
    known = devices_of(core, kind)
    if label in known:
        return label
    raise CameraError(
        f"{who} = {label!r}: Micro-Manager has no such {_WORDS[kind]}; there are "
        f"{', '.join(known) or 'none'}",
        "name one of them, or remove the key to take Micro-Manager's own choice",
    )


def wait_ready(
    core: Core, label: str, limit_s: float, aborted: threading.Event | None = None
) -> None:
    """Wait until a device is not busy.

    It is asked again and again: ``waitForDevice`` has a limit of its own, the core's for every
    device, and over the bridge nobody else would be answered meanwhile.

    Raises
    ------
    CameraError
        If it is busy for longer than ``limit_s``, or ``aborted`` is set.
    """
    deadline_ns, pause_s = now_ns() + int(limit_s * 1e9), _FIRST_PAUSE_S
    asleep = aborted or threading.Event()
    while core.flag("deviceBusy", label):
        if now_ns() > deadline_ns:
            raise CameraError(
                f"{label} was still busy after {limit_s:g} s",
                "see whether it moves in Micro-Manager's own window; "
                "camera.microscope.move_timeout_s is the limit",
            )
        if asleep.wait(pause_s):
            raise CameraError(f"waiting for {label} was aborted", "nothing is wrong with it")
        pause_s = min(_LONGEST_PAUSE_S, 1.5 * pause_s)
