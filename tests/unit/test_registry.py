"""The registry: found while they live, private, and nothing is left of the dead."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import msgspec
import pytest

from livedenoise.core import process_life
from livedenoise.core.errors import ConfigError
from livedenoise.core.process_life import birth_of, same_process
from livedenoise.daemon import registry
from livedenoise.daemon.registry import (
    DaemonEntry,
    find_daemon,
    is_registered,
    new_token,
    register_daemon,
    running_daemons,
    this_daemon,
)

POSIX = pytest.mark.skipif(os.name != "posix", reason="modes and owners of POSIX")


@pytest.fixture(autouse=True)
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give each test places of its own: a runtime folder and one for temporary files."""
    places = tmp_path / "runtime", tmp_path / "temporary"
    for place in places:
        place.mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(places[0]))
    monkeypatch.setenv("LOCALAPPDATA", str(places[0]))
    monkeypatch.setattr(tempfile, "tempdir", str(places[1]))
    return places[0]


def make_entry(
    name: str = "bench", run_dir: str = "/data/runs/one", **changes: object
) -> DaemonEntry:
    entry = this_daemon(
        run_id=f"id-{name}",
        name=name,
        run_dir=Path(run_dir),
        endpoint="tcp://127.0.0.1:1",
        token=new_token(),
    )
    return msgspec.structs.replace(entry, **changes)


def test_a_daemon_is_found_while_its_context_lasts() -> None:
    entry = make_entry()
    assert running_daemons() == []
    with register_daemon(entry):
        assert running_daemons() == [entry]
        assert is_registered(entry)
        assert find_daemon() == entry
    assert running_daemons() == []
    assert not is_registered(entry)


def test_it_is_removed_when_the_run_ends_with_an_error() -> None:
    with pytest.raises(ValueError, match="boom"), register_daemon(make_entry()) as path:
        raise ValueError("boom")
    assert not path.exists()


@POSIX
def test_folder_and_file_are_for_their_user_only(runtime: Path) -> None:
    before = os.umask(0)
    try:
        with register_daemon(make_entry()) as path:
            assert path.parent == runtime / "livedenoise"
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
            assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    finally:
        os.umask(before)


@POSIX
def test_the_file_is_private_from_its_first_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    modes = []
    real = os.open

    def spy(path: str | Path, flags: int, mode: int = 0o777, **more: int) -> int:
        descriptor = real(path, flags, mode, **more)
        if "daemon-" in str(path):
            modes.append(stat.S_IMODE(os.fstat(descriptor).st_mode))
        return descriptor

    monkeypatch.setattr(os, "open", spy)
    before = os.umask(0)
    try:
        with register_daemon(make_entry()):
            pass
    finally:
        os.umask(before)
    assert modes == [0o600]


@POSIX
def test_without_a_runtime_folder_the_temporary_one_serves(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    with register_daemon(make_entry()) as path:
        assert path.parent == tmp_path / "temporary" / f"livedenoise-{os.getuid()}"
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


@POSIX
def test_what_a_job_without_session_started_is_found_from_a_session(
    monkeypatch: pytest.MonkeyPatch, runtime: Path
) -> None:
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    with register_daemon(make_entry("cron")):
        monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
        with register_daemon(make_entry("session")):
            assert {entry.name for entry in running_daemons()} == {"cron", "session"}


@POSIX
@pytest.mark.parametrize("place", ["relative", "missing"])
def test_a_runtime_folder_that_is_none_is_not_used(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, place: str
) -> None:
    (tmp_path / "relative").mkdir()
    monkeypatch.chdir(tmp_path)
    value = "relative" if place == "relative" else str(tmp_path / "missing")
    monkeypatch.setenv("XDG_RUNTIME_DIR", value)
    with register_daemon(make_entry()) as path:
        assert tmp_path / "temporary" in path.parents


@POSIX
def test_another_users_runtime_folder_is_not_used(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What root leaves in a user's folder would lock the user out."""
    me = os.getuid()
    monkeypatch.setattr(os, "getuid", lambda: me + 1)
    with pytest.raises(ConfigError, match=f"belongs to user {me}, not to user {me + 1}") as error:
        register_daemon(make_entry()).__enter__()
    assert str(tmp_path / "temporary") in str(error.value)


@POSIX
def test_a_link_is_refused(runtime: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    (runtime / "livedenoise").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigError, match="is not a folder"):
        register_daemon(make_entry()).__enter__()
    with pytest.raises(ConfigError, match="is not a folder"):
        running_daemons()
    assert list((tmp_path / "elsewhere").iterdir()) == []


@POSIX
def test_a_file_in_the_way_is_refused(runtime: Path) -> None:
    (runtime / "livedenoise").write_text("")
    with pytest.raises(ConfigError, match="livedenoise"):
        register_daemon(make_entry()).__enter__()


@POSIX
@pytest.mark.parametrize("mode", [0o755, 0o770, 0o701])
def test_a_folder_open_to_others_is_refused(runtime: Path, mode: int) -> None:
    (runtime / "livedenoise").mkdir()
    (runtime / "livedenoise").chmod(mode)
    with pytest.raises(ConfigError, match=f"mode {mode:04o}"):
        register_daemon(make_entry()).__enter__()
    with pytest.raises(ConfigError, match=f"mode {mode:04o}"):
        running_daemons()


@POSIX
def test_a_planted_folder_among_the_temporary_files_hides_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    planted = tmp_path / "temporary" / f"livedenoise-{os.getuid()}"
    planted.mkdir()
    planted.chmod(0o777)
    with register_daemon(make_entry()):
        assert len(running_daemons()) == 1
    assert "open to other users" in caplog.text


def test_entries_of_dead_processes_are_removed() -> None:
    child = subprocess.Popen([sys.executable, "-c", "pass"])
    child.wait()
    with register_daemon(make_entry(pid=child.pid, born="")) as path:
        assert path.exists()
        assert running_daemons() == []
        assert not path.exists()


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="the birth of a process")
def test_another_process_with_the_same_number_is_not_the_daemon() -> None:
    entry = make_entry()
    with register_daemon(msgspec.structs.replace(entry, born=entry.born + "1")) as path:
        assert running_daemons() == []
        assert not path.exists()


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="the state of a process")
def test_a_process_that_waits_to_be_reaped_is_gone() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    assert birth_of(child.pid)
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert birth_of(child.pid) is None
    child.communicate()


