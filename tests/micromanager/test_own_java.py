"""A camera we drive in somebody's running Micro-Manager: leave no trace, survive its faults."""

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

import pytest
from bridge.client import BridgeProcess
from demo_kit import FAST, Slots, java_camera, streaming, take
from waiting import wait_until

from livedenoise.bus.endpoints import remove_stale_endpoints
from livedenoise.bus.segment import remove_stale
from livedenoise.core.camera import Event, StreamRequest
from livedenoise.core.config import Config
from livedenoise.core.errors import EXIT_CAMERA, CameraError
from livedenoise.testing.live import LiveRun, small_config

Start = Callable[..., LiveRun]
KEPT = ("camera", "exposure_ms", "roi", "buffer_mb", "auto_shutter", "properties", "live")
SETTINGS: dict[str, Any] = {
    "presets": {"Channel": "Cy5", "Objective": "40X"},
    "properties": {"Camera": FAST | {"Gain": 3, "PixelType": "8bit"}},
    "buffer_mb": 32,
}
REQUEST = {"exposure_us": 4000, "roi": (16, 32, 128, 64), "binning": 2}


@pytest.fixture
def bridge(calm_bridge: BridgeProcess) -> BridgeProcess:
    """Return the module's bridge as new: for tests that do not kill it."""
    return calm_bridge


@pytest.fixture
def doomed(start_bridge: Callable[..., BridgeProcess]) -> BridgeProcess:
    """Return a bridge to kill, or to do to what may end a core."""
    return start_bridge()


@pytest.fixture(autouse=True)
def closed_shutter(bridge: BridgeProcess) -> None:
    """Begin with it closed: DemoCamera's is open at random, an automatic one ends closed."""
    bridge.user("setShutterOpen", False)


def kept(bridge: BridgeProcess) -> dict[str, Any]:
    """Return all that must be after a run as it was before."""
    state = bridge.state()
    return {key: state[key] for key in KEPT}


def test_everything_is_as_it_was_after_a_run(bridge: BridgeProcess) -> None:
    bridge.user("setExposure", 77.0)
    bridge.user("setROI", 8, 8, 256, 256)
    before = kept(bridge)
    with streaming(java_camera(bridge.port, **SETTINGS), **REQUEST) as (camera, prepared):
        assert len(take(camera, 5)) == 5
        during = kept(bridge)
    assert prepared.dtype == "|u1"
    assert (during["exposure_ms"], during["roi"][2:]) == (4.0, [64, 32])
    assert during["properties"]["Camera-Gain"] == "3"
    assert kept(bridge) == before
    assert not bridge.state()["running"]
    assert bridge.state()["objects"] == {}


def test_a_configuration_file_of_the_other_backend_is_told_to_be_unused(
    bridge: BridgeProcess,
) -> None:
    """The same configuration serves both ways."""
    camera = java_camera(bridge.port, config_file=Path("MMConfig_demo.cfg"), app_path="demo")
    notes = camera.open().notes
    camera.close()
    assert "MMConfig_demo.cfg is not loaded: Micro-Manager has its own" in notes


def test_what_is_not_configured_is_taken_as_it_is_in_the_window(bridge: BridgeProcess) -> None:
    bridge.user("setProperty", "Camera", "Binning", "2")
    bridge.user("setExposure", 7.0)
    bridge.user("setROI", 16, 32, 128, 64)
    request = {"exposure_us": 0, "rate_hz": 140.0}
    with streaming(java_camera(bridge.port), **request) as (camera, prepared):
        (frame,) = take(camera, 1)
    assert (prepared.binning, prepared.exposure_us, prepared.shape) == (2, 7000, (64, 128))
    assert prepared.roi == (32, 64, 256, 128)
    assert (frame.shape, frame.roi_x, frame.roi_y) == ((64, 128), 32, 64)


@pytest.mark.parametrize(
    "changes",
    [
        {"properties": {"Camera": {"Gain": 2, "PixelType": "12bit"}}},
        {"presets": {"Channel": "Cy5", "Objective": "none"}},
        {"channel": 3, "properties": {"Camera": {"Gain": 2}}},
    ],
    ids=["property refused", "no such preset", "no such channel"],
)
def test_everything_is_as_it_was_after_an_error(
    bridge: BridgeProcess, changes: dict[str, Any]
) -> None:
    before = kept(bridge)
    with pytest.raises(CameraError):
        java_camera(bridge.port, **changes).open()
    assert kept(bridge) == before


