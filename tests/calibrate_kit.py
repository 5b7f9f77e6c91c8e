"""A microscope without hardware for tests of calibrations: a linear camera with shot noise."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from livedenoise.calibrate.acquire import acquire
from livedenoise.calibrate.data import CalibrationData
from livedenoise.calibrate.partial import PartialStore
from livedenoise.calibrate.resuming import identity_of
from livedenoise.calibrate.settings import AcquireSettings
from livedenoise.core.camera import CameraInfo
from livedenoise.core.clock import ManualClock
from livedenoise.core.errors import CameraError
from livedenoise.core.microscope import Exposed, MicroscopeInfo, Setting

SHAPE = (16, 20)
SMALL = AcquireSettings(dark_frames=10, dark_exposures_us=(1000, 50_000), levels=8, frames=6)


class FakeMicroscope:
    """A linear camera of 12 bits: offset 100, so many counts per microsecond, shot noise."""

    def __init__(self, counts_per_us: float = 0.05, *, shutter: bool = True) -> None:
        self.flux = counts_per_us
        self.clock = ManualClock()
        self.shutter = False
        self.power = 1.0
        self.per_second = 0.0
        self.fails_at = -1
        self.wrong_exposure = False
        self.leak = 0.0
        self.covered = False
        self.is_noisy = True
        self.offset_adu = 100.0
        self.read_noise_adu = 2.0
        self.closed = False
        self.exposed: list[tuple[int, int, bool, float]] = []
        camera = CameraInfo(name="fake", kind="fake", sensor=SHAPE, dtype="<u2", bit_depth=12)
        self.info = MicroscopeInfo(
            camera=camera,
            shape=SHAPE,
            roi=(0, 0, SHAPE[1], SHAPE[0]),
            capabilities=("shutter", "light") if shutter else (),
            exposure_min_us=10,
            exposure_max_us=2_000_000,
        )

    def open(self) -> MicroscopeInfo:
        return self.info

    def close(self) -> None:
        self.closed = True

    def expose(self, exposure_us: int, n_frames: int = 1) -> Iterator[Exposed]:
        self.exposed.append((exposure_us, n_frames, self.shutter, self.power))
        if len(self.exposed) == self.fails_at:
            raise KeyboardInterrupt
        rng = np.random.default_rng(len(self.exposed))
        for number in range(n_frames):
            self.clock.advance_ns(exposure_us * 1000)
            closed = not self.shutter and "shutter" in self.info.capabilities
            shut = closed or self.covered
            light = self.power * (1 + self.per_second * self.clock.now_ns() * 1e-9)
            mean = self.flux * light * exposure_us * (self.leak if shut else 1.0)
            shot = rng.poisson(mean, SHAPE) if self.is_noisy else np.full(SHAPE, mean)
            counts = self.offset_adu + shot + rng.normal(0, self.read_noise_adu, SHAPE)
            pixels = np.clip(np.rint(counts), 0, 4095).astype(np.uint16)
            told = exposure_us + number if self.wrong_exposure else exposure_us
            yield Exposed(pixels=pixels, exposure_us=told, t_host_ns=self.clock.now_ns())

    def set_shutter(self, *, is_open: bool) -> None:
        self.shutter = is_open

    def set_properties(self, settings: Sequence[Setting]) -> None:
        for setting in settings:
            self.read_property(setting.device, setting.property)
            self.power = float(setting.value)

    def read_property(self, device: str, name: str) -> str:
        if (device, name) != ("Laser", "Power level"):
            raise CameraError(f"no property {name} of a device {device}")
        return str(self.power)


def take(
    scope: FakeMicroscope,
    folder: Path,
    settings: AcquireSettings = SMALL,
    *,
    resume: bool = False,
    ask: Callable[[str], None] | None = None,
) -> CalibrationData:
    store = PartialStore(folder, identity_of(scope.info, settings), resume=resume)
    return acquire(
        scope,  # type: ignore[arg-type]
        scope.info,
        settings,
        store,
        say=print,
        ask=ask,
        clock=scope.clock,
    )
