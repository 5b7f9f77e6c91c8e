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
from typing import Any

import psutil
import pytest
import tifffile
from waiting import wait_until

from livedenoise.core.status import StatusSnapshot
from livedenoise.daemon.summary import Summary
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


KINDS = ("acquire", "denoise", "record", "record-clean")


def lines_of(run_dir: str, stream: str, kind: str) -> list[dict[str, Any]]:
    """Return the lines of one kind of a stream's sidecar."""
    sidecar = Path(run_dir) / stream / "sim" / "frames.jsonl"
    lines = [json.loads(line) for line in sidecar.read_text().splitlines()]
    return [line for line in lines if line["kind"] == kind]


def pixels_of(run_dir: str, stream: str) -> dict[int, bytes]:
    """Return the pixels of every acknowledged frame, read where the sidecar says they are."""
    folder = Path(run_dir) / stream / "sim"
    found = {}
    for line in lines_of(run_dir, stream, "frame"):
        with (folder / f"part-{line['part']:04d}.tif").open("rb") as part:
            part.seek(line["offset"])
            found[line["seq"]] = part.read(64 * 48 * 2)
    return found


def state_of(snapshot: StatusSnapshot, kind: str) -> str:
    return next(stage.state for stage in snapshot.streams[0].stages if stage.kind == kind)


def check_streams(summary: Summary) -> None:
    """Check that each stream has every number once, as a frame or in a gap, and honest pixels."""
    for stream in ("raw", "clean"):
        frames = [line["seq"] for line in lines_of(summary.run_dir, stream, "frame")]
        gaps = [
            seq
            for line in lines_of(summary.run_dir, stream, "gap")
            for seq in range(line["first"], line["last"] + 1)
        ]
        assert frames == sorted(frames)
        assert sorted(frames + gaps) == list(range(max(frames) + 1)), stream
    raw, clean = pixels_of(summary.run_dir, "raw"), pixels_of(summary.run_dir, "clean")
    # The identity engine: what is under one number in both streams is one image.
    assert all(raw[seq] == pixels for seq, pixels in clean.items() if seq in raw)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("blow", ["SIGKILL", "SIGSTOP"])
def test_a_stage_that_is_killed_or_hangs_is_replaced_and_nothing_acknowledged_is_lost(
    start: Start, kind: str, blow: str
) -> None:
    config = small_config(
        record={"raw": True, "clean": True},
        supervise={"silence_s": 0.4},
        ring={"memory_mb": 16, "max_slots": 1024},
    )
    run = start(config)
    run.until(lambda s: s.streams[0].denoised > 20 and s.streams[0].recorded > 20)
    victim = run.daemon.stage_pids()[f"{kind}.sim"]
    os.kill(victim, getattr(signal, blow))
    wait_until(lambda: run.daemon.stage_pids()[f"{kind}.sim"] != victim, 10.0)
    before = run.snapshots[-1].streams[0]
    run.until(
        lambda s: (
            s.streams[0].denoised > before.denoised + 60
            and s.streams[0].captured > before.captured + 60
        )
    )
    run.daemon.request_stop()
    summary = run.result()
    assert summary.exit_code == 0, summary.errors
    assert summary.restarts == {kind: 1}
    assert summary.conserved
    assert len(summary.incidents) == 1
    assert summary.incidents[0].ready_after_s > 0
    # Also what a killed camera process had told nobody: it is found in its ring.
    assert summary.recorded == summary.captured == len(lines_of(summary.run_dir, "raw", "frame"))
    assert summary.recorded_clean == summary.denoised
    check_streams(summary)


