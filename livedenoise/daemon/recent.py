"""What a few seconds say: rates of counters, and latencies of the last seconds. No I/O, no clock.

Stages report counts and histograms since their start. Here they become rates and distributions of
the last seconds. A count that goes backwards (a stage that started again from zero) is a new start,
never a negative rate. Must not know: stages, configuration, terminals.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from livedenoise.core.metrics import LatencyHistogram, LatencySummary

_SMOOTHING = 0.3
"""Weight of the newest rate: the figures are read by eye, a few times a second."""
_SPAN_NS = 2_000_000_000
"""Rates are over about this long: reports come as often as snapshots, so that over one interval
there may be none or two."""
_HOLD_NS = 1_000_000_000
_MOST_POINTS = 64
_GROWTH = 1.02
"""Ratio of two buckets of ``LatencyHistogram``."""

Wire = Sequence[int]


class Rates:
    """Smoothed rates of counters over the last seconds, one for each name."""

    def __init__(self) -> None:
        self._rates: dict[str, _Rate] = {}

    def update(self, name: str, count: int, now_ns: int, hold_ns: int = _HOLD_NS) -> float | None:
        """Take a counter's value now; return its rate per second, None while unknown.

        ``hold_ns`` is how long a counter may stand still before its rate falls: a few frame
        periods and report intervals, so that a slow camera does not show zeros in between.
        """
        return self._rates.setdefault(name, _Rate()).update(count, now_ns, hold_ns)


class _Rate:
    """Rate of one counter. Points are kept where it moved: few, however often one looks."""

    def __init__(self) -> None:
        self._points: deque[tuple[int, int]] = deque(maxlen=_MOST_POINTS)
        self._value: float | None = None

    def update(self, count: int, now_ns: int, hold_ns: int) -> float | None:
        points = self._points
        if not points or count < points[-1][0]:
            # The first look, or a stage that started again from zero.
            points.clear()
            points.append((count, now_ns))
        elif count > points[-1][0] and now_ns > points[-1][1]:
            points.append((count, now_ns))
            self._smooth(max(_SPAN_NS, hold_ns))
        elif now_ns - points[-1][1] >= hold_ns:
            # It stands still: what comes next is a new start, not the mean over the pause.
            self._value = 0.0
            points.clear()
            points.append((count, now_ns - hold_ns))
        return self._value

    def _smooth(self, span_ns: int) -> None:
        points = self._points
        while len(points) > 2 and points[1][1] <= points[-1][1] - span_ns:
            points.popleft()
        rate = (points[-1][0] - points[0][0]) * 1e9 / (points[-1][1] - points[0][1])
        previous = self._value or rate
        self._value = previous + _SMOOTHING * (rate - previous)


def histogram_difference(newer: Wire, older: Wire) -> list[int]:
    """Return the durations that are in ``newer`` and not yet in ``older``.

    Parameters
    ----------
    newer, older : sequence of int
        Cumulative histograms of one hop, as ``LatencyHistogram.to_wire`` returns them: ``[max_ns,
        bucket, count, ...]``.

    Returns
    -------
    list of int
        The same form. Its maximum is exact when it is the maximum of ``newer`` alone; else it is
        the upper edge of the highest bucket that grew (2 % too high at most). Where any bucket
        shrank the histogram was started again, and all of ``newer`` is returned.
    """
    before = dict(zip(older[1::2], older[2::2], strict=True))
    grown: dict[int, int] = {}
    for bucket, count in zip(newer[1::2], newer[2::2], strict=True):
        more = count - before.pop(bucket, 0)
        if more < 0:
            return list(newer)
        if more:
            grown[bucket] = more
    if before:
        return list(newer)
    if not grown:
        return [0]
    edge_ns = int(_GROWTH ** max(grown) * 1000)
    max_ns = newer[0] if newer[0] > older[0] else min(newer[0], edge_ns)
    return [max_ns, *(number for pair in grown.items() for number in pair)]


class RecentLatency:
    """Latency of one hop over about the last ``span_s`` seconds, from cumulative histograms.

    It keeps one histogram a second: bounded, however long the run.
    """

    def __init__(self, span_s: int = 10) -> None:
        self._kept: deque[tuple[int, Wire]] = deque(maxlen=span_s + 1)

    def update(self, wire: Wire, now_ns: int) -> LatencySummary | None:
        """Take the cumulative histogram now; return the last seconds, None for no frames.

        Raises
        ------
        ValueError
            If it is not a histogram.
        """
        if not self._kept:
            # Nothing came before: everything so far is recent.
            self._kept.append((now_ns, (0,)))
        summary = _summary(histogram_difference(wire, self._kept[0][1]))
        if now_ns - self._kept[-1][0] >= _HOLD_NS:
            self._kept.append((now_ns, tuple(wire)))
        return summary

    def last_second(self, wire: Wire) -> LatencySummary | None:
        """Return the durations since the histogram kept last (about a second ago)."""
        return _summary(histogram_difference(wire, self._kept[-1][1] if self._kept else (0,)))


def _summary(flat: list[int]) -> LatencySummary | None:
    histogram = LatencyHistogram()
    histogram.merge_wire(flat)
    return histogram.summary() if histogram.count else None
