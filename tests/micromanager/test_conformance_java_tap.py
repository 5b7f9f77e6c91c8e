"""The camera contract, on a tap of a live view that runs behind the test bridge."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from bridge.client import BridgeProcess

from livedenoise.acquire.micromanager_tap import MicroManagerTap
from livedenoise.core.camera import StreamRequest
from livedenoise.core.micromanager_config import MicroManagerCameraConfig
from livedenoise.testing.camera_kit import CAMERA_CHECKS, CameraCase


@pytest.fixture(scope="module")
def live() -> Iterator[BridgeProcess]:
    """Return a bridge whose live view runs: one for all checks, none of which may change it."""
    bridge = BridgeProcess()
    bridge.user("setProperty", "Camera", "PixelType", "16bit")
    bridge.user("setProperty", "Camera", "FastImage", "1")
    bridge.user("setProperty", "Camera", "Binning", "2")
    bridge.user("setROI", 16, 8, 128, 64)
    bridge.user("setExposure", 5.0)
    bridge.order("live", on=True)
    yield bridge
    bridge.kill()


@pytest.mark.parametrize("check", CAMERA_CHECKS, ids=lambda check: check.__name__)
def test_contract(check: Callable[[CameraCase], None], live: BridgeProcess) -> None:
    def make() -> MicroManagerTap:
        values = {"kind": "micromanager", "name": "tap", "backend": "java", "mode": "tap"}
        return MicroManagerTap(
            MicroManagerCameraConfig.model_validate(values | {"port": live.port})
        )

    check(CameraCase(make=make, request=StreamRequest(exposure_us=0, binning=0)))
