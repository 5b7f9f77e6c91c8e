"""A recorder that cannot keep up: the ring fills, the camera drops with a reason, nothing grows."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from waiting import wait_until

from livedenoise.testing.live import LiveRun, small_config

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")


def test_slow_disk_drops_are_counted_at_the_camera(start: Callable[..., LiveRun]) -> None:
    # A stopped process is what a write() that does not return looks like to everybody else; it is
    # let go before it counts as hung.
    config = small_config(supervise={"silence_s": 20.0}, ring={"memory_mb": 2, "max_slots": 32})
    run = start(config)
    run.until(lambda s: s.streams[0].recorded > 20)
    recorder = run.daemon.stage_pids()["record.sim"]
    os.kill(recorder, signal.SIGSTOP)
    run.until(lambda s: s.streams[0].dropped.get("ring_full", 0) > 40)
    assert run.snapshots[-1].streams[0].ring_fill > 0.9
    segments = sum(
        path.stat().st_size
        for path in Path("/dev/shm").glob(f"ldn_{os.getpid()}_*")  # noqa: S108
    )
    assert segments < 3 << 20, "the rings are all there is"
    os.kill(recorder, signal.SIGCONT)
    stopped_at = run.snapshots[-1].streams[0].recorded
    wait_until(lambda: run.snapshots[-1].streams[0].recorded > stopped_at + 50, 10.0)
    run.daemon.request_stop()
    summary = run.result()
    assert summary.exit_code == 0
    assert summary.restarts == {}
    assert summary.dropped["acquire"]["ring_full"] > 40
    assert summary.captured == summary.recorded + summary.dropped["acquire"]["ring_full"]
    sidecar = Path(summary.run_dir) / "raw" / "sim" / "frames.jsonl"
    lines = [json.loads(line) for line in sidecar.read_text().splitlines()]
    told = sum(line["count"] for line in lines if line["kind"] == "gap")
    lost = summary.dropped["acquire"]["ring_full"] + summary.lost_at_camera
    assert told == lost, "each drop is in the file"
