"""Position lists of Micro-Manager as absolute stage positions.

Knows: the two forms that Micro-Manager writes (.pos). A *property map* (2.x): every value in an
envelope ``{"type": ..., "scalar" | "array": ...}``, positions under ``map.StagePositions``. The
form of 1.4 and of the 2.0 betas: plain JSON with ``POSITIONS``, each with ``DEVICES``. The plain
list in the summary metadata of 2.x data (``StagePositions``, ``InitialPositionList``) is read too.
Must not know: which devices a microscope has.

The names and their older forms are those of ``PropertyKey.java`` of Micro-Manager; how many numbers
a device has, not its ``AXES``, tells what it is in a property map (``StagePosition.java``).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from livedenoise.collect.plan_count import is_finite
from livedenoise.core.errors import ConfigError

_LISTS = ("StagePositions", "InitialPositionList", "POSITIONS")
_DEVICES = ("DevicePositions", "DEVICES", "subpositions", "DeviceCoordinatesUm")
_DEVICE = ("Device", "DEVICE", "stageName")
_AXES = ("NumberOfAxes", "AXES", "numAxes")
_LABEL = ("Label", "LABEL")
_XY_STAGE = ("DefaultXYStage", "DEFAULT_XY_STAGE")
_Z_STAGE = ("DefaultZStage", "DEFAULT_Z_STAGE")
_HINT = "save the list in Micro-Manager: Stage Position List, Save As"


class ListedPosition(msgspec.Struct, frozen=True, kw_only=True):
    """One position of a list; None for an axis that it does not name."""

    name: str
    x_um: float | None = None
    y_um: float | None = None
    z_um: float | None = None


def read_positions(
    path: Path, *, xy_stage: str = "", z_stage: str = "", use_z: bool = True
) -> list[ListedPosition]:
    """Read a position list.

    Parameters
    ----------
    path : Path
        A ``.pos`` or ``.json`` file of Micro-Manager 1.4 or 2.x.
    xy_stage, z_stage : str
        Devices to take the coordinates of; "" takes the default ones of each position and, where a
        position names none, the only device with as many axes.
    use_z : bool
        False leaves z out.

    Raises
    ------
    ConfigError
        If it is no position list, is empty, or a position has no coordinates of a stage that is
        asked for: every such position is named.
    """
    entries = _entries(path)
    problems: list[str] = []
    found = []
    for number, entry in enumerate(entries):
        name = str(_first(entry, _LABEL, "") or f"Pos{number}")
        try:
            devices = _devices(entry)
            x_um, y_um = _pick(devices, 2, xy_stage, str(_first(entry, _XY_STAGE, ""))) or (
                None,
                None,
            )
            z = _pick(devices, 1, z_stage, str(_first(entry, _Z_STAGE, ""))) if use_z else None
        except _PositionError as bad:
            problems.append(f"{path}: position {number} ({name}): {bad}")
            continue
        found.append(ListedPosition(name=name, x_um=x_um, y_um=y_um, z_um=z[0] if z else None))
    if problems:
        raise ConfigError("\n".join(problems), "name the devices: positions_xy_stage, _z_stage")
    return found


class _PositionError(Exception):
    """A position cannot be used; the text says why."""


def _entries(path: Path) -> list[Mapping[str, Any]]:
    try:
        data = json.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such position list") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from error
    except json.JSONDecodeError as error:
        raise ConfigError(f"{path}: no position list: not JSON: {error}", _HINT) from error
    plain = _plain(data.get("map", data)) if isinstance(data, dict) else _plain(data)
    entries = _first(plain, _LISTS, None) if isinstance(plain, dict) else plain
    if not isinstance(entries, list) or not all(isinstance(one, dict) for one in entries):
        names = ", ".join(_LISTS)
        raise ConfigError(f"{path}: no position list: none of {names} is in it", _HINT)
    if not entries:
        raise ConfigError(f"{path}: the position list is empty", _HINT)
    return entries


def _plain(value: object) -> Any:  # noqa: ANN401  (JSON)
    """Return JSON without the envelopes of a property map."""
    if isinstance(value, list):
        return [_plain(one) for one in value]
    if not isinstance(value, dict):
        return value
    if "type" in value and set(value) <= {"type", "scalar", "array"}:
        return _plain(value.get("scalar", value.get("array")))
    return {key: _plain(one) for key, one in value.items()}


def _first(entry: Mapping[str, Any], names: Sequence[str], default: Any) -> Any:  # noqa: ANN401
    return next((entry[name] for name in names if name in entry), default)


def _devices(entry: Mapping[str, Any]) -> dict[str, tuple[float, ...]]:
    """Return the coordinates of each device: two numbers for an XY stage, one for z."""
    listed = _first(entry, _DEVICES, None)
    if isinstance(listed, dict):
        return {str(name): _numbers(str(name), values) for name, values in listed.items()}
    if not isinstance(listed, list):
        raise _PositionError(f"none of {', '.join(_DEVICES)} is in it")
    found = {}
    for one in listed:
        if not isinstance(one, dict):
            raise _PositionError(f"a device is no table (got {one!r})")
        name = str(_first(one, _DEVICE, ""))
        found[name] = _numbers(name, _coordinates(name, one))
    return found


def _coordinates(name: str, device: Mapping[str, Any]) -> list[Any]:
    if "Position_um" in device:
        listed = device["Position_um"]
        return listed if isinstance(listed, list) else [listed]
    axes = _first(device, _AXES, None)
    # z of a one-axis device is in X: "the x parameter gives its position" (StagePosition.java).
    names = {1: ("X",), 2: ("X", "Y")}.get(axes) if isinstance(axes, int) else None
    if names is None:
        raise _PositionError(f"device {name!r} has {axes} axes, where 1 or 2 are known")
    return [_first(device, (axis, axis.lower()), None) for axis in names]


def _numbers(name: str, values: object) -> tuple[float, ...]:
    listed = values if isinstance(values, list) else [values]
    if not listed or len(listed) > 2:
        raise _PositionError(
            f"device {name!r} has {len(listed)} coordinates, where 1 or 2 are known"
        )
    return tuple(_number(name, value) for value in listed)


def _number(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not is_finite(value):
        raise _PositionError(f"device {name!r} has a coordinate that is no number: {value!r}")
    return float(value)


def _pick(
    devices: Mapping[str, tuple[float, ...]], axes: int, wanted: str, default: str
) -> tuple[float, ...] | None:
    """Return the coordinates of one device with that many axes; None when there is none.

    Raises
    ------
    _PositionError
        If the wanted device is not there, or nothing says which of several is meant.
    """
    kind = "XY stage" if axes == 2 else "z stage"
    fitting = {name: values for name, values in devices.items() if len(values) == axes}
    if wanted:
        if wanted not in fitting:
            raise _PositionError(f"no {kind} {wanted!r}, there is {', '.join(fitting) or 'none'}")
        return fitting[wanted]
    if default in fitting:
        return fitting[default]
    if len(fitting) > 1:
        raise _PositionError(f"which {kind}: {', '.join(fitting)}?")
    return next(iter(fitting.values()), None)
