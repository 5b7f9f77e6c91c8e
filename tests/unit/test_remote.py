"""Questions from outside: answered for the token, refused and counted for everything else."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import zmq
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from waiting import wait_until

from livedenoise.bus import wire
from livedenoise.bus.endpoints import Endpoints
from livedenoise.bus.remote import MAX_ASK_BYTES, MAX_PER_POLL, RemoteClient, RemoteServer
from livedenoise.core.errors import BusError, WireError

TOKEN = "correct-horse-battery-staple"  # noqa: S105  (of a test)
ASK = wire.Ask(token=TOKEN, verb="status")


@pytest.fixture(autouse=True)
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path))


class Line:
    """A server, and a peer that sends whatever bytes it likes."""

    def __init__(self, endpoint: str) -> None:
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.server = RemoteServer(self.context, endpoint, TOKEN)
        self.peer = self.context.socket(zmq.DEALER)
        self.peer.connect(self.server.endpoint)

    def send(self, *parts: bytes) -> None:
        self.peer.send_multipart(parts)

    def handled(self, count: int) -> list[tuple[tuple[bytes, bytes], wire.Ask]]:
        """Poll until ``count`` messages were taken or refused."""
        found: list[Any] = []
        before = self.server.refused

        def enough() -> bool:
            found.extend(self.server.poll())
            return len(found) + self.server.refused - before >= count

        wait_until(enough)
        return found

    def close(self) -> None:
        self.server.close()
        self.context.destroy(linger=0)


@pytest.fixture
def line() -> Iterator[Line]:
    with Endpoints() as endpoints:
        opened = Line(endpoints.bind_to("remote"))
        yield opened
        opened.close()


def test_the_token_opens_and_the_answer_comes_back(line: Line) -> None:
    line.send(b"1", wire.encode(ASK))
    ((reply_to, ask),) = line.handled(1)
    assert ask == ASK
    line.server.answer(reply_to, wire.Answer(data={"pixels": b"\xff\x00"}))
    number, data = line.peer.recv_multipart()
    assert number == b"1"
    assert wire.decode(data) == wire.Answer(data={"pixels": b"\xff\x00"})
    assert line.server.refused == 0


BAD: dict[str, tuple[bytes, ...]] = {
    "wrong token": (b"1", wire.encode(wire.Ask(token=TOKEN[:-1] + "f", verb="status"))),
    "token too short": (b"1", wire.encode(wire.Ask(token=TOKEN[:-1], verb="status"))),
    "token too long": (b"1", wire.encode(wire.Ask(token=TOKEN + "x", verb="status"))),
    "no token": (b"1", wire.encode(wire.Ask(token="", verb="stop"))),
    "token beyond ASCII": (b"1", wire.encode(wire.Ask(token="\u00e9" * 20, verb="stop"))),
    "too large": (
        b"1",
        wire.encode(wire.Ask(token=TOKEN, verb="status", arguments={"a": "x" * MAX_ASK_BYTES})),
    ),
    "another message": (b"1", wire.encode(wire.Stop(drain=True))),
    "old version": (b"1", b"\x00" + wire.encode(ASK)[1:]),
    "truncated": (b"1", wire.encode(ASK)[:-3]),
    "nothing": (b"1", b""),
    "no number": (wire.encode(ASK),),
    "long number": (b"1" * 17, wire.encode(ASK)),
    "one part more": (b"1", wire.encode(ASK), b""),
    "a pickle": (b"1", b"\x80\x04\x95\x0b\x00\x00\x00\x00\x00\x00\x00\x8c\x07builtins\x94."),
}


@pytest.mark.parametrize("bad", BAD)
def test_what_is_not_a_question_with_the_token_gets_no_answer_and_is_counted(
    line: Line, bad: str
) -> None:
    line.send(*BAD[bad])
    assert line.handled(1) == []
    assert line.server.refused == 1
    line.send(b"2", wire.encode(ASK))
    assert len(line.handled(1)) == 1
    assert not line.peer.poll(0), "nothing was sent back"


@given(parts=st.lists(st.binary(max_size=60), min_size=1, max_size=4))
@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_random_parts_are_refused_and_counted(line: Line, parts: list[bytes]) -> None:
    before = line.server.refused
    line.send(*parts)
    assert line.handled(1) == []
    assert line.server.refused == before + 1


@given(data=st.data())
@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_a_damaged_question_never_opens_without_the_token(line: Line, data: st.DataObject) -> None:
    """The token is drawn from the whole question: a change elsewhere may leave it valid."""
    damaged = bytearray(wire.encode(ASK))
    where = data.draw(st.integers(0, len(damaged) - 1))
    damaged[where] = data.draw(st.integers(0, 255))
    line.send(b"1", bytes(damaged))
    for _, ask in line.handled(1):
        assert ask.token == TOKEN


def test_bytes_that_are_no_zeromq_at_all_do_not_disturb() -> None:
    opened = Line("tcp://127.0.0.1:*")
    try:
        host, port = opened.server.endpoint.removeprefix("tcp://").split(":")
        with socket.create_connection((host, int(port))) as stranger:
            stranger.sendall(b"GET / HTTP/1.1\r\n\r\n" + b"\xff" * 5000)
            opened.send(b"1", wire.encode(ASK))
            assert len(opened.handled(1)) == 1
    finally:
        opened.close()


def test_a_flood_costs_one_poll_a_bounded_number(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Flood:
        taken = 0

        def recv_multipart(self, _: int) -> list[bytes]:
            self.taken += 1
            assert self.taken <= 1000, "it never ends"
            return [b"peer", b"1", wire.encode(ASK) if self.taken % 2 else b"nonsense"]

    flood = Flood()
    with monkeypatch.context() as patch:
        patch.setattr(line.server, "_socket", flood)
        assert len(line.server.poll()) == MAX_PER_POLL // 2
    assert flood.taken == MAX_PER_POLL
    assert line.server.refused == MAX_PER_POLL // 2


def test_a_short_token_is_refused_where_it_is_set(line: Line) -> None:
    with pytest.raises(ValueError, match="at least 16"):
        RemoteServer(line.context, "tcp://127.0.0.1:*", "")


def test_an_answer_to_one_who_went_away_costs_nothing(line: Line) -> None:
    line.send(b"1", wire.encode(ASK))
    ((reply_to, _),) = line.handled(1)
    line.peer.close(linger=0)
    started = time.monotonic()
    for _ in range(50):
        line.server.answer(reply_to, wire.Answer(data={"x": b"y" * 100_000}))
    assert time.monotonic() - started < 1.0


def test_one_who_never_reads_his_answers_does_not_hold_the_daemon(line: Line) -> None:
    line.send(b"1", wire.encode(ASK))
    ((reply_to, _),) = line.handled(1)
    started = time.monotonic()
    for _ in range(100):
        line.server.answer(reply_to, wire.Answer(data={"x": b"y" * 500_000}))
    assert time.monotonic() - started < 2.0


@pytest.fixture
def asked(line: Line) -> Iterator[tuple[Line, RemoteClient]]:
    with RemoteClient(line.server.endpoint, TOKEN) as client:
        yield line, client


def answering(
    line: Line, answer: Callable[[tuple[bytes, bytes], wire.Ask], None]
) -> threading.Thread:
    def serve() -> None:
        ((reply_to, ask),) = line.handled(1)
        answer(reply_to, ask)

    thread = threading.Thread(target=serve, name="server")
    thread.start()
    return thread


def test_a_client_gets_its_answer(asked: tuple[Line, RemoteClient]) -> None:
    line, client = asked
    thread = answering(
        line, lambda to, ask: line.server.answer(to, wire.Answer(data=dict(ask.arguments)))
    )
    assert client.ask("status", {"preview": True}).data == {"preview": True}
    thread.join()


def test_silence_is_an_error_with_a_hint(asked: tuple[Line, RemoteClient]) -> None:
    with pytest.raises(BusError, match=r"no answer to 'status' within 0\.05 s") as error:
        asked[1].ask("status", timeout_s=0.05)
    assert "logs" in error.value.hint
    assert TOKEN not in str(error.value)


def test_nobody_there_is_an_error_and_questions_do_not_pile_up(tmp_path: Path) -> None:
    with RemoteClient(f"ipc://{tmp_path}/nobody", TOKEN) as client:
        with pytest.raises(BusError, match="no answer"):
            client.ask("status", timeout_s=0.01)

        def refused() -> bool:
            with pytest.raises(BusError) as error:
                client.ask("status", timeout_s=0)
            return "takes no more questions" in error.value.message

        assert any(refused() for _ in range(200))


def test_a_late_answer_is_not_taken_for_the_next(asked: tuple[Line, RemoteClient]) -> None:
    line, client = asked
    with pytest.raises(BusError):
        client.ask("status", timeout_s=0.01)

    def serve() -> None:
        asks = line.handled(1)
        while len(asks) < 2:
            asks += line.handled(1)
        line.server.answer(asks[0][0], wire.Answer(error="late"))
        line.server.answer(asks[1][0], wire.Answer(data={"right": True}))

    thread = threading.Thread(target=serve, name="server")
    thread.start()
    assert client.ask("status").data == {"right": True}
    thread.join()


def test_an_answer_that_is_none_is_a_wire_error(asked: tuple[Line, RemoteClient]) -> None:
    line, client = asked
    thread = answering(
        line, lambda to, _: line.server._socket.send_multipart([*to, b"\x01garbage"])
    )
    with pytest.raises(WireError):
        client.ask("status")
    thread.join()
