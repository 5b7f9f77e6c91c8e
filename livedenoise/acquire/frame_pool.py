"""Frames of a simulated camera, rendered with noise before they are needed.

Knows: how scene, sensor maps and noise make frame number n of a pool, and the truth beside it.
Must not know: pacing, rings, faults, the camera's life cycle.

A pool of n frames is served in turn: frame k of the run shows pool frame ``k % n``, noise
included. The scene moves on a closed circle over the pool, so it does not jump when the pool
starts again; bleaching does jump back. Without a pool every frame is rendered fresh and nothing
repeats. Every frame has its own seed: neither threads nor order change a pixel.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from livedenoise.acquire.scene_field import SceneField
from livedenoise.core.camera_config import SensorConfig
from livedenoise.core.frame import FrameFlags, max_count
from livedenoise.imaging.sensor import SensorMaps, bin_flux, expose, true_electrons

FloatImage = npt.NDArray[np.float32]
Counts = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]
Roi = tuple[int, int, int, int]

_SEED_TAG = 0x9001
_MAX_THREADS = 4


@dataclass(frozen=True, kw_only=True, eq=False)
class FrameRenderer:
    """Renders frame number n of one region; pure, so it may be called from several threads.

    Attributes
    ----------
    field : SceneField
        Light in front of the sensor.
    sensor : SensorConfig
        Constants of the sensor.
    maps : SensorMaps
        Maps of the (binned) region.
    roi : tuple of int
        (x, y, width, height) in sensor pixels.
    binning : int
        Pixels summed along each axis.
    exposure_us, period_ns : int
        Exposure, and time between frames.
    seed : int
        Seed of the noise.
    loop_frames : int
        Frames after which the motion closes; 0 for a straight drift.
    """

    field: SceneField
    sensor: SensorConfig
    maps: SensorMaps
    roi: Roi
    binning: int
    exposure_us: int
    period_ns: int
    seed: int
    loop_frames: int

    def truth(self, number: int) -> FloatImage:
        """Return the mean electrons of frame ``number``: float32 (Y, X)."""
        elapsed_s = number * self.period_ns * 1e-9
        if self.loop_frames:
            loop_s = self.loop_frames * self.period_ns * 1e-9
            shift = self.field.loop_shift_px(elapsed_s, loop_s)
        else:
            shift = self.field.drift_shift_px(elapsed_s)
        flux = bin_flux(self.field.flux(self.roi, shift, elapsed_s), self.binning)
        return true_electrons(flux, self.maps, self.sensor, self.exposure_us)

    def frame(self, number: int) -> Counts:
        """Return the counts (Y, X) of frame ``number``."""
        entropy = np.random.SeedSequence([self.seed % 2**64, _SEED_TAG, number])
        rng = np.random.Generator(np.random.SFC64(entropy))
        return expose(self.truth(number), self.maps, self.sensor, rng)

    def flags(self, frame: Counts) -> int:
        """Return ``FrameFlags.SATURATED`` when a pixel stands at the highest count, else 0."""
        full = int(frame.max()) >= max_count(self.sensor.bit_depth)
        return int(FrameFlags.SATURATED) if full else 0


class FramePool:
    """Frames of one renderer, kept in memory, or rendered one by one when ``frames`` is 0.

    Parameters
    ----------
    renderer : FrameRenderer
        Makes the frames.
    frames : int
        Frames to keep.
    """

    def __init__(self, renderer: FrameRenderer, frames: int) -> None:
        self._renderer = renderer
        self._frames: list[Counts] = []
        self._flags: list[int] = []
        if frames:
            threads = min(_MAX_THREADS, os.cpu_count() or 1)
            with ThreadPoolExecutor(threads, thread_name_prefix="render") as executor:
                self._frames = list(executor.map(renderer.frame, range(frames)))
            self._flags = [renderer.flags(frame) for frame in self._frames]

    def __len__(self) -> int:
        return len(self._frames)

    @property
    def shape(self) -> tuple[int, int]:
        """Return (Y, X) of the frames."""
        return self._renderer.maps.shape

    @property
    def roi(self) -> Roi:
        """Return (x, y, width, height) in sensor pixels."""
        return self._renderer.roi

    def frame(self, number: int) -> tuple[Counts, int]:
        """Return the pixels and the flags of frame ``number`` of the run."""
        if self._frames:
            index = number % len(self._frames)
            return self._frames[index], self._flags[index]
        frame = self._renderer.frame(number)
        return frame, self._renderer.flags(frame)

    def truth(self, number: int) -> FloatImage:
        """Return the mean electrons of frame ``number`` of the run."""
        return self._renderer.truth(number % len(self._frames) if self._frames else number)

    def truths(self) -> Iterator[FloatImage]:
        """Yield the mean electrons of every frame of the pool."""
        return (self._renderer.truth(index) for index in range(len(self._frames)))
