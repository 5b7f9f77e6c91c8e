"""Nonsense, strangers and limits: counted or refused with a reason, and the stream goes on."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import pytest
import zmq
from stream_kit import EAGER, Stream, open_stream, read_frame
from waiting import wait_until

from livedenoise.bus import wire
from livedenoise.bus.ring import LEASE_ROWS
from livedenoise.bus.slots import Grant
from livedenoise.bus.writer import MAX_LOSSLESS_READERS
from livedenoise.core.errors import BusError


@pytest.fixture
def stream() -> Iterator[Stream]:
    with open_stream() as opened:
        yield opened


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
