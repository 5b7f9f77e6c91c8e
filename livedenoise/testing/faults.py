"""Named faults of files: what a disk can do to a recording, as ``OpenFile`` factories.

Knows: how a disk fails: full, torn, slow, refusing. Must not know: what is written.
For tests only; the product never imports it.

Example
-------
>>> disk = FullDisk(capacity_bytes=1_000_000)
>>> recorder = Recorder(folder, "raw", part_size_bytes=1 << 30, open_file=disk)  # doctest: +SKIP
"""

from __future__ import annotations

import time
from errno import EIO, ENOSPC
from pathlib import Path

from livedenoise.record.raw_file import RawFile, open_new


class Fault:
    """Base: a disk without faults. Callable as ``OpenFile``; counts writes over all its files."""

    def __init__(self) -> None:
        self.n_writes = 0

    def __call__(self, path: Path) -> RawFile:
        """Open a file on this disk."""
        return FaultyFile(open_new(path), self)

    def write(self, file: FaultyFile, data: memoryview) -> int:
        """Write some of ``data`` to ``file``; faults are made here."""
        return file.really_write(data)

    def truncate(self, file: FaultyFile, size: int) -> int:
        """Cut ``file`` to ``size``."""
        return file.really_truncate(size)


class FaultyFile:
    """A file whose disk decides what becomes of each write."""

    def __init__(self, file: RawFile, disk: Fault) -> None:
        self._file = file
        self._disk = disk
        self.position = 0
        self.size = 0

    def write(self, data: memoryview, /) -> int:
        """Write through the disk's fault."""
        self._disk.n_writes += 1
        return self._disk.write(self, data)

    def seek(self, offset: int, /) -> int:
        """Move to an absolute position."""
        self.position = offset
        return self._file.seek(offset)

    def truncate(self, size: int, /) -> int:
        """Cut through the disk's fault."""
        return self._disk.truncate(self, size)

    def fileno(self) -> int:
        """Return the real descriptor."""
        return self._file.fileno()

    def close(self) -> None:
        """Close the real file."""
        self._file.close()

    def really_write(self, data: memoryview) -> int:
        """Write without fault."""
        written = self._file.write(data) or 0
        self.position += written
        self.size = max(self.size, self.position)
        return written

    def really_truncate(self, size: int) -> int:
        """Cut without fault."""
        self.size = size
        return self._file.truncate(size)


class FullDisk(Fault):
    """Takes ``capacity_bytes`` over all files, then ENOSPC; like a real one, the write that
    meets the end is written in part, writes inside a file still work, and cutting frees room.
    """  # noqa: D205

    def __init__(self, capacity_bytes: int) -> None:
        super().__init__()
        self.free_bytes = capacity_bytes

    def write(self, file: FaultyFile, data: memoryview) -> int:
        """Write what fits.

        Raises
        ------
        OSError
            ENOSPC when not one byte fits.
        """
        inside = max(0, file.size - file.position)
        fits = min(data.nbytes, inside + self.free_bytes)
        if fits <= 0:
            raise OSError(ENOSPC, "No space left on device")
        before = file.size
        written = file.really_write(data[:fits])
        self.free_bytes -= file.size - before
        return written

    def truncate(self, file: FaultyFile, size: int) -> int:
        """Cut and free the bytes cut."""
        self.free_bytes += file.size - size
        return file.really_truncate(size)


class FailingWrite(Fault):
    """Refuses write number ``at`` (from 1) and the ``count - 1`` after it, writing nothing."""

    def __init__(self, at: int, *, count: int = 1, code: int = ENOSPC) -> None:
        super().__init__()
        self._refused = range(at, at + count)
        self._code = code

    def write(self, file: FaultyFile, data: memoryview) -> int:
        """Write, unless it is the turn of the fault.

        Raises
        ------
        OSError
            With the code given.
        """
        if self.n_writes in self._refused:
            raise OSError(self._code, "injected fault")
        return file.really_write(data)


class TornWrite(Fault):
    """Writes only ``keep_bytes`` of write number ``at`` (from 1), then refuses the rest once."""

    def __init__(self, at: int, *, keep_bytes: int = 1, code: int = EIO) -> None:
        super().__init__()
        self._at = at
        self._keep_bytes = keep_bytes
        self._code = code

    def write(self, file: FaultyFile, data: memoryview) -> int:
        """Write a part, then refuse.

        Raises
        ------
        OSError
            With the code given.
        """
        if self.n_writes == self._at:
            return file.really_write(data[: self._keep_bytes])
        if self.n_writes == self._at + 1:
            raise OSError(self._code, "injected fault")
        return file.really_write(data)


class ShortWrites(Fault):
    """Never writes more than ``max_bytes`` at once: no fault, but many programs think it is."""

    def __init__(self, max_bytes: int) -> None:
        super().__init__()
        self._max_bytes = max_bytes

    def write(self, file: FaultyFile, data: memoryview) -> int:
        """Write at most ``max_bytes``."""
        return file.really_write(data[: self._max_bytes])


class SlowDisk(Fault):
    """Every write takes ``delay_s`` longer."""

    def __init__(self, delay_s: float) -> None:
        super().__init__()
        self._delay_s = delay_s

    def write(self, file: FaultyFile, data: memoryview) -> int:
        """Write late."""
        time.sleep(self._delay_s)
        return file.really_write(data)
