"""Pixel processing in the camera or in Micro-Manager that breaks the statistics of the noise.

Knows: where to look, and how what is on is switched off. Must not know: what is made of it,
configurations.

The noise model (variance = signal + read noise, pixels independent of each other) holds for raw
counts only. A despeckle filter replaces the very pixels that carry the tails, an average over
frames divides the variance, and neither can be undone afterwards. What mirrors or turns the frame
harms nothing and is not listed.
"""

from __future__ import annotations

import re

import msgspec

from livedenoise.micromanager.core import Core
from livedenoise.micromanager.processing_rules import PP_ENABLED, RULES, Rule

KNOWN = frozenset(rule.library for rule in RULES) | {"Utilities"}
"""Adapters that are known here; of Utilities' multi camera, those behind it are looked at."""

NOT_A_CAMERA = ("", "Undefined")
_PP_NAME = re.compile(r"PP\s*(\d+) (\S.*)")
_HARMLESS_PROCESSORS = ("TransposeProcessor", "ImageFlipX", "ImageFlipY")
"""Image processors of the DemoCamera adapter that only move pixels."""


class Processing(msgspec.Struct, frozen=True, kw_only=True):
    """Processing that is on now; ``property`` "" for an image processor device."""

    device: str
    property: str
    value: str
    does: str
    mend: str


def processing_in_use(core: Core, camera: str) -> tuple[Processing, ...]:
    """Return the pixel processing that is on, in the camera and in Micro-Manager itself.

    Parameters
    ----------
    core : Core
        The core; it is only read.
    camera : str
        Label of the camera device; the cameras behind a multi-camera device are looked at too.

    Raises
    ------
    CameraError
        If a property cannot be read.
    """
    cameras = [camera, *_physical_cameras(core, camera)]
    found = [one for label in cameras for one in _in_camera(core, label)]
    return (*found, *_in_core(core))


def _physical_cameras(core: Core, camera: str) -> list[str]:
    """Return the cameras behind the Multi Camera device of Utilities."""
    if core.text("getDeviceLibrary", camera) != "Utilities":
        return []
    names = core.texts("getDevicePropertyNames", camera)
    labels = [core.property(camera, name) for name in names if name.startswith("Physical Camera")]
    return [label for label in labels if label not in NOT_A_CAMERA]


def _in_camera(core: Core, camera: str) -> list[Processing]:
    library = core.text("getDeviceLibrary", camera)
    rules = [rule for rule in RULES if rule.library == library]
    if not rules:
        return []
    names = core.texts("getDevicePropertyNames", camera)
    found = []
    for rule in rules:
        for name in (name for name in names if re.fullmatch(rule.pattern, name)):
            value = core.property(camera, name)
            if rule.in_use(value):
                found.append(_processing(rule, camera, name, value, names))
    return found


def _processing(
    rule: Rule, camera: str, name: str, value: str, names: tuple[str, ...]
) -> Processing:
    feature = _feature(name, names)
    mend = "choose another mode in Micro-Manager's device property browser"
    if rule.harmless:
        mend = (
            f'properties = {{ "{camera}" = {{ "{name}" = "{rule.harmless[0]}" }} }} in the '
            "camera's section (Micro-Manager's device property browser, where it is only tapped)"
        )
    does = f"{feature}: {rule.does}" if feature else rule.does
    return Processing(device=camera, property=name, value=value, does=does, mend=mend)


def _feature(name: str, names: tuple[str, ...]) -> str:
    """Return what PVCAM calls a feature: ``PP  1   ENABLED`` belongs to ``PP  0 DESPECKLE...``."""
    switch = PP_ENABLED.fullmatch(name)
    if switch is None:
        return ""
    # The adapter counts features from 0 and their parameters' names from 1.
    wanted = int(switch[1]) - 1
    matches = (match for match in map(_PP_NAME.fullmatch, names) if match is not None)
    return next((match[2] for match in matches if int(match[1]) == wanted), "")


def _in_core(core: Core) -> list[Processing]:
    """Return the image processor device, which Micro-Manager applies to every frame."""
    label = core.text("getImageProcessorDevice")
    if not label or core.text("getDeviceName", label) in _HARMLESS_PROCESSORS:
        return []
    kind = f"{core.text('getDeviceLibrary', label)} {core.text('getDeviceName', label)}"
    return [
        Processing(
            device=label,
            property="",
            value=kind,
            does="Micro-Manager passes every frame through this image processor",
            mend="take it out of the roles in the hardware configuration (Core-ImageProcessor)",
        )
    ]
