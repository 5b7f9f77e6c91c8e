"""The receiving process of ``bench_transport.py``: takes frames and notes when each arrived.

Started with one argument, a ReaderTask as JSON; prints a ReaderResult as JSON.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator

import msgspec
import numpy as np
import zmq

from livedenoise.bus import wire
from livedenoise.bus.backlog import Lossless
from livedenoise.bus.reader import FrameReader, Received
from livedenoise.bus.ring import Ring, RingSpec
from livedenoise.core.clock import now_ns
from livedenoise.core.frame import Frame, FrameHeader

HWM = 4
"""Frames a ZeroMQ socket may hold: 32 MiB, more than enough to keep both ends busy."""

WAIT_S = 30.0


class ReaderTask(msgspec.Struct, frozen=True, kw_only=True):
    """What a reader process is told."""

    transport: str
    endpoint: str
    ring: RingSpec | None
    read_pixels: bool


class ReaderResult(msgspec.Struct, frozen=True, kw_only=True):
    """What it found: when each frame arrived, and the header's times for each."""

    arrived_ns: list[int]
    host_ns: list[int]
    ring_ns: list[int]
    cpu_s: float


def run_reader(task: ReaderTask) -> None:
    """Take frames to the end, then print when each arrived."""
    arrived, host, ring_times = [], [], []
    items = _items_of_ring(task) if task.ring is not None else _items_of_zmq(task)
    for header, pixels in items:
        arrived.append(now_ns())
        host.append(header.t_host_ns)
        ring_times.append(header.t_ring_ns)
        if task.read_pixels:
            pixels.max()
    result = ReaderResult(
        arrived_ns=arrived, host_ns=host, ring_ns=ring_times, cpu_s=time.process_time()
    )
    sys.stdout.buffer.write(msgspec.json.encode(result) + b"\n")
    sys.stdout.flush()
    time.sleep(WAIT_S)  # until the parent has read it and ends this process


def _items_of_ring(task: ReaderTask) -> Iterator[tuple[FrameHeader, Frame]]:
    if task.ring is None:
        raise RuntimeError("no ring was named")
    ring, context = Ring.attach(task.ring), zmq.Context[zmq.Socket[bytes]]()
    reader = FrameReader(ring, context, task.endpoint, "benchmark", Lossless())
    reader.attach(WAIT_S)
    while not reader.ended:
        item = reader.read(WAIT_S)
        if isinstance(item, Received):
            yield item.header, item.pixels
            reader.release(item)


def _items_of_zmq(task: ReaderTask) -> Iterator[tuple[FrameHeader, Frame]]:
    context = zmq.Context[zmq.Socket[bytes]]()
    socket = context.socket(zmq.PULL)
    socket.setsockopt(zmq.RCVHWM, HWM)
    socket.connect(task.endpoint)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    while True:
        header, pixels = socket.recv_multipart(copy=False)
        if not len(header.bytes):
            return
        message = wire.expect(wire.decode(header.bytes), wire.Published)
        array = np.frombuffer(pixels.buffer, np.uint16)
        yield message.header, array.reshape(message.header.shape)


if __name__ == "__main__":
    run_reader(msgspec.json.decode(sys.argv[1], type=ReaderTask))
