"""Plan files: all problems at once, one a line; the hash follows the meaning."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from plan_kit import PAIR, plan_of, scope_info, written

from livedenoise.collect.plan import find_plan, load_plan, make_program, shipped_plans
from livedenoise.core.errors import ConfigError
from livedenoise.core.microscope import Position

BAD = """
order = "sideways"
[sequence]
grid_plan = { rows = 3, colums = 3 }
z_plan = { range = 2 }
time_plan = { interval = 1, loops = 3 }
channels = ["A", { config = "B", exposure = 3 }]
stage_positions = [[1, 2, 3, 4], { x = "a" }]
axis_order = "pq"
[high]
exposure_us = 0
[low]
exposure_us = [1, 1]
[checks]
max_shift = 3
"""


def refusal(folder: Path, text: str) -> list[str]:
    """Return the lines a plan is refused with, without the name of the file."""
    path = written(folder, text)
    with pytest.raises(ConfigError) as refused:
        load_plan(path)
    lines = refused.value.message.splitlines()
    assert all(line.startswith(f"{path}:") for line in lines)
    return [line.removeprefix(f"{path}:") for line in lines]


def test_every_problem_is_named_at_once_with_its_key(tmp_path: Path) -> None:
    lines = refusal(tmp_path, BAD)
    keys = [line.split(": ")[0] for line in lines]
    assert sorted(keys) == sorted(
        [
            "order",
            "high.exposure_us",
            "low",
            "checks.max_shift",
            "sequence.time_plan",
            "sequence.grid_plan.colums",
            "sequence.grid_plan.columns",
            "sequence.z_plan.step",
            "sequence.channels.1.exposure",
            "sequence.stage_positions.0",
            "sequence.stage_positions.1.x",
            "sequence.axis_order",
        ]
    )
    meant = "a whole number of microseconds, at least 1 (5 ms are 5_000) (got 0)"
    assert f"high.exposure_us: {meant}" in lines


@pytest.mark.parametrize(
    ("table", "key", "text"),
    [
        ("grid_plan = { num_points = 3 }", "grid_plan.random_seed", "--resume"),
        ("grid_plan = { x = 3 }", "grid_plan", "none of the keys that say which kind"),
        ("grid_plan = 3", "grid_plan", "should be a table"),
        ("z_plan = { range = -4, step = 1 }", "z_plan", "no position in it"),
        ("z_plan = { top = 1, bottom = 9, step = 1 }", "z_plan", "no position in it"),
        ("setup = { exposure = 3 }", "setup", "configuration"),
        ("stage_postions = []", "stage_postions", "unknown key"),
        ("stage_positions = 3", "stage_positions", "should be a list"),
        ("channels = [3]", "channels.0", "name of a preset"),
        ("autofocus_plan = { axis = 'p' }", "autofocus_plan.axis", "unknown key"),
        (
            "stage_positions = [{ x = 1, y = 2, sequence = { time_plan = { loops = 3 } } }]",
            "stage_positions.0.sequence.time_plan",
            "no time axis",
        ),
        (
            "stage_positions = [{ x = 1, y = 2, properties = [['A', 'B', 'C']] }]",
            "stage_positions.0.properties",
            "configuration",
        ),
        (
            "autofocus_plan = { axes = 'p' }\nz_plan = { absolute = [1.0] }",
            "",
            "Absolute Z positions cannot be used with autofocus",
        ),
        (
            "stage_positions = [[1, 2]]\ngrid_plan = { top = 9, left = 0, bottom = 0, right = 9 }",
            "",
            "is ignored when",
        ),
    ],
)
def test_what_useq_would_ignore_or_guess_is_refused(
    table: str, key: str, text: str, tmp_path: Path
) -> None:
    lines = refusal(tmp_path, f"{PAIR}[sequence]\n{table}\n")
    wanted = f"sequence.{key}: " if key else "sequence: "
    assert any(line.startswith(wanted) and text in line for line in lines), lines


@pytest.mark.parametrize(
    ("low", "text"),
    [
        ("", "give exposure_us, ladder or light"),
        ("exposure_us = 5\nladder = { from_us = 9, steps = 2 }", "give exposure_us or ladder"),
        ("exposure_us = []", "empty list"),
        ("exposure_us = [1, 2]\nlight = [0.5, 0.25]", "several exposures and several levels"),
        ("ladder = { from_us = 100 }", 'steps = n or to = "min"'),
        ('ladder = { from_us = 100, steps = 2, to = "min" }', 'steps = n or to = "min"'),
        ("light = 1.5", "above 0 and up to 1"),
    ],
)
def test_low_is_given_one_way(low: str, text: str, tmp_path: Path) -> None:
    lines = refusal(tmp_path, f"[high]\nexposure_us = 10\n[low]\n{low}\n")
    assert any(text in line for line in lines), lines


def test_other_contradictions(tmp_path: Path) -> None:
    assert refusal(tmp_path, PAIR + "[split]\ntrain = 0.9\n")[0].startswith(
        "split: train + val + test must be 1"
    )
    assert (
        "used twice: A"
        in refusal(tmp_path, PAIR + '[[channel]]\nname = "A"\n[[channel]]\nname = "A"\n')[0]
    )
    assert refusal(tmp_path, PAIR + '[sequence]\nchannels = ["B"]\n[[channel]]\nname = "A"\n') == [
        "channel.0.name: no channel of [sequence]: B (got 'A')"
    ]
    assert refusal(tmp_path, PAIR + '[[channel]]\nname = "A"\n') == [
        "channel.0.name: no channel of [sequence]: it has none (got 'A')"
    ]


def test_a_missing_plan_names_what_is_shipped(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such plan") as refused:
        find_plan("quik")
    assert "did you mean quick?" in refused.value.hint
    with pytest.raises(ConfigError, match="not valid TOML"):
        load_plan(written(tmp_path, "a = ["))


@pytest.mark.parametrize("name", sorted(shipped_plans()))
def test_shipped_plans_load_and_become_programs(name: str) -> None:
    plan = load_plan(find_plan(name))
    assert plan.name == name
    assert plan.config.description
    program = make_program(plan, scope_info(), Position(x_um=0.0, y_um=0.0))
    assert set(program.splits) == {"train", "val", "test"}
    assert not program.notes, "a shipped plan shows its specimen in one part only"


def test_position_lists_load_from_beside_the_plan(tmp_path: Path) -> None:
    entry = {"LABEL": "A", "DEVICES": [{"DEVICE": "S", "AXES": 2, "X": 7, "Y": 8}]}
    listed = tmp_path / "list.pos"
    listed.write_text(json.dumps({"POSITIONS": [entry]}), encoding="utf-8")
    plan = plan_of(tmp_path, 'positions_file = "list.pos"\n' + PAIR)
    program = make_program(plan, scope_info(), Position())
    (site,) = program.fields[0]
    assert (site.name, site.x_um, site.y_um, site.z_um) == ("A", 7.0, 8.0, None)
    entry["LABEL"] = "B"
    entry["DEVICES"][0]["X"] = 9  # type: ignore[index]
    listed.write_text(json.dumps({"POSITIONS": [entry]}), encoding="utf-8")
    assert load_plan(tmp_path / "plan.toml").plan_hash != plan.plan_hash


def test_problems_of_a_position_list_are_problems_of_the_plan(tmp_path: Path) -> None:
    text = 'positions_file = "missing.pos"\n' + PAIR
    assert "positions_file: " in refusal(tmp_path, text)[0]
    both = text + "[sequence]\nstage_positions = [[1, 2]]\n"
    assert refusal(tmp_path, both) == [
        "sequence.stage_positions: stage_positions and positions_file: give one of them"
    ]


SAME = [
    PAIR,
    "# a comment\n[low]\nexposure_us = [1000]\n[high]\nframes = 1\nexposure_us = 10000\n",
    'name = "other"\ndescription = "text"\n' + PAIR + "[retry]\nattempts = 5\n",
    "[high]\nexposure_us = 10_000\n[low]\nladder = { from_us = 1_000, steps = 1 }\n",
    "[high]\nexposure_us = 10_000\n[low]\nexposure_us = 1_000\nlight = 1\n[dark]\nframes = 32\n",
]
OTHERS = [
    "settle_ms = 5\n" + PAIR,
    "discard = 1\n" + PAIR,
    "repeats = 2\n" + PAIR,
    'order = "bracket"\n' + PAIR,
    "close_shutter_between = false\n" + PAIR,
    "keep_frames = true\n" + PAIR,
    PAIR + "[split]\nseed = 1\n",
    PAIR + "[dark]\nframes = 0\n",
    PAIR + "[checks]\nmax_shift_px = 1.0\n",
    PAIR + "[sequence]\ngrid_plan = { rows = 2, columns = 1 }\n",
    PAIR + "[sequence]\nz_plan = { range = 2, step = 1 }\n",
    PAIR + "[sequence]\nstage_positions = [[1, 2]]\n",
    PAIR + '[sequence]\nchannels = ["A"]\n',
    PAIR + '[sequence]\nchannels = ["A"]\n[[channel]]\nname = "A"\nhigh = { exposure_us = 9 }\n',
    PAIR + '[light]\ndevice = "D"\nproperty = "P"\nfull_value = 9\n',
    PAIR.replace("10_000", "20_000"),
    PAIR.replace("1_000", "2_000"),
    "[high]\nexposure_us = 10_000\nframes = 2\n[low]\nexposure_us = 1_000\n",
    '[high]\nexposure_us = 10_000\n[low]\nladder = { from_us = 1_000, to = "min" }\n',
]


def test_the_hash_is_of_the_meaning(tmp_path: Path) -> None:
    hashes = [plan_of(tmp_path, text).plan_hash for text in SAME]
    assert len(set(hashes)) == 1
    others = [plan_of(tmp_path, text).plan_hash for text in OTHERS]
    assert len({hashes[0], *others}) == len(others) + 1


def test_the_order_of_low_exposures_is_no_meaning(tmp_path: Path) -> None:
    texts = [f"[high]\nexposure_us = 9000\n[low]\nexposure_us = {x}\n" for x in ([8, 4], [4, 8])]
    first, second = (plan_of(tmp_path, text) for text in texts)
    assert first.plan_hash == second.plan_hash
    info, start = scope_info(exposure_min_us=1), Position()
    assert make_program(first, info, start) == make_program(second, info, start)
