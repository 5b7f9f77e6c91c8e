"""One run of a replayed recording: which frame is served when, and what is lost on the way.

Knows: the times of the recording, the buffer of the camera it stands for, the slot it is handed
for each frame. Must not know: file formats, requests, the camera's life cycle.

Lossless: every frame waits for its slot, however long. In real time frames are complete at their
scheduled moment, whoever is ready for them, and wait in a buffer of ``buffer_frames``. When it is
full the oldest are overwritten, which shows as a jump of ``camera_seq``. A full ring is waited for
as long as the buffer holds the frame; then the frame is yielded as discarded.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt

from livedenoise.acquire.pacing import do_nothing, wait_until
from livedenoise.acquire.source_base import RecordedFrames
from livedenoise.core.camera import Captured, GetSlot, Prepared
from livedenoise.core.clock import Clock
from livedenoise.core.errors import CameraError, ConfigError
from livedenoise.core.frame import Frame, FrameFlags, max_count

RING_FULL = "ring_full"
_SLOT_SLICE_S = 0.05
"""Longest single wait for a slot, so that a stop is noticed while the ring is full."""


class Timetable(Protocol):
    """When each frame arrives and when a camera's buffer overwrites it."""

    def arrival_ns(self, number: int) -> int:
        """Return when frame ``number`` (from 0) is complete on the host."""

    def oldest_held(self, now_ns: int, buffer_frames: int) -> int:
        """Return the oldest frame a buffer still holds."""

    def overwritten_ns(self, number: int, buffer_frames: int) -> int:
        """Return when frame ``number`` is overwritten in a buffer."""


@dataclass(frozen=True, kw_only=True, eq=False)
class RecordedTimes:
    """Timetable of a recording played at its own times, again and again.

    Attributes
    ----------
    start_ns : int
        When the exposure of the first frame began.
    times_ns : ndarray of int64
        Time of each frame since the first, never going back.
    period_ns : int
        Time of one frame: between the last frame and the first of the next loop, too.
    """

    start_ns: int
    times_ns: npt.NDArray[np.int64]
    period_ns: int

    def arrival_ns(self, number: int) -> int:
        """Return when frame ``number`` (from 0) is complete on the host."""
        loop, index = divmod(number, len(self.times_ns))
        offset_ns = loop * self._loop_ns + int(self.times_ns[index])
        return self.start_ns + offset_ns + self.period_ns

    def newest(self, now_ns: int) -> int:
        """Return the number of the newest frame that has arrived; -1 for none."""
        elapsed_ns = now_ns - self.start_ns - self.period_ns
        if elapsed_ns < 0:
            return -1
        loop, rest_ns = divmod(elapsed_ns, self._loop_ns)
        seen = int(np.searchsorted(self.times_ns, rest_ns, side="right"))
        return loop * len(self.times_ns) + seen - 1

    def oldest_held(self, now_ns: int, buffer_frames: int) -> int:
        """Return the oldest frame a buffer of ``buffer_frames`` still holds (never below 0)."""
        return max(0, self.newest(now_ns) - buffer_frames + 1)

    def overwritten_ns(self, number: int, buffer_frames: int) -> int:
        """Return when frame ``number`` is overwritten in a buffer of ``buffer_frames``."""
        return self.arrival_ns(number + buffer_frames)

    @property
    def _loop_ns(self) -> int:
        return int(self.times_ns[-1]) + self.period_ns


