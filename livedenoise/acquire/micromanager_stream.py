"""Frames out of a running sequence of Micro-Manager's core: pop, number, hand on.

Knows: how a sequence is emptied, and why it may end by itself. Must not know: how the camera was
set up, how a sequence is started and stopped (``micromanager_control``).

Data are taken as MMCore's authors advise: a sequence that stops on overflow, and one reader that
pops. So nothing is overwritten; when the buffer is full the camera stops, what is in the buffer is
delivered, and then the error is raised. What waits in the buffer when a stop comes is delivered as
well, for a second.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator

import msgspec

from livedenoise.acquire.micromanager_control import Pace, SequenceControl, seconds_until
from livedenoise.acquire.micromanager_delivery import Delivery
from livedenoise.client import FrameSender
from livedenoise.core.camera import Captured, GetSlot
from livedenoise.core.clock import now_ns
from livedenoise.core.errors import CameraError
from livedenoise.micromanager.core import Core, IncompleteFrameError, NoFrameError, Taken
from livedenoise.micromanager.placing import binning_now
from livedenoise.micromanager.setup import Format, format_now

_ENDLESS = 2**31 - 1
_LOOK_NS = 50_000_000
"""How often an empty buffer makes us ask whether the sequence still runs."""
_MOST_ROOM_S = 10.0
_DRAIN_NS = 1_000_000_000
_PACE_FRAMES = 50
_PACE_SHARE = 0.2


class StreamPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What a stream is to deliver. ``capacity`` is how many frames the core's buffer holds."""

    name: str
    form: Format
    period_ns: int
    capacity: int
    n_frames: int | None
    channel: int = 0
    n_channels: int = 1
    rate_hz: float | None = None

    @property
    def only_channel(self) -> int | None:
        """Return which frames are ours; None when there is one camera: all of them."""
        return self.channel if self.n_channels > 1 else None


def overflow(plan: StreamPlan, delivered: int) -> CameraError:
    """Return the error of a buffer that was full."""
    return CameraError(
        f"camera {plan.name}: Micro-Manager's buffer of {plan.capacity} frames was full "
        f"after {delivered} frames, the camera stopped",
        "raise camera.buffer_mb, lower the rate or the region; see what was busy",
    )


