"""A small simulated microscope and short plans for tests of collection."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from livedenoise.collect.plan import Plan, load_plan
from livedenoise.collect.run import PairShown
from livedenoise.collect.session import CollectSummary, collect_at
from livedenoise.core.clock import Clock, ManualClock
from livedenoise.core.config import SimulatedCameraConfig, parse_config
from livedenoise.core.microscope import (
    Exposed,
    Microscope,
    MicroscopeInfo,
    Position,
    Setting,
)
from livedenoise.core.progress import Progress, ignore_progress
from livedenoise.microscope.simulated import SimulatedMicroscope

SIDE_PX = 128
PIXEL_UM = 0.1

PLAN = """
name = "test"
order = "bracket"
discard = 1
[sequence]
grid_plan = {{ rows = {rows}, columns = {columns}, overlap = -10 }}
[high]
exposure_us = {high_us}
[low]
exposure_us = {low_us}
[dark]
frames = {dark_frames}
[retry]
attempts = {attempts}
stop_after = {stop_after}
{more}
"""


def make_camera(
    faults: Sequence[dict[str, Any]] = (), *, camera: dict[str, Any] | None = None, **scope: Any
) -> SimulatedCameraConfig:
    """Return a small camera with a specimen that stands still, and the faults asked for."""
    section = {
        "kind": "simulated",
        "name": "sim",
        "seed": 11,
        "sensor": {"width_px": SIDE_PX, "height_px": SIDE_PX},
        "scene": {"kind": "mixed", "photons_per_s": 40000.0, "motion_px_per_s": 0.0},
        "microscope": {
            "pixel_size_um": PIXEL_UM,
            "stage_speed_um_per_s": 1e6,
            "fault": list(faults),
            **scope,
        },
        **(camera or {}),
    }
    config = parse_config({"camera": [section]}, "test").camera[0]
    assert isinstance(config, SimulatedCameraConfig)
    return config


def make_plan(folder: Path, more: str = "", **values: Any) -> Plan:
    """Write a plan into a folder and load it."""
    chosen = {
        "rows": 2,
        "columns": 2,
        "high_us": 20_000,
        "low_us": 4_000,
        "dark_frames": 12,
        "attempts": 1,
        "stop_after": 100,
    } | values
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "plan.toml"
    path.write_text(PLAN.format(more=more, **chosen), encoding="utf-8")
    return load_plan(path)


def run(
    config: SimulatedCameraConfig,
    plan: Plan,
    out: Path,
    *,
    scope: Microscope | None = None,
    clock: Clock | None = None,
    stop: threading.Event | None = None,
    shown: list[PairShown] | None = None,
    steps: list[Progress] | None = None,
    with_report: bool = False,
) -> CollectSummary:
    """Collect on a clock that jumps, so that no exposure is waited for."""
    clock = clock or ManualClock(1)
    return collect_at(
        scope or SimulatedMicroscope(config, clock),
        config,
        plan,
        out,
        on_progress=ignore_progress if steps is None else steps.append,
        on_pair=None if shown is None else shown.append,
        stop=stop or threading.Event(),
        clock=clock,
        with_report=with_report,
    )


def start_collect(folder: Path, config: str, *more: str) -> subprocess.Popen[bytes]:
    """Start ``livedenoise collect`` with a folder's ``plan.toml`` into ``set``, as a user does."""
    words = ["collect", config, "--plan", "plan.toml", "--out", "set", *more]
    return subprocess.Popen(
        [sys.executable, "-m", "livedenoise", *words],
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )


class Witness:
    """A microscope that writes down what it is told and passes it on."""

    def __init__(self, inner: Microscope) -> None:
        self.inner = inner
        self.log: list[tuple[str, object]] = []
        self.is_open = False

    def open(self) -> MicroscopeInfo:
        self.log.append(("open", None))
        return self.inner.open()

    def expose(self, exposure_us: int, n_frames: int = 1) -> Iterator[Exposed]:
        self.log.append(("expose", (exposure_us, n_frames, self.is_open)))
        return self.inner.expose(exposure_us, n_frames)

    def set_shutter(self, *, is_open: bool) -> None:
        self.log.append(("shutter", is_open))
        self.is_open = is_open
        self.inner.set_shutter(is_open=is_open)

    def set_properties(self, settings: Sequence[Setting]) -> None:
        self.log.append(("set", (tuple(settings), self.is_open)))
        self.inner.set_properties(settings)

    def read_property(self, device: str, name: str) -> str:
        return self.inner.read_property(device, name)

    def presets(self, group: str) -> tuple[str, ...]:
        return self.inner.presets(group)

    def set_preset(self, group: str, preset: str) -> None:
        self.log.append(("preset", (group, preset)))
        self.inner.set_preset(group, preset)

    def move(self, position: Position) -> None:
        self.log.append(("move", (position, self.is_open)))
        self.inner.move(position)

    def position(self) -> Position:
        return self.inner.position()

    def autofocus(self, device: str = "", offset_um: float | None = None) -> float:
        self.log.append(("autofocus", self.is_open))
        return self.inner.autofocus(device, offset_um)

    def abort(self) -> None:
        self.inner.abort()

    def close(self) -> None:
        self.log.append(("close", None))
        self.inner.close()

    def named(self, name: str) -> list[object]:
        """Return what was told under a name."""
        return [value for told, value in self.log if told == name]
