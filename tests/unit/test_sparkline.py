"""Curves in characters: scale, gaps, and what shares a column."""

from __future__ import annotations

import sys
from math import inf, isfinite, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from livedenoise.view.sparkline import Sparkline, sparkline

LEVELS = " ▁▂▃▄▅▆▇█"


def test_a_rising_curve_uses_every_level() -> None:
    found = sparkline([float(v) for v in range(8)], 8)
    assert found == Sparkline(rows=("▁▂▃▄▅▆▇█",), low=0.0, high=7.0)


def test_gaps_stay_empty() -> None:
    assert sparkline([0.0, None, nan, 10.0], 4).text == "▁  █"


def test_a_short_curve_stands_at_the_right_end() -> None:
    assert sparkline([0.0, 10.0], 5).text == "   ▁█"


@pytest.mark.parametrize(("keep", "odd"), [("low", -100.0), ("high", 100.0)])
def test_a_spike_or_dip_among_many_values_is_never_averaged_away(keep: str, odd: float) -> None:
    values = [50.0] * 120
    values[57] = odd
    found = sparkline(values, 20, keep=keep)  # type: ignore[arg-type]
    assert found.text.count("▁" if keep == "low" else "█") == 1
    assert (found.low, found.high) == (min(values), max(values))


def test_jitter_far_below_the_value_is_drawn_flat() -> None:
    assert len(set(sparkline([50.0, 50.1, 49.9, 50.05], 4).text)) <= 2
    assert len(set(sparkline([50.0, 60.0, 40.0, 50.0], 4).text)) == 3


def test_more_rows_make_the_same_curve_taller() -> None:
    values = [float(v) for v in range(16)]
    top, bottom = sparkline(values, 16, rows=2).rows
    assert bottom == "▁▂▃▄▅▆▇█" + "█" * 8
    assert top == " " * 8 + "▁▂▃▄▅▆▇█"


def test_a_fixed_scale_keeps_small_values_small() -> None:
    found = sparkline([0.4, 0.8, 100.0, 120.0], 4, scale=(0.0, 100.0))
    assert found.text == "▁▁██"
    assert (found.low, found.high) == (0.4, 120.0)


def test_nothing_measured_gives_no_range() -> None:
    assert sparkline([nan, None], 3) == Sparkline(rows=("   ",), low=None, high=None)
    assert sparkline([], 3, rows=2).rows == ("   ", "   ")


def test_only_ascii_where_asked() -> None:
    assert sparkline([1.0, 2.0, 3.0], 3, blocks=False).text.isascii()


@given(
    values=st.lists(st.none() | st.floats(), max_size=150),
    width=st.integers(0, 60),
    rows=st.integers(1, 4),
)
def test_always_as_wide_and_high_as_asked(
    values: list[float | None], width: int, rows: int
) -> None:
    found = sparkline(values, width, rows=rows)
    assert [len(row) for row in found.rows] == [width] * rows
    known = [v for v in values if v is not None and isfinite(v)]
    if known and width:
        assert (found.low, found.high) == (min(known), max(known))
        assert any(char != " " for char in found.text)
    assert inf not in (found.low, found.high)


@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=40))
def test_a_higher_value_is_never_drawn_lower(values: list[float]) -> None:
    text = sparkline(values, len(values)).text
    pairs = sorted(zip(values, text, strict=True))
    levels = [LEVELS.index(char) for _, char in pairs]
    assert levels == sorted(levels)


def test_the_largest_numbers_there_are_do_not_overflow() -> None:
    largest = sys.float_info.max / 2
    flat = sparkline([largest, largest, largest], 3, keep="high")
    assert set(flat.rows[0]) == {"▅"}
