"""Every call over the bridge ends: answered, refused, interrupted, or given up with the mend."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import zmq
from bridge.client import BridgeProcess
from deadline_kit import HOST, SHORT_S, SOON_S, attached, hanging_in, timed

from livedenoise.core.errors import CameraError
from livedenoise.micromanager.bridge import (
    BridgeDeadError,
    DeadlineBridge,
    InterruptedCallError,
    probe_port,
)
from livedenoise.micromanager.java_core import connect_java
from livedenoise.micromanager.java_messages import JavaRefusedError
from livedenoise.micromanager.java_port import PortError, PortState


@pytest.fixture
def bridge(calm_bridge: BridgeProcess) -> BridgeProcess:
    """Return the module's bridge, which must not be killed; ``mortal`` may."""
    return calm_bridge


@pytest.fixture
def mortal(start_bridge: Callable[..., BridgeProcess]) -> BridgeProcess:
    return start_bridge()


@contextmanager
def held(answer: bytes | None) -> Iterator[int]:
    """Hold a port: take connections, say ``answer`` and hang up, or never say anything."""
    with socket.create_server((HOST, 0)) as server:
        taken: list[socket.socket] = []
        ended = threading.Event()
        server.settimeout(0.05)

        def serve() -> None:
            while not ended.is_set():
                try:
                    taken.append(server.accept()[0])
                except TimeoutError:
                    continue
                if answer is not None:
                    taken[-1].sendall(answer)
                    taken[-1].close()

        thread = threading.Thread(target=serve)
        thread.start()
        yield server.getsockname()[1]
        ended.set()
        thread.join()
        for connection in taken:
            connection.close()


@contextmanager
def replying(answers: list[bytes]) -> Iterator[int]:
    """Answer questions as a ZeroMQ server that is not Micro-Manager's."""
    context: zmq.Context[Any] = zmq.Context()
    server = context.socket(zmq.REP)
    port = server.bind_to_random_port(f"tcp://{HOST}")

    def serve() -> None:
        for answer in answers:
            if not server.poll(2000):
                return
            server.recv_multipart()
            server.send(answer)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield port
    finally:
        thread.join()
        server.close(0)
        context.term()


def test_a_closed_port_is_said_at_once_with_the_mend() -> None:
    with socket.create_server((HOST, 0)) as server:
        port = server.getsockname()[1]
    error, took_s = timed(lambda: connect_java(HOST, port, 5.0), PortError)
    assert took_s < SOON_S
    assert error.message == f"nothing listens on 127.0.0.1:{port}"
    assert f"Run server on port {port}" in error.hint
    assert error.exit_code == 3
    assert probe_port(HOST, port, 1.0) == PortState("closed")


def test_a_port_that_never_answers_is_named_after_the_limit() -> None:
    with held(None) as port:
        error, took_s = timed(lambda: connect_java(HOST, port, SHORT_S), PortError)
        assert probe_port(HOST, port, SHORT_S) == PortState("silent")
    assert SHORT_S * 0.9 < took_s < SHORT_S + SOON_S
    assert f"127.0.0.1:{port}" in error.message
    assert f"{SHORT_S:g} s" in error.message


def test_a_hanging_micro_manager_is_a_silent_port(bridge: BridgeProcess) -> None:
    bridge.fault("hang", "connect")
    assert probe_port(HOST, bridge.port, SHORT_S) == PortState("silent")


