"""The stage contract and the loop that drives one: open, configure, start, step, finish.

A stage is one process around one job. Its loop is ``while stage.step()``; the heartbeat ticks from
there, so that a hung loop shows. Everything else about processes is in ``supervise.child``.
"""

from __future__ import annotations

from typing import Any, Protocol, TypeVar

from livedenoise.bus import wire
from livedenoise.bus.control import ControlLink
from livedenoise.core.clock import now_ns

M = TypeVar("M", bound=wire.Message)
_WAIT_S = 0.01


class Pulse(Protocol):
    """Says that the loop lives and takes the orders that wait; cheap.

    ``run_stage`` calls it after every step. A step that waits for another stage calls it too, or
    the order that the other stage died would never end that wait.
    """

    def __call__(self, busy_s: float = 0.0) -> None:
        """Beat once; ``busy_s`` announces a long call, during which silence is no hang."""


def no_pulse(busy_s: float = 0.0) -> None:
    """Stand in for the pulse until the stage is started."""


class Stage(Protocol):
    """One job of the live plane."""

    def open(self) -> dict[str, Any]:
        """Do everything slow that needs no other stage; return what was found."""

    def configure(self, settings: dict[str, Any]) -> dict[str, Any]:
        """Attach to rings and channels; return what others need to know."""

    def idle(self) -> None:
        """Serve other stages while waiting to start."""

    def start(self, pulse: Pulse) -> None:
        """Begin. ``pulse`` is for waits inside a step, from the thread of the step."""

    def step(self) -> bool:
        """Do one bounded piece of work; return False when everything is done."""

    def on_order(self, message: wire.AnyMessage) -> None:
        """Take an order other than configure, start and stop."""

    def request_stop(self, *, drain: bool) -> None:
        """Ask to end: from any thread. ``drain`` finishes what was taken, else leave at once."""

    def metrics(self) -> dict[str, Any]:
        """Return the metrics so far."""

    def facts(self) -> dict[str, Any]:
        """Return what the run's summary needs; {} before ``configure``; also after ``close``."""

    def close(self) -> None:
        """Release everything. Idempotent."""


def run_stage(stage: Stage, link: ControlLink, report_ns: int) -> None:
    """Drive a stage from open to finished, also when a stop comes before the start."""
    link.send(wire.StageInfo(facts=stage.open()))
    settings = _await(stage, link, wire.Configure)
    if settings is not None:
        link.send(wire.Ready(facts=stage.configure(settings.settings)))
        if _await(stage, link, wire.Start) is not None:
            _run_steps(stage, link, report_ns)
    link.send(wire.Finished(metrics=stage.metrics(), facts=stage.facts()))


def _run_steps(stage: Stage, link: ControlLink, report_ns: int) -> None:
    next_report_ns = 0
    metrics = stage.metrics()

    def pulse(busy_s: float = 0.0) -> None:
        nonlocal next_report_ns, metrics
        if now_ns() >= next_report_ns:
            next_report_ns = now_ns() + report_ns
            metrics = stage.metrics()
            for order in link.orders():
                stage.on_order(order)
        link.tick(metrics, now_ns() + int(busy_s * 1e9) if busy_s else 0)

    stage.start(pulse)
    while stage.step():
        pulse()


def _await(stage: Stage, link: ControlLink, kind: type[M]) -> M | None:
    """Wait for an order of ``kind``, however long others take; None when a stop came instead.

    A stop that follows the order closely does not hide it: a stage told to start and to stop
    starts, and ends in order. A daemon that died ends the process from outside (see ``child``).
    """
    while True:
        stopped = link.stopped
        message = link.wait(_WAIT_S)
        stage.idle()
        link.tick({})
        if isinstance(message, kind):
            return message
        if message is not None:
            stage.on_order(message)
        elif stopped:
            return None
