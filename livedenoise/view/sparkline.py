"""A curve in one line of characters, or in a few for a larger screen. Pure.

Gaps stay empty. Where a curve is longer than the line, neighbouring values share a column, and the
one that matters is kept (the lowest rate, the highest latency): a dip or a spike is never averaged
away.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import isfinite
from typing import Literal

import msgspec

_BLOCKS = "▁▂▃▄▅▆▇█"
_ASCII = "_.-~=+*#"
_LEAST_SPAN = 0.05
"""Smallest span of the scale, as a share of the value: jitter below it is drawn flat."""

Keep = Literal["low", "high"]


class Sparkline(msgspec.Struct, frozen=True, kw_only=True):
    """A curve: its rows from top to bottom, and the lowest and highest value (None for none)."""

    rows: tuple[str, ...]
    low: float | None
    high: float | None

    @property
    def text(self) -> str:
        """Return the lowest row: all of a curve of one row."""
        return self.rows[-1]


def sparkline(
    values: Sequence[float | None],
    width: int,
    *,
    rows: int = 1,
    keep: Keep = "high",
    scale: tuple[float, float] | None = None,
    blocks: bool = True,
) -> Sparkline:
    """Return ``values`` (oldest first) as ``rows`` lines of ``width`` characters, newest right.

    Parameters
    ----------
    values : sequence of float or None
        None and what is not finite are gaps.
    width, rows : int
        Cells; shorter curves are padded on the left.
    keep : "low" or "high"
        Which of the values that share a column is drawn.
    scale : tuple of float or None
        Values at the bottom and the top; None takes the lowest and the highest there are.
    blocks : bool
        False draws with ASCII characters.
    """
    known = [v if v is not None and isfinite(v) else None for v in values]
    found = [v for v in known if v is not None]
    if not found or width < 1:
        return Sparkline(rows=(" " * max(0, width),) * rows, low=None, high=None)
    low, high = min(found), max(found)
    levels = _BLOCKS if blocks else _ASCII
    bottom, top = scale or (low, high)
    heights = [
        None if v is None else _height(v, bottom, top, len(levels) * rows)
        for v in _binned(known, width, keep)
    ]
    lines = (
        "".join(_char(h, len(levels) * floor, levels) for h in heights).rjust(width)
        for floor in reversed(range(rows))
    )
    return Sparkline(rows=tuple(lines), low=low, high=high)


def _binned(values: Sequence[float | None], width: int, keep: Keep) -> list[float | None]:
    """Return at most ``width`` values; neighbours share a column as evenly as can be."""
    chosen = min if keep == "low" else max
    count = min(width, len(values))
    edges = [index * len(values) // count for index in range(count + 1)]
    bins: list[float | None] = []
    for start, end in pairwise(edges):
        known = [v for v in values[start:end] if v is not None]
        bins.append(chosen(known) if known else None)
    return bins


def _height(value: float, low: float, high: float, levels: int) -> int:
    """Return 1 to ``levels``."""
    span = max(high - low, _LEAST_SPAN * max(abs(high), abs(low)))
    if not isfinite(span) or span <= 0:
        return 1
    # A flat curve is drawn in the middle of its scale.
    start = low / 2 + high / 2 - span / 2  # each halved: the sum of two numbers can be infinite
    return min(max(int((value - start) / span * levels), 0), levels - 1) + 1


def _char(height: int | None, floor: int, levels: str) -> str:
    """Return what a column of ``height`` shows in the row that begins at ``floor``."""
    if height is None or height <= floor:
        return " "
    return levels[min(height - floor, len(levels)) - 1]
