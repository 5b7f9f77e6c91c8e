"""Frames and metrics for anybody who listens: PUB sockets that never wait for their readers.

Each frame is three parts: topic (stream and camera), facts, pixels. What a slow subscriber does
not take in time is lost to that subscriber alone, and shows there as a gap in the numbers. While
nobody subscribes, nothing is copied. Beyond loopback only with CURVE keys.

Knows: frames and snapshots. Must not know: where they come from. One thread owns a publisher.
"""

from __future__ import annotations

from pathlib import Path

import msgspec
import zmq

from livedenoise.bus import frames_wire
from livedenoise.bus.context import Context
from livedenoise.bus.curve import Gate
from livedenoise.core.frame import Frame, FrameHeader
from livedenoise.core.status import StatusSnapshot, StreamStatus

_MAX_TOPICS = 256
_MAX_TOPIC_BYTES = 64
"""Longer than any of ours: ZeroMQ remembers each topic somebody asks for, however long."""

_MAX_KEYED_BYTES = 1024
_MAX_NEWS = 1000
"""Subscriptions looked at in one go: a flood of them must not hold the publisher up."""

_LINGER_MS = 100


class _Audience:
    """Which topics somebody listens to, as an XPUB socket tells it."""

    def __init__(self, socket: zmq.Socket[bytes]) -> None:
        self._socket = socket
        self._topics: set[bytes] = set()
        self._overflowed = False

    def listens(self, topic: bytes) -> bool:
        """Return whether anybody subscribes to ``topic``."""
        for _ in range(_MAX_NEWS):
            if not self._socket.poll(0):
                break
            self._note(self._socket.recv())
        return self._overflowed or any(topic.startswith(known) for known in self._topics)

    def _note(self, news: bytes) -> None:
        if news[:1] == b"\x00":
            self._topics.discard(news[1:])
        elif news[:1] == b"\x01":
            # Too many to remember: then everything is sent, and ZeroMQ finds who wants it.
            self._overflowed = self._overflowed or len(self._topics) >= _MAX_TOPICS
            if not self._overflowed:
                self._topics.add(news[1:])


class _Publisher:
    """What both publishers share."""

    def __init__(
        self, context: Context, endpoint: str, *, keys: Path | None, hwm: int, key: str
    ) -> None:
        # With keys the handshake itself needs more, and whoever passes it is known.
        longest = 1 + _MAX_TOPIC_BYTES if keys is None else _MAX_KEYED_BYTES
        options: dict[int, int] = {
            zmq.SNDHWM: hwm,
            zmq.RCVHWM: _MAX_NEWS,
            zmq.MAXMSGSIZE: longest,
        }
        self._gate = Gate(
            context, zmq.XPUB, endpoint, keys=keys, options=options, key=key, keys_key="share.keys"
        )
        self._audience = _Audience(self._gate.socket)
        self.endpoint = self._gate.endpoint
        self.sent = 0

    @property
    def refused(self) -> int:
        """Return how many connections were refused: wrong or missing key, not ZeroMQ."""
        return self._gate.refused

    def close(self) -> None:
        """Close the socket. Idempotent."""
        self._gate.close(_LINGER_MS)

    def _send(self, topic: bytes, parts: list[bytes | memoryview]) -> None:
        # An XPUB socket never waits: who is ``hwm`` messages behind does not get this one.
        self._gate.socket.send_multipart([topic, *parts])
        self.sent += 1


class FramePublisher(_Publisher):
    """Publishes frames.

    Parameters
    ----------
    context : zmq.Context
        Context of this process (with keys the publisher has its own).
    endpoint : str
        Where subscribers connect, ``tcp://ADDRESS:PORT``; ``self.endpoint`` resolves a wildcard.
    keys : Path, optional
        Server's folder of CURVE keys; needed beyond loopback.
    hwm : int
        Frames that may wait for one subscriber; more are lost to it.
    key : str
        Name of the setting ``endpoint`` comes from, for messages.

    Attributes
    ----------
    sent : int
        Frames given to at least one subscriber's queue, or dropped there.
    refused : int
        Connections refused.

    Raises
    ------
    ConfigError
        If the endpoint can be reached from other machines and there are no keys.
    BusError
        If it cannot be bound.
    """

    def __init__(
        self,
        context: Context,
        endpoint: str,
        *,
        keys: Path | None = None,
        hwm: int = 4,
        key: str = "share.host",
    ) -> None:
        super().__init__(context, endpoint, keys=keys, hwm=hwm, key=key)
        self._numbers: dict[bytes, int] = {}

    def wanted(self, stream: str, camera: str) -> bool:
        """Return whether anybody subscribes to a stream: ask before copying a frame for nobody."""
        return self._audience.listens(frames_wire.topic(stream, camera))

    def publish(self, header: FrameHeader, pixels: Frame) -> None:
        """Send a frame to whoever subscribes; never waits, and copies nothing for nobody.

        Parameters
        ----------
        header : FrameHeader
            Facts; ``stream`` and ``camera`` make the topic.
        pixels : ndarray
            (Y, X) counts as ``header`` says; may be overwritten after the call.

        Raises
        ------
        ValueError
            If header and pixels disagree.
        """
        if (pixels.shape, pixels.dtype.str) != (header.shape, header.dtype):
            raise ValueError(
                f"pixels are {pixels.shape} {pixels.dtype.str}, the header says {header.shape} "
                f"{header.dtype}"
            )
        topic = frames_wire.topic(header.stream, header.camera)
        if not self._audience.listens(topic):
            return
        number = self._numbers.get(topic, 0)
        self._numbers[topic] = number + 1
        facts = frames_wire.encode(frames_wire.SharedFrame(number=number, header=header))
        contiguous = pixels if pixels.flags.c_contiguous else pixels.copy()
        self._send(topic, [facts, contiguous.data])


class MetricsPublisher(_Publisher):
    """Publishes snapshots of the daemon as JSON; parameters as ``FramePublisher``.

    Parameters
    ----------
    previews : bool
        Send the small pictures too; without them a snapshot has a few kilobytes.
    """

    def __init__(
        self,
        context: Context,
        endpoint: str,
        *,
        keys: Path | None = None,
        hwm: int = 4,
        previews: bool = False,
        key: str = "share.host",
    ) -> None:
        super().__init__(context, endpoint, keys=keys, hwm=hwm, key=key)
        self._previews = previews
        self._encoder = msgspec.json.Encoder()

    def publish(self, snapshot: StatusSnapshot) -> None:
        """Send a snapshot to whoever subscribes; never waits."""
        if not self._audience.listens(frames_wire.METRICS_TOPIC):
            return
        if not self._previews:
            streams = tuple(map(_without_preview, snapshot.streams))
            snapshot = msgspec.structs.replace(snapshot, streams=streams)
        self._send(frames_wire.METRICS_TOPIC, [self._encoder.encode(snapshot)])


def _without_preview(stream: StreamStatus) -> StreamStatus:
    if stream.preview is None:
        return stream
    return msgspec.structs.replace(stream, preview=None)