def test_camera_and_recorder_dying_together_lose_nothing_that_was_captured(start: Start) -> None:
    # The recorder stands still, so that the ring holds what nobody has written; then both die.
    config = small_config(supervise={"silence_s": 20.0}, ring={"memory_mb": 16, "max_slots": 1024})
    run = start(config)
    run.until(lambda s: s.streams[0].recorded > 20)
    pids = run.daemon.stage_pids()
    os.kill(pids["record.sim"], signal.SIGSTOP)
    stopped = run.snapshots[-1].streams[0].captured
    run.until(lambda s: s.streams[0].captured > stopped + 60)
    os.kill(pids["record.sim"], signal.SIGKILL)
    os.kill(pids["acquire.sim"], signal.SIGKILL)
    for kind in ("record", "acquire"):
        wait_until(lambda k=kind: run.daemon.stage_pids()[f"{k}.sim"] != pids[f"{k}.sim"], 10.0)
    before = run.snapshots[-1].streams[0].recorded
    run.until(lambda s: s.streams[0].recorded > before + 60)
    run.daemon.request_stop()
    summary = run.result()
    assert (summary.exit_code, summary.errors) == (0, [])
    assert summary.captured == summary.recorded == len(lines_of(summary.run_dir, "raw", "frame"))
    reasons = {line["reason"] for line in lines_of(summary.run_dir, "raw", "gap")}
    assert reasons <= {"camera_restarted"}
    assert summary.conserved


def test_stages_dying_in_quick_succession_are_counted_once(start: Start) -> None:
    run = start(small_config(record={"raw": True, "clean": True}))
    run.until(lambda s: s.streams[0].denoised > 40)
    for _ in range(3):
        victim = run.daemon.stage_pids()["denoise.sim"]
        os.kill(victim, signal.SIGKILL)
        wait_until(lambda v=victim: run.daemon.stage_pids()["denoise.sim"] != v, 10.0)
    before = run.snapshots[-1].streams[0].denoised
    run.until(lambda s: s.streams[0].denoised > before + 60)
    run.daemon.request_stop()
    summary = run.result()
    assert summary.exit_code == 0, summary.errors
    assert (
        summary.denoised
        == summary.recorded_clean
        == len(lines_of(summary.run_dir, "clean", "frame"))
    )
    assert summary.conserved


def test_a_reader_given_up_while_the_camera_starts_again_ends_nothing_else(start: Start) -> None:
    run = start(small_config(supervise={"restarts": 1, "window_s": 600.0}))
    run.until(lambda s: s.streams[0].denoised > 20)
    first = run.daemon.stage_pids()["denoise.sim"]
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: run.daemon.stage_pids()["denoise.sim"] != first, 10.0)
    run.until(lambda s: state_of(s, "denoise") == "running")
    pids = run.daemon.stage_pids()
    os.kill(pids["acquire.sim"], signal.SIGKILL)
    os.kill(pids["denoise.sim"], signal.SIGKILL)
    run.until(lambda s: bool(s.errors))
    before = run.snapshots[-1].streams[0].recorded
    run.until(lambda s: s.streams[0].recorded > before + 60)
    run.daemon.request_stop()
    summary = run.result()
    assert summary.exit_code == 4
    assert summary.captured == summary.recorded
    assert summary.conserved


def test_a_recorder_killed_between_two_frames_of_a_slow_camera_is_replaced(start: Start) -> None:
    # The camera waits 30 s for its next frame; its readers attach meanwhile.
    config = small_config(camera={"rate_hz": 1 / 30.0, "exposure_us": 10_000})
    run = start(config)
    victim = wait_until(lambda: run.snapshots and run.daemon.stage_pids()["record.sim"])
    os.kill(victim, signal.SIGKILL)
    wait_until(lambda: run.daemon.stage_pids()["record.sim"] != victim, 10.0)
    run.until(lambda s: state_of(s, "record") == "running")
    run.daemon.request_stop()
    summary = run.result()
    assert (summary.exit_code, summary.errors) == (0, [])
    assert summary.restarts == {"record": 1}


def test_a_stage_killed_again_and_again_is_given_up(start: Start) -> None:
    config = small_config(supervise={"restarts": 1, "window_s": 600.0})
    run = start(config)
    run.until(lambda s: s.streams[0].denoised > 20)
    first = run.daemon.stage_pids()["denoise.sim"]
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: run.daemon.stage_pids()["denoise.sim"] != first, 10.0)
    os.kill(run.daemon.stage_pids()["denoise.sim"], signal.SIGKILL)
    run.until(lambda s: bool(s.errors))
    before = run.snapshots[-1].streams[0].recorded
    run.until(lambda s: s.streams[0].recorded > before + 50)
    run.daemon.request_stop()
    summary = run.result()
    assert summary.exit_code == 4
    assert summary.captured == summary.recorded
    assert summary.dropped["denoise"]["denoiser_failed"] > 0
    assert summary.conserved


