"""The slot table: who may write or read which slot of a ring, decided without any I/O.

Knows: slots, their generations, which LOSSLESS readers are still owed a frame, which slots LATEST
readers lease. Must not know: sockets, clocks, shared memory, pixels.

Rules
-----
- Publishing owes the slot to every LOSSLESS reader; it is handed out again only when all have
  released it.
- A LATEST reader leases a slot before it reads. Unleased slots are handed out first; a lease older
  than its time-out is revoked. A reader therefore checks the generation again AFTER its last read.
- The newest published frame is never handed out, so that somebody who attaches late sees it.
- Law, checked by ``check()``: ``captured == published + aborted + dropped_full + writing``.

Example
-------
>>> table = SlotTable(4, lease_timeout_ns=1_000)
>>> grant = table.begin(now_ns=0, leases=())
>>> table.publish(grant.slot)
>>> table.captured, table.published
(1, 1)
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum

import msgspec


class SlotState(Enum):
    """What a slot is being used for."""

    FREE = "free"
    WRITING = "writing"
    PUBLISHED = "published"


class Grant(msgspec.Struct, frozen=True):
    """The right to write one slot. ``generation`` is what the slot will carry once published."""

    slot: int
    generation: int


class Lease(msgspec.Struct, frozen=True):
    """A LATEST reader's claim on a slot of one generation, taken at ``taken_ns``."""

    slot: int
    generation: int
    taken_ns: int


