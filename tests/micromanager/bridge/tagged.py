"""Images with tags, as MMCoreJ makes them.

Knows: which tags Java adds to those of the core and how pixels become Java arrays. Must not know:
the wire. Source of the tags: MMCoreJ's ``createTaggedImage``.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pymmcore

from bridge.java import STRING, JavaError, JavaObject, method

_FIXED = {
    "Frame": 0, "FrameIndex": 0, "Position": "Default", "PositionIndex": 0, "Slice": 0,
    "SliceIndex": 0, "ChannelIndex": 0,
}  # fmt: skip
_PIXEL_TYPES = {(1, 1): "GRAY8", (2, 1): "GRAY16", (4, 1): "GRAY32", (4, 4): "RGB32"}


class JsonObject(JavaObject, name="mmcorej.org.json.JSONObject"):
    """A JSON object; it travels as its text."""

    def __init__(self, values: dict[str, Any]) -> None:
        self.values = values

    def text(self) -> str:
        return json.dumps(self.values)


class TaggedImage(JavaObject, name="mmcorej.TaggedImage", fields=("pix", "tags")):
    """Pixels as a flat Java array, and tags."""

    def __init__(self, pix: np.ndarray[Any, Any], tags: JsonObject) -> None:
        self.pix, self.tags = pix, tags

    @method(STRING)
    def to_string(self) -> str:
        return f"TaggedImage({self.pix.size} pixels)"


def java_pixels(image: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return an image of the core as the flat array Java has: byte[] or short[]."""
    if image.dtype.itemsize == 4:
        return np.ascontiguousarray(image).view(np.uint8).ravel()
    if image.dtype.itemsize not in {1, 2} or image.ndim != 2:
        raise JavaError(f"unsupported image: {image.dtype}, shape {image.shape}")
    return np.ascontiguousarray(image).ravel()


def metadata_tags(metadata: Any) -> dict[str, Any]:
    """Return the core's own tags of a frame, all of them text."""
    return {key: metadata.GetSingleTag(key).GetValue() for key in metadata.GetKeys()}


def tagged_image(
    core: Any, image: np.ndarray[Any, Any], metadata: Any, channel: int | None = None
) -> TaggedImage:
    """Return what ``getTaggedImage`` and its kin return: the image with all of its tags.

    The properties come from the core's cache, the geometry from the core as it is set NOW, which
    is not always what the frame was taken with: so it is in Java. ``channel`` is the one of a
    multi-camera device, where Java is told one.
    """
    tags = metadata_tags(metadata)
    cache = core.getSystemStateCache()
    settings = (cache.getSetting(index) for index in range(cache.size()))
    tags |= {f"{s.getDeviceLabel()}-{s.getPropertyName()}": s.getPropertyValue() for s in settings}
    tags |= _geometry(core) | _FIXED | {"Channel": _preset(core)}
    if channel is not None:
        # Java's JSON objects have no order: here the least helpful one. This says the channel that
        # was asked for, the core's own "<label>-CameraChannelIndex" the one the frame is of.
        tags = {"CameraChannelIndex": channel} | tags | {"ChannelIndex": channel}
    return TaggedImage(java_pixels(image), JsonObject(tags))


def _preset(core: Any) -> str:
    group = core.getPropertyFromCache("Core", "ChannelGroup")
    return (core.getCurrentConfigFromCache(group) if group else "") or "Default"


def _geometry(core: Any) -> dict[str, Any]:
    kind = (core.getBytesPerPixel(), core.getNumberOfComponents())
    return {
        "BitDepth": core.getImageBitDepth(),
        "PixelSizeUm": core.getPixelSizeUm(True),
        "PixelSizeAffine": ";".join(f"{value:g}" for value in core.getPixelSizeAffine(True)),
        "ROI": "-".join(str(edge) for edge in core.getROI()),
        "Width": core.getImageWidth(),
        "Height": core.getImageHeight(),
        "PixelType": _PIXEL_TYPES.get(kind, ""),
    } | _binning(core)


def _binning(core: Any) -> dict[str, str]:
    camera = core.getCameraDevice()
    known = camera and core.hasProperty(camera, "Binning")
    return {"Binning": core.getProperty(camera, "Binning")} if known else {}


def new_metadata() -> Any:
    """Return empty metadata for the core to fill."""
    return pymmcore.Metadata()
