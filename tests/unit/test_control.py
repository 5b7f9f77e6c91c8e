"""The control plane: orders arrive, heartbeats leave, strangers and nonsense are counted."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import zmq
from waiting import wait_until

from livedenoise.bus import wire
from livedenoise.bus.control import ControlLink, ControlServer
from livedenoise.bus.endpoints import Endpoints, remove_stale_endpoints
from livedenoise.core.clock import now_ns
from livedenoise.core.errors import BusError, WireError

IDENTITY = "denoise-0123456789abcdef"


class Plane:
    """A daemon's end, and links of stages."""

    def __init__(self) -> None:
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._endpoints = Endpoints()
        self.server = ControlServer(self.context, self._endpoints.bind_to("control"))
        self.stops: list[tuple[bool, str]] = []
        self.links: list[ControlLink] = []

    def link(self, identity: str = IDENTITY, *, report_ms: int = 5) -> ControlLink:
        link = ControlLink(
            self.server.endpoint, identity, report_ms=report_ms, on_stop=self._on_stop
        )
        self.links.append(link)
        return link

    def _on_stop(self, drain: bool) -> None:
        self.stops.append((drain, threading.current_thread().name))

    def receive(self, kind: type[wire.Message], timeout_s: float = 5.0) -> tuple[str, Any]:
        """Return the next message of a kind, leaving out all others."""

        def next_one() -> tuple[str, Any] | None:
            found = self.server.receive(5)
            return found if found is not None and isinstance(found[1], kind) else None

        return wait_until(next_one, timeout_s)

    def close(self) -> None:
        for link in self.links:
            link.close()
        self.server.close()
        self.context.destroy(linger=0)
        self._endpoints.close()


@contextmanager
def open_plane() -> Iterator[Plane]:
    opened = Plane()
    try:
        yield opened
    finally:
        opened.close()


@pytest.fixture
def plane() -> Iterator[Plane]:
    with open_plane() as opened:
        yield opened


def test_heartbeats_carry_the_latest_metrics(plane: Plane) -> None:
    plane.server.expect("denoise", IDENTITY)
    link = plane.link()
    before_ns = now_ns()
    link.tick({"counts": {"denoised": 1}})
    link.tick({"counts": {"denoised": 2}}, busy_until_ns=77)

    def latest() -> wire.Beat | None:
        stage, beat = plane.receive(wire.Beat)
        assert stage == "denoise"
        return beat if beat.metrics == {"counts": {"denoised": 2}} else None

    beat = wait_until(latest)
    assert before_ns <= beat.t_step_ns <= now_ns()
    assert beat.busy_until_ns == 77


def test_a_loop_that_hangs_shows_in_the_heartbeats(plane: Plane) -> None:
    """The thread goes on beating, but says when the loop last moved."""
    plane.server.expect("denoise", IDENTITY)
    link = plane.link()
    link.tick({})
    first = plane.receive(wire.Beat)[1]
    later = [plane.receive(wire.Beat)[1] for _ in range(3)]
    assert {beat.t_step_ns for beat in later} <= {first.t_step_ns, later[-1].t_step_ns}
    assert later[-1].t_step_ns == later[-2].t_step_ns


def test_orders_and_answers(plane: Plane) -> None:
    plane.server.expect("denoise", IDENTITY)
    link = plane.link()
    link.send(wire.StageInfo(facts={"sensor": [64, 48]}))
    assert plane.receive(wire.StageInfo) == ("denoise", wire.StageInfo(facts={"sensor": [64, 48]}))
    plane.server.send("denoise", wire.Configure(settings={"slots": 4}))
    plane.server.send("denoise", wire.Start())
    plane.server.send("denoise", wire.ReaderGone(reader="record"))
    assert link.wait(5.0) == wire.Configure(settings={"slots": 4})
    found = [link.wait(5.0), link.wait(5.0)]
    assert found == [wire.Start(), wire.ReaderGone(reader="record")]
    assert link.orders() == []


def test_orders_sent_before_the_stage_is_there_wait_for_it(plane: Plane) -> None:
    plane.server.expect("record", IDENTITY)
    plane.server.send("record", wire.Configure(settings={"first": 1}))
    plane.server.send("record", wire.Start())
    link = plane.link()
    plane.receive(wire.Beat)
    assert link.wait(5.0) == wire.Configure(settings={"first": 1})
    assert link.wait(5.0) == wire.Start()


