"""From a microscope, files or published maps to a calibration folder with its report.

Knows: the order of the steps and what is written when one fails. Must not know: the command line.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import msgspec

from livedenoise.calibrate.acquire import Ask, Say, acquire, require_dark
from livedenoise.calibrate.data import CalibrationData, taken_as
from livedenoise.calibrate.folder import (
    ToWrite,
    measured_tables,
    on_sensor,
    remove_report_of_failure,
    report_of_failure,
    require_new,
    write_folder,
)
from livedenoise.calibrate.measure import measure, to_constants
from livedenoise.calibrate.partial import PartialStore, partial_folder
from livedenoise.calibrate.plausible import offset_warnings, require_light, require_saturation
from livedenoise.calibrate.published import PublishedMaps
from livedenoise.calibrate.read import read_frames
from livedenoise.calibrate.report import measured_page, published_page, verdict
from livedenoise.calibrate.results import CalibrationResult, Known, Value
from livedenoise.calibrate.resuming import configuration_of, identity_of
from livedenoise.calibrate.settings import AcquireSettings, LightLadder
from livedenoise.core.calibration import Calibration
from livedenoise.core.constants import CameraConstants, CameraMaps
from livedenoise.core.errors import CalibrationError
from livedenoise.core.microscope import Microscope
from livedenoise.core.progress import OnProgress, ignore_progress


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """A calibration that was written, and everything that was found.

    ``dark_files`` and ``lit_files`` say which files were taken as what; empty for a camera.
    """

    calibration: Calibration
    values: dict[str, Value]
    verdict: str
    warnings: tuple[str, ...]
    dark_files: tuple[str, ...] = ()
    lit_files: tuple[str, ...] = ()


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
    configuration: Mapping[str, Any] | None = None,
    resume: bool = False,
    on_progress: OnProgress = ignore_progress,
) -> Outcome:
    """Take the frames with a microscope and calibrate its camera.

    Parameters
    ----------
    make : callable
        Makes the microscope; it is opened and closed here.
    configuration : mapping, optional
        The camera's table of the configuration: what was begun with another is not gone on with.
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
    store: PartialStore | None = None
    try:
        info = microscope.open()
        require_dark(info, settings, can_ask=ask is not None)
        if settings.light is not None:
            _require_light_property(microscope, settings.light)
        identity = identity_of(info, settings, configuration_of(configuration or {}))
        store = PartialStore(partial_folder(out), identity, resume=resume)
        data = acquire(microscope, info, settings, store, say=say, ask=ask, on_progress=on_progress)
    finally:
        microscope.close()
        if store is not None:
            store.remove_if_empty()
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
    say: Say | None = None,
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
        say=say,
        on_progress=on_progress,
    )
    return _write_measured(out, data, known)


def _require_light_property(microscope: Microscope, light: LightLadder) -> None:
    """Raise where there is no such property, or it does not take a value; in the dark."""
    microscope.read_property(light.device, light.property)
    values = (*light.values, light.off) if light.off else light.values
    for value in values:
        microscope.set_properties([light.setting(value)])


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
    remove_report_of_failure(out)
    return Outcome(
        calibration=calibration,
        values=values,
        verdict="Maps taken over as published; nothing was measured.",
        warnings=found.warnings,
    )


def _write_measured(out: Path, data: CalibrationData, known: Known) -> Outcome:
    try:
        require_light(data)
        require_saturation(data, known)
        result = measure(data.darks(), data.lit(), bit_depth=data.bit_depth, known=known)
    except CalibrationError as error:
        raise _with_what_was_told(error, data) from error
    data = msgspec.structs.replace(
        data, warnings=(*data.warnings, *offset_warnings(result, known, has_darks=data.has_darks))
    )
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
    remove_report_of_failure(out)
    return Outcome(
        calibration=calibration,
        values=result.values(),
        verdict=verdict(result, constants).text,
        warnings=warnings,
        dark_files=data.dark_files,
        lit_files=data.lit_files,
    )


def _with_what_was_told(
    error: CalibrationError, data: CalibrationData, warnings: Sequence[str] = ()
) -> CalibrationError:
    """Return the error with the warnings that come to nobody's eyes otherwise."""
    lines = [f"! {line}" for line in dict.fromkeys((*data.warnings, *warnings))]
    lines += [*taken_as(data.dark_files, data.lit_files)]
    return CalibrationError("\n  ".join([error.message, *lines]), error.hint)


def _constants_or_report(
    out: Path, data: CalibrationData, result: CalibrationResult
) -> CameraConstants:
    """Return the constants; where there are none, leave the report of why."""
    try:
        return to_constants(result)
    except CalibrationError as error:
        report = report_of_failure(out)
        measured_page(data, result, None).write(report)
        told = _with_what_was_told(error, data, result.warnings)
        hint = f"{error.hint}; see {report}".lstrip("; ")
        raise CalibrationError(told.message, hint) from error


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
        "dark_files": list(data.dark_files),
        "lit_files": list(data.lit_files),
    }
