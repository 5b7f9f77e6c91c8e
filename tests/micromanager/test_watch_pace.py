"""How far a tap looks back: as far as it keeps up, whatever this host's own speed.

The clock, the camera and what a look costs are a model's: nothing here waits, or is late.
"""

from __future__ import annotations

from collections import deque
from typing import cast

from view_model import MS, ModelCore, ViewModel

from livedenoise.acquire.micromanager_watch import MOST_AT_ONCE, Watch
from livedenoise.core.camera import Captured, Prepared
from livedenoise.micromanager.core import Taken
from livedenoise.micromanager.java_core import JavaCore
from livedenoise.micromanager.setup import Format

PERIOD_MS = 10
POLL_MS = 5
FORM = Format(
    shape=(2, 3), dtype="<u2", bit_depth=16, roi=(0, 0, 3, 2), binning=1, exposure_us=10_000
)
PREPARED = Prepared(
    shape=(2, 3),
    max_shape=(2, 3),
    dtype="<u2",
    bit_depth=16,
    period_ns=0,
    exposure_us=10_000,
    roi=(0, 0, 3, 2),
    binning=1,
    buffer_frames=MOST_AT_ONCE,
    n_frames=None,
)


class PacedCore(ModelCore):
    """A core over a bridge where each look takes its time, in which the camera goes on."""

    def __init__(self, view: ViewModel) -> None:
        super().__init__(view)
        self.peek_until_ns: int | None = None
        self.unshaped = 0
        self.look_ms: float = 1.0
        self.next_looks_ms: deque[float] = deque()
        self._due_ns = view.now_ns + view.period_ns

    def pass_ms(self, ms: float) -> None:
        """Let time pass, and frames come when they are due."""
        view = self.view
        until_ns = view.now_ns + round(ms * MS)
        while self._due_ns <= until_ns:
            view.now_ns = self._due_ns - view.period_ns
            view.expose()
            self._due_ns += view.period_ns
        view.now_ns = until_ns

    def peek(self, before_newest: int) -> Taken | None:
        """Look, as ``JavaCore`` does: the frame is chosen when the look begins."""
        until_ns = self.peek_until_ns
        if before_newest and until_ns is not None and self.view.now_ns > until_ns:
            return None
        taken = super().peek(before_newest)
        self.pass_ms(self.next_looks_ms.popleft() if self.next_looks_ms else self.look_ms)
        return taken


class Watched:
    """A watch of a live view that the test lets run."""

    def __init__(self) -> None:
        self.view = ViewModel(1000, restarts=False, period_ms=PERIOD_MS)
        self.view.start()
        self.core = PacedCore(self.view)
        self.watch = Watch(cast("JavaCore", self.core), PREPARED, 0, clock=lambda: self.view.now_ns)

    def poll(self) -> list[Captured]:
        """Poll until something is found, as a tap does, and take it."""
        while not (found := self.watch.poll()):
            self.core.pass_ms(POLL_MS)
        return [self.watch.captured(seen, FORM, 0, discarded="") for seen in found]

    def take(self, polls: int) -> list[Captured]:
        """Poll so many times."""
        return [frame for _ in range(polls) for frame in self.poll()]

    def looks(self) -> int:
        return len(self.core.looks)

    def lost(self) -> int:
        return self.watch.counters()["lost"]


def numbers(frames: list[Captured]) -> list[int]:
    return [frame.camera_seq for frame in frames]


def in_a_row(frames: list[Captured]) -> bool:
    first = frames[0].camera_seq
    return numbers(frames) == list(range(first, first + len(frames)))


def test_after_a_pause_frames_are_looked_back_for() -> None:
    """One look that takes long does not make the bridge a slow one."""
    watched = Watched()
    frames = watched.take(10)
    watched.core.next_looks_ms.append(150.0)
    frames += watched.take(10)
    assert len(frames) > 30
    assert frames[0].camera_seq == 0
    assert in_a_row(frames)
    assert watched.lost() == 0


def test_a_first_look_that_takes_long_is_no_slow_bridge() -> None:
    watched = Watched()
    watched.core.next_looks_ms.append(150.0)
    frames = watched.take(10)
    assert in_a_row(frames)
    assert watched.lost() == 0


def test_of_a_pause_that_is_too_long_the_newest_are_seen_and_the_rest_is_counted() -> None:
    watched = Watched()
    watched.take(10)
    watched.core.next_looks_ms.append(1000.0)
    (late,) = watched.poll()
    newest = watched.poll()
    assert len(newest) == MOST_AT_ONCE
    assert in_a_row(newest)
    assert watched.lost() == newest[0].camera_seq - late.camera_seq - 1 > 30


def test_looking_back_ends_after_a_while() -> None:
    """Looks have just become slow: what is not found in time is lost, and counted."""
    watched = Watched()
    frames = watched.take(15)
    watched.core.next_looks_ms.append(150.0)
    watched.core.look_ms = 40.0
    frames += watched.poll()
    began_ns = watched.view.now_ns
    frames += watched.poll()
    took_ms = (watched.view.now_ns - began_ns) / MS
    assert 200 < took_ms < 250
    assert watched.lost() == frames[-1].camera_seq + 1 - len(frames) > 10


def test_a_bridge_that_keeps_up_shows_every_frame() -> None:
    watched = Watched()
    watched.core.look_ms = 6.0
    frames = watched.take(100)
    assert in_a_row(frames)
    assert watched.lost() == 0


def test_where_looks_are_slower_than_frames_every_look_is_a_frame() -> None:
    watched = Watched()
    watched.core.look_ms = 25.0
    watched.take(10)
    looks = watched.looks()
    frames = watched.take(20)
    assert watched.looks() - looks == len(frames) == 20
    assert watched.lost() == frames[-1].camera_seq + 1 - watched.watch.delivered > 20


def test_a_slow_bridge_delays_no_look() -> None:
    """Six frames come during each look: looking back for all of them would never end."""
    watched = Watched()
    watched.take(10)
    watched.core.look_ms = 60.0
    watched.take(10)
    for _ in range(10):
        began = len(watched.view.exposed)
        (frame,) = watched.poll()
        assert frame.camera_seq == began - 1, "the newest one there was"
        assert len(watched.view.exposed) - began == 6


def test_a_bridge_that_is_slow_no_more_shows_every_frame_again() -> None:
    watched = Watched()
    watched.core.look_ms = 60.0
    watched.take(20)
    watched.core.look_ms = 1.0
    watched.take(10)
    lost = watched.lost()
    frames = watched.take(20)
    assert in_a_row(frames)
    assert watched.lost() == lost
