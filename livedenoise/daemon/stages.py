"""The stage processes of a run as the daemon sees them: what each said last, and how it ended."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from livedenoise.bus import wire
from livedenoise.bus.control import ControlServer
from livedenoise.core.clock import now_ns
from livedenoise.core.errors import (
    EXIT_CAMERA,
    EXIT_DENOISER,
    EXIT_INTERNAL,
    EXIT_OK,
    EXIT_RECORD,
    StageError,
)
from livedenoise.supervise.child import ChildSpec
from livedenoise.supervise.process import StageProcess

_LINGER_S = 3.0


class StageHandle(msgspec.Struct, kw_only=True):
    """One stage process: its last words so far."""

    name: str
    kind: str
    camera: str
    process: StageProcess
    info: dict[str, Any] | None = None
    ready: dict[str, Any] | None = None
    metrics: dict[str, Any] = {}
    facts: dict[str, Any] = {}
    finished: bool = False
    failed: StageError | None = None
    t_step_ns: int = 0
    busy_until_ns: int = 0

    @property
    def over(self) -> bool:
        """Return whether nothing more will come from it."""
        return self.finished or self.failed is not None

    @property
    def failure_code(self) -> int:
        """Return the exit code its death gives the run, also when it died without a word."""
        if self.failed is None or self.failed.exit_code != EXIT_INTERNAL:
            return EXIT_OK if self.failed is None else self.failed.exit_code
        codes = {"acquire": EXIT_CAMERA, "denoise": EXIT_DENOISER}
        return codes.get(self.kind, EXIT_RECORD)


class Stages:
    """All stage processes of a run, and the messages between them and the daemon."""

    def __init__(self, server: ControlServer, log_folder: Path, report_ms: int) -> None:
        self._server = server
        self._log_folder = log_folder
        self._report_ms = report_ms
        self.handles: dict[str, StageHandle] = {}

    def spawn(
        self, kind: str, camera: str, entry: str, settings: dict[str, Any], token: str
    ) -> StageHandle:
        """Start a stage process; its control identity contains the unguessable ``token``."""
        name = f"{kind}.{camera}"
        identity = f"{name}-{token}"
        self._server.expect(name, identity)
        spec = ChildSpec(
            stage=name,
            entry=entry,
            endpoint=self._server.endpoint,
            identity=identity,
            report_ms=self._report_ms,
            settings=settings,
        )
        process = StageProcess(spec, self._log_folder / f"{name}.log")
        handle = StageHandle(name=name, kind=kind, camera=camera, process=process)
        handle.t_step_ns = now_ns()
        self.handles[name] = handle
        return handle

    def get(self, kind: str, camera: str) -> StageHandle | None:
        """Return a stage, None where the run has none of that kind."""
        return self.handles.get(f"{kind}.{camera}")

    def of_kind(self, kind: str) -> list[StageHandle]:
        """Return the stages of one kind."""
        return [handle for handle in self.handles.values() if handle.kind == kind]

    def send(self, handle: StageHandle, message: wire.Message) -> None:
        """Send an order, unless the stage is over."""
        if not handle.over:
            self._server.send(handle.name, message)

    def pump(self, timeout_ms: int) -> None:
        """Take the messages that wait (at most ``timeout_ms`` for the first), notice deaths."""
        received = self._server.receive(timeout_ms)
        while received is not None:
            self._on_message(self.handles[received[0]], received[1])
            received = self._server.receive(0)
        for handle in self.handles.values():
            if not handle.over and handle.process.exit_code() is not None:
                self._on_death(handle)

    def end_all(self) -> None:
        """Wait for the finished, end the rest; afterwards no child is left."""
        deadline_ns = now_ns() + int(_LINGER_S * 1e9)
        for handle in self.handles.values():
            if handle.over:
                handle.process.wait(max(0.0, (deadline_ns - now_ns()) * 1e-9))
            handle.process.end()

    def _on_message(self, handle: StageHandle, message: wire.AnyMessage) -> None:
        match message:
            case wire.StageInfo(facts=facts):
                handle.info = facts
            case wire.Ready(facts=facts):
                handle.ready = facts
            case wire.Beat(t_step_ns=step, busy_until_ns=busy, metrics=metrics) if not handle.over:
                # A heartbeat may come after the last word, with older figures.
                handle.t_step_ns, handle.busy_until_ns = step, busy
                handle.metrics = metrics or handle.metrics
            case wire.Finished(metrics=metrics, facts=facts):
                handle.metrics, handle.facts, handle.finished = metrics, facts, True
            case wire.Failed():
                handle.metrics, handle.facts = message.metrics, message.facts
                handle.failed = StageError(message.message, message.exit_code, message.hint)

    def _on_death(self, handle: StageHandle) -> None:
        # Its last message may still be on the way: the socket outlives the process.
        received = self._server.receive(50)
        while received is not None:
            self._on_message(self.handles[received[0]], received[1])
            received = self._server.receive(0)
        if handle.over:
            return
        code = handle.process.exit_code()
        handle.failed = StageError(
            f"stage {handle.name} ended without a word (exit code {code})",
            EXIT_INTERNAL,
            f"its log: {handle.process.log_path}\n{handle.process.log_tail()}",
        )
