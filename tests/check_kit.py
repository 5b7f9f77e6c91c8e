"""Pairs of exposures made from scenes and the sensor model, good ones and ones with one fault."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import tifffile

from livedenoise.collect.check_camera import DarkStatistics, PairCamera, camera_from_darks
from livedenoise.collect.shots import Pair, Shot, Taken
from livedenoise.core.camera_config import SensorConfig
from livedenoise.core.frame import max_count
from livedenoise.imaging.scenes import blur, render_scene, translate
from livedenoise.imaging.sensor import draw_maps, expose, sensor_constants, true_electrons
from livedenoise.imaging.sensor_maps import SensorMaps

LOW_US = 10_000
DARK_FRAMES = 20
MARGIN_PX = 40
SENSORS = {
    # The converter ends before the wells are full.
    "scmos": SensorConfig(width_px=256, height_px=256, gain_e_per_adu=0.4),
    "emccd": SensorConfig(
        width_px=256,
        height_px=256,
        gain_e_per_adu=4.0,
        offset_spread_adu=0.0,
        gain_spread=0.002,
        read_noise_e=39.0,
        read_noise_log_sd=0.0,
        telegraph_fraction=0.0,
        telegraph_factor=1.0,
        full_well_e=80000.0,
        em_gain=300.0,
    ),
    "8-bit": SensorConfig(
        width_px=256,
        height_px=256,
        bit_depth=8,
        gain_e_per_adu=6.0,
        offset_adu=12.0,
        offset_spread_adu=0.2,
        read_noise_e=6.0,
    ),
}


@dataclass(frozen=True, kw_only=True)
class Case:
    """One pair: the scene, the light, the camera, and what goes wrong (nothing, by default).

    ``low_e`` is the mean of the field, lowered where the high shot would saturate. Shifts and
    blurs are those of the high shot. ``known``: ``darks`` (dark frames and the sensor's
    constants), ``given`` (constants only) or ``estimated`` (dark frames, gain from the pair).
    """

    seed: int
    kind: str = "mixed"
    sensor: str = "scmos"
    known: str = "darks"
    size: int = 256
    low_e: float = 20.0
    ratio: float = 10.0
    low_frames: int = 1
    high_frames: int = 1
    bracket: bool = False
    shift_px: tuple[float, float] = (0.0, 0.0)
    blur_px: float = 0.0
    bleaching: float = 0.0
    swapped: bool = False
    stale: str = ""
    flicker: float = 1.0
    odd_frame: int = -1
    object_peak: float = 0.0
    object_sigma_px: float = 3.0
    saturate: bool = False
    drift_in_average_px: float = 0.0
    dark: bool = False
    offset_adu: float | None = None


@lru_cache(maxsize=16)
def sensor_maps(name: str, size: int, offset_adu: float | None = None) -> SensorMaps:
    return draw_maps(sensor_config(name, offset_adu), 7, (0, 0, size, size))


def sensor_config(name: str, offset_adu: float | None = None) -> SensorConfig:
    sensor = SENSORS[name].model_copy(update={"width_px": 4096, "height_px": 4096})
    return sensor if offset_adu is None else sensor.model_copy(update={"offset_adu": offset_adu})


@lru_cache(maxsize=64)
def dark_statistics(
    name: str, size: int, exposure_us: int, offset_adu: float | None = None
) -> DarkStatistics:
    sensor, maps = sensor_config(name, offset_adu), sensor_maps(name, size, offset_adu)
    rng = np.random.default_rng(exposure_us)
    mean_e = true_electrons(np.zeros(maps.shape, np.float32), maps, sensor, exposure_us)
    statistics = DarkStatistics()
    for _ in range(DARK_FRAMES):
        statistics.add(expose(mean_e, maps, sensor, rng))
    return statistics


def make_case(case: Case) -> tuple[Pair, PairCamera]:
    """Return the pair, and the camera as the checks would know it."""
    bench = _Bench(case)
    pair = bench.pair()
    return pair, bench.camera(pair)


class _Bench:
    def __init__(self, case: Case) -> None:
        self.case = case
        self.rng = np.random.default_rng(case.seed)
        self.sensor = sensor_config(case.sensor, case.offset_adu)
        self.maps = sensor_maps(case.sensor, case.size, case.offset_adu)
        self.high_us = round(LOW_US * case.ratio)
        size = case.size + 2 * MARGIN_PX
        kind = case.kind
        scene = render_scene(kind, (size, size), self.rng)  # type: ignore[arg-type]
        self.scene = scene / scene.mean()
        self.level_e = self._level()
        self.object_at = self.rng.uniform(0.2, 0.8, 2) * case.size + MARGIN_PX

    def _level(self) -> float:
        """Return mean electrons of the low shot; the high one reaches 70 % of what is possible."""
        top = self.sensor.gain_e_per_adu / self.sensor.em_gain
        top = min(top * (max_count(self.sensor.bit_depth) - self.sensor.offset_adu), 30000.0)
        if self.case.saturate:
            return 1.5 * top / self.case.ratio / float(np.quantile(self.scene, 0.995))
        peak = float(self.scene.max()) * self.case.ratio
        return min(self.case.low_e, 0.7 * top / peak / (1.0 + 0.1 * self.case.object_peak))

    def pair(self) -> Pair:
        case = self.case
        low_us, high_us = (self.high_us, LOW_US) if case.swapped else (LOW_US, self.high_us)
        middle = 1.0 - case.bleaching / 2
        stale_high = LOW_US if case.stale == "high" else high_us
        stale_low = self.high_us if case.stale == "low" else low_us
        low = self._take("low", LOW_US, stale_low, case.low_frames, 1.0)
        high = self._take("high", self.high_us, stale_high, case.high_frames, middle * case.flicker)
        after = None
        if case.bracket:
            after = self._take("low", LOW_US, low_us, case.low_frames, 1.0 - case.bleaching)
            after = Taken(**{**_fields(after), "shot": replace_shot(after.shot, part="after")})
        return Pair(low=low, high=high, after=after)

    def _take(self, role: str, told_us: int, real_us: int, frames: int, light: float) -> Taken:
        shot = Shot(role=role, exposure_us=told_us, frames=frames)  # type: ignore[arg-type]
        taken = list(self._frames(role, real_us, frames, light))
        top = max_count(self.sensor.bit_depth)
        stack = np.stack(taken)
        return Taken(
            shot=shot,
            image=taken[0] if frames == 1 else stack.mean(axis=0, dtype=np.float32),
            first=taken[0] if frames > 1 else None,
            last=taken[-1] if frames > 1 else None,
            frame_means_adu=tuple(float(m) for m in stack.mean(axis=(1, 2))),
            saturated_fraction=float((stack == top).any(axis=0).mean()),
            zero_fraction=float((stack == 0).any(axis=0).mean()),
            exposure_us=told_us,
        )

    def _frames(self, role: str, real_us: int, frames: int, light: float) -> Iterator[np.ndarray]:
        case = self.case
        for index in range(frames):
            drift = case.drift_in_average_px * index / max(frames - 1, 1) if role == "high" else 0
            scene = self._seen(role, drift)
            strength = light * (0.5 if role == "high" and index == case.odd_frame else 1.0)
            strength *= 0.0 if case.dark and role == "high" else 1.0
            flux = scene * np.float32(strength * self.level_e / (LOW_US * 1e-6))
            flux /= np.float32(self.sensor.quantum_efficiency)
            mean_e = true_electrons(flux, self.maps, self.sensor, real_us)
            yield expose(mean_e, self.maps, self.sensor, self.rng)

    def _seen(self, role: str, drift_px: float) -> np.ndarray:
        case, scene = self.case, self.scene
        if case.object_peak:
            scene = scene + self._object(0.0 if role == "low" else 12.0)
        if role == "high":
            dy, dx = case.shift_px[0] + drift_px, case.shift_px[1]
            scene = translate(scene, dy, dx) if dy or dx else scene
            scene = blur(scene, case.blur_px) if case.blur_px else scene
        inner = slice(MARGIN_PX, -MARGIN_PX)
        return np.ascontiguousarray(scene[inner, inner])

    def _object(self, moved_px: float) -> np.ndarray:
        y, x = np.ogrid[: self.scene.shape[0], : self.scene.shape[1]]
        cy, cx = self.object_at + moved_px / np.sqrt(2)
        distance = (y - cy) ** 2 + (x - cx) ** 2
        bright = float(np.quantile(self.scene, 0.99))
        shape = np.exp(-distance / (2 * self.case.object_sigma_px**2))
        return (self.case.object_peak * bright * shape).astype(np.float32)

    def camera(self, pair: Pair) -> PairCamera:
        case = self.case
        constants = sensor_constants(self.sensor)
        if case.known == "given":
            return PairCamera(constants=constants, bit_depth=self.sensor.bit_depth)
        darks = {
            us: dark_statistics(case.sensor, case.size, us, case.offset_adu)
            for us in (LOW_US, self.high_us)
        }
        scenes = [_single_frames(pair.low), _single_frames(pair.high)]
        return camera_from_darks(
            darks,
            None if case.known == "estimated" else constants,
            scenes if case.known == "estimated" else (),
            bit_depth=self.sensor.bit_depth,
        )


def _single_frames(taken: Taken) -> list[np.ndarray]:
    if taken.first is None or taken.last is None:
        return [taken.image]
    return [taken.first, taken.last]


def _fields(taken: Taken) -> dict[str, object]:
    return {name: getattr(taken, name) for name in taken.__struct_fields__}


def replace_shot(shot: Shot, **changes: object) -> Shot:
    return Shot(**{**{n: getattr(shot, n) for n in shot.__struct_fields__}, **changes})


def good_case(seed: int, size: int = 256) -> Case:
    """Return a good pair drawn over scenes, cameras, knowledge, light, ratio and small drifts."""
    rng = np.random.default_rng([seed, 11])
    frames = int(rng.choice([1, 1, 4]))
    sensor = str(rng.choice(["scmos", "scmos", "emccd", "8-bit"]))
    # 255 counts do not hold a low shot and one a hundred times brighter.
    highest = 15.0 if sensor == "8-bit" else 100.0
    kind = str(rng.choice(["tubules", "granules", "cells", "mixed", "flat"]))
    if sensor == "8-bit" and kind == "granules":
        # One bright grain within 255 counts leaves the field as good as dark.
        kind = "mixed"
    return Case(
        seed=seed,
        size=size,
        kind=kind,
        sensor=sensor,
        known=str(rng.choice(["darks", "darks", "given", "estimated"])),
        low_e=float(np.exp(rng.uniform(0, np.log(300)))),
        ratio=float(np.exp(rng.uniform(np.log(2), np.log(highest)))) if frames == 1 else 1.0,
        high_frames=frames if frames == 1 else int(rng.choice([4, 8])),
        bracket=bool(rng.random() < 0.3),
        shift_px=(float(rng.normal(0, 0.3)), float(rng.normal(0, 0.3))),
        bleaching=float(rng.uniform(0, 0.05)),
    )


def fmd_pairs(folder: Path) -> tuple[PairCamera, list[Pair]]:
    """Return raw[i] with the running mean of 16 that begins 16 frames later, for all 50 frames."""
    raw, average = (tifffile.imread(folder / name) for name in ("raw.tif", "avg16.tif"))
    camera = camera_from_darks({}, None, [list(raw[:8])], bit_depth=8)
    pairs = []
    for index, frame in enumerate(raw):
        used = [(index + 16 + k) % len(raw) for k in range(16)]
        low = _real("low", frame, frame[None])
        high = _real("high", average[used[0]], raw[used])
        pairs.append(Pair(low=low, high=high))
    return camera, pairs


def _real(role: str, image: np.ndarray, frames: np.ndarray) -> Taken:
    shot = Shot(role=role, exposure_us=1000, frames=len(frames))  # type: ignore[arg-type]
    return Taken(
        shot=shot,
        image=image,
        first=frames[0],
        last=frames[-1],
        frame_means_adu=tuple(float(m) for m in frames.mean(axis=(1, 2))),
        saturated_fraction=float((frames == 255).any(axis=0).mean()),
        zero_fraction=float((frames == 0).any(axis=0).mean()),
        exposure_us=1000,
    )


def with_fault(case: Case, **fault: object) -> Case:
    return replace(case, **fault)  # type: ignore[arg-type]
