"""The simulated camera keeps the camera contract, with and without a pool, 8 and 16 bits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from livedenoise.acquire.simulated import SimulatedCamera
from livedenoise.core.camera import StreamRequest
from livedenoise.core.camera_config import SimulatedCameraConfig
from livedenoise.testing.camera_kit import CAMERA_CHECKS, CameraCase

CASES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "pool": ({}, {}),
    "fresh": ({"pool_frames": 0}, {}),
    "8_bit_binned_region": (
        {"sensor": {"width_px": 64, "height_px": 48, "bit_depth": 8}},
        {"roi": (8, 4, 32, 24), "binning": 2},
    ),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("check", CAMERA_CHECKS, ids=lambda check: check.__name__)
def test_contract(check: Callable[[CameraCase], None], name: str) -> None:
    camera, request = CASES[name]
    data = {
        "kind": "simulated",
        "pool_frames": 3,
        "sensor": {"width_px": 64, "height_px": 48},
        "scene": {"kind": "granules"},
        **camera,
    }
    config = SimulatedCameraConfig.model_validate(data)
    case = CameraCase(
        make=lambda: SimulatedCamera(config), request=StreamRequest(exposure_us=5000, **request)
    )
    check(case)
