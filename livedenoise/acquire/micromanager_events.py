"""Frames with a commanded exposure each: by hardware where the camera can, else one by one.

Knows: how a cycle of exposures is given to a camera, which frame belongs to which event. Must not
know: what the exposures are for.

A frame's exposure and event are those that were commanded. The tags of Micro-Manager are not used:
for sequences of exposures they are wrong in each of its engines.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

from livedenoise.acquire.micromanager_control import SequenceControl
from livedenoise.acquire.micromanager_delivery import Delivery
from livedenoise.acquire.micromanager_stream import StreamPlan, overflow, room_s
from livedenoise.core.camera import Captured, Event, GetSlot
from livedenoise.core.clock import now_ns
from livedenoise.core.errors import CameraError
from livedenoise.micromanager.batches import BATCH_FRAMES, batch_sizes, event_at
from livedenoise.micromanager.core import Core, Taken
from livedenoise.micromanager.placing import binning_now
from livedenoise.micromanager.setup import check_exposure, format_now

_SLICE_S = 0.05
_IN_THREAD_ABOVE_US = 200_000
"""An exposure that is longer is waited for in a thread of its own, so that a stop is noticed."""
_EXTRA_S = 5.0
_FORMAT_NS = 500_000_000
_DRAIN_S = 1.0


class EventStream:
    """Events in turn, again and again, from ``start`` to ``stop`` or the last frame.

    Parameters
    ----------
    core : Core
        Used by nobody else meanwhile.
    plan : StreamPlan
        What to deliver.
    events : sequence of Event
        The cycle; the camera can make every exposure of it (``check_events``).
    on_idle : callable
        Called about every 50 ms while no frame comes.
    """

    def __init__(
        self,
        core: Core,
        plan: StreamPlan,
        events: Sequence[Event],
        *,
        on_idle: Callable[[], None],
    ) -> None:
        self.counts: Counter[str] = Counter()
        self._core = core
        self._plan = plan
        self._events = events
        self._on_idle = on_idle
        self._longest_us = max(event.exposure_us for event in events)
        self._control = SequenceControl(core, plan.name, self._longest_us)
        self._snapping: threading.Thread | None = None
        self._numbers = 0
        self._loaded = False
        self._looked_ns = 0

    def start(self) -> None:
        """Begin; the first exposure is commanded when the first frame is asked for."""

    def frames(self, get_slot: GetSlot) -> Iterator[Captured]:
        """Yield one frame for each event until stopped or ``n_frames``.

        Raises
        ------
        CameraError
            If the camera refuses an exposure or does not deliver.
        """
        by_hardware = self._by_hardware()
        delivery = Delivery(
            self._plan.form,
            get_slot=get_slot,
            room_s=self._room_s if by_hardware else self._patience_s,
            channel=None,
            forward={},
            counts=self.counts,
        )
        try:
            yield from self._sequenced(delivery) if by_hardware else self._one_by_one(delivery)
        except CameraError:
            if not self._control.stopped.is_set():
                raise
            # A call that a stop came in between of: whoever closes the camera asks again.

    def stop(self) -> None:
        """End the stream: idempotent, from any thread; an exposure in progress goes on alone."""
        self._control.stop()

    def finish(self) -> None:
        """Wait until the camera is idle.

        Raises
        ------
        CameraError
            If the exposure in progress does not end.
        """
        self.stop()
        thread, limit_s = self._snapping, self._longest_us * 1e-6 + _EXTRA_S
        if thread is not None:
            thread.join(limit_s)
            if thread.is_alive():
                raise CameraError(
                    f"camera {self._plan.name}: its exposure did not end within {limit_s:.0f} s",
                    "switch it off and on; Micro-Manager must be restarted as well",
                )
        self._control.finish()
        if self._loaded:
            self._core.call("stopExposureSequence", self._core.camera())
            self._loaded = False

    def _by_hardware(self) -> bool:
        core, camera = self._core, self._core.camera()
        if not core.exposure_sequences or len(self._events) == 1:
            return False
        # A batch must fit into the core's buffer: nothing may be lost within it.
        if len(self._events) > self._most or not core.flag("isExposureSequenceable", camera):
            return False
        longest = int(core.number("getExposureSequenceMaxLength", camera))
        self.counts["hardware_sequenced"] = int(longest >= len(self._events))
        return longest >= len(self._events)

    @property
    def _most(self) -> int:
        return min(BATCH_FRAMES, self._plan.capacity * 7 // 8)

    def _room_s(self) -> float:
        return 0.1 if self._control.stopped.is_set() else room_s(self._core, self._plan)

    def _patience_s(self) -> float:
        # The next exposure is commanded only when this frame is handed on: nothing is pressing.
        return 0.1 if self._control.stopped.is_set() else 1.0

    def _sequenced(self, delivery: Delivery) -> Iterator[Captured]:
        core, camera = self._core, self._core.camera()
        core.load_exposure_sequence([event.exposure_us / 1000 for event in self._events])
        core.call("startExposureSequence", camera)
        self._loaded = True
        for size in batch_sizes(len(self._events), self._plan.n_frames, most=self._most):
            if not self._control.begin(size):
                return
            yield from self._batch(delivery, size)
            if self._control.stopped.is_set():
                return
            self._control.end()

    def _batch(self, delivery: Delivery, size: int) -> Iterator[Captured]:
        for place in range(size):
            taken = self._next_in_sequence(delivery)
            if taken is None:
                return
            if taken.tags.image_number not in (-1, place):
                raise CameraError(
                    f"camera {self._plan.name}: frame {taken.tags.image_number} of a sequence "
                    f"came where {place} was due: its exposure is not known",
                    "raise camera.buffer_mb; with one event at a time exposures cannot slip",
                )
            yield from self._hand_on(delivery, taken)

    def _next_in_sequence(self, delivery: Delivery) -> Taken | None:
        core = self._core
        limit_ns = now_ns() + int((3e-6 * self._longest_us + _EXTRA_S) * 1e9)
        idle_ns = now_ns()
        while not self._control.stopped.is_set():
            if core.remaining():
                return core.pop(tags=True)
            if now_ns() - idle_ns > _SLICE_S * 1e9:
                idle_ns = now_ns()
                self._on_idle()
                if core.overflowed():
                    raise overflow(self._plan, delivery.delivered)
            if now_ns() > limit_ns:
                raise CameraError(
                    f"camera {self._plan.name}: no frame of an exposure sequence came",
                    "see whether it runs in Micro-Manager's own multi-dimensional acquisition",
                )
            time.sleep(0.0005)
        # What was exposed before the stop is delivered as well, unless an exposure still goes on.
        waits = self._control.wait(_DRAIN_S) and core.remaining()
        return core.pop(tags=True) if waits else None

    def _one_by_one(self, delivery: Delivery) -> Iterator[Captured]:
        exposure_us = -1
        while not self._control.stopped.is_set() and self._numbers != self._plan.n_frames:
            event = event_at(self._events, self._numbers)
            if event.exposure_us != exposure_us:
                self._core.call("setExposure", event.exposure_us / 1000)
                exposure_us = event.exposure_us
            taken = self._snap(event.exposure_us)
            if taken is None:
                return
            yield from self._hand_on(delivery, taken)

    def _hand_on(self, delivery: Delivery, taken: Taken) -> Iterator[Captured]:
        event = event_at(self._events, self._numbers)
        self._follow_format(delivery, taken)
        captured = delivery.take(taken, self._numbers, event)
        self._numbers += 1
        if captured is not None:
            yield captured

    def _follow_format(self, delivery: Delivery, taken: Taken) -> None:
        """Ask for region and binning again when they may have been changed under us."""
        core, known = self._core, taken.tags.shape == delivery.form.shape
        if known and now_ns() - self._looked_ns < _FORMAT_NS:
            return
        self._looked_ns = now_ns()
        form = format_now(core, binning_now(core, core.camera()))
        self.counts["changed_under_us"] += form.roi != delivery.form.roi
        delivery.form = form

    def _snap(self, exposure_us: int) -> Taken | None:
        """Expose one frame; None when a stop came first, the exposure then ends by itself."""
        if exposure_us <= _IN_THREAD_ABOVE_US:
            return self._core.snap()
        found: list[Taken | CameraError] = []

        def snap() -> None:
            try:
                found.append(self._core.snap())
            except CameraError as error:
                # Raised in the loop, which waits for this.
                found.append(error)

        self._snapping = threading.Thread(target=snap, name="mm-snap", daemon=True)
        self._snapping.start()
        while self._snapping.is_alive() and not self._control.stopped.is_set():
            self._snapping.join(_SLICE_S)
            self._on_idle()
        if self._control.stopped.is_set() or not found:
            return None
        if isinstance(found[0], CameraError):
            raise found[0]
        return found[0]


def check_events(core: Core, name: str, events: Sequence[Event]) -> None:
    """Make sure that the camera can make every exposure of a cycle; the first is then set.

    Raises
    ------
    CameraError
        If one is refused, or a multi-camera device is asked for events: nobody could tell whose
        frame it is.
    """
    if core.channels() > 1:
        raise CameraError(
            f"camera {name}: events were asked of a device of {core.channels()} cameras",
            "name one of them with camera.device",
        )
    for exposure_us in [*{event.exposure_us for event in events}, events[0].exposure_us]:
        core.call("setExposure", exposure_us / 1000)
        check_exposure(core, name, exposure_us)
