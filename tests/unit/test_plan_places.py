"""Fields at one place share a part of the split; what is too much or no number is refused."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plan_kit import PAIR, plan_of, program_of, scope_info

from livedenoise.collect.plan_overlap import count_overlapping, first_alike
from livedenoise.collect.records import Split
from livedenoise.core.errors import ConfigError

PARTS: tuple[Split, ...] = ("train", "val", "test")
POINTS = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)), min_size=1, max_size=40)


def sequence(table: str) -> str:
    return f"[sequence]\n{table}\n{PAIR}"


@settings(deadline=None, max_examples=60)
@given(points=POINTS, seed=st.integers(0, 9))
def test_overlapping_fields_are_counted_as_pair_by_pair(
    points: list[tuple[int, int]], seed: int
) -> None:
    centres = [(x * 2.5, y * 2.5) for x, y in points]
    chosen = np.random.default_rng(seed).integers(0, 3, len(centres))
    parts = [PARTS[number] for number in chosen]
    width, height = 20.0, 10.0
    slow = sum(
        any(
            parts[i] != parts[j]
            and abs(one[0] - other[0]) < 0.999 * width
            and abs(one[1] - other[1]) < 0.999 * height
            for j, other in enumerate(centres)
        )
        for i, one in enumerate(centres)
    )
    assert count_overlapping(centres, tuple(parts), (width, height)) == slow


def test_overlap_of_very_many_fields_is_found_at_once() -> None:
    side = 300
    centres = [(110.0 * n, 55.0 * m) for n in range(side) for m in range(side)]
    parts = tuple(PARTS[n % 3] for n in range(side * side))
    began = time.perf_counter()
    assert count_overlapping(centres, parts, (100.0, 50.0)) == 0
    assert first_alike(centres, (100.0, 50.0)) == tuple(range(side * side))
    assert time.perf_counter() - began < 20.0


@pytest.mark.parametrize("pixel_size_um", [0.0, 0.5])
def test_a_place_that_is_gone_to_again_is_in_one_part_of_the_split(
    pixel_size_um: float, tmp_path: Path
) -> None:
    places = [[100.0 * (n % 5), 0.3 * (n // 5)] for n in range(15)]
    program = program_of(
        tmp_path,
        sequence(f"stage_positions = {places}"),
        scope_info(pixel_size_um=pixel_size_um),
    )
    assert program.splits == program.splits[:5] * 3
    assert set(program.splits) == {"train", "val", "test"}
    assert not any("overlap a field" in note for note in program.notes)
    assert any("size of a field is unknown" in one for one in program.notes) != pixel_size_um


def test_fields_that_differ_in_z_alone_are_one_place(tmp_path: Path) -> None:
    table = "stage_positions = [{ z = 1 }, { z = 50 }, { z = 90 }, { x = 500, y = 0, z = 1 }]"
    halves = "[split]\ntrain = 0.5\nval = 0.5\ntest = 0\n"
    program = program_of(tmp_path, sequence(table) + halves)
    assert len(set(program.splits[:3])) == 1
    assert program.splits[3] != program.splits[0]


@pytest.mark.parametrize(
    ("table", "key", "problem"),
    [
        ("grid_plan = { rows = 100000, columns = 100000 }", "sequence", "more than 100000 fields"),
        ("grid_plan = { width = 1e300, height = 1e300 }", "sequence", "more than 100000 fields"),
        (
            "grid_plan = { vertices = [[0, 0], [1e9, 0], [0, 1e9]] }",
            "sequence",
            "more than 100000 fields",
        ),
        (
            "stage_positions = [[0, 0], [9, 9]]\ngrid_plan = { rows = 300, columns = 200 }",
            "sequence",
            "more than 100000 fields",
        ),
        (
            "grid_plan = { rows = 2, columns = 2, overlap = 100 }",
            "sequence.grid_plan.overlap",
            "below 100",
        ),
        (
            "stage_positions = { plate = '96-well', a1_center_xy = [0, 0] }",
            "sequence.stage_positions.selected_wells",
            "Field required",
        ),
        ("z_plan = { range = 1e6, step = 1e-6 }", "sequence.z_plan", "more than 10000 z positions"),
    ],
)
def test_what_cannot_be_meant_is_one_line(
    table: str, key: str, problem: str, tmp_path: Path
) -> None:
    began = time.perf_counter()
    with pytest.raises(ConfigError) as caught:
        program_of(tmp_path, sequence(table))
    (line,) = caught.value.message.splitlines()
    assert f"plan.toml:{key}: " in line
    assert problem in line
    assert time.perf_counter() - began < 10.0


@pytest.mark.parametrize(
    ("text", "key", "meant"),
    [
        ('[high]\nexposure_us = 9\n[low]\nexposure_us = "5 ms"', "low.exposure_us", "'5 ms'"),
        ("[high]\nexposure_us = 9\n[low]\nexposure_us = [1, 0]", "low.exposure_us", "or a list"),
        ("[high]\nexposure_us = 9\n[low]\nexposure_us = 2.5", "low.exposure_us", "(got 2.5)"),
        ("[high]\nexposure_us = true\n[low]\nexposure_us = 5", "high.exposure_us", "(got True)"),
        (
            "[high]\nexposure_us = 9\n[low.ladder]\nfrom_us = '4 us'\nsteps = 2",
            "low.ladder.from_us",
            "'4 us'",
        ),
    ],
)
def test_an_exposure_that_is_none_is_one_line_with_its_unit(
    text: str, key: str, meant: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError) as caught:
        plan_of(tmp_path, text)
    (line,) = caught.value.message.splitlines()
    assert f"plan.toml:{key}: a whole number of microseconds, at least 1" in line
    assert meant in line


def test_a_level_of_light_that_is_none_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        plan_of(tmp_path, "[high]\nexposure_us = 9\n[low]\nlight = [0.5, 2.0]")
    (line,) = caught.value.message.splitlines()
    assert "low.light: a fraction of light.full_value" in line


@pytest.mark.parametrize(
    ("table", "key"),
    [
        ("stage_positions = [[nan, 0]]", "sequence.stage_positions.0.0"),
        ("stage_positions = [{ x = 0, y = 0, z = inf }]", "sequence.stage_positions.0.z"),
        ("z_plan = { relative = [0.0, nan] }", "sequence.z_plan.relative.1"),
        ("grid_plan = { top = 0, left = 0, bottom = 0, right = inf }", "grid_plan.right"),
        ('channels = [{ config = "A", z_offset = nan }]', "sequence.channels.0.z_offset"),
    ],
)
def test_nothing_that_is_no_number_is_planned(table: str, key: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        plan_of(tmp_path, sequence(table))
    (line,) = caught.value.message.splitlines()
    assert f"{key}: Input should be a finite number (got " in line
