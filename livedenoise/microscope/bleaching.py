"""What light has done to a specimen, place by place: a map of bleaching that remembers fields.

Knows: fields that were lit, as rectangles in the specimen, and by how much each bleached. Must not
know: light, scenes, stage, time.

Photobleaching is taken as first order: the dye left is ``exp(-exponent)``, and the exponents of all
light a place has received add up. One field costs about a hundred bytes, however large it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import floor

import numpy as np
import numpy.typing as npt

FloatImage = npt.NDArray[np.float32]
Corner = tuple[float, float]

_SAME_PX = 0.25
"""A field this near to the one before adds to it: a drifting sample does not fill the memory."""


@dataclass(slots=True)
class _Lit:
    corner_px: Corner
    exponent: float


class BleachingMap:
    """Remembers how far each place of a specimen has bleached.

    Parameters
    ----------
    shape : tuple of int
        (Y, X) of the field that is lit: light falls on what the camera sees, evenly.
    """

    def __init__(self, shape: tuple[int, int]) -> None:
        self._shape = shape
        # Fields by the cell, one field large, that their corner is in: only neighbours overlap.
        self._cells: dict[tuple[int, int], list[_Lit]] = {}
        self._last: _Lit | None = None

    def add(self, corner_px: Corner, exponent: float) -> None:
        """Bleach the field whose first pixel is at ``corner_px`` (Y, X)."""
        if exponent <= 0:
            return
        last = self._last
        if last is not None and _far(last.corner_px, corner_px) <= _SAME_PX:
            last.exponent += exponent
            return
        cell = self._cells.setdefault(self._cell(corner_px), [])
        for lit in cell:
            if _far(lit.corner_px, corner_px) <= _SAME_PX:
                lit.exponent += exponent
                self._last = lit
                return
        self._last = _Lit(corner_px, exponent)
        cell.append(self._last)

    def left(self, corner_px: Corner) -> FloatImage | float:
        """Return the dye left in a field: float32 (Y, X), or one number for all of it."""
        evenly = 0.0
        uneven: FloatImage | None = None
        for lit in self._near(corner_px):
            shares = [self._share(corner_px[a] - lit.corner_px[a], a) for a in (0, 1)]
            if all(share.min() >= 1.0 - _SAME_PX for share in shares):
                evenly += lit.exponent
            elif all(share.any() for share in shares):
                exponent = np.float32(lit.exponent) * np.outer(shares[0], shares[1])
                uneven = exponent if uneven is None else uneven + exponent
        if uneven is None:
            return float(np.exp(-evenly))
        left: FloatImage = np.exp(-(uneven + np.float32(evenly)))
        return left

    def _near(self, corner_px: Corner) -> list[_Lit]:
        row, column = self._cell(corner_px)
        around = (-1, 0, 1)
        cells = ((row + down, column + right) for down in around for right in around)
        return [lit for cell in cells for lit in self._cells.get(cell, ())]

    def _cell(self, corner_px: Corner) -> tuple[int, int]:
        return floor(corner_px[0] / self._shape[0]), floor(corner_px[1] / self._shape[1])

    def _share(self, ahead_px: float, axis: int) -> FloatImage:
        """Return how much of each pixel a field that begins ``ahead_px`` earlier has covered."""
        first = np.arange(self._shape[axis], dtype=np.float32) + np.float32(ahead_px)
        covered = np.minimum(first + 1.0, self._shape[axis]) - np.maximum(first, 0.0)
        share: FloatImage = np.clip(covered, 0.0, 1.0).astype(np.float32)
        return share


def _far(one: Corner, other: Corner) -> float:
    return max(abs(one[0] - other[0]), abs(one[1] - other[1]))
