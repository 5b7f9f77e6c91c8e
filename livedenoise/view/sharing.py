"""Frames for subscribers: the newest of each stream, at most so many a second.

Each stream has a LATEST reader of its own beside the one that takes samples, so that neither gets
in the other's way. A frame is copied, checked for having been overwritten meanwhile, and only then
published: nobody is sent a torn picture.

Knows: readers and the publisher. Must not know: figures, who subscribes.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from livedenoise.bus.context import Context
from livedenoise.bus.publish import FramePublisher
from livedenoise.bus.reader import FrameReader, Received


class Sharer:
    """Publishes frames of the streams it is given.

    Parameters
    ----------
    endpoint : str
        Where subscribers connect; ``self.endpoint`` resolves a wildcard.
    max_hz : float
        Frames a second of each stream.
    keys : Path or None
        Folder of the server's CURVE keys.

    Attributes
    ----------
    counts : Counter
        ``shared_torn``: frames overwritten while they were copied, not published.
    """

    def __init__(
        self, context: Context, endpoint: str, *, max_hz: float, keys: Path | None
    ) -> None:
        self._publisher = FramePublisher(context, endpoint, keys=keys)
        self._interval_ns = int(1e9 / max_hz)
        self._due_ns: dict[str, int] = {}
        self.counts: Counter[str] = Counter(shared_torn=0)

    @property
    def endpoint(self) -> str:
        """Return where subscribers connect."""
        return self._publisher.endpoint

    @property
    def sent(self) -> int:
        """Return how many frames were sent to somebody."""
        return self._publisher.sent

    @property
    def refused(self) -> int:
        """Return how many connections were refused."""
        return self._publisher.refused

    def share(self, stream: str, reader: FrameReader, now_ns: int) -> None:
        """Publish the newest frame of a stream if one is due and one waits; never waits itself."""
        due_ns = self._due_ns.get(stream, now_ns)
        if now_ns < due_ns:
            return
        frame = reader.read(0.0)
        if not isinstance(frame, Received):
            return
        header = frame.header
        if not self._publisher.wanted(header.stream, header.camera):
            self._due_ns[stream] = now_ns + self._interval_ns
            reader.release(frame)
            return
        pixels = frame.pixels.copy()
        # From the deadline, not from now, so that the rate is kept; a pause is not caught up with.
        self._due_ns[stream] = max(due_ns, now_ns - self._interval_ns) + self._interval_ns
        if reader.release(frame):
            self._publisher.publish(header, pixels)
        else:
            self.counts["shared_torn"] += 1

    def close(self) -> None:
        """Close the publisher. Idempotent."""
        self._publisher.close()
