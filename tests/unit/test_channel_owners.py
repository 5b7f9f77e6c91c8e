"""Who is owed what, who holds which slot, and what happens when they die."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from stream_kit import EAGER, FOR_EVER_NS, Stream, open_stream, pixels_of, read_all, read_frame

from livedenoise.bus import wire
from livedenoise.bus.ring import LEASES_PER_READER
from livedenoise.core.clock import ManualClock
from livedenoise.core.errors import BusError


@pytest.fixture
def stream() -> Iterator[Stream]:
    with open_stream() as opened:
        yield opened


def is_full(stream: Stream) -> bool:
    slot = stream.begin()
    if slot is not None:
        stream.writer.abort(slot[0])
    return slot is None


def test_a_successor_takes_over_what_was_owed_with_its_gaps(stream: Stream) -> None:
    first = stream.reader("record")
    stream.publish()
    stream.writer.note_gap(1, 2, "camera")
    stream.seq = 3
    stream.publish(2)
    first.release(read_frame(first))
    stream.serve_until(lambda: stream.writer.table.owed == 2)

    second = stream.reader("record")
    stream.publish()
    stream.writer.note_gap(6, 6, "camera")
    stream.writer.end()
    assert read_all(second) == [
        wire.Gap(first=1, last=2, reason="camera"),
        3,
        4,
        5,
        wire.Gap(first=6, last=6, reason="camera"),
    ]
    stream.serve_until(lambda: stream.writer.table.owed == 0)
    assert stream.writer.table.forgiven == 0


def test_the_predecessor_has_no_say_any_more(stream: Stream) -> None:
    first = stream.reader("record")
    stream.publish()
    frame = read_frame(first)
    stream.reader("record")
    first.release(frame)
    stream.serve_until(lambda: stream.writer.undelivered["stray_release"] == 1)
    first.close()
    stream.writer.service(20)
    assert stream.writer.readers() == ["record"]
    assert stream.writer.table.owed_to("record") == [frame.header.slot]


def test_a_successor_after_the_end_gets_what_was_owed_and_the_end(stream: Stream) -> None:
    stream.reader("record")
    stream.publish(2)
    stream.writer.note_gap(2, 2, "camera")
    stream.writer.end()
    second = stream.reader("record")
    assert read_all(second) == [0, 1, wire.Gap(first=2, last=2, reason="camera")]


def test_a_reader_that_asks_twice_gets_its_frames_once(stream: Stream) -> None:
    first = stream.reader("record")
    stream.publish(2)
    first.request_attach()
    first.request_attach()
    stream.writer.service(20)
    stream.publish()
    stream.writer.end()
    assert read_all(first) == [0, 1, 2]


def test_a_lossless_reader_that_comes_back_as_latest_is_owed_nothing(stream: Stream) -> None:
    stream.reader("same")
    stream.publish(2)
    stream.reader("same", EAGER)
    assert stream.writer.table.forgiven == 2
    stream.publish(20)
    assert stream.writer.table.owed == 0


def test_a_dead_lossless_reader_blocks_until_it_is_forgiven(stream: Stream) -> None:
    stream.reader("record")  # and never releases
    stream.publish(4)
    assert stream.begin(0.02) is None
    assert stream.writer.reader_gone("record") == 4
    assert stream.writer.table.forgiven == 4
    stream.publish(8)
    assert stream.writer.readers() == []
    stream.writer.table.check()


def test_a_frame_forgiven_and_overwritten_is_not_handed_out() -> None:
    """A reader taken for dead that wakes up must not take another frame's pixels for its own."""
    with open_stream() as stream:
        reader = stream.reader("record")
        stream.publish(3)
        first = read_frame(reader)
        stream.writer.reader_gone("record")
        stream.publish(6)
        assert not reader.release(first)
        assert reader.read(0.01) is None
        assert (reader.received, reader.skipped["overwritten"]) == (1, 2)


def test_a_vanished_latest_reader_does_not_block(stream: Stream) -> None:
    reader = stream.reader("view", EAGER)
    stream.publish(2)
    read_frame(reader)  # a lease that is never given back
    reader._socket.close(linger=0)
    stream.publish(50)
    stream.writer.table.check()
    assert stream.writer.reader_gone("view") == 0
    assert stream.ring.leases() == []


def test_leases_are_cleared_with_the_reader(stream: Stream) -> None:
    reader = stream.reader("view", EAGER)
    stream.publish()
    read_frame(reader)
    assert len(stream.ring.leases()) == 1
    reader.close()
    stream.serve_until(lambda: stream.writer.readers() == [])
    assert stream.ring.leases() == []


