"""Fields are split the same way on every machine, and no part is left empty."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from livedenoise.collect.plan_model import SplitConfig
from livedenoise.collect.plan_split import split_fields


@st.composite
def splits(draw: st.DrawFn) -> SplitConfig:
    val = draw(st.integers(0, 50))
    test = draw(st.integers(0, 50))
    seed = draw(st.integers(-5, 2**40))
    return SplitConfig(train=(100 - val - test) / 100, val=val / 100, test=test / 100, seed=seed)


@settings(deadline=None, max_examples=100)
@given(n=st.integers(0, 300), split=splits())
def test_every_field_is_in_one_part_and_none_is_empty(n: int, split: SplitConfig) -> None:
    parts = split_fields(n, split)
    assert parts == split_fields(n, split)
    assert len(parts) == n
    counts = Counter(parts)
    fractions = {"train": split.train, "val": split.val, "test": split.test}
    wanted = [part for part, fraction in fractions.items() if fraction > 0]
    assert set(counts) <= set(wanted)
    for part in wanted:
        # Within one field of the fraction, and one more that keeps another part from being empty.
        assert abs(counts[part] - n * fractions[part]) < 3
        assert counts[part] or n < len(wanted)


def test_the_split_never_changes() -> None:
    """Frozen: a new version must not move fields between training and test."""
    found = "".join(part[1] for part in split_fields(25, SplitConfig()))
    assert found == "rerrrarrrrrarerrarrrrrrrr"


def test_another_seed_takes_other_fields() -> None:
    parts = {split_fields(60, SplitConfig(seed=seed)) for seed in range(10)}
    assert len(parts) == 10


@pytest.mark.parametrize(
    ("n", "counts"),
    [(1, (1, 0, 0)), (3, (1, 1, 1)), (10, (8, 1, 1)), (25, (20, 3, 2)), (100, (80, 10, 10))],
)
def test_counts_follow_the_fractions(n: int, counts: tuple[int, ...]) -> None:
    found = Counter(split_fields(n, SplitConfig()))
    assert (found["train"], found["val"], found["test"]) == counts
