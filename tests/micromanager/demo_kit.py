"""A demonstration camera behind a real Micro-Manager core, for tests."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from livedenoise.acquire.micromanager import MicroManagerCamera
from livedenoise.core.camera import Captured, Prepared, StreamRequest
from livedenoise.core.frame import Frame
from livedenoise.core.micromanager_config import MicroManagerCameraConfig
from livedenoise.micromanager.app_folder import find_app
from livedenoise.micromanager.core import Core
from livedenoise.micromanager.python_core import PythonCore, start_python

FAST = {"PixelType": "16bit", "FastImage": 1}
DEMO: dict[str, Any] = {
    "kind": "micromanager",
    "name": "scope",
    "app_path": "demo",
    "config_file": Path("MMConfig_demo.cfg"),
    "buffer_mb": 64,
    "properties": {"Camera": FAST},
}


def demo_config(**changes: Any) -> MicroManagerCameraConfig:
    """Return the demonstration camera's configuration with some keys changed."""
    return MicroManagerCameraConfig.model_validate(DEMO | changes)


def demo_camera(**changes: Any) -> MicroManagerCamera:
    """Return the demonstration camera, not yet open."""
    return MicroManagerCamera(demo_config(**changes))


def core_of(camera: MicroManagerCamera) -> Core:
    """Return the core of an open camera, to do to it what a user or fate would."""
    assert camera._core is not None
    return camera._core


@contextmanager
def demo_core(**properties: str) -> Iterator[PythonCore]:
    """Open a core with the demonstration configuration."""
    app = find_app("demo")
    core = start_python(app, app / "MMConfig_demo.cfg", buffer_mb=64)
    try:
        for name, value in (FAST | properties).items():
            core.set_property("Camera", name, str(value))
        yield core
    finally:
        core.close()


@contextmanager
def streaming(
    camera: MicroManagerCamera, **request: Any
) -> Iterator[tuple[MicroManagerCamera, Prepared]]:
    """Open, prepare and start a camera."""
    try:
        camera.open()
        prepared = camera.prepare(
            StreamRequest(**({"exposure_us": 2000, "binning": 0, "rate_hz": 400.0} | request))
        )
        camera.start()
        yield camera, prepared
    finally:
        camera.close()


class Slots:
    """Hands out a new array for each frame and keeps them."""

    def __init__(self) -> None:
        self.frames: list[Frame] = []

    def __call__(self, shape: tuple[int, int], dtype: str, timeout_s: float) -> Frame | None:
        """Return a slot."""
        assert timeout_s >= 0
        self.frames.append(np.zeros(shape, np.dtype(dtype)))
        return self.frames[-1]


def take(camera: MicroManagerCamera, count: int, slots: Slots | None = None) -> list[Captured]:
    """Take frames as the pump does."""
    frames = camera.frames(slots or Slots())
    return [next(frames) for _ in range(count)]


def java_camera(port: int, **changes: Any) -> MicroManagerCamera:
    """Return a camera of the Micro-Manager behind a (test) bridge, not yet open."""
    facts = {
        "kind": "micromanager",
        "name": "scope",
        "backend": "java",
        "port": port,
        "call_timeout_s": 2.0,
        "properties": {"Camera": FAST},
    }
    return MicroManagerCamera(MicroManagerCameraConfig.model_validate(facts | changes))
