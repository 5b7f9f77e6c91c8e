"""Writer and readers together: what arrives, in which order, and how every loss is counted."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import msgspec
import numpy as np
import pytest
import zmq
from stream_kit import EAGER, FOR_EVER_NS, Stream, open_stream, pixels_of, read_frame
from waiting import wait_until

from livedenoise.bus import wire
from livedenoise.bus.backlog import Latest, Lossless
from livedenoise.bus.reader import FrameReader, Received
from livedenoise.bus.ring import LEASE_ROWS, LEASES_PER_READER
from livedenoise.bus.slots import Grant
from livedenoise.bus.writer import MAX_LOSSLESS_READERS
from livedenoise.core.clock import ManualClock
from livedenoise.core.errors import BusError


@pytest.fixture
def stream() -> Iterator[Stream]:
    with open_stream() as opened:
        yield opened


def read_all(reader: FrameReader) -> list[int | wire.Gap]:
    """Read to the end of the stream; return seqs and gaps as they came, pixels checked."""
    items: list[int | wire.Gap] = []
    while not reader.ended:
        item = reader.read(5.0)
        if isinstance(item, Received):
            np.testing.assert_array_equal(item.pixels, pixels_of(item.header.seq))
            assert reader.release(item)
        assert item is not None or reader.ended, "the stream stopped without an end"
        if item is not None:
            items.append(item.header.seq if isinstance(item, Received) else item)
    return items


class ReaderThread:
    """Reads a stream to its end in a thread."""

    def __init__(self, work: Callable[[], list[int | wire.Gap]], name: str) -> None:
        self.items: list[int | wire.Gap] | None = None
        self._work = work
        self._thread = threading.Thread(target=self._run, name=name)
        self._thread.start()

    def _run(self) -> None:
        self.items = self._work()

    def result(self, stream: Stream) -> list[int | wire.Gap]:
        stream.serve_until(lambda: not self._thread.is_alive(), 10.0)
        self._thread.join()
        assert self.items is not None, "the reader failed"
        return self.items


def is_full(stream: Stream) -> bool:
    slot = stream.begin()
    if slot is not None:
        stream.writer.abort(slot[0])
    return slot is None


def test_lossless_readers_get_every_frame_bit_for_bit(stream: Stream) -> None:
    readers = [stream.reader(name) for name in ("record", "batch")]
    threads = [ReaderThread(lambda r=r: read_all(r), f"reader-{k}") for k, r in enumerate(readers)]
    stream.publish(200, timeout_s=5.0)
    stream.writer.end()
    for thread in threads:
        assert thread.result(stream) == list(range(200))
    assert [reader.received for reader in readers] == [200, 200]
    assert [reader.published for reader in readers] == [200, 200]
    stream.serve_until(lambda: stream.writer.table.owed == 0)
    stream.writer.table.check()


def test_latest_reader_skips_and_every_frame_is_accounted_for() -> None:
    with open_stream(n_slots=6) as stream:
        reader = stream.reader("view", Latest(max_backlog=2, max_age_ns=FOR_EVER_NS))
        seen: list[int] = []
        for burst in (1, 2, 5, 3, 9, 4, 1):
            stream.publish(burst)
            stream.writer.service(0)
            frame = read_frame(reader)
            np.testing.assert_array_equal(frame.pixels, pixels_of(frame.header.seq))
            assert reader.release(frame)
            seen.append(frame.header.seq)
        stream.writer.end()
        seen += [item for item in read_all(reader) if isinstance(item, int)]
        assert seen == sorted(set(seen))
        skipped = sum(reader.skipped.values())
        assert skipped > 0
        assert reader.received == len(seen)
        assert reader.published == reader.received + skipped == stream.seq
        assert stream.writer.undelivered == {}


def test_latest_and_lossless_side_by_side(stream: Stream) -> None:
    record, view = stream.reader("record"), stream.reader("view", Latest(1, FOR_EVER_NS))
    threads = [
        ReaderThread(lambda: read_all(record), "record"),
        ReaderThread(lambda: read_all(view), "view"),
    ]
    stream.publish(150, timeout_s=5.0)
    stream.writer.end()
    assert threads[0].result(stream) == list(range(150))
    threads[1].result(stream)
    assert view.received + sum(view.skipped.values()) == 150


def test_too_old_a_frame_is_jumped_over() -> None:
    with open_stream(n_slots=6) as stream:
        clock = ManualClock()
        reader = stream.reader("view", Latest(max_backlog=5, max_age_ns=100), clock=clock)
        stream.publish(3)
        oldest_ns = wait_until(lambda: _header_of_oldest(reader, clock)).t_host_ns
        clock.advance_ns(oldest_ns + 101)
        frame = read_frame(reader)
        assert (frame.header.seq, reader.skipped["backlog"]) == (2, 2)


def _header_of_oldest(reader: FrameReader, clock: ManualClock) -> object:
    reader._drain_socket()
    return reader._pending[0] if reader.backlog == 3 else None


def test_gaps_arrive_between_the_right_frames(stream: Stream) -> None:
    reader = stream.reader()
    stream.publish()
    stream.writer.note_gap(1, 2, "camera")
    stream.writer.note_gap(3, 3, "camera")
    stream.writer.note_gap(4, 4, "ring_full")
    stream.seq = 5
    stream.publish()
    stream.writer.note_gap(6, 6, "ring_full")
    stream.writer.end()
    assert read_all(reader) == [
        0,
        wire.Gap(first=1, last=3, reason="camera"),
        wire.Gap(first=4, last=4, reason="ring_full"),
        5,
        wire.Gap(first=6, last=6, reason="ring_full"),
    ]


def test_a_gap_after_the_last_frame_is_read_before_the_end(stream: Stream) -> None:
    reader = stream.reader()
    stream.writer.note_gap(0, 4, "camera")
    stream.writer.end()
    assert wait_until(lambda: reader.read(0)) == wire.Gap(first=0, last=4, reason="camera")
    assert wait_until(lambda: reader.read(0) is None and reader.ended)


def test_a_gap_among_skipped_frames_comes_before_the_frame_jumped_to() -> None:
    with open_stream(n_slots=8) as stream:
        reader = stream.reader("view", Latest(max_backlog=2, max_age_ns=FOR_EVER_NS))
        stream.publish(2)
        stream.writer.note_gap(2, 3, "camera")
        stream.seq = 4
        stream.publish(3)
        stream.writer.end()
        # Everything must have arrived: a reader that sees two frames only has no backlog.
        wait_until(lambda: (reader._drain_socket(), reader.backlog == 5)[1])
        assert read_all(reader) == [wire.Gap(first=2, last=3, reason="camera"), 6]
        assert (reader.received, reader.skipped["backlog"]) == (1, 4)


def test_gaps_that_alternate_while_the_ring_is_full_stay_bounded(stream: Stream) -> None:
    reader = stream.reader()
    stream.publish()
    for seq in range(1, 1001, 2):
        stream.writer.note_gap(seq, seq, "camera")
        stream.writer.note_gap(seq + 1, seq + 1, "ring_full")
    stream.seq = 1001
    stream.publish()
    stream.writer.end()
    items = read_all(reader)
    gaps = [item for item in items if isinstance(item, wire.Gap)]
    assert (items[0], items[-1]) == (0, 1001)
    assert len(gaps) < 20
    lost = [seq for gap in gaps for seq in range(gap.first, gap.last + 1)]
    assert lost == list(range(1, 1001))
    assert {part for gap in gaps for part in gap.reason.split("+")} == {"camera", "ring_full"}


def test_a_late_reader_starts_with_the_next_frame(stream: Stream) -> None:
    stream.publish(3)
    late = stream.reader("late", EAGER)
    lossless = stream.reader("record")
    stream.publish(2)
    stream.writer.end()
    assert read_all(late) == [3, 4]
    assert read_all(lossless) == [3, 4]
    assert late.published == 5


@pytest.mark.parametrize("policy", [Lossless(), EAGER])
def test_who_attaches_after_the_end_is_told_so(stream: Stream, policy: Lossless | Latest) -> None:
    stream.publish(2)
    stream.writer.end()
    late = stream.reader("late", policy)
    wait_until(lambda: late.read(0) is None and late.ended)
    assert (late.received, late.published) == (0, 2)


def test_attach_waits_for_a_writer_that_comes_later(stream: Stream) -> None:
    reader = stream.reader("view", EAGER, attach=False)
    thread = threading.Thread(target=reader.attach, args=(5.0,), name="attach")
    thread.start()
    stream.serve_until(lambda: not thread.is_alive())
    thread.join()
    stream.publish()
    assert read_frame(reader).header.seq == 0


def test_attach_gives_up_in_time() -> None:
    with open_stream() as stream:
        reader = stream.reader("view", EAGER, attach=False)
        with pytest.raises(BusError, match=r"no answer to view within 0.1 s"):
            reader.attach(0.1)  # nobody serves the writer


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


def hostile_socket(stream: Stream) -> zmq.Socket[bytes]:
    socket = stream.context.socket(zmq.DEALER)
    socket.connect(stream.writer.endpoint)
    return socket


HOSTILE: list[list[bytes]] = [
    [b""],
    [b"\x00\xff\xfe"],
    [b"\x01" + b"\xff" * 64],
    [b"\x02" + wire.encode(wire.Detach())[1:]],
    [wire.encode(wire.Detach()), b"more"],
    [wire.encode(wire.Start())],
    [wire.encode(wire.End(published=3))],
    [wire.encode(wire.Attach(reader="x", lossless=True))[:-3]],
]


def test_hostile_bytes_are_counted_and_the_writer_lives(stream: Stream) -> None:
    reader = stream.reader()
    with hostile_socket(stream) as socket:
        for parts in HOSTILE:
            socket.send_multipart(parts)
        socket.send(wire.encode(wire.Release(slot=10**9, generation=-1)))
        socket.send(wire.encode(wire.Release(slot=0, generation=2**63)))
        socket.send(wire.encode(wire.Detach()))
        stream.serve_until(lambda: stream.writer.undelivered["stray_release"] == 2)
    assert stream.writer.wire_errors == len(HOSTILE)
    stream.publish(2)
    assert read_frame(reader).header.seq == 0
    stream.writer.table.check()


def test_a_message_too_large_does_not_reach_the_writer(stream: Stream) -> None:
    with hostile_socket(stream) as socket:
        socket.send(b"\x01" * (wire.MAX_MESSAGE_BYTES + 1))
        stream.writer.service(50)
    assert (stream.writer.wire_errors, stream.writer.readers()) == (0, [])
    stream.publish(2)


def test_a_flood_does_not_keep_the_writer_from_its_frames(stream: Stream) -> None:
    """However fast nonsense comes, a call to service ends."""

    class Endless:
        def recv_multipart(self, _flags: int) -> list[bytes]:
            assert stream.writer.wire_errors < 100_000, "service does not end"
            return [b"somebody", b"nonsense"]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stream.writer, "_socket", Endless())
        stream.writer.service(0)
        slot = stream.begin()
    assert slot is not None
    assert stream.writer.wire_errors > 0


def test_another_header_version_is_refused_with_both(stream: Stream) -> None:
    with hostile_socket(stream) as socket:
        socket.send(wire.encode(wire.Attach(reader="old", lossless=True, header_version=99)))
        stream.writer.service(1000)
        assert socket.poll(2000)
        answer = wire.expect(wire.decode(socket.recv()), wire.Attached)
    assert answer.refused == "header version 99, this writer's is 1"
    assert stream.writer.readers() == []


def attach_by_hand(stream: Stream, socket: zmq.Socket[bytes], name: str, *, lossless: bool) -> str:
    socket.send(wire.encode(wire.Attach(reader=name, lossless=lossless)))
    stream.writer.service(1000)
    assert socket.poll(2000)
    return wire.expect(wire.decode(socket.recv()), wire.Attached).refused


@pytest.mark.parametrize(("lossless", "limit"), [(True, MAX_LOSSLESS_READERS), (False, LEASE_ROWS)])
def test_the_number_of_readers_is_bounded_but_successors_are_welcome(
    stream: Stream, lossless: bool, limit: int
) -> None:
    with hostile_socket(stream) as socket:
        for k in range(limit):
            assert attach_by_hand(stream, socket, f"reader-{k}", lossless=lossless) == ""
        refused = attach_by_hand(stream, socket, "one-more", lossless=lossless)
        assert refused == f"{limit} readers are attached already"
    with hostile_socket(stream) as successor:
        assert attach_by_hand(stream, successor, "reader-3", lossless=lossless) == ""
    assert len(stream.writer.readers()) == limit


def test_a_refused_reader_says_why(stream: Stream) -> None:
    with hostile_socket(stream) as socket:
        for k in range(LEASE_ROWS):
            attach_by_hand(stream, socket, f"reader-{k}", lossless=False)
    reader = stream.reader("view", EAGER, attach=False)
    reader.request_attach()
    stream.writer.service(1000)
    with pytest.raises(BusError, match="view was refused: 16 readers are attached already"):
        wait_until(lambda: reader.read(0.01))


def test_what_a_reader_cannot_decode_is_counted(stream: Stream) -> None:
    """A reader survives a writer of another version, and headers that lie about the ring."""
    reader = stream.reader()
    identity = stream.identity_of("record")
    good = stream.header(Grant(0, 2))
    lies = [
        msgspec.structs.replace(good, slot=99),
        msgspec.structs.replace(good, height=-6, width=-8),
        msgspec.structs.replace(good, dtype="O"),
    ]
    for data in (b"", b"\x01junk", wire.encode(wire.Start())):
        stream.writer._socket.send_multipart([identity, data])
    for lie in lies:
        message = wire.encode(wire.Published(header=lie))
        stream.writer._socket.send_multipart([identity, message])
    stream.publish()
    assert read_frame(reader).header.seq == 0
    assert reader.wire_errors == 6


def test_close_is_idempotent_and_tells_the_writer(stream: Stream) -> None:
    reader = stream.reader()
    stream.publish(2)
    reader.close()
    reader.close()
    stream.serve_until(lambda: stream.writer.readers() == [])
    assert stream.writer.table.forgiven == 2
    stream.writer.close()
    stream.writer.close()


def test_closing_when_the_writer_is_gone_does_not_fail(stream: Stream) -> None:
    reader = stream.reader()
    stream.publish(3)
    frames = [read_frame(reader) for _ in range(3)]
    stream.writer.close()
    assert all(reader.release(frame) for frame in frames)
    reader.close()


@pytest.mark.parametrize("scheme", ["tcp", "inproc"])
def test_streams_work_over_other_transports(scheme: str) -> None:
    endpoint = {"tcp": "tcp://127.0.0.1:*", "inproc": "inproc://raw"}[scheme]
    with open_stream(endpoint=lambda _: endpoint) as stream:
        assert "*" not in stream.writer.endpoint
        reader = stream.reader()
        stream.publish(3)
        stream.writer.end()
        assert read_all(reader) == [0, 1, 2]


def test_the_end_reaches_a_latest_reader_whose_socket_was_full(
    stream: Stream, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = stream.reader("view", Latest(3, FOR_EVER_NS))
    stream.publish(2)
    with monkeypatch.context() as full:
        full.setattr(stream.writer, "_try_send", lambda *_: False)
        stream.writer.end()
        assert not stream.writer.settled(), "the end is still on its way"
    thread = ReaderThread(lambda: read_all(reader), "reader")
    assert thread.result(stream) == [0, 1]
    assert stream.writer.settled()


def test_a_latest_reader_that_takes_nothing_is_not_waited_for_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = ManualClock()
    with open_stream(writer_clock=clock) as stream:
        stream.reader("view", Latest(3, FOR_EVER_NS))
        monkeypatch.setattr(stream.writer, "_try_send", lambda *_: False)
        stream.writer.end()
        assert not stream.writer.settled()
        clock.advance_ns(3_000_000_000)
        assert stream.writer.settled()