def test_a_leased_frame_is_not_overwritten_until_its_lease_expires() -> None:
    clock = ManualClock()
    timeout_ns = FOR_EVER_NS * 100
    with open_stream(n_slots=4, lease_timeout_ns=timeout_ns, writer_clock=clock) as stream:
        reader = stream.reader("view", EAGER)
        stream.publish()
        frame = read_frame(reader)
        stream.publish(20)
        np.testing.assert_array_equal(frame.pixels, pixels_of(0))
        assert reader.release(frame)
        stream.publish(4)
        leased = [read_frame(reader) for _ in range(LEASES_PER_READER)]
        assert is_full(stream), "three of four slots are leased and the last is the newest"
        clock.advance_ns(2 * timeout_ns)
        stream.publish(4)
        assert stream.writer.table.revoked_leases > 0
        assert not all(reader.release(one) for one in leased)


def test_a_frame_being_overwritten_is_torn_from_the_first_moment() -> None:
    """Before the writer has touched a pixel, and before anything is published in its place."""
    with open_stream(n_slots=2, lease_timeout_ns=0) as stream:
        reader = stream.reader("view", EAGER)
        stream.publish(2)
        frame = read_frame(reader)
        slot = stream.begin()
        assert slot is not None
        assert slot[0].slot == frame.header.slot
        assert not reader.release(frame)


def test_a_latest_reader_holds_three_frames_at_most() -> None:
    with open_stream(n_slots=8) as stream:
        reader = stream.reader("view", EAGER)
        stream.publish(5)
        held = [read_frame(reader) for _ in range(LEASES_PER_READER)]
        assert reader.read(0.01) is None
        assert reader.release(held[0])
        with pytest.raises(BusError, match="frame 0 was released by view already"):
            reader.release(held[0])
        assert read_frame(reader).header.seq == LEASES_PER_READER


def test_pixels_cannot_be_written_by_a_reader(stream: Stream) -> None:
    reader = stream.reader()
    stream.publish()
    frame = read_frame(reader)
    with pytest.raises(ValueError, match="read-only"):
        frame.pixels[0, 0] = 1


def test_a_full_ring_times_out_and_goes_on_after_a_release(stream: Stream) -> None:
    reader = stream.reader()
    stream.publish(4)
    assert stream.begin(0.03) is None
    stream.writer.drop()
    stream.writer.note_gap(4, 4, "ring_full")
    stream.seq = 5
    for _ in range(2):
        reader.release(read_frame(reader))
    stream.publish(timeout_s=5.0)
    stream.writer.end()
    assert read_all(reader) == [2, 3, wire.Gap(first=4, last=4, reason="ring_full"), 5]
    table = stream.writer.table
    assert (table.captured, table.published, table.dropped_full) == (6, 5, 1)


def test_a_frame_larger_than_a_slot_is_refused_with_both_sizes(stream: Stream) -> None:
    with pytest.raises(BusError, match=r"65x32 <u2 of 4160 bytes .* slots of 4096 bytes"):
        stream.writer.begin((32, 65), "<u2", 0)
    assert stream.writer.begin((32, 64), "<u2", 0) is not None
    assert stream.writer.begin((32, 65), "|u1", 0) is not None


def test_a_grant_is_good_for_one_frame(stream: Stream) -> None:
    slot = stream.begin()
    assert slot is not None
    grant = slot[0]
    stream.writer.publish(grant, stream.header(grant))
    with pytest.raises(BusError, match="the grant of generation 2 was used already"):
        stream.writer.publish(grant, stream.header(grant))
    with pytest.raises(BusError, match="the grant of generation 2 was used already"):
        stream.writer.abort(grant)
    stream.writer.table.check()


@pytest.mark.parametrize(
    "lie", [{"slot": 3}, {"generation": 4}, {"ring_epoch": 1}, {"height": 2000}, {"dtype": ">u2"}]
)
def test_a_header_that_does_not_fit_its_grant_is_refused(
    stream: Stream, lie: dict[str, object]
) -> None:
    reader = stream.reader()
    slot = stream.begin()
    assert slot is not None
    with pytest.raises(BusError, match="granted was"):
        stream.writer.publish(slot[0], stream.header(slot[0], **lie))
    stream.writer.abort(slot[0])
    assert reader.read(0.01) is None
    assert stream.writer.table.aborted == 1


def test_an_aborted_frame_is_never_seen(stream: Stream) -> None:
    reader = stream.reader("view", EAGER)
    slot = stream.begin()
    assert slot is not None
    stream.writer.abort(slot[0])
    stream.publish()
    stream.writer.end()
    assert read_all(reader) == [0]
