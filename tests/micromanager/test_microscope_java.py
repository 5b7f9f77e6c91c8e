"""A microscope behind a running Micro-Manager: the contract, what is put back, faults."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from bridge.client import BridgeProcess
from microscope_demo import core_behind, java_config, opened
from waiting import wait_until

from livedenoise.core.errors import CameraError
from livedenoise.core.microscope import Position, Setting
from livedenoise.micromanager.changes import left_changed
from livedenoise.microscope.micromanager import MicroManagerMicroscope
from livedenoise.testing.microscope_kit import MICROSCOPE_CHECKS, MicroscopeCase

ASKED = (
    ("getXPosition", "XY"),
    ("getYPosition", "XY"),
    ("getPosition", "Z"),
    ("getAutoFocusDevice",),
    ("getAutoFocusOffset",),
    ("isContinuousFocusEnabled",),
    ("getShutterOpen",),
)
"""What the bridge's ``state`` leaves out."""
KEPT = ("camera", "exposure_ms", "roi", "running", "auto_shutter", "properties")


@pytest.fixture
def bridge(calm_bridge: BridgeProcess) -> BridgeProcess:
    """Return a bridge whose shutter is closed: DemoCamera's is open at random at first."""
    calm_bridge.user("setShutterOpen", False)
    return calm_bridge


def state_of(bridge: BridgeProcess) -> dict[str, str]:
    """Return everything that must be after ``close`` as it was before ``open``."""
    state = bridge.state()
    found = {key: str(state[key]) for key in KEPT}
    return found | {".".join(ask): str(bridge.user(*ask)) for ask in ASKED}


def scope_at(
    bridge: BridgeProcess, journal: Path | None = None, **microscope: Any
) -> MicroManagerMicroscope:
    """Return the microscope behind a bridge."""
    return MicroManagerMicroscope(java_config(bridge.port, microscope=microscope), journal=journal)


@pytest.mark.parametrize("check", MICROSCOPE_CHECKS, ids=lambda check: check.__name__)
def test_contract(check: Callable[[MicroscopeCase], None], bridge: BridgeProcess) -> None:
    case = MicroscopeCase(
        make=lambda: scope_at(bridge),
        exposure_us=1000,
        long_exposure_us=1_500_000,
        setting=Setting("Camera", "Gain", "3"),
        preset=("Channel-Multiband", "Cy5"),
        sees_light=False,
        state=lambda: state_of(bridge),
    )
    check(case)
    assert bridge.state()["objects"] == {}


def test_stage_and_focus_are_put_back_after_an_error(bridge: BridgeProcess) -> None:
    bridge.user("setXYPosition", "XY", 90.0, -30.0)
    bridge.user("setPosition", "Z", 4.0)
    bridge.user("enableContinuousFocus", True)
    bridge.user("waitForSystem")
    before = state_of(bridge)
    with opened(scope_at(bridge)) as (scope, _):
        scope.set_shutter(is_open=True)
        scope.move(Position(x_um=20.0, y_um=10.0, z_um=-2.0))
        scope.autofocus("Autofocus", 2.0)
        assert bridge.user("getShutterOpen")
        bridge.fault("throw", "snapImage")
        with pytest.raises(CameraError, match="thrown on order"):
            list(scope.expose(1000))
        assert state_of(bridge) != before
    assert state_of(bridge) == before


def test_a_killed_collection_is_put_back_by_its_successor(
    bridge: BridgeProcess, tmp_path: Path
) -> None:
    before, journal = state_of(bridge), tmp_path / "changed-scope.json"
    killed = scope_at(bridge, journal)
    killed.open()
    killed.set_shutter(is_open=True)
    killed.move(Position(x_um=40.0, z_um=7.0))
    killed.set_properties([Setting("Camera", "Gain", "-2")])
    # Killed: nothing is put back, and the camera may still run.
    core_behind(killed).close()
    bridge.user("startContinuousSequenceAcquisition", 0.0)
    (told,) = left_changed(tmp_path)
    assert "xy.XY was 0.0 0.0" in told.replace("-0.0", "0.0")
    assert "z.Z was 0.0" in told
    with opened(scope_at(bridge, journal)) as (successor, _):
        assert not bridge.user("getShutterOpen"), "the successor begins in the dark"
        successor.move(Position(x_um=1.0))
    assert state_of(bridge) == before
    assert not journal.exists()


def test_a_stage_that_never_arrives_is_named(bridge: BridgeProcess) -> None:
    with opened(scope_at(bridge, move_timeout_s=0.2)) as (scope, _):
        bridge.order("answer", call="deviceBusy", value=True)
        with pytest.raises(CameraError, match=r"XY was sent to x = 5, y = 7 um: .*still busy"):
            scope.move(Position(x_um=5.0, y_um=7.0))
        with pytest.raises(CameraError, match=r"Z was sent to z = 3 um: .*still busy"):
            scope.move(Position(z_um=3.0))
        bridge.order("release")
        scope.move(Position(x_um=5.0, y_um=7.0, z_um=3.0))


