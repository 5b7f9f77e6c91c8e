"""What is taken at a site: levels, order, discarded frames, light."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from plan_kit import program_of, scope_info

from livedenoise.collect.plan_model import HighConfig, LadderConfig, LowConfig, PlanConfig
from livedenoise.collect.plan_shots import find_rungs, make_shots
from livedenoise.collect.shots import Shot, Taken, make_pairs
from livedenoise.core.errors import ConfigError

LIGHT = '[light]\ndevice = "Laser"\nproperty = "Power"\nfull_value = 50\n'


def shots_of(folder: Path, text: str) -> tuple[Shot, ...]:
    return program_of(folder, text).sequences[""]


def brief(shots: tuple[Shot, ...]) -> list[str]:
    return [f"{shot.role[0]}{shot.level if shot.role == 'low' else ''}" for shot in shots]


THREE = "[high]\nexposure_us = 8000\n[low]\nexposure_us = [1000, 4000, 2000]\n"


@pytest.mark.parametrize(
    ("order", "wanted"),
    [
        ("low-first", "l2 l1 l0 h l2 l1 l0 h"),
        ("alternating", "l2 l1 l0 h h l0 l1 l2"),
        ("bracket", "l2 l1 l0 h l0 l1 l2 l2 l1 l0 h l0 l1 l2"),
    ],
)
def test_the_three_orders(order: str, wanted: str, tmp_path: Path) -> None:
    shots = shots_of(tmp_path, f'order = "{order}"\nrepeats = 2\n{THREE}')
    assert brief(shots) == wanted.split()


@st.composite
def plans(draw: st.DrawFn) -> PlanConfig:
    exposures = draw(st.lists(st.integers(10, 9_999), min_size=1, max_size=6, unique=True))
    return PlanConfig(
        order=draw(st.sampled_from(["low-first", "alternating", "bracket"])),
        repeats=draw(st.integers(1, 5)),
        discard=draw(st.integers(0, 3)),
        high=HighConfig(exposure_us=10_000, frames=draw(st.integers(1, 4))),
        low=LowConfig(exposure_us=exposures),
    )


@settings(deadline=None, max_examples=60)
@given(plan=plans())
def test_every_sequence_obeys_its_order(plan: PlanConfig) -> None:
    shots, problems = make_shots(plan, "", scope_info())
    assert not problems
    levels = len(plan.low.exposure_us)  # type: ignore[arg-type]
    for repeat in range(plan.repeats):
        own = [shot for shot in shots if shot.repeat == repeat]
        roles = [shot.role for shot in own]
        high = roles.index("high")
        assert roles.count("high") == 1
        before, after = own[:high], own[high + 1 :]
        low_first = plan.order != "alternating" or repeat % 2 == 0
        assert len(before) == (levels if low_first else 0)
        assert len(after) == (levels if plan.order == "bracket" or not low_first else 0)
        assert [one.exposure_us for one in before] == sorted(one.exposure_us for one in before)
        assert all(one.part == ("after" if plan.order == "bracket" else "") for one in after)
        assert not any(one.part for one in before)
    for last, shot in pairwise(shots):
        changed = last.exposure_us != shot.exposure_us
        assert shot.discard == (plan.discard if changed else 0)
    assert shots[0].discard == plan.discard


@settings(deadline=None, max_examples=60)
@given(plan=plans())
def test_pairs_can_be_made_of_every_sequence(plan: PlanConfig) -> None:
    shots, _ = make_shots(plan, "", scope_info())
    image = __import__("numpy").zeros((1, 1), "u2")
    pairs = make_pairs([Taken(shot=shot, image=image) for shot in shots])
    levels = len(plan.low.exposure_us)  # type: ignore[arg-type]
    assert len(pairs) == levels * plan.repeats
    assert len({pair.name for pair in pairs}) == len(pairs)
    for pair in pairs:
        assert (pair.after is not None) == (plan.order == "bracket")
        assert pair.high.shot.repeat == pair.low.shot.repeat


@settings(deadline=None, max_examples=60)
@given(
    start=st.integers(1, 10**6),
    factor=st.floats(1.1, 10),
    minimum=st.integers(1, 1000),
)
def test_a_ladder_to_the_minimum_ends_there(start: int, factor: float, minimum: int) -> None:
    low = LowConfig(ladder=LadderConfig(from_us=start, factor=factor, to="min"))
    rungs, problems = find_rungs(low, HighConfig(exposure_us=10**7), minimum)
    assume(not problems)
    found = [rung.exposure_us for rung in rungs]
    assert found[0] == start
    assert found[-1] == minimum
    assert found == sorted(set(found), reverse=True)
    assert all(a / b <= factor * (1 + 1 / b) for a, b in pairwise(found))


def test_a_ladder_of_steps(tmp_path: Path) -> None:
    text = "[high]\nexposure_us = 100_000\n[low]\nladder = { from_us = 50_000, steps = 4 }\n"
    found = [shot.exposure_us for shot in shots_of(tmp_path, text) if shot.role == "low"]
    assert found == [6250, 12_500, 25_000, 50_000]


@pytest.mark.parametrize(
    ("ladder", "minimum", "text"),
    [
        ('from_us = 100, to = "min"', 0, "does not tell its shortest exposure"),
        ('from_us = 100, to = "min"', 200, "below the shortest exposure of the camera, 200 us"),
        ("from_us = 4, steps = 6", 1, "two rungs are the same microsecond, or 0"),
        ("from_us = 9000, steps = 6", 1000, "below the shortest exposure of the camera, 1000 us"),
        ('from_us = 9000, factor = 1.01, to = "min"', 1, "more than 64 rungs"),
    ],
)
def test_ladders_that_cannot_be_climbed(
    ladder: str, minimum: int, text: str, tmp_path: Path
) -> None:
    plan = f"[high]\nexposure_us = 100_000\n[low]\nladder = {{ {ladder} }}\n"
    with pytest.raises(ConfigError, match=text) as refused:
        program_of(tmp_path, plan, scope_info(exposure_min_us=minimum))
    assert ":low" in refused.value.message


def test_light_levels_are_values_of_the_property(tmp_path: Path) -> None:
    text = f"[high]\nexposure_us = 5000\n[low]\nlight = [0.1, 0.001]\n{LIGHT}off_value = 0\n"
    program = program_of(tmp_path, text)
    values = [(one.role, one.light_value, one.light) for one in program.sequences[""]]
    assert values == [
        ("low", "0.05", pytest.approx(0.001)),
        ("low", "5", pytest.approx(0.1)),
        ("high", "50", 1.0),
    ]
    assert {one.exposure_us for one in program.sequences[""]} == {5000}
    assert program.light is not None
    assert program.light.off_value == "0"


def test_a_rounded_light_counts_as_what_it_is(tmp_path: Path) -> None:
    text = f"[high]\nexposure_us = 5000\n[low]\nlight = 0.03\n{LIGHT}decimals = 0\n"
    low = shots_of(tmp_path, text)[0]
    assert (low.light_value, low.light) == ("2", pytest.approx(0.04))


@pytest.mark.parametrize(
    ("text", "key", "problem"),
    [
        (
            "[high]\nexposure_us = 9\nlight = 0.5\n[low]\nexposure_us = 2\n",
            "high.light",
            r"\[light",
        ),
        ("[high]\nexposure_us = 90\n[low]\nlight = 0.5\n", "low.light", r"needs \[light\]"),
        (
            f"[high]\nexposure_us = 90\n[low]\nlight = 0.001\n{LIGHT}decimals = 0\n",
            "low.light",
            "no light at all",
        ),
        (
            f"[high]\nexposure_us = 90\n[low]\nlight = [0.041, 0.039]\n{LIGHT}decimals = 0\n",
            "low",
            "two levels are the same",
        ),
        ("[high]\nexposure_us = 90\n[low]\nexposure_us = 90\n", "low", "not dimmer than high"),
        ("[high]\nexposure_us = 9\n[low]\nexposure_us = 2\n", "high.exposure_us", "below the"),
        ("[high]\nexposure_us = 2_000_000\n[low]\nexposure_us = 20\n", "high.exp", "above the l"),
    ],
)
def test_shots_that_cannot_be_taken(text: str, key: str, problem: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f":{key}.*{problem}"):
        program_of(tmp_path, text)


def test_an_average_of_equal_frames_is_dimmer_than_high(tmp_path: Path) -> None:
    text = "[high]\nexposure_us = 90\nframes = 16\n[low]\nexposure_us = 90\n"
    assert brief(shots_of(tmp_path, text)) == ["l0", "h"]


def test_a_channel_has_its_own_exposures(tmp_path: Path) -> None:
    text = (
        '[sequence]\nchannels = ["A", "B"]\n[high]\nexposure_us = 900\n[low]\nexposure_us = 100\n'
        '[[channel]]\nname = "B"\nlow = { exposure_us = [50, 25] }\nhigh = { exposure_us = 800 }\n'
    )
    found = program_of(tmp_path, text).sequences
    assert [shot.exposure_us for shot in found["A"]] == [100, 900]
    assert [shot.exposure_us for shot in found["B"]] == [25, 50, 800]
    with pytest.raises(ConfigError, match=r":channel\.0\.low: below the shortest"):
        program_of(tmp_path, text.replace("25]", "5]"))
