"""The table ``[sequence]`` of a plan as ``useq.MDASequence``, with problems one a line.

Knows: which parts of useq-schema a collection uses. Must not know: the microscope, exposures.

useq-schema ignores keys it does not know and tries one kind of grid after the other; a misspelt key
would then become another plan. Here the keys say which kind is meant, and unknown ones are refused.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import useq
from pydantic import BaseModel, ValidationError

from livedenoise.collect.plan_count import MAX_SLICES, count_slices, not_finite
from livedenoise.collect.positions import ListedPosition
from livedenoise.core.config_problems import describe, problem_line

_GRIDS: tuple[tuple[frozenset[str], type[BaseModel]], ...] = (
    (frozenset({"rows", "columns"}), useq.GridRowsColumns),
    (frozenset({"top", "left", "bottom", "right"}), useq.GridFromEdges),
    (frozenset({"num_points"}), useq.RandomPoints),
    (frozenset({"vertices"}), useq.GridFromPolygon),
    (frozenset({"width", "height"}), useq.GridWidthHeight),
)
_STACKS: tuple[tuple[frozenset[str], type[BaseModel]], ...] = (
    (frozenset({"top", "bottom"}), useq.ZTopBottom),
    (frozenset({"above", "below"}), useq.ZAboveBelow),
    (frozenset({"range"}), useq.ZRangeAround),
    (frozenset({"relative"}), useq.ZRelativePositions),
    (frozenset({"absolute"}), useq.ZAbsolutePositions),
)
_WHOLE = 100.0
_ANY_STACK = tuple(kind for _, kind in _STACKS)
_KEYS = frozenset(
    {"stage_positions", "grid_plan", "z_plan", "channels", "autofocus_plan", "axis_order"}
)
_REFUSED = {
    "time_plan": "a collection has no time axis: use repeats for more pairs of a field",
    "setup": "set device properties in the camera's configuration",
    "keep_shutter_open_across": "use close_shutter_between",
    "exposure": "exposures are in [high], [low] and [[channel]]",
    "camera": "the camera is that of the configuration",
    "acquire_every": "a collection has no time axis",
    "properties": "set device properties in the camera's configuration",
}
_POSITION_KEYS = frozenset({"x", "y", "z", "name", "sequence"})
_CHANNEL_KEYS = frozenset({"config", "group", "do_stack", "z_offset"})


class SequenceError(Exception):
    """Everything that is wrong with ``[sequence]``, one line each."""

    def __init__(self, lines: list[str]) -> None:
        super().__init__("\n".join(lines))
        self.lines = lines


def make_sequence(
    data: Mapping[str, Any], name: str, positions: Iterable[ListedPosition] = ()
) -> useq.MDASequence:
    """Return the sequence of a plan.

    Parameters
    ----------
    data : mapping
        The table as TOML gave it.
    name : str
        The file that messages name.
    positions : iterable of ListedPosition
        Of a position list; they stand for ``stage_positions``.

    Raises
    ------
    SequenceError
        With a line for each problem: ``name:sequence.key: problem``.
    """
    listed = [useq.Position(x=one.x_um, y=one.y_um, z=one.z_um, name=one.name) for one in positions]
    table = {**data, "stage_positions": listed} if listed else dict(data)
    return _Builder(name).build(table)


@contextmanager
def warnings_as_lines(name: str, lines: list[str]) -> Iterator[None]:
    """Add a line for each warning of useq: what it ignores is not what was meant."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        yield
    found = [one for one in caught if issubclass(one.category, UserWarning)]
    lines += dict.fromkeys(problem_line(name, ["sequence"], str(one.message)) for one in found)