def test_a_call_that_fails_in_the_middle_leaves_nothing_changed(bridge: BridgeProcess) -> None:
    before = kept(bridge)
    bridge.fault("throw", "setExposure", message="camera busy")
    camera = java_camera(bridge.port, **SETTINGS)
    camera.open()
    with pytest.raises(CameraError, match="camera busy"):
        camera.prepare(StreamRequest(**REQUEST))
    camera.close()
    assert kept(bridge) == before


def test_events_one_by_one_leave_the_exposure_as_it_was(bridge: BridgeProcess) -> None:
    cycle = (Event(index=0, exposure_us=1000), Event(index=1, exposure_us=3000))
    before = kept(bridge)
    request = {"exposure_us": 0, "events": cycle, "n_frames": 6}
    with streaming(java_camera(bridge.port), **request) as (camera, _):
        exposures = [frame.exposure_us for frame in camera.frames(Slots())]
    assert exposures == [1000, 3000] * 3
    assert kept(bridge) == before


def test_a_hardware_sequence_of_exposures_is_taken_back(bridge: BridgeProcess) -> None:
    cycle = (Event(index=0, exposure_us=1000), Event(index=1, exposure_us=9000))
    properties = {"Camera": FAST | {"UseExposureSequences": "Yes"}}
    request = {"exposure_us": 0, "events": cycle, "n_frames": 4}
    with streaming(java_camera(bridge.port, properties=properties), **request) as (camera, _):
        assert len(list(camera.frames(Slots()))) == 4
        assert camera.counters()["hardware_sequenced"] == 1
    calls = bridge.state()["calls"]
    assert calls["stopExposureSequence"] == calls["startExposureSequence"] == 1


@pytest.mark.parametrize("by", ["live button", "sequence"])
def test_a_live_view_that_runs_is_not_touched(bridge: BridgeProcess, by: str) -> None:
    if by == "live button":
        bridge.order("live", on=True)
    else:
        bridge.user("startContinuousSequenceAcquisition", 0.0)
    before = kept(bridge)
    with pytest.raises(CameraError, match="runs a live view or a sequence") as failed:
        java_camera(bridge.port, **SETTINGS).open()
    assert 'mode = "tap"' in failed.value.hint
    assert kept(bridge) == before
    assert bridge.state()["running"]


def test_a_region_drawn_in_the_window_is_followed(doomed: BridgeProcess) -> None:
    """Also a larger one than was asked for: slots are made for the whole sensor."""
    with streaming(java_camera(doomed.port), exposure_us=5000, roi=(0, 0, 96, 64)) as (
        camera,
        made,
    ):
        assert (made.shape, made.max_shape) == ((64, 96), (512, 512))
        frames = camera.frames(Slots())
        last = next(frames)
        doomed.user("setROI", 64, 32, 256, 128)
        while (frame := next(frames)).shape == (64, 96):
            last = frame
        assert (frame.shape, frame.roi_x, frame.roi_y) == ((128, 256), 64, 32)
        assert frame.camera_seq > last.camera_seq


def test_an_overflow_delivers_what_the_buffer_held(bridge: BridgeProcess) -> None:
    with streaming(java_camera(bridge.port, buffer_mb=8), exposure_us=2000) as (camera, _):
        frames = camera.frames(Slots())
        numbers = [next(frames).camera_seq]
        deadline_s = time.monotonic() + 10
        while bridge.state()["running"]:
            assert time.monotonic() < deadline_s
        with pytest.raises(CameraError, match="buffer of 16 frames was full"):
            numbers.extend(frame.camera_seq for frame in frames)
    assert numbers == list(range(len(numbers)))
    assert len(numbers) >= 16


