"""The restart budget: never more than it allows in any window."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from livedenoise.supervise.budget import RestartBudget

WINDOW = 1000


@given(
    restarts=st.integers(0, 5),
    steps=st.lists(st.integers(0, 600), max_size=60),
)
def test_no_window_holds_more_than_the_budget(restarts: int, steps: list[int]) -> None:
    budget, moment, taken = RestartBudget(restarts, WINDOW), 0, list[int]()
    for step in steps:
        moment += step
        recent = [t for t in taken if moment - t <= WINDOW]
        allowed = budget.take(moment)
        assert allowed == (len(recent) < restarts)
        if allowed:
            taken.append(moment)
