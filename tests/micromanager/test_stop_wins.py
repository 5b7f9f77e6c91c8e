"""A stop wins whenever it comes; nothing of ours runs on; what is a user's is left alone."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from bridge.client import BridgeProcess
from demo_kit import FAST, Slots, core_of, demo_camera, java_camera, streaming, take
from test_sequence_stream import ScriptedCore
from waiting import wait_until

from livedenoise.acquire.micromanager_control import SequenceControl
from livedenoise.core.camera import Event, StreamRequest
from livedenoise.core.errors import CameraError
from livedenoise.core.frame import FrameFlags
from livedenoise.micromanager.core import Core

TWO = Path(__file__).resolve().parents[2] / "hardware_configs" / "micromanager_two_cameras.cfg"
EVENTS = (Event(index=0, exposure_us=1000), Event(index=1, exposure_us=3000))


def stop_before(monkeypatch: pytest.MonkeyPatch, camera: Any, nth: int) -> list[int]:
    """Let ``camera.stop()`` come just before the ``nth`` start of a sequence."""
    started: list[int] = []
    begin = SequenceControl.begin

    def begin_late(self: SequenceControl, n_frames: int) -> bool:
        started.append(n_frames)
        if len(started) == nth:
            camera.stop()
        return begin(self, n_frames)

    monkeypatch.setattr(SequenceControl, "begin", begin_late)
    return started


@pytest.fixture
def bridge(calm_bridge: BridgeProcess) -> BridgeProcess:
    """Return the module's bridge as new: none of these tests kills it."""
    return calm_bridge


@pytest.fixture(autouse=True)
def closed_shutter(bridge: BridgeProcess) -> None:
    """Begin with it closed: DemoCamera's is open at random."""
    bridge.user("setShutterOpen", False)


def idle(bridge: BridgeProcess) -> bool:
    return not bridge.state()["running"] and not bridge.user("getShutterOpen")


