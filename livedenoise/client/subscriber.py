"""Receive denoised or raw frames, and metrics, from a daemon that shares them.

The newest frame matters: frames come in order while at most ``max_backlog`` wait; then the oldest
are left out and counted. What a publisher sends is checked before it is believed.

Knows: topics, facts, pixels. Must not know: who publishes them. A subscriber belongs to one thread;
only ``stop`` may be called from another one.

Example
-------
>>> with FrameSubscriber("tcp://127.0.0.1:5581") as frames:      # doctest: +SKIP
...     for header, pixels in frames:
...         print(header.seq, pixels.mean())
"""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Iterator
from pathlib import Path

from livedenoise.bus import frames_wire
from livedenoise.bus.frames_wire import RefusedError
from livedenoise.bus.subscription import Subscription
from livedenoise.core.clock import now_ns
from livedenoise.core.closing import Closing
from livedenoise.core.errors import BusError
from livedenoise.core.frame import Frame, FrameHeader
from livedenoise.core.status import StatusSnapshot

_SLICE_MS = 100


class _Subscriber(Closing):
    """What both subscribers share: a subscription, an end, counters."""

    def __init__(
        self,
        endpoint: str,
        topic: bytes,
        *,
        keys: Path | str | None,
        hwm: int,
        max_bytes: int,
    ) -> None:
        folder = None if keys is None else Path(keys)
        self._subscription = Subscription(
            endpoint, topic, keys=folder, hwm=hwm, max_bytes=max_bytes
        )
        self._stopped = threading.Event()
        self.received = 0
        self.skipped = 0
        self.refused: Counter[str] = Counter()

    @property
    def problem(self) -> str:
        """Return why there is no connection as far as the other end said, else empty."""
        return self._subscription.problem

    def stop(self) -> None:
        """End the iteration, from any thread, within 0.1 s."""
        self._stopped.set()

    def close(self) -> None:
        """Close the connection. Idempotent."""
        self._stopped.set()
        self._subscription.close()

    def _parts(self, timeout_ms: int) -> list[memoryview] | None:
        return self._subscription.receive(timeout_ms)


class FrameSubscriber(_Subscriber):
    """Frames of one published stream, as ``(FrameHeader, ndarray)``.

    Parameters
    ----------
    endpoint : str
        ``tcp://ADDRESS:PORT`` of the published frames.
    keys : Path or str, optional
        This client's folder of CURVE keys.
    stream : str
        ``"clean"`` or ``"raw"``.
    camera : str
        Name of the camera; empty for all at this endpoint.
    max_backlog : int
        Frames that may wait here; when more do, all but the newest are left out.
    max_frame_bytes : int
        Longest message that is taken.

    Attributes
    ----------
    received : int
        Frames handed out.
    skipped : int
        Frames left out here because newer ones waited.
    lost : int
        Frames that were published and never arrived: the connection was too slow, or broke.
    not_shared : int
        Frames missing from ``seq`` between those that were published: left out by the daemon, to
        keep its ``max_hz``, or lost before.
    refused : Counter
        Messages that were not frames, by reason.

    Raises
    ------
    BusError
        If the endpoint is not one.
    ConfigError
        If the keys cannot be used.
    """

    def __init__(
        self,
        endpoint: str,
        *,
        keys: Path | str | None = None,
        stream: str = "clean",
        camera: str = "",
        max_backlog: int = 3,
        max_frame_bytes: int = 1 << 30,
    ) -> None:
        if max_backlog < 1:
            raise BusError(f"max_backlog is {max_backlog}, the least is 1", "leave the default")
        super().__init__(
            endpoint,
            frames_wire.topic(stream, camera),
            keys=keys,
            hwm=max_backlog + 1,
            max_bytes=max_frame_bytes,
        )
        self._max_backlog = max_backlog
        self._waiting: deque[tuple[FrameHeader, Frame]] = deque()
        self._last: dict[bytes, tuple[int, int]] = {}
        self.lost = 0
        self.not_shared = 0

    def receive(self, timeout_s: float) -> tuple[FrameHeader, Frame] | None:
        """Return the next frame, or None after ``timeout_s``.

        The array is (Y, X), read-only, and owns its memory: keep it as long as you like.

        Raises
        ------
        BusError
            If the subscriber is closed.
        """
        deadline_ns = now_ns() + int(timeout_s * 1e9)
        while True:
            self._drain()
            if self._waiting:
                self.received += 1
                return self._waiting.popleft()
            left_ms = (deadline_ns - now_ns()) // 1_000_000
            if left_ms <= 0 or self._stopped.is_set():
                return None
            self._note(self._parts(min(left_ms, _SLICE_MS)))

    def __iter__(self) -> Iterator[tuple[FrameHeader, Frame]]:
        """Yield frames until ``stop``; a publisher that comes back is heard again."""
        while not self._stopped.is_set():
            found = self.receive(_SLICE_MS * 1e-3)
            if found is not None:
                yield found

    def _drain(self) -> None:
        """Take what has come; when too much waits, keep the newest frame only."""
        for _ in range(2 * self._max_backlog + 2):
            parts = self._parts(0)
            if parts is None:
                break
            self._note(parts)
        if len(self._waiting) > self._max_backlog:
            self.skipped += len(self._waiting) - 1
            self._waiting = deque([self._waiting[-1]])

    def _note(self, parts: list[memoryview] | None) -> None:
        if parts is None:
            return
        try:
            topic, shared, pixels = _frame_in(parts)
        except RefusedError as error:
            self.refused[error.reason] += 1
            return
        self._count_missing(topic, shared)
        self._waiting.append((shared.header, pixels))

    def _count_missing(self, topic: bytes, shared: frames_wire.SharedFrame) -> None:
        number, seq = shared.number, shared.header.seq
        # Of the topics the publisher can name, only as many as it can have cameras are followed.
        if topic in self._last and self._last[topic][0] < number:
            lost = number - self._last[topic][0] - 1
            missing = max(0, seq - self._last[topic][1] - 1)
            self.lost += lost
            self.not_shared += max(0, missing - lost)
        if topic in self._last or len(self._last) < _MAX_TOPICS:
            self._last[topic] = number, seq