def test_orders_for_a_stage_that_never_comes_are_bounded(plane: Plane) -> None:
    plane.server.expect("record", IDENTITY)
    for _ in range(64):
        plane.server.send("record", wire.Start())
    with pytest.raises(BusError, match="stage record: 64 orders wait and it never answered"):
        plane.server.send("record", wire.Start())


def test_a_stop_reaches_a_stage_whose_loop_is_stuck(plane: Plane) -> None:
    """Nobody calls tick, wait or orders: the thread of the link takes the stop."""
    plane.server.expect("acquire", IDENTITY)
    link = plane.link()
    plane.receive(wire.Beat)
    assert not link.stopped
    plane.server.send("acquire", wire.Stop(drain=True))
    wait_until(lambda: plane.stops)
    assert plane.stops == [(True, "control")]
    assert link.stopped


def test_a_second_stop_is_heard_only_when_it_aborts(plane: Plane) -> None:
    plane.server.expect("acquire", IDENTITY)
    link = plane.link()
    plane.receive(wire.Beat)
    for drain in (True, True, False):
        plane.server.send("acquire", wire.Stop(drain=drain))
    plane.server.send("acquire", wire.Start())
    assert link.wait(5.0) == wire.Start()
    assert [drain for drain, _ in plane.stops] == [True, False]


def test_strangers_are_not_listened_to(plane: Plane) -> None:
    stranger = plane.link("somebody-else")
    stranger.send(wire.Failed(message="all is lost", hint="", exit_code=6))
    wait_until(lambda: plane.server.receive(5) is None and plane.server.wire_errors >= 2)
    plane.server.expect("denoise", IDENTITY)
    plane.link().send(wire.StageInfo(facts={}))
    assert plane.receive(wire.StageInfo)[0] == "denoise"


def test_a_replaced_stage_is_listened_to_no_more(plane: Plane) -> None:
    plane.server.expect("denoise", "old-identity")
    old = plane.link("old-identity")
    plane.receive(wire.Beat)
    plane.server.expect("denoise", IDENTITY)
    new = plane.link()
    old.send(wire.Failed(message="late words", hint="", exit_code=4))
    new.send(wire.StageInfo(facts={"new": 1}))
    assert plane.receive(wire.StageInfo)[1].facts == {"new": 1}
    plane.server.send("denoise", wire.Start())
    assert new.wait(5.0) == wire.Start()
    assert old.wait(0.05) is None
    errors = plane.server.wire_errors
    wait_until(lambda: plane.server.receive(5) is None or plane.server.wire_errors > errors)
    assert plane.server.wire_errors > 0


def test_stages_do_not_hear_each_others_orders(plane: Plane) -> None:
    plane.server.expect("acquire", "acquire-1")
    plane.server.expect("record", "record-1")
    acquire, record = plane.link("acquire-1"), plane.link("record-1")
    heard = {plane.receive(wire.Beat)[0]}
    wait_until(lambda: heard.add(plane.receive(wire.Beat)[0]) or len(heard) == 2)
    plane.server.send("record", wire.Start())
    assert record.wait(5.0) == wire.Start()
    assert acquire.wait(0.05) is None


def test_hostile_bytes_are_counted_by_the_server(plane: Plane) -> None:
    plane.server.expect("denoise", IDENTITY)
    with plane.context.socket(zmq.DEALER) as socket:
        socket.setsockopt(zmq.IDENTITY, IDENTITY.encode())
        socket.connect(plane.server.endpoint)
        for parts in ([b""], [b"\xff" * 99], [b"\x07"], [wire.encode(wire.Start()), b"more"]):
            socket.send_multipart(parts)
        socket.send(wire.encode(wire.StageInfo(facts={})))
        assert plane.receive(wire.StageInfo)[0] == "denoise"
    assert plane.server.wire_errors == 4


def test_hostile_bytes_are_counted_by_the_link(plane: Plane) -> None:
    plane.server.expect("denoise", IDENTITY)
    link = plane.link()
    plane.receive(wire.Beat)
    for data in (b"", b"\x01junk", b"\x02" + wire.encode(wire.Start())[1:]):
        plane.server._socket.send_multipart([IDENTITY.encode(), data])
    plane.server.send("denoise", wire.Start())
    assert link.wait(5.0) == wire.Start()
    assert link.rejected == 3


