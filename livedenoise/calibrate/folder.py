"""The calibration folder, written at once: tables, maps, report.

Knows: which tables stand behind ``[camera]`` and ``[constants]`` in ``camera.toml``, how maps of a
region become maps of the sensor. Must not know: measuring, drawing.

Everything is written into a folder of another name beside it, which is renamed at the end: a
calibration is there whole or not at all.
"""

from __future__ import annotations

import json
import secrets
import shutil
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from livedenoise import __version__
from livedenoise.calibrate.data import Region
from livedenoise.calibrate.results import Value
from livedenoise.core.calibration import Calibration, read_calibration, write_calibration
from livedenoise.core.clock import wall_time_text
from livedenoise.core.constants import CameraConstants, CameraMaps
from livedenoise.core.errors import CalibrationError
from livedenoise.report.page import Page

REPORT_NAME = "report.html"


class ToWrite(msgspec.Struct, frozen=True, kw_only=True):
    """What a calibration folder holds; ``extra`` is TOML for the further tables."""

    camera: str
    sensor: tuple[int, int]
    bit_depth: int
    constants: CameraConstants
    maps: CameraMaps | None
    extra: str


def require_new(out: Path) -> None:
    """Raise where a calibration cannot be written, before anything is measured.

    Raises
    ------
    CalibrationError
        If ``out`` exists already, or what it lies in is no folder or cannot be looked into.
    """
    try:
        if out.exists():
            raise CalibrationError(f"{out}: exists already", "choose another folder with --out")
        there = next(parent for parent in out.resolve().parents if parent.exists())
        is_folder = there.is_dir()
    except OSError as error:
        raise CalibrationError(
            f"{out}: cannot be made: {error}", "choose another folder with --out"
        ) from error
    if not is_folder:
        raise CalibrationError(
            f"{out}: cannot be made: {there} is a file, not a folder",
            "choose another folder with --out",
        )


def report_of_failure(out: Path) -> Path:
    """Return where the report of a calibration is that came to no gain."""
    return out.with_name(f"{out.name}.report") / REPORT_NAME


def remove_report_of_failure(out: Path) -> None:
    """Delete the report that an earlier failure left: it is no longer true. Nothing else there.

    Raises
    ------
    CalibrationError
        If it cannot be deleted.
    """
    report = report_of_failure(out)
    if not report.is_file():
        return
    try:
        report.unlink()
        shutil.rmtree(report.with_suffix(""), ignore_errors=True)
        with suppress(OSError):
            # What somebody else put there stays.
            report.parent.rmdir()
    except OSError as error:
        raise CalibrationError(
            f"{report}: cannot be deleted: {error}", "the calibration is whole; delete it"
        ) from error


def write_folder(out: Path, content: ToWrite, page: Page) -> Calibration:
    """Write the calibration and its report, and read it back.

    Raises
    ------
    CalibrationError
        If ``out`` exists, or it cannot be written.
    ConfigError
        If the report cannot be written.
    """
    require_new(out)
    working = out.with_name(f".{out.name}.{secrets.token_hex(3)}")
    try:
        write_calibration(
            working,
            content.constants,
            camera=content.camera,
            sensor=content.sensor,
            bit_depth=content.bit_depth,
            maps=content.maps,
            extra=content.extra,
        )
        page.write(working / REPORT_NAME)
        working.rename(out)
    except OSError as error:
        raise CalibrationError(f"{out}: cannot be written: {error}") from error
    finally:
        with suppress(FileNotFoundError):
            shutil.rmtree(working)
    return read_calibration(out)


def on_sensor(
    maps: CameraMaps, constants: CameraConstants, sensor: tuple[int, int], roi: Region
) -> CameraMaps:
    """Return maps of the whole sensor (Y, X): those of a region, and the constants around it.

    Outside the region a pixel gets what it would get without maps: the scalar offset, gain and
    read noise.
    """
    x, y, width, height = roi
    if (height, width) == sensor:
        return maps
    variance = (constants.read_noise_e / constants.gain_e_per_adu) ** 2
    outside = {
        "offset_adu": constants.offset_adu,
        "gain_e_per_adu": constants.gain_e_per_adu,
        "variance_adu2": variance,
    }
    whole = {}
    for name, value in outside.items():
        page = np.full(sensor, value, np.float32)
        page[y : y + height, x : x + width] = getattr(maps, name)
        whole[name] = page
    return CameraMaps(**whole)


def measured_tables(
    values: Mapping[str, Value], facts: Mapping[str, Any], warnings: Iterable[str]
) -> str:
    """Return the TOML tables ``[measured.NAME]``, one for each quantity, and ``[measurement]``."""
    lines = ["[measurement]", f"made = {_toml(wall_time_text())}"]
    lines += [f"livedenoise = {_toml(__version__)}"]
    lines += [f"{key} = {_toml(value)}" for key, value in facts.items()]
    lines += [f"warnings = {_toml(list(warnings))}", ""]
    for name, value in values.items():
        lines.append(f"[measured.{name}]")
        fields = msgspec.structs.asdict(value)
        lines += [
            f"{key} = {_toml(item)}" for key, item in fields.items() if item not in (None, "")
        ]
        lines.append("")
    return "\n".join(lines)


def _toml(value: Any) -> str:  # noqa: ANN401  (plain data)
    """Return plain data as TOML; objects and None have no place in a value and become JSON text."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | np.integer):
        return str(int(value))
    if isinstance(value, float | np.floating):
        return repr(float(value))
    if isinstance(value, list | tuple):
        return f"[{', '.join(_toml(item) for item in value)}]"
    text = value if isinstance(value, str) else json.dumps(value)
    # JSON's escapes are TOML's, but for DEL, which TOML refuses.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
