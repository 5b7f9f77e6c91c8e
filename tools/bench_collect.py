"""What a field costs beyond exposures, stage and settling, and whether memory grows with fields.

    python tools/bench_collect.py --out docs/benchmarks/collect.json

The microscope hands out frames that were made before (scene, sensor noise), so that nothing of the
time is simulation: exposures and moves take their time on the clock, all else is ours. Wanted:
overhead below 5 % or 20 ms a field, whichever is larger.
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from bench_common import busy, machine_facts

from livedenoise.collect.dataset_reader import open_dataset
from livedenoise.collect.plan import load_plan
from livedenoise.collect.session import collect_at
from livedenoise.core.camera import CameraInfo
from livedenoise.core.clock import MonotonicClock
from livedenoise.core.config import SensorConfig, SimulatedCameraConfig
from livedenoise.core.microscope import Exposed, MicroscopeInfo, Position, Setting
from livedenoise.core.progress import Progress
from livedenoise.imaging.scenes import render_scene
from livedenoise.imaging.sensor import draw_maps, expose, sensor_constants, true_electrons

PLAN = """
name = "bench"
order = "{order}"
settle_ms = {settle_ms}
discard = 1
[sequence]
grid_plan = {{ rows = 1, columns = {fields}, overlap = -10 }}
[high]
exposure_us = {high}
[low]
exposure_us = {low}
[dark]
frames = 8
"""
CASES = {
    "512, one low": (512, "[10000]", "low-first", 50.0, 20.0),
    "512, bracket of three": (512, "[40000, 20000, 10000]", "bracket", 50.0, 20.0),
    "512, one low, no stage time": (512, "[10000]", "low-first", 0.0, 0.0),
    "2048, one low": (2048, "[10000]", "low-first", 50.0, 20.0),
    "2048, bracket of three": (2048, "[40000, 20000, 10000]", "bracket", 50.0, 20.0),
    "128, many fields": (128, "[1000]", "low-first", 0.0, 0.0),
}
"""Edge of the frames, low exposures, order, time of a move and settling, ms."""


class CannedMicroscope:
    """Frames made before, at their time; a stage that takes its time."""

    def __init__(self, size_px: int, exposures_us: Sequence[int], move_ms: float) -> None:
        self._sensor = SensorConfig(width_px=size_px, height_px=size_px)
        self._move_s = move_ms * 1e-3
        rng = np.random.default_rng(1)
        maps = draw_maps(self._sensor, 1, (0, 0, size_px, size_px), 1)
        scene = render_scene("mixed", (size_px, size_px), rng) * np.float32(20000.0)
        dark = np.zeros_like(scene)
        self._frames = {
            (exposure, lit): [
                expose(
                    true_electrons((scene if lit else dark).copy(), maps, self._sensor, exposure),
                    maps,
                    self._sensor,
                    rng,
                )
                for _ in range(4)
            ]
            for exposure in exposures_us
            for lit in (False, True)
        }
        self._is_open = False
        self._given = 0
        self._at = Position(x_um=0.0, y_um=0.0)

    def open(self) -> MicroscopeInfo:
        """Describe it."""
        shape = (self._sensor.height_px, self._sensor.width_px)
        camera = CameraInfo(
            name="canned",
            kind="simulated",
            sensor=shape,
            dtype="<u2",
            bit_depth=16,
            constants=sensor_constants(self._sensor),
        )
        return MicroscopeInfo(
            camera=camera,
            shape=shape,
            roi=(0, 0, *shape),
            capabilities=("xy", "shutter"),
            pixel_size_um=0.1,
            simulated=True,
        )

    def expose(self, exposure_us: int, n_frames: int = 1) -> Iterator[Exposed]:
        """Yield copies of frames made before, each when its exposure is over."""
        start = time.perf_counter()
        frames = self._frames[exposure_us, self._is_open]
        for number in range(n_frames):
            # Copied while it is exposed: a camera's own time is none of ours.
            self._given += 1
            pixels = frames[self._given % len(frames)].copy()
            left = start + (number + 1) * exposure_us * 1e-6 - time.perf_counter()
            if left > 0:
                time.sleep(left)
            yield Exposed(pixels=pixels, exposure_us=exposure_us, t_host_ns=time.perf_counter_ns())

    def set_shutter(self, *, is_open: bool) -> None:
        """Open or close at once."""
        self._is_open = is_open

    def set_properties(self, settings: Sequence[Setting]) -> None:
        """Take nothing."""

    def read_property(self, device: str, name: str) -> str:  # noqa: ARG002
        """Return nothing."""
        return ""

    def presets(self, group: str) -> tuple[str, ...]:  # noqa: ARG002
        """Return none."""
        return ()

    def set_preset(self, group: str, preset: str) -> None:
        """Take nothing."""

    def move(self, position: Position) -> None:
        """Take the time of a move."""
        time.sleep(self._move_s)
        self._at = position

    def position(self) -> Position:
        """Return where it was sent."""
        return self._at

    def autofocus(self, device: str = "", offset_um: float | None = None) -> float:  # noqa: ARG002
        """Return the middle."""
        return 0.0

    def abort(self) -> None:
        """Do nothing: exposures are short."""

    def close(self) -> None:
        """Do nothing."""


def measure(name: str, fields: int) -> dict[str, Any]:
    """Collect one case and return its times."""
    size, low, order, move_ms, settle_ms = CASES[name]
    high = 5_000 if size == 128 else 100_000
    exposures = [*json.loads(low), high]
    scope = CannedMicroscope(size, exposures, move_ms)
    config = SimulatedCameraConfig(kind="simulated")
    resident: list[int] = []

    def note(progress: Progress) -> None:
        if progress.unit == "fields":
            resident.append(psutil.Process().memory_info().rss)
            sys.stderr.write(f"\r{name}: {progress.done}/{progress.total} ")

    with tempfile.TemporaryDirectory() as folder:
        plan = Path(folder) / "plan.toml"
        text = PLAN.format(order=order, settle_ms=settle_ms, fields=fields, low=low, high=high)
        plan.write_text(text, encoding="utf-8")
        gc.collect()
        summary = collect_at(
            scope,
            config,
            load_plan(plan),
            Path(folder) / "set",
            on_progress=note,
            on_pair=None,
            stop=threading.Event(),
            clock=MonotonicClock(),
            with_report=False,
        )
        records = list(open_dataset(Path(folder) / "set").records())
    overhead = [one.overhead_s * 1e3 for one in records[2:]]
    elapsed = [one.elapsed_s * 1e3 for one in records[2:]]
    needed = statistics.median(e - o for e, o in zip(elapsed, overhead, strict=True))
    limit = max(20.0, 0.05 * needed)
    return {
        "fields": fields,
        "accepted": summary.pairs_accepted,
        "rejected": summary.pairs_rejected,
        "needed_ms": round(needed, 2),
        "overhead_median_ms": round(statistics.median(overhead), 2),
        "overhead_p95_ms": round(sorted(overhead)[int(0.95 * len(overhead))], 2),
        "limit_ms": round(limit, 2),
        "kept": statistics.median(overhead) <= limit,
        "resident_mb_at_a_quarter": round(resident[len(resident) // 4] / 2**20, 1),
        "resident_mb_at_the_end": round(resident[-1] / 2**20, 1),
    }


def measure_memory(fields: int) -> dict[str, Any]:
    """Collect many small fields and return how the resident memory grows with them."""
    result = measure("128, many fields", fields)
    keys = ("fields", "accepted", "resident_mb_at_a_quarter", "resident_mb_at_the_end")
    return {key: result[key] for key in keys}


def main() -> int:
    """Measure all cases, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--fields", type=int, default=60)
    parser.add_argument("--memory-fields", type=int, default=1500, help="0: not measured")
    parser.add_argument("--only", help="part of a case's name")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    facts, results = machine_facts(), {}
    for name in CASES:
        if "many" not in name and (arguments.only is None or arguments.only in name):
            results[name] = measure(name, arguments.fields)
            sys.stderr.write("\n")
            print(name, json.dumps(results[name]))
    memory = measure_memory(arguments.memory_fields) if arguments.memory_fields else {}
    print("memory", json.dumps(memory))
    if arguments.out is not None:
        data = {"machine": facts | {"busy_after": busy()}, "cases": results, "memory": memory}
        arguments.out.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
