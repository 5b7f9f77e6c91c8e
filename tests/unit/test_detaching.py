"""``--detach``, the signals of a run, and the unit file that starts one."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from remote_kit import (
    make_summary,
)
from waiting import wait_until

from livedenoise import cli
from livedenoise.core.errors import LiveDenoiseError
from livedenoise.daemon.registry import find_daemon
from livedenoise.verbs import control, detaching, running

Out = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path))
    monkeypatch.setattr(control, "_ASK_S", 0.3)


def one_object(capsys: Out) -> dict[str, Any]:
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1
    found: dict[str, Any] = json.loads(lines[0])
    return found


def run_arguments(*argv: str) -> argparse.Namespace:
    return cli._parser().parse_args(argv)


def test_every_option_reaches_the_child(tmp_path: Path) -> None:
    given = run_arguments(
        *("run", "rig.toml", "--detach", "--seconds", "2.5", "--out", str(tmp_path)),
        *("--input", "movie.tif", "--model", "realtime-m", "--engine", "identity"),
    )
    child = run_arguments(*detaching.child_arguments(given))
    about_the_terminal = {"detach", "headless", "json"}
    assert {k: v for k, v in vars(child).items() if k not in about_the_terminal} == {
        k: v for k, v in vars(given).items() if k not in about_the_terminal
    }
    assert (child.detach, child.headless, child.json) == (False, True, True)
    own = {"config", "verb"} | about_the_terminal
    assert set(vars(given)) - own == set(detaching.FORWARDED), "a new option must be forwarded"


@contextmanager
def child_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str
) -> Iterator[argparse.Namespace]:
    """Let ``--detach`` start a few lines of Python in place of the run."""
    script = tmp_path / "child.py"
    script.write_text(code)
    real = detaching.spawn
    started: list[subprocess.Popen[bytes]] = []

    def spawn(_: object, log: Path) -> subprocess.Popen[bytes]:
        started.append(real([sys.executable, str(script)], log))
        return started[-1]

    monkeypatch.setattr(detaching, "spawn", spawn)
    try:
        yield run_arguments("run", "demo", "--detach", "--json", "--out", str(tmp_path / "runs"))
    finally:
        for process in started:
            process.kill()
            process.wait()


def test_a_config_error_is_reported_before_anything_is_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Out
) -> None:
    monkeypatch.setattr(detaching, "spawn", None)
    out = str(tmp_path / "runs")
    (tmp_path / "broken.toml").write_text('[[camera]]\nkind = "simulated"\nexposure = 3\n')
    for arguments, word in [
        (["run", str(tmp_path / "broken.toml")], "exposure"),
        (["run", "nowhere.toml"], "nowhere.toml"),
        (["demo", "--seconds", "1", "--frames", "1"], "--seconds"),
        (["demo", "--model", "nothing"], "nothing"),
        (["run", "demo", "--input", "movie.tif"], "--input"),
    ]:
        assert cli.main([*arguments, "--detach", "--json", "--out", out]) == 2
        assert word in one_object(capsys)["errors"][0]
    assert not (tmp_path / "runs").exists()


def test_a_child_that_fails_gives_its_words_and_its_exit_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Out
) -> None:
    code = (
        "import sys; print('livedenoise: no camera', file=sys.stderr, flush=True)\n"
        'print(\'{"exit_code": 3, "errors": ["no camera"]}\'); sys.exit(3)'
    )
    with child_of(tmp_path, monkeypatch, code) as arguments:
        assert detaching.run_detached(arguments) == 3
    captured = capsys.readouterr()
    assert "livedenoise: no camera" in captured.err
    found = json.loads(captured.out)
    assert found["exit_code"] == 3
    assert found["running"] is False
    assert Path(found["log"]).is_file()


def test_a_child_that_dies_without_a_word_is_reported_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Out
) -> None:
    with child_of(tmp_path, monkeypatch, "import os; os._exit(9)") as arguments:
        arguments.json = False
        assert detaching.run_detached(arguments) == 9
    assert "exit code 9" in capsys.readouterr().err


def test_a_run_over_before_it_could_be_left_shows_its_summary(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Out
) -> None:
    run_dir = tmp_path / "runs/20260101-demo"
    run_dir.mkdir(parents=True)
    code = f"print({json.dumps(make_summary(str(run_dir)))!r})"
    with child_of(tmp_path, monkeypatch, code) as arguments:
        arguments.json = False
        assert detaching.run_detached(arguments) == 0
    assert "it has ended already: captured 120" in capsys.readouterr().out
    assert (run_dir / "logs" / detaching.LOG_NAME).is_file()


CHILD = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from livedenoise.core.clock import now_ns
from remote_kit import LoopedDaemon
import msgspec
daemon = LoopedDaemon(Path({out!r}))
running = daemon.snapshot
daemon.snapshot = msgspec.structs.replace(running, state="preparing")
print("child is preparing", flush=True)
Path({gate!r}).touch()
while not Path({go!r}).exists():
    daemon._end.wait(0.01)
daemon.snapshot = running
daemon._thread.join()
"""


