"""Whole programs that tap: their end, the example, a run of the daemon."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from network_kit import taking
from tap_kit import NOBODY, ROOM, free_endpoint, go_live, live_core

import livedenoise
from livedenoise.core.config import Config
from livedenoise.testing.live import LiveRun, small_config

Eventually = Callable[..., Any]
EXAMPLES = Path(__file__).resolve().parents[2] / "docs" / "examples"


def tapped_run_config(listen: str) -> Config:
    """Return a small run, identity engine, raw recording, whose camera listens at ``listen``."""
    data = small_config().model_dump(mode="json")
    constants = {"gain_e_per_adu": 0.5, "offset_adu": 0.0, "read_noise_e": 1.0}
    camera = {"kind": "network", "name": "tap", "listen": listen, "constants": constants}
    data["camera"] = [camera | ROOM]
    return Config.model_validate(data)


_SCRIPT = """
import sys
import livedenoise
sys.path.insert(0, {folder!r})
from tap_kit import go_live, live_core
core = live_core()
tap = livedenoise.tap(core, {endpoint!r})
go_live(core)
while tap.counts().seen < 5:
    pass
{end}
"""


@pytest.mark.parametrize("end", ["", "del core"])
def test_the_interpreter_ends_with_a_tap_still_on(end: str) -> None:
    tests = Path(__file__).resolve().parent
    script = _SCRIPT.format(folder=str(tests), endpoint=NOBODY, end=end)
    paths = f"import sys; sys.path[:0] = {[str(tests.parent)]!r}\n"
    done = subprocess.run(
        [sys.executable, "-c", paths + script],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_a_tapped_view_through_a_whole_run(
    start: Callable[..., LiveRun], eventually: Eventually
) -> None:
    endpoint, core = free_endpoint(), live_core()
    run = start(tapped_run_config(endpoint), frames=50)
    with livedenoise.tap(core, endpoint) as tap:
        run.until(lambda s: bool(s.streams))
        eventually(lambda: tap._sender.wait_ready(0.0), 20.0)
        go_live(core)
        summary = run.result()
    core.stopSequenceAcquisition()
    assert (summary.exit_code, summary.errors) == (0, [])
    assert (summary.captured, summary.recorded, summary.lost_at_camera) == (50, 50, 0)
    parts = sorted((Path(summary.run_dir) / "raw" / "tap").glob("part-*.tif"))
    assert np.concatenate([tifffile.imread(part) for part in parts]).shape == (50, 128, 128)


def test_the_example_taps_a_demo_camera(eventually: Eventually) -> None:
    with taking(**ROOM) as taken:
        done = subprocess.run(
            [
                *(sys.executable, str(EXAMPLES / "tap_live_view.py"), taken.endpoint),
                *("--seconds", "0.6", "--exposure", "5", "--size", "64"),
            ],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert "frames taken, 0 never seen" in done.stdout
        eventually(lambda: len(taken.frames) > 20)
    assert taken.frames[0].shape == (64, 64)
