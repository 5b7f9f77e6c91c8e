"""The dry run: what a collection would do and cost, without light and without a move.

Knows: configuration and plan -> forecast. Must not know: how it is shown.

The microscope is opened, because only it tells the size of its frames, its limits, what it can do
and where it stands; by its contract opening exposes nothing and moves nothing. The data set's
folder need not exist, and nothing is written.
"""

from __future__ import annotations

import os
import shutil
from contextlib import closing
from pathlib import Path

import msgspec

from livedenoise.collect.dataset_resume import require_new
from livedenoise.collect.forecast import Forecast, make_forecast
from livedenoise.collect.manifest import read_header, read_records
from livedenoise.collect.plan import Plan, load_plan, make_program
from livedenoise.collect.plan_devices import check_devices
from livedenoise.collect.program import Program
from livedenoise.collect.records import MANIFEST_NAME, DatasetHeader
from livedenoise.core.config import CameraConfig, load_config
from livedenoise.core.errors import ConfigError
from livedenoise.core.microscope import Microscope
from livedenoise.microscope.choose import open_microscope_for


def run_dry(config_path: Path, plan_path: Path, out: Path, *, resume: bool = False) -> Forecast:
    """Return what a collection would cost.

    Parameters
    ----------
    config_path, plan_path : Path
        Files of the rig and of the plan.
    out : Path
        Where the data set would be.
    resume : bool
        Forecast only the fields that the data set lacks.

    Raises
    ------
    ConfigError
        If configuration or plan are wrong, or do not fit the microscope or the data set.
    CameraError
        If the microscope cannot be opened.
    """
    camera, plan = one_camera(config_path), load_plan(plan_path)
    return forecast_at(open_microscope_for(camera), plan, out, resume=resume)


def one_camera(config_path: Path) -> CameraConfig:
    """Return the camera of a rig that a collection can drive.

    Raises
    ------
    ConfigError
        If the configuration is wrong, or has several.
    """
    config = load_config(config_path)
    if len(config.camera) > 1:
        names = ", ".join(camera.name for camera in config.camera)
        raise ConfigError(
            f"{config_path}:camera: a collection drives one camera, not {len(config.camera)}: "
            f"{names}",
            "leave one [[camera]] in a copy of the configuration",
        )
    return config.camera[0]


def forecast_at(scope: Microscope, plan: Plan, out: Path, *, resume: bool = False) -> Forecast:
    """Open a microscope, make the program, close it again; only it and the disk are asked.

    Raises
    ------
    LiveDenoiseError
        As ``run_dry`` says.
    """
    begun = _begun(plan, out) if resume else None
    with closing(scope):
        if begun is None:
            require_new(out)
        _require_writable(out)
        info = scope.open()
        start = scope.position() if begun is None else begun.start
        program = make_program(plan, info, start)
        check_devices(scope, program, plan)
    if begun is not None:
        program = _left(program, out)
    return make_forecast(program, info, _free_bytes(out))


def _begun(plan: Plan, out: Path) -> DatasetHeader | None:
    """Return the header of the data set that is to be gone on with, None when there is none."""
    if not (out / MANIFEST_NAME).is_file():
        return None
    header = read_header(out)
    if header.plan_hash != plan.plan_hash:
        raise ConfigError(
            f"{out}: made with another plan, {header.plan_name} ({header.plan_hash}), than "
            f"{plan.name} ({plan.plan_hash})",
            "resume with the plan it was begun with, or take another folder",
        )
    return header


def _free_bytes(out: Path) -> int:
    """Return what is free where the folder is, or would be made."""
    return shutil.disk_usage(_nearest(out)).free


def _nearest(out: Path) -> Path:
    """Return the folder itself, or the nearest one above that exists (a file stands for itself)."""
    path = out.resolve()
    while not path.exists() and path != path.parent:
        path = path.parent
    return path


def _require_writable(out: Path) -> None:
    path = _nearest(out)
    if not path.is_dir():
        raise ConfigError(f"{out}: {path} is no folder", "choose another folder with --out")
    if not os.access(path, os.W_OK | os.X_OK):
        raise ConfigError(f"{out}: {path} cannot be written to", "choose another folder with --out")


def _left(program: Program, out: Path) -> Program:
    """Return the program with the fields that a data set lacks, and without its dark frames."""
    settled = {one.field for one in read_records(out) if one.status != "retry"}
    kept = [number for number in range(len(program.fields)) if number not in settled]
    note = f"{len(settled)} of {len(program.fields)} fields are in the data set: these are left"
    return msgspec.structs.replace(
        program,
        fields=tuple(program.fields[number] for number in kept),
        splits=tuple(program.splits[number] for number in kept),
        homes_z_um=tuple(program.homes_z_um[number] for number in kept),
        darks=(),
        notes=(*program.notes, note),
    )
