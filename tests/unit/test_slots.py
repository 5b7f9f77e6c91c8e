"""The slot table against an independent model: frames, not slots, are what the model remembers."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from livedenoise.bus.slots import Grant, Lease, SlotState, SlotTable

TIMEOUT_NS = 100
READERS = st.sampled_from(["record", "batch", "second"])
PICK = st.integers(0, 10**6)


@dataclass
class Frame:
    """One frame the model saw: where it went, and who has still to give it back."""

    grant: Grant
    status: str = "writing"
    owed: set[str] = field(default_factory=set)


class SlotTableMachine(RuleBasedStateMachine):
    """Every verb in any order; after each, the law and the model hold."""

    def __init__(self) -> None:
        super().__init__()
        self.table = SlotTable(5, TIMEOUT_NS)
        self.frames: list[Frame] = []
        self.readers: set[str] = set()
        self.leases: list[Lease] = []
        self.now_ns = 0
        self.dropped = 0
        self.revoked = 0
        self.forgiven = 0
        self.newest: Frame | None = None

    def in_slot(self, slot: int) -> Frame | None:
        """Return the last frame granted this slot."""
        return next((f for f in reversed(self.frames) if f.grant.slot == slot), None)

    def with_status(self, status: str) -> list[Frame]:
        return [frame for frame in self.frames if frame.status == status]

    def reusable(self) -> set[int]:
        """Return the slots whose content may be destroyed now, leases apart."""
        busy = {f.grant.slot for f in self.frames if f.status == "writing" or f.owed}
        if self.newest is not None:
            busy.add(self.newest.grant.slot)
        return set(range(self.table.n_slots)) - busy

    def lease_times(self, slot: int) -> list[int]:
        """Return when the leases that are about the slot's present content were taken."""
        held = self.in_slot(slot)
        generation = held.grant.generation if held is not None else 0
        return [
            lease.taken_ns
            for lease in self.leases
            if (lease.slot, lease.generation) == (slot, generation)
        ]

    @rule()
    def begin(self) -> None:
        free = {slot for slot in self.reusable() if not self.lease_times(slot)}
        expired = {
            slot
            for slot in self.reusable() - free
            if all(self.now_ns - taken > TIMEOUT_NS for taken in self.lease_times(slot))
        }
        grant = self.table.begin(self.now_ns, list(self.leases))
        if grant is None:
            assert not free
            assert not expired
            return
        assert grant.slot in (free or expired)
        self.revoked += not free
        held = self.in_slot(grant.slot)
        assert grant.generation == (held.grant.generation if held else 0) + 2
        if held is not None and held.status == "published":
            held.status = "overwritten"
        self.frames.append(Frame(grant))

    @rule(times=st.integers(1, 4))
    def publish_frames(self, times: int) -> None:
        """Do what a camera does nearly all the time."""
        for _ in range(times):
            before = len(self.frames)
            self.begin()
            if len(self.frames) > before:
                self._publish(self.frames[-1])

    @precondition(lambda self: self.with_status("writing"))
    @rule(pick=PICK)
    def publish(self, pick: int) -> None:
        writing = self.with_status("writing")
        self._publish(writing[pick % len(writing)])

    def _publish(self, frame: Frame) -> None:
        self.table.publish(frame.grant.slot)
        frame.status, frame.owed = "published", set(self.readers)
        self.newest = frame
        self.table.check()

    @precondition(lambda self: self.with_status("writing"))
    @rule(pick=PICK)
    def abort(self, pick: int) -> None:
        writing = self.with_status("writing")
        frame = writing[pick % len(writing)]
        self.table.abort(frame.grant.slot)
        frame.status = "aborted"

    @rule()
    def drop(self) -> None:
        self.table.drop_full()
        self.dropped += 1

    @rule(reader=READERS)
    def attach_or_succeed(self, reader: str) -> None:
        owed_before = set(self.table.owed_to(reader))
        self.table.add_reader(reader)
        self.readers.add(reader)
        assert set(self.table.owed_to(reader)) == owed_before, "a successor takes over, no more"

    @rule(reader=READERS)
    def forgive(self, reader: str) -> None:
        owed = [frame for frame in self.frames if reader in frame.owed]
        assert self.table.remove_reader(reader) == len(owed)
        self.readers.discard(reader)
        self.forgiven += len(owed)
        for frame in owed:
            frame.owed.discard(reader)

    @precondition(lambda self: any(frame.owed for frame in self.frames))
    @rule(pick=PICK)
    def release(self, pick: int) -> None:
        owed = [(frame, name) for frame in self.frames for name in sorted(frame.owed)]
        frame, name = owed[pick % len(owed)]
        assert self.table.release(name, frame.grant.slot, frame.grant.generation)
        frame.owed.discard(name)

    @precondition(lambda self: any(frame.owed for frame in self.frames))
    @rule(pick=PICK, wrong=st.sampled_from([-4, -2, -1, 1, 2]))
    def release_an_older_frame_of_an_owed_slot(self, pick: int, wrong: int) -> None:
        owed = [(frame.grant, name) for frame in self.frames for name in sorted(frame.owed)]
        grant, name = owed[pick % len(owed)]
        assert not self.table.release(name, grant.slot, grant.generation + wrong)

    @rule(reader=READERS, slot=st.integers(-2, 6), generation=st.integers(-1, 12))
    def release_anything(self, reader: str, slot: int, generation: int) -> None:
        frame = next((f for f in self.frames if f.grant == Grant(slot, generation)), None)
        due = frame is not None and reader in frame.owed
        assert self.table.release(reader, slot, generation) == due
        if frame is not None:
            frame.owed.discard(reader)

    @precondition(lambda self: self.with_status("published"))
    @rule(pick=PICK)
    def lease(self, pick: int) -> None:
        published = self.with_status("published")
        grant = published[pick % len(published)].grant
        self.leases.append(Lease(grant.slot, grant.generation, self.now_ns))

    @rule(slot=st.integers(-1, 6), generation=st.integers(0, 12))
    def lease_anything(self, slot: int, generation: int) -> None:
        self.leases.append(Lease(slot, generation, self.now_ns))

    @precondition(lambda self: self.leases)
    @rule(pick=PICK)
    def end_lease(self, pick: int) -> None:
        del self.leases[pick % len(self.leases)]

    @rule(step_ns=st.sampled_from([1, TIMEOUT_NS // 2, TIMEOUT_NS + 1]))
    def wait(self, step_ns: int) -> None:
        self.now_ns += step_ns

    @invariant()
    def laws_hold(self) -> None:
        self.table.check()
        writing = len(self.with_status("writing"))
        aborted = len(self.with_status("aborted"))
        published = len(self.frames) - writing - aborted
        assert self.table.captured == len(self.frames) + self.dropped
        assert (self.table.published, self.table.aborted) == (published, aborted)
        assert (self.table.writing, self.table.dropped_full) == (writing, self.dropped)
        assert self.table.revoked_leases == self.revoked
        assert self.table.forgiven == self.forgiven

    @invariant()
    def owed_frames_are_intact(self) -> None:
        for frame in self.frames:
            if frame.owed:
                assert frame.status == "published"
                assert self.table.generation(frame.grant.slot) == frame.grant.generation
        owed = {frame.grant.slot for frame in self.frames if frame.owed}
        assert self.table.owed == len(owed)
        for reader in ("record", "batch", "second"):
            mine = {f.grant.slot for f in self.frames if reader in f.owed}
            assert set(self.table.owed_to(reader)) == mine

    @invariant()
    def newest_is_available(self) -> None:
        if self.newest is None:
            assert self.table.newest is None
            return
        grant = self.newest.grant
        assert self.table.newest == grant.slot
        assert self.table.state(grant.slot) is SlotState.PUBLISHED
        assert self.table.generation(grant.slot) == grant.generation

    @invariant()
    def generations_tell_who_writes(self) -> None:
        for frame in self.with_status("writing"):
            assert self.table.generation(frame.grant.slot) == frame.grant.generation - 1


TestSlotTable = SlotTableMachine.TestCase
TestSlotTable.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


def test_ring_of_one_slot_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 2 slots, got 1"):
        SlotTable(1, TIMEOUT_NS)


@pytest.mark.parametrize("verb", ["publish", "abort"])
def test_slot_not_being_written_cannot_be_ended(verb: str) -> None:
    table = SlotTable(3, TIMEOUT_NS)
    with pytest.raises(ValueError, match="slot 1 is free, not being written"):
        getattr(table, verb)(1)
    table.check()


def test_youngest_of_two_leases_protects_the_slot() -> None:
    """An old lease that another reader forgot must not hide a young one on the same slot."""
    table = SlotTable(2, TIMEOUT_NS)
    first = _published(table)
    _published(table)
    young, old = Lease(first.slot, first.generation, 500), Lease(first.slot, first.generation, 0)
    for leases in ([young, old], [old, young]):
        assert table.begin(510, leases) is None
    assert table.begin(500 + TIMEOUT_NS + 1, [young, old]) is not None


def test_oldest_idle_frame_is_overwritten_first() -> None:
    table = SlotTable(4, TIMEOUT_NS)
    grants = [_published(table) for _ in range(4)]
    again = [_published(table) for _ in range(3)]
    assert [g.slot for g in again] == [g.slot for g in grants[:3]]


def test_check_finds_a_broken_law() -> None:
    table = SlotTable(3, TIMEOUT_NS)
    table.captured += 1
    with pytest.raises(AssertionError, match="captured 1 != accounted 0"):
        table.check()


def _published(table: SlotTable) -> Grant:
    grant = table.begin(0, ())
    assert grant is not None
    table.publish(grant.slot)
    return grant