def test_a_stop_in_the_middle_of_a_start(
    bridge: BridgeProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    camera = java_camera(bridge.port)
    stop_before(monkeypatch, camera, 1)
    # The stream exists when its start begins: that is when the pump's stop may come.
    with streaming(camera, exposure_us=4000) as (camera, _):
        list(camera.frames(Slots()))
    assert idle(bridge)


def test_a_stop_as_a_sequence_is_started_again_after_a_new_region(
    bridge: BridgeProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    camera = java_camera(bridge.port)
    with streaming(camera, exposure_us=4000) as (camera, _):
        started = stop_before(monkeypatch, camera, 1)
        frames = camera.frames(Slots())
        next(frames)
        bridge.user("setROI", 0, 0, 64, 64)
        list(frames)
        assert started
    assert idle(bridge)


def test_a_stop_between_two_batches_of_a_hardware_sequence(
    bridge: BridgeProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    properties = {"Camera": FAST | {"UseExposureSequences": "Yes"}}
    camera = java_camera(bridge.port, properties=properties)
    started = stop_before(monkeypatch, camera, 2)
    with streaming(camera, exposure_us=0, events=EVENTS) as (camera, _):
        found = len(list(camera.frames(Slots())))
    assert len(started) == 2
    assert found == started[0]
    assert idle(bridge)


def test_live_pressed_after_we_prepared_is_not_ours_to_stop(bridge: BridgeProcess) -> None:
    camera = java_camera(bridge.port)
    camera.open()
    camera.prepare(StreamRequest(exposure_us=4000, rate_hz=200.0, binning=0))
    bridge.order("live", on=True)
    with pytest.raises(CameraError, match="runs a live view or a sequence") as failed:
        camera.start()
    assert 'mode = "tap"' in failed.value.hint
    camera.close()
    assert bridge.state()["running"]


def test_another_camera_chosen_in_the_window_is_not_taken(bridge: BridgeProcess) -> None:
    bridge.user("loadDevice", "Second", "DemoCamera", "DCam")
    bridge.user("initializeDevice", "Second")
    camera = java_camera(bridge.port)
    camera.open()
    camera.prepare(StreamRequest(exposure_us=4000, rate_hz=200.0, binning=0))
    bridge.user("setCameraDevice", "Second")
    with pytest.raises(CameraError, match="the core's camera is Second, Camera is meant"):
        camera.start()
    camera.close()


def test_a_preset_that_chooses_another_camera_is_refused(bridge: BridgeProcess) -> None:
    bridge.user("loadDevice", "Second", "DemoCamera", "DCam")
    bridge.user("initializeDevice", "Second")
    bridge.user("defineConfig", "Camera", "Second", "Core", "Camera", "Second")
    named = java_camera(bridge.port, device="Camera", presets={"Camera": "Second"}, properties={})
    with pytest.raises(CameraError, match="the core's camera is Second, Camera is meant"):
        named.open()
    assert bridge.state()["camera"] == "Camera"
    free = java_camera(bridge.port, presets={"Camera": "Second"}, properties={})
    assert any("Second (DemoCamera)" in note for note in free.open().notes)
    free.close()
    assert bridge.state()["camera"] == "Camera"


@pytest.mark.parametrize("backend", ["python", "java"])
def test_a_stop_while_the_camera_is_asked_during_a_long_exposure(
    backend: str, bridge: BridgeProcess
) -> None:
    """The question waits for the exposure; the stop does not wait for the question."""
    camera = demo_camera() if backend == "python" else java_camera(bridge.port)
    stopped_s: list[float] = []

    def on_idle() -> None:
        if not stopped_s and time.monotonic() - began_s > 0.3:
            stopped_s.append(time.monotonic())
            camera.stop()

    camera.on_idle = on_idle
    with streaming(camera, exposure_us=3_000_000, rate_hz=0.3) as (camera, _):
        began_s = time.monotonic()
        assert list(camera.frames(Slots())) == []
        assert time.monotonic() - stopped_s[0] < 2.0


def test_frames_that_wait_in_the_buffer_at_a_stop_are_delivered(bridge: BridgeProcess) -> None:
    """Nothing that lit the sample is thrown away."""
    with streaming(java_camera(bridge.port), exposure_us=2000) as (camera, _):
        frames = camera.frames(Slots())
        numbers = [next(frames).camera_seq]
        wait_until(lambda: bridge.user("getRemainingImageCount") >= 30)
        camera.stop()
        numbers.extend(frame.camera_seq for frame in frames)
        assert camera.counters()["left_in_buffer"] == 0
    assert len(numbers) >= 30
    assert numbers == list(range(len(numbers)))


def test_frames_of_a_hardware_sequence_that_wait_at_a_stop_are_delivered(
    bridge: BridgeProcess,
) -> None:
    properties = {"Camera": FAST | {"UseExposureSequences": "Yes"}}
    camera = java_camera(bridge.port, properties=properties)
    with streaming(camera, exposure_us=0, events=EVENTS) as (camera, _):
        frames = camera.frames(Slots())
        events = [next(frames).event]
        wait_until(lambda: bridge.user("getRemainingImageCount") >= 20)
        camera.stop()
        events.extend(frame.event for frame in frames)
    assert len(events) >= 20
    assert events == list(range(len(events)))


def test_frames_that_a_new_region_swept_away_leave_a_gap() -> None:
    with streaming(demo_camera(), rate_hz=None) as (camera, _):
        core, waits = core_of(camera), [True]

        def get_slot(shape: tuple[int, int], dtype: str, timeout_s: float) -> Any:
            if waits and core.remaining() > 40:
                # While the ring is full, somebody draws a region.
                waits.clear()
                core.call("setROI", 0, 0, 64, 64)
            if waits:
                time.sleep(timeout_s)
                return None
            return Slots()(shape, dtype, timeout_s)

        frames = camera.frames(get_slot)
        found = [next(frames) for _ in range(30)]
        counts = camera.counters()
    steps = [b.camera_seq - a.camera_seq for a, b in pairwise(found)]
    # At least what was known to wait; the frames before and after it are all there.
    assert max(steps) - 1 == counts["gone_from_buffer"] >= 40
    assert sorted(steps)[:-1] == [1] * (len(steps) - 1)
    after = found[steps.index(max(steps)) + 1]
    assert after.flags & FrameFlags.AFTER_GAP
    assert counts["changed_under_us"] == 1


def test_a_camera_that_was_part_of_a_multi_camera_device_delivers_alone() -> None:
    """The device leaves its channel tag on the cameras it used."""
    camera = demo_camera(config_file=TWO, device="Right", properties={})
    with streaming(camera, exposure_us=4000, n_frames=5) as (camera, _):
        camera.stop()
        core = core_of(camera)
        list(camera.frames(Slots()))
        core.call("setCameraDevice", "Both")
        core.call("startSequenceAcquisition", 2, 0.0, True)
        wait_until(lambda: not core.running())
        assert {core.pop(tags=True).tags.channel for _ in range(4)} == {0, 1}
        core.call("setCameraDevice", "Right")
        camera.start()
        assert [frame.camera_seq for frame in camera.frames(Slots())] == list(range(5))
        assert not camera.counters().get("channel_not_taken")


def test_a_camera_that_was_part_of_a_multi_camera_device_delivers_alone_over_the_bridge(
    bridge_of_two: BridgeProcess,
) -> None:
    camera = java_camera(bridge_of_two.port, device="Right", properties={})
    with streaming(camera, exposure_us=4000, n_frames=5) as (camera, _):
        assert [frame.camera_seq for frame in camera.frames(Slots())] == list(range(5))
        assert not camera.counters().get("channel_not_taken")
    assert bridge_of_two.state()["camera"] == "Both"


@pytest.fixture
def bridge_of_two(start_bridge: Callable[..., BridgeProcess]) -> BridgeProcess:
    bridge = start_bridge(configuration=str(TWO))
    # Used once as a whole, so that its tag is there.
    bridge.user("startSequenceAcquisition", 2, 0.0, True)
    deadline_s = time.monotonic() + 5
    while bridge.state()["running"]:
        assert time.monotonic() < deadline_s
    return bridge


def test_the_shutter_is_automatic_again_after_a_kill_in_the_rate_probe(
    bridge: BridgeProcess, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = tmp_path / "changed-scope.json"
    killed = java_camera(bridge.port)
    killed.keep_journal(journal)
    killed.open()
    with monkeypatch.context() as patch:
        patch.setattr("livedenoise.micromanager.rate._short_sequence", _killed)
        patch.setattr("livedenoise.micromanager.changes.Changes.free_shutter", lambda _: None)
        with pytest.raises(KeyboardInterrupt):
            killed.prepare(StreamRequest(exposure_us=4000, binning=0))
    assert bridge.user("getAutoShutter") is False
    killed._core.close()
    successor = java_camera(bridge.port)
    successor.keep_journal(journal)
    successor.open()
    successor.close()
    assert bridge.user("getAutoShutter") is True
    assert not journal.exists()


def _killed(core: Core, exposure_us: int) -> list[Any]:
    del core, exposure_us
    raise KeyboardInterrupt


def test_without_an_automatic_shutter_nothing_is_exposed_to_find_the_rate(
    bridge: BridgeProcess,
) -> None:
    bridge.user("setAutoShutter", False)
    camera = java_camera(bridge.port)
    camera.open()
    prepared = camera.prepare(StreamRequest(exposure_us=4000, binning=0))
    assert prepared.period_ns == 0
    assert any("rate_hz says what to expect" in note for note in prepared.notes)
    assert bridge.state()["calls"].get("startSequenceAcquisition", 0) == 0
    camera.start()
    assert len(take(camera, 3)) == 3
    camera.close()


def test_a_region_that_a_property_reset_is_put_back(bridge: BridgeProcess) -> None:
    bridge.user("setROI", 16, 32, 128, 64)
    size = {"Camera": FAST | {"OnCameraCCDXSize": 256}}
    with streaming(java_camera(bridge.port, properties=size), exposure_us=4000):
        pass
    assert bridge.state()["roi"] == [16, 32, 128, 64]


def test_a_rate_that_is_not_the_configured_one_is_told(bridge: BridgeProcess) -> None:
    with streaming(java_camera(bridge.port), exposure_us=2000, rate_hz=10.0) as (camera, _):
        frames = camera.frames(Slots())
        for _ in range(60):
            next(frames)
        camera.stop()
        list(frames)
        assert camera.counters()["rate_differs"] == 1


def test_events_that_the_camera_cannot_make_are_refused_before_the_start(
    bridge: BridgeProcess,
) -> None:
    cycle = (Event(index=0, exposure_us=1000), Event(index=1, exposure_us=60_000_000))
    camera = java_camera(bridge.port)
    camera.open()
    with pytest.raises(CameraError, match="60000000 was asked for"):
        camera.prepare(StreamRequest(exposure_us=0, binning=0, events=cycle))
    camera.close()


def test_a_small_buffer_bounds_the_batches_of_a_hardware_sequence(bridge: BridgeProcess) -> None:
    properties = {"Camera": FAST | {"UseExposureSequences": "Yes"}}
    camera = java_camera(bridge.port, properties=properties, buffer_mb=8)
    with streaming(camera, exposure_us=0, events=EVENTS, n_frames=40) as (camera, prepared):
        frames = []
        for frame in camera.frames(Slots()):
            # A reader slower than the camera.
            time.sleep(0.005)
            frames.append(frame)
    assert prepared.buffer_frames == 16
    assert [frame.event for frame in frames] == list(range(40))


def test_one_slow_answer_does_not_keep_settings_from_being_put_back(
    bridge: BridgeProcess,
) -> None:
    before = bridge.state()["properties"]["Camera-Gain"]
    camera = java_camera(bridge.port, properties={"Camera": FAST | {"Gain": 3}}, call_timeout_s=0.5)
    camera.open()
    bridge.fault("delay", "getRemainingImageCount", delay_ms=800.0)
    camera.prepare(StreamRequest(exposure_us=4000, rate_hz=200.0, binning=0))
    camera.start()
    with pytest.raises(CameraError, match="did not answer getRemainingImageCount"):
        list(camera.frames(Slots()))
    camera.close()
    assert bridge.state()["properties"]["Camera-Gain"] == before
    assert not bridge.state()["running"]


class BusyCore(ScriptedCore):
    """A core that answers nothing about its camera while that exposes."""

    def __init__(self) -> None:
        super().__init__([])
        self.calls: list[str] = []
        self.free_again = threading.Event()

    def call(self, name: str, *args: object) -> object:
        self.calls.append(name)
        if name == "isSequenceRunning":
            self.free_again.wait(10)
        return super().call(name, *args)


def test_what_we_did_not_start_is_not_stopped() -> None:
    core = BusyCore()
    SequenceControl(core, "scope", 1000).finish()
    assert "stopSequenceAcquisition" not in core.calls


def test_a_question_about_a_busy_camera_is_not_waited_for() -> None:
    core = BusyCore()
    control = SequenceControl(core, "scope", 10_000_000)
    began_s = time.monotonic()
    assert control.running()
    assert control.running()
    assert time.monotonic() - began_s < 2
    assert core.calls.count("isSequenceRunning") == 1
    core.free_again.set()
    wait_until(lambda: not control.running())
