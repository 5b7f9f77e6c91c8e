"""The thread behind ``livedenoise.tap``: look at a live view, send what is new, say what is wrong.

Knows: a core of this process, a ``FrameSender``, one thread. Must not know: how a buffer is looked
at (``micromanager.peeking``), what becomes of the frames.

What a user's program is promised: nothing is raised into it, it is never waited for, and the camera
is never set, stopped or emptied. What goes wrong is said once and tried again. The thread ends with
``stop``, with the core, or with the interpreter.
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
import time
from collections.abc import Callable
from typing import Self

import msgspec

from livedenoise.client.live_settings import LiveSettings
from livedenoise.client.problems import Problems
from livedenoise.client.sender import FrameSender, SenderCounts
from livedenoise.core.clock import now_ns
from livedenoise.core.closing import Closing
from livedenoise.core.errors import CameraError, LiveDenoiseError
from livedenoise.micromanager.borrowed import BorrowedCore
from livedenoise.micromanager.core import CoreGoneError
from livedenoise.micromanager.peeking import Peeker, Seen

_log = logging.getLogger(__name__)
_LOOK_S = 0.02
"""Longest catching up, per poll: a copy holds the interpreter's lock."""
_SEND_NS = 50_000_000
"""Longest wait for room in the queue, per poll: meanwhile frames wait in the core's buffer."""
_TURN_NS = 1_000_000
"""Also a frame that finds no room waits its turn for so long: a thread may be asking for counts."""
_SERVICE_NS = 200_000_000
"""The connection is looked after this often while no frame comes."""
_PATIENCE_NS = 3_000_000_000
"""Without a daemon for this long, it is said."""
_OTHERS_NS = 2_000_000_000
"""Only frames of other channels for this long: it is said."""
_RETRY_S = 0.5
_LINGER_S = 1.0
_JOIN_S = 5.0


