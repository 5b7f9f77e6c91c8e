"""What must be remembered from one snapshot of a run to the next: bounded, however long it lasts.

Rates, a second-by-second history, and the snapshot of ten seconds ago. Must not know: stages, what
the figures mean.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import msgspec

from livedenoise.core.clock import Clock, MonotonicClock
from livedenoise.core.status import StatusSnapshot
from livedenoise.daemon.alerts import RECENT_S
from livedenoise.daemon.disk import DiskGauge
from livedenoise.daemon.history import History
from livedenoise.daemon.recent import Rates, RecentLatency

SECOND_NS = 1_000_000_000


class StreamMemory:
    """What is remembered of one camera."""

    def __init__(self) -> None:
        self.rates = Rates()
        self.latency = RecentLatency(RECENT_S)
        self.history = History()


class SnapshotMemory:
    """What the next snapshot needs of those before; one for each run.

    Parameters
    ----------
    clock : Clock or None
        None is the machine's.
    disk_free : callable or None
        Free bytes at a path (raises OSError); None asks the file system, at most once a second.
    """

    def __init__(
        self, clock: Clock | None = None, disk_free: Callable[[str], int] | None = None
    ) -> None:
        self.clock = clock or MonotonicClock()
        self.disk = DiskGauge(disk_free)
        self._streams: dict[str, StreamMemory] = {}
        self._past: deque[tuple[int, StatusSnapshot]] = deque(maxlen=RECENT_S + 1)

    def stream(self, camera: str) -> StreamMemory:
        """Return the memory of one camera."""
        return self._streams.setdefault(camera, StreamMemory())

    def before(self, now_ns: int) -> StatusSnapshot | None:
        """Return the snapshot of about ``RECENT_S`` ago, None in a run's first seconds."""
        limit_ns = now_ns - RECENT_S * SECOND_NS
        old = [snapshot for taken_ns, snapshot in self._past if taken_ns <= limit_ns]
        return old[-1] if old else None

    def remember(self, now_ns: int, snapshot: StatusSnapshot) -> None:
        """Keep one snapshot a second, without its pictures."""
        if self._past and now_ns - self._past[-1][0] < SECOND_NS:
            return
        streams = tuple(msgspec.structs.replace(s, preview=None) for s in snapshot.streams)
        self._past.append((now_ns, msgspec.structs.replace(snapshot, streams=streams)))
