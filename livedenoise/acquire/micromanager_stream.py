"""Frames out of a running sequence of Micro-Manager's core: pop, number, hand on.

Knows: how a sequence is started, emptied, ended, and why it may end by itself. Must not know: how
the camera was set up.

Data are taken as MMCore's authors advise: a sequence that stops on overflow, and one reader that
pops. So nothing is overwritten; when the buffer is full the camera stops, what is in the buffer is
delivered, and then the error is raised.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator

import msgspec

from livedenoise.acquire.micromanager_delivery import Delivery
from livedenoise.client import FrameSender
from livedenoise.core.camera import Captured, GetSlot
from livedenoise.core.clock import now_ns
from livedenoise.core.errors import CameraError
from livedenoise.micromanager.core import Core, IncompleteFrameError, Taken
from livedenoise.micromanager.setup import Format, binning_now, format_now

_ENDLESS = 2**31 - 1
_LOOK_NS = 50_000_000
"""How often an empty buffer makes us ask whether the sequence still runs."""
_MOST_ROOM_S = 10.0
_LEAST_WAIT_S = 0.0002
_LATE_S = 0.002
"""A frame that is late is asked for again this soon at the latest."""
_MOST_WAIT_S = 0.02


class StreamPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What a stream is to deliver. ``capacity`` is how many frames the core's buffer holds."""

    name: str
    form: Format
    period_ns: int
    capacity: int
    n_frames: int | None
    channel: int = 0
    n_channels: int = 1


