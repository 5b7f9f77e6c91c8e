"""The shared-memory ring: pixels of one stream, written by one process, read by many.

Layout of the segment, native byte order (one machine): a header of eight uint64 (magic, version,
slots, slot bytes, ring epoch), the slots' generations (uint64 each), the leases of LATEST readers
(rows of three cells, each slot + 1, generation, time), then the slots, each page-aligned.

A reader learns slot and generation from the frame's header and compares the generation again after
its LAST read of the pixels: a difference means the pixels may be torn, and they are discarded.
That comparison needs stores to become visible in program order, which x86-64 guarantees (total
store order) and other architectures do not: on ARM a fence would be needed.

Ownership: whoever creates a ring unlinks it. ``multiprocessing.resource_tracker`` would unlink
it whenever ANY attached process exits (bpo-38119), so every attach here goes untracked; segments a
killed owner left behind are found by name and removed at the next start (``remove_stale``).
"""

from __future__ import annotations

import errno
import os
import re
import secrets
import shutil
import sys
import threading
from collections.abc import Iterator, Sized
from contextlib import contextmanager, suppress
from multiprocessing import resource_tracker, shared_memory
from pathlib import Path
from typing import Protocol

import msgspec
import numpy as np
import numpy.typing as npt

from livedenoise.bus.slots import Lease
from livedenoise.core.errors import BusError
from livedenoise.core.frame import SUPPORTED_DTYPES, Frame, FrameHeader, frame_nbytes

PAGE = 4096
MAGIC = 0x4C444E52494E4731
LAYOUT_VERSION = 1
HEADER_WORDS = 8
LEASE_ROWS = 16
LEASES_PER_READER = 3
PREFIX = "ldn"
_SHM_DIR = Path("/dev/shm")  # noqa: S108  (the platform's shared memory, not a temporary file)
_MADV_POPULATE_WRITE = 23
"""Linux 5.14 and later; missing from the constants of ``mmap``."""

_NAME = re.compile(rf"{PREFIX}_([0-9]{{1,10}})_[0-9a-f]{{8}}")
_tracker_lock = threading.RLock()


class _Segment(shared_memory.SharedMemory):
    """Shared memory that may be dropped while arrays over it are alive, without a traceback."""

    def __init__(self, name: str, *, create: bool, size: int = 0) -> None:
        self._created = create
        if sys.version_info >= (3, 13):
            super().__init__(name, create=create, size=size, track=False)
        else:
            with _untracked():
                super().__init__(name, create=create, size=size)

    def __del__(self) -> None:
        _close_quietly(self)

    def unlink(self) -> None:
        """Unlink what was created here: the base class would also unlink what it cannot map."""
        if self._created:
            with _untracked():
                super().unlink()


class RingSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What a process needs to attach to a ring."""

    name: str
    n_slots: int
    slot_bytes: int
    ring_epoch: int = 0


def ring_spec(
    stream: str, frame_bytes: int, *, memory_bytes: int, max_slots: int, ring_epoch: int = 0
) -> RingSpec:
    """Choose the number of slots for frames of ``frame_bytes`` within ``memory_bytes``.

    Raises
    ------
    BusError
        If not even 4 frames fit.
    """
    slot_bytes = -(-frame_bytes // PAGE) * PAGE
    n_slots = min(max_slots, memory_bytes // slot_bytes)
    if n_slots < 4:
        raise BusError(
            f"ring of stream {stream}: {memory_bytes >> 20} MiB hold {n_slots} frames of "
            f"{frame_bytes} bytes, at least 4 are needed",
            "raise ring.memory_mb",
        )
    name = f"{PREFIX}_{os.getpid()}_{secrets.token_hex(4)}"
    return RingSpec(name=name, n_slots=n_slots, slot_bytes=slot_bytes, ring_epoch=ring_epoch)


class Ring:
    """One attached segment. Build it with ``Ring.create`` or ``Ring.attach``."""

    def __init__(self, spec: RingSpec, memory: shared_memory.SharedMemory, *, owner: bool) -> None:
        self.spec = spec
        self._memory = memory
        self._owner = owner
        # frombuffer keeps the mapping exported while any array over it lives; ndarray(buffer=)
        # does not, and reading such an array after close() would be a segmentation fault.
        self._bytes = _bytes_of(memory)
        words_end = 8 * HEADER_WORDS
        generations_end = words_end + 8 * spec.n_slots
        leases_end = generations_end + 8 * LEASE_ROWS * LEASES_PER_READER * 3
        self._words = self._bytes[:words_end].view(np.uint64)
        self.generations = self._bytes[words_end:generations_end].view(np.uint64)
        cells = self._bytes[generations_end:leases_end].view(np.uint64)
        self._leases = cells.reshape(LEASE_ROWS, LEASES_PER_READER, 3)
        self._pixels_at = _pixels_offset(spec.n_slots)

    @classmethod
    def create(cls, spec: RingSpec) -> Ring:
        """Create and reserve the segment; every page is allocated now.

        Raises
        ------
        BusError
            If shared memory has not enough room: both sizes are named.
        """
        size = _segment_size(spec)
        _require_room(size)
        try:
            memory = _Segment(spec.name, create=True, size=size)
        except OSError as error:
            raise BusError(f"ring {spec.name}: cannot be created: {error}") from error
        try:
            _reserve(spec.name, size)
        except OSError as error:
            _unlink(memory)
            _close_quietly(memory)
            raise BusError(
                f"ring {spec.name}: {size >> 20} MiB of shared memory cannot be reserved: {error}",
                "lower ring.memory_mb or enlarge the platform's shared memory",
            ) from error
        ring = cls(spec, memory, owner=True)
        ring._words[:5] = (MAGIC, LAYOUT_VERSION, spec.n_slots, spec.slot_bytes, spec.ring_epoch)
        return ring

    @classmethod
    def attach(cls, spec: RingSpec) -> Ring:
        """Attach to a segment another process created.

        Raises
        ------
        BusError
            If it does not exist or is another ring than the specification says.
        """
        try:
            memory = _Segment(spec.name, create=False)
        except FileNotFoundError:
            raise BusError(f"ring {spec.name}: no such shared memory", "its owner ended") from None
        except (OSError, ValueError) as error:
            # ValueError: the segment is empty, as it is for a moment while it is being created.
            raise BusError(f"ring {spec.name}: cannot be attached: {error}") from error
        _map_every_page(spec, memory)
        if memory.size < _segment_size(spec):
            _close_quietly(memory)
            raise BusError(
                f"ring {spec.name}: segment of {memory.size} bytes, {_segment_size(spec)} expected"
            )
        ring = cls(spec, memory, owner=False)
        found = tuple(int(word) for word in ring._words[:5])
        expected = (MAGIC, LAYOUT_VERSION, spec.n_slots, spec.slot_bytes, spec.ring_epoch)
        if found != expected:
            ring.close()
            raise BusError(f"ring {spec.name}: header {found}, expected {expected}")
        return ring

    def view(self, slot: int, shape: tuple[int, int], dtype: str) -> Frame:
        """Return a writable (Y, X) array over a slot: no copy.

        Raises
        ------
        BusError
            If the slot does not exist, the frame does not fit, or the ring is closed.
        """
        if not self._bytes.size:
            raise BusError(f"ring {self.spec.name}: closed already")
        nbytes = frame_nbytes(shape, dtype)
        if not 0 <= slot < self.spec.n_slots or nbytes > self.spec.slot_bytes:
            raise BusError(
                f"ring {self.spec.name}: no room for {nbytes} bytes in slot {slot} "
                f"({self.spec.n_slots} slots of {self.spec.slot_bytes} bytes)"
            )
        offset = self._pixels_at + slot * self.spec.slot_bytes
        pixels = self._bytes[offset : offset + nbytes].view(np.dtype(dtype))
        return pixels.reshape(shape)

    def holds(self, header: FrameHeader) -> bool:
        """Return whether a header can be true of this ring: its slot, epoch, dtype and size."""
        return (
            0 <= header.slot < self.spec.n_slots
            and header.generation > 0
            and header.ring_epoch == self.spec.ring_epoch
            and header.dtype in SUPPORTED_DTYPES
            and min(header.shape) > 0
            and header.nbytes <= self.spec.slot_bytes
        )

    def set_generation(self, slot: int, generation: int) -> None:
        """Publish a slot's generation to the readers (writer only)."""
        self.generations[slot] = generation

    def is_current(self, slot: int, generation: int) -> bool:
        """Return whether a slot still holds the frame of this generation."""
        return int(self.generations[slot]) == generation

    def write_lease(self, row: int, cell: int, lease: Lease | None) -> None:
        """Set or clear one lease cell (only the reader that owns the row)."""
        cells = self._leases[row, cell]
        cells[0] = 0
        if lease is not None:
            cells[1] = lease.generation
            cells[2] = lease.taken_ns
            # Last, so that a writer never sees a slot with another lease's generation.
            cells[0] = lease.slot + 1

    def clear_leases(self, row: int) -> None:
        """Clear every lease of a reader that went away."""
        self._leases[row] = 0

    def leases(self) -> list[Lease]:
        """Return the leases in force (writer only)."""
        if not self._leases[:, :, 0].any():
            return []
        rows: npt.NDArray[np.uint64] = self._leases.reshape(-1, 3).copy()
        return [Lease(int(s) - 1, int(g), int(t)) for s, g, t in rows if s]

    def close(self) -> None:
        """Detach; the creator also unlinks the segment. Idempotent."""
        if self._owner:
            self._owner = False
            _unlink(self._memory)
        self._bytes = np.zeros(0, np.uint8)
        self._words = self.generations = np.zeros(0, np.uint64)
        self._leases = np.zeros((0, LEASES_PER_READER, 3), np.uint64)
        _close_quietly(self._memory)


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


