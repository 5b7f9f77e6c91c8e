"""One run of a simulated camera: which frame is served when, and what is lost on the way.

Knows: the schedule, the camera's own buffer, faults, the slot it is handed for each frame.
Must not know: how frames are made, requests and their limits, the camera's life cycle.

Frames whose deadline has passed wait in a buffer of ``buffer_frames``. When it is full the
oldest are overwritten, which shows as a jump of ``camera_seq``. A full ring is waited for as
long as the buffer holds the frame; then the frame is yielded as discarded.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np

from livedenoise.acquire.camera_faults import FaultPlan
from livedenoise.acquire.frame_pool import FramePool
from livedenoise.acquire.pacing import Schedule, do_nothing, wait_until
from livedenoise.core.camera import Captured, GetSlot, Prepared
from livedenoise.core.clock import Clock
from livedenoise.core.frame import Frame

RING_FULL = "ring_full"
_SLOT_SLICE_S = 0.25
"""Longest single wait for a slot, so that a stop is noticed while the ring is full."""


@dataclass(frozen=True, kw_only=True, eq=False)
class PacedStream:
    """Serves the frames of one run, from ``start`` to ``stop``.

    Attributes
    ----------
    prepared : Prepared
        What was promised.
    pools : tuple of FramePool
        Frames to serve; the second one, if any, after a resize fault.
    schedule : Schedule
        Times of the frames.
    faults : FaultPlan
        What goes wrong.
    clock : Clock
        Source of time.
    channel : int
        Channel of every frame.
    on_idle : callable
        Called about every 50 ms while a frame is waited for.
    """

    prepared: Prepared
    pools: tuple[FramePool, ...]
    schedule: Schedule
    faults: FaultPlan
    clock: Clock
    channel: int
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
            If the camera loses its connection, or a frame is larger than a slot.
        """
        number = 0
        while (number := self._next_held(number)) >= 0:
            if self.faults.dropped(number):
                if not self._wait(number):
                    return
            else:
                yield from self._deliver(number, get_slot)
            number += 1

    def _deliver(self, number: int, get_slot: GetSlot) -> Iterator[Captured]:
        pool = self.pool_of(number)
        early = self.clock.now_ns() < self.schedule.arrival_ns(number)
        # Taken before the wait: without a pool the frame is rendered while it is exposed.
        pixels, flags = pool.frame(number)
        if not self._wait(number):
            return
        if early and number < self._oldest_held():
            return  # overwritten while we waited: a burst, or a sleep that came back late
        for _ in range(1 + self.faults.duplicated(number)):
            slot = self._wait_for_slot(number, pool, get_slot)
            if slot is not None:
                np.copyto(slot, pixels, casting="no")
            elif self._stopped.is_set():
                return
            yield self._captured(number, pool, flags, "" if slot is not None else RING_FULL)

    def pool_of(self, number: int) -> FramePool:
        """Return the pool that frame ``number`` comes from."""
        return self.pools[1 if self.faults.resized(number) else 0]

    def _next_held(self, number: int) -> int:
        """Return the first frame from ``number`` on that is not overwritten, -1 for the end."""
        if self._stopped.is_set():
            return -1
        number = max(number, self._oldest_held())
        n_frames = self.prepared.n_frames
        return number if n_frames is None or number < n_frames else -1

    def _oldest_held(self) -> int:
        buffer_frames, n_frames = self.prepared.buffer_frames, self.prepared.n_frames
        held = self.schedule.oldest_held(self.clock.now_ns(), buffer_frames)
        # After the last exposure nothing overwrites the buffer any more.
        return held if n_frames is None else min(held, max(0, n_frames - buffer_frames))

    def _wait(self, number: int) -> bool:
        """Wait for frame ``number``; return False on a stop."""
        arrival_ns = self.schedule.arrival_ns(number)
        if not wait_until(self.clock, arrival_ns, self._stopped.is_set, self.on_idle):
            return False
        self.faults.check_connected(number)
        return True

    def _wait_for_slot(self, number: int, pool: FramePool, get_slot: GetSlot) -> Frame | None:
        """Return a slot, or None when the buffer overwrites the frame first or on a stop."""
        overwritten_ns = self.schedule.overwritten_ns(number, self.prepared.buffer_frames)
        left_s = max(0.0, (overwritten_ns - self.clock.now_ns()) * 1e-9)
        while True:
            slice_s = min(left_s, _SLOT_SLICE_S)
            slot = get_slot(pool.shape, self.prepared.dtype, slice_s)
            left_s -= slice_s
            if slot is not None or left_s <= 0 or self._stopped.is_set():
                return slot

    def _captured(self, number: int, pool: FramePool, flags: int, discarded: str) -> Captured:
        schedule = self.schedule
        return Captured(
            camera_seq=number,
            t_host_ns=schedule.arrival_ns(number),
            t_camera_ns=schedule.complete_ns(number) - schedule.start_ns,
            shape=pool.shape,
            dtype=self.prepared.dtype,
            exposure_us=self.prepared.exposure_us,
            roi_x=pool.roi[0],
            roi_y=pool.roi[1],
            binning=self.prepared.binning,
            channel=self.channel,
            flags=flags,
            discarded=discarded,
        )
