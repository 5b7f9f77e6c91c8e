"""Which fields of a plan show the same specimen. Pure.

Knows: places and the size of a field. Must not know: splits are drawn elsewhere, devices.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import floor

import numpy as np

from livedenoise.collect.records import Split
from livedenoise.collect.shots import Site
from livedenoise.core.microscope import Position

SAME_PLACE_UM = 1.0
_TOUCHING = 0.999
"""Fields nearer than this part of a field's size overlap; a grid's neighbours are 1.0 apart."""

Point = tuple[float, float]


def find_centres(fields: Sequence[Sequence[Site]], start: Position) -> list[Point]:
    """Return where the stage stands at each field (x, y in micrometres).

    An axis that a field leaves alone stays where the field before had it, or where it stood at the
    start; 0 where nobody knows.
    """
    x_um, y_um = start.x_um or 0.0, start.y_um or 0.0
    centres = []
    for sites in fields:
        x_um = x_um if sites[0].x_um is None else sites[0].x_um
        y_um = y_um if sites[0].y_um is None else sites[0].y_um
        centres.append((x_um, y_um))
    return centres


def first_alike(centres: Sequence[Point], view: Point | None) -> tuple[int, ...]:
    """Return for each field the first one at the same place: within 1 micrometre, or itself.

    In fields smaller than that, within half of one.
    """
    within_um = SAME_PLACE_UM if view is None else min(SAME_PLACE_UM, view[0] / 2, view[1] / 2)
    firsts: dict[tuple[int, int], list[int]] = {}
    alike = []
    for number, centre in enumerate(centres):
        cell = floor(centre[0] / within_um), floor(centre[1] / within_um)
        near = (
            one
            for column in (-1, 0, 1)
            for row in (-1, 0, 1)
            for one in firsts.get((cell[0] + column, cell[1] + row), ())
        )
        found = next((one for one in near if _apart(centres[one], centre) <= within_um), number)
        if found == number:
            firsts.setdefault(cell, []).append(number)
        alike.append(found)
    return tuple(alike)


def count_overlapping(centres: Sequence[Point], splits: Sequence[Split], view: Point | None) -> int:
    """Return how many fields show specimen that a field of another part of the split shows too.

    0 where the size of a field (``view``, x and y in micrometres) is unknown.
    """
    if view is None or len(set(splits)) < 2:
        return 0
    from scipy.spatial import KDTree

    scaled = np.array(centres, dtype=np.float64) / np.array(view)
    parts = np.array(splits)
    overlapping = 0
    for part in sorted(set(splits)):
        # Fields are upright rectangles: the larger of both distances tells whether they overlap.
        others = KDTree(scaled[parts != part], balanced_tree=False)
        distance, _ = others.query(scaled[parts == part], p=np.inf)
        overlapping += int(np.count_nonzero(distance < _TOUCHING))
    return overlapping


def _apart(one: Point, other: Point) -> float:
    return max(abs(one[0] - other[0]), abs(one[1] - other[1]))
