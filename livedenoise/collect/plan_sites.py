"""Where a plan goes: the sequence of useq as fields and their sites, in absolute coordinates.

Knows: how useq lays out positions, grids, z and autofocus. Must not know: exposures, devices.

useq counts a relative grid without a position from (0, 0); here it lies around the place where the
stage stood at the start. The start is no part of the plan: a resumed run hands in the one that was
stored, and gets the same sites.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec
import numpy as np
import useq

from livedenoise.collect.plan_count import MAX_FIELDS, count_fields, is_finite
from livedenoise.collect.plan_sequence import warnings_as_lines
from livedenoise.collect.plan_view import (
    UNKNOWN_VIEW,
    field_of_view_um,
    with_views,
    without_view,
)
from livedenoise.collect.shots import Site
from livedenoise.core.config_problems import problem_line
from livedenoise.core.microscope import Capability, MicroscopeInfo, Position

_FIELD_AXES = ("p", "g")
_SITE_AXES = ("c", "z")


class Places(msgspec.Struct, frozen=True, kw_only=True):
    """Fields with their sites, the focus about which each is planned, and what is wrong.

    ``homes_z_um`` has one entry for each field: the z about which its stack is planned, without
    the offset of a channel, where it has an autofocus and a z; else None.
    """

    fields: tuple[tuple[Site, ...], ...] = ()
    homes_z_um: tuple[float | None, ...] = ()
    problems: tuple[str, ...] = ()


def find_places(
    sequence: useq.MDASequence, info: MicroscopeInfo, start: Position, name: str
) -> Places:
    """Resolve a sequence for a microscope.

    Parameters
    ----------
    sequence : useq.MDASequence
        As ``collect.plan_sequence`` made it.
    info : MicroscopeInfo
        What it can do, and the size of a frame.
    start : Position
        Where the stage stood when the collection was begun.
    name : str
        The plan's file, for messages.

    Returns
    -------
    Places
        Without fields where there are problems.
    """
    lines = [problem_line(name, ["sequence", *keys], text) for keys, text in _order(sequence)]
    view = field_of_view_um(info)
    needed = list(without_view(sequence, []))
    if needed and view is None:
        lines += [problem_line(name, ["sequence", *keys], UNKNOWN_VIEW) for keys in needed]
    if lines:
        return Places(problems=tuple(lines))
    seen = with_views(sequence, view)
    count = count_fields(seen)
    if count > MAX_FIELDS:
        text = f"more than {MAX_FIELDS} fields: plan fewer positions or smaller grids"
        return Places(problems=(problem_line(name, ["sequence"], text),))
    # Sums beyond a float are looked for below, in words.
    with warnings_as_lines(name, lines), np.errstate(over="ignore", invalid="ignore"):
        events = list(_placed(seen, start, info))
    if lines:
        return Places(problems=tuple(lines))
    places = _gathered(events)
    lines = [problem_line(name, ["sequence"], text) for text in _nowhere(places)]
    lines += [problem_line(name, keys, text) for keys, text in _unreachable(places, info)]
    if not places.fields:
        lines.append(problem_line(name, ["sequence"], "no field at all"))
    return Places(problems=tuple(lines)) if lines else places


def _order(sequence: useq.MDASequence) -> Iterator[tuple[list[object], str]]:
    """Yield what cannot be done in the order asked for: a field is finished before the next."""
    order = [axis for axis in sequence.axis_order if axis in (*_FIELD_AXES, *_SITE_AXES)]
    places = [number for number, axis in enumerate(order) if axis in _FIELD_AXES]
    within = [number for number, axis in enumerate(order) if axis in _SITE_AXES]
    if places and within and max(places) > min(within):
        text = "a field is finished before the next: p and g come before c and z"
        yield ["axis_order"], f"{text} (got {''.join(map(str, sequence.axis_order))!r})"
    used: dict[str, object] = {"p": sequence.stage_positions, "g": sequence.grid_plan}
    used |= {"c": sequence.channels, "z": sequence.z_plan}
    for axis, plan in used.items():
        if plan and axis not in sequence.axis_order:
            yield ["axis_order"], f"{axis!r} is planned and not in it"
    for number, channel in enumerate(sequence.channels):
        if channel.z_offset and sequence.z_plan is None:
            yield ["channels", number, "z_offset"], "needs a z_plan: { relative = [0.0] } will do"


class _Event(msgspec.Struct, frozen=True, kw_only=True):
    """One site as useq yields it."""

    field: tuple[int, ...]
    site: Site
    home_z_um: float | None


def _placed(sequence: useq.MDASequence, start: Position, info: MicroscopeInfo) -> Iterator[_Event]:
    """Yield the sites in the order taken; ``site.field`` is set later."""
    has_grid = sequence.grid_plan is not None
    sequence = _started(sequence, start, info)
    focus: useq.MDAEvent | None = None
    for event in sequence:
        if isinstance(event.action, useq.HardwareAutofocus):
            focus = event
            continue
        index = event.index
        field = tuple(index.get(axis, 0) for axis in _FIELD_AXES)
        yield _Event(
            field=field,
            site=_site(event, focus, _name(event, has_grid=has_grid or "g" in index)),
            home_z_um=None if focus is None else _home_um(event, sequence),
        )
        focus = None


def _home_um(event: useq.MDAEvent, sequence: useq.MDASequence) -> float | None:
    """Return the z about which a site is planned: its own, less slice and offset of the channel.

    useq's own leaves the channel's offset in, and the slice of a stack that a position brings.
    """
    if event.z_pos is None:
        return None
    own = sequence.stage_positions[event.index["p"]].sequence
    plans = [one for one in (own, sequence) if one is not None]
    stack = next((one.z_plan for one in plans if one.z_plan is not None), None)
    if stack is None:
        return event.z_pos
    channels = next((one.channels for one in plans if one.channels), ())
    offset_um = next((one.z_offset for one in channels if _is_of(event, one)), 0.0)
    slice_um = list(stack)[event.index["z"]] if stack.is_relative else 0.0
    return event.z_pos - slice_um - offset_um


def _is_of(event: useq.MDAEvent, channel: useq.Channel) -> bool:
    found = event.channel
    return found is not None and (found.config, found.group) == (channel.config, channel.group)


def _started(sequence: useq.MDASequence, start: Position, info: MicroscopeInfo) -> useq.MDASequence:
    """Return the sequence with a position everywhere: relative plans lie around the start."""
    positions = sequence.stage_positions
    if isinstance(positions, useq.WellPlatePlan):
        # A plate lies in the plane: the z of 0 that useq gives its points is not meant.
        positions = tuple(one.model_copy(update={"z": None}) for one in positions)
    listed = tuple(positions) or (useq.Position(),)
    given = bool(positions)
    filled = [_filled(one, sequence, start, info, given=given) for one in listed]
    order = sequence.axis_order if "p" in sequence.axis_order else ("p", *sequence.axis_order)
    return sequence.replace(stage_positions=filled, axis_order=order)


def _filled(
    position: useq.Position,
    sequence: useq.MDASequence,
    start: Position,
    info: MicroscopeInfo,
    *,
    given: bool,
) -> useq.Position:
    """Return the position with the coordinates of the start where it has none and needs them."""
    own = position.sequence
    grid = own.grid_plan if own is not None and own.grid_plan is not None else sequence.grid_plan
    stack = own.z_plan if own is not None and own.z_plan is not None else sequence.z_plan
    changed: dict[str, float | None] = {}
    around = grid is not None and grid.is_relative
    if around or (grid is None and not given and "xy" in info.capabilities):
        changed["x"] = start.x_um if position.x is None else position.x
        changed["y"] = start.y_um if position.y is None else position.y
    if stack is not None and stack.is_relative and position.z is None:
        changed["z"] = start.z_um
    return position.model_copy(update=changed)


def _site(event: useq.MDAEvent, focus: useq.MDAEvent | None, name: str) -> Site:
    channel = event.channel
    action = focus.action if focus is not None else None
    found = action if isinstance(action, useq.HardwareAutofocus) else None
    return Site(
        field=0,
        name=name,
        x_um=event.x_pos,
        y_um=event.y_pos,
        z_um=event.z_pos,
        channel="" if channel is None else channel.config,
        channel_group="" if channel is None else channel.group,
        autofocus=found is not None,
        autofocus_device="" if found is None else found.autofocus_device_name or "",
        autofocus_offset_um=None if found is None else found.autofocus_motor_offset,
    )


def _name(event: useq.MDAEvent, *, has_grid: bool) -> str:
    parts = [event.pos_name] if event.pos_name else []
    if not parts and (event.index.get("p", 0) or not has_grid):
        parts.append(f"p{event.index.get('p', 0)}")
    return "-".join([*parts, f"g{event.index.get('g', 0):03d}"] if has_grid else parts)


def _gathered(events: Iterable[_Event]) -> Places:
    """Return the fields in the order first visited; useq yields those of a field together."""
    sites: dict[tuple[int, ...], list[Site]] = {}
    homes: dict[tuple[int, ...], float | None] = {}
    for event in events:
        of_field = sites.setdefault(event.field, [])
        if event.home_z_um is not None:
            homes.setdefault(event.field, event.home_z_um)
        number = of_field[0].field if of_field else len(sites) - 1
        of_field.append(msgspec.structs.replace(event.site, field=number, index=len(of_field)))
    return Places(fields=tuple(map(tuple, sites.values())), homes_z_um=tuple(map(homes.get, sites)))


def _nowhere(places: Places) -> Iterator[str]:
    """Yield the first site with a coordinate that is no finite number."""
    for site in (site for field in places.fields for site in field):
        axes = {"x": site.x_um, "y": site.y_um, "z": site.z_um}
        wrong = {axis: um for axis, um in axes.items() if um is not None and not is_finite(um)}
        if wrong:
            told = ", ".join(f"{axis} = {um}" for axis, um in wrong.items())
            yield f"field {site.field} ({site.name}) lies nowhere: {told}"
            return


def _unreachable(places: Places, info: MicroscopeInfo) -> Iterator[tuple[list[object], str]]:
    """Yield what the microscope has not got."""
    sites = [site for field in places.fields for site in field]
    wanted: tuple[tuple[Capability, list[object], str, bool], ...] = (
        ("xy", ["sequence"], "an XY stage", any(s.x_um is not None for s in sites)),
        ("z", ["sequence"], "a focus drive (z)", any(s.z_um is not None for s in sites)),
        (
            "autofocus",
            ["sequence", "autofocus_plan"],
            "an autofocus device",
            any(s.autofocus for s in sites),
        ),
    )
    for capability, keys, device, is_wanted in wanted:
        if is_wanted and capability not in info.capabilities:
            has = ", ".join(info.capabilities) or "nothing"
            yield keys, f"needs {device}; the microscope has: {has}"
