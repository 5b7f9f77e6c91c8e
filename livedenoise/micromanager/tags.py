"""What Micro-Manager's core says about a frame, as plain values. Pure.

Knows: the names of the core's metadata tags and how they are written. Must not know: pymmcore, the
bridge, what a tag is used for.

Never taken from a tag: the exposure. It is wrong for hardware-sequenced frames in every engine of
Micro-Manager; what was commanded is known without it.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import lru_cache

import msgspec

from livedenoise.core.errors import CameraError

IMAGE_NUMBER = "ImageNumber"
ELAPSED_MS = "ElapsedTime-ms"
RECEIVED = "TimeReceivedByCore"
CAMERA = "Camera"
CHANNEL = "CameraChannelIndex"
_FORMAT = ("Height", "Width", "ROI-X-start", "ROI-Y-start", "ROI", "Binning")
_LABELLED = f"-{CHANNEL}"
TAGS = (
    "Width", "Height", "PixelType", "ROI-X-start", "ROI-Y-start", "Binning",
    IMAGE_NUMBER, ELAPSED_MS, RECEIVED, CAMERA,
)  # fmt: skip

_DTYPES = {"GRAY8": "|u1", "GRAY16": "<u2"}
_MOST_BINNING = 64
_MOST_S = 60.0
"""A frame that waited longer than this did not: the computer's clock was set meanwhile."""


class FrameTags(msgspec.Struct, frozen=True, kw_only=True):
    """One frame as the core describes it.

    Attributes
    ----------
    image_number : int
        From 0 for the first frame of a sequence of this camera; -1 when there is none.
    elapsed_ns : int
        Since the start of the sequence, by the adapter or the core; -1 when there is none.
    age_ns : int
        Since the core had the frame, by the computer's clock; -1 when it is not known.
    shape : tuple of int
        (Y, X) in pixels as delivered.
    roi_x, roi_y : int
        Corner of the region, in pixels as delivered (binned); -1 when not told.
    binning : int
        0 when not told.
    camera : str
        Label of the camera device.
    channel : int
        Of a multi-camera device, else 0.
    """

    image_number: int = -1
    elapsed_ns: int = -1
    age_ns: int = -1
    shape: tuple[int, int] = (0, 0)
    dtype: str = "<u2"
    roi_x: int = -1
    roi_y: int = -1
    binning: int = 0
    camera: str = ""
    channel: int = 0


class Placing(msgspec.Struct, frozen=True):
    """Where a frame lies on the sensor: its corner in unbinned pixels, and the binning."""

    roi_x: int = 0
    roi_y: int = 0
    binning: int = 1


def placing(tags: FrameTags, *, roi: tuple[int, int], binning: int) -> Placing:
    """Return where a frame lies on the sensor.

    Parameters
    ----------
    tags : FrameTags
        What the frame itself says; many adapters write neither region nor binning.
    roi : tuple of int
        Corner (x, y) in unbinned pixels, for a frame that does not say it.
    binning : int
        For a frame that does not say it.
    """
    binning = tags.binning or binning
    return Placing(
        roi_x=tags.roi_x * binning if tags.roi_x >= 0 else roi[0],
        roi_y=tags.roi_y * binning if tags.roi_y >= 0 else roi[1],
        binning=binning,
    )


def says_where(tags: FrameTags) -> bool:
    """Return whether a frame says itself where it lies."""
    return tags.binning > 0 and tags.roi_x >= 0 and tags.roi_y >= 0


def binning_of(text: object, default: int = 1) -> int:
    """Return the number in "2", "2x2" or "Binning 2x2"; ``default`` without one of 1 to 64."""
    found = re.search(r"\d+", str(text))
    number = int(found.group()) if found else 0
    return number if 1 <= number <= _MOST_BINNING else default


def region_tags(tags: Mapping[str, object]) -> FrameTags:
    """Return what a frame's tags say of its place alone, whatever its pixels are."""
    roi_x, roi_y, binning = _region(tuple(str(tags.get(name)) for name in _FORMAT[2:]))
    return FrameTags(roi_x=roi_x, roi_y=roi_y, binning=binning)


def parse_tags(tags: Mapping[str, object], *, wall_s: Callable[[], float] = time.time) -> FrameTags:
    """Return what a frame's tags say.

    Parameters
    ----------
    tags : Mapping
        Text or numbers, as pymmcore or the bridge gives them.
    wall_s : callable
        The computer's clock, seconds since 1970.

    Raises
    ------
    CameraError
        If the pixels are of a kind that is not supported (colour, 32 bits).
    """
    get = tags.get
    told = tuple(str(get(name)) for name in _FORMAT)
    shape, dtype, roi_x, roi_y, binning = _format(str(get("PixelType", "GRAY16")), told)
    elapsed = _number(get(ELAPSED_MS), -1.0)
    return FrameTags(
        image_number=int(_number(get(IMAGE_NUMBER), -1)),
        elapsed_ns=round(elapsed * 1e6) if elapsed >= 0 else -1,
        age_ns=age_ns(get(RECEIVED), wall_s),
        shape=shape,
        dtype=dtype,
        roi_x=roi_x,
        roi_y=roi_y,
        binning=binning,
        camera=str(get(CAMERA, "")),
        channel=_channel(tags),
    )


@lru_cache(maxsize=64)
def _format(kind: str, told: tuple[str, ...]) -> tuple[tuple[int, int], str, int, int, int]:
    """Return what stays the same from frame to frame: parsed once, a thousand frames a second."""
    if kind not in _DTYPES:
        raise CameraError(
            f"frames are {kind}, supported are {', '.join(_DTYPES)}",
            "set the camera to a monochrome pixel type of 8 or 16 bits",
        )
    shape = int(_number(told[0], 0)), int(_number(told[1], 0))
    return shape, _DTYPES[kind], *_region(told[2:])


@lru_cache(maxsize=64)
def _region(told: tuple[str, ...]) -> tuple[int, int, int]:
    """Return corner and binning; the acquisition engines write the region as "x-y-width-height"."""
    roi_x, roi_y, roi, binning = told
    parts = roi.split("-")
    corner = parts[:2] if len(parts) == 4 else ("", "")
    x, y = _number(roi_x, _number(corner[0], -1)), _number(roi_y, _number(corner[1], -1))
    return int(x), int(y), binning_of(binning, 0)


def age_ns(received: object, wall_s: Callable[[], float] = time.time) -> int:
    """Return how long ago the core had a frame, -1 when that is not known.

    ``received`` is local time, ``2026-11-21 17:31:51.402713``.
    """
    text = str(received)
    try:
        # "2026-11-21 17:31:" is looked up: the calendar is slow.
        then_s = _minute_s(text[:17]) + float(text[17:])
    except ValueError:
        return -1
    age_s = wall_s() - then_s
    return round(age_s * 1e9) if 0 <= age_s < _MOST_S else -1


@lru_cache(maxsize=8)
def _minute_s(text: str) -> float:
    """Return the start of a minute of local time, seconds since 1970.

    Raises
    ------
    ValueError
        If it is none.
    """
    return datetime.fromisoformat(f"{text}00").timestamp()


def _channel(tags: Mapping[str, object]) -> int:
    """Return the channel of a multi-camera device.

    The device writes it after its own label, ``Both-CameraChannelIndex``. One without a label is
    MMCoreJ's: the channel it was asked for, 0 for every frame of a sequence.
    """
    for name, value in tags.items():
        if name.endswith(_LABELLED):
            return int(_number(value, 0))
    return int(_number(tags.get(CHANNEL), 0))


def _number(value: object, default: float) -> float:
    try:
        return float(str(value))
    except ValueError:
        return default
