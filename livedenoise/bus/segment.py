"""Shared-memory segments: made, found, mapped and removed so that nobody else's exit removes them.

Ownership: whoever creates a segment unlinks it. ``multiprocessing.resource_tracker`` would unlink
it whenever ANY attached process exits (bpo-38119), so every attach here goes untracked; segments a
killed owner left behind are found by name and removed at the next start (``remove_stale``).
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import sys
import threading
from collections.abc import Iterator, Sized
from contextlib import contextmanager, suppress
from multiprocessing import resource_tracker, shared_memory
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from livedenoise.core.errors import BusError

PREFIX = "ldn"
_SHM_DIR = Path("/dev/shm")  # noqa: S108  (the platform's shared memory, not a temporary file)
_MADV_POPULATE_WRITE = 23
"""Linux 5.14 and later; missing from the constants of ``mmap``."""

_NAME = re.compile(rf"{PREFIX}_([0-9]{{1,10}})_[0-9a-f]{{8}}")
_tracker_lock = threading.RLock()


class Segment(shared_memory.SharedMemory):
    """Shared memory that may be dropped while arrays over it are alive, without a traceback."""

    def __init__(self, name: str, *, create: bool, size: int = 0) -> None:
        self._created = create
        if sys.version_info >= (3, 13):
            super().__init__(name, create=create, size=size, track=False)
        else:
            with _untracked():
                super().__init__(name, create=create, size=size)

    def __del__(self) -> None:
        close_quietly(self)

    def unlink(self) -> None:
        """Unlink what was created here: the base class would also unlink what it cannot map."""
        if self._created:
            with _untracked():
                super().unlink()


def remove_stale() -> list[str]:
    """Unlink this user's rings whose owner process is gone (POSIX) and return their names."""
    if not _SHM_DIR.is_dir():
        return []
    removed = []
    for path in _SHM_DIR.glob(f"{PREFIX}_*"):
        if is_stale(path, _NAME):
            path.unlink(missing_ok=True)
            removed.append(path.name)
    return removed


def is_stale(path: Path, pattern: re.Pattern[str]) -> bool:
    """Return whether this user's dead process left ``path``; its number is in the name (POSIX)."""
    name = pattern.fullmatch(path.name)
    if os.name != "posix" or name is None or _alive(int(name[1])):
        return False
    # What belongs to another user cannot be removed, and is not ours to judge.
    return path.exists() and path.lstat().st_uid == os.getuid()


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


@contextmanager
def _untracked() -> Iterator[None]:
    """Keep rings, and only rings, from the resource tracker: they have one owner.

    Neither registering nor unregistering reaches it, so no tracker process is started for them.
    """
    with _tracker_lock:
        register, unregister = resource_tracker.register, resource_tracker.unregister
        resource_tracker.register = _but_rings(register)
        resource_tracker.unregister = _but_rings(unregister)
        try:
            yield
        finally:
            resource_tracker.register, resource_tracker.unregister = register, unregister


class _TrackerVerb(Protocol):
    def __call__(self, name: Sized, rtype: str) -> None: ...


def _but_rings(verb: _TrackerVerb) -> _TrackerVerb:
    def filtered(name: Sized, rtype: str) -> None:
        if not str(name).lstrip("/").startswith(f"{PREFIX}_"):
            verb(name, rtype)

    return filtered


def unlink(memory: shared_memory.SharedMemory) -> None:
    """Remove the segment's name; somebody may have done so already."""
    with suppress(FileNotFoundError):
        memory.unlink()


def bytes_of(memory: shared_memory.SharedMemory) -> npt.NDArray[np.uint8]:
    """Return the segment's bytes; the mapping stays exported while the array lives."""
    if memory.buf is None:
        raise BusError(f"ring {memory.name}: the segment is closed")
    return np.frombuffer(memory.buf, np.uint8)


def close_quietly(memory: shared_memory.SharedMemory) -> None:
    """Close the mapping, unless arrays over it are still alive: they then keep it until freed."""
    try:
        memory.close()
    except BufferError:
        # SharedMemory.__del__ would try again and print: hand the mapping to the live arrays.
        memory._mmap = None  # type: ignore[attr-defined]  # noqa: SLF001
        memory._buf = None  # type: ignore[attr-defined]  # noqa: SLF001
        # Now it only closes the file descriptor.
        memory.close()


def free_shared_memory() -> int | None:
    """Return the bytes of shared memory left, None where it has no limit of its own."""
    return shutil.disk_usage(_SHM_DIR).free if _SHM_DIR.is_dir() else None


def require_room(size: int) -> None:
    """Refuse a segment that does not fit the shared memory left.

    Raises
    ------
    BusError
        If it does not: both sizes are named.
    """
    free = free_shared_memory()
    if free is not None and size > free:
        raise BusError(
            f"a ring of {size >> 20} MiB does not fit the {free >> 20} MiB of shared memory free",
            "lower ring.memory_mb or enlarge the platform's shared memory",
        )


def map_every_page(memory: shared_memory.SharedMemory) -> None:
    """Fill this process's page table now: a first touch of each page later is a fault.

    Measured: without it the first round through a ring is written at a fifth of the usual speed.
    """
    if sys.platform != "linux":
        return
    try:
        memory._mmap.madvise(_MADV_POPULATE_WRITE)  # type: ignore[attr-defined]  # noqa: SLF001
    except OSError as error:
        # A kernel before 5.14 does not know the advice: a slower first round, and nothing wrong.
        if error.errno != errno.EINVAL:
            raise BusError(f"ring {memory.name}: pages cannot be mapped: {error}") from error


def reserve(name: str, size: int) -> None:
    """Allocate every page now: touching a missing page of a full tmpfs kills with SIGBUS."""
    path = _SHM_DIR / name
    if not path.exists() or not hasattr(os, "posix_fallocate"):
        return
    descriptor = os.open(path, os.O_RDWR)
    try:
        os.posix_fallocate(descriptor, 0, size)
    finally:
        os.close(descriptor)
