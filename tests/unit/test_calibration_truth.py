"""Calibration against known truth: simulated sensors of the shipped presets."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import msgspec
import numpy as np
import pytest

from livedenoise.calibrate.measure import LitSeries, measure, to_constants
from livedenoise.calibrate.results import CalibrationResult, Known
from livedenoise.core.config import load_config
from livedenoise.core.constants import CameraMaps
from livedenoise.core.frame import max_count
from livedenoise.core.sensor_config import SensorConfig
from livedenoise.imaging.ptc_moments import PixelMoments, PixelSummary
from livedenoise.imaging.sensor import expose, true_electrons
from livedenoise.imaging.sensor_maps import SensorMaps, camera_maps, draw_maps

PRESETS = Path(__file__).resolve().parents[2] / "hardware_configs"
SHORT_US, LONG_US = 10_000.0, 10_000_000.0


def sensor_of(preset: str, side: int, **changes: object) -> SensorConfig:
    sensor = load_config(PRESETS / f"{preset}.toml").camera[0].sensor
    return sensor.model_copy(update={"width_px": side, "height_px": side, **changes})


class Rig:
    """A simulated sensor with its truth, that takes series."""

    def __init__(self, sensor: SensorConfig, seed: int) -> None:
        self.sensor = sensor
        self.maps: SensorMaps = draw_maps(sensor, seed)
        self.truth: CameraMaps = camera_maps(self.maps, sensor)
        self.rng = np.random.Generator(np.random.SFC64(seed))

    @property
    def shape(self) -> tuple[int, int]:
        return self.maps.shape

    def series(self, electrons, exposure_us, frames, *, drift=0.0, flicker=0.0, fourth=False,
               respond=None) -> PixelSummary:
        """``electrons``: mean from light alone, scalar or (Y, X)."""
        dark = true_electrons(
            np.zeros(self.shape, np.float32), self.maps, self.sensor, exposure_us
        )
        light = np.broadcast_to(np.asarray(electrons, np.float32), self.shape)
        if respond is not None:
            light = respond(light)
        moments = PixelMoments(self.shape, bit_depth=self.sensor.bit_depth, fourth=fourth)
        for k in range(frames):
            scale = 1.0 + drift * (k / max(frames - 1, 1) - 0.5) + flicker * self.rng.normal()
            moments.add(expose(dark + light * np.float32(scale), self.maps, self.sensor, self.rng))
        return moments.summary()

    def darks(self, frames: int, *, long: int = 0) -> dict[float, PixelSummary]:
        series = {SHORT_US: self.series(0.0, SHORT_US, frames, fourth=True)}
        if long:
            series[LONG_US] = self.series(0.0, LONG_US, long)
        return series

    def ladder(self, electrons, frames, scene=1.0, **kw) -> list[LitSeries]:
        return [
            LitSeries(
                exposure_us=SHORT_US,
                light=float(e),
                summary=self.series(np.float32(e) * scene, SHORT_US, frames, **kw),
            )
            for e in electrons
        ]