@dataclass(frozen=True, kw_only=True, eq=False)
class ReplayStream:
    """Serves the frames of one run, from ``start`` to ``stop``.

    Attributes
    ----------
    source : RecordedFrames
        Where the pixels come from.
    prepared : Prepared
        What was promised; ``n_frames`` counts all loops, None is for ever.
    timetable : Timetable or None
        None serves without loss, as fast as slots come.
    clock : Clock
        Source of time.
    """

    source: RecordedFrames
    prepared: Prepared
    timetable: Timetable | None
    clock: Clock
    on_idle: Callable[[], None] = do_nothing
    _stopped: threading.Event = field(default_factory=threading.Event)

    def stop(self) -> None:
        """End the stream: idempotent, from any thread."""
        self._stopped.set()

    def frames(self, get_slot: GetSlot) -> Iterator[Captured]:
        """Yield every frame that is delivered, in order.

        Raises
        ------
        CameraError
            If the recording is damaged at a frame, or a frame is larger than a slot.
        """
        number = 0
        while (number := self._next_held(number)) >= 0:
            if not self._wait_for_frame(number):
                return
            if self._next_held(number) != number:
                continue  # overwritten while we waited: the sleep came back late
            slot = self._wait_for_slot(number, get_slot)
            if slot is None and self._stopped.is_set():
                return
            yield self._deliver(number, slot)
            number += 1

    def _next_held(self, number: int) -> int:
        """Return the first frame from ``number`` on that is not overwritten, -1 for the end."""
        if self._stopped.is_set():
            return -1
        n_frames, buffer_frames = self.prepared.n_frames, self.prepared.buffer_frames
        if self.timetable is not None:
            held = self.timetable.oldest_held(self.clock.now_ns(), buffer_frames)
            # After the last frame nothing overwrites the buffer any more.
            last = held if n_frames is None else max(0, n_frames - buffer_frames)
            number = max(number, min(held, last))
        return number if n_frames is None or number < n_frames else -1

    def _wait_for_frame(self, number: int) -> bool:
        """Wait until frame ``number`` is complete; return False on a stop."""
        if self.timetable is None:
            return True
        arrival_ns = self.timetable.arrival_ns(number)
        return wait_until(self.clock, arrival_ns, self._stopped.is_set, self.on_idle)

    def _wait_for_slot(self, number: int, get_slot: GetSlot) -> Frame | None:
        """Return a slot, or None when the buffer overwrites the frame first or on a stop."""
        shape, dtype = self.prepared.shape, self.prepared.dtype
        left_s = self._patience_s(number)
        while True:
            slice_s = min(left_s, _SLOT_SLICE_S)
            slot = get_slot(shape, dtype, slice_s)
            if self.timetable is not None:
                left_s = min(left_s - slice_s, self._patience_s(number))
            if slot is not None or left_s <= 0 or self._stopped.is_set():
                return slot

    def _patience_s(self, number: int) -> float:
        """Return how long frame ``number`` may wait for its slot."""
        if self.timetable is None:
            return _SLOT_SLICE_S
        end_ns = self.timetable.overwritten_ns(number, self.prepared.buffer_frames)
        return max(0.0, (end_ns - self.clock.now_ns()) * 1e-9)

    def _deliver(self, number: int, slot: Frame | None) -> Captured:
        """Fill the slot; without one the frame is discarded."""
        flags = 0
        if slot is not None:
            flags = self._fill(number % self.source.n_frames, slot)
        timetable, prepared = self.timetable, self.prepared
        return Captured(
            camera_seq=number,
            # In real time t0 is the scheduled moment, so that a late replay cannot flatter.
            t_host_ns=(self.clock.now_ns() if timetable is None else timetable.arrival_ns(number)),
            shape=prepared.shape,
            dtype=prepared.dtype,
            exposure_us=prepared.exposure_us,
            roi_x=prepared.roi[0],
            roi_y=prepared.roi[1],
            binning=prepared.binning,
            flags=flags,
            discarded="" if slot is not None else RING_FULL,
        )

    def _fill(self, index: int, slot: Frame) -> int:
        try:
            self.source.read_into(index, slot)
        except ConfigError as error:
            raise CameraError(error.message, error.hint) from error
        if slot.dtype.kind == "f":
            return 0
        saturated = int(slot.max()) >= max_count(self.prepared.bit_depth)
        return int(FrameFlags.SATURATED) if saturated else 0
