"""Finding running daemons: one small private file for each, removed when it ends.

Knows: where the files are, who may read them, which of them are stale. Must not know: sockets,
what is asked of a daemon.

The files lie in ``$XDG_RUNTIME_DIR/livedenoise``, else in ``livedenoise-UID`` in the folder for
temporary files; on Windows in ``%LOCALAPPDATA%/livedenoise/daemons``. The folder is for its user
only (mode 0700) and the files are (0600), because the token in them lets their reader stop the run.
"""

from __future__ import annotations

import os
import re
import secrets
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from livedenoise import __version__
from livedenoise.core.clock import wall_time_text
from livedenoise.core.errors import ConfigError
from livedenoise.core.log import get_logger
from livedenoise.core.process_life import birth_of, same_process
from livedenoise.record.raw_file import RawFile, replace_file

_FOLDER_NAME = "livedenoise"
_FILE_NAME = re.compile(r"\.?daemon-([0-9]{1,10})-[0-9a-f]+\.json(\.[0-9]+\.tmp)?")
_log = get_logger(__name__)


class DaemonEntry(msgspec.Struct, frozen=True, kw_only=True):
    """Who runs and how to reach it. Fields are append-only, with a default.

    Attributes
    ----------
    pid, born : int, str
        The process, and its birth, which tells it from a later one with the same number.
    parent_pid : int
        Who started it: on Windows a virtual environment's python starts the real one.
    run_id, name, run_dir : str
        Of the run; ``run_dir`` is absolute.
    endpoint, token : str
        Where it answers, and the secret it answers to.
    started : str
        Wall-clock time, ISO 8601, for people.
    """

    pid: int
    born: str
    parent_pid: int
    run_id: str
    name: str
    run_dir: str
    endpoint: str
    token: str
    started: str
    version: str

    def __repr__(self) -> str:
        return f"DaemonEntry({self.name!r}, pid={self.pid}, run_dir={self.run_dir!r})"


def new_token() -> str:
    """Return a token nobody can guess (256 bits)."""
    return secrets.token_urlsafe(32)


def this_daemon(*, run_id: str, name: str, run_dir: Path, endpoint: str, token: str) -> DaemonEntry:
    """Return the entry of a run in this process."""
    return DaemonEntry(
        pid=os.getpid(),
        born=birth_of(os.getpid()) or "",
        parent_pid=os.getppid(),
        run_id=run_id,
        name=name,
        run_dir=str(run_dir.resolve()),
        endpoint=endpoint,
        token=token,
        started=wall_time_text(),
        version=__version__,
    )


@contextmanager
def register_daemon(entry: DaemonEntry) -> Iterator[Path]:
    """Leave the entry where it is found while the context lasts; yield its file.

    Raises
    ------
    ConfigError
        If the folder belongs to somebody else, is a link, or cannot be written.
    """
    folder = _candidates()[0]
    path = folder / f"daemon-{entry.pid}-{secrets.token_hex(4)}.json"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _require_private(folder)
        replace_file(path, msgspec.json.encode(entry), _open_private)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written: {error}") from error
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


def running_daemons() -> list[DaemonEntry]:
    """Return this user's running daemons, oldest first; files of dead ones are removed.

    Raises
    ------
    ConfigError
        If the folder of this user belongs to somebody else or is a link.
    """
    primary, *others = _candidates()
    found = _listed(primary)
    for folder in others:
        try:
            found += _listed(folder)
        except ConfigError as error:
            # Anyone can make a folder of that name among the temporary files: it must not keep
            # the daemons of the proper folder from being found.
            _log.warning("left out: %s", error)
    return sorted(found, key=lambda entry: (entry.started, entry.pid))


def is_registered(entry: DaemonEntry) -> bool:
    """Return whether this very run is still found."""
    return any(other.token == entry.token for other in running_daemons())