@POSIX
def test_without_proc_the_number_alone_tells(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    child = subprocess.Popen([sys.executable, "-c", "pass"])
    child.wait()
    monkeypatch.setattr(process_life, "_PROC", tmp_path)
    assert birth_of(os.getpid()) == ""
    assert same_process(os.getpid(), "any")
    assert not same_process(child.pid, "")


@pytest.mark.parametrize("pid", [0, -1, 2**31 - 1])
def test_no_process_has_such_a_number(pid: int) -> None:
    assert birth_of(pid) is None


def test_a_command_name_cannot_fake_a_birth(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    rest = " ".join(["S", *(str(field) for field in range(4, 23))])
    (tmp_path / "self").mkdir()
    (tmp_path / "self/stat").write_text("")
    (tmp_path / "7").mkdir()
    (tmp_path / "7/stat").write_bytes(b"7 (a) Z \xff) " + rest.encode())
    monkeypatch.setattr(process_life, "_PROC", tmp_path)
    monkeypatch.setattr(process_life, "_BOOT_ID", tmp_path / "none")
    assert birth_of(7) == ":22"


def test_what_a_killed_writer_left_is_removed(runtime: Path) -> None:
    child = subprocess.Popen([sys.executable, "-c", "pass"])
    child.wait()
    with register_daemon(make_entry()) as path:
        torn = path.with_name(f"daemon-{child.pid}-00ff.json")
        torn.write_text('{"pid"')
        temporary = path.with_name(f".daemon-{child.pid}-00ff.json.{child.pid}.tmp")
        temporary.write_text("")
        others = path.with_name("notes.txt")
        others.write_text("")
        assert len(running_daemons()) == 1
        assert sorted(path.parent.iterdir()) == sorted([path, others])


def test_a_damaged_entry_of_a_living_process_is_told_and_left(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with register_daemon(make_entry()) as path:
        damaged = path.with_name(f"daemon-{os.getpid()}-00ff.json")
        damaged.write_bytes(b"\xff{}")
        assert len(running_daemons()) == 1
        assert damaged.exists()
    assert "damaged" in caplog.text


def test_an_entry_of_a_newer_program_is_read() -> None:
    with register_daemon(make_entry()) as path:
        data = msgspec.json.decode(path.read_bytes()) | {"invented_later": 1}
        path.write_bytes(msgspec.json.encode(data))
        assert len(running_daemons()) == 1


def test_none_running_says_how_to_start_one() -> None:
    with pytest.raises(ConfigError, match="no livedenoise daemon is running") as error:
        find_daemon()
    assert "--detach" in error.value.hint
    assert error.value.exit_code == 2


def test_two_daemons_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = make_entry("left", str(tmp_path / "runs/20260101-left"), started="1", pid=os.getpid())
    second = make_entry("right", str(tmp_path / "runs/20260101-right"), started="2")
    monkeypatch.chdir(tmp_path)
    with register_daemon(second), register_daemon(first):
        assert running_daemons() == [first, second]
        for which in ("right", "id-right", "runs/20260101-right", "20260101-right"):
            assert find_daemon(which) == second
        with pytest.raises(ConfigError, match="2 daemons are meant") as several:
            find_daemon()
        with pytest.raises(ConfigError, match="2 daemons are meant"):
            find_daemon(str(os.getpid()))
        with pytest.raises(ConfigError, match="no running daemon is called nobody") as nobody:
            find_daemon("nobody")
    for error in (several, nobody):
        assert first.run_dir in str(error.value)
        assert second.run_dir in str(error.value)
        assert first.token not in str(error.value)


def test_the_token_is_not_printed() -> None:
    entry = make_entry()
    assert entry.token not in repr(entry)
    assert new_token() != new_token()
    assert len(new_token()) >= 40


@POSIX
def test_a_folder_that_cannot_be_written_is_a_clear_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(registry, "replace_file", full)
    with pytest.raises(ConfigError, match="No space left on device"):
        register_daemon(make_entry()).__enter__()
