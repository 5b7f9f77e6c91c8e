"""Publishing frames and metrics: to whoever listens, never waiting, nothing copied for nobody."""

from __future__ import annotations

import time
from collections.abc import Iterator

import msgspec
import numpy as np
import pytest
import zmq
from network_kit import context_of_gates
from stream_kit import SHAPE, make_header
from waiting import wait_until

from livedenoise.bus.context import Context
from livedenoise.bus.publish import FramePublisher, MetricsPublisher
from livedenoise.client import FrameSubscriber, MetricsSubscriber
from livedenoise.core.errors import BusError
from livedenoise.core.metrics import LatencySummary
from livedenoise.core.status import Preview, StatusSnapshot, StreamStatus

ANY = "tcp://127.0.0.1:*"


@pytest.fixture
def context(monkeypatch: pytest.MonkeyPatch) -> Iterator[Context]:
    with context_of_gates(monkeypatch) as context:
        yield context


def pixels_of(seq: int) -> np.ndarray:
    return np.full(SHAPE, seq, np.uint16)


def snapshot_of(elapsed_s: float, preview: Preview | None = None) -> StatusSnapshot:
    stream = StreamStatus(
        camera="cam",
        shape=SHAPE,
        dtype="<u2",
        period_ms=5.0,
        engine="identity",
        captured=10,
        recorded=9,
        denoised=8,
        passthrough=0,
        skipped=0,
        lost_at_camera=1,
        dropped={"ring_full": 1},
        fps_in=200.0,
        fps_out=199.0,
        mb_per_s=1.0,
        ring_fill=0.5,
        latency=LatencySummary(p50=1.0, p99=2.0, p999=3.0, max=4.0, count=8),
        preview=preview,
    )
    return StatusSnapshot(
        name="run",
        state="running",
        elapsed_s=elapsed_s,
        total_s=0.0,
        total_frames=0,
        run_dir="",
        streams=(stream,),
    )


def test_a_subscriber_gets_header_and_pixels(context: Context) -> None:
    publisher = FramePublisher(context, ANY)
    with FrameSubscriber(publisher.endpoint, stream="clean", camera="cam") as frames:
        header = make_header(0, stream="clean", flags=1)
        wait_until(lambda: publisher.publish(header, pixels_of(5)) or publisher.sent)
        found = frames.receive(5)
        assert found is not None
        assert found[0] == header
        np.testing.assert_array_equal(found[1], pixels_of(5))
        assert not found[1].flags.writeable
    publisher.close()


def test_nothing_is_sent_for_nobody_or_for_another_stream(context: Context) -> None:
    publisher = FramePublisher(context, ANY)
    publisher.publish(make_header(0, stream="clean"), pixels_of(0))
    with FrameSubscriber(publisher.endpoint, stream="raw") as frames:
        header = make_header(1, stream="raw")
        wait_until(lambda: publisher.publish(header, pixels_of(1)) or publisher.sent)
        sent = publisher.sent
        publisher.publish(make_header(2, stream="clean"), pixels_of(2))
        assert publisher.sent == sent
        assert frames.receive(5) is not None

    # It left: once that is known nothing is sent any more.
    def quiet() -> bool:
        before = publisher.sent
        publisher.publish(make_header(3, stream="raw"), pixels_of(3))
        return publisher.sent == before

    wait_until(quiet)
    publisher.close()


def test_a_subscriber_that_reads_nothing_slows_nobody(context: Context) -> None:
    publisher = FramePublisher(context, ANY, hwm=2)
    header = make_header(0, stream="clean", height=512, width=512)
    pixels = np.zeros((512, 512), np.uint16)
    with FrameSubscriber(publisher.endpoint):
        wait_until(lambda: publisher.publish(header, pixels) or publisher.sent)
        slowest_s = 0.0
        for _ in range(100):
            began_s = time.perf_counter()
            publisher.publish(header, pixels)
            slowest_s = max(slowest_s, time.perf_counter() - began_s)
        assert slowest_s < 0.5
        assert publisher.sent > 100
    publisher.close()


def test_pixels_may_be_overwritten_and_need_not_be_contiguous(context: Context) -> None:
    publisher = FramePublisher(context, ANY)
    large = np.zeros((2 * SHAPE[0], 2 * SHAPE[1]), np.uint16)
    view = large[::2, ::2]
    with FrameSubscriber(publisher.endpoint) as frames:
        view[:] = 7

        def publish() -> int:
            publisher.publish(make_header(0, stream="clean"), view)
            return publisher.sent

        wait_until(publish)
        view[:] = 8
        found = frames.receive(5)
        assert found is not None
        assert (found[1] == 7).all()
    publisher.close()


