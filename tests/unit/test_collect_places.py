"""Where a collection goes, how it focuses, with which light, what it refuses before any light."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pytest
from collect_kit import Witness, make_camera, run

from livedenoise.collect.dataset_reader import open_dataset
from livedenoise.collect.dry_run import forecast_at
from livedenoise.collect.forecast_text import forecast_lines
from livedenoise.collect.plan import Plan, load_plan
from livedenoise.collect.session import CollectSummary
from livedenoise.core.clock import ManualClock
from livedenoise.core.errors import CameraError, ConfigError
from livedenoise.core.microscope import Exposed, MicroscopeInfo, Position
from livedenoise.microscope.simulated import SimulatedMicroscope

PAIR = """
[high]
exposure_us = 20000
[low]
exposure_us = 4000
[dark]
frames = 0
[retry]
attempts = 2
"""
LIGHT = """
[high]
exposure_us = 20000
light = 1.0
[low]
light = 0.2
[dark]
frames = 0
[light]
device = "Light"
property = "Power"
full_value = 100
off_value = 0
settle_ms = 7
"""


class Rig(SimulatedMicroscope):
    """A simulated microscope with presets, and an autofocus that finds what it is told."""

    def __init__(
        self,
        clock: ManualClock,
        *,
        drop: Sequence[str] = (),
        faults: Sequence[dict[str, object]] = (),
    ) -> None:
        super().__init__(make_camera(faults), clock)
        self._drop = drop
        self.finds: itertools.chain[float] = itertools.chain()

    def open(self) -> MicroscopeInfo:
        import msgspec

        info = super().open()
        if "shutter" in self._drop:
            super().set_shutter(is_open=True)
        kept = tuple(one for one in info.capabilities if one not in self._drop)
        return msgspec.structs.replace(info, capabilities=kept)

    def presets(self, group: str) -> tuple[str, ...]:
        return ("A", "B") if group == "Channel" else ()

    def set_preset(self, group: str, preset: str) -> None:
        assert preset in self.presets(group)

    def autofocus(self, device: str = "", offset_um: float | None = None) -> float:
        z_um = next(self.finds, None)
        if z_um is None:
            return super().autofocus(device, offset_um)
        self.move(Position(z_um=z_um))
        return z_um


class Taken(NamedTuple):
    """What a collection did."""

    summary: CollectSummary
    scope: Witness
    z_um: dict[int, list[float | None]]
    plan: Plan


def plan_of(folder: Path, sequence: str, rest: str = PAIR) -> Plan:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "plan.toml"
    path.write_text(f"[sequence]\n{sequence}\n{rest}", encoding="utf-8")
    return load_plan(path)


def collect(
    plan: Plan,
    out: Path,
    finds: Sequence[float] = (),
    *,
    drop: Sequence[str] = (),
    stop_at: int = 0,
) -> Taken:
    """Collect; ``stop_at`` is the number of the move that sets the event of Ctrl-C."""
    clock, stop = ManualClock(1), threading.Event()
    rig = Rig(clock, drop=drop)
    rig.finds = itertools.chain(finds)
    scope = Witness(rig)
    move, moves = rig.move, itertools.count(1)

    def counted(position: Position) -> None:
        if next(moves) == stop_at:
            stop.set()
        move(position)

    rig.move = counted  # type: ignore[method-assign]
    summary = run(make_camera(), plan, out, scope=scope, clock=clock, stop=stop)
    z_um = {
        one.field: [site.shots[0].z_um for site in one.sites] for one in open_dataset(out).records()
    }
    return Taken(summary, scope, z_um, plan)


def test_a_stack_lies_about_the_focus_that_was_found(tmp_path: Path) -> None:
    sequence = """
