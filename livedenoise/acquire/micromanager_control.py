"""Starting and stopping a sequence of Micro-Manager's core, so that a stop always wins.

Knows: which calls may be made at the same time, how long a camera may take. Must not know: frames.

A stop comes from another thread, at any moment: also while a sequence is being started, or is
started again. After ``finish`` no sequence of ours runs; one that somebody else started is left
alone.
"""

from __future__ import annotations

import threading
import time

from livedenoise.core.clock import now_ns
from livedenoise.core.errors import CameraError
from livedenoise.micromanager.core import Core

_LONG_US = 200_000
"""Calls about the camera may wait for its exposure: above this they are made by another thread."""
_SLICE_S = 0.02


class SequenceControl:
    """One stream's hold on the camera.

    Attributes
    ----------
    stopped : threading.Event
        Set by ``stop``: nothing is started any more.
    left_in_buffer : int
        Frames that waited when the sequence was stopped.
    """

    def __init__(self, core: Core, name: str, exposure_us: int) -> None:
        self.stopped = threading.Event()
        self.left_in_buffer = 0
        self._core = core
        self._name = name
        self._long = exposure_us > _LONG_US
        self._limit_s = 5.0 + 1.2e-6 * exposure_us
        self._turn = threading.Lock()
        self._ours = False
        self._stop_lock = threading.Lock()
        self._stopper: threading.Thread | None = None
        self._error: CameraError | None = None
        self._asking: _Question | None = None

    def begin(self, n_frames: int) -> bool:
        """Start a sequence that stops on overflow; return False when a stop came first."""
        with self._turn:
            if self.stopped.is_set():
                return False
            self._core.call("startSequenceAcquisition", n_frames, 0.0, True)
            self._ours = True
            return True

    def end(self) -> None:
        """Stop the sequence here and now, to start another one."""
        with self._turn:
            self._halt()

    def stop(self) -> None:
        """Stop for good: idempotent, from any thread, returns at once."""
        with self._stop_lock:
            self.stopped.set()
            if self._stopper is None:
                # The core comes back when the exposure in progress ends: up to many seconds.
                self._stopper = threading.Thread(target=self._stop, name="mm-stop", daemon=True)
                self._stopper.start()

    def wait(self, timeout_s: float) -> bool:
        """Return whether the camera has stopped within ``timeout_s`` of now."""
        with self._stop_lock:
            stopper = self._stopper
        if stopper is None:
            return False
        stopper.join(max(0.0, timeout_s))
        return not stopper.is_alive() and self._error is None

    def finish(self) -> None:
        """Wait until no sequence of ours runs. May be called again after an error.

        Raises
        ------
        CameraError
            If the camera does not stop, or refuses.
        """
        self.stop()
        with self._stop_lock:
            stopper = self._stopper
        if stopper is not None:
            stopper.join(self._limit_s)
            if stopper.is_alive():
                raise CameraError(
                    f"camera {self._name}: it did not stop within {self._limit_s:.0f} s",
                    "switch it off and on; Micro-Manager must be restarted as well",
                )
        error, self._error = self._error, None
        if error is not None:
            with self._stop_lock:
                self._stopper = None
            raise error

    def running(self) -> bool:
        """Return whether a sequence runs; True while that cannot be asked without waiting."""
        if not self._long:
            return not self.stopped.is_set() and self._core.running()
        if self._asking is None:
            self._asking = _Question(self._core)
        answer = self._asking.answer(_SLICE_S)
        if answer is None or self.stopped.is_set():
            return True
        self._asking = None
        if isinstance(answer, CameraError):
            raise answer
        return answer

    def _stop(self) -> None:
        try:
            if self._long:
                # Who waits for the camera now would wait for its exposure.
                for _ in range(3):
                    self._core.interrupt()
                    time.sleep(_SLICE_S)
            with self._turn:
                self._halt()
        except CameraError as error:
            # Raised by ``finish``, in the thread of whoever closes the camera.
            self._error = error

    def _halt(self) -> None:
        if self._ours:
            self._core.long_call("stopSequenceAcquisition", limit_s=self._limit_s)
            self._ours = False
            self.left_in_buffer = self._core.remaining()


class _Question:
    """Whether a sequence runs, asked by another thread: the camera may be busy exposing."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._answer: bool | CameraError | None = None
        self._thread = threading.Thread(target=self._ask, name="mm-ask", daemon=True)
        self._thread.start()

    def answer(self, timeout_s: float) -> bool | CameraError | None:
        """Return the answer, or None when there is none yet."""
        self._thread.join(timeout_s)
        return None if self._thread.is_alive() else self._answer

    def _ask(self) -> None:
        try:
            self._answer = self._core.running()
        except CameraError as error:
            # Handed to who asked.
            self._answer = error


class Pace:
    """How long to sleep until the next frame may be there. Pure.

    A core does not tell when a frame comes: it must be asked. On some machines a sleep costs more
    processor time than a frame does, so one that ends when the frame is due is better than many.

    Attributes
    ----------
    period_ns : float
        From frame to frame, as learnt; 0 while it is not known.
    """

    _LEAST_S = 0.0002
    _LATE_S = 0.002
    _MOST_S = 0.02

    def __init__(self, period_ns: int) -> None:
        self.period_ns = float(period_ns)
        self._last_ns = 0

    def came(self, t_ns: int) -> None:
        """Take note of a frame that the core had at ``t_ns``."""
        interval_ns = t_ns - self._last_ns
        if self._last_ns and interval_ns > 0:
            if not self.period_ns:
                self.period_ns = float(interval_ns)
            elif interval_ns < 4 * self.period_ns:
                self.period_ns += (interval_ns - self.period_ns) / 16
        self._last_ns = t_ns

    def wait_s(self, t_ns: int) -> float:
        """Return the seconds to sleep, from ``t_ns``, when nothing waits."""
        # A frame that is late is asked for again soon.
        late_s = min(self._LATE_S, max(self._LEAST_S, self.period_ns * 1e-9 / 20))
        due_s = (self._last_ns + self.period_ns - t_ns) * 1e-9
        return min(self._MOST_S, due_s) if due_s > late_s else late_s


def seconds_until(deadline_ns: int) -> float:
    """Return the time left, in seconds, never below 0."""
    return max(0, deadline_ns - now_ns()) * 1e-9
