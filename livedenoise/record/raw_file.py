"""Unbuffered files: what a recording needs of one, and nothing more.

Knows: how to create a file that must not exist yet, how to go on in one that does, how to write all
of a buffer, how to replace a small file at once. Must not know: frames, TIFF, JSON.

"Written" means that ``write()`` returned: the bytes are the operating system's, so they survive the
death of this process; only ``sync`` makes them survive a power loss.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from errno import EIO
from pathlib import Path
from typing import Protocol


class RawFile(Protocol):
    """The part of ``io.FileIO`` a recording uses; fault files of the tests implement it too."""

    def write(self, data: memoryview, /) -> int | None:
        """Write some of ``data``; return how many bytes."""

    def seek(self, offset: int, /) -> int:
        """Move to an absolute position."""

    def truncate(self, size: int, /) -> int:
        """Cut the file to ``size`` bytes."""

    def fileno(self) -> int:
        """Return the descriptor, for ``os.fsync``."""

    def close(self) -> None:
        """Close the file."""


OpenFile = Callable[[Path], RawFile]
"""Opens a file for unbuffered writing: one that must not exist yet, or one that must."""


def open_new(path: Path) -> RawFile:
    """Create ``path`` for unbuffered writing.

    Raises
    ------
    OSError
        If it exists or cannot be created.
    """
    return path.open("xb", buffering=0)


def open_existing(path: Path) -> RawFile:
    """Open ``path`` for unbuffered writing, keeping what it holds.

    Raises
    ------
    OSError
        If it does not exist or cannot be opened.
    """
    return path.open("r+b", buffering=0)


def write_all(file: RawFile, data: memoryview) -> None:
    """Write every byte of ``data``; the system may take them in several parts.

    Raises
    ------
    OSError
        If the file takes no more.
    """
    while data.nbytes:
        written = file.write(data)
        if not written:
            raise OSError(EIO, "write() took no byte")
        data = data[written:]


def replace_file(path: Path, content: bytes, open_file: OpenFile = open_new) -> None:
    """Write a small file under a temporary name and rename it: it is whole or not there.

    Raises
    ------
    OSError
        If it cannot be written; an older file of that name is then still whole.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.unlink(missing_ok=True)
    file = open_file(temporary)
    try:
        try:
            write_all(file, memoryview(content))
            os.fsync(file.fileno())
        finally:
            file.close()
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def sync_folder(folder: Path) -> None:
    """Make the names in ``folder`` survive a power loss; Windows has no such call and no need."""
    if sys.platform == "win32":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
