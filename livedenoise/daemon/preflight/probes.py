"""Questions to child processes: a stage is opened, says what it found, and is ended.

A driver that hangs or crashes takes a child with it, never the check; nothing a camera or an engine
imports is imported here. The children are the very stage processes of a run.
"""

from __future__ import annotations

import secrets
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec

from livedenoise.bus import wire
from livedenoise.bus.context import new_context
from livedenoise.bus.control import ControlServer
from livedenoise.bus.endpoints import Endpoints
from livedenoise.core.clock import now_ns
from livedenoise.core.errors import EXIT_INTERNAL, LiveDenoiseError, StageError
from livedenoise.supervise.child import ChildSpec
from livedenoise.supervise.process import StageProcess

_POLL_MS = 20
_LAST_WORDS_MS = 100
_CLOSE_S = 3.0
"""How long a camera may take to close before its process is ended."""

_REPORT_MS = 500

Answer = dict[str, Any] | LiveDenoiseError
"""What a stage found when it opened, or why it could not."""


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """One stage to open: ``entry`` is ``module:class``, called with ``settings``."""

    name: str
    entry: str
    settings: dict[str, Any]


class _Open(msgspec.Struct):
    job: Job
    process: StageProcess
    answer: Answer | None = None


class Probes:
    """Opens stages in child processes; a context manager that leaves none behind."""

    def __init__(self) -> None:
        self._context = new_context()
        self._endpoints = Endpoints()
        self._server = ControlServer(self._context, self._endpoints.bind_to("control"))
        self._logs = tempfile.TemporaryDirectory(prefix="livedenoise-check-")
        self._open: dict[str, _Open] = {}

    def ask(self, jobs: list[Job], timeout_s: float) -> dict[str, Answer]:
        """Open every job's stage at the same time; return each one's answer, by name.

        A stage that says nothing within ``timeout_s`` is killed; its answer is a StageError.
        """
        for job in jobs:
            self._open[job.name] = _Open(job, self._spawn(job))
        deadline_ns = now_ns() + int(timeout_s * 1e9)
        try:
            while any(one.answer is None for one in self._open.values()) and now_ns() < deadline_ns:
                self._pump(_POLL_MS)
                self._notice_deaths()
            self._give_up(timeout_s)
            return {name: self._answer(one) for name, one in self._open.items()}
        finally:
            self._end_all()

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End what still runs; remove logs and sockets."""
        self._end_all()
        self._server.close()
        self._endpoints.close()
        self._context.term()
        self._logs.cleanup()

    def _spawn(self, job: Job) -> StageProcess:
        identity = f"{job.name}-{secrets.token_hex(16)}"
        self._server.expect(job.name, identity)
        spec = ChildSpec(
            stage=job.name,
            entry=job.entry,
            endpoint=self._server.endpoint,
            identity=identity,
            report_ms=_REPORT_MS,
            settings=job.settings,
        )
        return StageProcess(spec, Path(self._logs.name) / f"{job.name}.log")

    def _pump(self, timeout_ms: int) -> None:
        received = self._server.receive(timeout_ms)
        while received is not None:
            self._take(*received)
            received = self._server.receive(0)

    def _take(self, stage: str, message: wire.AnyMessage) -> None:
        one = self._open.get(stage)
        if one is None or one.answer is not None:
            return
        match message:
            case wire.StageInfo(facts=facts):
                one.answer = facts
                # At once, so that a camera is closed while others are still opening.
                self._server.send(stage, wire.Stop(drain=False))
            case wire.Failed():
                one.answer = StageError(message.message, message.exit_code, message.hint)

    def _notice_deaths(self) -> None:
        dead = [o for o in self._open.values() if o.process.exit_code() is not None]
        if any(one.answer is None for one in dead):
            # Its last message may still be on the way: the socket outlives the process.
            self._pump(_LAST_WORDS_MS)
        for one in dead:
            if one.answer is None:
                code = one.process.exit_code()
                text = f"the process of {one.job.name} died without a word (exit code {code})"
                one.answer = StageError(text, EXIT_INTERNAL, one.process.log_tail())

    def _give_up(self, timeout_s: float) -> None:
        for one in self._open.values():
            if one.answer is None:
                one.process.kill()
                text = f"{one.job.name}: no answer within {timeout_s:.0f} s; its process was ended"
                one.answer = StageError(text, EXIT_INTERNAL)

    def _answer(self, one: _Open) -> Answer:
        if one.answer is None:
            raise RuntimeError(f"{one.job.name} was neither answered nor given up")
        return one.answer

    def _end_all(self) -> None:
        deadline_ns = now_ns() + int(_CLOSE_S * 1e9)
        for one in self._open.values():
            if isinstance(one.answer, dict):
                one.process.wait(max(0.0, (deadline_ns - now_ns()) * 1e-9))
            elif one.answer is None:
                # Interrupted: nothing in it is worth waiting for.
                one.process.kill()
            one.process.end()
        self._open.clear()
