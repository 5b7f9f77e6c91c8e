"""A tap of the test bridge's live view, with its frames: for several test modules."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from bridge.client import BridgeProcess

from livedenoise.acquire.micromanager_tap import MicroManagerTap
from livedenoise.core.camera import Captured, Prepared, StreamRequest
from livedenoise.core.frame import Frame
from livedenoise.core.micromanager_config import MicroManagerCameraConfig

ASK = StreamRequest(exposure_us=0, binning=0)


def tap(port: int, **values: Any) -> MicroManagerTap:
    section = {"kind": "micromanager", "name": "scope", "backend": "java", "mode": "tap"}
    return MicroManagerTap(
        MicroManagerCameraConfig.model_validate(section | {"port": port} | values)
    )


class Watched:
    """A tap that is started, and its frames with their pixels."""

    def __init__(self, camera: MicroManagerTap, request: StreamRequest) -> None:
        self.camera = camera
        self.info = camera.open()
        self.prepared: Prepared = camera.prepare(request)
        camera.start()
        self.slot: Frame = np.zeros(0, "<u2")
        self.frames = camera.frames(self._get_slot)

    def _get_slot(self, shape: tuple[int, int], dtype: str, timeout_s: float) -> Frame:
        del timeout_s
        self.slot = np.empty(shape, np.dtype(dtype))
        return self.slot

    def take(self, count: int) -> list[Captured]:
        return [next(self.frames) for _ in range(count)]

    def until(self, wanted: Callable[[Captured], bool], timeout_s: float = 5.0) -> Captured:
        """Return the first frame that is as wanted."""
        deadline = time.monotonic() + timeout_s
        for captured in self.frames:
            if wanted(captured):
                return captured
            assert time.monotonic() < deadline, f"the last frame was {captured}"
        raise AssertionError("the stream ended")


@contextmanager
def watching(
    bridge: BridgeProcess, request: StreamRequest = ASK, **values: Any
) -> Iterator[Watched]:
    camera = tap(bridge.port, **values)
    try:
        yield Watched(camera, request)
    finally:
        camera.stop()
        camera.close()


@pytest.fixture
def live(bridge: BridgeProcess) -> BridgeProcess:
    """Return a bridge with a live view of 10 ms frames."""
    show(bridge)
    return bridge


def show(bridge: BridgeProcess) -> None:
    """Switch a live view of 10 ms frames on."""
    bridge.user("setProperty", "Camera", "FastImage", "1")
    bridge.user("setExposure", 10.0)
    bridge.order("live", on=True)


def change(bridge: BridgeProcess, *calls: tuple[Any, ...]) -> None:
    """Do what a user does to the region: stop the live view, change, start it again."""
    bridge.order("live", on=False)
    for call in calls:
        bridge.user(*call)
    bridge.order("live", on=True)
