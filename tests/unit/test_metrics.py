"""Latency histograms and counters: accurate to 2 %, addable, bounded."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from livedenoise.core.metrics import (
    LatencyHistogram,
    StageMetrics,
    merged,
    metrics_from_wire,
)

PERCENTS = (1.0, 25.0, 50.0, 90.0, 99.0, 99.9, 100.0)
DURATIONS = st.lists(st.integers(1_000, 10**12), min_size=1, max_size=300)


def filled(durations_ns: list[int]) -> LatencyHistogram:
    histogram = LatencyHistogram()
    for duration_ns in durations_ns:
        histogram.add(duration_ns)
    return histogram


@given(DURATIONS, st.sampled_from(PERCENTS))
@settings(max_examples=80, deadline=None)
def test_percentiles_are_within_2_percent_of_numpy(durations_ns: list[int], percent: float) -> None:
    found_ms = filled(durations_ns).percentile_ms(percent)
    true_ms = np.percentile(durations_ns, percent, method="inverted_cdf") * 1e-6
    assert found_ms == pytest.approx(true_ms, rel=0.02)


def test_percentiles_of_a_realistic_run() -> None:
    rng = np.random.default_rng(7)
    durations_ns = (rng.lognormal(np.log(2e6), 0.4, 20_000)).astype(int)
    found = filled([int(d) for d in durations_ns]).summary()
    for value, percent in ((found.p50, 50), (found.p99, 99), (found.p999, 99.9)):
        true_ms = np.percentile(durations_ns, percent, method="inverted_cdf") * 1e-6
        assert value == pytest.approx(true_ms, rel=0.02)
    assert found.max == pytest.approx(durations_ns.max() * 1e-6)
    assert found.count == 20_000


def test_the_rank_is_not_moved_by_floating_point() -> None:
    """41000 * 99.9 / 100 is a little more than 40959 in floating point."""
    histogram = filled([1_000_000] * 40_959 + [9_000_000] * 41)
    assert histogram.percentile_ms(99.9) == pytest.approx(1.0, rel=0.02)


@given(DURATIONS, DURATIONS)
@settings(max_examples=40, deadline=None)
def test_two_histograms_add_up_to_the_histogram_of_both(
    first: list[int], second: list[int]
) -> None:
    together = filled(first + second).summary()
    assert merged([filled(first).to_wire(), filled(second).to_wire()]) == together
    assert merged([filled(second).to_wire(), filled(first).to_wire()]) == together


@given(DURATIONS)
@settings(max_examples=40, deadline=None)
def test_the_wire_keeps_the_histogram(durations_ns: list[int]) -> None:
    flat = filled(durations_ns).to_wire()
    again = LatencyHistogram()
    again.merge_wire(msgspec.msgpack.decode(msgspec.msgpack.encode(flat), type=list[int]))
    assert again.summary() == filled(durations_ns).summary()
    assert sorted(again.to_wire()) == sorted(flat)


def test_empty() -> None:
    histogram = LatencyHistogram()
    assert histogram.count == 0
    assert histogram.percentile_ms(99) == 0.0
    assert histogram.to_wire() == [0]
    summary = merged([])
    assert (summary.p50, summary.p999, summary.max, summary.count) == (0.0, 0.0, 0.0, 0)
    assert merged([[0], filled([5_000_000]).to_wire()]).count == 1


def test_no_percentile_lies_above_the_maximum() -> None:
    summary = filled([1_234_567]).summary()
    assert summary.p50 == summary.p999 == summary.max == pytest.approx(1.234567)


@pytest.mark.parametrize("duration_ns", [0, -5, 999, 1_000])
def test_very_short_durations_count_as_one_microsecond_at_most(duration_ns: int) -> None:
    histogram = filled([duration_ns])
    assert histogram.count == 1
    assert 0.0 <= histogram.percentile_ms(50) <= 0.001


def test_memory_is_bounded_by_the_range_not_the_number() -> None:
    histogram = LatencyHistogram()
    for k in range(50_000):
        histogram.add(1_000 + k * 1_000_003)
    assert histogram.count == 50_000
    assert len(histogram.to_wire()) < 2 * 1_300


@pytest.mark.parametrize(
    "flat",
    [
        [],
        [5, 1],
        [5, 1, 0],
        [5, 1, -3],
        [5, -1, 3],
        [5, 10**6, 3],
    ],
)
def test_what_is_no_histogram_is_refused(flat: list[int]) -> None:
    histogram = filled([2_000_000])
    before = histogram.to_wire()
    with pytest.raises(ValueError, match="not a histogram"):
        histogram.merge_wire(flat)
    assert histogram.to_wire() == before


def test_every_duration_of_64_bits_travels() -> None:
    flat = filled([2**63 - 1]).to_wire()
    assert merged([flat]).max == pytest.approx((2**63 - 1) * 1e-6)


def test_a_snapshot_survives_the_wire() -> None:
    metrics = StageMetrics()
    metrics.counts["denoised"] += 3
    metrics.dropped["torn"] += 1
    metrics.gauges["backlog"] = 2.5
    metrics.hop("inference", 4_000_000)
    metrics.hop("inference", 6_000_000)
    data = msgspec.msgpack.decode(msgspec.msgpack.encode(metrics.snapshot()))
    view = metrics_from_wire(data)
    assert (view.count("denoised"), view.count("never")) == (3, 0)
    assert (view.dropped, view.gauges) == ({"torn": 1}, {"backlog": 2.5})
    assert merged([view.hops["inference"]]).count == 2


def test_a_snapshot_is_a_copy() -> None:
    metrics = StageMetrics()
    metrics.counts["n"] = 1
    before = metrics.snapshot()
    metrics.counts["n"] += 1
    metrics.hop("publish", 1_000_000)
    assert before == {"counts": {"n": 1}, "dropped": {}, "gauges": {}, "hops": {}}


def test_what_is_no_snapshot_is_refused() -> None:
    with pytest.raises(msgspec.ValidationError):
        metrics_from_wire({"counts": {"n": "many"}})
    assert metrics_from_wire({}).hops == {}