def test_a_stage_that_is_somewhere_else_is_an_error(bridge: BridgeProcess) -> None:
    with opened(scope_at(bridge)) as (scope, _):
        bridge.order("answer", call="getXPosition", value=12.5)
        with pytest.raises(CameraError, match=r"x = 5, y = 7 um: .* at 12.5, .* 7.5\d* um from"):
            scope.move(Position(x_um=5.0, y_um=7.0))
        bridge.order("release")


def test_a_stage_that_tells_its_position_late_is_waited_for(bridge: BridgeProcess) -> None:
    with opened(scope_at(bridge)) as (scope, _):
        bridge.order("answer", call="getPosition", value=50.0)
        late = threading.Timer(0.1, bridge.order, ("release",))
        late.name = "late"
        late.start()
        scope.move(Position(z_um=3.0))
        late.join()
        assert scope.position().z_um == 3.0


def test_a_micro_manager_that_ends_in_a_move_is_told(
    start_bridge: Callable[..., BridgeProcess], tmp_path: Path
) -> None:
    bridge, journal = start_bridge(), tmp_path / "changed-scope.json"
    scope = scope_at(bridge, journal)
    scope.open()
    bridge.fault("die", "setXYPosition", after=True)
    with pytest.raises(CameraError, match=r"XY was sent to x = 5, y = 7 um: .*went away"):
        scope.move(Position(x_um=5.0, y_um=7.0))
    with pytest.raises(CameraError, match=r"it is gone: .*xy\.XY"):
        scope.close()
    assert "xy.XY was" in left_changed(tmp_path)[0]
    scope.close()


def test_an_abort_ends_a_move_that_hangs(bridge: BridgeProcess) -> None:
    with opened(scope_at(bridge)) as (scope, _):
        bridge.fault("delay", "setXYPosition", delay_ms=1200)
        abort = threading.Timer(0.1, scope.abort)
        abort.name = "abort"
        began_s = time.perf_counter()
        abort.start()
        with pytest.raises(CameraError, match="XY was sent to"):
            scope.move(Position(x_um=5.0, y_um=7.0))
        assert time.perf_counter() - began_s < 1.0
        abort.join()
        # The answer that is owed comes first; the stage goes on, as nobody told it not to.
        wait_until(lambda: scope.position().x_um == pytest.approx(5.0, abs=0.1))


def test_a_live_view_started_meanwhile_is_an_error_and_goes_on(bridge: BridgeProcess) -> None:
    with opened(scope_at(bridge)) as (scope, _):
        list(scope.expose(1000))
        bridge.order("live", on=True)
        for n_frames in (1, 3):
            with pytest.raises(CameraError, match="runs a live view or a sequence"):
                list(scope.expose(1000, n_frames))
        assert bridge.state()["live"]
        bridge.order("live", on=False)
        assert len(list(scope.expose(1000))) == 1


def test_a_live_view_that_runs_is_refused_and_goes_on(bridge: BridgeProcess) -> None:
    bridge.order("live", on=True)
    before = state_of(bridge)
    with pytest.raises(CameraError, match="runs a live view"):
        scope_at(bridge).open()
    assert state_of(bridge) == before
    bridge.order("live", on=False)


def test_an_exposure_changed_at_the_window_is_set_again(bridge: BridgeProcess) -> None:
    with opened(scope_at(bridge)) as (scope, _):
        list(scope.expose(1000))
        bridge.user("setExposure", 33.0)
        (frame,) = scope.expose(1000)
        assert frame.exposure_us == 1000
        assert bridge.user("getExposure") == 1.0


def test_an_exposure_the_camera_does_not_take_is_refused(bridge: BridgeProcess) -> None:
    with opened(scope_at(bridge)) as (scope, _):
        bridge.order("answer", call="getExposure", value=20.0)
        with pytest.raises(CameraError, match="1000 was asked for, the camera took 20000"):
            list(scope.expose(1000))
        bridge.order("release")
        (frame,) = scope.expose(1000)
        assert frame.exposure_us == 1000


def test_a_focus_that_does_not_lock_is_an_error(bridge: BridgeProcess) -> None:
    with opened(scope_at(bridge, autofocus_lock=True, move_timeout_s=0.2)) as (scope, _):
        bridge.order("answer", call="isContinuousFocusLocked", value=False)
        with pytest.raises(CameraError, match=r"did not focus: no lock within 0\.2 s"):
            scope.autofocus()
        bridge.order("release")
        assert not bridge.user("isContinuousFocusEnabled")
        scope.autofocus("", 1.0)
        assert bridge.user("isContinuousFocusLocked")
    assert not bridge.user("isContinuousFocusEnabled")


def test_a_command_asks_few_questions(bridge: BridgeProcess) -> None:
    """Each costs about 1 ms at a real window, and 20 ms are to spend for a field."""
    limits: dict[str, tuple[Callable[[], object], int]]
    with opened(scope_at(bridge)) as (scope, _):
        list(scope.expose(1000))
        scope.move(Position(x_um=1.0, y_um=1.0, z_um=1.0))
        limits = {
            "expose": (lambda: list(scope.expose(1000)), 3),
            "another exposure": (lambda: list(scope.expose(2000)), 5),
            "set_shutter": (lambda: scope.set_shutter(is_open=True), 2),
            "position": (scope.position, 3),
        }
        core: Any = core_behind(scope)
        for name, (step, most) in limits.items():
            before = core.questions
            step()
            assert core.questions - before <= most, name
