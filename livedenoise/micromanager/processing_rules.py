"""Properties of device adapters that switch pixel processing: the table, with its sources.

Knows: names and values as the adapters have them. Must not know: a core.
"""

from __future__ import annotations

import re

import msgspec

PP_ENABLED = re.compile(r"PP\s*(\d+)\s{3}ENABLED")
"""How PVCAM's adapter names the switch of a feature: 'PP  1   ENABLED'."""


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """One property that switches processing.

    Attributes
    ----------
    library : str
        Name of the device adapter (``getDeviceLibrary``).
    pattern : str
        Regular expression that the property's whole name matches.
    harmless : tuple of str
        Values, in any case, at which pixels stay as they were read; none for ``harmful`` rules.
    harmful : tuple of str
        The only values that count, where most are harmless.
    does : str
        What it does to the pixels.
    source : str
        Where the name and the values are from.
    """

    library: str
    pattern: str
    does: str
    source: str
    harmless: tuple[str, ...] = ()
    harmful: tuple[str, ...] = ()

    def in_use(self, value: str) -> bool:
        """Return whether a value of the property means that pixels are changed."""
        if self.harmful:
            return value.upper() in self.harmful
        return _plain(value) not in (_plain(known) for known in self.harmless)


def _plain(value: str) -> str:
    """Return a value without case and without the zeros of a number (``0.0000`` is ``0``)."""
    text = value.strip().upper()
    return text.rstrip("0").rstrip(".") or "0" if re.fullmatch(r"\d+\.\d+", text) else text


_PVCAM = "mmCoreAndDevices DeviceAdapters/PVCAM/PVCAMUniversal.cpp"
_ANDOR3 = "mmCoreAndDevices DeviceAdapters/AndorSDK3/AndorSDK3.cpp, BooleanProperty.cpp"
_DCAM = "names of DCAM-API's dcamprop.h, which the (closed) adapter shows as they are"
_DEMO = "mmCoreAndDevices DeviceAdapters/DemoCamera/DemoCamera.cpp"

RULES = (
    Rule(
        library="PVCAM",
        pattern=PP_ENABLED.pattern,
        harmless=("No", "0"),
        does="filters pixels in the camera",
        # Initialize() calls pl_pp_reset: the camera's defaults, most of them Yes, come back with
        # every load of the configuration.
        source=_PVCAM,
    ),
    Rule(
        library="PVCAM",
        pattern="FrameSummingEnabled",
        harmless=("No",),
        does="adds frames up: offset and read noise are those of several",
        source=_PVCAM,
    ),
    Rule(
        library="PVCAM",
        pattern="CentroidsEnabled",
        harmless=("No",),
        does="delivers regions around particles only",
        source=_PVCAM,
    ),
    Rule(
        library="PVCAM",
        pattern="Color",
        harmless=("OFF",),
        does="interpolates colours",
        source=_PVCAM,
    ),
    Rule(
        library="AndorSDK3",
        pattern="SpuriousNoiseFilter",
        harmless=("Off",),
        does="replaces noisy pixels by their neighbours",
        source=_ANDOR3,
    ),
    Rule(
        library="AndorSDK3",
        pattern="StaticBlemishCorrection",
        harmless=("Off",),
        does="replaces listed pixels by their neighbours",
        source=_ANDOR3,
    ),
    Rule(
        library="AndorSDK3",
        pattern="AccumulateCount",
        harmless=("1", "0"),
        does="adds frames up: offset and read noise are those of several",
        source=_ANDOR3,
    ),
    Rule(
        library="Andor",
        pattern="SpuriousNoiseFilter",
        harmless=("None",),
        does="filters spikes over space or time",
        source="mmCoreAndDevices DeviceAdapters/Andor/SpuriousNoiseFilterControl.cpp",
    ),
    Rule(
        library="HamamatsuHam",
        pattern="DEFECT CORRECT MODE",
        harmless=("OFF",),
        does="replaces noisy pixels by their neighbours, as HOT PIXEL CORRECT LEVEL says",
        source=_DCAM,
    ),
    Rule(
        library="HamamatsuHam",
        pattern="RECURSIVE FILTER|FRAME AVERAGING MODE",
        harmless=("OFF",),
        does="averages over frames",
        source=_DCAM,
    ),
    Rule(
        library="HamamatsuHam",
        pattern="SPOT NOISE REDUCER",
        harmless=("OFF",),
        does="filters spikes",
        source=_DCAM,
    ),
    Rule(
        library="HamamatsuHam",
        pattern="SUBTRACT|SHADING CORRECTION",
        harmless=("OFF",),
        does="corrects the background or the illumination: offset and gain are no longer known",
        source=_DCAM,
    ),
    Rule(
        library="HamamatsuHam",
        pattern="SENSOR MODE",
        harmful=("PHOTON NUMBER RESOLVING",),
        does="delivers rounded photon numbers: the noise of such frames is another one",
        source=_DCAM,
    ),
    Rule(
        library="PCO_Camera",
        pattern="Noisefilter",
        harmless=("Off",),
        does="filters pixels in the camera",
        source="mmCoreAndDevices DeviceAdapters/PCO_Generic/MicroManager.cpp",
    ),
    Rule(
        library="DemoCamera",
        pattern="DropPixels|SaturatePixels",
        harmless=("0",),
        does="sets pixels to zero or to the maximum",
        source=_DEMO,
    ),
    Rule(
        library="DemoCamera",
        pattern="DisplayImageNumber",
        harmless=("0",),
        does="draws the frame's number",
        source=_DEMO,
    ),
)
