"""What the bridge can carry, measured without exposing or taking out a frame."""

from __future__ import annotations

from typing import Any

import mm_test_adapters
import pymmcore
import pytest
from bridge.client import BridgeProcess
from java_bridge_kit import bridge, core, shared_bridge

from livedenoise.core.errors import CameraError
from livedenoise.micromanager.ceiling import OWN_QUESTIONS, TAP_QUESTIONS, bridge_ceiling
from livedenoise.micromanager.java_core import JavaCore
from livedenoise.micromanager.python_core import PythonCore

__all__ = ["bridge", "core", "shared_bridge"]


FRAME = 512 * 512 * 2


def test_slow_questions_lower_the_ceiling(bridge: BridgeProcess, core: JavaCore) -> None:
    bridge.fault("delay", "getExposure", times=-1, delay_ms=10)
    own = bridge_ceiling(core, FRAME, questions=OWN_QUESTIONS)
    tap = bridge_ceiling(core, FRAME, questions=TAP_QUESTIONS)
    # 20 ms and 50 ms for a frame, and 2.4 ns for each byte where none could be measured.
    assert FRAME / 0.032 * 1e-6 < own < FRAME / 0.020 * 1e-6
    assert FRAME / 0.075 * 1e-6 < tap < FRAME / 0.050 * 1e-6
    assert bridge_ceiling(core, 16 * FRAME) > 5 * own


def test_frames_in_the_buffer_are_measured_and_stay(
    bridge: BridgeProcess, core: JavaCore, eventually: Any
) -> None:
    core.set_property("Camera", "PixelType", "16bit")
    core.set_property("Camera", "FastImage", "1")
    core.call("startSequenceAcquisition", 3, 0.0, True)
    eventually(lambda: bridge.state()["remaining"] == 3)
    quick = bridge_ceiling(core, FRAME)
    bridge.fault("delay", "getLastImage", times=-1, delay_ms=50)
    slow = bridge_ceiling(core, FRAME)
    assert slow < FRAME / 0.045 * 1e-6 < quick
    assert bridge.state()["remaining"] == 3


def test_a_core_of_this_process_has_no_bridge() -> None:
    raw = pymmcore.CMMCore()
    raw.setDeviceAdapterSearchPaths([mm_test_adapters.device_adapter_path()])
    with pytest.raises(CameraError, match="has no bridge"):
        bridge_ceiling(PythonCore.around(raw), FRAME)
