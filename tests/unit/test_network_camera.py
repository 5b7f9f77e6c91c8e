"""The network camera over real sockets: what it takes, what it refuses and counts, how it ends."""

from __future__ import annotations

import socket
import time
from typing import Any

import numpy as np
import pytest
from network_kit import SHAPE, Stranger, network_config, numbered, taking
from waiting import wait_until

from livedenoise.acquire.network import WAITS, NetworkCamera
from livedenoise.bus import frames_wire as spoken
from livedenoise.client import FrameSender
from livedenoise.core.camera import StreamRequest
from livedenoise.core.errors import CameraError
from livedenoise.core.frame import FrameFlags


def test_frames_arrive_bit_exact_in_order_with_their_facts() -> None:
    with taking(n_frames=50) as net, FrameSender(net.endpoint) as sender:
        before_ns = time.perf_counter_ns()
        for number in range(50):
            given = {"exposure_us": 100 + number, "t_camera_ns": 7, "roi_x": 3, "roi_y": 4}
            assert sender.send(numbered(number), timeout_s=5, event=number, role="low", **given)
        net.join()
        after_ns = time.perf_counter_ns()
    for number, (captured, pixels) in enumerate(zip(net.frames, net.pixels, strict=True)):
        np.testing.assert_array_equal(pixels, numbered(number))
        assert (captured.camera_seq, captured.exposure_us) == (number, 100 + number)
        assert (captured.roi_x, captured.roi_y, captured.t_camera_ns) == (3, 4, 7)
        assert (captured.event, captured.role) == (number, "low")
        assert before_ns < captured.t_host_ns < after_ns
    assert len(net.frames) == 50


def test_the_configured_exposure_stands_in_for_none() -> None:
    with taking(n_frames=1, exposure_us=77) as net, FrameSender(net.endpoint) as sender:
        assert sender.send(numbered(0), timeout_s=5)
        net.join()
    assert net.frames[0].exposure_us == 77


def test_a_saturated_frame_is_marked() -> None:
    with taking(n_frames=2, bit_depth=12) as net, FrameSender(net.endpoint) as sender:
        assert sender.send(np.full(SHAPE, 4094, np.uint16), timeout_s=5)
        assert sender.send(np.full(SHAPE, 4095, np.uint16), timeout_s=5)
        net.join()
    assert [captured.flags for captured in net.frames] == [0, FrameFlags.SATURATED]


def test_smaller_frames_are_taken_and_larger_ones_refused_and_counted() -> None:
    with taking() as net, FrameSender(net.endpoint) as sender:
        for shape in ((10, 20), (SHAPE[0] + 1, SHAPE[1]), (9, SHAPE[1] + 1), (4000, 4000), SHAPE):
            assert sender.send(np.ones(shape, np.uint16), timeout_s=5)
        assert sender.flush(5)
        wait_until(lambda: len(net.frames) == 2)
        assert [captured.shape for captured in net.frames] == [(10, 20), SHAPE]
        assert net.counter("refused_too_large") == 3
        assert sender.counts().refused == {"too_large": 3}
        # What was refused is missing from the numbers, and so counted as lost.
        assert [captured.camera_seq for captured in net.frames] == [0, 4]
        assert "4000x4000" in sender.problem or "9" in sender.problem


def test_another_pixel_type_is_refused_and_counted() -> None:
    with taking(bit_depth=8) as net, FrameSender(net.endpoint) as sender:
        assert sender.send(numbered(0), timeout_s=5)
        assert sender.send(numbered(1, dtype="|u1"), timeout_s=5)
        wait_until(lambda: len(net.frames) == 1)
        assert net.frames[0].dtype == "|u1"
        assert net.counter("refused_dtype") == 1


def test_a_second_sender_is_refused_while_the_first_is_connected() -> None:
    with taking() as net, FrameSender(net.endpoint) as first:
        assert first.send(numbered(0), timeout_s=5)
        with FrameSender(net.endpoint) as second:
            assert not second.send(numbered(1), timeout_s=0.3)
            assert second.counts().dropped == {"refused": 1}
            assert "another sender" in second.problem
            assert net.counter("refused_second_sender") == 1
            assert first.send(numbered(2), timeout_s=5)
        wait_until(lambda: len(net.frames) == 2)
        assert net.counter("senders") == 1


