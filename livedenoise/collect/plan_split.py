"""Which fields are for training, validation and test. Pure and the same on every machine.

By place, never by pair: pairs of one field show the same specimen, and so do fields that a plan
goes to more than once.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256

from livedenoise.collect.plan_model import SplitConfig
from livedenoise.collect.records import Split

_PARTS: tuple[Split, ...] = ("train", "val", "test")


def split_fields(
    n_fields: int, split: SplitConfig, alike: Sequence[int] | None = None
) -> tuple[Split, ...]:
    """Return the part of each field.

    ``alike`` names for each field the first one at the same place, itself where there is none:
    they go to the same part, and are counted as one.

    Fields are ranked by SHA-256 of seed and number, so that neighbours fall into different parts
    and no random generator's version matters. Counts follow the fractions by largest remainder;
    with at least as many fields as parts, each part with a fraction above 0 gets a field.
    """
    firsts = range(n_fields) if alike is None else alike
    ranked = sorted(set(firsts), key=lambda number: _rank(number, split.seed))
    parts: list[Split] = [
        part for part, count in _counts(len(ranked), split).items() for _ in range(count)
    ]
    of_first = dict(zip(ranked, parts, strict=True))
    return tuple(of_first[number] for number in firsts)


def _rank(number: int, seed: int) -> bytes:
    return sha256(f"{seed}:{number}".encode()).digest()


def _counts(n_fields: int, split: SplitConfig) -> dict[Split, int]:
    fractions: dict[Split, float] = {
        "train": split.train,
        "val": split.val,
        "test": split.test,
    }
    # Rounding keeps 0.1 x 10 at one field where floating point says 0.999...
    exact = {part: round(n_fields * fractions[part], 9) for part in _PARTS}
    counts: dict[Split, int] = {part: int(exact[part]) for part in _PARTS}
    by_remainder = sorted(_PARTS, key=lambda part: counts[part] - exact[part])
    for part in by_remainder[: n_fields - sum(counts.values())]:
        counts[part] += 1
    wanted = [part for part in _PARTS if fractions[part] > 0]
    if n_fields >= len(wanted):
        for part in wanted:
            if not counts[part]:
                counts[max(counts, key=lambda other: counts[other])] -= 1
                counts[part] += 1
    return counts
