"""The stage contract and the loop that drives one: open, configure, start, step, finish.

A stage is one process around one job. Its loop is ``while stage.step()``; the heartbeat ticks from
there, so that a hung loop shows. Everything else about processes is in ``supervise.child``.
"""

from __future__ import annotations

from typing import Any, Protocol, TypeVar

from livedenoise.bus import wire
from livedenoise.bus.control import ControlLink
from livedenoise.core.clock import now_ns
from livedenoise.core.errors import BusError

M = TypeVar("M", bound=wire.Message)
_WAIT_S = 0.01
_ORDERS_TIMEOUT_S = 120.0


class Stage(Protocol):
    """One job of the live plane."""

    def open(self) -> dict[str, Any]:
        """Do everything slow that needs no other stage; return what was found."""

    def configure(self, settings: dict[str, Any]) -> dict[str, Any]:
        """Attach to rings and channels; return what others need to know."""

    def idle(self) -> None:
        """Serve other stages while waiting to start."""

    def start(self) -> None:
        """Begin."""

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
    """Drive a stage from open to finished.

    Raises
    ------
    BusError
        If the daemon does not send its orders in time.
    """
    link.send(wire.StageInfo(facts=stage.open()))
    settings = _await(stage, link, wire.Configure)
    if settings is None:
        return
    link.send(wire.Ready(facts=stage.configure(settings.settings)))
    if _await(stage, link, wire.Start) is None:
        return
    stage.start()
    next_report_ns = 0
    metrics = stage.metrics()
    while stage.step():
        if now_ns() >= next_report_ns:
            next_report_ns = now_ns() + report_ns
            metrics = stage.metrics()
            for order in link.orders():
                stage.on_order(order)
        link.tick(metrics)
    link.send(wire.Finished(metrics=stage.metrics(), facts=stage.facts()))


def _await(stage: Stage, link: ControlLink, kind: type[M]) -> M | None:
    """Wait for an order of ``kind``; None when a stop came instead."""
    deadline_ns = now_ns() + int(_ORDERS_TIMEOUT_S * 1e9)
    while now_ns() < deadline_ns:
        if link.stopped:
            return None
        message = link.wait(_WAIT_S)
        stage.idle()
        if isinstance(message, kind):
            return message
        if message is not None:
            stage.on_order(message)
    raise BusError(f"no {kind.__name__} from the daemon within {_ORDERS_TIMEOUT_S:.0f} s")