def _pixels_offset(n_slots: int) -> int:
    head = 8 * (HEADER_WORDS + n_slots + LEASE_ROWS * LEASES_PER_READER * 3)
    return -(-head // PAGE) * PAGE


def _segment_size(spec: RingSpec) -> int:
    return _pixels_offset(spec.n_slots) + spec.n_slots * spec.slot_bytes


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


def _unlink(memory: shared_memory.SharedMemory) -> None:
    """Remove the segment's name; somebody may have done so already."""
    with suppress(FileNotFoundError):
        memory.unlink()


def _bytes_of(memory: shared_memory.SharedMemory) -> npt.NDArray[np.uint8]:
    if memory.buf is None:
        raise BusError(f"ring {memory.name}: the segment is closed")
    return np.frombuffer(memory.buf, np.uint8)


def _close_quietly(memory: shared_memory.SharedMemory) -> None:
    """Close the mapping, unless arrays over it are still alive: they then keep it until freed."""
    try:
        memory.close()
    except BufferError:
        # SharedMemory.__del__ would try again and print: hand the mapping to the live arrays.
        memory._mmap = None  # type: ignore[attr-defined]  # noqa: SLF001
        memory._buf = None  # type: ignore[attr-defined]  # noqa: SLF001
        # Now it only closes the file descriptor.
        memory.close()


def _require_room(size: int) -> None:
    if not _SHM_DIR.is_dir():
        return
    free = shutil.disk_usage(_SHM_DIR).free
    if size > free:
        raise BusError(
            f"a ring of {size >> 20} MiB does not fit the {free >> 20} MiB of shared memory free",
            "lower ring.memory_mb or enlarge the platform's shared memory",
        )


def _map_every_page(spec: RingSpec, memory: shared_memory.SharedMemory) -> None:
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
            raise BusError(f"ring {spec.name}: pages cannot be mapped: {error}") from error


def _reserve(name: str, size: int) -> None:
    """Allocate every page now: touching a missing page of a full tmpfs kills with SIGBUS."""
    path = _SHM_DIR / name
    if not path.exists() or not hasattr(os, "posix_fallocate"):
        return
    descriptor = os.open(path, os.O_RDWR)
    try:
        os.posix_fallocate(descriptor, 0, size)
    finally:
        os.close(descriptor)
