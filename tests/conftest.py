"""Shared by every test: waiting with a deadline, and a guard against what tests leave behind.

Nothing heavy is imported here: it is loaded before any test runs.
"""

from __future__ import annotations

import os
import re
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import psutil
import pytest
from waiting import wait_until

if TYPE_CHECKING:
    from livedenoise.core.config import Config
    from livedenoise.testing.live import LiveRun

T = TypeVar("T")
_SETTLE_S = 2.0
_SHM_DIR = Path("/dev/shm")  # noqa: S108  (shared memory, not a temporary file)
_SEGMENT = re.compile(r"ldn_([0-9]+)_.*")
_UNNAMED_THREAD = re.compile(r"Thread-[0-9]+( \(.*\))?")


class Eventually(Protocol):
    """Waits until a condition holds."""

    def __call__(self, condition: Callable[[], T], timeout_s: float = 5.0) -> T: ...


@pytest.fixture
def eventually() -> Eventually:
    """Return ``eventually(condition, timeout_s)``: the first true value, or a failure."""
    return wait_until


def pytest_configure() -> None:
    """Undo what nohup or a shell's background leaves: children would inherit ignored signals."""
    for name, handler in (("SIGINT", signal.default_int_handler), ("SIGHUP", signal.SIG_DFL)):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, handler)


@pytest.fixture(scope="session", autouse=True)
def private_temp(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Give this session a temporary folder of its own, so that its leftovers can be told apart.

    It is short, because sockets live in it, and child processes inherit it.
    """
    tmp_path_factory.getbasetemp()  # pytest's own folder stays where it is usually looked for
    before = tempfile.tempdir
    with tempfile.TemporaryDirectory(prefix="lt-") as folder, pytest.MonkeyPatch.context() as patch:
        tempfile.tempdir = folder
        patch.setenv("TMPDIR", folder)
        # Where running daemons are found: those of the tests are nobody else's business.
        patch.setenv("XDG_RUNTIME_DIR", folder)
        try:
            yield Path(folder)
        finally:
            tempfile.tempdir = before


@pytest.fixture
def start(tmp_path: Path, leak_guard: None) -> Iterator[Callable[..., LiveRun]]:
    """Start live runs that end with the test."""
    from livedenoise.daemon.options import RunOptions
    from livedenoise.testing.live import LiveRun, small_config

    del leak_guard  # only named so that the runs are ended before it looks
    runs: list[LiveRun] = []

    def begin(config: Config | None = None, **options: Any) -> LiveRun:
        run = LiveRun(config or small_config(), RunOptions(out=tmp_path / "runs", **options))
        runs.append(run)
        return run

    yield begin
    for run in runs:
        run.end()


@pytest.fixture(autouse=True)
def leak_guard(private_temp: Path) -> Iterator[None]:
    """Fail a test that leaves a thread, a process, a segment or a socket folder behind."""
    before = _belongings(private_temp)
    yield
    deadline = time.monotonic() + _SETTLE_S
    while left := sorted(_belongings(private_temp) - before):
        if time.monotonic() > deadline:
            pytest.fail("left behind by this test:\n  " + "\n  ".join(left), pytrace=False)
        time.sleep(0.01)


def _belongings(temp: Path) -> set[str]:
    return _threads() | _children() | _segments() | {f"folder {p}" for p in temp.glob("ldn-*")}


def _threads() -> set[str]:
    """Return the living threads, without nameless daemon threads: libraries keep those for good."""
    return {
        f"thread {thread.name} ({thread.ident})"
        for thread in threading.enumerate()
        if not (thread.daemon and _UNNAMED_THREAD.fullmatch(thread.name))
    }


def _children() -> set[str]:
    return {
        f"process {pid} {command}"
        for pid in _child_pids()
        if "multiprocessing.resource_tracker" not in (command := _command(pid))
    }


def _child_pids() -> list[int]:
    """Return this process's children; psutil looks at every process there is, twice a test."""
    try:
        lists = [(task / "children").read_text() for task in Path("/proc/self/task").iterdir()]
    except OSError:
        # Another system; or a thread that ended meanwhile.
        return [child.pid for child in psutil.Process().children()]
    return [int(pid) for text in lists for pid in text.split()]


def _command(pid: int) -> str:
    try:
        process = psutil.Process(pid)
        return " ".join(process.cmdline())[:120] or f"({process.status()})"
    except psutil.Error:
        return "(ended)"


def _segments() -> set[str]:
    """Return the segments of this process, and those whose owner is dead (a child's, then)."""
    if not _SHM_DIR.is_dir():
        return set()
    found = ((path, _SEGMENT.fullmatch(path.name)) for path in _SHM_DIR.glob("ldn_*"))
    return {f"segment {path}" for path, name in found if name and _is_ours_or_dead(int(name[1]))}


def _is_ours_or_dead(pid: int) -> bool:
    return pid == os.getpid() or not psutil.pid_exists(pid)
