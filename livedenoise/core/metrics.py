"""Metrics of a stage: counters, reasons and latency histograms, as plain data that can travel.

A histogram has logarithmic buckets of 2 %: bounded memory however long the run, every percentile
within 2 % of the truth, and two histograms add up to the histogram of both.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from math import ceil, log

import msgspec

HOPS = ("camera_to_ring", "ring_to_engine", "inference", "publish", "camera_to_denoised")
"""Latency hops of a frame: camera_to_ring + ring_to_engine + inference + publish = the last."""

_GROWTH = 1.02
_LOG_GROWTH = log(_GROWTH)
_MAX_BUCKET = 3000
"""Far beyond any duration that fits 64 bits (bucket 1853)."""


class LatencySummary(msgspec.Struct, frozen=True, kw_only=True):
    """Percentiles of one hop in milliseconds; ``count`` frames were measured."""

    p50: float
    p99: float
    p999: float
    max: float
    count: int


class LatencyHistogram:
    """Distribution of durations in nanoseconds."""

    def __init__(self) -> None:
        self._counts: Counter[int] = Counter()
        self._total = 0
        self._max_ns = 0

    @property
    def count(self) -> int:
        """Return how many durations were added."""
        return self._total

    def add(self, duration_ns: int) -> None:
        """Add one duration; below 1 us (or negative by clock granularity) counts as 1 us."""
        us = duration_ns / 1000
        self._counts[ceil(log(us) / _LOG_GROWTH) if us > 1 else 0] += 1
        self._total += 1
        self._max_ns = max(self._max_ns, duration_ns)

    def percentile_ms(self, percent: float) -> float:
        """Return the value below which ``percent`` of the durations lie (0.0 when empty)."""
        # Rounded first: 1000 * 99.9 / 100 is a little more than 999 in floating point.
        rank = ceil(round(self._total * percent / 100, 6))
        seen = 0
        for bucket in sorted(self._counts):
            seen += self._counts[bucket]
            if seen >= rank:
                return min(_GROWTH**bucket / 1000, self._max_ns * 1e-6)
        return 0.0

    def summary(self) -> LatencySummary:
        """Return the percentiles people read."""
        p50, p99, p999 = (self.percentile_ms(p) for p in (50, 99, 99.9))
        return LatencySummary(
            p50=p50, p99=p99, p999=p999, max=self._max_ns * 1e-6, count=self._total
        )

    def to_wire(self) -> list[int]:
        """Return ``[max_ns, bucket, count, bucket, count, ...]``."""
        flat = [self._max_ns]
        for bucket, count in self._counts.items():
            flat += (bucket, count)
        return flat

    def merge_wire(self, flat: list[int]) -> None:
        """Add what ``to_wire`` returned.

        Raises
        ------
        ValueError
            If it is not a histogram.
        """
        pairs = len(flat) // 2
        in_range = all(0 <= bucket <= _MAX_BUCKET for bucket in flat[1::2])
        if len(flat) != 2 * pairs + 1 or not in_range or min(flat[2::2], default=1) < 1:
            raise ValueError(f"not a histogram: {flat[:8]}")
        self._max_ns = max(self._max_ns, flat[0])
        for bucket, count in zip(flat[1::2], flat[2::2], strict=True):
            self._counts[bucket] += count
            self._total += count


class StageMetrics:
    """Counters and hops of one stage; ``snapshot()`` is plain data for the wire."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.dropped: Counter[str] = Counter()
        self.gauges: dict[str, float] = {}
        self.hops: dict[str, LatencyHistogram] = {}

    def hop(self, name: str, duration_ns: int) -> None:
        """Add one latency."""
        histogram = self.hops.get(name)
        if histogram is None:
            histogram = self.hops[name] = LatencyHistogram()
        histogram.add(duration_ns)

    def snapshot(self) -> dict[str, object]:
        """Return counts, drops by reason, gauges and histograms."""
        return {
            "counts": dict(self.counts),
            "dropped": dict(self.dropped),
            "gauges": dict(self.gauges),
            "hops": {name: hop.to_wire() for name, hop in self.hops.items()},
        }


class MetricsView(msgspec.Struct, kw_only=True):
    """A snapshot as received."""

    counts: dict[str, int] = {}
    dropped: dict[str, int] = {}
    gauges: dict[str, float] = {}
    hops: dict[str, list[int]] = {}

    def count(self, name: str) -> int:
        """Return a counter, 0 when it never moved."""
        return self.counts.get(name, 0)


def metrics_from_wire(data: Mapping[str, object]) -> MetricsView:
    """Return the typed view of a snapshot.

    Raises
    ------
    msgspec.ValidationError
        If it is not one.
    """
    return msgspec.convert(data, MetricsView)


def merged(hops: list[list[int]]) -> LatencySummary:
    """Return the summary of several histograms together.

    Raises
    ------
    ValueError
        If one of them is not a histogram.
    """
    histogram = LatencyHistogram()
    for flat in hops:
        histogram.merge_wire(flat)
    return histogram.summary()


def summed(views: Sequence[MetricsView]) -> MetricsView:
    """Return counts, drops and hops of several processes together; gauges of the last one.

    Raises
    ------
    ValueError
        If a hop is not a histogram.
    """
    counts: Counter[str] = Counter()
    dropped: Counter[str] = Counter()
    hops: dict[str, LatencyHistogram] = {}
    for view in views:
        counts.update(view.counts)
        dropped.update(view.dropped)
        for name, flat in view.hops.items():
            hops.setdefault(name, LatencyHistogram()).merge_wire(flat)
    return MetricsView(
        counts=dict(counts),
        dropped=dict(dropped),
        gauges=views[-1].gauges if views else {},
        hops={name: hop.to_wire() for name, hop in hops.items()},
    )
