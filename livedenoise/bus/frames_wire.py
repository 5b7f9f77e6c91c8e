"""Messages that carry frames between machines <-> bytes: typed, versioned, every number bounded.

A frame travels as a small message (facts) and its pixels as the last part. Pixels are accepted
only when the facts, the limits of the receiver and the length of the part agree. What does not
fit raises RefusedError with a short reason, which receivers count and survive. Pure: no sockets.

A sender's conversation: ``Hello`` -> ``Welcome`` (the limits) or ``Refused``; then ``SentFrame`` +
pixels -> ``Taken`` or ``Refused``; ``Goodbye`` at the end. A publisher only speaks: topic,
``SharedFrame``, pixels; or topic and a snapshot as JSON.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, TypeAlias, TypeVar

import msgspec
import numpy as np
from msgspec import Meta

from livedenoise.core.errors import WireError
from livedenoise.core.frame import (
    SUPPORTED_DTYPES,
    Frame,
    FrameHeader,
    dtype_in_words,
    frame_nbytes,
)
from livedenoise.core.status import StatusSnapshot

FRAMES_VERSION = 1
MAX_FACTS_BYTES = 1 << 14
"""Facts of one frame: a few hundred bytes."""

MAX_SNAPSHOT_BYTES = 8 << 20
MAX_EDGE_PX = 16384
METRICS_TOPIC = b"metrics\0"

_VERSION = bytes([FRAMES_VERSION])
_BIG = (1 << 62) - 1
_SMALL = (1 << 31) - 1
Text = Annotated[str, Meta(max_length=64)]
Session = Annotated[str, Meta(pattern=r"\A[0-9a-f]{32}\Z")]
Edge = Annotated[int, Meta(ge=1, le=MAX_EDGE_PX)]
Count = Annotated[int, Meta(ge=0, le=_BIG)]
Small = Annotated[int, Meta(ge=0, le=_SMALL)]


class RefusedError(WireError):
    """A message or a frame that is not taken; ``reason`` is one word for the counter."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class _Spoken(msgspec.Struct, frozen=True, array_like=True, kw_only=True, tag=True):
    """Base of every message; the class name is its tag. Fields are append-only."""


class Hello(_Spoken, frozen=True, kw_only=True):
    """A sender asks to be heard. ``session`` is its own unguessable number, kept for its life."""

    session: Session


class Welcome(_Spoken, frozen=True, kw_only=True):
    """The receiver takes frames up to ``height`` x ``width`` of ``dtype`` from this sender."""

    height: Edge
    width: Edge
    dtype: Text


class SentFrame(_Spoken, frozen=True, kw_only=True):
    """Facts about the pixels in the next part; units and meaning as in ``FrameHeader``.

    ``number`` counts every frame this sender was given, also those it could not send; answers name
    it. ``camera_seq`` is the camera's own number, which may start again.
    """

    session: Session
    number: Count
    camera_seq: Count
    height: Edge
    width: Edge
    dtype: Text
    t_camera_ns: Count = 0
    exposure_us: Small = 0
    roi_x: Small = 0
    roi_y: Small = 0
    binning: Annotated[int, Meta(ge=1, le=64)] = 1
    channel: Small = 0
    event: Annotated[int, Meta(ge=-1, le=_SMALL)] = -1
    role: Text = ""


class Taken(_Spoken, frozen=True, kw_only=True):
    """The frame of this number was taken: it is in the raw ring, or counted as lost before it."""

    number: Count


class Refused(_Spoken, frozen=True, kw_only=True):
    """A frame (``number`` from 0) or the sender itself (-1) is not taken, and why."""

    reason: Text
    text: Annotated[str, Meta(max_length=400)] = ""
    number: Annotated[int, Meta(ge=-1, le=_BIG)] = -1


class Goodbye(_Spoken, frozen=True, kw_only=True):
    """The sender leaves; another one may come."""

    session: Session


class Ping(_Spoken, frozen=True, kw_only=True):
    """Sent to see whether the other end is still connected; needs no answer."""


class SharedFrame(_Spoken, frozen=True, kw_only=True):
    """A published frame: ``number`` counts the frames of this topic, so that a gap shows a loss."""

    number: Count
    header: FrameHeader


Spoken: TypeAlias = Hello | Welcome | SentFrame | Taken | Refused | Goodbye | Ping | SharedFrame
K = TypeVar("K", bound=_Spoken)
_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[Spoken] = msgspec.msgpack.Decoder(Spoken)
_snapshots = msgspec.json.Decoder(StatusSnapshot)