stage_positions = [[0, 0, 5], [50, 0, 6]]
z_plan = { relative = [-2.0, 0.0, 2.0] }
channels = ["A", "B"]
autofocus_plan = { axes = "p" }
"""
    done = collect(plan_of(tmp_path, sequence), tmp_path / "set", [7.5, 8.0])
    assert done.z_um[0] == pytest.approx([5.5, 7.5, 9.5] * 2)
    assert done.z_um[1] == pytest.approx([6.0, 8.0, 10.0] * 2)
    # It is focused at the z about which the stack is planned, not at one of its slices.
    told = [(name, value) for name, value in done.scope.log if name in {"move", "autofocus"}]
    before = [told[n - 1][1] for n, (name, _) in enumerate(told) if name == "autofocus"]
    assert [position.z_um for position, _ in before] == pytest.approx([5.0, 6.0 + 2.5])  # type: ignore[misc, has-type]


def test_the_offset_of_a_channel_is_kept_by_the_autofocus(tmp_path: Path) -> None:
    sequence = """
stage_positions = [[0, 0, 5]]
z_plan = { relative = [-2.0, 2.0] }
channels = [{ config = "A", z_offset = 0.5 }, "B"]
autofocus_plan = { axes = "p" }
"""
    done = collect(plan_of(tmp_path, sequence), tmp_path / "set", [7.0])
    assert done.z_um[0] == pytest.approx([5.5, 9.5, 5.0, 9.0])


def test_a_stack_that_a_position_brings_lies_about_the_focus(tmp_path: Path) -> None:
    sequence = """
stage_positions = [{ x = 0, y = 0, z = 5, sequence = { z_plan = { relative = [-1.0, 1.0] } } }]
autofocus_plan = { axes = "p" }
"""
    done = collect(plan_of(tmp_path, sequence), tmp_path / "set", [7.0])
    assert done.z_um[0] == pytest.approx([6.0, 8.0])


def test_where_nothing_is_stacked_the_focus_drive_stays_as_the_autofocus_left_it(
    tmp_path: Path,
) -> None:
    """To command z would let go of a focus lock."""
    sequence = 'stage_positions = [[0, 0, 5]]\nautofocus_plan = { axes = "p" }'
    done = collect(plan_of(tmp_path, sequence), tmp_path / "set", [7.25])
    assert done.z_um[0] == [7.25]
    assert len(done.scope.named("move")) == 1


GRID = """
stage_positions = [[0, 0, 5], [500, 0, 6]]
grid_plan = { rows = 1, columns = 3, overlap = -10 }
autofocus_plan = { axes = "p", autofocus_device_name = "Autofocus", autofocus_motor_offset = 2.0 }
"""


@pytest.mark.parametrize("stack", ["", "z_plan = { relative = [0.0, 1.0] }"])
def test_resumed_it_focuses_where_the_fields_left_were_to_be_focused(
    stack: str, tmp_path: Path
) -> None:
    plan, out = plan_of(tmp_path, GRID + stack), tmp_path / "set"
    first = collect(plan, out, [8.0, 9.0], stop_at=3 if stack else 2)
    assert 0 < first.summary.fields_done < 3
    second = collect(plan, out, [8.5, 9.5])
    assert second.summary.left == 0
    slices = [0.0, 1.0] if stack else [0.0]
    begun = first.summary.fields_done
    for field, z_um in second.z_um.items():
        found = 8.0 if field < begun else 8.5 if field < 3 else 9.5
        assert z_um == pytest.approx([found + one for one in slices]), field
    # The first move of the resumed run is to the place of the autofocus, not of the field left.
    (place, _), *_ = second.scope.named("move")  # type: ignore[misc, has-type]
    assert (place.x_um, place.y_um, place.z_um) == (first_x(plan), 0.0, 5.0)
    assert len(second.scope.named("autofocus")) == 2


def first_x(plan: Plan) -> float:
    from livedenoise.collect.plan import make_program

    scope = SimulatedMicroscope(make_camera(), ManualClock(1))
    program = make_program(plan, scope.open(), scope.position())
    return program.fields[0][0].x_um or 0.0


def test_a_field_tried_again_has_the_focus_it_was_planned_under(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Field 2 fails once; it comes again after field 3, which was focused elsewhere."""
    plan, out = plan_of(tmp_path, GRID), tmp_path / "set"
    from livedenoise.collect import run as running
    from livedenoise.collect.finishing import Finisher
    from livedenoise.collect.pending import FieldTaken

    judged = threading.Event()
    finish = Finisher.__call__
    expose = running.Collection._expose

    def late(self: Finisher, taken: FieldTaken) -> object:
        if taken.field == 2 and taken.attempt == 0:
            assert judged.wait(20)
        return finish(self, taken)

    def told(self: running.Collection, field: int, attempt: int) -> FieldTaken:
        taken = expose(self, field, attempt)
        if field == 3:
            judged.set()
        return taken

    monkeypatch.setattr(Finisher, "__call__", late)
    monkeypatch.setattr(running.Collection, "_expose", told)
    clock = ManualClock(1)
    rig = Rig(clock, faults=[{"kind": "stuck_shutter", "visits": [2], "attempts": 1}])
    rig.finds = itertools.chain([8.0, 9.0, 8.25, 9.25])
    scope = Witness(rig)
    z_um: list[tuple[bool, float | None]] = []
    inner = rig.expose

    def seen(exposure_us: int, n_frames: int = 1) -> object:
        at = rig.position()
        z_um.append(((at.x_um or 0.0) > 250.0, at.z_um))
        return inner(exposure_us, n_frames)

    rig.expose = seen  # type: ignore[method-assign, assignment]
    run(make_camera(), plan, out, scope=scope, clock=clock)
    # Fields 0, 1, 2 about (0, 0); 3 and 4 about (500, 0); 2 again and 5, each focused anew.
    places = [(far, z) for n, (far, z) in enumerate(z_um) if n % 2 == 0]
    assert places == [
        (False, 8.0), (False, 8.0), (False, 8.0), (True, 9.0), (True, 9.0),
        (False, 8.25), (True, 9.25),
    ]  # fmt: skip