def room_s(core: Core, plan: StreamPlan) -> float:
    """Return for how long the core can take frames that nobody pops, with a reserve, seconds."""
    free = int(core.number("getBufferFreeCapacity"))
    reserve = max(1, plan.capacity // 8)
    period_s = max(plan.period_ns, 1000 * plan.form.exposure_us, 100_000) * 1e-9
    return min(_MOST_ROOM_S, max(0, free - reserve) * period_s / plan.n_channels)


class SequenceStream:
    """One sequence, from ``start`` to ``stop`` or its last frame.

    Parameters
    ----------
    core : Core
        Popped by nobody else.
    plan : StreamPlan
        What to deliver.
    forward : dict of FrameSender
        Where frames of other channels go.
    on_idle : callable
        Called about every 50 ms while no frame comes.
    """

    def __init__(
        self,
        core: Core,
        plan: StreamPlan,
        *,
        forward: dict[int, FrameSender],
        on_idle: Callable[[], None],
    ) -> None:
        self.counts: Counter[str] = Counter()
        self._core = core
        self._plan = plan
        self._forward = forward
        self._on_idle = on_idle
        self._control = SequenceControl(core, plan.name, plan.form.exposure_us)
        self._pace = Pace(plan.period_ns)
        self._looked_ns = 0
        self._drain_ns = 0
        self._waiting = 0
        self._base: dict[int, int] = {}
        self._last: dict[int, int] = {}
        self._tagged = core.cheap_tags or plan.n_channels > 1

    def start(self) -> None:
        """Start the camera."""
        n_frames = self._plan.n_frames
        self._control.begin(_ENDLESS if n_frames is None else n_frames)

    def frames(self, get_slot: GetSlot) -> Iterator[Captured]:
        """Yield every frame until stopped, exhausted, or the sequence ends by itself.

        Raises
        ------
        CameraError
            If the buffer overflowed (after everything in it was yielded), or the sequence ended
            without a reason.
        """
        delivery = self._delivery(get_slot)
        try:
            while not self._control.stopped.is_set():
                if self._look(delivery):
                    yield from self._hand_on(delivery)
                elif self._ended(delivery):
                    break
                else:
                    time.sleep(self._pace.wait_s(now_ns()))
            yield from self._drain(delivery)
        except CameraError:
            if not self._control.stopped.is_set():
                raise
            # A call that a stop came in between of: whoever closes the camera asks again.
        self._judge_pace(delivery)

    def stop(self) -> None:
        """End the stream: idempotent, from any thread. ``finish`` waits for the camera."""
        self._control.stop()

    def finish(self) -> None:
        """Wait until the camera has stopped.

        Raises
        ------
        CameraError
            If it does not, or refuses.
        """
        self._control.finish()

    def _drain(self, delivery: Delivery) -> Iterator[Captured]:
        """Yield what was exposed before a stop and waits; what is left then is counted."""
        if not self._control.stopped.is_set() or self._enough(delivery):
            return
        self._drain_ns = now_ns() + _DRAIN_NS
        if not self._control.wait(seconds_until(self._drain_ns)):
            # It still exposes, for more than a second: what waits is a frame of that.
            return
        while self._look(delivery) and now_ns() < self._drain_ns:
            yield from self._hand_on(delivery)
        self.counts["left_in_buffer"] = self._core.remaining()

    def _delivery(self, get_slot: GetSlot) -> Delivery:
        return Delivery(
            self._plan.form,
            get_slot=get_slot,
            room_s=self._room_s,
            channel=self._plan.only_channel,
            forward=self._forward,
            counts=self.counts,
        )

    def _look(self, delivery: Delivery) -> int:
        """Return how many frames wait; fewer than were known to wait are lost ones."""
        waiting = self._core.remaining()
        if waiting < self._waiting:
            # The buffer was emptied under us: a new region, or a new start, does that.
            self._lost(delivery, self._waiting - waiting)
        self._waiting = waiting
        return waiting

    def _hand_on(self, delivery: Delivery) -> Iterator[Captured]:
        for _ in range(self._waiting):
            if self._enough(delivery):
                return
            self._waiting -= 1
            try:
                taken = self._core.pop(tags=self._tagged)
            except IncompleteFrameError:
                # Its number is missing then: the pump counts it as lost at the camera.
                self.counts["incomplete"] += 1
                continue
            except NoFrameError:
                self._lost(delivery, self._waiting + 1)
                self._waiting = 0
                return
            self._pace.came(now_ns() - max(0, taken.tags.age_ns))
            captured = delivery.take(taken, self._number(taken))
            if captured is not None:
                yield captured

    def _lost(self, delivery: Delivery, count: int) -> None:
        """Leave a gap for frames that waited and are gone."""
        channel = self._plan.only_channel or 0
        self._last[channel] = self._last.get(channel, -1) + count
        self.counts["gone_from_buffer"] += count
        delivery.after_gap = True

    def _enough(self, delivery: Delivery) -> bool:
        """Return whether every frame asked for came; other channels' may still be due."""
        n_frames = self._plan.n_frames
        return self._plan.n_channels == 1 and delivery.delivered == n_frames

    def _number(self, taken: Taken) -> int:
        """Return the camera's number of a frame: on from the last one after a new start."""
        told = taken.tags.image_number
        channel = 0 if self._plan.only_channel is None else taken.tags.channel
        last = self._last.get(channel, -1)
        number = last + 1 if told < 0 else self._base.get(channel, 0) + told
        if number <= last:
            # The core began to count again (up to MMCore 12.2): what was lost is not known.
            self.counts["renumbered"] += 1
            self._base[channel] = last + 1 - told
            number = last + 1
        self._last[channel] = number
        return number

    def _room_s(self) -> float:
        if self._control.stopped.is_set():
            return seconds_until(self._drain_ns) if self._drain_ns else 0.1
        self._waiting = max(self._waiting, self._core.remaining())
        return room_s(self._core, self._plan)

    def _ended(self, delivery: Delivery) -> bool:
        """Return whether nothing more comes; starts again where the region was changed."""
        if self._enough(delivery):
            return True
        if now_ns() - self._looked_ns < _LOOK_NS:
            return False
        self._looked_ns = now_ns()
        self._judge_pace(delivery)
        self._on_idle()
        if self._control.running() or self._look(delivery):
            return False
        n_frames = self._plan.n_frames
        if n_frames is not None and delivery.delivered >= n_frames:
            return True
        if not self._control.stopped.is_set():
            self._go_on(delivery)
        return False

    def _go_on(self, delivery: Delivery) -> None:
        """Start again after somebody changed region or binning, which ends a sequence silently."""
        core, name, before = self._core, self._plan.name, delivery.form
        if core.overflowed():
            raise overflow(self._plan, delivery.delivered)
        now = format_now(core, binning_now(core, core.camera()))
        if msgspec.structs.replace(now, notes=()) == msgspec.structs.replace(before, notes=()):
            raise CameraError(
                f"camera {name}: the sequence ended by itself after {delivery.delivered} frames",
                "see the camera in Micro-Manager's own window; its log names errors of the adapter",
            )
        delivery.form = now
        # The last exposure before the change, and what waited then, can be missing.
        delivery.after_gap = True
        self.counts["changed_under_us"] += 1
        self._base = {channel: last + 1 for channel, last in self._last.items()}
        n_frames = self._plan.n_frames
        self._control.begin(_ENDLESS if n_frames is None else n_frames - delivery.delivered)

    def _judge_pace(self, delivery: Delivery) -> None:
        """Take note of a rate that is not the one configured: more light than was meant."""
        rate_hz = self._plan.rate_hz
        if not rate_hz or delivery.delivered < _PACE_FRAMES or not self._pace.period_ns:
            return
        found_hz = 1e9 / self._pace.period_ns
        self.counts["rate_differs"] = int(abs(found_hz - rate_hz) > _PACE_SHARE * rate_hz)