def test_header_and_pixels_must_agree(context: Context) -> None:
    publisher = FramePublisher(context, ANY)
    with pytest.raises(ValueError, match="the header says"):
        publisher.publish(make_header(0, height=1), pixels_of(0))
    publisher.close()


def test_a_port_in_use_is_a_clear_error(context: Context) -> None:
    publisher = FramePublisher(context, ANY)
    with pytest.raises(BusError, match=r"share\.host = .* cannot be bound"):
        MetricsPublisher(context, publisher.endpoint)
    publisher.close()
    publisher.close()


def test_hostile_subscribers_are_survived(context: Context) -> None:
    publisher = FramePublisher(context, ANY)
    hostile = zmq.Context()
    socket = hostile.socket(zmq.XSUB)
    socket.connect(publisher.endpoint)
    for number in range(2000):
        socket.send(b"\x01topic %d" % number)
    socket.send(b"not a subscription at all")
    socket.send(b"\x00never subscribed")
    header = make_header(0, stream="clean")
    wait_until(lambda: publisher.publish(header, pixels_of(0)) or publisher.sent)
    with FrameSubscriber(publisher.endpoint) as frames:

        def heard() -> bool:
            publisher.publish(header, pixels_of(1))
            return frames.receive(0.02) is not None

        wait_until(heard)
    socket.close(linger=0)
    hostile.term()
    publisher.close()


def test_metrics_come_as_snapshots_without_previews(context: Context) -> None:
    preview = Preview(seq=1, height=2, width=2, low_adu=0.0, high_adu=1.0, raw=b"1234")
    publisher = MetricsPublisher(context, ANY)
    with MetricsSubscriber(publisher.endpoint) as metrics:
        wait_until(lambda: publisher.publish(snapshot_of(1.5, preview)) or publisher.sent)
        assert metrics.receive(5) == snapshot_of(1.5)
    publisher.close()


def test_previews_are_sent_when_asked_for(context: Context) -> None:
    preview = Preview(seq=1, height=2, width=2, low_adu=0.0, high_adu=1.0, raw=b"1234")
    publisher = MetricsPublisher(context, ANY, previews=True)
    with MetricsSubscriber(publisher.endpoint) as metrics:
        wait_until(lambda: publisher.publish(snapshot_of(1.5, preview)) or publisher.sent)
        assert metrics.receive(5) == snapshot_of(1.5, preview)
    publisher.close()


def test_metrics_are_json_for_any_language(context: Context) -> None:
    publisher = MetricsPublisher(context, ANY)
    foreign = zmq.Context()
    socket = foreign.socket(zmq.SUB)
    socket.setsockopt(zmq.SUBSCRIBE, b"metrics")
    socket.connect(publisher.endpoint)
    wait_until(lambda: publisher.publish(snapshot_of(2.5)) or publisher.sent)
    assert socket.poll(5000)
    topic, data = socket.recv_multipart()
    assert topic == b"metrics\0"
    assert msgspec.json.decode(data)["streams"][0]["fps_in"] == 200.0
    socket.close(linger=0)
    foreign.term()
    publisher.close()


def test_long_topics_are_refused_so_that_nothing_grows(context: Context) -> None:
    publisher = FramePublisher(context, ANY)
    hostile = zmq.Context()
    socket = hostile.socket(zmq.XSUB)
    socket.setsockopt(zmq.SNDTIMEO, 200)
    socket.connect(publisher.endpoint)
    socket.send(b"\x01" + b"x" * 250)
    socket.send(b"\x01clean")
    # The connection is cut at the first one: the second, legal in itself, never counts.
    header = make_header(0, stream="clean")
    for _ in range(50):
        publisher.publish(header, pixels_of(0))
    assert not publisher.sent
    socket.close(linger=0)
    hostile.term()
    publisher.close()


def test_nobody_listening_is_known_before_a_frame_is_copied(context: Context) -> None:
    publisher = FramePublisher(context, ANY)
    assert not publisher.wanted("clean", "cam")
    with FrameSubscriber(publisher.endpoint, stream="clean"):
        wait_until(lambda: publisher.wanted("clean", "cam"))
        assert not publisher.wanted("raw", "cam")
    publisher.close()
