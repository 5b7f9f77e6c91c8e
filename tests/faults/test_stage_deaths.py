"""What is promised when a stage, the disk or the camera fails during a run."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import tifffile
from waiting import wait_until

from livedenoise.testing.live import LiveRun, small_config

Start = Callable[..., LiveRun]

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")


def raw_pages(run_dir: str) -> int:
    parts = sorted((Path(run_dir) / "raw" / "sim").glob("part-*.tif"))
    pages = 0
    for part in parts:
        with tifffile.TiffFile(part) as tiff:
            pages += len(tiff.pages)
    return pages


def test_sigkill_of_the_denoiser_leaves_raw_recording_untouched(start: Start) -> None:
    run = start(frames=200)
    run.until(lambda s: s.streams[0].denoised > 20)
    os.kill(run.daemon.stage_pids()["denoise.sim"], signal.SIGKILL)
    summary = run.result()
    assert summary.exit_code == 4
    assert summary.captured == summary.recorded == 200
    assert summary.dropped["denoise"]["denoiser_failed"] > 0
    assert raw_pages(summary.run_dir) == 200


def test_sigkill_of_the_recorder_keeps_what_was_acknowledged(start: Start) -> None:
    run = start(frames=200)
    run.until(lambda s: s.streams[0].recorded > 20)
    os.kill(run.daemon.stage_pids()["record.sim"], signal.SIGKILL)
    summary = run.result()
    assert summary.exit_code == 5
    sidecar = Path(summary.run_dir) / "raw" / "sim" / "frames.jsonl"
    frames = [json.loads(line) for line in sidecar.read_text().splitlines()]
    acknowledged = sum(1 for line in frames if "page" in line)
    assert acknowledged > 20
    assert summary.recorded == acknowledged
    assert raw_pages(summary.run_dir) >= acknowledged
    assert summary.captured + summary.lost_at_camera == 200
    assert summary.denoised + summary.skipped == summary.published


def test_sigkill_of_the_camera_process_finalises_the_rest(start: Start) -> None:
    run = start(frames=100_000)
    run.until(lambda s: s.streams[0].recorded > 20)
    os.kill(run.daemon.stage_pids()["acquire.sim"], signal.SIGKILL)
    summary = run.result()
    assert summary.exit_code == 3
    assert raw_pages(summary.run_dir) == summary.recorded > 20


def test_camera_disconnect_is_exit_code_3_and_the_recording_is_complete(start: Start) -> None:
    config = small_config(camera={"faults": {"disconnect_at_frame": 50}})
    summary = start(config, frames=100).result()
    assert summary.exit_code == 3
    assert summary.captured == summary.recorded == 50
    assert raw_pages(summary.run_dir) == 50


def test_camera_stall_is_exit_code_3_with_what_was_captured(start: Start) -> None:
    config = small_config(
        camera={"faults": {"stall_at_frame": 50, "stall_s": 60.0}},
        status={"report_ms": 50, "stall_timeout_s": 2.0, "drain_timeout_s": 5.0},
    )
    summary = start(config, frames=200).result()
    assert summary.exit_code == 3
    assert any("no frame for" in error for error in summary.errors)
    assert summary.captured == summary.recorded == 50


def test_a_camera_that_takes_long_to_get_ready_is_not_stalled(start: Start) -> None:
    # Preparing takes longer than the time-out for silence.
    config = small_config(
        camera={"pool_frames": 64, "sensor": {"width_px": 512, "height_px": 512}},
        status={"report_ms": 50, "stall_timeout_s": 0.4, "drain_timeout_s": 10.0},
    )
    assert start(config, frames=40).result().exit_code == 0


def test_hung_denoiser_is_killed_and_raw_is_complete(start: Start) -> None:
    config = small_config(status={"report_ms": 50, "stall_timeout_s": 1.0})
    run = start(config, frames=600)
    run.until(lambda s: s.streams[0].denoised > 20)
    os.kill(run.daemon.stage_pids()["denoise.sim"], signal.SIGSTOP)
    summary = run.result()
    assert summary.exit_code == 4
    assert summary.captured == summary.recorded == 600


def test_frame_beyond_the_slot_ends_the_run_with_exit_code_3(start: Start) -> None:
    config = small_config(camera={"faults": {"resize_at_frame": 30, "resize_to": [640, 480]}})
    summary = start(config, frames=100).result()
    assert summary.exit_code == 3
    assert "640x480" in summary.errors[0]
    assert summary.captured == summary.recorded == 30


@pytest.mark.parametrize(("stage", "code"), [("acquire", 3), ("denoise", 4), ("record", 5)])
def test_a_stage_that_dies_during_bring_up_ends_the_run(
    start: Start, stage: str, code: int
) -> None:
    run = start(frames=100)
    os.kill(wait_until(lambda: run.daemon.stage_pids().get(f"{stage}.sim")), signal.SIGKILL)
    summary = run.result()
    assert summary.exit_code == code
    assert f"{stage}.sim ended without a word" in summary.errors[0]
    assert summary.captured == 0


def test_engine_that_dies_gives_exit_code_4_with_raw_complete(start: Start, tmp_path: Path) -> None:
    from livedenoise.testing.tiny_package import write_tiny_package

    package = write_tiny_package(tmp_path / "nan", "nan")
    # Every count becomes more than the network can take.
    config = small_config(
        camera={"constants": {"gain_e_per_adu": 1000.0}},
        denoise={"engine": "openvino", "model": str(package)},
    )
    summary = start(config, frames=200).result()
    assert summary.exit_code == 4
    assert summary.recorded == 200
    assert summary.passthrough >= 3
    assert any("in a row" in error for error in summary.errors)


_FULL_DISK = """
import resource, sys, json
from pathlib import Path
# A file-size limit gives the same failed write as a full disk, at a byte we choose.
resource.setrlimit(resource.RLIMIT_FSIZE, (700_000, 700_000))
from livedenoise.testing.live import small_config
from livedenoise.daemon.options import RunOptions
from livedenoise.daemon.run import Daemon
import msgspec
config = small_config(ring={"memory_mb": 1, "max_slots": 32})
options = RunOptions(out=Path(sys.argv[1]), frames=250)
print(json.dumps(msgspec.to_builtins(Daemon(config, options).run())))
"""


def test_full_disk_ends_the_recording_not_the_view(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _FULL_DISK, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    summary = json.loads(done.stdout)
    assert summary["exit_code"] == 5
    assert 0 < summary["recorded"] < 250
    assert summary["captured"] == 250, "the live view goes on"
    assert summary["denoised"] + summary["skipped"] == 250
    assert raw_pages(summary["run_dir"]) == summary["recorded"]
    assert summary["conserved"]


_DAEMON = """
import sys
from pathlib import Path
from livedenoise.testing.live import small_config
from livedenoise.daemon.options import RunOptions
from livedenoise.daemon.run import Daemon
Daemon(small_config(), RunOptions(out=Path(sys.argv[1]))).run()
"""


def test_sigkill_of_the_daemon_leaves_no_child_and_no_segment(tmp_path: Path) -> None:
    daemon = subprocess.Popen([sys.executable, "-c", _DAEMON, str(tmp_path)])
    try:
        children = _wait_for_recording(daemon.pid, tmp_path)
    finally:
        daemon.kill()
        daemon.wait(10)
    gone, alive = psutil.wait_procs(children, timeout=3)
    assert not alive, alive
    assert len(gone) == 3
    from livedenoise.bus.endpoints import remove_stale_endpoints
    from livedenoise.bus.segment import remove_stale

    # What the next start does first.
    removed = remove_stale()
    assert remove_stale_endpoints()
    assert any(f"_{daemon.pid}_" in name for name in removed)
    assert not list(Path("/dev/shm").glob(f"ldn_{daemon.pid}_*"))  # noqa: S108


def _wait_for_recording(pid: int, out: Path) -> list[psutil.Process]:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        sidecars = list(out.glob("*/raw/sim/frames.jsonl"))
        if sidecars and sidecars[0].stat().st_size > 1000:
            return psutil.Process(pid).children()
        time.sleep(0.02)
    pytest.fail("the run never recorded anything")
