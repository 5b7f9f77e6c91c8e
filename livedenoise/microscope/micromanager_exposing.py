"""Exposures on command from Micro-Manager's core: one snapped, or many as a short sequence.

Knows: which way is taken for what, how an exposure is ended early, what a frame must look like.
Must not know: light, stages, the life cycle.

A single short exposure is snapped: nothing is quicker. Many, or a long one, are a sequence, which
can be stopped. It is never longer than the core's buffer holds, so a slow receiver cannot make it
overflow; the frames of the next one follow after it.

The exposure is the one that was commanded and read back. Frames' own tags are not used: in
Micro-Manager they can tell another one.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator

from livedenoise.acquire.micromanager_control import Pace, SequenceControl
from livedenoise.core.clock import now_ns
from livedenoise.core.errors import CameraError
from livedenoise.core.microscope import Exposed
from livedenoise.micromanager.changes import Changes
from livedenoise.micromanager.core import Core, CoreGoneError, Taken
from livedenoise.micromanager.owning import LIVE_VIEW_RUNS
from livedenoise.micromanager.setup import Format, exposure_read_back_us

_SNAP_UP_TO_US = 500_000
"""A snap cannot be ended early (python): longer exposures are sequences of one frame."""
_LOOK_NS = 50_000_000
_EXTRA_S = 5.0


class Exposing:
    """Takes the exposures of one core.

    Parameters
    ----------
    core, changes : Core, Changes
        Used by nobody else meanwhile.
    name : str
        Of the camera, for errors.
    form : Format
        What every frame must be.
    buffer_frames : int
        Frames the core's buffer holds.
    """

    def __init__(
        self, core: Core, changes: Changes, *, name: str, form: Format, buffer_frames: int
    ) -> None:
        self._core = core
        self._changes = changes
        self._name = name
        self._form = form
        self._batch = max(1, buffer_frames * 7 // 8)
        self._commanded_us = 0
        self._found_us = 0
        self._control: SequenceControl | None = None

    def frames(
        self, exposure_us: int, n_frames: int, aborted: threading.Event
    ) -> Iterator[Exposed]:
        """Expose and yield each frame as it comes; early closing stops the camera.

        Raises
        ------
        CameraError
            If the exposure is refused, the camera stalls or goes away, frames are lost or of
            another format, or ``aborted`` is set.
        """
        self.finish()
        self._set_exposure(exposure_us)
        if n_frames == 1 and exposure_us <= _SNAP_UP_TO_US:
            yield self._snapped(aborted)
            return
        for start in range(0, n_frames, self._batch):
            yield from self._sequence(min(self._batch, n_frames - start), aborted)

    def forget(self) -> None:
        """Take note that the exposure may have been changed: it is set anew."""
        self._commanded_us = 0

    def finish(self) -> None:
        """Wait until the camera is idle, after an exposure that was ended early.

        Raises
        ------
        CameraError
            If it does not stop.
        """
        control = self._control
        if control is not None:
            control.finish()
            self._control = None

    def _set_exposure(self, exposure_us: int) -> None:
        """Set the exposure unless it is set; over the bridge somebody else may have changed it."""
        if exposure_us == self._commanded_us:
            if self._core.backend == "python":
                return
            if round(self._core.exposure_ms() * 1000) == self._found_us:
                return
        self._commanded_us = 0
        self._changes.set_exposure_ms(exposure_us / 1000)
        self._found_us = exposure_read_back_us(self._core, self._name, exposure_us)
        self._commanded_us = exposure_us

    def _snapped(self, aborted: threading.Event) -> Exposed:
        try:
            taken = self._core.snap()
        except CoreGoneError:
            raise
        except CameraError as error:
            raise self._explained(error, aborted) from error
        if aborted.is_set():
            raise self._aborted()
        return self._exposed(taken, now_ns())

    def _sequence(self, count: int, aborted: threading.Event) -> Iterator[Exposed]:
        control = SequenceControl(self._core, self._name, self._found_us)
        self._control = control
        try:
            self._begin(control, count, aborted)
            pace = Pace(1000 * self._found_us)
            pace.came(now_ns())
            for number in range(count):
                taken = self._next(control, pace, number, aborted)
                t_host_ns = now_ns() - max(0, taken.tags.age_ns)
                pace.came(t_host_ns)
                yield self._exposed(taken, t_host_ns)
            control.end()
        except BaseException:
            # Ended in another thread: the core may come back only when the exposure is over.
            control.stop()
            raise
        self._control = None

    def _begin(self, control: SequenceControl, count: int, aborted: threading.Event) -> None:
        try:
            control.begin(count)
        except CoreGoneError:
            raise
        except CameraError as error:
            raise self._explained(error, aborted) from error

    def _next(
        self, control: SequenceControl, pace: Pace, number: int, aborted: threading.Event
    ) -> Taken:
        limit_s = _EXTRA_S + 1.5e-6 * self._found_us
        began_ns = looked_ns = now_ns()
        while not self._waits(control, aborted):
            t_ns = now_ns()
            if t_ns - looked_ns > _LOOK_NS:
                looked_ns = t_ns
                self._require_running(control, number)
            if t_ns - began_ns > limit_s * 1e9:
                raise CameraError(
                    f"camera {self._name}: frame {number} did not come within {limit_s:.1f} s "
                    f"(exposure {self._found_us} us)",
                    "see whether it delivers in Micro-Manager's own live view; an external "
                    "trigger must be off",
                )
            aborted.wait(pace.wait_s(t_ns))
        taken = self._core.pop(tags=self._core.cheap_tags)
        if taken.tags.image_number not in (-1, number):
            raise CameraError(
                f"camera {self._name}: frame {taken.tags.image_number} came where {number} was "
                "due: frames were lost",
                "raise camera.buffer_mb; see what was busy",
            )
        return taken

    def _waits(self, control: SequenceControl, aborted: threading.Event) -> bool:
        """Return whether a frame waits.

        Raises
        ------
        CameraError
            If it is not waited for any more.
        """
        if aborted.is_set():
            raise self._aborted()
        if control.stopped.is_set():
            raise CameraError(
                f"camera {self._name}: these exposures were ended by the command after them",
                "take all frames of a command, or close its iterator, before the next one",
            )
        return self._core.remaining() > 0

    def _require_running(self, control: SequenceControl, number: int) -> None:
        if self._core.overflowed():
            raise CameraError(
                f"camera {self._name}: Micro-Manager's buffer was full after {number} frames, the "
                "camera stopped",
                "its buffer was made smaller meanwhile: leave Micro-Manager alone, or raise "
                "camera.buffer_mb",
            )
        if not control.running() and not self._core.remaining():
            raise CameraError(
                f"camera {self._name}: the camera stopped by itself after {number} frames",
                "somebody changed or stopped it in Micro-Manager, or its log names an error of "
                "the adapter",
            )

    def _exposed(self, taken: Taken, t_host_ns: int) -> Exposed:
        pixels, form = taken.pixels, self._form
        if pixels.shape != form.shape or pixels.dtype.str != form.dtype:
            raise CameraError(
                f"camera {self._name}: a frame is {pixels.shape} (Y, X), {pixels.dtype.str}; "
                f"{form.shape}, {form.dtype} it was when the camera was opened",
                "a preset, a property or somebody at the window changed region, binning or pixel "
                "type: leave them alone meanwhile",
            )
        return Exposed(
            pixels=pixels if pixels.flags.writeable else pixels.copy(),
            exposure_us=self._found_us,
            t_host_ns=t_host_ns,
        )

    def _explained(self, error: CameraError, aborted: threading.Event) -> CameraError:
        """Return what a refused exposure means."""
        if aborted.is_set():
            return self._aborted()
        if self._core.running():
            return CameraError(
                f"camera {self._name}: {LIVE_VIEW_RUNS}: {error.message}",
                "stop it there, and leave the camera alone meanwhile",
            )
        return error

    def _aborted(self) -> CameraError:
        return CameraError(
            f"camera {self._name}: the exposure was aborted",
            "nothing is wrong with the camera",
        )
