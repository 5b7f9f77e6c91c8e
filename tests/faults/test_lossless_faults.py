"""A replay that waits for its readers: none of them, slow or dead, may make it wait for ever."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import pytest
import tifffile
from waiting import wait_until

from livedenoise.core.config import Config, SuperviseConfig, parse_config
from livedenoise.core.status import StatusSnapshot
from livedenoise.testing.live import LiveRun, small_config

Start = Callable[..., LiveRun]
STILL_S = 1.0

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """Return a recording replayed for ever, at the pace of its slowest reader."""
    rng = np.random.default_rng(2)
    stack = rng.poisson(40, (8, 48, 64)).astype(np.uint16) + 100
    tifffile.imwrite(tmp_path / "movie.tif", stack)
    replay = {
        "kind": "replay",
        "name": "sim",
        "input": str(tmp_path / "movie.tif"),
        "loops": 0,
        "constants": {"gain_e_per_adu": 0.5, "offset_adu": 100.0, "read_noise_e": 1.5},
    }
    data = small_config(record={"clean": True}).model_dump(mode="json")
    data["status"] |= {"stall_timeout_s": STILL_S / 2, "refresh_hz": 30.0}
    return parse_config(data | {"camera": [replay]}, "test")


def supervise(*, restarts: int) -> SuperviseConfig:
    return SuperviseConfig(restarts=restarts, silence_s=STILL_S / 2)


def still(seconds: float, what: str = "captured") -> Callable[[StatusSnapshot], bool]:
    """Return a condition: nothing was captured (denoised) for so long."""
    last = [-1, time.monotonic()]

    def holds(snapshot: StatusSnapshot) -> bool:
        count = getattr(snapshot.streams[0], what)
        if count != last[0]:
            last[:] = [count, time.monotonic()]
        return time.monotonic() - last[1] > seconds

    return holds


def waits_for_an_answer(run: LiveRun) -> Callable[[], bool]:
    """Return a condition: the denoiser was told what to attach to, and computes nothing."""
    last = [-1.0, time.monotonic()]

    def holds() -> bool:
        stages = run.daemon._stages
        handle = stages and stages.get("denoise", "sim")
        if not handle or not handle.configured:
            return False
        used_s = sum(psutil.Process(handle.process.pid).cpu_times()[:2])
        if used_s != last[0]:
            last[:] = [used_s, time.monotonic()]
        return time.monotonic() - last[1] > STILL_S / 4

    return holds


def goes_on(run: LiveRun) -> None:
    captured = run.snapshots[-1].streams[0].captured
    run.until(lambda s: s.streams[0].captured > captured + 100)


@pytest.mark.parametrize(("stage", "code"), [("record", 5), ("record-clean", 5), ("denoise", 4)])
def test_a_reader_given_up_owing_frames_does_not_stop_the_replay(
    start: Start, config: Config, stage: str, code: int
) -> None:
    run = start(config.model_copy(update={"supervise": supervise(restarts=0)}))
    run.until(lambda s: s.streams[0].denoised > 20)
    os.kill(run.daemon.stage_pids()[f"{stage}.sim"], signal.SIGSTOP)
    run.until(lambda s: bool(s.errors))
    goes_on(run)
    run.daemon.request_stop()
    summary = run.result()
    assert summary.exit_code == code
    if stage != "record":
        assert summary.captured == summary.recorded
    if stage != "denoise":
        assert summary.denoised == summary.published


@pytest.mark.parametrize("stage", ["record", "record-clean", "denoise"])
def test_a_replaced_reader_is_owed_what_its_predecessor_was(
    start: Start, config: Config, stage: str
) -> None:
    run = start(config.model_copy(update={"supervise": supervise(restarts=3)}))
    run.until(lambda s: s.streams[0].denoised > 20)
    victim = run.daemon.stage_pids()[f"{stage}.sim"]
    os.kill(victim, signal.SIGSTOP)
    wait_until(lambda: run.daemon.stage_pids()[f"{stage}.sim"] != victim, 10.0)
    goes_on(run)
    run.daemon.request_stop()
    summary = run.result()
    assert (summary.exit_code, summary.errors) == (0, [])
    assert summary.restarts == {stage: 1}
    assert summary.captured == summary.recorded == summary.published
    # It waits for its denoiser: nothing is skipped, and nothing is done twice.
    assert summary.published == summary.denoised == summary.recorded_clean


def test_a_denoiser_whose_last_words_come_after_its_successors_first_repeats_nothing(
    start: Start, config: Config
) -> None:
    # The camera's process stands still: what it is told waits in its sockets, and is taken from
    # them in turn. So most of what the dead denoiser released is owed to its successor.
    run = start(config.model_copy(update={"supervise": SuperviseConfig(silence_s=20.0)}))
    run.until(lambda s: s.streams[0].denoised > 20)
    pids = run.daemon.stage_pids()
    os.kill(pids["acquire.sim"], signal.SIGSTOP)
    run.until(still(STILL_S / 4, "denoised"))
    os.kill(pids["denoise.sim"], signal.SIGKILL)
    wait_until(lambda: run.daemon.stage_pids()["denoise.sim"] != pids["denoise.sim"], 10.0)
    wait_until(waits_for_an_answer(run), 10.0)
    os.kill(pids["acquire.sim"], signal.SIGCONT)
    goes_on(run)
    run.daemon.request_stop()
    summary = run.result()
    assert (summary.exit_code, summary.errors) == (0, [])
    assert summary.captured == summary.recorded == summary.published
    assert summary.published == summary.denoised == summary.recorded_clean


def test_a_slow_recorder_of_the_clean_stream_makes_everything_wait(
    start: Start, config: Config
) -> None:
    run = start(config)
    run.until(lambda s: s.streams[0].denoised > 20)
    pid = run.daemon.stage_pids()["record-clean.sim"]
    os.kill(pid, signal.SIGSTOP)
    run.until(still(STILL_S))
    os.kill(pid, signal.SIGCONT)
    goes_on(run)
    run.daemon.request_stop()
    summary = run.result()
    assert summary.errors == []
    assert summary.exit_code == 0
    assert summary.captured == summary.recorded == summary.denoised == summary.recorded_clean


def test_a_recording_that_cannot_be_closed_is_exit_code_5(start: Start) -> None:
    run = start()
    run.until(lambda s: s.streams[0].recorded > 20)
    (run.daemon.run_dir / "raw" / "sim" / "index.json").mkdir()
    run.daemon.request_stop()
    summary = run.result()
    assert summary.exit_code == 5
    assert "index.json" in summary.errors[0]
    assert summary.captured == summary.recorded