class TapCounts(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the live view's frames since the tap began.

    Attributes
    ----------
    seen : int
        Frames found in the core's buffer: ``seen == sent.offered + unsent``, once
        those of the poll in progress are sent.
    lost_in_core : int
        Frames exposed and never seen: we were late, or somebody took them out. Estimated ones (see
        ``loss_estimated``) are among them.
    loss_estimated : int
        How often the loss had to be estimated from the time that passed.
    loss_unknown : int
        How often more may have been lost than is counted.
    restarts : int
        New sequences found after the first.
    unfit : int
        Copies thrown away: the camera's format changed meanwhile.
    unsent : int
        Frames seen that could not be given to the sender; ``problem`` says why.
    sent : SenderCounts
        What became of the frames seen: taken, in flight, refused and dropped by reason.
    """

    seen: int
    lost_in_core: int
    loss_estimated: int
    loss_unknown: int
    restarts: int
    unfit: int
    unsent: int
    sent: SenderCounts


class Tap(Closing):
    """A thread that watches a live view and sends its frames. Made by ``tap``."""

    def __init__(
        self,
        core: BorrowedCore,
        sender: FrameSender,
        *,
        name: str,
        endpoint: str,
        channel: int,
        poll_s: float,
        exposure_refresh_s: float,
        on_problem: Callable[[str], object] | None,
    ) -> None:
        self.name, self.endpoint = name, endpoint
        self._core, self._sender = core, sender
        self._channel = channel
        self._poll_s = poll_s
        self._problems = Problems(_log, f"tap {name}", on_problem)
        self._peeker = Peeker(core, channel=channel, most_s=_LOOK_S)
        self._settings = LiveSettings(core, round(exposure_refresh_s * 1e9), self._problems)
        self._seen = self._lost = self._estimated = self._unknown = self._restarts = 0
        self._unsent = 0
        self._answers = 0, 0
        self._connected = False
        self._pid = os.getpid()
        self._stopping = threading.Event()
        self._connected_ns = self._serviced_ns = now_ns()
        self._thread = threading.Thread(target=self._run, name=f"tap {name}", daemon=True)

    @property
    def problem(self) -> str:
        """Return what is wrong now, empty when nothing is."""
        return self._problems.current

    @property
    def running(self) -> bool:
        """Return whether the tap still watches; it ends with ``stop`` or with the core."""
        return self._thread.is_alive() and not self._stopping.is_set()

    def watches(self, core: object) -> bool:
        """Return whether it is this core that is watched."""
        return self.running and self._core.is_around(core)

    def counts(self) -> TapCounts:
        """Return what became of the frames so far."""
        return TapCounts(
            seen=self._seen,
            lost_in_core=self._lost,
            loss_estimated=self._estimated,
            loss_unknown=self._unknown,
            restarts=self._restarts,
            unfit=self._peeker.unfit,
            unsent=self._unsent,
            sent=self._sender.counts(),
        )

    def stop(self) -> None:
        """End the thread and the connection; frames on their way get 1 s. Idempotent."""
        atexit.unregister(self._at_exit)
        self._stopping.set()
        # A child made by a fork has the object and not the thread; the thread cannot join itself.
        if os.getpid() == self._pid and self._thread is not threading.current_thread():
            self._thread.join(_JOIN_S)

    def close(self) -> None:
        """Stop."""
        self.stop()

    def begin(self) -> Self:
        """Start the thread; it ends before the interpreter does."""
        atexit.register(self._at_exit)
        self._thread.start()
        return self

    def _at_exit(self) -> None:
        self.stop()
        try:
            self._core.end_events()
        except CameraError as error:
            _log.warning("tap %s: %s", self.name, error)

    def __repr__(self) -> str:
        counts = self.counts()
        sent = counts.sent
        state = "watches" if self.running else "stopped"
        text = (
            f"<Tap {self.name} {state}, to {self.endpoint}: {counts.seen} frames seen, "
            f"{counts.lost_in_core} lost in the core, {sent.taken} taken"
        )
        missed = sent.dropped | sent.refused
        if missed:
            text += ", not sent " + ", ".join(f"{n} {why}" for why, n in sorted(missed.items()))
        return text + (f"; {self.problem}>" if self.problem else ">")

    def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                began_s = time.thread_time()
                pause_s = self._poll_s if self._step() else _RETRY_S
                # Large frames at a high rate: half of the time belongs to the user's program.
                self._stopping.wait(max(pause_s, time.thread_time() - began_s))
        except CoreGoneError:
            _log.info("tap %s: the core is gone, so the tap has ended", self.name)
        finally:
            self._stopping.set()
            atexit.unregister(self._at_exit)
            self._sender.close(_LINGER_S)

    def _step(self) -> bool:
        """Send what is new; return whether that went well.

        Raises
        ------
        CoreGoneError
            If the program has dropped its core.
        """
        try:
            self._send_all(self._peeker.poll())
            self._look_after()
        except CoreGoneError:
            raise
        except LiveDenoiseError as error:
            self._problems.say("core", str(error))
            return False
        except Exception as error:  # noqa: BLE001  the user's program goes on whatever fails here
            # pymmcore raises SystemError for a core whose devices were unloaded meanwhile.
            self._problems.say("core", f"{type(error).__name__}: {error}")
            return False
        if self._channel_is_missing():
            self._problems.say("core", f"no frame of channel {self._channel} comes: only of others")
        else:
            self._problems.clear("core")
        return True

    def _send_all(self, found: list[Seen]) -> None:
        for seen in found:
            self._seen += 1
            self._lost += seen.lost_before
            self._estimated += seen.loss_estimated
            self._unknown += seen.loss_unknown
            self._restarts += seen.restarted
        deadline_ns, left = now_ns() + _SEND_NS, len(found)
        try:
            for seen in found:
                self._send(seen, deadline_ns)
                left -= 1
        finally:
            self._unsent += left

    def _send(self, seen: Seen, deadline_ns: int) -> None:
        tags, pixels = seen.taken.tags, seen.taken.pixels
        exposure_us, place = self._settings.of(tags, restarted=seen.restarted)
        # Who is not there is not waited for.
        wait_ns = deadline_ns - now_ns() if self._connected else 0
        self._sender.send(
            pixels,
            exposure_us=exposure_us,
            t_camera_ns=max(0, tags.elapsed_ns),
            camera_seq=seen.number,
            timeout_s=max(_TURN_NS, wait_ns) * 1e-9,
            roi_x=place.roi_x,
            roi_y=place.roi_y,
            binning=place.binning,
            channel=self._channel,
        )

    def _look_after(self) -> None:
        """Keep the connection going while no frame comes; say when there is none for long."""
        now = now_ns()
        if now - self._serviced_ns < _SERVICE_NS:
            return
        self._serviced_ns = now
        self._connected = self._sender.wait_ready(0.0)
        if self._connected:
            self._connected_ns = now
            self._problems.clear("daemon")
            self._look_at_answers()
        elif now - self._connected_ns > _PATIENCE_NS:
            why = self._sender.problem or "nobody takes frames there"
            self._problems.say("daemon", f"{self.endpoint}: {why}; trying on")

    def _look_at_answers(self) -> None:
        counts = self._sender.counts()
        taken, refused = counts.taken, sum(counts.refused.values())
        if taken > self._answers[0]:
            self._problems.clear("frames")
        elif refused > self._answers[1]:
            self._problems.say("frames", f"{self.endpoint} refuses frames: {self._sender.problem}")
        self._answers = taken, refused

    def _channel_is_missing(self) -> bool:
        since_ns = self._peeker.others_since_ns
        return since_ns is not None and now_ns() - since_ns > _OTHERS_NS