@pytest.mark.parametrize("answer", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\xff" + 63 * b"\0"])
def test_another_kind_of_server_is_told_apart(answer: bytes) -> None:
    with held(answer) as port:
        error, took_s = timed(lambda: connect_java(HOST, port, 5.0), PortError)
        assert took_s < 1.0
        assert probe_port(HOST, port, SHORT_S) == PortState("other")
    assert "is not Micro-Manager" in error.message


@pytest.mark.parametrize("answer", [b"hello", b"[1, 2]", b"{}", b'{"type": "exception"}'])
def test_an_answer_that_is_none_of_micro_managers_is_told_apart(answer: bytes) -> None:
    with replying([answer]) as port:
        error, _ = timed(lambda: connect_java(HOST, port, 2.0), PortError)
    assert isinstance(error, PortError)
    assert error.state.state == "other"
    assert str(port) in error.message


def test_a_server_without_a_core_is_not_micro_manager() -> None:
    answers = [
        b'{"type": "none", "version": "5.1.0"}',
        b'{"type": "exception", "value": "java.lang.ClassNotFoundException: mmcorej.CMMCore\\n"}',
    ]
    with replying(answers) as port:
        error, _ = timed(lambda: connect_java(HOST, port, 2.0), PortError)
    assert "is not Micro-Manager: it has no mmcorej.CMMCore" in error.message


@pytest.mark.parametrize("version", ["4.2.0", "6.0.0", ""])
def test_another_major_version_is_refused_with_both(bridge: BridgeProcess, version: str) -> None:
    bridge.order("version", text=version)
    error, _ = timed(lambda: connect_java(HOST, bridge.port, 5.0), PortError)
    assert "5.1.0" in error.message
    assert (version or "2.0.0") in error.message
    assert "nightly build" in error.hint
    assert probe_port(HOST, bridge.port, 5.0) == PortState("answers", version or "2.0.0")


def test_another_minor_version_is_a_note_with_both(bridge: BridgeProcess) -> None:
    bridge.order("version", text="5.0.3")
    with attached(bridge.port) as core:
        assert core.exposure_ms() == 10
        (note,) = core.notes
    assert "5.0.3" in note
    assert "5.1.0" in note


def test_one_call_that_is_never_answered_ends_the_connection(bridge: BridgeProcess) -> None:
    with attached(bridge.port, SHORT_S) as core:
        bridge.fault("hang", "getExposure")
        error, took_s = timed(core.exposure_ms, BridgeDeadError)
        assert SHORT_S * 0.9 < took_s < SHORT_S + SOON_S
        assert f"did not answer getExposure within {SHORT_S:g} s" in error.message
        assert f"127.0.0.1:{bridge.port}" in error.message
        assert "call_timeout_s" in error.hint
        later, took_s = timed(core.camera, BridgeDeadError)
        assert took_s < 0.05
        assert "did not answer getExposure" in later.message
        began = time.perf_counter()
        core.close()
        assert time.perf_counter() - began < SOON_S


@pytest.mark.parametrize("after", [False, True])
def test_java_dying_during_a_call_is_noticed_at_once(mortal: BridgeProcess, after: bool) -> None:
    with attached(mortal.port, 5.0) as core:
        mortal.fault("die", "getCameraDevice", after=after)
        error, took_s = timed(core.camera, BridgeDeadError)
        assert took_s < 1.0
        assert "went away while getCameraDevice was asked" in error.message
        assert f"Run server on port {mortal.port}" in error.hint


def test_java_dying_between_calls_is_noticed_by_the_next(mortal: BridgeProcess) -> None:
    with attached(mortal.port, 5.0) as core:
        mortal.kill()
        error, took_s = timed(core.camera, BridgeDeadError)
        assert took_s < 1.0
        assert "went away" in error.message


def test_an_exception_in_java_is_told_without_its_stack(bridge: BridgeProcess) -> None:
    with attached(bridge.port) as core:
        bridge.fault("throw", "getExposure", message="lens cap is on")
        error, _ = timed(core.exposure_ms, JavaRefusedError)
        assert error.message == "Micro-Manager: getExposure failed: lens cap is on"
        assert core.exposure_ms() == 10


def test_a_long_exposure_has_a_limit_of_its_own(bridge: BridgeProcess) -> None:
    with attached(bridge.port, SHORT_S) as core:
        bridge.user("setExposure", 700.0)  # not by us: it has to be asked for
        began = time.perf_counter()
        assert core.snap().pixels.shape == (512, 512)
        assert time.perf_counter() - began > 0.69
        core.call("setExposure", 800.0)
        core.call("startContinuousSequenceAcquisition", 0.0)
        core.call("stopSequenceAcquisition")
        assert not core.running()


def test_a_long_call_may_take_what_its_caller_allows(bridge: BridgeProcess) -> None:
    with attached(bridge.port, SHORT_S) as core:
        bridge.fault("delay", "clearROI", delay_ms=600)
        core.long_call("clearROI", limit_s=5.0)
        bridge.fault("hang", "clearROI")
        error, _ = timed(lambda: core.long_call("clearROI", limit_s=0.4), BridgeDeadError)
        assert "clearROI within 0.4 s" in error.message


def test_an_interrupted_call_returns_and_its_answer_is_no_one_elses(
    bridge: BridgeProcess, eventually: Any
) -> None:
    with attached(bridge.port) as core:
        bridge.fault("hang", "getExposure", after=True)
        waiting = hanging_in(bridge, core.exposure_ms, eventually)
        began = time.perf_counter()
        core.interrupt()
        waiting.join()
        assert waiting.ended_s - began < 0.05 + 0.05  # 50 ms promised, and a busy machine
        assert isinstance(waiting.error, InterruptedCallError)
        bridge.order("release")
        assert core.camera() == "Camera"
        assert core.exposure_ms() == 10


def test_what_an_interrupted_call_left_in_java_is_freed(
    bridge: BridgeProcess, eventually: Any
) -> None:
    with attached(bridge.port) as core:
        before = bridge.state()["objects"]
        bridge.fault("hang", "getROI", after=True)
        waiting = hanging_in(bridge, core.roi, eventually)
        core.interrupt()
        waiting.join()
        bridge.order("release")
        assert core.camera() == "Camera"
        assert bridge.state()["objects"] == before


def test_an_interrupted_call_whose_answer_never_comes_ends_the_connection(
    bridge: BridgeProcess, eventually: Any
) -> None:
    with attached(bridge.port, 1.0) as core:
        bridge.fault("hang", "getExposure")
        waiting = hanging_in(bridge, core.exposure_ms, eventually)
        core.interrupt()
        waiting.join()
        error, took_s = timed(core.camera, BridgeDeadError)
        assert took_s < 1.0 + SOON_S
        assert "did not answer getExposure within 1 s" in error.message


def test_an_interruption_with_nobody_waiting_changes_nothing(bridge: BridgeProcess) -> None:
    with attached(bridge.port) as core:
        core.interrupt()
        bridge.fault("delay", "getCameraDevice", delay_ms=100)
        assert core.camera() == "Camera", "an answer that is waited for"


def test_closing_wakes_who_waits(bridge: BridgeProcess, eventually: Any) -> None:
    with attached(bridge.port) as core:
        bridge.fault("hang", "getExposure")
        waiting = hanging_in(bridge, core.exposure_ms, eventually)
        began = time.perf_counter()
        core.close()
        waiting.join()
        assert waiting.ended_s - began < SOON_S
        assert isinstance(waiting.error, BridgeDeadError | InterruptedCallError)
        error, _ = timed(core.camera, BridgeDeadError)
        assert "closed" in error.message


def test_a_caller_waits_for_another_no_longer_than_its_own_limit(
    bridge: BridgeProcess, eventually: Any
) -> None:
    with attached(bridge.port, SHORT_S) as core:
        bridge.fault("hang", "clearROI")
        waiting = hanging_in(bridge, lambda: core.long_call("clearROI", limit_s=3.0), eventually)
        error, took_s = timed(core.camera, CameraError)
        assert took_s < SHORT_S + SOON_S
        assert "busy with another call" in error.message
        bridge.order("release")
        waiting.join()
        assert waiting.error is None
        assert core.camera() == "Camera"


def test_threads_get_their_own_answers(bridge: BridgeProcess) -> None:
    with attached(bridge.port) as core:
        wrong: list[object] = []

        def ask(name: str, expected: object) -> None:
            wrong.extend(found for _ in range(50) if (found := core.call(name)) != expected)

        asked = [("getExposure", 10.0), ("getCameraDevice", "Camera"), ("getImageWidth", 512)]
        threads = [threading.Thread(target=ask, args=each) for each in asked]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
        assert wrong == []


def test_a_connection_that_fails_leaves_nothing_open(bridge: BridgeProcess) -> None:
    bridge.order("version", text="3.0.0")
    for _ in range(3):
        with pytest.raises(PortError):
            DeadlineBridge(HOST, bridge.port, 1.0)