def test_it_is_focused_with_the_light_of_the_high_image(tmp_path: Path) -> None:
    sequence = 'stage_positions = [[0, 0, 5], [50, 0, 5]]\nautofocus_plan = { axes = "p" }'
    done = collect(plan_of(tmp_path, sequence, LIGHT), tmp_path / "set")
    levels = levels_at(done.scope, "autofocus")
    forecast = forecast_at(Rig(ManualClock(1)), done.plan, tmp_path / "other")
    assert any("focused 2 times" in note and "in no dose" in note for note in forecast.notes)
    assert [(level, is_open) for level, is_open in levels] == [("100", True)] * 2


def test_without_a_shutter_it_is_focused_with_light_too(tmp_path: Path) -> None:
    sequence = 'stage_positions = [[0, 0, 5], [50, 0, 5]]\nautofocus_plan = { axes = "p" }'
    plan = plan_of(tmp_path, sequence, LIGHT)
    done = collect(plan, tmp_path / "set", drop=["shutter"])
    assert [level for level, _ in levels_at(done.scope, "autofocus")] == ["100"] * 2
    assert [level for level, _ in levels_at(done.scope, "move")] == ["0"] * 2
    assert [level for level, _ in levels_at(done.scope, "expose")] == ["20", "100"] * 2


def levels_at(scope: Witness, name: str) -> list[tuple[str, object]]:
    """Return the level of the light, and the shutter, whenever something was told."""
    level, found = "", []
    is_open: object = False
    for told, value in scope.log:
        if told == "set":
            level = value[0][0].value  # type: ignore[index]
        elif told == "shutter":
            is_open = value
        elif told == name:
            found.append((level, is_open))
    return found


def test_a_light_without_a_shutter_is_waited_for_when_it_goes_off(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, "stage_positions = [[0, 0], [50, 0]]", LIGHT)
    clock = ManualClock(1)
    rig = Rig(clock, drop=["shutter"])
    scope = Witness(rig)
    log: list[tuple[str, str, int]] = []
    setting, move, expose = rig.set_properties, rig.move, rig.expose

    def set_properties(settings: Sequence[object]) -> None:
        setting(settings)  # type: ignore[arg-type]
        log.append(("set", settings[0].value, clock.now_ns()))  # type: ignore[attr-defined]

    def moved(position: Position) -> None:
        log.append(("move", "", clock.now_ns()))
        move(position)

    def exposed(exposure_us: int, n_frames: int = 1) -> object:
        log.append(("expose", "", clock.now_ns()))
        return expose(exposure_us, n_frames)

    rig.set_properties = set_properties  # type: ignore[method-assign, assignment]
    rig.move = moved  # type: ignore[method-assign]
    rig.expose = exposed  # type: ignore[method-assign, assignment]
    run(make_camera(), plan, tmp_path / "set", scope=scope, clock=clock)
    pairs = list(itertools.pairwise(log))
    for (told, value, then), (_, _, now) in pairs:
        if told == "set":
            assert now - then >= 7_000_000, (value, pairs)
    assert [told for told, value, _ in log if value == "0"]


