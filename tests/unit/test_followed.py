"""A stream across replacements of its writer: old frames first, then new ones, none twice."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import msgspec
import pytest
from stream_kit import EAGER, Stream, make_spec, open_stream, pixels_of

from livedenoise.bus import wire
from livedenoise.bus.backlog import Lossless, Policy
from livedenoise.bus.context import new_context
from livedenoise.bus.followed import FollowedStream
from livedenoise.bus.reader import Received
from livedenoise.core.errors import BusError

Follow = Callable[[Stream, Policy], FollowedStream]


@contextmanager
def served(*streams: Stream) -> Iterator[None]:
    """Let writers take messages in a thread of their own; publish only outside of it."""
    done = threading.Event()

    def serve() -> None:
        while not done.is_set():
            for stream in streams:
                stream.writer.service(1)

    thread = threading.Thread(target=serve, name="writers")
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


@pytest.fixture
def follow() -> Iterator[Follow]:
    """Give followers of a stream, already attached, closed with the test."""
    context = new_context()
    opened: list[FollowedStream] = []

    def begin(stream: Stream, policy: Policy) -> FollowedStream:
        followed = FollowedStream(context, "record", lambda: policy)
        opened.append(followed)
        with served(stream):
            followed.open(stream.ring.spec, stream.writer.endpoint, 5.0)
        return followed

    yield begin
    for followed in opened:
        followed.close()
    context.destroy(linger=0)


def order(stream: Stream, reason: str = "restarted") -> wire.Reattach:
    return wire.Reattach(
        stream="raw",
        ring=msgspec.to_builtins(stream.ring.spec),
        endpoint=stream.writer.endpoint,
        reason=reason,
    )


def take(followed: FollowedStream, until: Callable[[], bool]) -> list[int]:
    """Read until a condition holds; every frame is released and was whole."""
    seqs: list[int] = []
    for _ in range(200):
        item = followed.read(0.02)
        if isinstance(item, Received):
            assert (item.pixels == pixels_of(item.header.seq)).all()
            assert followed.release(item)
            seqs.append(item.header.seq)
        if until():
            return seqs
    raise AssertionError(f"never happened; read {seqs}")


@pytest.mark.parametrize("policy", [Lossless(), EAGER])
def test_the_old_ring_is_read_before_the_new_one(follow: Follow, policy: Policy) -> None:
    lossless = isinstance(policy, Lossless)
    with open_stream(n_slots=8) as old:
        followed = follow(old, policy)
        old.publish(4)
        with open_stream(n_slots=8, first_seq=6, expect=("record",) if lossless else ()) as new:
            if lossless:
                # Owed although nobody has attached yet.
                new.publish(2)
            followed.replace(order(new))
            assert followed.switching
            with served(old, new):
                seqs = take(followed, lambda: not followed.switching)
            assert seqs == [0, 1, 2, 3]
            new.publish(2)
            expected = [6, 7, 8, 9] if lossless else [6, 7]
            with served(new):
                seqs = take(followed, lambda: followed.received == 4 + len(expected))
            assert seqs == expected
            assert followed.reason == "restarted"
            assert followed.reattached == 1
            assert not followed.ended
            new.writer.end()
            with served(new):
                assert take(followed, lambda: followed.ended) == []
            followed.close()


def test_a_new_writer_that_died_in_turn_is_not_waited_for(follow: Follow) -> None:
    with open_stream() as old, open_stream(first_seq=5, expect=("record",)) as newest:
        followed = follow(old, Lossless())
        gone = wire.Reattach(
            stream="raw",
            ring=msgspec.to_builtins(make_spec()),
            endpoint=old.writer.endpoint + "-gone",
            reason="first",
        )
        followed.replace(gone)
        with served(old):
            for _ in range(10):
                assert followed.read(0.02) is None
        assert followed.switching
        newest.publish(1)
        followed.replace(order(newest, "second"))
        with served(newest):
            assert take(followed, lambda: followed.received == 1) == [5]
        assert followed.reason == "second"
        followed.close()


def test_the_end_of_the_old_stream_is_not_the_end(follow: Follow) -> None:
    with open_stream() as old, open_stream(first_seq=1, expect=("record",)) as new:
        followed = follow(old, Lossless())
        old.publish(1)
        old.writer.end()
        followed.replace(order(new))
        new.publish(1)
        new.writer.end()
        with served(old, new):
            assert take(followed, lambda: followed.ended) == [0, 1]
        followed.close()


def test_nothing_is_switched_while_a_frame_is_held(follow: Follow) -> None:
    with open_stream() as old, open_stream(first_seq=1, expect=("record",)) as new:
        followed = follow(old, Lossless())
        old.publish(1)
        held = followed.read(5.0)
        assert isinstance(held, Received)
        followed.replace(order(new))
        with served(old, new):
            for _ in range(10):
                assert followed.read(0.02, may_switch=False) is None
            assert followed.switching
            assert followed.release(held)
            take(followed, lambda: not followed.switching)
        followed.close()


def test_a_new_writer_is_asked_for_as_long_as_it_takes_and_that_is_said_once(
    follow: Follow, caplog: pytest.LogCaptureFixture
) -> None:
    with open_stream() as old, open_stream(first_seq=1, expect=("record",)) as slow:
        followed = follow(old, Lossless())
        followed.replace(order(slow))
        slow.publish(1)
        for _ in range(8):
            assert followed.read(0.02) is None
        assert followed.switching
        said = [record.getMessage() for record in caplog.records]
        assert len(said) == 1
        assert "record: asks again" in said[0]
        with served(slow):
            assert take(followed, lambda: followed.received == 1) == [1]
        followed.close()


def test_skips_of_all_readers_are_summed(follow: Follow) -> None:
    with open_stream(n_slots=4) as old, open_stream(n_slots=4, first_seq=20) as new:
        followed = follow(old, EAGER)
        old.publish(12)
        with served(old):
            old_seqs = take(followed, lambda: followed.backlog == 0)
        followed.replace(order(new))
        with served(old, new):
            take(followed, lambda: not followed.switching)
        new.publish(12)
        with served(new):
            new_seqs = take(
                followed, lambda: followed.received + sum(followed.skipped.values()) == 24
            )
        assert len(old_seqs) + len(new_seqs) + sum(followed.skipped.values()) == 24
        assert followed.received == len(old_seqs) + len(new_seqs)
        followed.close()


def test_it_must_be_opened_first() -> None:
    context = new_context()
    with pytest.raises(BusError, match="attached to no stream"):
        FollowedStream(context, "record", Lossless).read(0.0)
    context.term()