class _Builder:
    """Turns tables into models of useq and gathers what is wrong."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._lines: list[str] = []

    def build(self, data: Mapping[str, Any]) -> useq.MDASequence:
        for keys, value in not_finite(data, ["sequence"]):
            shown = f"{value!r:.40}"
            self._say(keys, f"Input should be a finite number (got {shown})")
        # What useq makes of such a number is not worth a line.
        sequence = None if self._lines else self._sequence(data, ["sequence"])
        if self._lines or sequence is None:
            raise SequenceError(list(dict.fromkeys(self._lines)))
        return sequence

    def _sequence(self, data: object, keys: list[object]) -> useq.MDASequence | None:
        if not isinstance(data, Mapping):
            self._say(keys, f"Input should be a table (got {data!r})")
            return None
        before = len(self._lines)
        self._check_keys(data, _KEYS, keys)
        made: dict[str, Any] = {
            key: self._part(key, data[key], [*keys, key])
            for key in data
            if key in _KEYS and data[key] is not None
        }
        if len(self._lines) > before:
            if "axis_order" in made:  # to be named with the others: the rest cannot be looked at
                self._model(useq.MDASequence, {"axis_order": made["axis_order"]}, keys)
            return None
        found = self._model(useq.MDASequence, made, keys)
        return found if isinstance(found, useq.MDASequence) else None

    def _part(self, key: str, value: object, keys: list[object]) -> object:
        if key == "grid_plan":
            return self._grid(value, keys)
        if key == "z_plan":
            return self._stack(value, keys)
        if key == "channels":
            return self._each(value, keys, self._channel)
        if key == "stage_positions":
            return self._positions(value, keys)
        if key == "autofocus_plan":
            return self._autofocus(value, keys)
        return value

    def _grid(self, value: object, keys: list[object]) -> object:
        grid = self._one_of(_GRIDS, value, keys)
        if isinstance(grid, useq.RandomPoints) and grid.random_seed is None:
            self._say([*keys, "random_seed"], "Field required: --resume finds the same points")
        if max(getattr(grid, "overlap", (0.0,))) >= _WHOLE:
            self._say([*keys, "overlap"], "in percent of a field: must be below 100")
        return grid

    def _stack(self, value: object, keys: list[object]) -> object:
        stack = self._one_of(_STACKS, value, keys)
        if not isinstance(stack, _ANY_STACK):
            return stack
        if count_slices(stack) > MAX_SLICES:
            self._say(keys, f"more than {MAX_SLICES} z positions: take a larger step")
        elif not list(stack):
            self._say(keys, "no position in it: top lies below bottom, or a step or range below 0")
        return stack

    def _one_of(
        self,
        kinds: tuple[tuple[frozenset[str], type[BaseModel]], ...],
        value: object,
        keys: list[object],
    ) -> object:
        """Return the model whose telling keys the table has: all of them, or the most."""
        if not isinstance(value, Mapping):
            self._say(keys, f"Input should be a table (got {value!r})")
            return None
        told, kind = max(kinds, key=lambda one: len(one[0] & set(value)) / len(one[0]))
        if not told & set(value):
            ways = " or ".join(", ".join(sorted(names)) for names, _ in kinds)
            self._say(keys, f"none of the keys that say which kind it is: {ways}")
            return None
        self._check_keys(value, frozenset(kind.model_fields), keys)
        return self._model(kind, dict(value), keys)

    def _positions(self, value: object, keys: list[object]) -> object:
        if isinstance(value, Mapping):
            return self._plate(value, keys)
        return self._each(value, keys, self._position)

    def _plate(self, value: Mapping[str, Any], keys: list[object]) -> object:
        self._check_keys(value, frozenset(useq.WellPlatePlan.model_fields), keys)
        plate = dict(value)
        points = plate.get("well_points_plan")
        if points is not None:
            plate["well_points_plan"] = self._grid(points, [*keys, "well_points_plan"])
            if plate["well_points_plan"] is None:
                return None
        made = self._model(useq.WellPlatePlan, plate, keys)
        if isinstance(made, useq.WellPlatePlan) and not len(made):
            # useq takes all wells for some questions then, and none for others.
            self._say(
                [*keys, "selected_wells"],
                "Field required: [[rows], [columns]] of the wells, from 0",
            )
        return made

    def _position(self, value: object, keys: list[object]) -> object:
        if isinstance(value, useq.Position):
            return value
        if isinstance(value, list):
            if not 2 <= len(value) <= 3:
                self._say(keys, f"[x, y] or [x, y, z] in micrometres (got {value!r})")
                return None
            value = dict(zip("xyz", value, strict=False))
        if not isinstance(value, Mapping):
            self._say(keys, f"a table, [x, y] or [x, y, z] (got {value!r})")
            return None
        self._check_keys(value, _POSITION_KEYS, keys)
        made = {key: one for key, one in value.items() if key in _POSITION_KEYS}
        if "sequence" in made:
            made["sequence"] = self._sequence(made["sequence"], [*keys, "sequence"])
            if made["sequence"] is None:
                return None
        return self._model(useq.Position, made, keys)

    def _channel(self, value: object, keys: list[object]) -> object:
        if isinstance(value, str):
            value = {"config": value}
        if not isinstance(value, Mapping):
            self._say(keys, f"a table or the name of a preset (got {value!r})")
            return None
        self._check_keys(value, _CHANNEL_KEYS, keys)
        return self._model(useq.Channel, dict(value), keys)

    def _autofocus(self, value: object, keys: list[object]) -> object:
        if not isinstance(value, Mapping):
            self._say(keys, f"Input should be a table (got {value!r})")
            return None
        self._check_keys(value, frozenset(useq.AxesBasedAF.model_fields), keys)
        made = dict(value)
        if isinstance(made.get("axes"), str):
            made["axes"] = tuple(made["axes"])
        return self._model(useq.AxesBasedAF, made, keys)

    def _each(self, value: object, keys: list[object], make: Any) -> list[object]:  # noqa: ANN401
        if not isinstance(value, list):
            self._say(keys, f"Input should be a list (got {value!r})")
            return []
        return [make(one, [*keys, number]) for number, one in enumerate(value)]

    def _model(
        self, kind: type[BaseModel], data: dict[str, Any], keys: list[object]
    ) -> BaseModel | None:
        with warnings_as_lines(self._name, self._lines):
            try:
                return kind.model_validate(data)
            except ValidationError as error:
                self._lines += [
                    describe(self._name, problem, [*keys, *problem["loc"]])
                    for problem in error.errors(include_url=False)
                ]
                return None

    def _check_keys(
        self, data: Mapping[str, Any], known: frozenset[str], keys: list[object]
    ) -> None:
        for key in data:
            if key in _REFUSED and key not in known:
                self._say([*keys, key], _REFUSED[key])
            elif key not in known:
                self._say([*keys, key], f"unknown key, known: {', '.join(sorted(known))}")

    def _say(self, keys: list[object], text: str) -> None:
        self._lines.append(problem_line(self._name, keys, text))
