"""The camera contract, on a real Micro-Manager core with its demonstration camera."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from livedenoise.acquire.micromanager import MicroManagerCamera
from livedenoise.core.camera import Event, StreamRequest
from livedenoise.core.micromanager_config import MicroManagerCameraConfig
from livedenoise.testing.camera_kit import CAMERA_CHECKS, CameraCase, check_frames_are_as_prepared

DEMO = {
    "kind": "micromanager",
    "name": "scope",
    "app_path": "demo",
    "config_file": Path("MMConfig_demo.cfg"),
    "buffer_mb": 64,
    "properties": {"Camera": {"PixelType": "16bit", "FastImage": 1}},
}
EVENTS = (
    Event(index=0, exposure_us=1000, role="low"),
    Event(index=1, exposure_us=4000, role="high"),
)


def demo_camera(**changes: Any) -> MicroManagerCamera:
    return MicroManagerCamera(MicroManagerCameraConfig.model_validate(DEMO | changes))


REQUESTS = {
    "full": StreamRequest(exposure_us=2000, binning=0),
    "region": StreamRequest(exposure_us=2000, roi=(64, 32, 128, 256), binning=2),
    "rate given": StreamRequest(exposure_us=2000, rate_hz=400.0, binning=0),
}


EVENT_CHECKS = tuple(check for check in CAMERA_CHECKS if check is not check_frames_are_as_prepared)
"""Each frame of events has its own exposure: see ``test_events``."""


def named(check: Callable[[CameraCase], None]) -> str:
    return check.__name__


@pytest.mark.parametrize("request_name", ["full", "region", "rate given"])
@pytest.mark.parametrize("check", CAMERA_CHECKS, ids=named)
def test_contract(check: Callable[[CameraCase], None], request_name: str) -> None:
    check(CameraCase(make=demo_camera, request=REQUESTS[request_name]))


@pytest.mark.parametrize("sequences", ["No", "Yes"], ids=["one by one", "by hardware"])
@pytest.mark.parametrize("check", EVENT_CHECKS, ids=named)
def test_contract_with_events(check: Callable[[CameraCase], None], sequences: str) -> None:
    properties = {"PixelType": "16bit", "FastImage": 1, "UseExposureSequences": sequences}
    check(
        CameraCase(
            make=lambda: demo_camera(properties={"Camera": properties}),
            request=StreamRequest(exposure_us=0, binning=0, events=EVENTS),
        )
    )
