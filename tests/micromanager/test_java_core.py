"""Micro-Manager's core over the bridge: what each call returns, and how often it asks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from bridge.client import BridgeProcess
from java_bridge_kit import bridge, core, shared_bridge

from livedenoise.core.errors import CameraError
from livedenoise.micromanager.core import IncompleteFrameError, NoFrameError
from livedenoise.micromanager.java_core import JavaCore
from livedenoise.micromanager.java_messages import JavaRefusedError
from livedenoise.micromanager.java_object import JavaObject
from livedenoise.micromanager.python_core import PythonCore

__all__ = ["bridge", "core", "shared_bridge"]


@pytest.fixture
def running(core: JavaCore, bridge: BridgeProcess, eventually: Any) -> JavaCore:
    """Return a core whose live view has exposed some frames."""
    core.call("setExposure", 5.0)
    core.call("startContinuousSequenceAcquisition", 0.0)
    eventually(lambda: bridge.state()["remaining"] >= 8)
    return core


def questions(core: JavaCore, call: Callable[[], object]) -> int:
    """Return how often a call asks, the freeing of what it used included."""
    core.exposure_ms()
    before = core.questions
    call()
    core.exposure_ms()
    return core.questions - before - 1


def test_the_costs_in_the_docstrings_are_true(running: JavaCore) -> None:
    devices = len(running.texts("getLoadedDevices"))
    settings = len(running.preset_settings("Channel", "DAPI"))
    costs: dict[str, tuple[Callable[[], object], int]] = {
        "exposure_ms": (running.exposure_ms, 1),
        "remaining": (running.remaining, 1),
        "running": (running.running, 1),
        "versions": (running.versions, 2),
        "image_shape": (running.image_shape, 2),
        "pop": (lambda: running.pop(tags=False), 1),
        "pop with tags": (lambda: running.pop(tags=True), 4),
        "peek": (lambda: running.peek(0), 4),
        "no frame": (lambda: running.peek(5000), 1),
        "roi": (running.roi, 6),
        "texts": (lambda: running.texts("getLoadedDevices"), 3 + devices),
        "preset": (lambda: running.preset_settings("Channel", "DAPI"), 3 + 5 * settings),
        "constant": (lambda: running.call("getDeviceType", "Camera"), 3),
        "live_on": (running.live_on, 6),
        "round trip": (lambda: running.measure_round_trip_ms(7), 7),
    }
    found = {name: questions(running, call) for name, (call, _) in costs.items()}
    assert found == {name: cost for name, (_, cost) in costs.items()}


def test_snap_costs_two_questions_and_the_exposure_is_known(core: JavaCore) -> None:
    core.snap()
    assert questions(core, core.snap) == 2


def test_an_exposure_sequence_costs_what_it_says(core: JavaCore) -> None:
    core.set_property("Camera", "UseExposureSequences", "Yes")
    assert questions(core, lambda: core.load_exposure_sequence([2.0, 4, 8.0])) == 5 + 3
    assert core.flag("isExposureSequenceable", "Camera")


def test_nothing_stays_behind_in_java(bridge: BridgeProcess, running: JavaCore) -> None:
    before = bridge.state()["objects"]
    for _ in range(5):
        running.peek(0)
        running.pop(tags=True)
        running.roi()
        running.texts("getLoadedDevices")
        running.preset_settings("Channel", "DAPI")
        running.live_on()
        running.call("getDeviceType", "Camera")
        running.call("getSystemState")
    running.exposure_ms()
    assert bridge.state()["objects"] == before


def test_micro_managers_own_listener_is_left_alone(
    bridge: BridgeProcess, running: JavaCore
) -> None:
    running.peek(0)
    assert not {"registerCallback", "registerCoreCallback"} & set(bridge.state()["calls"])


def test_frames_are_flat_over_the_bridge_and_two_dimensional_here(
    bridge: BridgeProcess, running: JavaCore
) -> None:
    running.call("stopSequenceAcquisition")
    newest = running.peek(0)
    assert newest is not None
    assert (newest.pixels.shape, newest.pixels.dtype.str) == ((512, 512), "<u2")
    assert newest.tags.shape == (512, 512)
    assert newest.tags.image_number == bridge.state()["remaining"] - 1
    popped = [running.pop(tags=False) for _ in range(running.remaining())]
    assert np.array_equal(popped[-1].pixels, newest.pixels)
    assert popped[-1].tags.shape == (512, 512)
    assert popped[-1].tags.dtype == "<u2"


def test_peek_goes_back_by_image_number(running: JavaCore) -> None:
    running.call("stopSequenceAcquisition")
    looks = [running.peek(before) for before in range(4)]
    numbers = [look.tags.image_number for look in looks if look is not None]
    assert numbers == list(range(numbers[0], numbers[0] - 4, -1))


def test_an_empty_buffer_has_no_frame(core: JavaCore) -> None:
    assert core.peek(0) is None
    for tags in (False, True):
        with pytest.raises(NoFrameError):
            core.pop(tags=tags)


def test_any_other_refusal_is_not_an_empty_buffer(bridge: BridgeProcess, running: JavaCore) -> None:
    for call in ("popNextImage", "getNBeforeLastTaggedImage"):
        bridge.fault("throw", call, message="camera unplugged")
    with pytest.raises(JavaRefusedError, match="camera unplugged"):
        running.pop(tags=False)
    with pytest.raises(JavaRefusedError, match="camera unplugged"):
        running.peek(0)


def test_a_region_of_another_size_is_noticed_by_the_frame(
    bridge: BridgeProcess, running: JavaCore, eventually: Any
) -> None:
    assert running.pop(tags=False).pixels.shape == (512, 512)
    bridge.user("stopSequenceAcquisition")
    bridge.user("setROI", 10, 20, 128, 64)
    bridge.user("startContinuousSequenceAcquisition", 0)
    eventually(lambda: bridge.state()["remaining"] >= 2)
    popped = running.pop(tags=False)
    assert popped.pixels.shape == popped.tags.shape == (64, 128)
    assert questions(running, lambda: running.pop(tags=False)) == 1


def test_our_own_change_of_region_is_not_forgotten(
    bridge: BridgeProcess, core: JavaCore, eventually: Any
) -> None:
    """The same number of pixels in another shape: the flat array does not tell."""
    core.call("setROI", 0, 0, 128, 64)
    core.image_shape()
    core.call("setROI", 0, 0, 64, 128)
    core.call("startContinuousSequenceAcquisition", 0.0)
    eventually(lambda: bridge.state()["remaining"] >= 1)
    assert core.pop(tags=False).pixels.shape == (128, 64)


def test_pixels_that_do_not_fit_their_tags_are_no_frame(
    running: JavaCore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Java writes the region as it is now beside pixels taken before it was changed."""
    field = JavaObject.field

    def late(self: JavaObject, name: str) -> object:
        value = field(self, name)
        return value[: 256 * 512] if isinstance(value, np.ndarray) else value

    monkeypatch.setattr(JavaObject, "field", late)
    assert running.peek(0) is None
    with pytest.raises(IncompleteFrameError):
        running.pop(tags=True)
    assert running.unshaped == 2


