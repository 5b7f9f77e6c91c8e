"""Writer and readers together: what arrives, in which order, and how every loss is counted."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from stream_kit import EAGER, FOR_EVER_NS, Stream, open_stream, pixels_of, read_all, read_frame
from waiting import wait_until

from livedenoise.bus import wire
from livedenoise.bus.backlog import Latest, Lossless, Policy
from livedenoise.bus.reader import FrameReader
from livedenoise.core.clock import ManualClock
from livedenoise.core.errors import BusError


@pytest.fixture
def stream() -> Iterator[Stream]:
    with open_stream() as opened:
        yield opened


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


def test_a_stream_is_settled_once_it_is_over_and_nothing_is_owed(stream: Stream) -> None:
    assert not stream.writer.settled(), "it has not even ended"
    reader = stream.reader()
    stream.publish(2)
    stream.writer.end()
    assert not stream.writer.settled(), "two frames are owed"
    assert read_all(reader) == [0, 1]
    stream.serve_until(stream.writer.settled)


def test_attach_gives_up_in_time() -> None:
    with open_stream() as stream:
        reader = stream.reader("view", EAGER, attach=False)
        with pytest.raises(BusError, match=r"no answer to view within 0.1 s"):
            reader.attach(0.1)  # nobody serves the writer


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


def said_goodbye(stream: Stream, reader: FrameReader, name: str) -> bool:
    """Close a reader; return whether the writer heard of it."""
    reader.close()
    for _ in range(20):
        stream.writer.service(10)
    return name not in stream.writer.readers()


@pytest.mark.parametrize("policy", [Lossless(), EAGER])
def test_a_reader_says_goodbye_to_a_writer_that_goes_on(stream: Stream, policy: Policy) -> None:
    reader = stream.reader("reader", policy)
    stream.publish(1)
    reader.release(read_frame(reader))
    assert said_goodbye(stream, reader, "reader")


@pytest.mark.parametrize("policy", [Lossless(), EAGER])
def test_nothing_is_said_to_a_writer_that_has_ended_and_is_owed_nothing(
    stream: Stream, policy: Policy
) -> None:
    """It may be gone, and the word then holds up the end of the reader's process."""
    reader = stream.reader("reader", policy)
    stream.publish(2)
    stream.writer.end()
    assert read_all(reader) == [0, 1]
    stream.serve_until(lambda: stream.writer.table.owed == 0)
    assert not said_goodbye(stream, reader, "reader")


@pytest.mark.parametrize("n_taken", [0, 1])
def test_what_a_leaving_reader_still_holds_at_the_end_is_forgiven(
    stream: Stream, n_taken: int
) -> None:
    reader = stream.reader("reader")
    stream.publish(1)
    stream.writer.end()
    for _ in range(n_taken):
        read_frame(reader)
    assert reader.read(0.2) is None or not n_taken
    assert said_goodbye(stream, reader, "reader")
    assert stream.writer.settled()