def test_a_sender_that_leaves_makes_room_and_no_loss_is_invented() -> None:
    with taking() as net:
        for session in range(3):
            with FrameSender(net.endpoint) as sender:
                for number in range(4):
                    given = {"camera_seq": 1000 * session + number, "timeout_s": 5.0}
                    assert sender.send(numbered(number), **given)
        wait_until(lambda: len(net.frames) == 12)
        assert [captured.camera_seq for captured in net.frames] == list(range(12))
        assert net.counter("senders") == 3
        assert net.counter("refused_second_sender") == 0


def test_a_sender_that_dies_without_a_word_makes_room() -> None:
    with taking() as net:
        dead = Stranger(net.endpoint)
        assert isinstance(dead.greet(), spoken.Welcome)
        dead.close()
        with FrameSender(net.endpoint) as sender:
            assert sender.send(numbered(0), timeout_s=5)
            wait_until(lambda: len(net.frames) == 1)


def test_a_goodbye_makes_room_while_the_connection_stays() -> None:
    with taking() as net, Stranger(net.endpoint) as leaving, Stranger(net.endpoint) as next_one:
        assert isinstance(leaving.greet(), spoken.Welcome)
        assert isinstance(next_one.greet(), spoken.Refused)
        leaving.say(spoken.encode(spoken.Goodbye(session=leaving.session)))
        wait_until(lambda: isinstance(next_one.greet(), spoken.Welcome))


def test_frames_dropped_on_the_way_show_as_a_gap() -> None:
    with taking() as net, FrameSender(net.endpoint) as sender:
        for camera_seq in (10, 11, 15):
            assert sender.send(numbered(0), camera_seq=camera_seq, timeout_s=5)
        wait_until(lambda: len(net.frames) == 3)
        assert [captured.camera_seq for captured in net.frames] == [0, 1, 5]


def test_a_full_ring_discards_and_goes_on() -> None:
    with taking(rate_hz=1000.0, buffer_frames=20) as net, FrameSender(net.endpoint) as sender:
        net.full = True
        assert sender.send(numbered(0), timeout_s=5)
        wait_until(lambda: len(net.frames) == 1)
        net.full = False
        assert sender.send(numbered(1), timeout_s=5)
        wait_until(lambda: len(net.frames) == 2)
        assert [captured.discarded for captured in net.frames] == ["ring_full", ""]
        assert [captured.camera_seq for captured in net.frames] == [0, 1]


