"""What the daemon decides from what its stages said last: stalls, drains, deaths, the end."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest

from livedenoise.bus import wire
from livedenoise.core.camera import CameraInfo, Prepared
from livedenoise.core.clock import now_ns
from livedenoise.core.errors import EXIT_INTERNAL, EXIT_RECORD, RecordError
from livedenoise.daemon.options import RunOptions
from livedenoise.daemon.plan import CameraFacts
from livedenoise.daemon.run import Daemon
from livedenoise.daemon.stages import StageHandle, Stages
from livedenoise.record.run_folder import RunFolder
from livedenoise.supervise.process import StageProcess
from livedenoise.testing.live import small_config

LONG_AGO_NS = 60_000_000_000


class FakeProcess:
    log_path = Path("logs/stage.log")

    def __init__(self) -> None:
        self.killed = False
        self.code = 0

    def exit_code(self) -> int:
        return self.code

    def kill(self) -> None:
        self.killed = True


class FakeStages:
    """Stages that say nothing by themselves, and remember what they were told."""

    def __init__(self, *names: str) -> None:
        self.handles = {name: self._handle(name) for name in names}
        self.orders: list[tuple[str, wire.Message]] = []

    def get(self, kind: str, camera: str) -> StageHandle | None:
        return self.handles.get(f"{kind}.{camera}")

    def of_kind(self, kind: str) -> list[StageHandle]:
        return [handle for handle in self.handles.values() if handle.kind == kind]

    def send(self, handle: StageHandle, message: wire.Message) -> None:
        self.orders.append((handle.name, message))

    def stopped(self) -> list[str]:
        return [name for name, order in self.orders if isinstance(order, wire.Stop)]

    def killed(self, name: str) -> bool:
        return cast("FakeProcess", self.handles[name].process).killed

    @staticmethod
    def _handle(name: str) -> StageHandle:
        kind, _, camera = name.partition(".")
        process = cast("StageProcess", FakeProcess())
        return StageHandle(name=name, kind=kind, camera=camera, process=process, t_step_ns=now_ns())


def prepared(**changes: Any) -> CameraFacts:
    values: dict[str, Any] = {
        "shape": (4, 4),
        "max_shape": (4, 4),
        "dtype": "<u2",
        "bit_depth": 16,
        "period_ns": 5_000_000,
        "exposure_us": 5000,
        "roi": (0, 0, 4, 4),
    }
    info = CameraInfo(name="x", kind="simulated", sensor=(4, 4), dtype="<u2", bit_depth=16)
    return CameraFacts(info=info, prepared=Prepared(**(values | changes)))


@pytest.fixture
def daemon(tmp_path: Path) -> Daemon:
    """Return a daemon whose stages have just been started."""
    daemon = Daemon(small_config(), RunOptions(out=tmp_path))
    daemon._facts = {"a": prepared(), "b": prepared()}
    daemon._started_ns = now_ns()
    daemon._progress = (0, now_ns())
    return daemon


def turn(daemon: Daemon, fake: FakeStages) -> bool:
    """Do what the daemon does after each round of messages; return whether it gives up."""
    stages = cast("Stages", fake)
    daemon._follow_deaths(stages)
    daemon._follow_stalls(stages)
    daemon._follow_stop(stages)
    return daemon._aborting(stages)


def test_a_slow_bring_up_is_no_stall(daemon: Daemon) -> None:
    fake = FakeStages("acquire.a", "denoise.a", "record.a")
    for handle in fake.handles.values():
        # The last it said came from before the engine was loaded.
        handle.t_step_ns = now_ns() - LONG_AGO_NS
    assert not turn(daemon, fake)
    assert daemon._errors == []
    assert not fake.killed("denoise.a")
    assert fake.stopped() == []


def test_a_stalled_camera_does_not_keep_the_other_from_its_stop(daemon: Daemon) -> None:
    fake = FakeStages("acquire.a", "acquire.b")
    daemon._started_ns = now_ns() - LONG_AGO_NS
    fake.handles["acquire.a"].t_step_ns = now_ns() - LONG_AGO_NS
    turn(daemon, fake)
    assert fake.stopped() == ["acquire.a"]
    daemon.request_stop()
    turn(daemon, fake)
    assert "acquire.b" in fake.stopped()


def test_a_stalled_camera_that_ignores_its_stop_is_killed(daemon: Daemon) -> None:
    fake = FakeStages("acquire.a", "acquire.b")
    daemon._started_ns = now_ns() - LONG_AGO_NS
    fake.handles["acquire.a"].t_step_ns = now_ns() - LONG_AGO_NS
    turn(daemon, fake)
    assert not fake.killed("acquire.a"), "it is given the time to end in order"
    daemon._told_stalled["acquire.a"] -= LONG_AGO_NS
    turn(daemon, fake)
    assert fake.killed("acquire.a")
    assert not fake.killed("acquire.b")


def test_draining_is_given_its_time_from_the_stop_on(daemon: Daemon) -> None:
    fake = FakeStages("acquire.a", "record.a")
    # A slow camera: nothing has moved for longer than draining may take.
    daemon._progress = (0, now_ns() - LONG_AGO_NS)
    daemon.request_stop()
    assert not turn(daemon, fake)
    assert not turn(daemon, fake)
    daemon._progress = (0, now_ns() - LONG_AGO_NS)
    assert turn(daemon, fake), "but not more"
    assert "record.a" in daemon._errors[0]


def test_a_stage_that_fails_after_its_last_word_is_noted(daemon: Daemon) -> None:
    fake = FakeStages("acquire.a", "record.a")
    for handle in fake.handles.values():
        handle.finished = True
    cast("FakeProcess", fake.handles["acquire.a"].process).code = 1
    daemon._note_unclean_ends(cast("Stages", fake))
    assert len(daemon._notes) == 1
    assert "acquire.a" in daemon._notes[0]
    assert "stage.log" in daemon._notes[0]


def test_a_run_that_does_not_add_up_is_not_exit_code_0(daemon: Daemon) -> None:
    summary = daemon._finish(cast("Stages", FakeStages("acquire.sim", "record.sim")))
    assert not summary.conserved
    assert summary.exit_code == EXIT_INTERNAL
    assert "add up" in summary.errors[0]


def test_a_summary_that_cannot_be_written_is_still_returned(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise RecordError("summary.json: no space left")

    monkeypatch.setattr(RunFolder, "write_summary", full)
    summary = daemon._finish(cast("Stages", FakeStages("acquire.sim")))
    assert summary.exit_code == EXIT_RECORD
    assert any("no space left" in error for error in summary.errors)
