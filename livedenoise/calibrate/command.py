"""From a microscope, files or published maps to a calibration folder with its report.

Knows: the order of the steps and what is written when one fails. Must not know: the command line.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import msgspec

from livedenoise.calibrate.acquire import Ask, Say, acquire, identity_of, require_dark
from livedenoise.calibrate.data import CalibrationData
from livedenoise.calibrate.folder import (
    REPORT_NAME,
    ToWrite,
    measured_tables,
    on_sensor,
    require_new,
    write_folder,
)
from livedenoise.calibrate.measure import measure, to_constants
from livedenoise.calibrate.partial import PartialStore, partial_folder
from livedenoise.calibrate.published import PublishedMaps
from livedenoise.calibrate.read import read_frames
from livedenoise.calibrate.report import measured_page, published_page, verdict
from livedenoise.calibrate.results import CalibrationResult, Known, Value
from livedenoise.calibrate.settings import AcquireSettings
from livedenoise.core.calibration import Calibration
from livedenoise.core.constants import CameraConstants, CameraMaps
from livedenoise.core.errors import CalibrationError
from livedenoise.core.microscope import Microscope
from livedenoise.core.progress import OnProgress, ignore_progress


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """A calibration that was written, and everything that was found."""

    calibration: Calibration
    values: dict[str, Value]
    verdict: str
    warnings: tuple[str, ...]


class OpenMicroscope(Protocol):
    """Makes a microscope that is not open yet."""

    def __call__(self) -> Microscope:
        """Return it."""


def calibrate_camera(
    make: OpenMicroscope,
    settings: AcquireSettings,
    out: Path,
    *,
    known: Known,
    say: Say,
    ask: Ask | None = None,
    resume: bool = False,
    on_progress: OnProgress = ignore_progress,
) -> Outcome:
    """Take the frames with a microscope and calibrate its camera.

    Parameters
    ----------
    make : callable
        Makes the microscope; it is opened and closed here.
    resume : bool
        Go on with what an interrupted calibration finished.

    Raises
    ------
    CalibrationError
        If ``out`` exists, there is no way to darkness or no light, what is to be resumed was
        begun otherwise, or no gain could be measured (the report is then in ``OUT.report``).
    CameraError
        As the microscope raises it. What is finished is kept: ``--resume`` goes on.
    """
    require_new(out)
    microscope = make()
    try:
        info = microscope.open()
        require_dark(info, settings, can_ask=ask is not None)
        store = PartialStore(partial_folder(out), identity_of(info, settings), resume=resume)
        data = acquire(microscope, info, settings, store, say=say, ask=ask, on_progress=on_progress)
    finally:
        microscope.close()
    try:
        outcome = _write_measured(out, data, known)
    except CalibrationError as error:
        kept = (
            f"the series are kept: --resume measures them again, deleting {store.folder} takes new"
        )
        raise CalibrationError(error.message, f"{error.hint}; {kept}".lstrip("; ")) from error
    store.remove()
    return outcome


def calibrate_files(
    inputs: Sequence[Path],
    out: Path,
    *,
    known: Known,
    darks: Sequence[Path] = (),
    lights: Sequence[Path] = (),
    bit_depth: int | None = None,
    camera: str = "",
    on_progress: OnProgress = ignore_progress,
) -> Outcome:
    """Calibrate from files, as ``read.read_frames`` reads them.

    Raises
    ------
    ConfigError
        As ``read_frames``.
    CalibrationError
        If ``out`` exists, or no gain could be measured.
    """
    require_new(out)
    data = read_frames(
        inputs,
        darks=darks,
        lights=lights,
        bit_depth=bit_depth,
        camera=camera,
        on_progress=on_progress,
    )
    return _write_measured(out, data, known)


def write_published(
    out: Path, found: PublishedMaps, *, camera: str, bit_depth: int, source: str
) -> Outcome:
    """Write published maps as a calibration.

    Raises
    ------
    CalibrationError
        If ``out`` exists or cannot be written.
    """
    shape = found.maps.offset_adu.shape
    sensor = (shape[0], shape[1])
    told = {
        "gain_e_per_adu": (found.constants.gain_e_per_adu, "e/ADU", "median of the map"),
        "offset_adu": (found.constants.offset_adu, "ADU", "mean of the map"),
        "read_noise_e": (found.constants.read_noise_e, "e", "root mean square of the map"),
    }
    values = {
        name: Value(value=value, unit=unit, status="given", text=text)
        for name, (value, unit, text) in told.items()
    }
    facts = {"source": source, "maps": list(found.sources)}
    content = ToWrite(
        camera=camera,
        sensor=sensor,
        bit_depth=bit_depth,
        constants=found.constants,
        maps=found.maps,
        extra=measured_tables(values, facts, found.warnings),
    )
    calibration = write_folder(out, content, published_page(camera, found))
    return Outcome(
        calibration=calibration,
        values=values,
        verdict="Maps taken over as published; nothing was measured.",
        warnings=found.warnings,
    )


def _write_measured(out: Path, data: CalibrationData, known: Known) -> Outcome:
    _require_light(data)
    result = measure(data.darks(), data.lit(), bit_depth=data.bit_depth, known=known)
    constants = _constants_or_report(out, data, result)
    maps, more = _maps(data, result, constants)
    data = msgspec.structs.replace(data, warnings=(*data.warnings, *more))
    warnings = (*data.warnings, *result.warnings)
    content = ToWrite(
        camera=data.camera,
        sensor=data.sensor,
        bit_depth=data.bit_depth,
        constants=constants,
        maps=maps,
        extra=measured_tables(result.values(), _facts(data, result, known), warnings),
    )
    calibration = write_folder(out, content, measured_page(data, result, constants))
    return Outcome(
        calibration=calibration,
        values=result.values(),
        verdict=verdict(result, constants).text,
        warnings=warnings,
    )


def _require_light(data: CalibrationData) -> None:
    """Refuse lit series that are no brighter than the dark ones: most likely mistaken for them."""
    darks = {s.name: float(s.summary.mean_adu.mean()) for s in data.series if s.is_dark}
    lit = {s.name: float(s.summary.mean_adu.mean()) for s in data.series if not s.is_dark}
    if not darks or max(lit.values()) > min(darks.values()):
        return
    dark, light = min(darks, key=darks.__getitem__), max(lit, key=lit.__getitem__)
    raise CalibrationError(
        f"the brightest lit series ({light}) has {lit[light]:.1f} counts, the dark one ({dark}) "
        f"{darks[dark]:.1f}",
        "are they mistaken for each other? --dark PATH and --lit PATH say which is which",
    )


def _constants_or_report(
    out: Path, data: CalibrationData, result: CalibrationResult
) -> CameraConstants:
    """Return the constants; where there are none, leave the report of why."""
    try:
        return to_constants(result)
    except CalibrationError as error:
        report = out.with_name(f"{out.name}.report") / REPORT_NAME
        measured_page(data, result, None).write(report)
        raise CalibrationError(error.message, f"{error.hint}; see {report}".lstrip("; ")) from error


def _maps(
    data: CalibrationData, result: CalibrationResult, constants: CameraConstants
) -> tuple[CameraMaps | None, tuple[str, ...]]:
    """Return maps of the sensor, and what is to be said about them."""
    maps = result.maps
    if maps is None:
        return None, ()
    if data.binning != 1:
        told = f"maps of pixels binned {data.binning}x{data.binning} are not written: calibrate "
        return None, (f"{told}without binning to have them; the constants hold for this binning",)
    if result.sensor == data.sensor:
        return maps, ()
    told = f"maps were measured on the region {data.roi} (x, y, width, height) only: around it "
    whole = on_sensor(maps, constants, data.sensor, data.roi)
    return whole, (f"{told}each pixel has the scalar constants",)


def _facts(data: CalibrationData, result: CalibrationResult, known: Known) -> dict[str, Any]:
    return {
        "source": data.source,
        "simulated": data.simulated,
        "model": result.model,
        "frames": result.n_frames,
        "dark_frames": result.n_dark_frames,
        "region_px": list(data.roi),
        "binning": data.binning,
        "maps": result.maps_text,
        "settings": json.dumps(data.settings),
        "known": json.dumps(msgspec.to_builtins(known)),
        "notes": list(data.notes),
    }
