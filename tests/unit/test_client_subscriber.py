"""Subscribers: the newest frame first, what was missed counted, hostile publishers refused."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import msgspec
import numpy as np
import pytest
import zmq
from hypothesis import given, settings
from hypothesis import strategies as st
from stream_kit import SHAPE, make_header
from waiting import wait_until

from livedenoise.bus import frames_wire as spoken
from livedenoise.client import FrameSubscriber, MetricsSubscriber
from livedenoise.core.errors import BusError


class Publisher:
    """A publisher that says what it likes."""

    def __init__(self) -> None:
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.socket = self._context.socket(zmq.XPUB)
        self.socket.bind("tcp://127.0.0.1:*")
        self.endpoint = self.socket.get_string(zmq.LAST_ENDPOINT)

    def wait_for_subscriber(self) -> None:
        assert self.socket.poll(5000), "nobody subscribes"
        self.socket.recv()

    def say(self, *parts: bytes) -> None:
        self.socket.send_multipart(parts)

    def frame(self, number: int, seq: int | None = None, **changes: Any) -> None:
        header = make_header(number if seq is None else seq, stream="clean", **changes)
        data = spoken.encode(spoken.SharedFrame(number=number, header=header))
        pixels = np.full(SHAPE, number, np.uint16)
        self.say(spoken.topic("clean", "cam"), data, pixels.tobytes())

    def close(self) -> None:
        self.socket.close(linger=0)
        self._context.term()


@pytest.fixture
def publisher() -> Iterator[Publisher]:
    found = Publisher()
    yield found
    found.close()


def collect(frames: FrameSubscriber, until: int) -> list[int]:
    """Return the numbers of the frames received, up to the frame numbered ``until``."""
    seqs: list[int] = []
    while not seqs or seqs[-1] != until:
        found = frames.receive(5)
        assert found is not None, f"frame {until} never came, only {seqs}"
        seqs.append(found[0].seq)
    return seqs


def test_frames_come_in_order_while_few_wait(publisher: Publisher) -> None:
    with FrameSubscriber(publisher.endpoint, max_backlog=3) as frames:
        publisher.wait_for_subscriber()
        for number in range(30):
            publisher.frame(number)
            assert collect(frames, number) == [number]
        assert (frames.received, frames.skipped, frames.lost) == (30, 0, 0)


def test_a_slow_reader_jumps_to_the_newest_and_every_frame_is_counted(publisher: Publisher) -> None:
    with FrameSubscriber(publisher.endpoint, max_backlog=2) as frames:
        publisher.wait_for_subscriber()
        for number in range(200):
            publisher.frame(number)
        last = collect(frames, 199)
        assert last == sorted(last)
        assert frames.skipped > 0
        assert frames.received + frames.skipped + frames.lost == 200


def test_lost_and_not_shared_frames_are_told_apart(publisher: Publisher) -> None:
    with FrameSubscriber(publisher.endpoint) as frames:
        publisher.wait_for_subscriber()
        for number, seq in ((0, 0), (1, 4), (4, 16)):
            publisher.frame(number, seq)
            collect(frames, seq)
        # 1 -> 4 lost 2 published frames; of the 3 + 11 missing from seq the others were not shared.
        assert (frames.lost, frames.not_shared) == (2, 12)


def test_a_restarted_publisher_is_no_loss(publisher: Publisher) -> None:
    with FrameSubscriber(publisher.endpoint) as frames:
        publisher.wait_for_subscriber()
        for number in (50, 51, 0, 1):
            publisher.frame(number)
            collect(frames, number)
        assert frames.lost == 0


def test_pixels_stay_as_they_were(publisher: Publisher) -> None:
    with FrameSubscriber(publisher.endpoint) as frames:
        publisher.wait_for_subscriber()
        kept = []
        for number in range(20):
            publisher.frame(number)
            found = frames.receive(5)
            assert found is not None
            kept.append(found[1])
    for number, pixels in enumerate(kept):
        np.testing.assert_array_equal(pixels, np.full(SHAPE, number))
        assert not pixels.flags.writeable


def header_data(**changes: Any) -> bytes:
    header = make_header(**({"seq": 0, "stream": "clean"} | changes))
    return spoken.encode(spoken.SharedFrame(number=0, header=header))


TOPIC = spoken.topic("clean", "cam")
PIXELS = bytes(2 * SHAPE[0] * SHAPE[1])
HOSTILE: dict[str, tuple[list[bytes], str]] = {
    "topic alone": ([TOPIC], "parts"),
    "no pixels": ([TOPIC, header_data()], "parts"),
    "a part too many": ([TOPIC, header_data(), PIXELS, b""], "parts"),
    "random facts": ([TOPIC, b"\x9f\x00\xff" * 9, PIXELS], "version"),
    "older version": ([TOPIC, b"\x00" + header_data()[1:], PIXELS], "version"),
    "pixels too short": ([TOPIC, header_data(), PIXELS[:-1]], "length"),
    "4 GB claimed": ([TOPIC, header_data(height=2**20, width=2**11), PIXELS], "shape"),
    "negative size": ([TOPIC, header_data(height=-6, width=-8), PIXELS], "shape"),
    "an object type": ([TOPIC, header_data(dtype="|O"), PIXELS], "dtype"),
    "another topic's frame": ([TOPIC, header_data(camera="other"), PIXELS], "topic"),
    "a negative number": ([TOPIC, header_data(seq=-1), PIXELS], "number"),
    "another message": ([TOPIC, spoken.encode(spoken.Ping()), PIXELS], "unexpected"),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_publisher_is_refused_and_counted(publisher: Publisher, what: str) -> None:
    parts, reason = HOSTILE[what]
    with FrameSubscriber(publisher.endpoint) as frames:
        publisher.wait_for_subscriber()
        publisher.say(*parts)
        publisher.frame(1)
        assert collect(frames, 1) == [1]
        assert frames.refused == {reason: 1}


@given(parts=st.lists(st.binary(max_size=80), max_size=3))
@settings(max_examples=100, deadline=None)
def test_random_parts_are_refused(parts: list[bytes]) -> None:
    from livedenoise.bus.frames_wire import RefusedError
    from livedenoise.client.subscriber import _frame_in

    with pytest.raises(RefusedError):
        _frame_in([memoryview(part) for part in (TOPIC, *parts)])


def test_hostile_metrics_are_refused_and_counted(publisher: Publisher) -> None:
    topic = spoken.METRICS_TOPIC
    with MetricsSubscriber(publisher.endpoint) as metrics:
        publisher.wait_for_subscriber()
        publisher.say(topic)
        publisher.say(topic, b"{", b"}")
        publisher.say(topic, b"[" * 100_000)
        publisher.say(topic, msgspec.json.encode({"name": 5}))

        def refused() -> int:
            assert metrics.receive(0.01) is None
            return sum(metrics.refused.values())

        wait_until(lambda: refused() == 4)
        assert metrics.refused == {"parts": 2, "malformed": 2}


def test_stop_ends_the_iteration_from_another_thread(publisher: Publisher) -> None:
    with FrameSubscriber(publisher.endpoint) as frames:
        publisher.wait_for_subscriber()
        seen: list[int] = []
        timer = threading.Timer(0.05, frames.stop)
        timer.start()
        publisher.frame(0)
        seen.extend(header.seq for header, _ in frames)
        timer.join()
        assert seen == [0]


def test_silence_returns_none_and_a_closed_subscriber_says_so(publisher: Publisher) -> None:
    frames = FrameSubscriber(publisher.endpoint)
    assert frames.receive(0.01) is None
    frames.close()
    frames.close()
    with pytest.raises(BusError, match="closed"):
        frames.receive(0.01)


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(BusError, match="not an endpoint"):
        FrameSubscriber("nonsense")
    with pytest.raises(BusError, match="max_backlog is 0"):
        FrameSubscriber("tcp://127.0.0.1:9", max_backlog=0)
