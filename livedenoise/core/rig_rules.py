"""What the cameras of one rig mean for each other: who excludes whom, and who needs whom.

Knows: a camera has one owner; frames that are sent on need somebody who listens. Must not know:
files, sockets, what Micro-Manager does. Pure: problems in words, each naming both sections.

Example
-------
>>> left = MicroManagerCameraConfig(kind="micromanager", name="left", backend="java")
>>> right = MicroManagerCameraConfig(kind="micromanager", name="right", backend="java", mode="tap")
>>> print(owner_problems([left, right])[0].partition(":")[0])
camera.1 (right) beside camera.0 (left)
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from livedenoise.core.camera_config import CameraBase, NetworkCameraConfig
from livedenoise.core.micromanager_config import MicroManagerCameraConfig

_HERE = re.compile(r"tcp://(?:127\.0\.0\.1|localhost|0\.0\.0\.0|\*):([0-9]+)")
"""What a sender on loopback reaches."""

_ONE_SECTION = (
    "let one section own it and send the other channels on: forward = "
    '{ 1 = "tcp://127.0.0.1:5571" }, and a [[camera]] of kind "network" that listens there'
)


def owner_problems(cameras: Sequence[CameraBase]) -> list[str]:
    """Return which cameras want a Micro-Manager, or its hardware, that another one drives.

    Parameters
    ----------
    cameras : sequence of CameraBase
        All camera sections, in order.

    Returns
    -------
    list of str
        One text for each section that cannot be beside an earlier one.
    """
    ours = _micromanagers(cameras)
    found = []
    for at, (index, camera) in enumerate(ours):
        for earlier, other in ours[:at]:
            why = _clash(camera, other)
            if why:
                found.append(
                    f"camera.{index} ({camera.name}) beside camera.{earlier} ({other.name}): {why}"
                )
                break
    return found


def forward_problems(cameras: Sequence[CameraBase]) -> list[str]:
    """Return which channels are sent on to nobody, or to somebody who will not take them."""
    listening = {
        match[1]: camera
        for camera in cameras
        if isinstance(camera, NetworkCameraConfig)
        and (match := _HERE.fullmatch(camera.listen)) is not None
    }
    there = ", ".join(f"{camera.name} on {camera.listen}" for camera in listening.values())
    found, taken = [], set()
    for index, camera in _micromanagers(cameras):
        for channel, endpoint in camera.forward.items():
            port = endpoint.rpartition(":")[2]
            where = f"camera.{index}.forward.{channel} ({camera.name}): {endpoint}: "
            listener = listening.get(port)
            if listener is None:
                found.append(
                    f'{where}no [[camera]] of kind "network" listens there; network cameras: '
                    f"{there or 'none'}"
                )
            elif listener.keys is not None:
                found.append(
                    f"{where}camera {listener.name} listens there with keys, and channels are "
                    "sent on without: remove its keys, it is on this machine"
                )
            elif port in taken:
                found.append(f"{where}camera {listener.name} gets another camera's frames already")
            taken.add(port)
    return found


def _micromanagers(cameras: Sequence[CameraBase]) -> list[tuple[int, MicroManagerCameraConfig]]:
    numbered = enumerate(cameras)
    return [(i, camera) for i, camera in numbered if isinstance(camera, MicroManagerCameraConfig)]


def _clash(camera: MicroManagerCameraConfig, other: MicroManagerCameraConfig) -> str:
    """Return why two sections cannot be in one rig; empty when they can."""
    if camera.backend != other.backend:
        return ""
    return (_python_clash if camera.backend == "python" else _java_clash)(camera, other)


def _python_clash(camera: MicroManagerCameraConfig, other: MicroManagerCameraConfig) -> str:
    if camera.config_file is None or _hardware(camera) != _hardware(other):
        return ""
    return (
        f"both load {camera.config_file}, and a device can be opened once; for several cameras "
        f"of it {_ONE_SECTION}"
    )


def _java_clash(camera: MicroManagerCameraConfig, other: MicroManagerCameraConfig) -> str:
    modes = {camera.mode, other.mode}
    if (camera.host, camera.port) != (other.host, other.port) or modes == {"tap"}:
        # Two taps watch two channels of one live view, or the same: neither disturbs the other.
        return ""
    place = f"the Micro-Manager on {camera.host}:{camera.port}"
    if modes == {"own"}:
        return f"both drive {place}, which has one sequence; for several cameras {_ONE_SECTION}"
    # The owner takes each frame out of the buffer that the tap looks into: whatever it still saw
    # would be an accidental part of what the owner records whole.
    return (
        f"one drives {place}, the other watches a live view there, and no live view can run "
        f"meanwhile; for several cameras {_ONE_SECTION}"
    )


def _hardware(camera: MicroManagerCameraConfig) -> tuple[str, str]:
    """Return what a section's configuration file is, as far as the text tells."""
    file = os.path.normcase(os.path.normpath(str(camera.config_file)))
    return ("" if Path(file).is_absolute() else camera.app_path, file)