def find_daemon(which: str | None = None) -> DaemonEntry:
    """Return the one daemon meant.

    Parameters
    ----------
    which : str, optional
        Process number, run id, name of the run, run folder or its last part. None: the only one.

    Raises
    ------
    ConfigError
        If none runs, none fits, or several do: they are listed.
    """
    running = running_daemons()
    if not running:
        raise ConfigError(
            "no livedenoise daemon is running",
            "start one with: livedenoise run CONFIG --detach",
        )
    found = [entry for entry in running if which is None or _fits(entry, which)]
    if len(found) == 1:
        return found[0]
    if not found:
        raise ConfigError(f"no running daemon is called {which}; running:\n{_listing(running)}")
    raise ConfigError(
        f"{len(found)} daemons are meant:\n{_listing(found)}",
        "name one by its process number or its run folder",
    )


def _fits(entry: DaemonEntry, which: str) -> bool:
    if which in (str(entry.pid), entry.run_id, entry.name, Path(entry.run_dir).name):
        return True
    return Path(which).resolve() == Path(entry.run_dir)


def _listing(entries: list[DaemonEntry]) -> str:
    return "\n".join(
        f"  {entry.pid}  {entry.name}  since {entry.started}  {entry.run_dir}" for entry in entries
    )


def _candidates() -> list[Path]:
    """Return where this process registers, then where others of this user may have.

    A session has XDG_RUNTIME_DIR, a job of cron has not: what one starts the other finds.
    """
    temporary = Path(tempfile.gettempdir())
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or temporary)
        return [base / _FOLDER_NAME / "daemons"]
    found = [temporary / f"{_FOLDER_NAME}-{os.getuid()}"]
    runtime = Path(os.environ.get("XDG_RUNTIME_DIR") or ".")
    # sudo hands down another user's: what root put there would lock its owner out.
    if runtime.is_absolute() and runtime.is_dir() and runtime.stat().st_uid == os.getuid():
        found.insert(0, runtime / _FOLDER_NAME)
    return found


def _require_private(folder: Path) -> None:
    """Refuse a folder that another user made, may enter, or that is a link to elsewhere."""
    if sys.platform == "win32":
        # The profile's access list keeps others out; there are no modes.
        return
    found = folder.lstat()
    problem = ""
    if not stat.S_ISDIR(found.st_mode):
        problem = "is not a folder"
    elif found.st_uid != os.getuid():
        problem = f"belongs to user {found.st_uid}, not to user {os.getuid()}"
    elif found.st_mode & 0o077:
        problem = f"is open to other users (mode {stat.S_IMODE(found.st_mode):04o}, not 0700)"
    if problem:
        raise ConfigError(f"{folder}: {problem}", "remove it, or set XDG_RUNTIME_DIR")


def _open_private(path: Path) -> RawFile:
    """Create a file only its owner can read, from its first moment."""
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    return open(os.open(path, flags, 0o600), "r+b", buffering=0)  # noqa: PTH123  (a descriptor)


def _listed(folder: Path) -> list[DaemonEntry]:
    if not os.path.lexists(folder):
        return []
    _require_private(folder)
    entries = (_living(path) for path in sorted(folder.iterdir()))
    return [entry for entry in entries if entry is not None]


def _living(path: Path) -> DaemonEntry | None:
    """Return the entry in a file when its daemon lives; else remove what was left behind."""
    name = _FILE_NAME.fullmatch(path.name)
    if name is None:
        return None
    if name[2]:
        if birth_of(int(name[1])) is None:
            path.unlink(missing_ok=True)
        return None
    try:
        entry = msgspec.json.decode(path.read_bytes(), type=DaemonEntry)
    except FileNotFoundError:
        return None
    except (msgspec.DecodeError, UnicodeDecodeError, OSError) as error:
        _on_damaged(path, int(name[1]), error)
        return None
    if same_process(entry.pid, entry.born):
        return entry
    path.unlink(missing_ok=True)
    return None


def _on_damaged(path: Path, pid: int, error: Exception) -> None:
    if birth_of(pid) is None:
        path.unlink(missing_ok=True)
    else:
        _log.warning("%s: damaged, its daemon (process %d) is not found: %s", path, pid, error)
