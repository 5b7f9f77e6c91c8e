"""One writer for a data set: a lock of the operating system, let go when its process ends.

Knows: how each platform locks a file. Must not know: what a data set holds.

The lock is not the existence of the file but a lock on it, so a killed process leaves none behind.
The file stays; it names the process that held the lock last.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from livedenoise.core.errors import ConfigError, RecordError

LOCK_NAME = ".lock"
_TEXT_BYTES = 64
_LOCKED_BYTE = 1 << 20
"""Windows locks bytes, and nobody else may read them: one far behind the text."""


class DatasetLock:
    """Holds the lock of a folder until ``release``.

    Raises
    ------
    ConfigError
        If another process (or another writer of this one) holds it.
    RecordError
        If the lock file cannot be made.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / LOCK_NAME
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0)
        try:
            self._descriptor = os.open(self.path, flags, 0o644)
        except OSError as error:
            raise RecordError(f"{self.path}: cannot be made: {error}") from error
        try:
            _lock(self._descriptor)
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
        """Let go. Idempotent."""
        if self._held:
            self._held = False
            os.close(self._descriptor)

    def _say_who(self) -> None:
        try:
            os.ftruncate(self._descriptor, 0)
            os.write(self._descriptor, f"process {os.getpid()}\n".encode("ascii"))
        except OSError as error:
            self.release()
            raise RecordError(f"{self.path}: cannot be written: {error}") from error


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
