"""A writer at full speed against a reader whose leases protect nothing: torn frames are detected.

The writer is another process, so that the two really run at the same time.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest
import zmq
from stream_kit import EAGER, make_spec, read_frame
from waiting import wait_until

from livedenoise.bus.endpoints import Endpoints
from livedenoise.bus.reader import FrameReader, Received
from livedenoise.bus.ring import LEASES_PER_READER, Ring

SHAPE = (512, 512)
TESTS = Path(__file__).resolve().parents[1]

WRITER = """
import select, sys
sys.path.insert(0, sys.argv[3])
import msgspec, zmq
from stream_kit import make_header
from livedenoise.bus.ring import Ring, RingSpec
from livedenoise.bus.writer import FrameWriter

ring = Ring.attach(msgspec.json.decode(sys.argv[1], type=RingSpec))
context = zmq.Context()
writer = FrameWriter(ring, context, sys.argv[2], lease_timeout_ns=int(sys.argv[4]))
print(writer.endpoint, flush=True)
shape, seq = (512, 512), 0
while not select.select([sys.stdin], [], [], 0)[0]:
    if not writer.readers():
        writer.service(5)
        continue
    slot = writer.begin(shape, "<u2", 5.0)
    if slot is None:
        sys.exit("no slot came free")
    grant, pixels = slot
    pixels.fill(seq % 65536)
    writer.publish(grant, make_header(
        seq, height=512, width=512, slot=grant.slot, generation=grant.generation))
    seq += 1
writer.table.check()
print(writer.table.published, writer.table.revoked_leases, flush=True)
writer.close()
context.destroy(linger=0)
ring.close()
"""


class Racing:
    """A writer process at full speed, and one LATEST reader here."""

    def __init__(self, lease_timeout_ns: int) -> None:
        self._endpoints = Endpoints()
        self._ring = Ring.create(make_spec(n_slots=4, shape=SHAPE))
        self._process = subprocess.Popen(
            [sys.executable, "-W", "error", "-c", WRITER, *self._arguments(lease_timeout_ns)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._out = self._process.stdout
        endpoint = self._line()
        self._mine = Ring.attach(self._ring.spec)
        self.reader = FrameReader(self._mine, self._context, endpoint, "view", EAGER)
        self.reader.attach(10.0)

    def _arguments(self, lease_timeout_ns: int) -> list[str]:
        spec = msgspec.json.encode(self._ring.spec).decode()
        return [spec, self._endpoints.bind_to("raw"), str(TESTS), str(lease_timeout_ns)]

    def _line(self) -> str:
        assert self._out is not None
        return self._out.readline().strip()

    def stop_writer(self) -> tuple[int, int]:
        """Leave, stop the writer; return how many frames it published and leases it revoked."""
        assert self._process.stdin is not None
        self.reader.close()
        self._process.stdin.close()
        published, revoked = self._line().split()
        assert self._process.wait(10) == 0
        return int(published), int(revoked)

    def wait_for_the_writer(self) -> None:
        """Wait until the writer has begun a slot that it chose after this call."""
        generations = self._mine.generations
        # Two frames begun and published: one may have been chosen before.
        target = int(generations.sum()) + 4
        wait_until(lambda: int(generations.sum()) >= target)

    def is_current(self, frame: Received) -> bool:
        return self._mine.is_current(frame.header.slot, frame.header.generation)

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        self.reader.close()
        self._context.destroy(linger=0)
        self._mine.close()
        self._ring.close()
        self._endpoints.close()


@pytest.fixture
def racing(request: pytest.FixtureRequest) -> Iterator[Racing]:
    race = Racing(request.param)
    yield race
    race.close()


def copy_slowly(frame: Received, pause_s: float) -> np.ndarray:
    """Copy the two halves of a frame with a pause between them, as a slow viewer does."""
    copy = np.empty(SHAPE, np.uint16)
    half = SHAPE[0] // 2
    copy[:half] = frame.pixels[:half]
    time.sleep(pause_s)
    copy[half:] = frame.pixels[half:]
    return copy


def read_frames(reader: FrameReader, n_each: int, deadline_s: float) -> Counter[str]:
    """Read until both whole and torn frames were seen; every whole one must be uniform."""
    seen: Counter[str] = Counter()
    deadline = time.monotonic() + deadline_s
    pauses_s = (0.0, 0.0, 0.0005, 0.003)
    while min(seen["whole"], seen["torn"]) < n_each and time.monotonic() < deadline:
        # As many as a reader may hold: the writer has to revoke a lease, or to wait.
        for frame in [read_frame(reader) for _ in range(LEASES_PER_READER)]:
            copy = copy_slowly(frame, pauses_s[seen.total() % len(pauses_s)])
            uniform = bool((copy == frame.header.seq % 65536).all())
            if reader.release(frame):
                seen["whole"] += 1
                assert uniform, f"frame {frame.header.seq} was reported whole and is not"
            else:
                seen["torn"] += 1
                seen["torn pixels"] += not uniform
    return seen


@pytest.mark.parametrize("racing", [1], indirect=True, ids=["leases expire at once"])
def test_torn_frames_are_detected_and_never_count_as_good(racing: Racing) -> None:
    seen = read_frames(racing.reader, n_each=150, deadline_s=15.0)
    published, revoked = racing.stop_writer()
    assert seen["whole"] >= 150, seen
    assert seen["torn"] >= 150, seen
    assert seen["torn pixels"] > 0, "the race was never real"
    assert revoked > 0
    assert racing.reader.received == seen["whole"] + seen["torn"]
    assert racing.reader.received + racing.reader.skipped.total() <= published


@pytest.mark.parametrize("racing", [10**12], indirect=True, ids=["leases hold"])
def test_leases_in_force_keep_frames_whole(racing: Racing) -> None:
    """A slot can be lost while its lease is being written; once the writer saw it, never."""
    reader, held = racing.reader, 0
    deadline = time.monotonic() + 10.0
    while held < 30 and time.monotonic() < deadline:
        frame = read_frame(reader)
        racing.wait_for_the_writer()
        in_force = racing.is_current(frame)
        copy = copy_slowly(frame, 0.005)
        assert reader.release(frame) == in_force
        held += in_force
        assert not in_force or (copy == frame.header.seq % 65536).all()
    _, revoked = racing.stop_writer()
    assert held == 30
    assert revoked == 0
