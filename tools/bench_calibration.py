"""How well a calibration finds the truth: simulated cameras of the shipped presets.

    python tools/bench_calibration.py --out docs/benchmarks/calibration.json

For each preset and several sensors: dark frames at two exposures and nine levels of even light,
measured as `livedenoise calibrate` measures them, then held against the sensor's true maps. `pull`
is the deviation in its own stated standard errors: its root mean square should be about 1.
Simulated: real cameras have more ways to be wrong.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from bench_common import ROOT, machine_facts

from livedenoise.calibrate.measure import LitSeries, measure
from livedenoise.calibrate.results import CalibrationResult, Known, Value
from livedenoise.core.config import SensorConfig, load_config
from livedenoise.core.frame import max_count
from livedenoise.imaging.ptc_moments import PixelMoments, PixelSummary
from livedenoise.imaging.sensor import draw_maps, expose, true_electrons
from livedenoise.imaging.sensor_maps import SensorMaps, camera_maps

PRESETS = ("orca_flash4_v3", "kinetix_sensitivity", "kinetix_speed", "zyla_4_2", "ixon_888")
SHORT_US, LONG_US = 10_000.0, 10_000_000.0
STEPS = (0.03, 0.1, 0.2, 0.3, 0.45, 0.6, 0.8, 1.0, 1.4)
"""Levels in units of the full range."""


def sensor_of(preset: str, side: int) -> SensorConfig:
    """Return a small sensor of a preset."""
    camera = load_config(ROOT / "hardware_configs" / f"{preset}.toml").camera[0]
    sensor: SensorConfig = camera.sensor  # type: ignore[union-attr]
    return sensor.model_copy(update={"width_px": side, "height_px": side})


def series(
    sensor: SensorConfig,
    maps: SensorMaps,
    rng: np.random.Generator,
    electrons: float,
    *,
    frames: int,
    exposure_us: float = SHORT_US,
) -> PixelSummary:
    """Expose so many frames of even light."""
    dark = true_electrons(np.zeros(maps.shape, np.float32), maps, sensor, exposure_us)
    moments = PixelMoments(maps.shape, bit_depth=sensor.bit_depth, fourth=electrons == 0.0)
    for _ in range(frames):
        moments.add(expose(dark + np.float32(electrons), maps, sensor, rng))
    return moments.summary()


def calibrate(sensor: SensorConfig, seed: int) -> tuple[CalibrationResult, dict[str, float]]:
    """Measure one sensor; return the result and the truth."""
    maps = draw_maps(sensor, seed)
    rng = np.random.Generator(np.random.SFC64(seed))
    true = camera_maps(maps, sensor)
    gain = float(true.gain_e_per_adu.mean())
    room = (max_count(sensor.bit_depth) - sensor.offset_adu) * gain
    full_e = min(sensor.full_well_e, room)
    darks = {
        SHORT_US: series(sensor, maps, rng, 0.0, frames=200),
        LONG_US: series(sensor, maps, rng, 0.0, frames=50, exposure_us=LONG_US),
    }
    levels = [
        LitSeries(
            exposure_us=SHORT_US,
            light=full_e * step,
            summary=series(sensor, maps, rng, full_e * step, frames=24),
        )
        for step in STEPS
    ]
    excess = 2.0 if sensor.em_gain > 1 else None
    known = Known(excess_noise_factor=excess, flat_field=True)
    result = measure(darks, levels, bit_depth=sensor.bit_depth, known=known)
    noise: npt.NDArray[np.float32] = true.variance_adu2 * true.gain_e_per_adu**2
    truth = {
        "gain": gain,
        "read_noise": float(np.sqrt(noise.mean())),
        "offset": float(true.offset_adu.mean()),
    }
    return result, truth


def judged(value: Value, truth: float, *, relative: bool) -> tuple[float, float]:
    """Return the deviation (percent or plain) and the pull."""
    if value.value is None or value.error is None:
        return float("nan"), float("nan")
    off = value.value - truth
    pull = off / value.error if value.error > 0 else float("nan")
    return (100.0 * off / truth if relative else off), pull


def row(preset: str, side: int, seeds: int) -> dict[str, Any]:
    """Return the worst deviations and the pulls of a preset over several sensors."""
    sensor = sensor_of(preset, side)
    found: dict[str, list[tuple[float, float]]] = {}
    for seed in range(1, seeds + 1):
        result, truth = calibrate(sensor, seed)
        values = {
            "gain": result.gain_e_per_adu,
            "read_noise": result.read_noise_e,
            "offset": result.offset_adu,
        }
        for name, value in values.items():
            found.setdefault(name, []).append(judged(value, truth[name], relative=name != "offset"))
        sys.stderr.write(f"\r{preset}: {seed}/{seeds} ")
    table: dict[str, Any] = {"name": preset}
    for name, pairs in found.items():
        deviation, pull = np.array(pairs).T
        unit = "adu" if name == "offset" else "percent"
        table[f"{name}_worst_{unit}"] = round(float(np.abs(deviation).max()), 4)
        table[f"{name}_pull_rms"] = round(float(np.sqrt(np.square(pull).mean())), 2)
    return table


def main() -> int:
    """Measure all presets, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--side", type=int, default=96, help="edge of the sensor, px")
    parser.add_argument("--seeds", type=int, default=6)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    facts = machine_facts()
    rows = [row(preset, arguments.side, arguments.seeds) for preset in PRESETS]
    sys.stderr.write("\n")
    for one in rows:
        print(json.dumps(one))
    if arguments.out is not None:
        data = {"simulated": True, "machine": facts, "presets": rows}
        arguments.out.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
