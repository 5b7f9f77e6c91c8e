"""One stream of a live view that somebody else runs: its new frames, their settings, their facts.

Knows: what a frame's tags do not tell and when it is asked for, what a stop has to wake. Must not
know: the camera's life cycle, slots.
"""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Callable
from statistics import median_low
from typing import TypeVar

from livedenoise.core.camera import Captured, Prepared
from livedenoise.core.clock import now_ns
from livedenoise.micromanager.bridge import InterruptedCallError
from livedenoise.micromanager.java_core import JavaCore, JavaTags
from livedenoise.micromanager.peeking import Peeker, Seen
from livedenoise.micromanager.placing import placing_now
from livedenoise.micromanager.setup import Format
from livedenoise.micromanager.tags import FrameTags

MOST_AT_ONCE = 64
"""Frames that one look back brings; older ones are lost, and counted."""

_SETTINGS_NS = 500_000_000
"""The exposure is asked for again after this time: a tag does not tell it."""
_LOOK_BACK_NS = 200_000_000
"""A live view's frame that is older is of little use to anybody."""
_KEEPS_UP = 0.7
"""Of the time between frames: a look may take so long, that all frames can be looked at."""
_LOOKS = 15
_STOP_NS = 1_500_000_000
_SLICE_S = 0.05

T = TypeVar("T")


class Watch:
    """One stream, from ``start`` to ``stop`` or its last frame.

    Parameters
    ----------
    core : JavaCore
        Whose frames.
    prepared : Prepared
        What was promised before the start.
    channel : int
        Of a multi-camera device.
    clock : callable
        Monotonic nanoseconds.

    Attributes
    ----------
    stopped : threading.Event
        Set by ``stop``.
    delivered : int
        Frames handed on, pixels or not.
    """

    def __init__(
        self,
        core: JavaCore,
        prepared: Prepared,
        channel: int,
        *,
        clock: Callable[[], int] = now_ns,
    ) -> None:
        self.prepared = prepared
        self.stopped = threading.Event()
        self.delivered = 0
        self._core = core
        self._channel = channel
        self._clock = clock
        self._peeker = Peeker(core, channel=channel, most=MOST_AT_ONCE, clock=clock)
        self._free = threading.Event()
        self._free.set()
        self._passed_over = 0
        self._looks_ns: deque[float] = deque(maxlen=_LOOKS)
        self._counts: Counter[str] = Counter()
        self._read_ns = -_SETTINGS_NS
        self._format: tuple[object, ...] = ()
        self._form = Format(
            shape=prepared.shape,
            dtype=prepared.dtype,
            bit_depth=prepared.bit_depth,
            roi=prepared.roi,
            binning=prepared.binning,
            exposure_us=prepared.exposure_us,
        )

    def ended(self) -> bool:
        """Return whether the stream has ended."""
        n_frames = self.prepared.n_frames
        return self.stopped.is_set() or (n_frames is not None and self.delivered >= n_frames)

    def pass_over(self) -> None:
        """Leave out what is in the buffer now; the next frame is number 0."""
        old = self._peeker.poll()
        self._passed_over = old[-1].number + 1 if old else 0

    def poll(self) -> list[Seen]:
        """Return the new frames; nothing once stopped.

        Over a slow bridge not all of them: what was not seen then counts as lost. Where frames come
        faster than they can be copied, the newest one only: an older one would have moved further
        back by the time it is found. Else looking back ends after a while.
        """
        began_ns, looks = self._clock(), self._peeker.looks
        self._core.peek_until_ns = began_ns + (_LOOK_BACK_NS if self._keeps_up() else 0)
        found = self._asked(self._peeker.poll) or []
        looks = self._peeker.looks - looks
        if looks:
            self._looks_ns.append((self._clock() - began_ns) / looks)
        return found

    def _keeps_up(self) -> bool:
        """Return whether looks take less time than frames; one that took long does not count."""
        period_ns = self._peeker.period_ns
        if not period_ns or not self._looks_ns:
            return True
        return median_low(self._looks_ns) < _KEEPS_UP * period_ns

    def form_of(self, seen: Seen) -> Format:
        """Return the settings a frame was taken with.

        Shape, binning and region are the frame's own. The exposure is the one set now, or until
        half a second ago: a tag does not tell it.
        """
        tags = seen.taken.tags
        described = (tags.shape, tags.dtype, tags.binning, tags.roi_x, tags.roi_y)
        if described != self._format or now_ns() - self._read_ns >= _SETTINGS_NS or seen.restarted:
            self._asked(lambda: self._read_settings(tags))
            self._read_ns, self._format = now_ns(), described
        return self._form

    def captured(self, seen: Seen, form: Format, flags: int, *, discarded: str) -> Captured:
        """Return the frame's facts, and count it."""
        tags = seen.taken.tags
        self.delivered += 1
        self._count(seen)
        received_ns = tags.received_ns if isinstance(tags, JavaTags) else now_ns()
        return Captured(
            camera_seq=seen.number - self._passed_over,
            t_host_ns=received_ns,
            t_camera_ns=max(0, tags.elapsed_ns),
            shape=tags.shape,
            dtype=tags.dtype,
            exposure_us=form.exposure_us,
            roi_x=form.roi[0],
            roi_y=form.roi[1],
            binning=form.binning,
            channel=self._channel,
            flags=flags,
            discarded=discarded,
        )

    def counters(self) -> dict[str, int]:
        """Return the counts."""
        return dict(self._counts) | {
            "unfit": self._peeker.unfit + self._core.unshaped,
            "other_channels": self._peeker.other_channels,
        }

    def stop(self) -> None:
        """End the stream, and the wait for an answer that may never come."""
        self.stopped.set()
        deadline_ns = now_ns() + _STOP_NS
        while not self._free.is_set() and now_ns() < deadline_ns:
            # Again and again: a question may just have been about to be put.
            self._core.interrupt()
            self._free.wait(_SLICE_S)

    def _asked(self, ask: Callable[[], T]) -> T | None:
        """Return what a question is answered; None on a stop."""
        self._free.clear()
        try:
            return None if self.stopped.is_set() else ask()
        except InterruptedCallError:
            if self.stopped.is_set():
                return None
            raise
        finally:
            self._free.set()

    def _read_settings(self, tags: FrameTags) -> None:
        """Note the settings of a frame: 2 questions, more where its tags do not tell."""
        core = self._core
        place = placing_now(core, tags)
        height, width = tags.shape
        self._form = Format(
            shape=tags.shape,
            dtype=tags.dtype,
            bit_depth=core.bit_depth(),
            roi=(place.roi_x, place.roi_y, width * place.binning, height * place.binning),
            binning=place.binning,
            exposure_us=round(core.exposure_ms() * 1000),
        )

    def _count(self, seen: Seen) -> None:
        first = self.delivered == 1
        self._counts["lost"] += 0 if first else seen.lost_before
        self._counts["restarts"] += seen.restarted and not first
        self._counts["loss_unknown"] += seen.loss_unknown and not first
        self._counts["loss_estimated"] += seen.loss_estimated
