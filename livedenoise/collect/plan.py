"""A plan file made into a program for one microscope, everything checked before any light.

Knows: plan file -> ``Plan`` -> ``Program``. Must not know: how a program is carried out.

Example
-------
>>> plan = load_plan(find_plan("quick"))  # doctest: +SKIP
>>> program = make_program(plan, microscope.open(), microscope.position())  # doctest: +SKIP
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path

import msgspec
import useq
from pydantic import ValidationError

from livedenoise.collect.plan_meaning import plan_hash
from livedenoise.collect.plan_model import PlanConfig
from livedenoise.collect.plan_overlap import (
    Point,
    count_overlapping,
    find_centres,
    first_alike,
)
from livedenoise.collect.plan_sequence import SequenceError, make_sequence
from livedenoise.collect.plan_shots import Problem, light_control, make_shots
from livedenoise.collect.plan_sites import Places, find_places
from livedenoise.collect.plan_split import split_fields
from livedenoise.collect.plan_view import field_of_view_um
from livedenoise.collect.positions import ListedPosition, read_positions
from livedenoise.collect.program import DarkShots, Program
from livedenoise.collect.records import Split
from livedenoise.collect.shots import Shot
from livedenoise.core.config_problems import describe, problem_line, read_toml
from livedenoise.core.errors import ConfigError
from livedenoise.core.microscope import MicroscopeInfo, Position

_FOLDER = Path(__file__).resolve().parent / "plans"


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """A plan that was read and checked as far as it goes without a microscope.

    ``channels`` are the names of the presets, in order, each once; ("",) without channels.
    ``plan_hash`` is of its meaning: comments, spelling, the order of keys, ``name``,
    ``description`` and ``retry`` are no part of it; the content of a position list is.
    """

    path: Path
    name: str
    config: PlanConfig
    sequence: useq.MDASequence
    channels: tuple[str, ...]
    plan_hash: str


def shipped_plans() -> dict[str, Path]:
    """Return the shipped plans by name."""
    return {path.stem: path for path in sorted(_FOLDER.glob("*.toml"))}


def find_plan(name: str) -> Path:
    """Return the file a user means: a path, or the name of a shipped plan.

    Raises
    ------
    ConfigError
        If there is neither; the nearest name is given, and all.
    """
    path, shipped = Path(name), shipped_plans()
    if path.is_file():
        return path
    if name in shipped:
        return shipped[name]
    near = get_close_matches(path.stem, shipped, n=1)
    meant = f"did you mean {near[0]}? " if near else ""
    raise ConfigError(f"{name}: no such plan", f"{meant}shipped plans: {', '.join(shipped)}")


def load_plan(path: Path) -> Plan:
    """Read and check a plan.

    Raises
    ------
    ConfigError
        If the file is missing or is not TOML, or any key is wrong: all problems at once, one line
        for each, ``file:dotted.key: problem (got value)``.
    """
    data, name = read_toml(path, "plan"), str(path)
    problems: list[str] = []
    config, positions, sequence = None, [], None
    try:
        # JSON mode is strict (no true for 1, no "5" for 5) and still takes text as a path.
        config = PlanConfig.model_validate_json(json.dumps(data, default=str), strict=True)
    except ValidationError as error:
        problems += [describe(name, problem) for problem in error.errors(include_url=False)]
    try:
        if config is not None:
            positions = _positions(config, path, problems)
        table = data.get("sequence", {})
        if isinstance(table, dict):
            sequence = make_sequence(table, name, positions)
    except SequenceError as error:
        problems += error.lines
    if problems or config is None or sequence is None:
        raise ConfigError("\n".join(problems), "mend the keys named above; see docs/collect.md")
    channels = _channels(sequence)
    plan = Plan(
        path=path,
        name=config.name or path.stem,
        config=config,
        sequence=sequence,
        channels=channels,
        plan_hash=plan_hash(config, sequence, channels),
    )
    _check_channels(plan)
    return plan


def _positions(config: PlanConfig, path: Path, problems: list[str]) -> list[ListedPosition]:
    if config.positions_file is None:
        return []
    if "stage_positions" in config.sequence:
        text = "stage_positions and positions_file: give one of them"
        problems.append(problem_line(str(path), ["sequence", "stage_positions"], text))
        return []
    try:
        return read_positions(
            path.resolve().parent / config.positions_file,
            xy_stage=config.positions_xy_stage,
            z_stage=config.positions_z_stage,
            use_z=config.positions_use_z,
        )
    except ConfigError as error:
        problems.append(problem_line(str(path), ["positions_file"], error.message))
        return []


def _channels(sequence: useq.MDASequence) -> tuple[str, ...]:
    names = [one.config for one in sequence.channels]
    positions = sequence.stage_positions
    for position in () if isinstance(positions, useq.WellPlatePlan) else positions:
        if position.sequence is not None:
            names += [one.config for one in position.sequence.channels]
    return tuple(dict.fromkeys(names)) or ("",)


def _check_channels(plan: Plan) -> None:
    lines = [
        problem_line(
            str(plan.path),
            ["channel", number, "name"],
            f"no channel of [sequence]: {', '.join(plan.channels).strip() or 'it has none'}",
            f" (got {channel.name!r})",
        )
        for number, channel in enumerate(plan.config.channel)
        if channel.name not in plan.channels
    ]
    if lines:
        raise ConfigError("\n".join(lines), "name the preset as in sequence.channels")


def make_program(plan: Plan, info: MicroscopeInfo, start: Position) -> Program:
    """Make a plan concrete for a microscope.

    Parameters
    ----------
    plan : Plan
        As ``load_plan`` returns it.
    info : MicroscopeInfo
        Its capabilities, limits and frame size.
    start : Position
        Where the stage stands, or stood when the collection was begun: relative grids and stacks
        lie around it. A resumed run must hand in the one that was stored.

    Raises
    ------
    ConfigError
        If the microscope cannot do what is planned: all problems at once, before any exposure.
    """
    config, name = plan.config, str(plan.path)
    places = find_places(plan.sequence, info, start, name)
    sequences: dict[str, tuple[Shot, ...]] = {}
    problems: list[Problem] = list(_device_problems(plan, info))
    for channel in plan.channels:
        sequences[channel], found = make_shots(config, channel, info)
        problems += found
    lines = [*places.problems, *dict.fromkeys(problem_line(name, *one) for one in problems)]
    if lines:
        raise ConfigError("\n".join(lines), "mend the keys named above; see docs/collect.md")
    centres = find_centres(places.fields, start)
    alike = first_alike(centres, field_of_view_um(info))
    splits = split_fields(len(places.fields), config.split, alike)
    return Program(
        name=plan.name,
        plan_hash=plan.plan_hash,
        fields=places.fields,
        homes_z_um=places.homes_z_um,
        start=start,
        sequences=_used(sequences, places),
        splits=splits,
        darks=_darks(config.dark.frames, _used(sequences, places)),
        light=light_control(config.light),
        settle_ms=config.settle_ms,
        close_shutter_between=config.close_shutter_between and _can_darken(config, info),
        attempts=config.retry.attempts,
        stop_after=config.retry.stop_after,
        keep_frames=config.keep_frames,
        limits=config.checks,
        notes=tuple(_notes(config, info, centres, splits)),
    )


def _used(sequences: dict[str, tuple[Shot, ...]], places: Places) -> dict[str, tuple[Shot, ...]]:
    used = {site.channel for field in places.fields for site in field}
    return {channel: shots for channel, shots in sequences.items() if channel in used}


def _darks(frames: int, sequences: dict[str, tuple[Shot, ...]]) -> tuple[DarkShots, ...]:
    exposures = {shot.exposure_us for shots in sequences.values() for shot in shots}
    if not frames:
        return ()
    return tuple(DarkShots(exposure_us=one, frames=frames) for one in sorted(exposures))


def _can_darken(config: PlanConfig, info: MicroscopeInfo) -> bool:
    off = config.light is not None and config.light.off_value != ""
    return off or "shutter" in info.capabilities


def _device_problems(plan: Plan, info: MicroscopeInfo) -> Iterator[Problem]:
    """Yield what the microscope has not got, places apart."""
    has = ", ".join(info.capabilities) or "nothing"
    if plan.config.light is not None and "light" not in info.capabilities:
        yield ("light",), f"needs a light that can be set; the microscope has: {has}"
    if plan.config.dark.frames and not _can_darken(plan.config, info):
        text = "dark frames need a shutter or light.off_value: set 0 to go without them"
        yield ("dark", "frames"), f"{text}; the microscope has: {has}"


def _notes(
    config: PlanConfig,
    info: MicroscopeInfo,
    centres: list[Point],
    splits: tuple[Split, ...],
) -> Iterator[str]:
    if config.close_shutter_between and not _can_darken(config, info):
        yield "no shutter: the light stays on between exposures"
    view = field_of_view_um(info)
    if view is None and len(set(splits)) > 1:
        yield (
            "the size of a field is unknown: nobody looked whether fields of different parts of "
            "the split overlap (set pixel_size_um under [camera.microscope])"
        )
    overlapping = count_overlapping(centres, splits, view)
    if overlapping:
        yield (
            f"{overlapping} fields overlap a field of another part of the split: "
            "the same specimen is in both"
        )
