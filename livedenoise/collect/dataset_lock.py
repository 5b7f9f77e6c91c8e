"""One writer for a data set: a lock of the operating system, let go when its process ends.

Knows: how each platform locks a file. Must not know: what a data set holds.

The lock is not the existence of the file but a lock on it, so a killed process leaves none behind.
The file stays; it names the process that held the lock last. Only a folder that was made for the
lock, and into which nothing was put, goes again with it.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path

from livedenoise.core.errors import ConfigError, RecordError

LOCK_NAME = ".lock"
_TEXT_BYTES = 64
_LOCKED_BYTE = 1 << 20
"""Windows locks bytes, and nobody else may read them: one far behind the text."""


class DatasetLock:
    """Holds the lock of a folder until ``release``; makes the folder and its parents.

    Raises
    ------
    ConfigError
        If another process (or another writer of this one) holds it.
    RecordError
        If the folder or the lock file cannot be made.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / LOCK_NAME
        self._made = _make(folder)
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0)
        try:
            self._descriptor = os.open(self.path, flags, 0o644)
        except OSError as error:
            raise RecordError(f"{self.path}: cannot be made: {error}") from error
        try:
            _lock(self._descriptor)
            _require_there(self._descriptor, self.path)
        except OSError as error:
            holder = _holder(self._descriptor)
            os.close(self._descriptor)
            raise ConfigError(
                f"{folder}: another collection writes here ({holder}): {error}",
                "wait for it or stop it; its lock ends with its process",
            ) from error
        self._held = True
        self._say_who()

    def release(self) -> None:
        """Let go; remove a folder that was made here and is empty. Idempotent."""
        if not self._held:
            return
        self._held = False
        unused = bool(self._made) and list(self.path.parent.iterdir()) == [self.path]
        if unused and sys.platform != "win32":
            # Removed while it is held, so that nobody gets a lock on a file that is no more.
            self.path.unlink(missing_ok=True)
        os.close(self._descriptor)
        if unused:
            self._remove_made()

    def _remove_made(self) -> None:
        """Remove what was made for nothing, as far as nobody uses it by now."""
        with suppress(OSError):
            self.path.unlink(missing_ok=True)
            for folder in self._made:
                folder.rmdir()

    def _say_who(self) -> None:
        try:
            os.ftruncate(self._descriptor, 0)
            os.write(self._descriptor, f"process {os.getpid()}\n".encode("ascii"))
        except OSError as error:
            self.release()
            raise RecordError(f"{self.path}: cannot be written: {error}") from error


def _make(folder: Path) -> list[Path]:
    """Make a folder and its parents; return those that were not there, the innermost first."""
    missing = []
    one = folder.absolute()
    while not one.exists() and one != one.parent:
        missing.append(one)
        one = one.parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RecordError(
            f"{folder}: cannot be made: {error}", "choose another folder with --out"
        ) from error
    return missing


def _require_there(descriptor: int, path: Path) -> None:
    """Refuse a lock on a file that its last holder removed in the same moment."""
    if not os.path.samestat(os.fstat(descriptor), path.stat()):
        raise FileNotFoundError("the lock file was just removed: start again")


def _holder(descriptor: int) -> str:
    os.lseek(descriptor, 0, os.SEEK_SET)
    text = os.read(descriptor, _TEXT_BYTES).decode("ascii", errors="replace").strip()
    return text or "its process is not known"


if sys.platform == "win32":
    import msvcrt

    def _lock(descriptor: int) -> None:
        os.lseek(descriptor, _LOCKED_BYTE, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        os.lseek(descriptor, 0, os.SEEK_SET)

else:
    import fcntl

    def _lock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
