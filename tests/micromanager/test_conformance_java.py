"""The camera contract, on a Micro-Manager behind its bridge (the test bridge, a real core)."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from bridge.client import BridgeProcess
from demo_kit import FAST, java_camera

from livedenoise.core.camera import Event, StreamRequest
from livedenoise.testing.camera_kit import CAMERA_CHECKS, CameraCase, check_frames_are_as_prepared

EVENTS = (
    Event(index=0, exposure_us=1000, role="low"),
    Event(index=1, exposure_us=4000, role="high"),
)


@pytest.fixture
def bridge(calm_bridge: BridgeProcess) -> BridgeProcess:
    """Return the module's bridge as new: none of these tests kills it."""
    return calm_bridge


def named(check: Callable[[CameraCase], None]) -> str:
    return check.__name__


@pytest.mark.parametrize("check", CAMERA_CHECKS, ids=named)
def test_contract(check: Callable[[CameraCase], None], bridge: BridgeProcess) -> None:
    request = StreamRequest(exposure_us=5000, rate_hz=190.0, roi=(64, 32, 128, 256), binning=2)
    check(CameraCase(make=lambda: java_camera(bridge.port), request=request))


@pytest.mark.parametrize("sequences", ["No", "Yes"], ids=["one by one", "by hardware"])
@pytest.mark.parametrize(
    "check", [c for c in CAMERA_CHECKS if c is not check_frames_are_as_prepared], ids=named
)
def test_contract_with_events(
    check: Callable[[CameraCase], None], sequences: str, bridge: BridgeProcess
) -> None:
    properties = {"Camera": FAST | {"UseExposureSequences": sequences}}
    request = StreamRequest(exposure_us=0, binning=0, events=EVENTS)
    check(CameraCase(make=lambda: java_camera(bridge.port, properties=properties), request=request))
