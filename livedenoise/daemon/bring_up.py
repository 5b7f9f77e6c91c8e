"""Bringing a run up: processes, rings and channels, each as soon as what it needs exists.

Order: every process is spawned at once (imports overlap), cameras are opened and prepared, then for
each camera the raw ring and its stream, the recorder, the clean ring and the denoiser, the clean
recorder, the view. Nothing is started before everything is ready; acquire is started last.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from livedenoise.bus import wire
from livedenoise.core.clock import now_ns
from livedenoise.core.errors import EXIT_ABORTED, EXIT_INTERNAL, StageError
from livedenoise.daemon import plan
from livedenoise.daemon.line import Line
from livedenoise.daemon.stages import StageHandle, Stages

OPEN_TIMEOUT_S = 300.0
READY_TIMEOUT_S = 60.0
_POLL_MS = 5


class BringUp:
    """Starts the stages of a run.

    Parameters
    ----------
    stop_requested : callable
        Asked while waiting: a stop ends the bring-up.
    serve : callable
        Called while waiting, so that the daemon can be asked for its status meanwhile.
    """

    def __init__(
        self,
        stages: Stages,
        lines: Sequence[Line],
        log_folder: Path,
        *,
        stop_requested: Callable[[], bool],
        serve: Callable[[], None],
    ) -> None:
        self._stages = stages
        self._lines = lines
        self._log_folder = log_folder
        self._stop_requested = stop_requested
        self._serve = serve

    def spawn(self, n_frames: int | None) -> None:
        """Start every process at once: they import while the cameras get ready."""
        for line in self._lines:
            for kind in line.wanted():
                line.spawn(kind, n_frames)

    def run(self) -> None:
        """Configure every stage and start them, acquire last.

        Raises
        ------
        LiveDenoiseError
            If a stage fails or does not answer, a ring does not fit, or a stop is requested.
        """
        self._await(self._stages.of_kind("acquire"), "info", OPEN_TIMEOUT_S)
        for line in self._lines:
            self._bring_up(line)
        self._await(list(self._stages.handles.values()), "ready", READY_TIMEOUT_S)
        for line in self._lines:
            if line.get("view") is not None:
                line.take_address("view")
        # Readers first, acquire last: nothing is captured before everything can take it.
        for kind in reversed(plan.KINDS):
            for handle in self._stages.of_kind(kind):
                self._stages.send(handle, wire.Start())

    def _bring_up(self, line: Line) -> None:
        """Configure the stages of one camera, each as soon as what it reads from exists."""
        line.learn_facts()
        for kind in line.wanted():
            line.configure(kind)
            if kind in ("acquire", "denoise"):
                self._await([line.existing(kind)], "ready", READY_TIMEOUT_S)
                line.take_address(kind)

    def _await(self, handles: list[StageHandle], what: str, timeout_s: float) -> None:
        """Wait until every handle has its ``what``; a failure of any stage ends the wait."""
        deadline_ns = now_ns() + int(timeout_s * 1e9)
        while any(getattr(handle, what) is None for handle in handles):
            self._stages.pump(_POLL_MS)
            self._serve()
            for handle in self._stages.handles.values():
                if handle.failed is not None:
                    failed = handle.failed
                    raise StageError(failed.message, handle.failure_code, failed.hint)
            if self._stop_requested():
                raise StageError("stopped before the camera was started", EXIT_ABORTED)
            if now_ns() > deadline_ns:
                late = [h.name for h in handles if getattr(h, what) is None]
                raise StageError(
                    f"no answer within {timeout_s:.0f} s from {', '.join(late)}",
                    EXIT_INTERNAL,
                    f"logs: {self._log_folder}",
                )
