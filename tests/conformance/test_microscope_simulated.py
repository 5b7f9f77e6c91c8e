"""The simulated microscope keeps the microscope contract: 16 bits, 8 bits, region and binning."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from livedenoise.core.camera_config import SimulatedCameraConfig
from livedenoise.core.microscope import Setting
from livedenoise.microscope.simulated import SimulatedMicroscope
from livedenoise.testing.microscope_kit import MICROSCOPE_CHECKS, MicroscopeCase

CASES: dict[str, dict[str, Any]] = {
    "16_bits": {"scene": {"kind": "flat", "photons_per_s": 50_000.0}},
    "8_bits_binned_region": {
        "sensor": {"width_px": 64, "height_px": 48, "bit_depth": 8, "gain_e_per_adu": 2.0},
        "scene": {"kind": "flat", "photons_per_s": 50_000.0},
        "roi": (8, 4, 32, 24),
        "binning": 2,
    },
    "imperfect": {
        "scene": {"kind": "flat", "photons_per_s": 50_000.0},
        "microscope": {
            "stage_error_um": 0.5,
            "drift_um_per_s": 0.1,
            "bleaching_per_s": 0.5,
            "light_lag_ms": 1.0,
        },
    },
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("check", MICROSCOPE_CHECKS, ids=lambda check: check.__name__)
def test_contract(check: Callable[[MicroscopeCase], None], name: str) -> None:
    data = {
        "kind": "simulated",
        "sensor": {"width_px": 64, "height_px": 48, "offset_adu": 20.0},
        **CASES[name],
    }
    config = SimulatedCameraConfig.model_validate(data)
    case = MicroscopeCase(
        make=lambda: SimulatedMicroscope(config), setting=Setting("Light", "Power", "42.5")
    )
    check(case)
