"""What may take longer, who waits for whom, and a Micro-Manager that was only slow."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from bridge.client import BridgeProcess
from deadline_kit import HOST, SHORT_S, SOON_S, Waiting, attached, hanging_in, timed

from livedenoise.micromanager.bridge import BridgeDeadError, BridgeLostError, InterruptedCallError
from livedenoise.micromanager.core import CoreGoneError
from livedenoise.micromanager.java_core import JavaCore, connect_java
from livedenoise.micromanager.java_limits import LOADING_S, MOVING_S, longest_wait_s


@pytest.fixture
def bridge(calm_bridge: BridgeProcess) -> BridgeProcess:
    """Return the module's bridge, which must not be killed; ``mortal`` may."""
    return calm_bridge


@pytest.fixture
def mortal(start_bridge: Callable[..., BridgeProcess]) -> BridgeProcess:
    return start_bridge()


def given_up(bridge: BridgeProcess, core: JavaCore, delay_ms: int) -> None:
    """Set an exposure that is answered too late."""
    bridge.fault("delay", "setExposure", delay_ms=delay_ms)
    timed(lambda: core.call("setExposure", 33.0), BridgeDeadError)


def test_a_micro_manager_that_was_only_slow_is_connected_to_again(bridge: BridgeProcess) -> None:
    with attached(bridge.port, SHORT_S) as core:
        before = core.questions
        given_up(bridge, core, 500)
        core.reconnect()
        assert core.exposure_ms() == 33, "what was under way is done"
        core.call("setExposure", 10.0)
        assert core.snap().pixels.shape == (512, 512)
        assert core.roi() == (0, 0, 512, 512)
        assert core.questions > before + 5
        assert core.versions().bridge == "5.1.0"


def test_it_can_be_slow_more_than_once(bridge: BridgeProcess) -> None:
    with attached(bridge.port, SHORT_S) as core:
        for _ in range(2):
            given_up(bridge, core, 400)
            core.reconnect()
            assert core.camera() == "Camera"


def test_one_that_still_does_not_answer_is_gone_within_the_limit(bridge: BridgeProcess) -> None:
    with attached(bridge.port, SHORT_S) as core:
        bridge.fault("hang", "getExposure")
        timed(core.exposure_ms, BridgeDeadError)
        error, took_s = timed(core.reconnect, CoreGoneError)
        assert took_s < SHORT_S + SOON_S
        assert f"did not answer getExposure within {SHORT_S:g} s, and not after" in error.message
        assert error.hint
        timed(core.camera, BridgeDeadError)
        bridge.order("release")
        core.reconnect()
        assert core.camera() == "Camera"


def test_one_that_ended_is_not_connected_to_again(
    mortal: BridgeProcess, start_bridge: Callable[..., BridgeProcess]
) -> None:
    """Whoever listens there now is another one: what was found in the first is not its own."""
    with attached(mortal.port) as core:
        mortal.fault("die", "getCameraDevice")
        timed(core.camera, BridgeLostError)
        start_bridge(port=mortal.port)
        error, took_s = timed(core.reconnect, CoreGoneError)
        assert took_s < SOON_S
        assert "went away" in error.message


def test_one_that_was_slow_and_then_ended_is_another_one_too(
    mortal: BridgeProcess, start_bridge: Callable[..., BridgeProcess]
) -> None:
    with attached(mortal.port, SHORT_S) as core:
        mortal.fault("hang", "getExposure")
        timed(core.exposure_ms, BridgeDeadError)
        mortal.kill()
        other = start_bridge(port=mortal.port)
        timed(core.reconnect, CoreGoneError)
        assert "connect" not in other.traffic()["calls"]


def test_a_closed_core_stays_closed_and_a_good_one_is_left_alone(bridge: BridgeProcess) -> None:
    core = connect_java(HOST, bridge.port, 5.0)
    before = core.questions
    core.reconnect()
    assert core.questions == before
    core.close()
    error, _ = timed(core.reconnect, CoreGoneError)
    assert "closed" in error.message
    with attached(bridge.port, SHORT_S) as slow:
        given_up(bridge, slow, 400)
        slow.close()
        timed(slow.reconnect, CoreGoneError)


@pytest.mark.parametrize(
    "call",
    [
        ("setProperty", "Camera", "Gain", "1"),
        ("setConfig", "Channel", "DAPI"),
        ("waitForDevice", "Camera"),
        ("waitForConfig", "Channel", "DAPI"),
        ("waitForSystem",),
        ("startSequenceAcquisition", 1, 0.0, True),
        ("startContinuousSequenceAcquisition", 0.0),
        ("setROI", 0, 0, 64, 64),
        ("clearROI",),
        ("setCameraDevice", "Camera"),
    ],
    ids=lambda call: call[0],
)
def test_a_device_that_moves_slowly_is_waited_for(
    bridge: BridgeProcess, call: tuple[Any, ...]
) -> None:
    with attached(bridge.port, SHORT_S) as core:
        bridge.fault("delay", call[0], delay_ms=1.5 * SHORT_S * 1e3)
        core.call(*call)
        core.camera()


def test_no_limit_is_shorter_than_the_usual_one() -> None:
    usual = {name: longest_wait_s(name, 400.0) for name in ("getExposure", "setROI")}
    assert usual == {"getExposure": 400.0, "setROI": 400.0}
    assert longest_wait_s("getExposure", 2.0) == 2.0
    assert longest_wait_s("setProperty", 2.0) == MOVING_S >= 20
    assert longest_wait_s("loadSystemConfiguration", 2.0) == LOADING_S >= 120


def test_an_interruption_ends_waiting_for_a_turn_too(
    bridge: BridgeProcess, eventually: Any
) -> None:
    with attached(bridge.port) as core:
        bridge.fault("hang", "stopSequenceAcquisition", after=True)
        stop = hanging_in(bridge, lambda: core.call("stopSequenceAcquisition"), eventually)
        asked = [Waiting(core.running), Waiting(core.camera)]
        eventually(lambda: time.perf_counter() - asked[-1].began_s > 0.1)
        began_s = time.perf_counter()
        core.interrupt()
        for one in (stop, *asked):
            one.join()
            assert isinstance(one.error, InterruptedCallError)
            assert one.ended_s - began_s < 0.05 + 0.05
        bridge.order("release")
        assert not core.running()


def test_a_patient_call_waits_for_the_one_in_progress(
    bridge: BridgeProcess, eventually: Any
) -> None:
    with attached(bridge.port, SHORT_S) as core:
        bridge.fault("hang", "clearROI")
        first = hanging_in(bridge, lambda: core.long_call("clearROI", limit_s=2.0), eventually)
        patient = Waiting(lambda: core.long_call("isSequenceRunning", limit_s=5.0))
        # The first ends after more than the bridge's limit, and well before the patient one's.
        eventually(lambda: time.perf_counter() - patient.began_s > 2 * SHORT_S)
        assert patient.alive
        bridge.order("release")
        for one in (first, patient):
            one.join()
            assert one.error is None
