"""A real live view to tap, and where its frames may go."""

from __future__ import annotations

import socket
from typing import Any

import mm_test_adapters
import pymmcore

ROOM = {"width_px": 256, "height_px": 256}
"""Largest frames the network cameras of these tests take."""
NOBODY = "tcp://127.0.0.1:9"


def live_core(exposure_ms: float = 5.0, size: int = 128) -> Any:
    """Return a core with a fast DemoCamera, not running yet."""
    core = pymmcore.CMMCore()
    folder = mm_test_adapters.device_adapter_path()
    core.setDeviceAdapterSearchPaths([folder])
    core.loadSystemConfiguration(folder + "/MMConfig_demo.cfg")
    core.setProperty("Camera", "FastImage", "1")
    core.setProperty("Camera", "PixelType", "16bit")
    core.setProperty("Camera", "OnCameraCCDXSize", str(size))
    core.setProperty("Camera", "OnCameraCCDYSize", str(size))
    core.setExposure(exposure_ms)
    return core


def go_live(core: Any) -> None:
    """Switch the live view on, as a user's program does."""
    core.startContinuousSequenceAcquisition(0)


def free_endpoint() -> str:
    """Return where nobody listens yet."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        return f"tcp://127.0.0.1:{found.getsockname()[1]}"