def test_it_returns_when_the_child_runs_and_the_child_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Out
) -> None:
    gate, go = tmp_path / "gate", tmp_path / "go"
    tests = str(Path(__file__).parents[1])
    code = CHILD.format(tests=tests, out=str(tmp_path / "runs"), gate=str(gate), go=str(go))
    with child_of(tmp_path, monkeypatch, code) as arguments:
        codes: list[int] = []
        caller = threading.Thread(
            target=lambda: codes.append(detaching.run_detached(arguments)), name="caller"
        )
        caller.start()
        wait_until(gate.exists)
        caller.join(0.3)
        assert codes == [], "a run that still prepares is not running"
        go.touch()
        caller.join(5)
        assert codes == [0]
        found = one_object(capsys)
        assert found["running"] is True
        entry = find_daemon(str(found["pid"]))
        assert found["stop"] == f"livedenoise stop {entry.pid}"
        assert Path(found["log"]) == Path(entry.run_dir) / "logs" / detaching.LOG_NAME
        assert "child is preparing" in Path(found["log"]).read_text()
        assert os.getsid(entry.pid) == entry.pid, "a session of its own"
        assert str(Path(f"/proc/{entry.pid}/fd/0").readlink()) == os.devnull
        assert cli.main(["stop", str(entry.pid)]) == 0


def test_ctrl_c_while_it_gets_ready_ends_the_child(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(process: subprocess.Popen[bytes], _: Path) -> None:
        pids.append(process.pid)
        raise KeyboardInterrupt

    pids: list[int] = []
    monkeypatch.setattr(detaching, "_await_running", interrupt)
    with child_of(tmp_path, monkeypatch, "input()\nimport time; time.sleep(60)") as arguments:
        with pytest.raises(KeyboardInterrupt):
            detaching.run_detached(arguments)
        assert not Path(f"/proc/{pids[0]}").exists()


def test_a_child_that_never_gets_ready_is_left_and_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(detaching, "START_TIMEOUT_S", 0.1)
    with (
        child_of(tmp_path, monkeypatch, "import time; time.sleep(60)") as arguments,
        pytest.raises(LiveDenoiseError, match="not ready after") as error,
    ):
        detaching.run_detached(arguments)
    assert "detached-" in error.value.hint


def test_a_log_that_cannot_be_written_is_a_clear_error(tmp_path: Path, capsys: Out) -> None:
    (tmp_path / "runs").write_text("")
    out = str(tmp_path / "runs")
    assert cli.main(["demo", "--engine", "identity", "--detach", "--out", out]) == 5
    assert "--out" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("signals", "requests"),
    [
        ("T", 1),
        ("TT", 2),
        ("H", 1),
        ("HH", 1),
        ("HT", 1),
        ("TH", 1),
        ("HTH", 1),
        ("HTT", 2),
        ("THHH", 1),
    ],
)
def test_a_hang_up_drains_and_is_never_the_second_request(signals: str, requests: int) -> None:
    asked: list[int] = []
    orders = running.StopOrders(lambda: asked.append(1))
    for name in signals:
        orders.order() if name == "T" else orders.hang_up()
    assert len(asked) == requests
    assert orders.hung_up == ("H" in signals)


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="no terminals that hang up")
@pytest.mark.parametrize("ignored", [False, True])
def test_nohup_is_obeyed(ignored: bool) -> None:
    before = {
        name: signal.getsignal(name) for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    }
    asked: list[int] = []
    try:
        signal.signal(signal.SIGHUP, signal.SIG_IGN if ignored else signal.SIG_DFL)
        running.StopOrders(lambda: asked.append(1)).listen()
        os.kill(os.getpid(), signal.SIGHUP) if ignored else signal.raise_signal(signal.SIGHUP)
        assert len(asked) == (0 if ignored else 1)
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)


# the systemd unit of the documentation

UNIT = Path(__file__).parents[2] / "docs/livedenoise.service"


def unit_lines() -> dict[str, str]:
    lines = (line.split("=", 1) for line in UNIT.read_text().splitlines() if "=" in line)
    return {key: value for key, value in lines if not key.startswith("#")}


def test_the_unit_starts_a_run_that_this_program_understands() -> None:
    program, *argv = unit_lines()["ExecStart"].split()
    assert program.endswith("/bin/livedenoise")
    found = run_arguments(*argv)
    assert found.verb is running.run
    assert (found.headless, found.detach) == (True, False)


def test_the_unit_gives_a_run_the_time_to_drain() -> None:
    from livedenoise.core.config_sections import StatusConfig

    found = unit_lines()
    assert int(found["TimeoutStopSec"]) > 2 * StatusConfig().drain_timeout_s
    assert (found["KillSignal"], found["KillMode"]) == ("SIGTERM", "mixed")
    assert {"2", "5", "130"} == set(found["RestartPreventExitStatus"].split())


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd")
def test_systemd_has_nothing_to_say_about_the_unit(tmp_path: Path) -> None:
    program = unit_lines()["ExecStart"].split()[0]
    place = tmp_path / UNIT.name
    place.write_text(UNIT.read_text().replace(program, sys.executable))
    program = shutil.which("systemd-analyze") or ""
    done = subprocess.run(
        [program, "--user", "verify", str(place)],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
