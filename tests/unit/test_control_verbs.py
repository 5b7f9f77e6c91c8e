"""``status``, ``stop``, ``dash`` and ``--detach`` as functions of the command line."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

import msgspec
import pytest
from remote_kit import (
    LoopedDaemon,
    looped_daemon,
    make_snapshot,
    make_stream,
    make_summary,
)
from waiting import wait_until

from livedenoise import cli
from livedenoise.core.errors import BusError, DataLossError
from livedenoise.core.status import StatusSnapshot
from livedenoise.daemon.registry import find_daemon, running_daemons
from livedenoise.daemon.remote import DaemonLink
from livedenoise.verbs import control, screen
from livedenoise.verbs.status_text import draining_line, duration_text, status_lines, summary_line

Out = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path))
    monkeypatch.setattr(control, "_ASK_S", 0.3)


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[LoopedDaemon]:
    with looped_daemon(tmp_path / "runs") as started:
        yield started


def one_object(capsys: Out) -> dict[str, Any]:
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1
    found: dict[str, Any] = json.loads(lines[0])
    return found


# status


def test_status_without_a_daemon_says_so(capsys: Out) -> None:
    assert cli.main(["status"]) == 0
    assert "no livedenoise daemon is running" in capsys.readouterr().out
    assert cli.main(["status", "--json"]) == 0
    assert one_object(capsys) == {"running": [], "exit_code": 0, "errors": []}


@pytest.mark.parametrize("verb", ["status", "stop", "dash"])
def test_a_run_that_is_not_there_is_exit_code_2(verb: str, capsys: Out) -> None:
    assert cli.main([verb, "nobody"]) == 2
    assert "no livedenoise daemon is running" in capsys.readouterr().err


def test_status_prints_what_runs(daemon: LoopedDaemon, capsys: Out) -> None:
    assert cli.main(["status"]) == 0
    said = capsys.readouterr().out
    for word in ("bench: running", f"process {os.getpid()}", "captured 120", "recorded 118"):
        assert word in said
    for word in ("denoised 110", "lost 3 (2 ring_full)", "p50 12.5 ms p99 20.2 ms", "restarts 2"):
        assert word in said
    assert str(daemon.folder.path) in said
    assert "record.sim" not in said
    assert cli.main(["status", "--all"]) == 0
    assert "record.sim: running, process 12" in capsys.readouterr().out


def test_status_json_is_one_object_with_the_whole_snapshot(
    daemon: LoopedDaemon, capsys: Out
) -> None:
    assert cli.main(["status", "--json"]) == 0
    (found,) = one_object(capsys)["running"]
    assert found["pid"] == os.getpid()
    assert found["run_id"] == daemon.folder.run_id
    assert found["streams"][0]["latency"]["p99"] == 20.25
    assert found["streams"][0]["preview"] is None
    assert daemon.entry.token not in json.dumps(found)
    assert cli.main(["status", "--json", "--preview"]) == 0
    (found,) = one_object(capsys)["running"]
    assert base64.b64decode(found["streams"][0]["preview"]["raw"]) == b"\x00\xff\x80\x01"


def test_two_daemons_are_both_listed_and_told_apart(tmp_path: Path, capsys: Out) -> None:
    with (
        looped_daemon(tmp_path / "runs", "left") as left,
        looped_daemon(tmp_path / "runs", "right") as right,
    ):
        assert cli.main(["status", "--json"]) == 0
        assert {found["name"] for found in one_object(capsys)["running"]} == {"left", "right"}
        assert cli.main(["status", "right", "--json"]) == 0
        assert [found["name"] for found in one_object(capsys)["running"]] == ["right"]
        assert cli.main(["stop", "--json"]) == 2
        assert "2 daemons are meant" in one_object(capsys)["errors"][0]
        assert cli.main(["stop", str(left.folder.path)]) == 0
        assert (left.stops, right.stops) == ([False], [])


def test_one_that_does_not_answer_is_shown_as_silent_and_is_an_error(
    daemon: LoopedDaemon, capsys: Out
) -> None:
    daemon.hang.set()
    assert cli.main(["status", "--json"]) == 6
    found = one_object(capsys)
    assert found["running"][0]["state"] == "silent"
    assert found["running"][0]["pid"] == os.getpid()
    assert "no answer" in found["errors"][0]
    assert cli.main(["status"]) == 6
    assert "no answer" in capsys.readouterr().err


# stop


def test_stop_drains_waits_and_prints_the_summary(daemon: LoopedDaemon, capsys: Out) -> None:
    assert cli.main(["stop"]) == 0
    assert daemon.stops == [False]
    said = capsys.readouterr().out
    assert "captured 120, lost at camera 1, recorded 118" in said
    assert "exit code 0" in said
    assert str(daemon.folder.path) in said


def test_stop_json_is_one_object(daemon: LoopedDaemon, capsys: Out) -> None:
    assert cli.main(["stop", "--abort", "--json"]) == 0
    assert daemon.stops == [True]
    found = one_object(capsys)
    assert found["stopped"] is True
    assert found["summary"]["captured"] == 120


def test_stop_tells_what_still_drains_and_gives_up_waiting_in_time(
    daemon: LoopedDaemon, capsys: Out, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "_TELL_S", 0.05)
    daemon.drain.clear()
    assert cli.main(["stop", "--timeout", "0.5"]) == 6
    said = capsys.readouterr().err
    assert said.count("draining: sim captured 120") == 1, "told once: nothing changed"
    assert "still busy: record.sim" in said
    assert "still drains after 0.5 s" in said
    assert f"stop {os.getpid()} --abort" in said


def test_ctrl_c_leaves_the_wait_and_not_the_run(
    daemon: LoopedDaemon, capsys: Out, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(control, "_await_end", interrupt)
    daemon.drain.clear()
    assert cli.main(["stop"]) == 130
    assert "goes on draining" in capsys.readouterr().err
    assert find_daemon().run_id == daemon.folder.run_id


def test_stop_of_a_hung_daemon_is_an_error(daemon: LoopedDaemon, capsys: Out) -> None:
    daemon.hang.set()
    assert cli.main(["stop"]) == 6
    assert "no answer to 'stop'" in capsys.readouterr().err


def test_a_run_that_ends_without_a_summary_is_an_incomplete_recording(
    tmp_path: Path, capsys: Out, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "_SUMMARY_S", 0.1)
    with looped_daemon(tmp_path / "runs", summary=False):
        assert cli.main(["stop"]) == 5
    said = capsys.readouterr().err
    assert "without a summary" in said
    assert "livedenoise recover" in said


def test_a_killed_run_is_not_waited_for(tmp_path: Path, daemon: LoopedDaemon) -> None:
    child = subprocess.Popen([sys.executable, "-c", "pass"])
    child.wait()
    dead = msgspec.structs.replace(daemon.entry, pid=child.pid, born="")
    started = time.monotonic()
    with pytest.raises(DataLossError, match="without a summary"):
        control._summary_of(dead)
    assert time.monotonic() - started < 2.0


def test_bus_errors_are_told_apart_from_a_daemon_that_just_ended(
    daemon: LoopedDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ends_now(link: DaemonLink, *_: object, **__: object) -> None:
        daemon.end()
        raise BusError("no answer")

    monkeypatch.setattr(DaemonLink, "status", ends_now)
    assert control._asked(daemon.entry, preview=False) == (None, "")


# dash


def stays(seconds: float) -> bool:
    time.sleep(max(0.0, seconds))
    return False


def following(
    daemon: LoopedDaemon, left: Callable[[float], bool], seen: list[StatusSnapshot]
) -> bool:
    with DaemonLink(daemon.entry) as link:
        return control.follow(link, seen.append, left)


def test_dash_shows_until_the_daemon_ends(
    daemon: LoopedDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "DASH_HZ", 100.0)
    monkeypatch.setattr(control, "_DASH_ASK_S", 0.1)
    seen: list[StatusSnapshot] = []
    watcher = threading.Thread(target=lambda: wait_until(lambda: len(seen) > 3) and daemon.end())
    watcher.start()
    assert following(daemon, stays, seen) is True
    watcher.join()
    assert seen[0].streams[0].preview is not None


def test_leaving_dash_leaves_the_daemon_as_it_was(daemon: LoopedDaemon) -> None:
    answers = iter([False, False, True])
    seen: list[StatusSnapshot] = []
    assert following(daemon, lambda _: next(answers), seen) is False
    assert len(seen) == 3
    assert running_daemons() == [daemon.entry]
    assert daemon.stops == []


def test_a_daemon_that_hangs_is_shown_with_its_last_state(
    daemon: LoopedDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "DASH_HZ", 100.0)
    monkeypatch.setattr(control, "_DASH_ASK_S", 0.05)
    seen: list[StatusSnapshot] = []

    def left(_: float) -> bool:
        daemon.hang.set()
        return bool(seen[-1].alerts)

    assert following(daemon, left, seen) is False
    assert "not answering" in seen[-1].alerts[0]
    assert seen[-1].streams == seen[0].streams


def test_dash_asks_about_five_times_a_second(
    daemon: LoopedDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [0.0]
    monkeypatch.setattr(control.time, "monotonic", lambda: clock[0])
    seen: list[float] = []

    def left(seconds: float) -> bool:
        clock[0] += seconds
        return clock[0] > 2.05

    class Link:
        def status(self, _: float) -> StatusSnapshot:
            seen.append(clock[0])
            clock[0] += 0.03
            return make_snapshot()

    control.follow(Link(), lambda _: None, left)  # type: ignore[arg-type]
    assert len(seen) == 11


def test_dash_needs_a_terminal(daemon: LoopedDaemon, capsys: Out) -> None:
    assert cli.main(["dash"]) == 2
    assert "livedenoise status" in capsys.readouterr().err


class FailingView:
    """A view whose terminal goes away at the drawing number ``fails_at``."""

    def __init__(self, fails_at: int) -> None:
        self.seen: list[str] = []
        self._fails_at = fails_at

    def show(self, _: StatusSnapshot) -> None:
        self.press("(snapshot)")

    def press(self, key: str) -> None:
        self.seen.append(key)
        if len(self.seen) >= self._fails_at:
            raise OSError(5, "Input/output error")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if len(self.seen) >= self._fails_at:
            raise OSError(5, "Input/output error")


def test_a_terminal_that_goes_away_is_not_the_runs_concern() -> None:
    view = FailingView(fails_at=2)
    with screen.Screen(view) as shown:
        for _ in range(5):
            shown.show(make_snapshot())
            shown.press("p")
    assert view.seen == ["(snapshot)", "p"]
    assert "Input/output error" in shown.lost


def test_keys_go_to_the_view_and_q_leaves() -> None:
    view = FailingView(fails_at=9)
    typed = iter(["?p", "", "\tQ?"])
    with screen.Screen(view) as shown:
        assert control._left(shown, lambda: next(typed), 5.0) is True
    assert view.seen == ["?", "p", "\t"]
    with screen.Screen(view) as shown:
        assert control._left(shown, lambda: "", 0.02) is False
    gone = FailingView(fails_at=1)
    with screen.Screen(gone) as shown:
        shown.show(make_snapshot())
        assert control._left(shown, lambda: "", 5.0) is True


# text


def test_status_lines_show_what_is_wrong() -> None:
    snapshot = make_snapshot(
        total_s=0.0,
        total_frames=1000,
        alerts=("ring nearly full",),
        errors=tuple(f"error {n}" for n in range(5)),
        notes=("a note",),
        recording_left_s=7200.0,
        elapsed_s=600.0,
    )
    said = "\n".join(status_lines(snapshot))
    assert "running 10.0 min until 1000 frames" in said
    assert "disk full in 2.0 h" in said
    assert "! ring nearly full" in said
    assert "error 4" in said
    assert "error 0" not in said
    assert "a note" not in said
    everything = "\n".join(status_lines(snapshot, everything=True))
    assert "error 0" in everything
    assert "a note" in everything


def test_a_latency_nobody_measured_is_not_shown_as_0() -> None:
    from livedenoise.core.metrics import LatencySummary

    empty = LatencySummary(p50=0, p99=0, p999=0, max=0, count=0)
    said = "\n".join(status_lines(make_snapshot(streams=(make_stream(latency=empty),))))
    assert "latency not measured" in said


def test_a_run_that_drains_before_anything_was_captured() -> None:
    assert "nothing captured yet" in draining_line(make_snapshot(streams=()))


def test_a_summary_that_does_not_add_up_says_so() -> None:
    assert "NOT all accounted for" in summary_line(make_summary("r") | {"conserved": False})


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.5, "0.5 s"), (119, "119.0 s"), (150, "2.5 min"), (2e5, "2.3 d")]
)
def test_durations_have_the_unit_they_are_read_in(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text
