"""Messages <-> bytes: typed, versioned msgpack; nothing is ever unpickled.

Every message is one ZeroMQ part: a version byte, then a tagged msgpack array. Fields are
append-only. What cannot be decoded raises WireError, which receivers count and survive.
"""

from __future__ import annotations

from typing import Any, TypeAlias, TypeVar

import msgspec

from livedenoise.core.errors import WireError
from livedenoise.core.frame import HEADER_VERSION, FrameHeader

PROTOCOL_VERSION = 1
MAX_MESSAGE_BYTES = 1 << 20
"""Refused above this: facts are small, pixels do not travel in these messages."""

_VERSION = bytes([PROTOCOL_VERSION])


class Message(msgspec.Struct, frozen=True, array_like=True, kw_only=True, tag=True):
    """Base of every message; the class name is its tag."""


class Attach(Message, frozen=True, kw_only=True):
    """A reader asks for a stream. ``lossless`` readers are owed every frame."""

    reader: str
    lossless: bool
    protocol: int = PROTOCOL_VERSION
    header_version: int = HEADER_VERSION


class Attached(Message, frozen=True, kw_only=True):
    """The writer's answer: ``row`` is the reader's own row of leases, -1 for LOSSLESS readers.

    ``refused`` is empty, or the reason why the reader was not attached.
    """

    row: int = -1
    refused: str = ""


class Published(Message, frozen=True, kw_only=True):
    """A frame is readable in its slot."""

    header: FrameHeader


class Gap(Message, frozen=True, kw_only=True):
    """Frames ``first`` to ``last`` will never come; ``reason`` says where they were lost."""

    first: int
    last: int
    reason: str


class Release(Message, frozen=True, kw_only=True):
    """A LOSSLESS reader is done with a slot."""

    slot: int
    generation: int


class Detach(Message, frozen=True, kw_only=True):
    """A reader leaves."""


class End(Message, frozen=True, kw_only=True):
    """The stream is over after ``published`` frames."""

    published: int


class StageInfo(Message, frozen=True, kw_only=True):
    """A stage process tells the daemon what it found (opened camera, loaded engine)."""

    facts: dict[str, Any]


class Configure(Message, frozen=True, kw_only=True):
    """The daemon tells a stage everything it needs to get ready."""

    settings: dict[str, Any]


class Ready(Message, frozen=True, kw_only=True):
    """The stage can start: versions and what it will serve."""

    facts: dict[str, Any]
    protocol: int = PROTOCOL_VERSION
    header_version: int = HEADER_VERSION


class Start(Message, frozen=True, kw_only=True):
    """Begin."""


class Beat(Message, frozen=True, kw_only=True):
    """Heartbeat: when the stage's loop last moved, until when it said to be busy, its metrics."""

    t_step_ns: int
    busy_until_ns: int
    metrics: dict[str, Any]


class Stop(Message, frozen=True, kw_only=True):
    """End the work: ``drain`` finishes what is queued, else leave at once."""

    drain: bool


class ReaderGone(Message, frozen=True, kw_only=True):
    """The daemon tells a writer that a reader's process died."""

    reader: str


class Reattach(Message, frozen=True, kw_only=True):
    """The writer of a stream was replaced: read the rest of the old ring, then the new one.

    ``stream`` is "raw" or "clean"; ``ring`` is a RingSpec as plain data; ``reason`` names the gap
    between the last frame of the old ring and the first of the new one.
    """

    stream: str
    ring: dict[str, Any]
    endpoint: str
    reason: str


class Learnt(Message, frozen=True, kw_only=True):
    """Facts found while running that another stage needs (camera constants as plain data)."""

    facts: dict[str, Any]


class Ask(Message, frozen=True, kw_only=True):
    """Somebody outside asks the daemon: ``verb`` is "status" or "stop"; ``token`` lets them in."""

    token: str
    verb: str
    arguments: dict[str, Any] = {}


class Answer(Message, frozen=True, kw_only=True):
    """The daemon's answer: ``error`` is empty, or why it did not do it."""

    error: str = ""
    data: dict[str, Any] = {}


class Finished(Message, frozen=True, kw_only=True):
    """The stage has done everything; its last metrics and facts. It exits after this."""

    metrics: dict[str, Any]
    facts: dict[str, Any]


class Failed(Message, frozen=True, kw_only=True):
    """The stage cannot go on; what it had done until then."""

    message: str
    hint: str
    exit_code: int
    metrics: dict[str, Any] = {}
    facts: dict[str, Any] = {}


AnyMessage: TypeAlias = (
    Attach
    | Attached
    | Published
    | Gap
    | Release
    | Detach
    | End
    | StageInfo
    | Configure
    | Ready
    | Start
    | Beat
    | Stop
    | ReaderGone
    | Reattach
    | Learnt
    | Ask
    | Answer
    | Finished
    | Failed
)
M = TypeVar("M", bound=Message)

_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[AnyMessage] = msgspec.msgpack.Decoder(AnyMessage)


def encode(message: Message) -> bytes:
    """Return the bytes of a message.

    Raises
    ------
    WireError
        If it is too large: the receiver would drop the connection without a word.
    """
    data = _VERSION + _encoder.encode(message)
    if len(data) > MAX_MESSAGE_BYTES:
        kind = type(message).__name__
        raise WireError(f"{kind} of {len(data)} bytes, at most {MAX_MESSAGE_BYTES} allowed")
    return data


def decode(data: bytes) -> AnyMessage:
    """Return the message in ``data``.

    Raises
    ------
    WireError
        If it is empty, too large, of another protocol version, or not a known message.
    """
    if not data or len(data) > MAX_MESSAGE_BYTES:
        raise WireError(f"message of {len(data)} bytes, 1 to {MAX_MESSAGE_BYTES} allowed")
    if data[0] != PROTOCOL_VERSION:
        raise WireError(f"protocol version {data[0]}, this program speaks {PROTOCOL_VERSION}")
    try:
        message: AnyMessage = _decoder.decode(memoryview(data)[1:])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise WireError(f"not a message: {error}") from error
    return message


def decode_last(parts: list[bytes], expected_parts: int) -> AnyMessage:
    """Return the message in the last part of a multipart message.

    Raises
    ------
    WireError
        If the number of parts is another, or the part is not a message.
    """
    if len(parts) != expected_parts:
        raise WireError(f"{len(parts)} parts, {expected_parts} expected")
    return decode(parts[-1])


def expect(message: AnyMessage, kind: type[M]) -> M:
    """Return ``message`` if it is of ``kind``.

    Raises
    ------
    WireError
        If it is another message.
    """
    if not isinstance(message, kind):
        raise WireError(f"{kind.__name__} expected, got {type(message).__name__}")
    return message