def encode(message: _Spoken) -> bytes:
    """Return the bytes of a message."""
    return _VERSION + _encoder.encode(message)


def decode(data: bytes | memoryview) -> Spoken:
    """Return the message in ``data``.

    Raises
    ------
    RefusedError
        Reason ``size``, ``version`` or ``malformed``.
    """
    if not 1 < len(data) <= MAX_FACTS_BYTES:
        raise RefusedError("size", f"message of {len(data)} bytes, 2 to {MAX_FACTS_BYTES} allowed")
    if data[0] != FRAMES_VERSION:
        raise RefusedError(
            "version", f"version {data[0]} of the frame messages, {FRAMES_VERSION} is spoken here"
        )
    try:
        return _decoder.decode(memoryview(data)[1:])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise RefusedError("malformed", f"not a message: {error}") from error


def expect_parts(parts: Sequence[bytes | memoryview], needed: int) -> None:
    """Refuse a message of another number of parts.

    Raises
    ------
    RefusedError
        Reason ``parts``.
    """
    if len(parts) != needed:
        raise RefusedError("parts", f"{len(parts)} parts, {needed} expected")


def expect(message: Spoken, kind: type[K]) -> K:
    """Return ``message`` if it is of ``kind``.

    Raises
    ------
    RefusedError
        Reason ``unexpected``.
    """
    if not isinstance(message, kind):
        raise RefusedError("unexpected", f"{type(message).__name__} where {kind.__name__} belongs")
    return message


def pixels_in(part: bytes | memoryview, shape: tuple[int, int], dtype: str) -> Frame:
    """Return a read-only (Y, X) view of the pixels in a message part; nothing is copied.

    Raises
    ------
    RefusedError
        Reason ``shape``, ``dtype`` or ``length`` when they do not agree with the part.
    """
    if not all(1 <= edge <= MAX_EDGE_PX for edge in shape):
        raise RefusedError("shape", f"frame of {shape} pixels (Y, X), 1 to {MAX_EDGE_PX} allowed")
    if dtype not in SUPPORTED_DTYPES:
        raise RefusedError("dtype", f"pixels of type {dtype!r}, allowed: {SUPPORTED_DTYPES}")
    view = memoryview(part)
    needed = frame_nbytes(shape, dtype)
    if view.nbytes != needed:
        raise RefusedError("length", f"{view.nbytes} bytes of pixels, {shape} {dtype} has {needed}")
    pixels: Frame = np.frombuffer(view, np.dtype(dtype)).reshape(shape)
    pixels.flags.writeable = False
    return pixels


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """The largest frame a receiver takes, and its only pixel type."""

    height: int
    width: int
    dtype: str

    def refusal(self, facts: SentFrame) -> RefusedError | None:
        """Return why a frame of these facts is not taken, before its pixels are looked at."""
        if facts.dtype != self.dtype:
            found, taken = dtype_in_words(facts.dtype), dtype_in_words(self.dtype)
            return RefusedError("dtype", f"{found} pixels, {taken} ones are taken")
        if facts.height > self.height or facts.width > self.width:
            return RefusedError(
                "too_large",
                f"frame of {facts.width}x{facts.height}, at most {self.width}x{self.height} is "
                "taken",
            )
        return None


def frame_in(parts: Sequence[bytes | memoryview], limits: Limits) -> tuple[SentFrame, Frame]:
    """Return the facts and the read-only (Y, X) pixels of a sent frame.

    Raises
    ------
    RefusedError
        Reason ``parts``, those of ``decode``, ``dtype``, ``too_large``, ``length``.
    """
    if not parts:
        expect_parts(parts, 2)
    facts = expect(decode(parts[0]), SentFrame)
    refusal = limits.refusal(facts)
    if refusal is not None:
        raise refusal
    expect_parts(parts, 2)
    return facts, pixels_in(parts[1], (facts.height, facts.width), facts.dtype)


def topic(stream: str, camera: str) -> bytes:
    """Return the topic of a stream; an empty ``camera`` gives the beginning all cameras share."""
    start = f"{stream}\0"
    return (f"{start}{camera}\0" if camera else start).encode()


def decode_snapshot(data: bytes | memoryview) -> StatusSnapshot:
    """Return a published snapshot.

    Raises
    ------
    RefusedError
        Reason ``size`` or ``malformed``.
    """
    if len(data) > MAX_SNAPSHOT_BYTES:
        raise RefusedError("size", f"snapshot of {len(data)} bytes, at most {MAX_SNAPSHOT_BYTES}")
    try:
        return _snapshots.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise RefusedError("malformed", f"not a snapshot: {error}") from error
