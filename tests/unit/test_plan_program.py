"""Plans made concrete: places in absolute coordinates, and what a microscope cannot do."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plan_kit import PAIR, START, plan_of, program_of, scope_info

from livedenoise.collect.plan import make_program
from livedenoise.collect.program import DarkShots, Program
from livedenoise.core.errors import ConfigError
from livedenoise.core.microscope import Position


def sequence(table: str) -> str:
    return f"{PAIR}[sequence]\n{table}\n"


def where(program: Program) -> list[tuple[float | None, float | None, float | None]]:
    return [(s.x_um, s.y_um, s.z_um) for field in program.fields for s in field]


def test_without_a_sequence_it_is_the_field_in_view(tmp_path: Path) -> None:
    program = program_of(tmp_path, PAIR)
    assert where(program) == [(1000.0, -500.0, None)]
    assert program.fields[0][0].name == "p0"
    fixed = scope_info(capabilities=("shutter",))
    assert where(program_of(tmp_path, PAIR, fixed)) == [(None, None, None)]


def test_a_relative_grid_lies_around_the_start(tmp_path: Path) -> None:
    program = program_of(tmp_path, sequence("grid_plan = { rows = 2, columns = 2 }"))
    # A field is 100 x 50 micrometres; rows go down, in a snake.
    assert where(program) == [
        (950.0, -475.0, None),
        (1050.0, -475.0, None),
        (1050.0, -525.0, None),
        (950.0, -525.0, None),
    ]
    assert [site.field for (site,) in program.fields] == [0, 1, 2, 3]
    assert program.start == START


def test_a_grid_keeps_the_field_of_view_it_gives(tmp_path: Path) -> None:
    text = sequence("grid_plan = { rows = 1, columns = 2, fov_width = 10, fov_height = 10 }")
    unknown = scope_info(pixel_size_um=0.0)
    assert where(program_of(tmp_path, text, unknown)) == [
        (995.0, -500.0, None),
        (1005.0, -500.0, None),
    ]


@pytest.mark.parametrize(
    ("table", "keys"),
    [
        ("grid_plan = { rows = 1, columns = 2 }", "grid_plan"),
        ("grid_plan = { top = 9, left = 0, bottom = 0, right = 9 }", "grid_plan"),
        (
            "grid_plan = { num_points = 3, random_seed = 1, allow_overlap = false }",
            "grid_plan",
        ),
        (
            "stage_positions = [{ x = 1, sequence.grid_plan = { rows = 1, columns = 2 } }]",
            "stage_positions.0.sequence.grid_plan",
        ),
    ],
)
def test_an_unknown_pixel_size_names_what_to_set(table: str, keys: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=rf":sequence\.{keys}: .*pixel_size_um"):
        program_of(tmp_path, sequence(table), scope_info(pixel_size_um=0.0))


def test_edges_are_absolute(tmp_path: Path) -> None:
    text = sequence("grid_plan = { top = 100, left = 0, bottom = 0, right = 200 }")
    found = where(program_of(tmp_path, text))
    assert found == [(50, 75, None), (150, 75, None), (150, 25, None), (50, 25, None)]


def test_positions_with_a_grid_and_a_stack_of_their_own(tmp_path: Path) -> None:
    text = sequence(
        "stage_positions = [\n"
        '{ x = 0, y = 0, z = 5, name = "A", sequence = '
        "{ grid_plan = { rows = 1, columns = 2 }, z_plan = { relative = [-1.0, 1.0] } } },\n"
        '{ x = 500, y = 0, z = 6, name = "B" },\n]'
    )
    program = program_of(tmp_path, text)
    assert [[(s.x_um, s.z_um, s.index) for s in field] for field in program.fields] == [
        [(-50.0, 4.0, 0), (-50.0, 6.0, 1)],
        [(50.0, 4.0, 0), (50.0, 6.0, 1)],
        [(500.0, 6.0, 0)],
    ]
    assert [field[0].name for field in program.fields] == ["A-g000", "A-g001", "B"]


def test_channels_and_stacks_are_sites_of_a_field(tmp_path: Path) -> None:
    text = sequence(
        'channels = ["A", { config = "B", group = "G", do_stack = false, z_offset = 0.5 }]\n'
        "z_plan = { range = 2, step = 1 }\ngrid_plan = { rows = 1, columns = 2 }"
    )
    program = program_of(tmp_path, text)
    assert len(program.fields) == 2
    for field in program.fields:
        assert [(s.channel, s.channel_group, s.z_um) for s in field] == [
            ("A", "Channel", 39.0),
            ("A", "Channel", 40.0),
            ("A", "Channel", 41.0),
            ("B", "G", 40.5),
        ]
        assert [s.index for s in field] == [0, 1, 2, 3]


def test_wells_of_a_plate(tmp_path: Path) -> None:
    text = sequence(
        "stage_positions = { plate = '96-well', a1_center_xy = [0, 0], "
        "selected_wells = [[0, 0], [0, 1]], "
        "well_points_plan = { rows = 1, columns = 2 } }"
    )
    found = where(program_of(tmp_path, text))
    assert found == [(-50, 0, None), (50, 0, None), (8950, 0, None), (9050, 0, None)]


def test_random_points_are_the_same_every_time(tmp_path: Path) -> None:
    text = sequence("grid_plan = { num_points = 7, max_width = 900, random_seed = 3 }")
    assert where(program_of(tmp_path, text)) == where(program_of(tmp_path, text))
    other = text.replace("random_seed = 3", "random_seed = 4")
    assert where(program_of(tmp_path, text)) != where(program_of(tmp_path, other))


def test_points_that_find_no_room_are_refused(tmp_path: Path) -> None:
    table = (
        "grid_plan = { num_points = 20, max_width = 150, max_height = 60, "
        "random_seed = 3, allow_overlap = false }"
    )
    with pytest.raises(ConfigError, match="Unable to generate 20 non-overlapping points"):
        program_of(tmp_path, sequence(table))


def test_autofocus_is_asked_for_where_the_axis_changes(tmp_path: Path) -> None:
    text = sequence(
        "stage_positions = [[0, 0, 5], [9, 9, 6]]\nz_plan = { relative = [-1.0, 0.0, 1.0] }\n"
        'autofocus_plan = { axes = "p", autofocus_device_name = "PFS", '
        "autofocus_motor_offset = 12.5 }"
    )
    plan = plan_of(tmp_path, text)
    for _ in range(2):  # a plan of useq remembers what it was asked before
        program = make_program(plan, scope_info(), START)
        found = [[s.autofocus for s in field] for field in program.fields]
        assert found == [[True, False, False]] * 2
        first = program.fields[0][0]
        assert (first.autofocus_device, first.autofocus_offset_um) == ("PFS", 12.5)
        assert program.homes_z_um == (5.0, 6.0)


def test_a_plan_made_a_program_twice_focuses_twice(tmp_path: Path) -> None:
    text = sequence('stage_positions = [[0, 0, 5]]\nautofocus_plan = { axes = ["p"] }')
    plan = plan_of(tmp_path, text)
    first, second = (make_program(plan, scope_info(), START) for _ in range(2))
    assert first.fields[0][0].autofocus
    assert second == first


def test_all_that_a_microscope_has_not_got_is_named_at_once(tmp_path: Path) -> None:
    text = sequence(
        "stage_positions = [[0, 0]]\nz_plan = { range = 2, step = 1 }\n"
        'autofocus_plan = { axes = ["p"] }'
    )
    text += '[light]\ndevice = "D"\nproperty = "P"\nfull_value = 9\n'
    with pytest.raises(ConfigError) as refused:
        program_of(tmp_path, text, scope_info(capabilities=()), Position())
    message = refused.value.message
    for needed in ("XY stage", "focus drive", "autofocus device", "light that can be set"):
        assert needed in message
    assert "dark.frames: dark frames need a shutter" in message


def test_without_a_shutter_the_light_stays_on(tmp_path: Path) -> None:
    info = scope_info(capabilities=("xy",))
    program = program_of(tmp_path, PAIR + "[dark]\nframes = 0\n", info)
    assert not program.close_shutter_between
    assert program.notes == ("no shutter: the light stays on between exposures",)


def test_a_light_that_goes_off_is_as_good_as_a_shutter(tmp_path: Path) -> None:
    text = PAIR + '[light]\ndevice = "D"\nproperty = "P"\nfull_value = 9\noff_value = 0\n'
    program = program_of(tmp_path, text, scope_info(capabilities=("xy", "light")))
    assert program.close_shutter_between
    assert program.darks == (
        DarkShots(exposure_us=1000, frames=32),
        DarkShots(exposure_us=10_000, frames=32),
    )


@pytest.mark.parametrize("order", ["cpgz", "zp", "pcg"])
def test_a_field_is_finished_before_the_next(order: str, tmp_path: Path) -> None:
    table = (
        f'axis_order = "{order}"\nchannels = ["A"]\nz_plan = {{ range = 2, step = 1 }}\n'
        "stage_positions = [[0, 0]]\ngrid_plan = { rows = 1, columns = 2 }"
    )
    with pytest.raises(ConfigError, match="axis_order"):
        program_of(tmp_path, sequence(table))


def test_overlapping_fields_of_different_parts_are_noted(tmp_path: Path) -> None:
    apart = "grid_plan = { rows = 3, columns = 3 }"
    assert not program_of(tmp_path, sequence(apart)).notes
    overlapping = "grid_plan = { rows = 3, columns = 3, overlap = 10 }"
    (note,) = program_of(tmp_path, sequence(overlapping)).notes
    assert "overlap a field of another part of the split" in note


@settings(deadline=None, max_examples=25)
@given(
    rows=st.integers(1, 6),
    columns=st.integers(1, 6),
    levels=st.integers(1, 3),
    x_um=st.floats(-1e5, 1e5),
)
def test_every_field_is_taken_once_and_numbered_in_order(
    rows: int,
    columns: int,
    levels: int,
    x_um: float,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    table = (
        f"grid_plan = {{ rows = {rows}, columns = {columns} }}\n"
        f"z_plan = {{ relative = {[float(n) for n in range(levels)]} }}"
    )
    start = Position(x_um=x_um, y_um=0.0, z_um=1.0)
    program = program_of(tmp_path_factory.mktemp("plan"), sequence(table), start=start)
    assert len(program.fields) == rows * columns == len(program.splits)
    assert len({(field[0].x_um, field[0].y_um) for field in program.fields}) == rows * columns
    for number, field in enumerate(program.fields):
        assert [(s.field, s.index) for s in field] == [(number, n) for n in range(levels)]
        assert len({(s.x_um, s.y_um) for s in field}) == 1
    mean = sum(field[0].x_um or 0.0 for field in program.fields) / len(program.fields)
    assert mean == pytest.approx(x_um, abs=1e-6)
