"""The one clock: monotonic nanoseconds, comparable between the processes of one machine.

``time.perf_counter_ns`` reads CLOCK_MONOTONIC on Linux and macOS and QueryPerformanceCounter on
Windows; both count from boot, so a time stamped in one process can be subtracted in another.
Wall-clock time is only for people (file names, summaries): it jumps.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """A source of monotonic time that tests can replace."""

    def now_ns(self) -> int:
        """Return monotonic time in nanoseconds."""

    def sleep_until_ns(self, deadline_ns: int) -> None:
        """Return at or just after ``deadline_ns`` (at once when it has passed)."""


class MonotonicClock:
    """The real clock."""

    def now_ns(self) -> int:
        """Return ``time.perf_counter_ns()``."""
        return time.perf_counter_ns()

    def sleep_until_ns(self, deadline_ns: int) -> None:
        """Sleep to a computed deadline, so that sleeps never accumulate."""
        left_ns = deadline_ns - time.perf_counter_ns()
        if left_ns > 0:
            time.sleep(left_ns * 1e-9)


class ManualClock:
    """A clock that only moves when told: for tests of deadlines and policies."""

    def __init__(self, start_ns: int = 0) -> None:
        self._now_ns = start_ns

    def now_ns(self) -> int:
        """Return the time set so far."""
        return self._now_ns

    def advance_ns(self, step_ns: int) -> None:
        """Move forward by ``step_ns``."""
        self._now_ns += step_ns

    def sleep_until_ns(self, deadline_ns: int) -> None:
        """Jump to ``deadline_ns`` when it lies ahead."""
        self._now_ns = max(self._now_ns, deadline_ns)


def now_ns() -> int:
    """Return monotonic time in nanoseconds."""
    return time.perf_counter_ns()


def wall_time_text() -> str:
    """Return the local wall-clock time as ISO 8601 with its UTC offset, to the second."""
    return datetime.now(UTC).astimezone().isoformat(timespec="seconds")