_MAX_TOPICS = 64


def _frame_in(parts: list[memoryview]) -> tuple[bytes, frames_wire.SharedFrame, Frame]:
    """Return topic, facts and pixels of a published frame.

    Raises
    ------
    RefusedError
        If it is not one, or its topic, facts and pixels disagree.
    """
    frames_wire.expect_parts(parts, 3)
    shared = frames_wire.expect(frames_wire.decode(parts[1]), frames_wire.SharedFrame)
    header, topic = shared.header, bytes(parts[0])
    if topic != frames_wire.topic(header.stream, header.camera):
        raise RefusedError("topic", f"topic {topic!r} over a frame of {header.camera!r}")
    if not 0 <= header.seq < 1 << 62:
        raise RefusedError("number", f"frame number {header.seq}")
    return topic, shared, frames_wire.pixels_in(parts[2], header.shape, header.dtype)


class MetricsSubscriber(_Subscriber):
    """Snapshots of a daemon (``core.status.StatusSnapshot``); parameters as ``FrameSubscriber``."""

    def __init__(self, endpoint: str, *, keys: Path | str | None = None) -> None:
        super().__init__(
            endpoint,
            frames_wire.METRICS_TOPIC,
            keys=keys,
            hwm=4,
            max_bytes=frames_wire.MAX_SNAPSHOT_BYTES,
        )

    def receive(self, timeout_s: float) -> StatusSnapshot | None:
        """Return the newest snapshot, or None after ``timeout_s``.

        Raises
        ------
        BusError
            If the subscriber is closed.
        """
        deadline_ns = now_ns() + int(timeout_s * 1e9)
        while True:
            left_ms = (deadline_ns - now_ns()) // 1_000_000
            snapshot = self._newest(max(0, min(left_ms, _SLICE_MS)))
            if snapshot is not None:
                self.received += 1
                return snapshot
            if left_ms <= 0 or self._stopped.is_set():
                return None

    def __iter__(self) -> Iterator[StatusSnapshot]:
        """Yield snapshots until ``stop``; a daemon that comes back is heard again."""
        while not self._stopped.is_set():
            found = self.receive(_SLICE_MS * 1e-3)
            if found is not None:
                yield found

    def _newest(self, timeout_ms: int) -> StatusSnapshot | None:
        newest: StatusSnapshot | None = None
        for round_ in range(8):
            parts = self._parts(timeout_ms if round_ == 0 else 0)
            if parts is None:
                break
            try:
                frames_wire.expect_parts(parts, 2)
                snapshot = frames_wire.decode_snapshot(parts[1])
            except RefusedError as error:
                self.refused[error.reason] += 1
                continue
            self.skipped += newest is not None
            newest = snapshot
        return newest
