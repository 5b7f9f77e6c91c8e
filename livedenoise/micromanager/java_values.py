"""What calls of MMCore return over the bridge, taken for what it should be.

Knows: which kinds of answers there are. Must not know: when something is asked.
"""

from __future__ import annotations

from typing import cast

import numpy as np
from numpy.typing import NDArray

from livedenoise.core.errors import CameraError
from livedenoise.micromanager.core import Pixels
from livedenoise.micromanager.java_object import JavaObject


def setting(data: JavaObject, index: int) -> tuple[str, str, str]:
    """Return one setting of a preset (``Configuration``): device, property, value."""
    with expect_object(data.call("getSetting", index), "getSetting") as setting:
        return (
            str(setting.call("getDeviceLabel")),
            str(setting.call("getPropertyName")),
            str(setting.call("getPropertyValue")),
        )


def size(vector: JavaObject) -> int:
    """Return how much a collection holds."""
    return int(cast("int", vector.call("size")))


def expect_object(value: object, what: str) -> JavaObject:
    """Return an answer that must be an object; CameraError names ``what`` when it is not."""
    if not isinstance(value, JavaObject):
        raise _unexpected(what, "an object", value)
    return value


def expect_array(value: object, what: str) -> Pixels:
    """Return an answer that must be flat pixels of 8 or 16 bits; CameraError when it is not."""
    if not isinstance(value, np.ndarray) or value.dtype.str not in ("|u1", "<u2"):
        kind = value.dtype if isinstance(value, np.ndarray) else value
        raise _unexpected(what, "pixels of 8 or 16 bits", kind)
    return cast("NDArray[np.uint16]", value)


def _unexpected(what: str, expected: str, found: object) -> CameraError:
    return CameraError(
        f"Micro-Manager: {what} returned {found!r}, {expected} was expected",
        "set the camera's PixelType to a monochrome one of 8 or 16 bits; livedenoise check prints "
        "the versions",
    )
