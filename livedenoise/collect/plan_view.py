"""The size of a field in the plans of useq that need it: grids step by it.

Knows: frame and pixel size, and where grids hide in a sequence. Must not know: where the stage is.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import useq

from livedenoise.core.microscope import MicroscopeInfo

_GRIDS = (useq.GridRowsColumns, useq.GridFromEdges, useq.GridWidthHeight, useq.GridFromPolygon)
UNKNOWN_VIEW = (
    "the size of a field is unknown: set fov_width and fov_height (micrometres) here, or "
    "pixel_size_um under [camera.microscope] in the camera's configuration"
)


def field_of_view_um(info: MicroscopeInfo) -> tuple[float, float] | None:
    """Return (width, height) of a frame in the sample; None when the pixel size is unknown."""
    if info.pixel_size_um <= 0:
        return None
    rows, columns = info.shape
    return columns * info.pixel_size_um, rows * info.pixel_size_um


def without_view(sequence: useq.MDASequence, keys: list[object]) -> Iterator[list[object]]:
    """Yield the keys of the grids that need the size of a field and do not have it."""
    positions = sequence.stage_positions
    if isinstance(positions, useq.WellPlatePlan):
        if _lacks_view(positions.well_points_plan):
            yield [*keys, "stage_positions", "well_points_plan"]
    else:
        for number, position in enumerate(positions):
            if position.sequence is not None:
                yield from without_view(
                    position.sequence, [*keys, "stage_positions", number, "sequence"]
                )
    if _lacks_view(sequence.grid_plan):
        yield [*keys, "grid_plan"]


def _lacks_view(grid: object) -> bool:
    needs = isinstance(grid, _GRIDS) or (
        isinstance(grid, useq.RandomPoints) and not grid.allow_overlap
    )
    return needs and None in (getattr(grid, "fov_width", 0), getattr(grid, "fov_height", 0))


def with_views(sequence: useq.MDASequence, view: tuple[float, float] | None) -> useq.MDASequence:
    """Return a copy whose grids know the size of a field; what a plan gives stays.

    Autofocus plans are made anew: they remember the last event they were asked about, and a second
    walk over the same plan would begin without focusing.
    """
    changed: dict[str, Any] = {}
    if sequence.autofocus_plan is not None:
        fresh = useq.AxesBasedAF.model_validate(sequence.autofocus_plan.model_dump())
        changed["autofocus_plan"] = fresh
    if sequence.grid_plan is not None:
        changed["grid_plan"] = _with_view(sequence.grid_plan, view)
    positions = sequence.stage_positions
    if isinstance(positions, useq.WellPlatePlan):
        points = _with_view(positions.well_points_plan, view)
        changed["stage_positions"] = positions.replace(well_points_plan=points)
    else:
        changed["stage_positions"] = tuple(
            one
            if one.sequence is None
            else one.model_copy(update={"sequence": with_views(one.sequence, view)})
            for one in positions
        )
    return sequence.replace(**changed)


def _with_view(grid: Any, view: tuple[float, float] | None) -> Any:  # noqa: ANN401  (a union)
    if view is None:
        return grid
    given = (grid.fov_width, grid.fov_height)
    width, height = (own or known for own, known in zip(given, view, strict=True))
    return grid.model_copy(update={"fov_width": width, "fov_height": height})
