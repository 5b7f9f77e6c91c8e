"""One value a second of every figure worth a curve: bounded, with gaps where nothing came.

Knows: how long it remembers and what a gap is. Must not know: where the values come from, how they
are drawn. A gap is None.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

HISTORY_S = 120
"""Seconds remembered."""

Row = Mapping[str, float | None]
Curve = tuple[float | None, ...]


class History:
    """Curves of one camera.

    Parameters
    ----------
    length_s : int
        Seconds remembered; every curve is at most as long.
    """

    def __init__(self, length_s: int = HISTORY_S) -> None:
        self._rows: deque[Row] = deque(maxlen=length_s)
        self._first_ns = 0
        self._second = -1
        self._curves: dict[str, Curve] = {}

    def due(self, now_ns: int) -> bool:
        """Return whether a new second has begun."""
        return self._second < 0 or now_ns - self._first_ns >= (self._second + 1) * 1_000_000_000

    def add(self, now_ns: int, values: Row) -> None:
        """Take the values of a new second; within one already taken they change nothing.

        Seconds in between, in which nothing was taken, become gaps, and so does None.
        """
        if not self.due(now_ns):
            return
        if self._second < 0:
            self._first_ns = now_ns
        second = (now_ns - self._first_ns) // 1_000_000_000
        missed = min(second - self._second - 1, self._rows.maxlen or 0)
        self._rows.extend({} for _ in range(missed))
        self._rows.append(dict(values))
        self._second = second
        names = dict.fromkeys(name for row in self._rows for name in row)
        self._curves = {name: tuple(row.get(name) for row in self._rows) for name in names}

    def curves(self) -> dict[str, Curve]:
        """Return every curve, oldest value first; all are of one length."""
        return self._curves