def test_the_stage_is_sent_nowhere_by_arithmetic_either(tmp_path: Path) -> None:
    sequence = (
        "stage_positions = [[1e308, 0]]\n"
        "grid_plan = { rows = 2, columns = 2, fov_width = 1e308, fov_height = 1, overlap = -50 }"
    )
    scope = Witness(Rig(ManualClock(1)))
    with pytest.raises(ConfigError, match="lies nowhere"):
        forecast_at(scope, plan_of(tmp_path, sequence), tmp_path / "set")


@pytest.mark.parametrize(
    ("sequence", "rest", "message"),
    [
        ("", LIGHT.replace('"Light"', '"Lamp"'), r"plan\.toml:light\.device: .*Lamp"),
        ("", LIGHT.replace('"Power"', '"Volts"'), r"plan\.toml:light\.device: .*Volts"),
        ('channels = ["A", "C"]', PAIR, r"plan\.toml:sequence\.channels: .*A, B \(got 'C'\)"),
        (
            'channels = [{ config = "A", group = "Filter" }]',
            PAIR,
            r"plan\.toml:sequence\.channels: .*Filter has no presets \(got 'A'\)",
        ),
    ],
)
def test_what_is_not_there_is_refused_before_anything_is_exposed(
    sequence: str, rest: str, message: str, tmp_path: Path
) -> None:
    plan, out = (
        plan_of(tmp_path, sequence, rest.replace("frames = 0", "frames = 4")),
        tmp_path / "s",
    )
    clock = ManualClock(1)
    scope = Witness(Rig(clock))
    with pytest.raises(ConfigError, match=message):
        run(make_camera(), plan, out, scope=scope, clock=clock)
    assert not scope.named("expose")
    assert not out.exists() or not (out / "manifest.jsonl").exists()
    with pytest.raises(ConfigError, match=message):
        forecast_at(Witness(Rig(clock)), plan, tmp_path / "other")


def test_a_dry_run_over_a_data_set_says_so(tmp_path: Path) -> None:
    plan, out = plan_of(tmp_path, "stage_positions = [[0, 0]]"), tmp_path / "set"
    collect(plan, out)
    with pytest.raises(ConfigError, match="holds a data set already"):
        forecast_at(Rig(ManualClock(1)), plan, out)
    # Nothing is left: that is a forecast too.
    forecast = forecast_at(Rig(ManualClock(1)), plan, out, resume=True)
    assert dict(forecast_lines(forecast))["fields"].startswith("0:")


def test_a_folder_that_cannot_be_written_to_is_named_by_the_dry_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_of(tmp_path, "stage_positions = [[0, 0]]")
    with pytest.raises(ConfigError, match="is no folder"):
        forecast_at(Rig(ManualClock(1)), plan, tmp_path / "plan.toml" / "set")
    monkeypatch.setattr("livedenoise.collect.dry_run.os.access", lambda *_: False)
    with pytest.raises(ConfigError, match="cannot be written to"):
        forecast_at(Rig(ManualClock(1)), plan, tmp_path / "new" / "set")


def test_a_camera_that_gives_no_frame_after_focusing_leaves_the_sample_dark(
    tmp_path: Path,
) -> None:
    sequence = 'stage_positions = [[0, 0, 5]]\nautofocus_plan = { axes = "p" }'
    plan, clock = plan_of(tmp_path, sequence, LIGHT), ManualClock(1)
    rig = Rig(clock, drop=["shutter"])
    scope = Witness(rig)

    def dies(exposure_us: int, n_frames: int = 1) -> list[Exposed]:
        raise CameraError("camera sim: went away")

    rig.expose = dies  # type: ignore[method-assign, assignment]
    run(make_camera(), plan, tmp_path / "set", scope=scope, clock=clock)
    last = scope.named("set")[-1]
    assert last[0][0].value == "0"  # type: ignore[index]
