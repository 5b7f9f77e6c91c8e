"""How many fields a sequence has, before any is made; and what can never be gone to. Pure.

Knows: how useq counts positions, grids and plates. Must not know: where they lie.

useq makes all positions of a grid at once. A slip of the keyboard (``rows = 100000``) would then
take all memory; here it is one line.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import isfinite
from typing import Any

import useq

MAX_FIELDS = 100_000
MAX_SLICES = 10_000


def not_finite(data: object, keys: list[object]) -> Iterator[tuple[list[object], object]]:
    """Yield key and value of every number of a table that is none: nan, inf, or beyond a float."""
    if isinstance(data, Mapping):
        for key, value in data.items():
            yield from not_finite(value, [*keys, key])
    elif isinstance(data, list | tuple):
        for number, value in enumerate(data):
            yield from not_finite(value, [*keys, number])
    elif isinstance(data, int | float) and not is_finite(data):
        yield keys, data


def is_finite(value: float) -> bool:
    """Return whether a number is finite and fits a float."""
    try:
        return isfinite(value)
    except OverflowError:  # a whole number of hundreds of digits
        return False


def count_fields(sequence: useq.MDASequence) -> int:
    """Return how many fields there are at most; grids must know the size of a field.

    Grids within a polygon count as the rectangle about it.
    """
    positions = sequence.stage_positions
    grid = sequence.grid_plan
    if isinstance(positions, useq.WellPlatePlan):
        wells = len(positions.selected_well_indices)
        return wells * _points(positions.well_points_plan) * _points(grid)
    if not positions:
        return _points(grid)
    return sum(_points(_own_grid(one) or grid) for one in positions)


def count_slices(stack: Any) -> float:  # noqa: ANN401  (a union of useq)
    """Return how many z positions a stack has."""
    try:
        return int(stack.num_positions())
    except OverflowError:  # so many that no float has it
        return float("inf")


def _own_grid(position: useq.Position) -> object:
    return None if position.sequence is None else position.sequence.grid_plan


def _points(plan: Any) -> int:  # noqa: ANN401  (a union of useq)
    if plan is None or isinstance(plan, useq.Position | useq.RelativePosition):
        return 1
    if isinstance(plan, useq.GridFromPolygon):
        left, low, right, high = plan.poly.bounds
        plan = useq.GridFromEdges(
            left=left,
            right=right,
            top=high,
            bottom=low,
            overlap=plan.overlap,
            fov_width=plan.fov_width,
            fov_height=plan.fov_height,
        )
    try:
        return int(plan.num_positions())
    except (OverflowError, ZeroDivisionError):  # a step of nothing
        return MAX_FIELDS + 1