def test_more_orders_than_anyone_takes_are_rejected_and_counted(plane: Plane) -> None:
    plane.server.expect("denoise", IDENTITY)
    link = plane.link()
    plane.receive(wire.Beat)
    for k in range(100):
        plane.server.send("denoise", wire.ReaderGone(reader=str(k)))
    plane.server.send("denoise", wire.Stop(drain=True))
    wait_until(lambda: plane.stops)
    assert [order.reader for order in link.orders()] == [str(k) for k in range(64)]
    assert link.rejected == 36


def test_a_daemon_that_takes_nothing_does_not_block_stops_or_close() -> None:
    """The socket's queue is full: messages wait, orders still arrive, close still ends."""
    with zmq.Context() as context, context.socket(zmq.ROUTER) as router, Endpoints() as endpoints:
        router.setsockopt(zmq.RCVHWM, 1)
        router.bind(endpoints.bind_to("control"))
        stopped = threading.Event()
        link = ControlLink(
            router.get_string(zmq.LAST_ENDPOINT),
            IDENTITY,
            report_ms=1000,
            on_stop=lambda _drain: stopped.set(),
        )
        identity = router.recv_multipart()[0]
        facts = {"text": "x" * 20_000}

        def full() -> bool:
            if link._outbox.full():
                return True
            link.send(wire.StageInfo(facts=facts))
            return False

        wait_until(full, 20.0)
        router.send_multipart([identity, wire.encode(wire.Stop(drain=False))])
        assert stopped.wait(5.0)
        router.close(linger=0)
        link.close()
        assert not link._thread.is_alive()


def test_what_is_queued_is_sent_before_the_end(plane: Plane) -> None:
    plane.server.expect("record", IDENTITY)
    link = plane.link()
    link.send(wire.Finished(metrics={"n": 1}, facts={"pages": 9}))
    link.close()
    link.close()
    assert plane.receive(wire.Finished)[1].facts == {"pages": 9}
    assert not any(thread.name == "control" for thread in threading.enumerate())


def test_a_link_without_a_daemon_closes_in_time() -> None:
    with Endpoints() as endpoints:
        endpoint = endpoints.bind_to("nobody")
        if "*" in endpoint:
            pytest.skip("needs a named endpoint")
        link = ControlLink(endpoint, IDENTITY, report_ms=5, on_stop=print)
        link.tick({})
        assert link.wait(0.02) is None
        started_ns = now_ns()
        link.close()
        assert now_ns() - started_ns < 2_000_000_000


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_dead_link_is_noticed_by_the_loop(plane: Plane) -> None:
    plane.server.expect("denoise", IDENTITY)
    link = plane.link()
    link.tick({"cannot be sent": object()})
    wait_until(lambda: not link._thread.is_alive())
    with pytest.raises(BusError, match="the link to the daemon died"):
        link.tick({})


def test_too_large_a_message_is_refused_where_it_is_sent(plane: Plane) -> None:
    link = plane.link()
    with pytest.raises(WireError, match="Finished of"):
        link.send(wire.Finished(metrics={}, facts={"text": "x" * wire.MAX_MESSAGE_BYTES}))


def test_endpoints_are_private_and_removed() -> None:
    with Endpoints() as endpoints:
        endpoint = endpoints.bind_to("raw-cam")
        folder = endpoints._folder
        if folder is None:
            assert endpoint == "tcp://127.0.0.1:*"
            return
        assert endpoint == f"ipc://{folder}/raw-cam"
        assert folder.stat().st_mode & 0o077 == 0
    assert not folder.exists()
    endpoints.close()


def test_a_path_too_long_for_a_socket_falls_back_to_loopback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = tmp_path / ("x" * 80)
    deep.mkdir()
    with Endpoints() as endpoints:
        assert endpoints.bind_to("raw-" + "x" * 100) == "tcp://127.0.0.1:*"
    monkeypatch.setattr("tempfile.tempdir", str(deep))
    with Endpoints() as endpoints:
        assert endpoints.bind_to("raw-cam") == "tcp://127.0.0.1:*"


def test_socket_folders_of_killed_daemons_are_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    stale = f"ldn-{process.pid}-abc_1234"
    others = (f"ldn-{os.getpid()}-abc_1234", "ldn-notes", "ldn-\u00b2-x", f"other-{process.pid}-x")
    for name in (stale, *others):
        (tmp_path / name).mkdir()
    (tmp_path / stale / "control").touch()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with Endpoints() as mine:
        assert remove_stale_endpoints() == [stale]
        assert mine._folder is None or mine._folder.is_dir()
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(others)
