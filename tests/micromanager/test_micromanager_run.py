"""Whole runs on a real Micro-Manager core: every frame accounted for, whatever dies."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from demo_kit import DEMO

from livedenoise.core.config import Config, load_config
from livedenoise.core.errors import EXIT_CAMERA
from livedenoise.daemon.summary import Summary
from livedenoise.testing.live import LiveRun, small_config


def free_endpoint() -> str:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return f"tcp://127.0.0.1:{found.getsockname()[1]}"


Start = Callable[..., LiveRun]
CONFIGS = Path(__file__).resolve().parents[2] / "hardware_configs"
SMALL = {"PixelType": "16bit", "OnCameraCCDXSize": 64, "OnCameraCCDYSize": 48, "FastImage": 1}
CONSTANTS = {"gain_e_per_adu": 1.0, "offset_adu": 100.0, "read_noise_e": 2.5}


def run_config(**camera: Any) -> Config:
    """Return a small run of the demonstration camera, identity engine, raw recording."""
    data = small_config().model_dump(mode="json")
    facts = DEMO | {"config_file": "MMConfig_demo.cfg", "constants": CONSTANTS}
    data["camera"] = [
        facts | {"properties": {"Camera": SMALL}, "exposure_us": 3000, "buffer_mb": 16} | camera
    ]
    return Config.model_validate_json(json.dumps(data))


def frame_lines(summary: Summary, camera: str) -> list[dict[str, Any]]:
    sidecar = Path(summary.run_dir) / "raw" / camera / "frames.jsonl"
    lines = [json.loads(line) for line in sidecar.read_text().splitlines()]
    return [line for line in lines if line["kind"] == "frame"]


def pixels(summary: Summary, camera: str) -> np.ndarray:
    parts = sorted((Path(summary.run_dir) / "raw" / camera).glob("part-*.tif"))
    return np.concatenate([tifffile.imread(part) for part in parts])


def test_a_run_records_every_frame_and_says_who_took_it(start: Start) -> None:
    summary = start(run_config(presets={"Channel": "FITC"}), frames=60).result()
    assert (summary.exit_code, summary.errors, summary.conserved) == (0, [], True)
    assert summary.captured == summary.recorded == 60
    assert summary.lost_at_camera == 0
    assert any("Camera (DemoCamera) through Micro-Manager" in note for note in summary.notes)
    lines = frame_lines(summary, "scope")
    assert [line["camera_seq"] for line in lines] == list(range(60))
    assert {line["exposure_us"] for line in lines} == {3000}


def test_events_travel_to_the_recording(start: Start) -> None:
    cycle = [{"exposure_us": 2000, "role": "low"}, {"exposure_us": 8000, "role": "high"}]
    lit = SMALL | {"FastImage": 0, "Mode": "Noise", "UseExposureSequences": "Yes"}
    config = run_config(event=cycle, exposure_us=None, properties={"Camera": lit})
    summary = start(config, frames=20).result()
    assert (summary.exit_code, summary.recorded) == (0, 20)
    lines, images = frame_lines(summary, "scope"), pixels(summary, "scope")
    assert [line["event"] for line in lines] == list(range(20))
    assert {line["epoch"] for line in lines} == {0}
    means = {role: [] for role in ("low", "high")}
    for line, image in zip(lines, images, strict=True):
        assert line["exposure_us"] == {"low": 2000, "high": 8000}[line["role"]]
        means[line["role"]].append(image.mean())
    # 50 electrons a millisecond over an offset of 99.5.
    assert np.mean(means["low"]) == pytest.approx(199.5, abs=3)
    assert np.mean(means["high"]) == pytest.approx(499.5, abs=5)


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_a_killed_camera_process_starts_another_core_and_loses_nothing_captured(
    start: Start,
) -> None:
    run = start(run_config())
    run.until(lambda s: s.streams[0].captured > 30)
    os.kill(run.daemon.stage_pids()["acquire.scope"], signal.SIGKILL)
    run.until(lambda s: s.streams[0].stages[0].restarts == 1 and s.streams[0].captured > 200)
    run.daemon.request_stop()
    summary = run.result()
    assert summary.restarts == {"acquire": 1}
    assert summary.conserved
    assert summary.recorded == summary.captured
    numbers = [line["seq"] for line in frame_lines(summary, "scope")]
    assert numbers == sorted(set(numbers))


def test_mistakes_end_with_exit_code_3_and_name_the_mend(start: Start) -> None:
    summary = start(run_config(device="Andor")).result()
    assert summary.exit_code == EXIT_CAMERA
    assert any("device Andor is not in Micro-Manager" in error for error in summary.errors)


def test_two_cameras_of_one_core_are_two_streams(start: Start) -> None:
    config = load_config(CONFIGS / "micromanager_two_cameras.toml")
    data = config.model_dump(mode="json")
    endpoint = free_endpoint()
    data["camera"][0] |= {"forward": {"1": endpoint}, "exposure_us": 5000}
    data["camera"][0]["properties"]["Right"]["Photon Flux"] = 400
    data["camera"][1]["listen"] = endpoint
    data["denoise"]["engine"] = "identity"
    summary = start(Config.model_validate_json(json.dumps(data)), frames=20).result()
    assert (summary.exit_code, summary.errors) == (0, [])
    assert [stream.recorded for stream in summary.streams] == [20, 20]
    assert [stream.lost_at_camera for stream in summary.streams] == [0, 0]
    left, right = pixels(summary, "left"), pixels(summary, "right")
    # 50 and 400 electrons a millisecond, 5 ms, over 99.5 counts.
    assert left.mean() == pytest.approx(349.5, abs=5)
    assert right.mean() == pytest.approx(2099.5, abs=20)
