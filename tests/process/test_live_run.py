"""Whole runs of the live plane: counts, identities, epochs, ends."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile

from livedenoise.core.metrics import HOPS
from livedenoise.daemon.options import RunOptions
from livedenoise.daemon.summary import Summary
from livedenoise.testing.live import LiveRun, small_config

Start = Callable[..., LiveRun]


def raw_parts(summary: Summary, camera: str = "sim", stream: str = "raw") -> list[Path]:
    return sorted((Path(summary.run_dir) / stream / camera).glob("part-*.tif"))


def identities_hold(summary: Summary) -> bool:
    raw_drops = sum(
        sum(reasons.values())
        for stage, reasons in summary.dropped.items()
        if stage in ("acquire", "record")
    )
    handled = summary.denoised + summary.passthrough + summary.skipped
    return (
        summary.captured == summary.recorded + raw_drops
        and summary.published == handled
        and summary.conserved
    )


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Summary:
    """Return one run of 100 frames with nothing wrong, for several looks at it."""
    config = small_config(record={"clean": True}, denoise={"policy": "lossless"})
    run = LiveRun(config, RunOptions(out=tmp_path_factory.mktemp("whole"), frames=100))
    try:
        return run.result()
    finally:
        run.end()


def test_every_frame_is_recorded_and_denoised(whole: Summary) -> None:
    summary = whole
    assert summary.exit_code == 0
    assert summary.errors == []
    assert summary.captured == summary.recorded == 100
    assert summary.denoised == summary.recorded_clean == 100
    assert identities_hold(summary)
    assert {hop for hop, found in summary.latency_ms.items() if found.count} == set(HOPS)
    stack = tifffile.imread(raw_parts(summary))
    assert stack.reshape(-1, 48, 64).shape == (100, 48, 64)


def test_summary_is_in_the_run_folder(whole: Summary) -> None:
    written = json.loads((Path(whole.run_dir) / "summary.json").read_text())
    assert written["captured"] == 100
    assert written["run_dir"] == whole.run_dir


def test_identity_engine_returns_the_raw_pixels(whole: Summary) -> None:
    raw = tifffile.imread(raw_parts(whole))
    clean = tifffile.imread(raw_parts(whole, stream="clean"))
    np.testing.assert_array_equal(raw, clean)


def test_stops_after_seconds_and_drains(start: Start) -> None:
    summary = start(small_config(record={"clean": True}), seconds=0.5).result()
    assert summary.exit_code == 0
    assert summary.captured >= 50
    # Live: what is too late is skipped, and counted.
    assert summary.denoised + summary.skipped == summary.captured
    assert summary.recorded_clean == summary.denoised
    assert identities_hold(summary)


def test_first_stop_request_drains_with_exit_code_0(start: Start) -> None:
    run = start()
    run.until(lambda s: s.streams[0].captured > 20)
    run.daemon.request_stop()
    summary = run.result()
    assert summary.exit_code == 0
    assert summary.captured == summary.recorded
    assert identities_hold(summary)


def test_second_stop_request_aborts_and_finalises(start: Start) -> None:
    run = start()
    run.until(lambda s: s.streams[0].recorded > 20)
    run.daemon.request_stop()
    run.daemon.request_stop()
    summary = run.result()
    assert summary.exit_code == 130
    assert identities_hold(summary)
    assert tifffile.imread(raw_parts(summary)).shape[0] >= 20
    assert (Path(summary.run_dir) / "summary.json").exists()


def test_a_stop_right_after_the_start_ends_in_order(start: Start) -> None:
    summary = start(seconds=1e-6).result()
    assert summary.errors == []
    assert summary.exit_code == 0
    assert identities_hold(summary)


def test_a_stop_during_bring_up_is_an_abort_that_leaves_nothing(start: Start) -> None:
    run = start()
    run.daemon.request_stop()
    summary = run.result()
    assert summary.exit_code == 130
    assert "before the camera was started" in summary.errors[0]


def test_recording_off_is_accounted_for(start: Start) -> None:
    summary = start(small_config(record={"raw": False}), frames=30).result()
    assert summary.recorded == 0
    assert summary.dropped["record"] == {"recording_off": 30}
    assert identities_hold(summary)


def test_denoiser_off_is_accounted_for(start: Start) -> None:
    summary = start(small_config(denoise={"enabled": False}), frames=30).result()
    assert summary.recorded == 30
    assert summary.dropped["denoise"] == {"denoiser_off": 30}
    assert identities_hold(summary)


def test_new_size_starts_an_epoch_and_a_part(start: Start) -> None:
    config = small_config(
        camera={"faults": {"resize_at_frame": 30, "resize_to": [32, 24]}},
        denoise={"policy": "lossless"},
    )
    summary = start(config, frames=60).result()
    assert summary.exit_code == 0
    shapes = [tifffile.imread(part).shape for part in raw_parts(summary)]
    assert shapes == [(30, 48, 64), (30, 24, 32)]
    assert summary.denoised == 60


def test_lost_numbers_are_counted_and_recorded_as_gaps(start: Start) -> None:
    config = small_config(camera={"faults": {"drop_probability": 0.2}, "seed": 3})
    summary = start(config, frames=100).result()
    assert summary.lost_at_camera > 0
    lines = [
        json.loads(line)
        for line in (Path(summary.run_dir) / "raw" / "sim" / "frames.jsonl").read_text().split("\n")
        if line
    ]
    gaps = [line for line in lines if "gap" in json.dumps(line)]
    assert gaps, "gaps are in the sidecar"
    assert summary.captured == summary.recorded
    assert summary.captured + summary.lost_at_camera == 100


@pytest.mark.parametrize("shape", [(1, 1), (3, 65)])
def test_odd_sizes_run(start: Start, shape: tuple[int, int]) -> None:
    sensor = {"width_px": shape[1], "height_px": shape[0], "line_time_us": 5.0}
    summary = start(small_config(camera={"sensor": sensor}), frames=10).result()
    assert summary.recorded == 10


def test_two_cameras_are_two_streams(start: Start) -> None:
    config = small_config()
    data = config.model_dump(mode="json")
    data["camera"].append(data["camera"][0] | {"name": "second", "seed": 5, "channel": 1})
    from livedenoise.core.config import parse_config

    summary = start(parse_config(data, "two"), frames=30).result()
    assert [stream.camera for stream in summary.streams] == ["sim", "second"]
    assert summary.captured == 60
    assert identities_hold(summary)
    assert len(raw_parts(summary, "second")) == 1


def test_unknown_constants_are_estimated_once_and_frozen(start: Start) -> None:
    config = small_config(
        camera={
            "estimate_constants": True,
            "sensor": {"width_px": 128, "height_px": 128, "line_time_us": 5.0},
        },
        denoise={"estimate_frames": 8, "policy": "lossless"},
    )
    summary = start(config, frames=40).result()
    assert summary.passthrough == 8
    assert summary.denoised == 32
    constants = summary.streams[0].constants
    assert constants["source"] == "estimated"
    assert any("estimated" in note for note in summary.notes)


def test_frames_that_say_nothing_postpone_the_estimate(start: Start) -> None:
    config = small_config(
        camera={"estimate_constants": True, "scene": {"photons_per_s": 0.0, "kind": "flat"}},
        denoise={"estimate_frames": 4, "policy": "lossless"},
    )
    summary = start(config, frames=30).result()
    assert summary.passthrough == 16, "four batches of four are looked at"
    assert summary.streams[0].constants["model"] == "gaussian"


def test_calibration_of_another_sensor_is_refused(start: Start, tmp_path: Path) -> None:
    from livedenoise.core.calibration import write_calibration
    from livedenoise.core.constants import CameraConstants

    folder = tmp_path / "calibration"
    constants = CameraConstants(gain_e_per_adu=0.5, offset_adu=100, read_noise_e=1.5)
    write_calibration(folder, constants, camera="other", sensor=(10, 20), bit_depth=16)
    summary = start(small_config(camera={"calibration": str(folder)}), frames=10).result()
    assert summary.exit_code == 2
    assert "(10, 20)" in summary.errors[0]
    assert "(48, 64)" in summary.errors[0]
