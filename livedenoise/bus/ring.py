"""The shared-memory ring: pixels of one stream, written by one process, read by many.

Layout of the segment, native byte order (one machine): a header of sixteen uint64 (magic, version,
slots, slot bytes, ring epoch, then the writer's totals: they outlive a killed writer, so that its
frames are counted exactly), the slots' generations (uint64 each), the leases of LATEST readers
(rows of three cells, each slot + 1, generation, time), what was told of each slot (length and
message, 1 KiB each: so that a killed writer's frames can still be found), then the slots, each
page-aligned.

A reader learns slot and generation from the frame's header and compares the generation again after
its LAST read of the pixels: a difference means the pixels may be torn, and they are discarded.
That comparison needs stores to become visible in program order, which x86-64 guarantees (total
store order) and other architectures do not: on ARM a fence would be needed.
"""

from __future__ import annotations

import os
import secrets

import msgspec
import numpy as np
import numpy.typing as npt

from livedenoise.bus.segment import (
    PREFIX,
    Segment,
    bytes_of,
    close_quietly,
    map_every_page,
    require_room,
    reserve,
    unlink,
)
from livedenoise.bus.slots import Lease
from livedenoise.core.errors import BusError
from livedenoise.core.frame import SUPPORTED_DTYPES, Frame, FrameHeader, frame_nbytes

PAGE = 4096
MAGIC = 0x4C444E52494E4731
LAYOUT_VERSION = 3
HEADER_WORDS = 16
_TOTALS_AT = 5
LEAST_SLOTS = 4
_NEWS_BYTES = 1024
"""Room for what was told of a slot: a header has about 300 bytes."""

LEASE_ROWS = 16
LEASES_PER_READER = 3


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
    if n_slots < LEAST_SLOTS:
        raise BusError(
            f"ring of stream {stream}: {memory_bytes >> 20} MiB hold {n_slots} frames of "
            f"{frame_bytes} bytes, at least {LEAST_SLOTS} are needed",
            "raise ring.memory_mb",
        )
    name = f"{PREFIX}_{os.getpid()}_{secrets.token_hex(4)}"
    return RingSpec(name=name, n_slots=n_slots, slot_bytes=slot_bytes, ring_epoch=ring_epoch)


class RingTotals(msgspec.Struct, frozen=True, kw_only=True):
    """What a ring's writer has done so far, also when it was killed.

    ``captured == published + dropped_full`` but for frames being written; ``last_seq`` and
    ``last_host_ns`` are those of the newest frame, published or dropped; -1 and 0 for none.
    """

    captured: int
    published: int
    dropped_full: int
    lost_at_camera: int
    last_seq: int
    last_host_ns: int


NO_TOTALS = RingTotals(
    captured=0, published=0, dropped_full=0, lost_at_camera=0, last_seq=-1, last_host_ns=0
)


class Ring:
    """One attached segment. Build it with ``Ring.create`` or ``Ring.attach``."""

    def __init__(self, spec: RingSpec, memory: Segment, *, owner: bool) -> None:
        self.spec = spec
        self._memory = memory
        self._owner = owner
        # frombuffer keeps the mapping exported while any array over it lives; ndarray(buffer=)
        # does not, and reading such an array after close() would be a segmentation fault.
        self._bytes = bytes_of(memory)
        words_end = 8 * HEADER_WORDS
        generations_end = words_end + 8 * spec.n_slots
        leases_end = generations_end + 8 * LEASE_ROWS * LEASES_PER_READER * 3
        self._words = self._bytes[:words_end].view(np.uint64)
        self.generations = self._bytes[words_end:generations_end].view(np.uint64)
        cells = self._bytes[generations_end:leases_end].view(np.uint64)
        self._leases = cells.reshape(LEASE_ROWS, LEASES_PER_READER, 3)
        news_end = leases_end + _NEWS_BYTES * spec.n_slots
        self._news = self._bytes[leases_end:news_end].reshape(spec.n_slots, _NEWS_BYTES)
        self._pixels_at = _pixels_offset(spec.n_slots)

    @classmethod
    def create(cls, spec: RingSpec) -> Ring:
        """Create and reserve the segment; every page is allocated now.

        Raises
        ------
        BusError
            If shared memory has not enough room: both sizes are named.
        """
        size = segment_bytes(spec)
        require_room(size)
        try:
            memory = Segment(spec.name, create=True, size=size)
        except OSError as error:
            raise BusError(f"ring {spec.name}: cannot be created: {error}") from error
        try:
            reserve(spec.name, size)
        except OSError as error:
            unlink(memory)
            close_quietly(memory)
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
            memory = Segment(spec.name, create=False)
        except FileNotFoundError:
            raise BusError(f"ring {spec.name}: no such shared memory", "its owner ended") from None
        except (OSError, ValueError) as error:
            # ValueError: the segment is empty, as it is for a moment while it is being created.
            raise BusError(f"ring {spec.name}: cannot be attached: {error}") from error
        map_every_page(memory)
        if memory.size < segment_bytes(spec):
            close_quietly(memory)
            raise BusError(
                f"ring {spec.name}: segment of {memory.size} bytes, {segment_bytes(spec)} expected"
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

    def set_totals(self, totals: RingTotals) -> None:
        """Leave the writer's totals where they survive it (writer only)."""
        self._words[_TOTALS_AT : _TOTALS_AT + 6] = (
            totals.captured,
            totals.published,
            totals.dropped_full,
            totals.lost_at_camera,
            totals.last_seq + 1,
            totals.last_host_ns,
        )

    def totals(self) -> RingTotals:
        """Return the totals the writer left last; zeros of a closed ring."""
        if not self._words.size:
            return NO_TOTALS
        found = [int(word) for word in self._words[_TOTALS_AT : _TOTALS_AT + 6]]
        return RingTotals(
            captured=found[0],
            published=found[1],
            dropped_full=found[2],
            lost_at_camera=found[3],
            last_seq=found[4] - 1,
            last_host_ns=found[5],
        )

    def set_news(self, slot: int, message: bytes) -> None:
        """Leave what readers are told of a slot where it survives the writer (writer only)."""
        if len(message) > _NEWS_BYTES - 4:
            message = b""
        row = self._news[slot]
        row[:4] = np.frombuffer(len(message).to_bytes(4, "little"), np.uint8)
        row[4 : 4 + len(message)] = np.frombuffer(message, np.uint8)

    def news(self, slot: int) -> bytes:
        """Return what was last told of a slot; empty for nothing."""
        row = self._news[slot]
        length = int.from_bytes(row[:4].tobytes(), "little")
        return bytes(row[4 : 4 + min(length, _NEWS_BYTES - 4)])

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
            unlink(self._memory)
        self._bytes = np.zeros(0, np.uint8)
        self._words = self.generations = np.zeros(0, np.uint64)
        self._news = np.zeros((0, _NEWS_BYTES), np.uint8)
        self._leases = np.zeros((0, LEASES_PER_READER, 3), np.uint64)
        close_quietly(self._memory)


def _pixels_offset(n_slots: int) -> int:
    head = 8 * (HEADER_WORDS + n_slots + LEASE_ROWS * LEASES_PER_READER * 3)
    head += _NEWS_BYTES * n_slots
    return -(-head // PAGE) * PAGE


def segment_bytes(spec: RingSpec) -> int:
    """Return the shared memory a ring takes."""
    return _pixels_offset(spec.n_slots) + spec.n_slots * spec.slot_bytes