def test_eight_bits(bridge: BridgeProcess, core: JavaCore) -> None:
    core.set_property("Camera", "PixelType", "8bit")
    frame = core.snap()
    assert (frame.pixels.dtype.str, frame.tags.dtype) == ("|u1", "|u1")
    core.call("startSequenceAcquisition", 2, 0.0, True)
    core.long_call("stopSequenceAcquisition", limit_s=5.0)


def test_colour_is_refused_with_the_mend(bridge: BridgeProcess, core: JavaCore) -> None:
    core.set_property("Camera", "PixelType", "32bitRGB")
    with pytest.raises(CameraError, match="supported are 1 or 2 bytes") as caught:
        core.snap()
    assert "PixelType" in caught.value.hint


def test_both_backends_say_the_same(core: JavaCore) -> None:
    import mm_test_adapters
    import pymmcore

    raw = pymmcore.CMMCore()
    folder = mm_test_adapters.device_adapter_path()
    raw.setDeviceAdapterSearchPaths([folder])
    raw.loadSystemConfiguration(f"{folder}/MMConfig_demo.cfg")
    python = PythonCore.around(raw)
    for ask in _SAME:
        assert ask(core) == ask(python)
    ours, theirs = core.versions(), python.versions()
    assert (ours.mmcore, ours.device_interface) == (theirs.mmcore, theirs.device_interface)
    assert ours.bridge == "5.1.0"


_SAME: tuple[Callable[[Any], object], ...] = (
    lambda core: core.camera(),
    lambda core: core.image_shape(),
    lambda core: (core.dtype(), core.bit_depth(), core.channels()),
    lambda core: core.roi(),
    lambda core: core.texts("getAllowedPropertyValues", "Camera", "Binning"),
    lambda core: core.texts("getLoadedDevices"),
    lambda core: core.preset_settings("Channel", "FITC"),
    lambda core: core.number("getPropertyUpperLimit", "Camera", "Gain"),
    lambda core: core.flag("hasProperty", "Camera", "Binning"),
    lambda core: core.property("Camera", "PixelType"),
    lambda core: (core.running(), core.remaining(), core.overflowed()),
    lambda core: core.call("getDeviceType", "Camera"),
)


def test_properties_are_set_as_text(core: JavaCore) -> None:
    """``FastImage`` takes "1" and refuses "1.000000", which a numeric overload would make of 1."""
    for _ in range(3):
        core.set_property("Camera", "FastImage", "1")
    assert core.property("Camera", "FastImage") == "1"


def test_what_a_call_cannot_take_is_said_before_it_is_asked(core: JavaCore) -> None:
    before = core.questions
    with pytest.raises(CameraError, match=r"has no mmcorej.CMMCore.setExposure\(NoneType\)"):
        core.call("setExposure", None)
    with pytest.raises(CameraError, match=r"has no mmcorej.CMMCore.brewCoffee\(\)"):
        core.call("brewCoffee")
    assert core.questions == before


def test_the_live_view_of_the_window(bridge: BridgeProcess, core: JavaCore) -> None:
    assert not core.live_on()
    bridge.order("live", on=True)
    assert core.live_on()


def test_the_round_trip_is_measured(bridge: BridgeProcess, core: JavaCore) -> None:
    quick_ms = core.measure_round_trip_ms(5)
    bridge.fault("delay", "getExposure", times=-1, delay_ms=100)
    assert quick_ms < 100 < core.measure_round_trip_ms(3)
