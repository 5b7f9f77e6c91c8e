"""A daemon's loop without stages, for tests of what asks it: registered, answering, stoppable."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
from waiting import wait_until

from livedenoise.bus.context import new_context
from livedenoise.bus.endpoints import Endpoints
from livedenoise.core.metrics import LatencySummary
from livedenoise.core.status import Preview, StageStatus, StatusSnapshot, StreamStatus
from livedenoise.daemon.registry import DaemonEntry
from livedenoise.daemon.remote import Remote, open_remote
from livedenoise.record.run_folder import RunFolder, create_run_folder
from livedenoise.testing.live import small_config

LATENCY = LatencySummary(p50=12.5, p99=20.25, p999=30.0, max=31.0, count=100)
STAGES = (
    StageStatus(name="acquire.sim", kind="acquire", state="finished", pid=11, count=120),
    StageStatus(name="record.sim", kind="record", state="running", pid=12, count=118, restarts=2),
)


def make_snapshot(**changes: Any) -> StatusSnapshot:
    """Return a snapshot with every kind of field filled."""
    fields: dict[str, Any] = {
        "name": "bench",
        "state": "running",
        "elapsed_s": 12.3,
        "total_s": 30.0,
        "total_frames": 0,
        "run_dir": "runs/20260101-000000-bench",
        "streams": (make_stream(),),
    }
    return StatusSnapshot(**fields | changes)


def make_stream(**changes: Any) -> StreamStatus:
    """Return a stream with losses, stages and a picture."""
    fields: dict[str, Any] = {
        "camera": "sim",
        "shape": (48, 64),
        "dtype": "<u2",
        "period_ms": 5.0,
        "engine": "identity",
        "captured": 120,
        "recorded": 118,
        "denoised": 110,
        "passthrough": 0,
        "skipped": 4,
        "lost_at_camera": 1,
        "dropped": {"ring_full": 2},
        "fps_in": 199.9,
        "fps_out": 180.0,
        "mb_per_s": 1.2,
        "ring_fill": 0.1,
        "latency": LATENCY,
        "stages": STAGES,
        "history": {"fps_in": (1.0, 2.0)},
        "preview": Preview(
            seq=7, height=2, width=2, low_adu=0.0, high_adu=9.0, raw=b"\x00\xff\x80\x01"
        ),
    }
    return StreamStatus(**fields | changes)


class LoopedDaemon:
    """A thread that serves like the daemon's loop does, until it is asked to stop.

    ``drain`` set lets it end after a stop; ``stops`` are the orders it got.
    """

    def __init__(self, out: Path, name: str = "bench", *, summary: bool = True) -> None:
        self.folder: RunFolder = create_run_folder(out, name, config=small_config())
        self.snapshot = make_snapshot(name=name, run_dir=str(self.folder.path))
        self.stops: list[bool] = []
        self.snapshots_made = 0
        self.drain = threading.Event()
        self.drain.set()
        self.hang = threading.Event()
        self.remote: Remote | None = None
        self._summary = summary
        self._ready = threading.Event()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"daemon-{name}")
        self._thread.start()
        wait_until(self._ready.is_set)

    @property
    def entry(self) -> DaemonEntry:
        """Return what it registered."""
        assert self.remote is not None
        return self.remote.entry

    def end(self) -> None:
        """End it, asked or not."""
        self._end.set()
        self._thread.join(10)
        assert not self._thread.is_alive()

    def _run(self) -> None:
        context = new_context()
        try:
            with (
                Endpoints() as endpoints,
                open_remote(
                    context,
                    endpoints,
                    run_id=self.folder.run_id,
                    name=self.snapshot.name,
                    run_dir=self.folder.path,
                ) as self.remote,
            ):
                self._ready.set()
                while not self._over():
                    if not self.hang.is_set():
                        self.remote.serve(self._snapshot, self.stops.append)
                    self._end.wait(0.002)
        finally:
            context.term()
        if self._summary:
            self.folder.write_summary(make_summary(str(self.folder.path)))

    def _over(self) -> bool:
        return self._end.is_set() or (bool(self.stops) and self.drain.is_set())

    def _snapshot(self) -> StatusSnapshot:
        self.snapshots_made += 1
        state = "draining" if self.stops else self.snapshot.state
        return msgspec.structs.replace(self.snapshot, state=state)


def make_summary(run_dir: str) -> dict[str, Any]:
    """Return the part of a summary.json that is shown at the end."""
    return {
        "captured": 120,
        "lost_at_camera": 1,
        "recorded": 118,
        "denoised": 110,
        "skipped": 4,
        "conserved": True,
        "exit_code": 0,
        "run_dir": run_dir,
        "errors": [],
    }


@contextmanager
def looped_daemon(out: Path, name: str = "bench", **options: Any) -> Iterator[LoopedDaemon]:
    """Yield a daemon's loop that ends with the context."""
    daemon = LoopedDaemon(out, name, **options)
    try:
        yield daemon
    finally:
        daemon.end()
