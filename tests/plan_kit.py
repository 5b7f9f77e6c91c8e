"""Plans and microscopes that tests of collections start from."""

from __future__ import annotations

from pathlib import Path

from livedenoise.collect.plan import Plan, load_plan, make_program
from livedenoise.collect.program import Program
from livedenoise.core.camera import CameraInfo
from livedenoise.core.microscope import Capability, MicroscopeInfo, Position

ALL: tuple[Capability, ...] = ("xy", "z", "shutter", "autofocus", "light")
START = Position(x_um=1000.0, y_um=-500.0, z_um=40.0)
PAIR = "[high]\nexposure_us = 10_000\n[low]\nexposure_us = 1_000\n"


def scope_info(
    *,
    capabilities: tuple[Capability, ...] = ALL,
    pixel_size_um: float = 0.5,
    shape: tuple[int, int] = (100, 200),
    exposure_min_us: int = 10,
    exposure_max_us: int = 1_000_000,
    max_rate_hz: float = 0.0,
) -> MicroscopeInfo:
    """Return a microscope whose field is 100 x 50 micrometres."""
    camera = CameraInfo(
        name="cam",
        kind="simulated",
        sensor=shape,
        dtype="<u2",
        bit_depth=16,
        max_rate_hz=max_rate_hz,
    )
    return MicroscopeInfo(
        camera=camera,
        shape=shape,
        roi=(0, 0, shape[1], shape[0]),
        capabilities=capabilities,
        pixel_size_um=pixel_size_um,
        exposure_min_us=exposure_min_us,
        exposure_max_us=exposure_max_us,
    )


def written(folder: Path, text: str, name: str = "plan.toml") -> Path:
    """Write a plan."""
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def plan_of(folder: Path, text: str) -> Plan:
    """Write and load a plan."""
    return load_plan(written(folder, text))


def program_of(
    folder: Path,
    text: str,
    info: MicroscopeInfo | None = None,
    start: Position = START,
) -> Program:
    """Write and load a plan, and make it a program."""
    return make_program(plan_of(folder, text), info or scope_info(), start)