def test_a_recorder_that_may_not_be_replaced_keeps_what_was_acknowledged(start: Start) -> None:
    run = start(small_config(supervise={"restarts": 0}), frames=200)
    run.until(lambda s: s.streams[0].recorded > 20)
    os.kill(run.daemon.stage_pids()["record.sim"], signal.SIGKILL)
    summary = run.result()
    assert summary.exit_code == 5
    acknowledged = len(lines_of(summary.run_dir, "raw", "frame"))
    assert summary.recorded == acknowledged > 20
    assert raw_pages(summary.run_dir) >= acknowledged
    assert summary.captured + summary.lost_at_camera == 200
    assert summary.denoised + summary.skipped == summary.published


def test_a_camera_process_that_may_not_be_replaced_finalises_the_rest(start: Start) -> None:
    run = start(small_config(supervise={"restarts": 0}), frames=100_000)
    run.until(lambda s: s.streams[0].recorded > 20)
    os.kill(run.daemon.stage_pids()["acquire.sim"], signal.SIGKILL)
    summary = run.result()
    assert summary.exit_code == 3
    assert raw_pages(summary.run_dir) == summary.recorded > 20
    assert summary.conserved


def test_frames_asked_for_are_captured_across_a_killed_camera_process(start: Start) -> None:
    run = start(frames=300)
    run.until(lambda s: s.streams[0].recorded > 20)
    os.kill(run.daemon.stage_pids()["acquire.sim"], signal.SIGKILL)
    summary = run.result()
    assert summary.exit_code == 0
    assert summary.captured + summary.lost_at_camera >= 300
    assert summary.captured == 300
    assert summary.lost_at_camera > 0, "what the camera exposed meanwhile"


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
    config = config.model_copy(
        update={"supervise": config.supervise.model_copy(update={"restarts": 1})}
    )
    summary = start(config, frames=400).result()
    assert summary.exit_code == 4
    assert summary.recorded == 400
    assert summary.restarts == {"denoise": 1}, "another process may do better; this one does not"
    assert summary.passthrough >= 6
    assert any("in a row" in error for error in summary.errors)


_FULL_DISK = """
import resource, sys, json
from pathlib import Path
# A file-size limit gives the same failed write as a full disk, at a byte we choose.
resource.setrlimit(resource.RLIMIT_FSIZE, (700_000, 700_000))
from livedenoise.core.status import StatusSnapshot
from livedenoise.daemon.summary import Summary
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
from livedenoise.core.status import StatusSnapshot
from livedenoise.daemon.summary import Summary
from livedenoise.testing.live import small_config
from livedenoise.daemon.options import RunOptions
from livedenoise.daemon.run import Daemon
Daemon(small_config(), RunOptions(out=Path(sys.argv[1]))).run()
"""


def test_sigkill_of_the_daemon_leaves_no_child_and_no_segment(tmp_path: Path) -> None:
    daemon = subprocess.Popen([sys.executable, "-c", _DAEMON, str(tmp_path)])
    try:
        children = _wait_for_recording(daemon.pid, tmp_path)
        assert list(Path("/dev/shm").glob(f"ldn_{daemon.pid}_*"))  # noqa: S108
    finally:
        daemon.kill()
        daemon.wait(10)
    psutil.wait_procs(children, timeout=3)
    # Orphans that ended may wait for whoever is process 1 to take notice.
    alive = [one for one in children if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]
    assert not alive, alive
    assert len(children) == 3
    from livedenoise.bus.endpoints import remove_stale_endpoints
    from livedenoise.bus.segment import remove_stale

    # What the next start does first.
    remove_stale()
    assert remove_stale_endpoints()
    assert not list(Path("/dev/shm").glob(f"ldn_{daemon.pid}_*"))  # noqa: S108


def _wait_for_recording(pid: int, out: Path) -> list[psutil.Process]:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        sidecars = list(out.glob("*/raw/sim/frames.jsonl"))
        if sidecars and sidecars[0].stat().st_size > 1000:
            return psutil.Process(pid).children()
        time.sleep(0.02)
    pytest.fail("the run never recorded anything")
