"""Frames and metrics of a live run, as a subscriber gets them."""

from __future__ import annotations

import socket
from collections.abc import Callable

import numpy as np

from livedenoise.client import FrameSubscriber, MetricsSubscriber
from livedenoise.core.frame import FrameFlags
from livedenoise.testing.live import LiveRun, small_config


def free_ports(count: int) -> int:
    """Return the first of neighbouring ports nobody listens on now."""
    for first in range(20_000, 60_000, 97):
        sockets = [socket.socket() for _ in range(count)]
        try:
            for number, one in enumerate(sockets):
                one.bind(("127.0.0.1", first + number))
        except OSError:
            continue
        else:
            return first
        finally:
            for one in sockets:
                one.close()
    raise AssertionError("no free ports")


def test_subscribers_get_frames_and_metrics_of_a_live_run(start: Callable[..., LiveRun]) -> None:
    port = free_ports(2)
    share = {"enabled": True, "port": port, "frames": "both", "max_hz": 200.0}
    run = start(small_config(share=share))
    with (
        FrameSubscriber(f"tcp://127.0.0.1:{port + 1}", stream="clean") as clean,
        FrameSubscriber(f"tcp://127.0.0.1:{port + 1}", stream="raw") as raw,
        MetricsSubscriber(f"tcp://127.0.0.1:{port}") as metrics,
    ):
        found: dict[str, dict[int, np.ndarray]] = {"raw": {}, "clean": {}}
        for _ in range(400):
            for name, subscriber in (("raw", raw), ("clean", clean)):
                received = subscriber.receive(0.05)
                if received is not None:
                    header, pixels = received
                    assert header.stream == name
                    assert header.has(FrameFlags.DENOISED) == (name == "clean")
                    found[name][header.seq] = pixels
            both = found["raw"].keys() & found["clean"].keys()
            if len(both) >= 10:
                break
        # The identity engine: one number, one image.
        assert len(both) >= 10
        for seq in both:
            np.testing.assert_array_equal(found["raw"][seq], found["clean"][seq])
        snapshot = metrics.receive(5.0)
        assert snapshot is not None
        assert snapshot.name == "small"
        assert snapshot.streams[0].captured > 0
    run.daemon.request_stop()
    summary = run.result()
    assert summary.exit_code == 0
    assert any("shared at" in note for note in summary.notes)
    assert summary.captured == summary.recorded