HOSTILE: dict[str, tuple[list[bytes], str]] = {
    "random bytes": ([b"\x9f\x00\xff" * 10], "version"),
    "an empty message": ([b""], "size"),
    "an older version": ([b"\x00" + spoken.encode(spoken.Ping())[1:]], "version"),
    "a goodbye of a stranger": ([spoken.encode(spoken.Goodbye(session="0" * 32))], "not_welcomed"),
    "an answer": ([spoken.encode(spoken.Taken(number=0))], "unexpected"),
    "very many parts": ([b"xx"] * 500, "version"),
    "a session of another form": ([spoken.encode(spoken.Hello(session="x"))], "malformed"),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_hostile_messages_are_counted_and_the_stream_lives(what: str) -> None:
    parts, reason = HOSTILE[what]
    with taking() as net, Stranger(net.endpoint) as stranger:
        stranger.say(*parts)
        wait_until(lambda: net.counter(f"refused_{reason}") == 1)
        answer = stranger.hear()
        assert isinstance(answer, spoken.Refused)
        assert answer.reason == reason
        with FrameSender(net.endpoint) as sender:
            assert sender.send(numbered(3), timeout_s=5)
            wait_until(lambda: len(net.frames) == 1)


def test_frames_without_a_welcome_are_refused() -> None:
    with taking() as net, Stranger(net.endpoint) as stranger:
        stranger.say(stranger.facts(), numbered(0).tobytes())
        assert isinstance(stranger.hear(), spoken.Refused)
        assert net.counter("refused_not_welcomed") == 1
        assert not net.frames


LIES: dict[str, tuple[dict[str, Any], int, str]] = {
    "pixels too short": ({}, 2 * SHAPE[0] * SHAPE[1] - 1, "length"),
    "pixels too long": ({}, 2 * SHAPE[0] * SHAPE[1] + 2, "length"),
    "4 GB claimed": ({"height": 16384, "width": 16384}, 100, "too_large"),
    "negative": ({"height": -48, "width": -64}, 6144, "malformed"),
    "an object type": ({"dtype": "|O"}, 6144, "dtype"),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_welcomed_sender_that_lies_is_refused_and_then_believed_again(lie: str) -> None:
    changes, length, reason = LIES[lie]
    with taking() as net, Stranger(net.endpoint) as liar:
        assert isinstance(liar.greet(), spoken.Welcome)
        liar.say(liar.facts(0, **changes), bytes(length))
        answer = liar.hear()
        assert isinstance(answer, spoken.Refused)
        assert answer.reason == reason
        liar.say(liar.facts(1), numbered(1).tobytes())
        assert liar.hear() == spoken.Taken(number=1)
        wait_until(lambda: len(net.pixels) == 1)
        np.testing.assert_array_equal(net.pixels[0], numbered(1))


def test_a_part_far_beyond_the_largest_frame_ends_only_its_own_connection() -> None:
    with taking() as net, FrameSender(net.endpoint) as sender, Stranger(net.endpoint) as liar:
        assert sender.send(numbered(0), timeout_s=5)
        liar.say(liar.facts(), bytes(1 << 20))
        assert sender.send(numbered(1), timeout_s=5)
        wait_until(lambda: len(net.frames) == 2)


def test_raw_bytes_on_the_port_do_no_harm() -> None:
    with taking() as net:
        port = int(net.endpoint.rsplit(":", 1)[1])
        for data in (b"GET / HTTP/1.1\r\n\r\n", bytes(range(256)) * 20, b"\xff" + bytes(2000)):
            with socket.create_connection(("127.0.0.1", port)) as raw:
                raw.sendall(data)
        with FrameSender(net.endpoint) as sender:
            assert sender.send(numbered(0), timeout_s=5)
            wait_until(lambda: len(net.frames) == 1)


def test_it_waits_for_its_sender_and_says_so() -> None:
    with taking() as net:
        wait_until(lambda: net.idle >= 2)
        assert net.error is None
    camera = NetworkCamera(network_config())
    assert WAITS in camera.open().capabilities
    camera.close()


def test_silence_at_the_start_can_be_an_error() -> None:
    with taking(first_frame_timeout_s=0.1) as net:
        net.join()
        assert isinstance(net.error, CameraError)
        assert "first_frame_timeout_s is 0.1" in str(net.error)
        assert net.endpoint in net.error.hint


def test_silence_after_the_first_frame_is_none() -> None:
    with taking(first_frame_timeout_s=0.15) as net, FrameSender(net.endpoint) as sender:
        assert sender.send(numbered(0), timeout_s=5)
        wait_until(lambda: net.idle >= 5)
        assert net.error is None


def test_stop_ends_a_wait_for_frames_at_once() -> None:
    with taking() as net:
        wait_until(lambda: net.idle)
        began_s = time.perf_counter()
        net.camera.stop()
        net.join(1.0)
        assert time.perf_counter() - began_s < 0.5


def test_an_address_in_use_is_a_clear_error() -> None:
    with taking() as net:
        camera = NetworkCamera(network_config(listen=net.endpoint))
        with pytest.raises(CameraError, match="camera net: listen") as refused:
            camera.open()
        assert net.endpoint in refused.value.message
        camera.close()


@pytest.mark.parametrize(
    "request_", [{"roi": (0, 0, 8, 8)}, {"binning": 2}, {"n_frames": 0}], ids=str
)
def test_what_only_the_sender_can_do_is_refused(request_: dict[str, Any]) -> None:
    camera = NetworkCamera(network_config())
    camera.open()
    with pytest.raises(CameraError, match="asked for"):
        camera.prepare(StreamRequest(exposure_us=0, **request_))
    camera.close()