class SlotTable:
    """State of the slots of one ring; the only methods that change it are the verbs below.

    Parameters
    ----------
    n_slots : int
        At least 2: the newest published frame stays available while another is written.
    lease_timeout_ns : int
        Age at which a lease no longer protects its slot.
    """

    def __init__(self, n_slots: int, lease_timeout_ns: int) -> None:
        if n_slots < 2:
            raise ValueError(f"a ring needs at least 2 slots, got {n_slots}")
        self.n_slots = n_slots
        self.lease_timeout_ns = lease_timeout_ns
        self.captured = 0
        self.published = 0
        self.aborted = 0
        self.dropped_full = 0
        self.revoked_leases = 0
        self.forgiven = 0
        self.newest: int | None = None
        self._state = [SlotState.FREE] * n_slots
        # Even: readable. Odd: being written. Readers compare it with the header's generation.
        self._generation = [0] * n_slots
        self._owed: list[set[str]] = [set() for _ in range(n_slots)]
        self._lossless: set[str] = set()
        # Slots nobody is owed, oldest published first (a dict keeps insertion order).
        self._idle: dict[int, None] = dict.fromkeys(range(n_slots))

    @property
    def writing(self) -> int:
        """Return how many slots are being written."""
        return self._state.count(SlotState.WRITING)

    @property
    def owed(self) -> int:
        """Return how many slots some LOSSLESS reader has still to release."""
        return sum(1 for readers in self._owed if readers)

    def generation(self, slot: int) -> int:
        """Return the slot's generation: even when readable, odd while it is written."""
        return self._generation[slot]

    def state(self, slot: int) -> SlotState:
        """Return the slot's state."""
        return self._state[slot]

    def owed_to(self, reader: str) -> list[int]:
        """Return the slots a LOSSLESS reader has still to release, in no particular order."""
        return [slot for slot, readers in enumerate(self._owed) if reader in readers]

    def begin(self, now_ns: int, leases: Iterable[Lease]) -> Grant | None:
        """Hand out a slot to write, or None when every slot is owed, newest or leased."""
        slot = self._pick(now_ns, self._leased(leases))
        if slot is None:
            return None
        del self._idle[slot]
        self._state[slot] = SlotState.WRITING
        self._generation[slot] += 1
        self.captured += 1
        return Grant(slot, self._generation[slot] + 1)

    def publish(self, slot: int) -> None:
        """Make a written slot readable and owe it to every LOSSLESS reader."""
        self._leave_writing(slot, SlotState.PUBLISHED)
        self.published += 1
        previous, self.newest = self.newest, slot
        self._owed[slot] = set(self._lossless)
        if previous is not None and previous not in self._idle and not self._owed[previous]:
            self._idle[previous] = None

    def abort(self, slot: int) -> None:
        """Give a slot back unwritten: its frame is lost and counted."""
        self._leave_writing(slot, SlotState.FREE)
        self.aborted += 1
        self._idle[slot] = None

    def drop_full(self) -> None:
        """Count a captured frame that found no slot in time."""
        self.captured += 1
        self.dropped_full += 1

    def add_reader(self, reader: str) -> None:
        """Register a LOSSLESS reader: it is owed every frame published from now on.

        A successor of the same name takes over what its predecessor was still owed.
        """
        self._lossless.add(reader)

    def remove_reader(self, reader: str) -> int:
        """Forget a LOSSLESS reader and return how many frames it was still owed."""
        self._lossless.discard(reader)
        slots = self.owed_to(reader)
        for slot in slots:
            self._settle(reader, slot)
        self.forgiven += len(slots)
        return len(slots)

    def release(self, reader: str, slot: int, generation: int) -> bool:
        """Settle one owed frame; False when nothing was owed (late, twice or made up)."""
        if not 0 <= slot < self.n_slots or reader not in self._owed[slot]:
            return False
        if generation != self._generation[slot]:
            return False
        self._settle(reader, slot)
        return True

    def check(self) -> None:
        """Raise AssertionError when an invariant is broken: called after every test step."""
        law = self.published + self.aborted + self.dropped_full + self.writing
        if self.captured != law:
            raise AssertionError(f"captured {self.captured} != accounted {law}")
        for slot in range(self.n_slots):
            self._check_slot(slot)
        if self.newest is not None and self._state[self.newest] is not SlotState.PUBLISHED:
            raise AssertionError(f"newest slot {self.newest} is {self._state[self.newest]}")

    def _check_slot(self, slot: int) -> None:
        state, owed = self._state[slot], self._owed[slot]
        if (self._generation[slot] % 2 == 1) != (state is SlotState.WRITING):
            raise AssertionError(f"slot {slot}: generation {self._generation[slot]} while {state}")
        if owed and state is not SlotState.PUBLISHED:
            raise AssertionError(f"slot {slot}: owed to {sorted(owed)} while {state}")
        busy = state is SlotState.WRITING or bool(owed) or slot == self.newest
        if busy == (slot in self._idle):
            raise AssertionError(f"slot {slot}: busy {busy} but idle {slot in self._idle}")

    def _leased(self, leases: Iterable[Lease]) -> dict[int, int]:
        """Return when each leased slot was last leased: the youngest lease protects it."""
        taken_ns: dict[int, int] = {}
        for lease in leases:
            slot = lease.slot
            if 0 <= slot < self.n_slots and lease.generation == self._generation[slot]:
                taken_ns[slot] = max(lease.taken_ns, taken_ns.get(slot, lease.taken_ns))
        return taken_ns

    def _pick(self, now_ns: int, leased: dict[int, int]) -> int | None:
        expired: int | None = None
        for slot in self._idle:
            taken_ns = leased.get(slot)
            if taken_ns is None:
                return slot
            if expired is None and now_ns - taken_ns > self.lease_timeout_ns:
                expired = slot
        if expired is not None:
            self.revoked_leases += 1
        return expired

    def _leave_writing(self, slot: int, state: SlotState) -> None:
        if self._state[slot] is not SlotState.WRITING:
            raise ValueError(f"slot {slot} is {self._state[slot].value}, not being written")
        self._state[slot] = state
        self._generation[slot] += 1
        if state is SlotState.PUBLISHED:
            self._idle.pop(slot, None)

    def _settle(self, reader: str, slot: int) -> None:
        self._owed[slot].discard(reader)
        if not self._owed[slot] and slot != self.newest:
            self._idle[slot] = None
