"""The loop that drives a stage: orders, stops and waits."""

from __future__ import annotations

from collections import deque
from typing import Any, cast

import pytest

from livedenoise.bus import wire
from livedenoise.bus.control import ControlLink
from livedenoise.core.clock import now_ns
from livedenoise.supervise.stage import run_stage


class FakeLink:
    """Orders that wait, and what was said."""

    def __init__(self, *orders: wire.AnyMessage, stopped: bool = False) -> None:
        self.waiting = deque(orders)
        self.stopped = stopped
        self.sent: list[wire.Message] = []
        self.busy_until_ns: list[int] = []

    def wait(self, _timeout_s: float) -> wire.AnyMessage | None:
        if not self.waiting:
            self.stopped = True
            return None
        return self.waiting.popleft()

    def orders(self) -> list[wire.AnyMessage]:
        found = list(self.waiting)
        self.waiting.clear()
        return found

    def send(self, message: wire.Message) -> None:
        self.sent.append(message)

    def tick(self, _metrics: dict[str, Any], busy_until_ns: int = 0) -> None:
        self.busy_until_ns.append(busy_until_ns)


class FakeStage:
    """Waits, inside its only step, for a reader that is dead."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.gone = False

    def open(self) -> dict[str, Any]:
        return {}

    def configure(self, _settings: dict[str, Any]) -> dict[str, Any]:
        return {}

    def idle(self) -> None:
        pass

    def start(self, pulse: Any) -> None:
        self.done.append("start")
        self._pulse = pulse

    def step(self) -> bool:
        for _ in range(100):
            if self.gone:
                self.done.append("step")
                return False
            self._pulse()
        raise AssertionError("the order never came")

    def on_order(self, message: wire.AnyMessage) -> None:
        self.gone = isinstance(message, wire.ReaderGone)

    def request_stop(self, *, drain: bool) -> None:
        pass

    def metrics(self) -> dict[str, Any]:
        return {}

    def facts(self) -> dict[str, Any]:
        return {}

    def close(self) -> None:
        pass


CONFIGURE = wire.Configure(settings={})


def run(stage: FakeStage, link: FakeLink) -> list[str]:
    run_stage(stage, cast("ControlLink", link), 0)
    return [type(message).__name__ for message in link.sent]


def test_orders_arrive_during_a_wait_inside_a_step() -> None:
    stage = FakeStage()
    said = run(stage, FakeLink(CONFIGURE, wire.Start(), wire.ReaderGone(reader="record")))
    assert stage.done == ["start", "step"]
    assert said == ["StageInfo", "Ready", "Finished"]


def test_a_long_call_is_announced_until_the_next_pulse() -> None:
    class Busy(FakeStage):
        def step(self) -> bool:
            self._pulse(60.0)
            self._pulse()
            return False

    link = FakeLink(CONFIGURE, wire.Start())
    before_ns = now_ns()
    run(Busy(), link)
    announced, after = link.busy_until_ns[-2:]
    assert before_ns + 60e9 <= announced <= now_ns() + 60e9
    assert after == 0


def test_a_stop_right_behind_the_start_ends_in_order() -> None:
    stage = FakeStage()
    stage.gone = True
    said = run(stage, FakeLink(CONFIGURE, wire.Start(), stopped=True))
    assert stage.done == ["start", "step"]
    assert said[-1] == "Finished"


@pytest.mark.parametrize("orders", [(), (CONFIGURE,)])
def test_a_stop_before_the_start_is_no_silent_death(orders: tuple[wire.AnyMessage, ...]) -> None:
    stage = FakeStage()
    said = run(stage, FakeLink(*orders))
    assert stage.done == []
    assert said[-1] == "Finished"
