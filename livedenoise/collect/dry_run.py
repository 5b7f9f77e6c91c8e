"""The dry run: what a collection would do and cost, without light and without a move.

Knows: configuration and plan -> forecast. Must not know: how it is shown.

The microscope is opened, because only it tells the size of its frames, its limits, what it can do
and where it stands; by its contract opening exposes nothing and moves nothing. The data set's
folder need not exist, and nothing is written.
"""

from __future__ import annotations

import shutil
from contextlib import closing
from pathlib import Path

import msgspec

from livedenoise.collect.forecast import Forecast, make_forecast
from livedenoise.collect.manifest import read_header, read_records
from livedenoise.collect.plan import Plan, load_plan, make_program
from livedenoise.collect.program import Program
from livedenoise.collect.records import MANIFEST_NAME
from livedenoise.core.config import load_config
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
    config, plan = load_config(config_path), load_plan(plan_path)
    if len(config.camera) > 1:
        names = ", ".join(camera.name for camera in config.camera)
        raise ConfigError(
            f"{config_path}:camera: a collection drives one camera, not {len(config.camera)}: "
            f"{names}",
            "leave one [[camera]] in a copy of the configuration",
        )
    return forecast_at(open_microscope_for(config.camera[0]), plan, out, resume=resume)


def forecast_at(scope: Microscope, plan: Plan, out: Path, *, resume: bool = False) -> Forecast:
    """Open a microscope, make the program, close it again; only it and the disk are asked."""
    with closing(scope):
        info = scope.open()
        start = scope.position()
    program = make_program(plan, info, start)
    if resume:
        program = _left(program, out)
    return make_forecast(program, info, _free_bytes(out))


def _free_bytes(out: Path) -> int:
    """Return what is free where the folder is, or would be made."""
    folder = out.resolve()
    while not folder.is_dir() and folder != folder.parent:
        folder = folder.parent
    return shutil.disk_usage(folder).free


def _left(program: Program, out: Path) -> Program:
    """Return the program with the fields that a data set lacks; all of them when there is none."""
    if not (out / MANIFEST_NAME).is_file():
        return program
    header = read_header(out)
    if header.plan_hash != program.plan_hash:
        raise ConfigError(
            f"{out}: made with another plan, {header.plan_name} ({header.plan_hash}), than "
            f"{program.name} ({program.plan_hash})",
            "resume with the plan it was begun with, or take another folder",
        )
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
