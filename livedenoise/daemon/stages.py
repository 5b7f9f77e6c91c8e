"""The stage processes of a run as the daemon sees them: what each said last, and how it ended."""

from __future__ import annotations

import signal
from collections import Counter
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
from livedenoise.core.metrics import MetricsView, metrics_from_wire, summed
from livedenoise.daemon.camera_counters import PREFIX
from livedenoise.supervise.child import ChildSpec
from livedenoise.supervise.process import StageProcess

_LINGER_S = 5.0
_CODES = {
    "acquire": EXIT_CAMERA,
    "denoise": EXIT_DENOISER,
    "record": EXIT_RECORD,
    "record-clean": EXIT_RECORD,
}


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
    t_born_ns: int = 0
    t_step_ns: int = 0
    t_heard_ns: int = 0
    busy_until_ns: int = 0
    restarts: int = 0
    configured: bool = False
    silent_death: bool = False
    hopeless: bool = False
    excused: bool = False
    t_configured_ns: int = 0

    @property
    def state(self) -> str:
        """Return what it is doing, in the words of ``core.status.StageStatus``."""
        if self.over:
            return "finished" if self.finished else "dead"
        if self.ready is None:
            return "restarting" if self.restarts else "starting"
        return "running"

    @property
    def over(self) -> bool:
        """Return whether nothing more will come from it."""
        return self.finished or self.failed is not None

    @property
    def failure_code(self) -> int:
        """Return the exit code its death gives the run, also when it died without a word."""
        if self.failed is None or self.failed.exit_code != EXIT_INTERNAL:
            return EXIT_OK if self.failed is None else self.failed.exit_code
        return _CODES.get(self.kind, EXIT_INTERNAL)


class Past(msgspec.Struct):
    """What a stage's predecessors did, in all: one record however many there were.

    ``firsts`` are the earliest values of gauges named ``first_*``; ``counters`` the sums of what a
    camera counts (each process from 0); ``serving`` what a denoiser last served with.
    """

    count: int = 0
    metrics: MetricsView = msgspec.field(default_factory=MetricsView)
    firsts: dict[str, float] = {}
    counters: Counter[str] = msgspec.field(default_factory=Counter)
    serving: dict[str, Any] = {}

    def add(self, handle: StageHandle) -> None:
        """Take one more."""
        view = metrics_from_wire(handle.metrics)
        self.count += 1
        self.metrics = summed([self.metrics, view])
        self.counters.update(_counters(view))
        for name, value in view.gauges.items():
            if name.startswith("first_") and value:
                self.firsts[name] = min(value, self.firsts.get(name, value))
        self.serving = handle.metrics.get("serving") or self.serving


class Stages:
    """All stage processes of a run, and the messages between them and the daemon."""

    def __init__(self, server: ControlServer, log_folder: Path, report_ms: int) -> None:
        self._server = server
        self._log_folder = log_folder
        self._report_ms = report_ms
        self.handles: dict[str, StageHandle] = {}
        self._past: dict[str, Past] = {}

    def spawn(
        self, kind: str, camera: str, entry: str, settings: dict[str, Any], token: str
    ) -> StageHandle:
        """Start a stage process; its control identity contains the unguessable ``token``.

        A stage of that name becomes its predecessor: what it did stays in ``totals``.
        """
        name = f"{kind}.{camera}"
        past = self.past(kind, camera)
        n_before = past.count + (name in self.handles)
        # Another identity than its predecessor's, whose last words may still be on their way.
        identity = f"{name}-{token}-{n_before}"
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
        handle = StageHandle(
            name=name, kind=kind, camera=camera, process=process, restarts=n_before
        )
        if name in self.handles:
            past.add(self.handles[name])
        handle.t_born_ns = handle.t_step_ns = handle.t_heard_ns = now_ns()
        self.handles[name] = handle
        return handle

    def get(self, kind: str, camera: str) -> StageHandle | None:
        """Return a stage, None where the run has none of that kind."""
        return self.handles.get(f"{kind}.{camera}")

    def of_kind(self, kind: str) -> list[StageHandle]:
        """Return the stages of one kind."""
        return [handle for handle in self.handles.values() if handle.kind == kind]

    def past(self, kind: str, camera: str) -> Past:
        """Return what a stage's predecessors did."""
        return self._past.setdefault(f"{kind}.{camera}", Past())

    def first(self, kind: str, camera: str, gauge: str) -> float:
        """Return the earliest value of a gauge ``first_*`` over a stage's processes; 0 for none."""
        handle = self.get(kind, camera)
        now = {} if handle is None else handle.metrics.get("gauges", {})
        found = (self.past(kind, camera).firsts.get(gauge), now.get(gauge))
        return min((value for value in found if value), default=0.0)

    def totals(self, kind: str, camera: str) -> MetricsView:
        """Return a stage's counts, drops and hops over all its processes; gauges of the last.

        What a camera counts travels as gauges, and is summed as well.
        """
        handle, past = self.get(kind, camera), self.past(kind, camera)
        if handle is None:
            return past.metrics
        now = metrics_from_wire(handle.metrics)
        if not past.count:
            return now
        found = summed([past.metrics, now])
        found.gauges = found.gauges | past.counters + Counter(_counters(now))
        return found

    def restarts(self) -> dict[str, int]:
        """Return how often each stage was replaced, without those that never were."""
        return {name: handle.restarts for name, handle in self.handles.items() if handle.restarts}

    def send(self, handle: StageHandle, message: wire.Message) -> None:
        """Send an order, unless the stage is over."""
        if not handle.over:
            if isinstance(message, wire.Configure):
                handle.configured, handle.t_configured_ns = True, now_ns()
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

    def end(self, handle: StageHandle) -> None:
        """Make sure a stage's process is gone."""
        handle.process.end()

    def end_all(self, linger_s: float = 0.0) -> None:
        """Wait for the finished, end the rest; afterwards no child is left.

        ``linger_s`` is waited for besides what every stage is given: a camera puts back what it
        changed once its exposure in progress has ended.
        """
        deadline_ns = now_ns() + int((_LINGER_S + linger_s) * 1e9)
        for handle in self.handles.values():
            if handle.over:
                handle.process.wait(max(0.0, (deadline_ns - now_ns()) * 1e-9))
            handle.process.end()

    def _on_message(self, handle: StageHandle, message: wire.AnyMessage) -> None:
        handle.t_heard_ns = now_ns()
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
            f"stage {handle.name} ended without a word ({_how(code)})",
            EXIT_INTERNAL,
            f"its log: {handle.process.log_path}\n{handle.process.log_tail()}",
        )
        handle.silent_death = True


def _counters(view: MetricsView) -> dict[str, int]:
    """Return the gauges that are counts of a camera."""
    return {name: int(value) for name, value in view.gauges.items() if name.startswith(PREFIX)}


def _how(code: int | None) -> str:
    """Return how a process ended, in words."""
    if code is None or code >= 0:
        return f"exit code {code}"
    try:
        return f"signal {signal.Signals(-code).name}"
    except ValueError:
        return f"signal {-code}"
