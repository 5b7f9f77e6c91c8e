"""Whose frames a tap takes: one camera alone, one of several, the one that a user changes to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import mm_test_adapters
import pymmcore
import pytest
from bridge.client import BridgeProcess
from java_bridge_kit import bridge, shared_bridge
from java_tap_kit import watching
from network_kit import taking
from tap_kit import NOBODY, ROOM, go_live
from view_model import ModelCore, ViewModel

import livedenoise
from livedenoise.micromanager.peeking import Peeker, Seen

__all__ = ["bridge", "shared_bridge"]

Eventually = Callable[..., Any]
TWO = Path(__file__).parents[2] / "hardware_configs" / "micromanager_two_cameras.cfg"


def indices(found: list[Seen]) -> list[int]:
    """Return which frames were found, by their pixels."""
    return [int(seen.taken.pixels[0, 0]) for seen in found]


def test_a_camera_alone_is_channel_0_whatever_its_frames_say() -> None:
    model = ViewModel(20, restarts=False)
    core = ModelCore(model)
    core.use(channels=1, mark=1)
    peeker = Peeker(core, clock=lambda: model.now_ns)
    model.start()
    found: list[Seen] = []
    for frames in (1, 2, 5):
        model.expose(frames)
        found += peeker.poll()
    assert indices(found) == list(range(8))
    assert peeker.other_channels == 0


def test_whose_frames_they_are_is_asked_again_with_a_new_sequence() -> None:
    model = ViewModel(500, restarts=False)
    core = ModelCore(model)
    core.use(channels=1, mark=1)
    peeker = Peeker(core, clock=lambda: model.now_ns)
    model.start()
    model.expose(4)
    assert len(peeker.poll()) == 1
    core.use(channels=3)
    model.start()
    found: list[Seen] = []
    for _ in range(5):
        model.expose()
        found += peeker.poll()
    assert {seen.taken.tags.channel for seen in found} == {0}
    assert indices(found) == list(range(4, 9))
    # Alone again, and nothing in the new sequence looks like ours.
    core.use(channels=1, mark=2)
    model.start(pause_ms=2000.0)
    found = []
    for _ in range(110):
        model.expose()
        found += peeker.poll()
    assert found[0].restarted
    assert indices(found)[-1] == model.exposed[-1].serial


def test_one_camera_alone_becomes_one_of_two_whose_other_one_came_last() -> None:
    model = ViewModel(50, restarts=False)
    core = ModelCore(model)
    core.use(channels=1, mark=1)
    peeker = Peeker(core, clock=lambda: model.now_ns)
    model.start()
    for _ in range(3):
        model.expose()
        assert len(peeker.poll()) == 1
    core.use(channels=2)  # the newest frame is of channel 1, as those before were
    model.start()
    model.expose(2)
    found = [seen for _ in range(3) for seen in peeker.poll()]
    assert {seen.taken.tags.channel for seen in found} == {0}
    assert found[0].restarted


def test_it_is_known_since_when_only_others_come() -> None:
    model = ViewModel(20, restarts=False)
    core = ModelCore(model, channels=2)
    core.mark = 1
    peeker = Peeker(core, clock=lambda: model.now_ns)
    model.start()
    model.expose()
    assert peeker.poll() == []
    since_ns = model.now_ns
    model.expose(3)
    assert peeker.poll() == []
    assert peeker.others_since_ns == since_ns
    core.mark = 0
    model.expose()
    assert peeker.poll()
    assert peeker.others_since_ns is None


# Real cores.


@pytest.fixture
def two() -> Iterator[Any]:
    """Return a core with two cameras behind a Multi Camera device."""
    core = pymmcore.CMMCore()
    core.setDeviceAdapterSearchPaths([mm_test_adapters.device_adapter_path()])
    core.loadSystemConfiguration(str(TWO))
    for camera in ("Left", "Right"):
        core.setProperty(camera, "FastImage", "1")
        core.setProperty(camera, "OnCameraCCDXSize", "64")
        core.setProperty(camera, "OnCameraCCDYSize", "48")
    core.setExposure(5.0)
    yield core
    core.stopSequenceAcquisition()
    core.unloadAllDevices()


def test_the_second_of_two_cameras_used_alone_is_tapped(two: Any, eventually: Eventually) -> None:
    two.setCameraDevice("Right")
    with taking(**ROOM) as taken, livedenoise.tap(two, taken.endpoint) as tap:
        go_live(two)
        eventually(lambda: len(taken.frames) >= 5)
        assert {frame.channel for frame in taken.frames} == {0}
        two.stopSequenceAcquisition()
        two.setCameraDevice("Both")
        go_live(two)
        eventually(lambda: tap.counts().restarts == 1 and tap._peeker.other_channels > 3)
        two.stopSequenceAcquisition()
        assert not tap.problem


def test_a_tap_says_when_only_other_channels_come(
    two: Any, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("livedenoise.client.tapping._OTHERS_NS", 50_000_000)
    two.setCameraDevice("Both")
    with livedenoise.tap(two, NOBODY, channel=1) as tap:
        go_live(two)
        eventually(lambda: tap.counts().seen > 2)
        two.stopSequenceAcquisition()
        two.setCameraDevice("Left")
        go_live(two)
        eventually(lambda: "no frame of channel 1 comes" in tap.problem)


def test_the_second_of_two_cameras_used_alone_is_watched(bridge: BridgeProcess) -> None:
    bridge.user("loadSystemConfiguration", str(TWO))
    bridge.user("setCameraDevice", "Right")
    bridge.user("setProperty", "Right", "FastImage", "1")
    bridge.user("setExposure", 20.0)
    bridge.order("live", on=True)
    with watching(bridge) as watched:
        frames = watched.take(5)
        assert {frame.channel for frame in frames} == {0}
        assert watched.camera.counters()["other_channels"] == 0
        bridge.order("live", on=False)
        bridge.user("setCameraDevice", "Both")
        bridge.order("live", on=True)
        watched.until(lambda _: watched.camera.counters()["other_channels"] > 2)


# Cameras whose frames say neither binning nor region.


@pytest.fixture
def silent() -> Iterator[Any]:
    """Return a core with a camera of SequenceTester."""
    core = pymmcore.CMMCore()
    core.setDeviceAdapterSearchPaths([mm_test_adapters.device_adapter_path()])
    core.loadDevice("Hub", "SequenceTester", "THub")
    core.initializeDevice("Hub")
    core.loadDevice("Camera", "SequenceTester", "TCamera-0")
    core.setParentLabel("Camera", "Hub")
    core.initializeDevice("Camera")
    core.setCameraDevice("Camera")
    yield core
    core.stopSequenceAcquisition()
    core.unloadAllDevices()


def test_what_frames_do_not_say_is_asked_of_the_core_and_not_each_time(
    silent: Any, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    rooms = {"width_px": 512, "height_px": 512, "bit_depth": 8}
    asked: list[str] = []
    with taking(**rooms) as taken, livedenoise.tap(silent, taken.endpoint) as tap:
        binning = "2x2"
        monkeypatch.setattr(tap._core, "property", lambda *_: binning)

        def roi() -> tuple[int, int, int, int]:
            asked.append("roi")
            return 8, 6, 384, 384

        monkeypatch.setattr(tap._core, "roi", roi)
        go_live(silent)
        eventually(lambda: len(taken.frames) >= 20)
        frames = taken.frames[:]
        assert len(asked) <= 2 + (tap.counts().restarts)
        silent.stopSequenceAcquisition()
    assert {(one.roi_x, one.roi_y, one.binning) for one in frames} == {(16, 12, 2)}
    assert {one.dtype for one in frames} == {"|u1"}