@pytest.mark.parametrize("action", ["die", "hang"])
def test_a_micro_manager_that_goes_away_in_a_run_is_an_error_within_its_time(
    doomed: BridgeProcess, action: str
) -> None:
    camera = java_camera(doomed.port, call_timeout_s=1.0)
    camera.open()
    camera.prepare(StreamRequest(exposure_us=4000, rate_hz=200.0, binning=0))
    camera.start()
    frames = camera.frames(Slots())
    taken = [next(frames) for _ in range(3)]
    doomed.fault(action, "popNextImage", skip=2)
    began_s = time.monotonic()
    with pytest.raises(CameraError, match=r"Micro-Manager") as failed:
        taken.extend(frames)
    assert time.monotonic() - began_s < 4
    assert failed.value.hint
    assert len(taken) >= 5
    # Nothing can be put back; that is said too, and at once.
    with pytest.raises(CameraError):
        camera.close()
    assert time.monotonic() - began_s < 6
    camera.close()


def test_a_stop_during_a_long_exposure_over_the_bridge(bridge: BridgeProcess) -> None:
    from threading import Timer

    before = kept(bridge)
    with streaming(java_camera(bridge.port), exposure_us=3_000_000, rate_hz=0.3) as (camera, _):
        began_s = time.monotonic()
        timer = Timer(0.3, camera.stop)
        timer.start()
        assert list(camera.frames(Slots())) == []
        assert time.monotonic() - began_s < 2
        timer.join()
    # Longer than the time-out of a call: the camera's own exposure is waited for.
    assert kept(bridge) == before


def run_config(port: int, **camera: Any) -> Config:
    data = small_config().model_dump(mode="json")
    facts = {
        "kind": "micromanager",
        "name": "scope",
        "backend": "java",
        "port": port,
        "exposure_us": 8000,
        "call_timeout_s": 2.0,
        "roi": [0, 0, 64, 48],
        "properties": {"Camera": FAST | {"Gain": 3}},
        "constants": {"gain_e_per_adu": 1.0, "offset_adu": 100.0, "read_noise_e": 2.5},
    }
    data["camera"] = [facts | camera]
    return Config.model_validate_json(json.dumps(data))


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_a_killed_camera_process_is_replaced_and_its_successor_puts_everything_back(
    bridge: BridgeProcess, start: Start
) -> None:
    before = kept(bridge)
    run = start(run_config(bridge.port))
    run.until(lambda s: s.streams[0].captured > 20)
    os.kill(run.daemon.stage_pids()["acquire.scope"], signal.SIGKILL)
    run.until(lambda s: s.streams[0].stages[0].restarts == 1 and s.streams[0].captured > 80)
    run.daemon.request_stop()
    summary = run.result()
    assert (summary.exit_code, summary.conserved) == (0, True)
    assert summary.recorded == summary.captured
    assert kept(bridge) == before


def test_a_micro_manager_that_dies_ends_the_run_with_all_it_gave_recorded(
    doomed: BridgeProcess, start: Start
) -> None:
    run = start(run_config(doomed.port))
    run.until(lambda s: s.streams[0].captured > 20)
    doomed.kill()
    summary = run.result()
    assert summary.exit_code == EXIT_CAMERA
    assert summary.recorded == summary.captured > 20
    assert summary.conserved
    assert any("it went away while" in error for error in summary.errors)
    # It said what was wrong: another process would find nobody either.
    assert summary.restarts == {}


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_a_killed_daemon_leaves_micro_manager_as_it_was(
    bridge: BridgeProcess, tmp_path: Path
) -> None:
    before = kept(bridge)
    config = tmp_path / "java.toml"
    config.write_text(
        f"""
[[camera]]
kind = "micromanager"
name = "scope"
backend = "java"
port = {bridge.port}
exposure_us = 8000
roi = [0, 0, 64, 48]
properties = {{ Camera = {{ FastImage = true, Gain = 3 }} }}
constants = {{ gain_e_per_adu = 1.0 }}
[denoise]
engine = "identity"
"""
    )
    command = [sys.executable, "-m", "livedenoise", "run", str(config), "--out", str(tmp_path)]
    daemon = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: bridge.state()["calls"].get("popNextImage", 0) > 20, 40)
    finally:
        daemon.kill()
        daemon.wait(10)
    wait_until(lambda: kept(bridge) == before, 20)
    assert not bridge.state()["running"]
    # What the daemon leaves behind is removed by the next start.
    remove_stale()
    remove_stale_endpoints()
