"""A daemon's answers to those who ask from outside, and what asking may cost it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import zmq
from remote_kit import LoopedDaemon, looped_daemon, make_snapshot, make_stream
from waiting import wait_until

from livedenoise.bus import wire
from livedenoise.bus.endpoints import Endpoints
from livedenoise.bus.remote import MAX_PER_POLL, RemoteClient
from livedenoise.core.clock import ManualClock
from livedenoise.core.errors import BusError, ConfigError
from livedenoise.core.status import Preview, StatusSnapshot
from livedenoise.daemon import remote as remote_module
from livedenoise.daemon.registry import running_daemons
from livedenoise.daemon.remote import (
    FRESH_NS,
    DaemonLink,
    Remote,
    open_remote,
    snapshot_from_wire,
    snapshot_to_wire,
)

TOKEN = "correct-horse-battery-staple"  # noqa: S105  (of a test)
ASK = wire.Ask(token=TOKEN, verb="status")


@pytest.fixture(autouse=True)
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path))


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[LoopedDaemon]:
    with looped_daemon(tmp_path / "runs") as running:
        yield running


def test_a_snapshot_survives_the_way_there_and_back() -> None:
    snapshot = make_snapshot(alerts=("hot",), recording_left_s=3.5, disk_free_bytes=7)
    data = msgspec.msgpack.decode(msgspec.msgpack.encode(snapshot_to_wire(snapshot)))
    assert snapshot_from_wire(data) == snapshot
    assert data["streams"][0]["preview"]["raw"] == b"\x00\xff\x80\x01", "bytes stay bytes"


def test_an_answer_of_another_program_is_a_clear_error() -> None:
    with pytest.raises(BusError, match="not a status") as error:
        snapshot_from_wire({"name": 1})
    assert "same version" in error.value.hint


def test_status_comes_from_the_running_daemon(daemon: LoopedDaemon) -> None:
    with DaemonLink(running_daemons()[0]) as link:
        assert link.status() == daemon.snapshot
        assert link.status(preview=False).streams[0].preview is None


def test_stop_drains_or_aborts(tmp_path: Path) -> None:
    for abort in (False, True):
        with looped_daemon(tmp_path / "runs") as daemon, DaemonLink(daemon.entry) as link:
            link.stop(abort=abort)
            wait_until(lambda link=link: not link.is_running())  # type: ignore[misc]
            assert daemon.stops == [abort]


def test_a_wrong_token_stops_nothing_and_is_counted(daemon: LoopedDaemon) -> None:
    thief = msgspec.structs.replace(daemon.entry, token=TOKEN)
    with DaemonLink(thief) as link:
        for _ in range(2):
            with pytest.raises(BusError, match="no answer"):
                link.stop(0.05)
    assert daemon.remote is not None
    wait_until(lambda: daemon.remote is not None and daemon.remote.refused == 2)
    assert daemon.stops == []


@pytest.mark.parametrize(
    ("verb", "arguments", "words"),
    [
        ("restart", {}, "unknown question 'restart'"),
        ("stop", {"abort": "yes"}, "stop: Expected `bool`"),
        ("stop", {"now": True}, "unknown field `now`"),
        ("status", {"preview": 1}, "status: Expected `bool`"),
    ],
)
def test_a_wrong_question_is_answered_with_what_is_wrong(
    daemon: LoopedDaemon, verb: str, arguments: dict[str, Any], words: str
) -> None:
    with RemoteClient(daemon.entry.endpoint, daemon.entry.token) as client:
        assert words in client.ask(verb, arguments).error
        assert client.ask("status").error == ""
    assert daemon.stops == []


class CountingServer:
    """Stands in for the socket: hands out questions, keeps answers."""

    refused = 0

    def __init__(self) -> None:
        self.waiting: list[tuple[tuple[bytes, bytes], wire.Ask]] = []
        self.answers: list[wire.Answer] = []

    def poll(self) -> list[tuple[tuple[bytes, bytes], wire.Ask]]:
        taken, self.waiting = self.waiting, []
        return taken

    def answer(self, _: object, answer: wire.Answer) -> None:
        wire.encode(answer)
        self.answers.append(answer)


def make_remote(clock: ManualClock) -> tuple[Remote, CountingServer]:
    server = CountingServer()
    return Remote(server, None, clock), server  # type: ignore[arg-type]


def no_stop(_: bool) -> None:
    raise AssertionError("nobody asked for that")


def test_however_many_ask_snapshots_are_made_ten_times_a_second() -> None:
    clock = ManualClock()
    remote, server = make_remote(clock)
    made: list[StatusSnapshot] = []

    def snapshot() -> StatusSnapshot:
        made.append(make_snapshot(elapsed_s=float(len(made))))
        return made[-1]

    for _ in range(100):
        server.waiting = [((b"a", b"1"), ASK)] * MAX_PER_POLL
        remote.serve(snapshot, no_stop)
        clock.advance_ns(FRESH_NS // 10)
    assert len(made) == 10
    assert len(server.answers) == 100 * MAX_PER_POLL
    assert server.answers[-1].data["elapsed_s"] == 9.0


def test_nothing_is_made_when_nobody_asks() -> None:
    remote, _ = make_remote(ManualClock())

    def snapshot() -> StatusSnapshot:
        raise AssertionError("nobody asked")

    remote.serve(snapshot, no_stop)


def test_pictures_too_large_for_a_message_are_left_out_and_the_facts_come() -> None:
    remote, server = make_remote(ManualClock())
    picture = Preview(seq=1, height=800, width=800, low_adu=0, high_adu=1, raw=bytes(800 * 800))
    streams = tuple(make_stream(camera=name, preview=picture) for name in ("a", "b"))
    server.waiting = [((b"a", b"1"), ASK)]
    remote.serve(lambda: make_snapshot(streams=streams), no_stop)
    (answer,) = server.answers
    found = snapshot_from_wire(answer.data)
    assert [stream.captured for stream in found.streams] == [120, 120]
    assert all(stream.preview is None for stream in found.streams)


def test_a_status_too_large_even_so_is_an_error_not_silence() -> None:
    remote, server = make_remote(ManualClock())
    server.waiting = [((b"a", b"1"), ASK)]
    remote.serve(lambda: make_snapshot(notes=("x" * (1 << 20),)), no_stop)
    assert "bytes" in server.answers[0].error


def test_a_run_that_cannot_be_registered_goes_on_with_a_note(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def refuse(_: object) -> None:
        raise ConfigError("/run/x: belongs to user 7")

    monkeypatch.setattr(remote_module, "register_daemon", refuse)
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    with (
        Endpoints() as endpoints,
        open_remote(context, endpoints, run_id="r", name="n", run_dir=tmp_path) as remote,
    ):
        assert "belongs to user 7" in remote.note
        assert "status, stop and dash" in remote.note
    context.term()


def test_a_quiet_round_costs_microseconds(tmp_path: Path) -> None:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    with (
        Endpoints() as endpoints,
        open_remote(context, endpoints, run_id="r", name="n", run_dir=tmp_path) as remote,
    ):
        started = time.perf_counter()
        for _ in range(200):
            remote.serve(make_snapshot, no_stop)
        per_round_us = (time.perf_counter() - started) * 1e6 / 200
    context.term()
    assert per_round_us < 500, "generous: the machine may be busy"
