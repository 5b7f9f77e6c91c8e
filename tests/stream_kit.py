"""A stream for tests: one ring, its writer, and readers, closed together."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import msgspec
import numpy as np
import zmq

from livedenoise.bus import wire
from livedenoise.bus.backlog import Latest, Lossless, Policy
from livedenoise.bus.endpoints import Endpoints
from livedenoise.bus.reader import FrameReader, Received
from livedenoise.bus.ring import PAGE, Ring, RingSpec
from livedenoise.bus.segment import PREFIX
from livedenoise.bus.slots import Grant
from livedenoise.bus.writer import FrameWriter
from livedenoise.core.clock import Clock, now_ns
from livedenoise.core.frame import Frame, FrameHeader, frame_nbytes

SHAPE = (6, 8)
FOR_EVER_NS = 10**15
EAGER = Latest(max_backlog=1000, max_age_ns=FOR_EVER_NS)
"""A LATEST policy that never skips by itself."""


def make_spec(
    n_slots: int = 4, shape: tuple[int, int] = SHAPE, dtype: str = "<u2", ring_epoch: int = 0
) -> RingSpec:
    """Return the specification of a small ring owned by this process."""
    slot_bytes = -(-frame_nbytes(shape, dtype) // PAGE) * PAGE
    name = f"{PREFIX}_{os.getpid()}_{secrets.token_hex(4)}"
    return RingSpec(name=name, n_slots=n_slots, slot_bytes=slot_bytes, ring_epoch=ring_epoch)


def make_header(seq: int, **changes: Any) -> FrameHeader:
    """Return a valid header of a small frame."""
    facts: dict[str, Any] = {
        "run_id": "run",
        "camera": "cam",
        "stream": "raw",
        "seq": seq,
        "epoch": 0,
        "camera_seq": seq,
        "t_camera_ns": 0,
        "t_host_ns": now_ns(),
        "t_ring_ns": 0,
        "t_infer_start_ns": 0,
        "t_infer_end_ns": 0,
        "t_publish_ns": 0,
        "height": SHAPE[0],
        "width": SHAPE[1],
        "dtype": "<u2",
        "bit_depth": 16,
        "roi_x": 0,
        "roi_y": 0,
        "binning": 1,
        "channel": 0,
        "exposure_us": 1000,
        "slot": 0,
        "generation": 2,
        "ring_epoch": 0,
        "calibration": "",
        "model": "",
    }
    return FrameHeader(**(facts | changes))


def pixels_of(seq: int, shape: tuple[int, int] = SHAPE) -> Frame:
    """Return the pixels frame ``seq`` is expected to carry: different in every pixel and frame."""
    ramp = np.arange(shape[0] * shape[1], dtype=np.uint32).reshape(shape)
    return (ramp * 7 + seq * 131).astype(np.uint16)


class Stream:
    """A ring, its writer and any number of readers in one process."""

    def __init__(
        self,
        *,
        n_slots: int = 4,
        shape: tuple[int, int] = SHAPE,
        lease_timeout_ns: int = FOR_EVER_NS,
        writer_clock: Clock | None = None,
        expect: Sequence[str] = (),
        first_seq: int = 0,
        endpoint: Callable[[Endpoints], str] | None = None,
    ) -> None:
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._endpoints = Endpoints()
        self.shape = shape
        self.ring = Ring.create(make_spec(n_slots, shape))
        name = self._endpoints.bind_to("raw") if endpoint is None else endpoint(self._endpoints)
        self.writer = FrameWriter(
            self.ring,
            self.context,
            name,
            lease_timeout_ns=lease_timeout_ns,
            clock=writer_clock,
            expect=expect,
        )
        self.seq = first_seq
        self._readers: list[FrameReader] = []
        self._rings: list[Ring] = []

    def reader(
        self,
        name: str = "record",
        policy: Policy | None = None,
        *,
        attach: bool = True,
        clock: Clock | None = None,
    ) -> FrameReader:
        """Return a reader, attached unless told otherwise (LOSSLESS by default)."""
        ring = Ring.attach(self.ring.spec)
        endpoint = self.writer.endpoint
        reader = FrameReader(ring, self.context, endpoint, name, policy or Lossless(), clock=clock)
        self._readers.append(reader)
        self._rings.append(ring)
        if attach:
            reader.request_attach()
            identity = reader._socket.get(zmq.IDENTITY)
            self.serve_until(lambda: self.identity_of(name) == identity)
        return reader

    def identity_of(self, reader: str) -> bytes:
        """Return the identity of the attached reader of that name."""
        attached = self.writer._readers.get(reader)
        return b"" if attached is None else attached.identity

    def begin(self, timeout_s: float = 0.0) -> tuple[Grant, Frame] | None:
        """Ask the writer for a slot."""
        return self.writer.begin(self.shape, "<u2", timeout_s)

    def publish(self, n_frames: int = 1, timeout_s: float = 0.0) -> None:
        """Publish frames with ``pixels_of`` their seq."""
        for _ in range(n_frames):
            slot = self.begin(timeout_s)
            assert slot is not None, f"the ring is full at frame {self.seq}"
            grant, pixels = slot
            pixels[...] = pixels_of(self.seq, self.shape)
            self.writer.publish(grant, self.header(grant))
            self.seq += 1

    def header(self, grant: Grant, **changes: Any) -> FrameHeader:
        """Return the true header of a granted slot."""
        height, width = self.shape
        header = make_header(
            self.seq, height=height, width=width, slot=grant.slot, generation=grant.generation
        )
        return msgspec.structs.replace(header, **changes)

    def serve_until(self, condition: Callable[[], bool], timeout_s: float = 5.0) -> None:
        """Let the writer take messages until something is true."""
        deadline_ns = now_ns() + int(timeout_s * 1e9)
        while not condition():
            assert now_ns() < deadline_ns, f"not true within {timeout_s} s"
            self.writer.service(1)

    def close(self) -> None:
        """Close everything; nothing waits for messages that nobody will take."""
        for reader in self._readers:
            reader.close()
        self.writer.close()
        for ring in (*self._rings, self.ring):
            ring.close()
        self.context.destroy(linger=0)
        self._endpoints.close()


@contextmanager
def open_stream(**options: Any) -> Iterator[Stream]:
    """Give a stream for one test."""
    stream = Stream(**options)
    try:
        yield stream
    finally:
        stream.close()


def read_frame(reader: FrameReader, timeout_s: float = 5.0) -> Received:
    """Return the next item, which must be a frame."""
    item = reader.read(timeout_s)
    assert isinstance(item, Received), f"a frame was expected, got {item!r}"
    return item


def read_all(reader: FrameReader) -> list[int | wire.Gap]:
    """Read to the end of the stream; return seqs and gaps as they came, pixels checked."""
    items: list[int | wire.Gap] = []
    while not reader.ended:
        item = reader.read(5.0)
        if isinstance(item, Received):
            np.testing.assert_array_equal(item.pixels, pixels_of(item.header.seq))
            assert reader.release(item)
        assert item is not None or reader.ended, "the stream stopped without an end"
        if item is not None:
            items.append(item.header.seq if isinstance(item, Received) else item)
    return items
