"""What a frame's way into the ring costs, and the messages about it. Runs in the measuring child.

Drives the live plane's own writer and reader, in one thread: what the two ends of a hop spend in
two processes is spent here one after the other, so the figure is on the safe side.
"""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np

from livedenoise.bus.backlog import Lossless
from livedenoise.bus.context import new_context
from livedenoise.bus.reader import FrameReader, Received
from livedenoise.bus.ring import Ring, RingSpec
from livedenoise.bus.slots import Grant
from livedenoise.bus.writer import FrameWriter
from livedenoise.core.clock import now_ns
from livedenoise.core.errors import BusError
from livedenoise.core.frame import Frame, FrameHeader
from livedenoise.daemon.preflight.frames import FrameKind, blank_header, random_frames, repeat

_LEASE_NS = 2_000_000_000


def measure_ring(kind: FrameKind, spec: RingSpec, endpoint: str, seconds: float) -> dict[str, Any]:
    """Measure a frame's way into the ring, and the messages about it.

    ``ring``: a slot is taken, filled and published, nobody reads. ``messages``: the same without
    pixels, with one LOSSLESS reader that takes and releases each frame in turn.
    """
    context, ring = new_context(), Ring.attach(spec)
    writer = FrameWriter(ring, context, endpoint, lease_timeout_ns=_LEASE_NS)
    reader = FrameReader(ring, context, writer.endpoint, "check", Lossless())
    try:
        sources = random_frames(kind)
        header = blank_header(kind)
        filled = repeat(lambda n: _fill(writer, header, n, sources), seconds / 2, warm=spec.n_slots)
        _attach(reader, writer)
        hops = repeat(lambda n: _hop(writer, reader, header, n), seconds / 2, warm=spec.n_slots)
    finally:
        reader.close()
        writer.close()
        ring.close()
        context.term()
    return {"ring": msgspec.to_builtins(filled), "messages": msgspec.to_builtins(hops)}


def _fill(writer: FrameWriter, header: FrameHeader, n: int, sources: list[Frame]) -> None:
    grant, pixels = _begin(writer, header)
    np.copyto(pixels, sources[n % len(sources)])
    _publish(writer, header, n, grant)


def _hop(writer: FrameWriter, reader: FrameReader, header: FrameHeader, n: int) -> None:
    grant, _ = _begin(writer, header)
    _publish(writer, header, n, grant)
    frame = reader.read(1.0)
    if not isinstance(frame, Received):
        raise BusError(f"frame {n} was published and did not come")
    reader.release(frame)


def _begin(writer: FrameWriter, header: FrameHeader) -> tuple[Grant, Frame]:
    found = writer.begin(header.shape, header.dtype, 1.0)
    if found is None:
        raise BusError("no slot came free within 1 s")
    return found


def _publish(writer: FrameWriter, header: FrameHeader, n: int, grant: Grant) -> None:
    moment_ns = now_ns()
    writer.publish(
        grant,
        msgspec.structs.replace(
            header,
            seq=n,
            t_host_ns=moment_ns,
            t_ring_ns=moment_ns,
            slot=grant.slot,
            generation=grant.generation,
        ),
    )


def _attach(reader: FrameReader, writer: FrameWriter) -> None:
    """Attach a reader to a writer of the same thread: each must have its turn."""
    reader.request_attach()
    deadline_ns = now_ns() + 2_000_000_000
    while "check" not in writer.readers():
        writer.service(10)
        if now_ns() > deadline_ns:
            raise BusError("the reader did not attach within 2 s")
