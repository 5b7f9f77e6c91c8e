"""FrameSender: never holds its caller up, accounts for every frame, comes back by itself."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from network_kit import SHAPE, network_config, numbered, taking
from waiting import wait_until

from livedenoise.acquire.network import NetworkCamera
from livedenoise.client import FrameSender, SenderCounts
from livedenoise.core.errors import BusError, ConfigError

NOBODY = "tcp://127.0.0.1:9"


def law_holds(counts: SenderCounts) -> bool:
    settled = counts.taken + sum(counts.refused.values()) + sum(counts.dropped.values())
    return counts.offered == settled + counts.in_flight


def timed(sender: FrameSender, timeout_s: float) -> tuple[bool, float]:
    began_s = time.perf_counter()
    sent = sender.send(numbered(0), timeout_s=timeout_s)
    return sent, time.perf_counter() - began_s


@pytest.fixture
def silent_camera() -> Any:
    """Return a camera that is open, so that senders connect, and takes nothing."""
    camera = NetworkCamera(network_config())
    camera.open()
    yield camera
    camera.close()


def test_nobody_listens_costs_nothing_and_is_counted() -> None:
    with FrameSender(NOBODY) as sender:
        for _ in range(50):
            sent, took_s = timed(sender, 0.0)
            assert not sent
            assert took_s < 0.05
        assert not sender.wait_ready(0.01)
        assert sender.counts().dropped == {"not_connected": 50}


@pytest.mark.parametrize("timeout_s", [0.05, 0.2])
def test_waits_as_long_as_asked_and_no_longer(timeout_s: float) -> None:
    with FrameSender(NOBODY) as sender:
        sent, took_s = timed(sender, timeout_s)
    assert not sent
    assert timeout_s * 0.9 < took_s < timeout_s + 0.1


def test_a_daemon_that_takes_nothing_is_no_daemon_yet(silent_camera: NetworkCamera) -> None:
    with FrameSender(silent_camera.endpoint) as sender:
        sent, took_s = timed(sender, 0.1)
        assert not sent
        assert took_s < 0.2


def test_a_port_that_never_answers_holds_nobody_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        sender = FrameSender(f"tcp://127.0.0.1:{mute.getsockname()[1]}")
        sent, took_s = timed(sender, 0.1)
        assert not sent
        assert took_s < 0.2
        began_s = time.perf_counter()
        sender.close(linger_s=0.1)
        assert time.perf_counter() - began_s < 1.0


def test_the_queue_is_bounded_and_what_does_not_fit_is_counted() -> None:
    # Patience of 20 s: the camera holds the first frame, and answers none.
    with taking(rate_hz=1.0, buffer_frames=20) as net:
        with FrameSender(net.endpoint, max_queue=3) as sender:
            assert sender.wait_ready(5)
            net.full = True
            sent = [sender.send(numbered(n)) for n in range(10)]
            counts = sender.counts()
            assert sent == [True] * 3 + [False] * 7
            assert (counts.in_flight, counts.dropped) == (3, {"queue_full": 7})
            assert law_holds(counts)
            began_s = time.perf_counter()
            assert not sender.send(numbered(11), timeout_s=0.1)
            assert 0.09 < time.perf_counter() - began_s < 0.2
            net.full = False
            assert sender.flush(5)
        wait_until(lambda: len(net.frames) == 3)
        for number, pixels in enumerate(net.pixels):
            np.testing.assert_array_equal(pixels, numbered(number))


def test_the_array_may_be_used_again_at_once() -> None:
    with taking() as net, FrameSender(net.endpoint, max_queue=8) as sender:
        pixels = np.empty((2048, 2048), np.uint16)[: SHAPE[0], : SHAPE[1]]
        for number in range(6):
            pixels[:] = numbered(number)
            assert sender.send(pixels, timeout_s=5)
            pixels[:] = 9999
        wait_until(lambda: len(net.pixels) == 6)
        for number, found in enumerate(net.pixels):
            np.testing.assert_array_equal(found, numbered(number))


def test_a_restarted_daemon_is_found_again_and_the_loss_counted() -> None:
    with taking() as net:
        endpoint = net.endpoint
        sender = FrameSender(endpoint)
        assert sender.send(numbered(0), timeout_s=5)
        assert sender.flush(5)
    with sender:
        wait_until(lambda: not sender.send(numbered(1)))
        with taking(listen=endpoint) as again:
            assert sender.send(numbered(2), timeout_s=5)
            wait_until(lambda: len(again.frames) == 1)
            np.testing.assert_array_equal(again.pixels[0], numbered(2))
            # Frames nobody listened to are no loss of the new run.
            assert again.frames[0].camera_seq == 0
            assert sender.flush(5)
        counts = sender.counts()
        assert counts.taken == 2
        assert set(counts.dropped) <= {"not_connected", "disconnected"}
        assert law_holds(counts)


def test_frames_on_their_way_when_the_daemon_dies_are_lost_and_counted() -> None:
    with taking(rate_hz=1.0, buffer_frames=20) as net:
        sender = FrameSender(net.endpoint, max_queue=4)
        assert sender.wait_ready(5)
        net.full = True
        for number in range(4):
            assert sender.send(numbered(number))
    with sender:
        wait_until(lambda: sender.counts().dropped.get("disconnected") == 4)
        assert law_holds(sender.counts())


def test_what_a_dead_daemon_did_not_take_never_reaches_the_next_one() -> None:
    large = {"width_px": 2048, "height_px": 2048, "buffer_frames": 1, "rate_hz": 0.1}
    pixels = np.zeros((2048, 2048), np.uint16)
    with taking(**large) as net:
        endpoint = net.endpoint
        sender = FrameSender(endpoint, max_queue=8)
        assert sender.wait_ready(5)
        net.full = True
        assert all(sender.send(pixels) for _ in range(8))
    with sender, taking(listen=endpoint) as again:
        assert sender.send(numbered(1), timeout_s=5)
        wait_until(lambda: len(again.frames) == 1)
        np.testing.assert_array_equal(again.pixels[0], numbered(1))
        assert again.counter("refused_not_welcomed") == 0
        assert sender.flush(5)
        assert sender.counts().dropped["disconnected"] == 8


def test_threads_take_turns() -> None:
    with taking() as net, FrameSender(net.endpoint) as sender:
        assert sender.wait_ready(5)

        def send() -> None:
            for number in range(25):
                assert sender.send(numbered(number), timeout_s=5)

        threads = [threading.Thread(target=send, name=f"sender {n}") for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        wait_until(lambda: len(net.frames) == 100)
        assert [captured.camera_seq for captured in net.frames] == list(range(100))
        assert law_holds(sender.counts())


def test_a_thread_that_waits_keeps_no_other_one_longer_than_it_allows() -> None:
    with FrameSender(NOBODY) as sender:
        waiting = threading.Thread(target=lambda: timed(sender, 0.4), name="waiting")
        waiting.start()
        wait_until(sender._lock.locked)
        sent, took_s = timed(sender, 0.05)
        assert not sent
        assert took_s < 0.2
        waiting.join()
        assert sender.counts().dropped == {"busy": 1, "not_connected": 1}
        assert law_holds(sender.counts())


@given(st.lists(st.sampled_from(["small", "large", "wrong", "wait", "full", "free"]), max_size=25))
@settings(max_examples=12, deadline=None)
def test_every_frame_is_accounted_for(steps: list[str]) -> None:
    with (
        taking(buffer_frames=1, rate_hz=100.0) as net,
        FrameSender(net.endpoint, max_queue=2) as sender,
    ):
        assert sender.wait_ready(5)
        for step in steps:
            match step:
                case "small":
                    sender.send(numbered(0))
                case "large":
                    sender.send(np.zeros((500, 500), np.uint16))
                case "wrong":
                    sender.send(numbered(0, dtype="|u1"))
                case "wait":
                    sender.send(numbered(0), timeout_s=0.02)
                case _:
                    net.full = step == "full"
            assert law_holds(sender.counts())
        net.full = False
        assert sender.flush(5)
        counts = sender.counts()
        assert counts.in_flight == 0
        assert law_holds(counts)
        wait_until(lambda: len(net.frames) == counts.taken)


NOT_FRAMES: dict[str, Any] = {
    "a list": [[1, 2], [3, 4]],
    "three axes": np.zeros((2, 3, 4), np.uint16),
    "float": np.zeros((4, 4), np.float32),
    "signed": np.zeros((4, 4), np.int16),
    "big-endian": np.zeros((4, 4), ">u2"),
    "objects": np.zeros((4, 4), object),
    "no rows": np.zeros((0, 4), np.uint16),
}


@pytest.mark.parametrize("what", NOT_FRAMES)
def test_what_is_no_frame_is_an_error_of_the_caller(what: str) -> None:
    with FrameSender(NOBODY) as sender:
        with pytest.raises(BusError):
            sender.send(NOT_FRAMES[what])
        assert sender.counts().offered == 0


@pytest.mark.parametrize(
    "facts", [{"exposure_us": -1}, {"camera_seq": -5}, {"binning": 0}, {"role": "x" * 65}], ids=str
)
def test_numbers_that_cannot_be_are_an_error_of_the_caller(facts: dict[str, Any]) -> None:
    with FrameSender(NOBODY) as sender, pytest.raises(BusError, match="not the facts"):
        sender.send(numbered(0), **facts)


def test_numpy_integers_are_integers() -> None:
    with taking() as net, FrameSender(net.endpoint) as sender:
        assert sender.send(
            numbered(0), camera_seq=np.int64(3), exposure_us=np.uint32(9), timeout_s=5
        )
        wait_until(lambda: len(net.frames) == 1)


def test_a_closed_sender_says_so_and_closes_again() -> None:
    sender = FrameSender(NOBODY)
    sender.close()
    sender.close()
    with pytest.raises(BusError, match="closed"):
        sender.send(numbered(0))
    with pytest.raises(BusError, match="closed"):
        sender.wait_ready(0)


@pytest.mark.parametrize("endpoint", ["nonsense", "tcp://127.0.0.1", "http://127.0.0.1:80", ""])
def test_what_is_no_endpoint_is_refused(endpoint: str) -> None:
    with pytest.raises(BusError, match="not an endpoint"):
        FrameSender(endpoint)


def test_missing_keys_are_refused(tmp_path: Any) -> None:
    with pytest.raises(ConfigError, match="no such key file"):
        FrameSender(NOBODY, keys=tmp_path)


def test_importing_it_brings_nothing_heavy() -> None:
    code = (
        "import sys, livedenoise.client; "
        "print([m for m in ('pydantic', 'scipy', 'torch', 'openvino', 'onnx', 'rich', 'tifffile')"
        " if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
