"""When each frame of a paced camera is complete, and which frames its buffer still holds.

Knows: arithmetic on frame numbers and nanoseconds. Deadlines are computed from the start and
never accumulated, so the mean rate is exact and does not drift.
Must not know: pixels, rings, threads. Only ``wait_until`` touches a clock.

Example
-------
>>> schedule = Schedule(start_ns=0, period_ns=10)
>>> schedule.arrival_ns(0), schedule.arrival_ns(99), schedule.newest(35)
(10, 1000, 2)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from livedenoise.core.clock import Clock

_WAIT_SLICE_NS = 50_000_000
"""A wait looks for a stop this often; long enough to cost nothing, short beside 2 s."""


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """Times of the frames of one run.

    Attributes
    ----------
    start_ns : int
        When the first exposure began.
    period_ns : int
        Time between frames, >= 1.
    stall_at, stall_ns : int
        From frame ``stall_at`` on every frame is ``stall_ns`` later; -1 for never.
    burst_at, burst_frames : int
        Frames ``burst_at`` to ``burst_at + burst_frames - 1`` arrive together, with the last of
        them; -1 for never.
    """

    start_ns: int
    period_ns: int
    stall_at: int = -1
    stall_ns: int = 0
    burst_at: int = -1
    burst_frames: int = 0

    def complete_ns(self, number: int) -> int:
        """Return when the exposure of frame ``number`` (from 0) ends."""
        stalled = self.stall_at >= 0 and number >= self.stall_at
        return self.start_ns + (number + 1) * self.period_ns + stalled * self.stall_ns

    def arrival_ns(self, number: int) -> int:
        """Return when frame ``number`` is complete on the host."""
        if self._in_burst(number):
            number = self.burst_at + self.burst_frames - 1
        return self.complete_ns(number)

    def newest(self, now_ns: int) -> int:
        """Return the number of the newest frame that has arrived; -1 for none."""
        elapsed_ns = now_ns - self.start_ns
        number = elapsed_ns // self.period_ns - 1
        if self.stall_at >= 0 and number >= self.stall_at:
            number = (elapsed_ns - self.stall_ns) // self.period_ns - 1
            number = max(number, self.stall_at - 1)
        if self._in_burst(number) and self.arrival_ns(number) > now_ns:
            number = self.burst_at - 1
        return max(number, -1)

    def oldest_held(self, now_ns: int, buffer_frames: int) -> int:
        """Return the oldest frame a buffer of ``buffer_frames`` still holds (never below 0).

        The buffer is a ring: every frame that arrives in a full one takes the place of the
        oldest, which is lost at the camera.
        """
        return max(0, self.newest(now_ns) - buffer_frames + 1)

    def overwritten_ns(self, number: int, buffer_frames: int) -> int:
        """Return when frame ``number`` is overwritten in a buffer of ``buffer_frames``."""
        return self.arrival_ns(number + buffer_frames)

    def _in_burst(self, number: int) -> bool:
        return self.burst_at >= 0 and self.burst_at <= number < self.burst_at + self.burst_frames


def do_nothing() -> None:
    """Stand in for a camera's ``on_idle``."""


def wait_until(
    clock: Clock,
    deadline_ns: int,
    stopped: Callable[[], bool],
    on_idle: Callable[[], None] = do_nothing,
) -> bool:
    """Sleep to ``deadline_ns`` in slices, so that a stop is noticed within 50 ms.

    ``on_idle`` is called after each slice that was not the last one.

    Returns
    -------
    bool
        False when ``stopped()`` became true first.
    """
    while not stopped():
        now_ns = clock.now_ns()
        if now_ns >= deadline_ns:
            return True
        clock.sleep_until_ns(min(deadline_ns, now_ns + _WAIT_SLICE_NS))
        if deadline_ns > now_ns + _WAIT_SLICE_NS:
            on_idle()
    return False
