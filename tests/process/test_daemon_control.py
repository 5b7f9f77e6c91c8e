"""A real daemon found and controlled from outside: detached, asked, stopped, killed, hung up on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from waiting import wait_until

from livedenoise import cli
from livedenoise.bus.endpoints import remove_stale_endpoints
from livedenoise.bus.remote import RemoteClient
from livedenoise.bus.segment import remove_stale
from livedenoise.core.config import Config
from livedenoise.daemon.registry import DaemonEntry, find_daemon, running_daemons
from livedenoise.daemon.remote import DaemonLink
from livedenoise.testing.live import LiveRun, small_config

POSIX = pytest.mark.skipif(os.name != "posix", reason="terminals and signals of POSIX")

CONFIG = """
name = "small"
[[camera]]
kind = "simulated"
name = "sim"
exposure_us = 5000
rate_hz = 200.0
pool_frames = 16
sensor = { width_px = 64, height_px = 48, line_time_us = 5.0 }
scene = { photons_per_s = 20000.0 }
[ring]
memory_mb = 8
max_slots = 64
[denoise]
engine = "identity"
max_age_periods = 40.0
max_backlog = 32
[status]
report_ms = 50
drain_timeout_s = 10.0
[view]
enabled = false
"""

Livedenoise = Callable[..., tuple[int, dict[str, Any]]]
Start = Callable[..., LiveRun]


@pytest.fixture(autouse=True)
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Give each test a registry of its own, and end whatever daemon it left."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small.toml").write_text(CONFIG)
    yield
    for entry in running_daemons():
        if entry.pid != os.getpid():
            os.kill(entry.pid, signal.SIGKILL)


@pytest.fixture
def livedenoise(capsys: pytest.CaptureFixture[str]) -> Livedenoise:
    """Return ``livedenoise(verb, ...)``: exit code and the object it printed."""

    def call(*arguments: str) -> tuple[int, dict[str, Any]]:
        code = cli.main([*arguments, "--json"])
        found: dict[str, Any] = json.loads(capsys.readouterr().out)
        return code, found

    return call


def detached(*arguments: str) -> tuple[int, dict[str, Any], str]:
    """Start a run with ``--detach`` as a user does; return exit code, object and stderr."""
    command = [sys.executable, "-P", "-m", "livedenoise", "run", "small.toml", "--detach", "--json"]
    done = subprocess.run(
        [*command, *arguments], input="", capture_output=True, text=True, timeout=30, check=False
    )
    return done.returncode, json.loads(done.stdout), done.stderr


def is_gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def light(name: str = "small") -> Config:
    """Return a configuration with one stage process, for tests of everything else."""
    off = {"enabled": False}
    return small_config(name=name, denoise=off, record={"raw": False}, view=off)


def captured(livedenoise: Livedenoise) -> int:
    streams = livedenoise("status")[1]["running"][0]["streams"]
    return int(streams[0]["captured"]) if streams else 0


def test_detached_asked_and_stopped(livedenoise: Livedenoise) -> None:
    code, found, _ = detached()
    assert code == 0
    assert psutil.Process(found["pid"]).parent() != psutil.Process(), "it is nobody's child here"
    if Path("/proc").is_dir():
        assert str(Path(f"/proc/{found['pid']}/fd/0").readlink()) == os.devnull
    status_code, status = livedenoise("status")
    assert status_code == 0
    (running,) = status["running"]
    assert running["pid"] == found["pid"]
    assert running["state"] == "running"
    assert running["run_dir"] == found["run_dir"] or Path(running["run_dir"]).samefile(
        found["run_dir"]
    )
    before = captured(livedenoise)
    wait_until(lambda: captured(livedenoise) > before)
    children = psutil.Process(found["pid"]).children()
    stop_code, stopped = livedenoise("stop")
    assert stop_code == 0
    summary = stopped["summary"]
    assert summary["exit_code"] == 0
    assert summary["captured"] == summary["recorded"] > before
    assert summary["conserved"] is True
    wait_until(lambda: all(is_gone(pid) for pid in (found["pid"], *(c.pid for c in children))))
    assert livedenoise("status")[1]["running"] == []
    log = Path(found["log"])
    assert log == Path(found["run_dir"]) / "logs/detached.log"
    assert json.loads(log.read_text().splitlines()[-1])["captured"] == summary["captured"]


def test_a_camera_that_cannot_be_opened_is_reported_where_it_was_started() -> None:
    Path("small.toml").write_text('[[camera]]\nkind = "replay"\ninput = "missing.tif"\n')
    code, found, said = detached()
    assert code in (2, 3)
    assert found["exit_code"] == code
    assert found["running"] is False
    assert "missing.tif" in said
    assert running_daemons() == []


def test_a_short_run_is_over_before_it_could_be_left() -> None:
    code, found, _ = detached("--frames", "3")
    assert code == 0
    if not found["running"]:
        assert found["captured"] == 3
    wait_until(lambda: running_daemons() == [])


def test_asking_twice_drains_and_does_not_abort(start: Start) -> None:
    run = start()
    run.until(lambda s: s.streams[0].captured > 20)
    with DaemonLink(find_daemon()) as link:
        link.stop()
        link.stop()
    summary = run.result()
    assert summary.exit_code == 0
    assert summary.captured == summary.recorded


def test_abort_aborts(start: Start, livedenoise: Livedenoise) -> None:
    run = start(light())
    run.until(lambda s: s.streams[0].captured > 20)
    code, stopped = livedenoise("stop", "--abort")
    assert code == 0
    assert run.result().exit_code == stopped["summary"]["exit_code"] == 130


def test_a_run_can_be_stopped_while_it_prepares(start: Start, livedenoise: Livedenoise) -> None:
    run = start(light())
    wait_until(running_daemons)
    code, stopped = livedenoise("stop")
    assert code == 0
    assert run.result().exit_code == stopped["summary"]["exit_code"] == 130


def test_two_daemons_are_told_apart(start: Start, livedenoise: Livedenoise) -> None:
    runs = [start(light()), start(light("other"))]
    for run in runs:
        run.until(lambda s: s.streams[0].captured > 5)
    found = livedenoise("status")[1]["running"]
    assert {entry["name"] for entry in found} == {"small", "other"}
    assert livedenoise("stop")[0] == 2, "which one?"
    assert livedenoise("stop", "other")[0] == 0
    assert runs[1].result().exit_code == 0
    before = runs[0].snapshots[-1].streams[0].captured
    runs[0].until(lambda s: s.streams[0].captured > before)
    assert livedenoise("stop", str(runs[0].daemon.run_dir))[0] == 0


@POSIX
def test_a_killed_daemon_is_no_longer_found(livedenoise: Livedenoise, tmp_path: Path) -> None:
    _, found, _ = detached()
    children = psutil.Process(found["pid"]).children()
    os.kill(found["pid"], signal.SIGKILL)
    wait_until(lambda: is_gone(found["pid"]))
    assert livedenoise("status")[1]["running"] == []
    assert list((tmp_path / "livedenoise").iterdir()) == []
    assert livedenoise("stop")[0] == 2
    wait_until(lambda: all(is_gone(stage.pid) for stage in children))
    wait_until(lambda: not psutil.pid_exists(found["pid"]))
    # What its rings and sockets left goes with the next start, as after any kill.
    remove_stale()
    remove_stale_endpoints()


@POSIX
def test_the_registered_file_is_private(start: Start, tmp_path: Path) -> None:
    start(light()).until(lambda s: s.streams[0].captured > 0)
    (file,) = (tmp_path / "livedenoise").iterdir()
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.parent.stat().st_mode & 0o777 == 0o700


def test_no_viewer_slows_a_run(start: Start) -> None:
    """Many ask all the time, one without the token, one vanishes: every frame is recorded."""
    run = start()
    run.until(lambda s: s.streams[0].captured > 0)
    entry = find_daemon()
    over = threading.Event()
    answered: list[int] = []
    viewers = [
        threading.Thread(target=ask_on_and_on, args=(entry, over, answered), name=f"viewer-{n}")
        for n in range(3)
    ]
    for viewer in viewers:
        viewer.start()
    stranger = RemoteClient(entry.endpoint, "not-the-token-at-all")
    stranger._socket.send_multipart([b"1", b"\x01nonsense"])
    stranger.close()
    before = run.snapshots[-1].streams[0].captured
    run.until(lambda s: s.streams[0].captured > before + 200)
    over.set()
    for viewer in viewers:
        viewer.join()
    run.daemon.request_stop()
    summary = run.result()
    assert summary.exit_code == 0
    assert summary.captured == summary.recorded
    assert summary.dropped.get("acquire", {}) == {}
    assert len(answered) > 20


def ask_on_and_on(entry: DaemonEntry, over: threading.Event, answered: list[int]) -> None:
    while not over.is_set():
        with DaemonLink(entry) as link:
            answered.append(link.status().streams[0].captured)


@POSIX
def test_a_terminal_that_closes_drains_the_run(tmp_path: Path) -> None:
    terminal = InTerminal("run", "small.toml", "--out", str(tmp_path / "runs"))
    try:
        wait_until(lambda: terminal.shows(b"sim") and is_recording(tmp_path), 15)
        terminal.close()
        assert terminal.wait() == 0
    finally:
        terminal.end()
    (summary,) = tmp_path.glob("runs/*/summary.json")
    found = json.loads(summary.read_text())
    assert found["exit_code"] == 0
    assert found["errors"] == []
    assert found["captured"] == found["recorded"] > 0
    assert found["conserved"] is True


def is_recording(folder: Path) -> bool:
    return any(f.stat().st_size > 500 for f in folder.glob("runs/*/raw/*/frames.jsonl"))


@POSIX
def test_however_a_dash_ends_the_run_goes_on(start: Start) -> None:
    run = start(light())
    run.until(lambda s: s.streams[0].captured > 0)
    q, ctrl_c, killed, closed = terminals = [InTerminal("dash") for _ in range(4)]
    try:
        for terminal in terminals:
            wait_until(lambda shown=terminal: shown.shows(b"sim"), 15)  # type: ignore[misc]
        q.type(b"q")
        ctrl_c.type(b"\x03")
        killed.kill()
        closed.close()
        codes = [terminal.wait() for terminal in terminals]
    finally:
        for terminal in terminals:
            terminal.end()
    assert codes[:2] == [0, 0]
    before = run.snapshots[-1].streams[0].captured
    run.until(lambda s: s.streams[0].captured > before + 20)
    run.daemon.request_stop()
    assert run.result().exit_code == 0


@POSIX
def test_dash_says_when_the_run_ends(start: Start) -> None:
    run = start(light())
    run.until(lambda s: s.streams[0].captured > 0)
    terminal = InTerminal("dash")
    try:
        wait_until(lambda: terminal.shows(b"sim"), 10)
        run.daemon.request_stop()
        run.result()
        wait_until(lambda: terminal.shows(b"ended"), 10)
        assert terminal.wait() == 0
    finally:
        terminal.end()


_LEADER = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.executable, [sys.executable, "-P", "-m", "livedenoise", *sys.argv[1:]])
"""


