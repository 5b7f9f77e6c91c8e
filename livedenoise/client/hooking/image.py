"""Images as pycromanager hands them over: which of them are frames, what their tags say. Pure.

Knows: arrays, names of tags. Must not know: connections, threads.

The exposure is never read from a tag: it is wrong for hardware-sequenced frames in every engine of
Micro-Manager.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from livedenoise.core.frame import Frame
from livedenoise.micromanager.tags import Placing, placing, region_tags, says_where

_DTYPES = ("|u1", "<u2")
_MAX_EDGE_PX = 16384
CAMERA_CHANNEL = "CameraChannelIndex"


def obstacle(image: object) -> str:
    """Return why an image is no frame, in one word; "" when it is one.

    A frame is (Y, X), uint8 or uint16, little-endian, up to 16384 pixels an edge.
    """
    if not isinstance(image, np.ndarray):
        return "no_array"
    if image.ndim == 3 and image.shape[2] in (3, 4):
        return "colour"
    if image.ndim != 2 or not all(1 <= edge <= _MAX_EDGE_PX for edge in image.shape):
        return "shape"
    return "" if image.dtype.str in _DTYPES else "dtype"


def is_frozen(image: Frame) -> bool:
    """Return whether nobody can change these pixels: they lie in an immutable ``bytes``."""
    base: object = image
    while isinstance(base, np.ndarray):
        if base.flags.writeable:
            return False
        base = base.base
    if isinstance(base, memoryview):
        base = base.obj
    return isinstance(base, bytes) and image.flags.c_contiguous


def placing_of(tags: Mapping[str, object], known: Placing) -> Placing:
    """Return where a frame's tags say it lies; what they do not say stays as it is ``known``."""
    return placing(region_tags(tags), roi=(known.roi_x, known.roi_y), binning=known.binning)


def says_place(tags: Mapping[str, object]) -> bool:
    """Return whether a frame's tags say region and binning; those of many cameras do not."""
    return says_where(region_tags(tags))


def camera_channel(tags: Mapping[str, object]) -> int:
    """Return the channel of a multi-camera device, 0 for others.

    The tag's name begins with the label of the device: ``Multi Camera-CameraChannelIndex``.
    """
    for name, value in tags.items():
        if name.endswith(CAMERA_CHANNEL):
            return max(0, _whole(value))
    return 0


def _whole(value: object) -> int:
    try:
        return int(str(value))
    except ValueError:
        return 0
