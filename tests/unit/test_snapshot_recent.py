"""What a few seconds say: rates, latencies of the last seconds, and the curves of two minutes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from livedenoise.core.metrics import LatencyHistogram
from livedenoise.daemon.history import History
from livedenoise.daemon.recent import Rates, RecentLatency, histogram_difference

SECOND = 1_000_000_000


def wire(durations_us: list[int]) -> list[int]:
    histogram = LatencyHistogram()
    for duration in durations_us:
        histogram.add(duration * 1000)
    return histogram.to_wire()


durations = st.lists(st.integers(1, 10**6), max_size=60)


def buckets(flat: list[int]) -> dict[int, int]:
    return dict(zip(flat[1::2], flat[2::2], strict=True))


@given(durations, durations)
def test_difference_is_exactly_what_was_added(before: list[int], added: list[int]) -> None:
    found = histogram_difference(wire(before + added), wire(before))
    assert buckets(found) == buckets(wire(added))
    if added:
        true = max(added) * 1000
        assert 0.97 * true <= found[0] <= max(1.021 * true, 1000)


@given(st.lists(st.integers(1, 10**6), min_size=1, max_size=30), durations)
def test_a_histogram_that_began_again_is_taken_whole(old: list[int], new: list[int]) -> None:
    smaller, before = wire(new), wire(old)
    grew = all(buckets(smaller).get(b, 0) >= n for b, n in buckets(before).items())
    if not grew:
        assert histogram_difference(smaller, before) == smaller


def test_latency_of_a_restarted_stage_is_that_of_the_new_one() -> None:
    recent = RecentLatency(10)
    recent.update(wire([90_000] * 50), 0)
    recent.update(wire([90_000] * 50), 2 * SECOND)
    found = recent.update(wire([5_000] * 3), 3 * SECOND)
    assert found is not None
    assert (found.count, found.p99) == (3, pytest.approx(5.0, rel=0.02))


def test_a_counter_that_goes_backwards_is_a_new_start() -> None:
    rates = Rates()
    rates.update("a", 1000, 0)
    assert rates.update("a", 1050, SECOND) == 50.0
    assert rates.update("a", 3, 2 * SECOND) == 50.0
    rate = rates.update("a", 53, 3 * SECOND)
    assert rate == pytest.approx(50.0)


def test_reports_that_come_unevenly_do_not_shake_a_steady_rate() -> None:
    rates, seen = Rates(), []
    # Looked at every 200 ms; a report every 190 to 210 ms, so now and then none or two.
    for look in range(1, 60):
        reports = look * 200 // 205 + (look * 7 % 3 == 0)
        seen.append(rates.update("a", 10 * reports, look * SECOND // 5))
    settled = [rate for rate in seen[15:] if rate is not None]
    assert len(settled) == 44
    assert max(settled) < 1.12 * 48.8
    assert min(settled) > 0.88 * 48.8


def test_after_a_pause_the_rate_is_the_new_one() -> None:
    rates = Rates()
    for second in range(3):
        rates.update("a", 50 * second, second * SECOND)
    assert rates.update("a", 100, 20 * SECOND) == 0.0
    assert rates.update("a", 150, 21 * SECOND) == pytest.approx(25.0)


def test_a_rate_is_not_known_before_two_counts() -> None:
    assert Rates().update("a", 1000, 0) is None


@given(st.lists(st.tuples(st.integers(0, 5 * SECOND), st.floats(0, 1)), max_size=200))
def test_history_is_bounded_even_and_ends_with_the_newest_second(
    steps: list[tuple[int, float]],
) -> None:
    history, now, kept = History(30), 0, None
    for step, value in steps:
        now += step
        if history.due(now):
            kept = value
        history.add(now, {"a": value})
    curve = history.curves().get("a", ())
    assert len(curve) <= 30
    if steps:
        assert curve[-1] == kept
        assert len(curve) == min(30, now_second(steps) + 1)


def now_second(steps: list[tuple[int, float]]) -> int:
    """Whole seconds between the first and the last value."""
    return sum(step for step, _ in steps[1:]) // SECOND
