"""How the daemon ends a run: draining, what does not add up, what cannot be written."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import pytest
from test_supervisor import FakeProcess, FakeStages

from livedenoise.core.clock import now_ns
from livedenoise.core.errors import EXIT_ABORTED, EXIT_INTERNAL, EXIT_RECORD, RecordError
from livedenoise.core.metrics import MetricsView
from livedenoise.daemon.drain import DrainWatch
from livedenoise.daemon.options import RunOptions
from livedenoise.daemon.outcome import Outcome
from livedenoise.daemon.run import Daemon
from livedenoise.daemon.stages import StageHandle, Stages
from livedenoise.record.run_folder import RunFolder
from livedenoise.testing.live import small_config

LONG_AGO_NS = 60_000_000_000


class EndedProcess(FakeProcess):
    code = 0

    def exit_code(self) -> int:
        return self.code


class EndedStages(FakeStages):
    def of_kind(self, kind: str) -> list[StageHandle]:
        return [handle for handle in self.handles.values() if handle.kind == kind]

    def past(self, *_: str) -> list[StageHandle]:
        return []

    def totals(self, *_: str) -> MetricsView:
        return MetricsView()


@pytest.fixture
def daemon(tmp_path: Path) -> Daemon:
    """Return a daemon whose stages have just been started."""
    daemon = Daemon(small_config(), RunOptions(out=tmp_path))
    daemon._started_ns = now_ns()
    return daemon


def test_draining_is_given_its_time_from_the_stop_on(daemon: Daemon) -> None:
    stages = cast("Stages", EndedStages("acquire.a", "record.a"))
    # A slow camera: nothing has moved for longer than draining may take.
    daemon._drain._since_ns = now_ns() - LONG_AGO_NS
    daemon.request_stop()
    daemon._stopped_ns = now_ns()
    assert not daemon._aborting(stages)
    assert not daemon._aborting(stages)
    daemon._drain._since_ns = now_ns() - LONG_AGO_NS
    assert daemon._aborting(stages), "but not more"
    assert "record.a" in daemon._outcome.errors[0]


def test_a_long_call_that_was_announced_is_waited_for() -> None:
    watch, stages = DrainWatch(limit_ns=100), EndedStages("record.a")
    handles = list(stages.handles.values())
    assert not watch.follow(handles, draining=True, now_ns=1000)
    handles[0].busy_until_ns = 2000
    assert not watch.follow(handles, draining=True, now_ns=2050)
    assert watch.follow(handles, draining=True, now_ns=2101)


def test_progress_starts_the_time_again() -> None:
    watch, stages = DrainWatch(limit_ns=100), EndedStages("record.a")
    handles = list(stages.handles.values())
    watch.follow(handles, draining=True, now_ns=1000)
    handles[0].metrics = {"counts": {"recorded": 1}}
    assert not watch.follow(handles, draining=True, now_ns=1150)
    assert watch.follow(handles, draining=True, now_ns=1251)


def test_a_second_request_aborts(daemon: Daemon) -> None:
    daemon.request_stop()
    daemon.request_stop()
    assert daemon._aborting(cast("Stages", EndedStages("acquire.a")))
    assert daemon._outcome.exit_code == EXIT_ABORTED


def test_a_stage_that_fails_after_its_last_word_is_noted(daemon: Daemon) -> None:
    fake = EndedStages("acquire.a", "record.a")
    for handle in fake.handles.values():
        handle.finished = True
        process = EndedProcess()
        process.code = handle.kind == "acquire"
        handle.process = process  # type: ignore[assignment]
    daemon._note_unclean_ends(cast("Stages", fake))
    assert len(daemon._outcome.notes) == 1
    assert "acquire.a" in daemon._outcome.notes[0]
    assert "stage.log" in daemon._outcome.notes[0]


def test_a_run_that_does_not_add_up_is_not_exit_code_0(daemon: Daemon) -> None:
    summary = daemon._finish(cast("Stages", EndedStages("acquire.sim", "record.sim")))
    assert not summary.conserved
    assert summary.exit_code == EXIT_INTERNAL
    assert "add up" in summary.errors[0]


def test_a_summary_that_cannot_be_written_is_still_returned(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise RecordError("summary.json: no space left")

    monkeypatch.setattr(RunFolder, "write_summary", full)
    summary = daemon._finish(cast("Stages", EndedStages("acquire.sim")))
    assert summary.exit_code == EXIT_RECORD
    assert any("no space left" in error for error in summary.errors)


def test_the_gravest_error_decides_and_the_lists_stay_bounded() -> None:
    outcome = Outcome()
    for number in range(500):
        outcome.note(f"note {number}")
        outcome.error(f"error {number}", EXIT_INTERNAL)
    outcome.error("disk", EXIT_RECORD)
    assert outcome.exit_code == EXIT_RECORD
    assert len(outcome.notes) <= 200
    assert len(outcome.errors) <= 200


def test_what_strangers_ask_of_a_view_is_no_progress() -> None:
    watch, stages = DrainWatch(limit_ns=100), EndedStages("record.a", "view.a")
    handles = list(stages.handles.values())
    watch.follow(handles, draining=True, now_ns=1000)
    for step in range(1, 4):
        handles[1].metrics = {"counts": {"share_refused": step, "samples": step}}
        watch.follow(handles, draining=True, now_ns=1000 + 30 * step)
    assert watch.follow(handles, draining=True, now_ns=1101)
