"""Random bytes on every socket of a live run, and a foreign process on its rings: nobody minds."""

from __future__ import annotations

import os
import random
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import zmq

from livedenoise.bus.segment import PREFIX
from livedenoise.testing.live import LiveRun, small_config

Start = Callable[..., LiveRun]

pytestmark = pytest.mark.skipif(not zmq.has("ipc"), reason="the run's sockets are not files")


def sockets() -> list[Path]:
    """Return every socket file of this process's runs."""
    folders = Path(tempfile.gettempdir()).glob(f"{PREFIX}-{os.getpid()}-*")
    return sorted(path for folder in folders for path in folder.iterdir() if path.is_socket())


@pytest.fixture
def context() -> Iterator[zmq.Context[zmq.Socket[bytes]]]:
    """Give a ZeroMQ context."""
    context = zmq.Context()
    yield context
    context.destroy(linger=0)


def shout(context: zmq.Context[zmq.Socket[bytes]], path: Path, rng: random.Random) -> None:
    """Send what no peer would: as a ZeroMQ peer, with the right and wrong number of parts."""
    with context.socket(zmq.DEALER) as stranger:
        stranger.setsockopt(zmq.LINGER, 1000)
        stranger.connect(f"ipc://{path}")
        for size in (0, 1, 2, 7, 100, 5000):
            stranger.send(bytes([rng.choice((0, 1, 2, 255))]) + rng.randbytes(size))
            stranger.send_multipart([rng.randbytes(size) for _ in range(rng.randint(1, 5))])


def spill(path: Path, rng: random.Random) -> None:
    """Send bytes that are not even ZeroMQ."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as raw:
        raw.settimeout(1.0)
        raw.connect(str(path))
        raw.sendall(rng.randbytes(4096))


def test_hostile_bytes_on_every_socket(
    start: Start, context: zmq.Context[zmq.Socket[bytes]]
) -> None:
    rng = random.Random(3)
    run = start(small_config(record={"raw": True, "clean": True}))
    run.until(lambda s: s.streams[0].recorded > 10)
    found = sockets()
    names = {path.name.split("-")[0] for path in found}
    assert names >= {"control", "remote", "raw", "clean"}, found
    for path in found:
        shout(context, path, rng)
        spill(path, rng)
    before = run.snapshots[-1].streams[0]
    run.until(lambda s: s.streams[0].denoised > before.denoised + 60)
    run.daemon.request_stop()
    summary = run.result()
    assert summary.exit_code == 0, summary.errors
    assert summary.restarts == {}
    assert summary.captured == summary.recorded
    assert summary.conserved


_FOREIGNER = """
import sys
from multiprocessing import shared_memory
for name in sys.argv[1:]:
    memory = shared_memory.SharedMemory(name)
    memory.close()
"""


@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="no names of segments to look up")  # noqa: S108
def test_a_foreign_process_that_attaches_and_exits_leaves_the_rings_alone(start: Start) -> None:
    run = start()
    run.until(lambda s: s.streams[0].recorded > 10)
    rings = [path.name for path in Path("/dev/shm").glob(f"{PREFIX}_{os.getpid()}_*")]  # noqa: S108
    assert len(rings) == 2
    # -c: its resource tracker would unlink what it attached; that is the point.
    subprocess.run([sys.executable, "-c", _FOREIGNER, *rings], check=True, timeout=20)
    before = run.snapshots[-1].streams[0]
    run.until(lambda s: s.streams[0].denoised > before.denoised + 60)
    run.daemon.request_stop()
    summary = run.result()
    assert summary.exit_code == 0
    assert summary.captured == summary.recorded == summary.denoised + summary.skipped
