"""What is changed in a core is put back, in whatever order and after whatever error."""

from __future__ import annotations

from pathlib import Path

import pytest
from demo_kit import core_of, demo_camera, demo_core
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from livedenoise.core.camera import StreamRequest
from livedenoise.core.errors import CameraError
from livedenoise.micromanager.changes import Changes, left_changed
from livedenoise.micromanager.core import Core
from livedenoise.micromanager.moving import BACK, xy_of
from livedenoise.micromanager.python_core import PythonCore

STEPS = {
    "gain": lambda changes: changes.set_property("Camera", "Gain", "3"),
    "gain again": lambda changes: changes.set_property("Camera", "Gain", "-2"),
    "binning": lambda changes: changes.set_property("Camera", "Binning", "2"),
    "depth": lambda changes: changes.set_property("Camera", "PixelType", "8bit"),
    "preset": lambda changes: changes.set_preset("Channel", "Rhodamine"),
    "objective": lambda changes: changes.set_preset("Objective", "20X"),
    "exposure": lambda changes: changes.set_exposure_ms(33.0),
    "region": lambda changes: changes.set_roi((8, 16, 64, 32)),
    "full": lambda changes: changes.clear_roi(),
    "buffer": lambda changes: changes.set_buffer_mb(16),
    "stage": lambda changes: changes.move_xy("XY", (12.0, -3.0), BACK),
    "focus": lambda changes: changes.move_z("Z", 4.0, BACK),
    "offset": lambda changes: changes.set_autofocus_offset("Autofocus", 1.5),
    "lock": lambda changes: changes.set_continuous_focus("Autofocus", is_on=True),
    "no lock": lambda changes: changes.set_continuous_focus("Autofocus", is_on=False),
    "shutter is ours": lambda changes: changes.set_auto_shutter(is_on=False),
}


_RANDOM = ("White Light Shutter", "State")
"""DemoCamera's shutter does not initialise its state: a fresh one is open one time in ten."""


def state(core: Core) -> dict[str, object]:
    """Return every writable setting of every device, and of the core."""
    found: dict[str, object] = {
        f"{device}.{name}": core.property(device, name)
        for device in core.texts("getLoadedDevices")
        for name in core.texts("getDevicePropertyNames", device)
        if not core.flag("isPropertyReadOnly", device, name) and (device, name) != _RANDOM
    }
    found["exposure"] = core.exposure_ms()
    found["roi"] = core.roi()
    found["buffer"] = core.number("getCircularBufferMemoryFootprint")
    found["xy"] = xy_of(core, "XY")
    found["offset"] = core.number("getAutoFocusOffset")
    found["lock"] = core.flag("isContinuousFocusEnabled")
    return found


@pytest.fixture(scope="module")
def core() -> object:
    with demo_core() as one:
        yield one


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(steps=st.lists(st.sampled_from(sorted(STEPS)), max_size=12))
def test_everything_is_put_back(core: PythonCore, steps: list[str]) -> None:
    before = state(core)
    changes = Changes(core)
    for step in steps:
        STEPS[step](changes)
    changes.restore()
    assert state(core) == before


def test_a_successor_puts_back_what_a_killed_process_had_found(
    core: PythonCore, tmp_path: Path
) -> None:
    before, journal = state(core), tmp_path / "changed-scope.json"
    killed = Changes(core, journal)
    for step in ("gain", "binning", "exposure", "preset"):
        STEPS[step](killed)
    # No restore: it was killed. Its successor changes more, and other things again.
    successor = Changes(core, journal)
    assert successor.inherited
    for step in ("gain again", "region", "exposure"):
        STEPS[step](successor)
    successor.restore()
    assert state(core) == before
    assert not journal.exists()


def test_one_setting_that_cannot_be_put_back_does_not_stop_the_others(core: PythonCore) -> None:
    before = state(core)
    changes = Changes(core)
    for step in ("exposure", "gain"):
        STEPS[step](changes)
    changes._note("property", ("Laser", "Power"), "5")
    changes.set_property("Camera", "Offset", "7")
    with pytest.raises(CameraError, match=r"property.Laser.Power was 5: .*Laser"):
        changes.restore()
    assert state(core) == before


def test_what_a_killed_run_left_is_told_by_recover(core: PythonCore, tmp_path: Path) -> None:
    before = state(core)
    changes = Changes(core, tmp_path / "changed-scope.json")
    STEPS["exposure"](changes)
    STEPS["gain"](changes)
    (told,) = left_changed(tmp_path)
    assert "changed-scope.json" in told
    assert f"exposure was {before['exposure']}; property.Camera.Gain was 0" in told
    changes.restore()
    assert left_changed(tmp_path) == []


def test_a_damaged_journal_is_named(core: PythonCore, tmp_path: Path) -> None:
    journal = tmp_path / "changed-scope.json"
    journal.write_bytes(b"[{")
    with pytest.raises(CameraError, match=r"changed-scope.json: what a killed camera process"):
        Changes(core, journal)


def test_a_closed_camera_has_put_back_the_core(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also after an error in the middle: here the region is refused after presets were set."""
    seen: list[dict[str, object]] = []
    camera = demo_camera(presets={"Channel": "Cy5", "Objective": "40X"})
    restore = Changes.restore

    def look_then_restore(self: Changes) -> None:
        restore(self)
        seen.append(state(self._core))

    monkeypatch.setattr(Changes, "restore", look_then_restore)
    camera.open()
    core = core_of(camera)
    assert core.text("getCurrentConfig", "Channel") == "Cy5"
    with pytest.raises(CameraError):
        camera.prepare(StreamRequest(exposure_us=3000, binning=2, roi=(0, 0, 9999, 9)))
    camera.close()
    with demo_core(PixelType="16bit", FastImage="0") as fresh:
        expected = state(fresh)
    assert seen[0] == expected


def recorded(core: PythonCore, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the list that the names of all calls from now on are added to."""
    calls: list[str] = []
    original = core.call

    def call(name: str, *args: object) -> object:
        calls.append(name)
        return original(name, *args)

    monkeypatch.setattr(core, "call", call)
    return calls


def test_light_goes_off_first_and_a_lock_is_let_go_before_anything_moves(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with demo_core() as core:
        changes = Changes(core)
        changes.set_continuous_focus("Autofocus", is_on=True)
        changes.move_z("Z", 2.0, BACK)
        changes.set_shutter("White Light Shutter", is_open=True)
        changes.move_xy("XY", (5.0, 5.0), BACK)
        calls = recorded(core, monkeypatch)
        changes.restore()
        done = [name for name in calls if name.startswith(("set", "enable"))]
        assert done == ["setShutterOpen", "enableContinuousFocus", "setXYPosition", "setPosition"]
        assert not core.flag("getShutterOpen", "White Light Shutter")


def test_a_lock_that_was_on_takes_hold_when_everything_is_in_place(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with demo_core() as core:
        core.call("enableContinuousFocus", True)
        changes = Changes(core)
        changes.move_z("Z", 2.0, BACK)
        changes.set_continuous_focus("Autofocus", is_on=False)
        calls = recorded(core, monkeypatch)
        changes.restore()
        assert core.flag("isContinuousFocusEnabled")
        assert calls.index("setPosition") < calls.index("enableContinuousFocus")
