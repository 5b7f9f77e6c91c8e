"""Short runs of a small simulated camera, for tests.

Knows: how to configure, start and drain a simulated camera with any clock.
Must not know: what a test expects of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import msgspec
import numpy as np

from livedenoise.acquire.simulated import SimulatedCamera
from livedenoise.core.camera import Captured, Prepared, StreamRequest
from livedenoise.core.camera_config import SimulatedCameraConfig
from livedenoise.core.clock import Clock, ManualClock
from livedenoise.core.frame import Frame

START_NS = 5_000_000
"""Where the manual clock of ``run_camera`` begins."""


class Slots:
    """Hands out fresh slots and keeps them.

    Parameters
    ----------
    before : callable, optional
        Called with the time-out in seconds; the ring is full when it returns False.
    """

    def __init__(self, before: Callable[[float], bool] | None = None) -> None:
        self._before = before
        self.pixels: list[Frame] = []

    def __call__(self, shape: tuple[int, int], dtype: str, timeout_s: float) -> Frame | None:
        """Return a new slot, or None."""
        if self._before is not None and not self._before(timeout_s):
            return None
        slot: Frame = np.zeros(shape, np.dtype(dtype))
        self.pixels.append(slot)
        return slot


def small_camera(
    sensor: Mapping[str, object] | None = None, **changes: object
) -> SimulatedCameraConfig:
    """Return a 48x40 camera with a pool of 4 frames; ``changes`` are keys of its section."""
    data = {"kind": "simulated", "pool_frames": 4, "scene": {"kind": "granules"}, **changes}
    data["sensor"] = {"width_px": 48, "height_px": 40, **(sensor or {})}
    return SimulatedCameraConfig.model_validate(data)


@contextmanager
def started(
    config: SimulatedCameraConfig, clock: Clock | None = None, **request: object
) -> Iterator[tuple[SimulatedCamera, Prepared]]:
    """Yield a started camera and what it prepared; default a manual clock at ``START_NS``.

    ``request`` are fields of the StreamRequest; the exposure is 10 ms unless it says otherwise.
    """
    camera = SimulatedCamera(config, clock or ManualClock(START_NS))
    camera.open()
    try:
        prepared = camera.prepare(
            msgspec.convert({"exposure_us": 10_000, **request}, StreamRequest)
        )
        camera.start()
        yield camera, prepared
    finally:
        camera.stop()
        camera.close()


def run_camera(
    config: SimulatedCameraConfig,
    slots: Slots | None = None,
    clock: Clock | None = None,
    **request: object,
) -> list[Captured]:
    """Return every frame of a run that ends by itself (``n_frames``)."""
    with started(config, clock, **request) as (camera, _):
        return list(camera.frames(slots or Slots()))