class SequenceEnd:
    """Stops a sequence without holding anybody up.

    The core comes back when the exposure in progress has ended: up to many seconds.
    """

    def __init__(self, core: Core, name: str, exposure_us: int) -> None:
        self._core = core
        self._name = name
        self._limit_s = 5.0 + 1.2e-6 * exposure_us
        self._thread: threading.Thread | None = None
        self._error: CameraError | None = None
        self.left_in_buffer = 0
        """Frames that were exposed and not taken."""

    def begin(self) -> None:
        """Stop the sequence: idempotent, from any thread, returns at once."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._stop, name="mm-stop", daemon=True)
            self._thread.start()

    def finish(self) -> None:
        """Wait until the camera has stopped.

        Raises
        ------
        CameraError
            If it does not, or refuses.
        """
        self.begin()
        if self._thread is not None:
            self._thread.join(self._limit_s)
            if self._thread.is_alive():
                raise CameraError(
                    f"camera {self._name}: it did not stop within {self._limit_s:.0f} s",
                    "switch it off and on; Micro-Manager must be restarted as well",
                )
        if self._error is not None:
            raise self._error

    def _stop(self) -> None:
        try:
            self._core.long_call("stopSequenceAcquisition", limit_s=self._limit_s)
            self.left_in_buffer = self._core.remaining()
        except CameraError as error:
            # Raised by ``finish``, in the thread of whoever closes the camera.
            self._error = error


class Pace:
    """How long to sleep until the next frame may be there. Pure.

    A core does not tell when a frame comes: it must be asked. On some machines a sleep costs more
    processor time than a frame does, so one that ends when the frame is due is better than many.
    """

    def __init__(self, period_ns: int) -> None:
        self._period_ns = float(period_ns)
        self._last_ns = 0

    def came(self, t_ns: int) -> None:
        """Take note of a frame that the core had at ``t_ns``."""
        interval_ns = t_ns - self._last_ns
        if self._last_ns and 0 < interval_ns < 4 * self._period_ns:
            self._period_ns += (interval_ns - self._period_ns) / 16
        self._last_ns = t_ns

    def wait_s(self, t_ns: int) -> float:
        """Return the seconds to sleep, from ``t_ns``, when nothing waits."""
        late_s = min(_LATE_S, max(_LEAST_WAIT_S, self._period_ns * 1e-9 / 20))
        due_s = (self._last_ns + self._period_ns - t_ns) * 1e-9
        return min(_MOST_WAIT_S, due_s) if due_s > late_s else late_s


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
        self._stopped = threading.Event()
        self._end = SequenceEnd(core, plan.name, plan.form.exposure_us)
        self._pace = Pace(plan.period_ns)
        self._looked_ns = 0
        self._base: dict[int, int] = {}
        self._last: dict[int, int] = {}
        self._tagged = core.cheap_tags or plan.n_channels > 1

    def start(self) -> None:
        """Start the camera."""
        n_frames = self._plan.n_frames
        self._begin(_ENDLESS if n_frames is None else n_frames)

    def frames(self, get_slot: GetSlot) -> Iterator[Captured]:
        """Yield every frame until stopped, exhausted, or the sequence ends by itself.

        Raises
        ------
        CameraError
            If the buffer overflowed (after everything in it was yielded), or the sequence ended
            without a reason.
        """
        delivery = self._delivery(get_slot)
        while not self._stopped.is_set():
            waiting = self._core.remaining()
            if waiting:
                yield from self._hand_on(delivery, waiting)
            elif self._ended(delivery):
                return
            else:
                time.sleep(self._pace.wait_s(now_ns()))

    def stop(self) -> None:
        """End the stream: idempotent, from any thread. ``finish`` waits for the camera."""
        self._stopped.set()
        self._end.begin()

    def finish(self) -> None:
        """Wait until the camera has stopped.

        Raises
        ------
        CameraError
            If it does not, or refuses.
        """
        self.stop()
        self._end.finish()
        self.counts["left_in_buffer"] = self._end.left_in_buffer

    def _begin(self, n_frames: int) -> None:
        self._base = {channel: last + 1 for channel, last in self._last.items()}
        self._core.call("startSequenceAcquisition", n_frames, 0.0, True)

    def _delivery(self, get_slot: GetSlot) -> Delivery:
        return Delivery(
            self._plan.form,
            get_slot=get_slot,
            room_s=self._room_s,
            stopped=self._stopped,
            channel=self._plan.channel,
            forward=self._forward,
            counts=self.counts,
        )

    def _hand_on(self, delivery: Delivery, waiting: int) -> Iterator[Captured]:
        for _ in range(waiting):
            if self._stopped.is_set() or self._enough(delivery):
                return
            try:
                taken = self._core.pop(tags=self._tagged)
            except IncompleteFrameError:
                # Its number is missing then: the pump counts it as lost at the camera.
                self.counts["incomplete"] += 1
                continue
            self._pace.came(now_ns() - max(0, taken.tags.age_ns))
            captured = delivery.take(taken, self._number(taken))
            if captured is not None:
                yield captured

    def _enough(self, delivery: Delivery) -> bool:
        """Return whether every frame asked for came; other channels' may still be due."""
        n_frames = self._plan.n_frames
        return self._plan.n_channels == 1 and delivery.delivered == n_frames

    def _number(self, taken: Taken) -> int:
        """Return the camera's number of a frame: on from the last one after a new start."""
        channel, told = taken.tags.channel, taken.tags.image_number
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
        """Return for how long the core can take frames that nobody pops, with a reserve."""
        if self._stopped.is_set():
            return 0.0
        free = int(self._core.number("getBufferFreeCapacity"))
        reserve = max(1, self._plan.capacity // 8)
        period_s = max(self._plan.period_ns, 1000 * self._plan.form.exposure_us, 100_000) * 1e-9
        return min(_MOST_ROOM_S, max(0, free - reserve) * period_s / self._plan.n_channels)

    def _ended(self, delivery: Delivery) -> bool:
        """Return whether nothing more comes; starts again where the region was changed."""
        if self._enough(delivery):
            return True
        if now_ns() - self._looked_ns < _LOOK_NS:
            return False
        self._looked_ns = now_ns()
        self._on_idle()
        if self._core.running() or self._core.remaining() or self._stopped.is_set():
            return False
        n_frames = self._plan.n_frames
        if n_frames is not None and delivery.delivered >= n_frames:
            return True
        self._go_on(delivery)
        return False

    def _go_on(self, delivery: Delivery) -> None:
        """Start again after somebody changed region or binning, which ends a sequence silently."""
        core, name, before = self._core, self._plan.name, delivery.form
        if core.overflowed():
            raise CameraError(
                f"camera {name}: Micro-Manager's buffer of {self._plan.capacity} frames was full "
                f"after {delivery.delivered} frames, the camera stopped",
                "raise camera.buffer_mb, lower the rate or the region; see what was busy",
            )
        now = format_now(core, binning_now(core, core.camera()))
        if msgspec.structs.replace(now, notes=()) == msgspec.structs.replace(before, notes=()):
            raise CameraError(
                f"camera {name}: the sequence ended by itself after {delivery.delivered} frames",
                "see the camera in Micro-Manager's own window; its log names errors of the adapter",
            )
        delivery.form = now
        self.counts["changed_under_us"] += 1
        n_frames = self._plan.n_frames
        self._begin(_ENDLESS if n_frames is None else n_frames - delivery.delivered)