class InTerminal:
    """The command line in a terminal of its own, as its session's leader."""

    def __init__(self, *arguments: str) -> None:
        import pty

        self._said = b""
        self._master, slave = pty.openpty()
        self._process = subprocess.Popen(
            [sys.executable, "-c", _LEADER, *arguments],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
            env=os.environ | {"TERM": "xterm", "COLUMNS": "80", "LINES": "24"},
        )
        os.close(slave)
        os.set_blocking(self._master, False)

    def shows(self, word: bytes) -> bool:
        """Return whether ``word`` was shown so far; fail when it never will be."""
        self.read()
        shown = word in self._said
        assert shown or self._process.poll() is None, f"it ended: {self._said[-2000:]!r}"
        return shown

    def read(self) -> None:
        """Take what is shown: a program whose terminal nobody reads waits for ever."""
        try:
            while more := os.read(self._master, 1 << 16):
                self._said += more
        except OSError:
            # Nothing more for now, or the program left its terminal.
            pass

    def type(self, keys: bytes) -> None:
        """Press keys."""
        os.write(self._master, keys)

    def kill(self) -> None:
        """Kill the program."""
        self._process.kill()

    def close(self) -> None:
        """Close the terminal under the program, and tell all its processes, as a shell does."""
        os.close(self._master)
        self._master = -1
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGHUP)

    def wait(self, timeout_s: float = 10.0) -> int:
        """Return the exit code; negative: ended by that signal."""
        deadline = time.monotonic() + timeout_s
        while self._process.poll() is None:
            assert time.monotonic() < deadline, f"it does not end: {self._said[-2000:]!r}"
            if self._master >= 0:
                self.read()
            time.sleep(0.01)
        return self._process.returncode

    def end(self) -> None:
        """End it, and close the terminal."""
        self._process.kill()
        self._process.wait()
        if self._master >= 0:
            self.close()
