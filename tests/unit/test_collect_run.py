"""A collection on the simulated microscope: order, light, retries, giving up, going on."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from collect_kit import Witness, make_camera, make_plan, run

from livedenoise.collect.dataset_reader import open_dataset
from livedenoise.collect.finishing import Finisher
from livedenoise.collect.pending import FieldTaken
from livedenoise.collect.run import PairShown
from livedenoise.core.clock import ManualClock
from livedenoise.core.errors import CameraError, ConfigError
from livedenoise.core.microscope import Exposed
from livedenoise.core.progress import Progress
from livedenoise.microscope.simulated import SimulatedMicroscope


def witness(config: object, clock: ManualClock) -> Witness:
    return Witness(SimulatedMicroscope(config, clock))  # type: ignore[arg-type]


def test_every_field_is_taken_once_and_accepted(tmp_path: Path) -> None:
    config, plan, shown = make_camera(), make_plan(tmp_path), []
    steps: list[Progress] = []
    summary = run(config, plan, tmp_path / "set", shown=shown, steps=steps, with_report=True)
    assert (summary.exit_code, summary.errors) == (0, [])
    assert (summary.fields_done, summary.fields_failed, summary.left) == (4, 0, 0)
    assert summary.pairs_accepted == 4
    assert summary.pairs_rejected == 0
    assert [one.field for one in shown] == [0, 1, 2, 3]
    assert steps[-1].done == steps[-1].total
    assert Path(summary.report).is_file()
    records = list(open_dataset(tmp_path / "set").records())
    assert [(one.field, one.attempt, one.status) for one in records] == [
        (field, 0, "done") for field in range(4)
    ]


def test_what_is_stored_is_what_was_exposed(tmp_path: Path) -> None:
    config, plan = make_camera(), make_plan(tmp_path)
    shown: list[PairShown] = []
    run(config, plan, tmp_path / "set", shown=shown)
    stored = list(open_dataset(tmp_path / "set").pairs())
    for kept, taken in zip(stored, shown, strict=True):
        np.testing.assert_array_equal(kept.low, taken.pair.low.image)
        np.testing.assert_array_equal(kept.high, taken.pair.high.image)
        assert taken.pair.after is not None
        assert kept.after is not None
        np.testing.assert_array_equal(kept.after, taken.pair.after.image)
    assert stored[0].low.dtype == np.uint16
    assert stored[0].dose_ratio == pytest.approx(20 / 4)


def test_an_average_is_the_mean_of_its_frames(tmp_path: Path) -> None:
    plan = make_plan(tmp_path)
    text = plan.path.read_text().replace("[high]\n", "[high]\nframes = 5\n")
    plan.path.write_text(f"keep_frames = true\n{text}")
    from livedenoise.collect.plan import load_plan

    shown: list[PairShown] = []
    run(make_camera(), load_plan(plan.path), tmp_path / "set", shown=shown)
    high = shown[0].pair.high
    assert len(high.frames) == len(high.frame_means_adu) == 5
    mean = np.mean([frame.astype(np.float64) for frame in high.frames], axis=0)
    np.testing.assert_allclose(high.image, mean, rtol=1e-6)
    assert high.first is not None
    assert high.last is not None
    np.testing.assert_array_equal(high.first, high.frames[0])
    np.testing.assert_array_equal(high.last, high.frames[-1])


def test_no_light_falls_while_anything_moves(tmp_path: Path) -> None:
    clock = ManualClock(1)
    config, plan = make_camera(), make_plan(tmp_path)
    scope = witness(config, clock)
    run(config, plan, tmp_path / "set", scope=scope, clock=clock)
    assert scope.named("move")
    assert not any(is_open for _, is_open in scope.named("move"))
    dark, lit = (
        [one for one in scope.named("expose") if one[2] is is_open] for is_open in (False, True)
    )
    assert {exposure for exposure, _, _ in dark} == {4000, 20000}
    # Twelve at both exposures, and one thrown away at each change of the exposure.
    assert sum(frames for _, frames, _ in dark) == 26
    # Three shots at each of four fields, one frame thrown away at each change of the exposure.
    assert len(lit) == 12
    assert not scope.is_open
    assert scope.log[-1][0] == "close"


def test_a_field_that_fails_is_gone_back_to_and_taken_again(tmp_path: Path) -> None:
    fault = {"kind": "swapped_exposure", "visits": [1], "attempts": 1}
    config, plan = make_camera([fault]), make_plan(tmp_path, attempts=3)
    summary = run(config, plan, tmp_path / "set")
    records = list(open_dataset(tmp_path / "set").records())
    told = [(one.field, one.attempt, one.status) for one in records]
    assert told[:2] == [(0, 0, "done"), (1, 0, "retry")]
    # Known after the next field was begun, or before: then it comes next.
    assert sorted(told[2:]) == [(1, 1, "done"), (2, 0, "done"), (3, 0, "done")]
    assert told.index((1, 1, "done")) <= 3
    assert summary.pairs_accepted == 4
    assert summary.pairs_rejected == 1
    reasons = [pair.verdict.reasons for site in records[1].sites for pair in site.pairs]
    assert reasons[0][0] == "ratio"


def test_the_last_field_is_tried_again_too(tmp_path: Path) -> None:
    fault = {"kind": "stuck_shutter", "visits": [3], "attempts": 1}
    config, plan = make_camera([fault]), make_plan(tmp_path, attempts=2)
    summary = run(config, plan, tmp_path / "set")
    assert (summary.fields_done, summary.left) == (4, 0)


def test_a_field_that_keeps_failing_is_left_and_its_pairs_kept_apart(tmp_path: Path) -> None:
    fault = {"kind": "stuck_shutter", "visits": [2]}
    config, plan = make_camera([fault]), make_plan(tmp_path, attempts=2)
    summary = run(config, plan, tmp_path / "set", with_report=True)
    assert (summary.fields_done, summary.fields_failed, summary.exit_code) == (3, 1, 0)
    records = list(open_dataset(tmp_path / "set").records())
    assert sorted(one.status for one in records) == ["done"] * 3 + ["failed", "retry"]
    assert len(list((tmp_path / "set" / "rejected").iterdir())) == 2
    assert "dark" in (tmp_path / "set" / "report.html").read_text()


def test_fields_that_fail_in_a_row_stop_the_run_with_the_reason(tmp_path: Path) -> None:
    fault = {"kind": "stuck_shutter", "visits": [1, 2, 3]}
    config, plan = make_camera([fault]), make_plan(tmp_path, stop_after=2)
    summary = run(config, plan, tmp_path / "set")
    assert summary.exit_code == 5
    # What was exposed meanwhile is stored as well.
    assert summary.fields_done == 1
    assert summary.fields_failed in {2, 3}
    assert "2 fields in a row failed, the last at field 2" in summary.errors[0]
    assert "--resume" in summary.errors[0]


def test_stopped_and_resumed_takes_nothing_twice(tmp_path: Path) -> None:
    config, plan, out = make_camera(), make_plan(tmp_path), tmp_path / "set"
    stop = threading.Event()
    shown: list[PairShown] = []

    class StopAfterTwo(list[PairShown]):
        def append(self, one: PairShown) -> None:
            shown.append(one)
            if len(shown) == 2:
                stop.set()

    first = run(config, plan, out, stop=stop, shown=StopAfterTwo())
    assert first.exit_code == 0
    assert 0 < first.left < 4
    clock = ManualClock(1)
    scope = witness(config, clock)
    second = run(config, plan, out, scope=scope, clock=clock)
    assert (second.fields_done, second.left, second.pairs_accepted) == (4, 0, 4)
    fields = [one.field for one in open_dataset(out).records()]
    assert sorted(fields) == [0, 1, 2, 3]
    # Darks are those of the data set: not taken again.
    assert all(is_open for _, _, is_open in scope.named("expose"))
    assert len(scope.named("expose")) == 3 * (4 - first.fields_done)


def test_what_was_exposed_and_not_judged_is_judged_when_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a kill between the exposure of a field and its line in the manifest."""
    config, plan, out = make_camera(), make_plan(tmp_path), tmp_path / "set"
    told: list[int] = []

    def dies(self: Finisher, taken: FieldTaken) -> None:
        told.append(taken.field)
        raise KilledError

    with monkeypatch.context() as patched:
        patched.setattr(Finisher, "__call__", dies)
        with pytest.raises(KilledError):
            run(config, plan, out)
    waiting = sorted((out / "pending").iterdir())
    assert next(path.name for path in waiting) == "field_0000_attempt0.npz"
    clock = ManualClock(1)
    scope = witness(config, clock)
    summary = run(config, plan, out, scope=scope, clock=clock)
    assert summary.fields_done == 4
    assert summary.pairs_accepted == 4
    assert len(scope.named("expose")) == 3 * (4 - len(waiting))
    assert any("judged now" in note for note in summary.notes)
    assert not (out / "pending").exists()


class KilledError(Exception):
    pass


def test_relative_grids_stay_where_they_were_begun(tmp_path: Path) -> None:
    config, plan, out = make_camera(), make_plan(tmp_path, dark_frames=0), tmp_path / "set"
    stop = threading.Event()
    stop.set()
    run(config, plan, out, stop=stop)
    clock = ManualClock(1)
    scope = witness(config, clock)

    from livedenoise.core.microscope import Position

    opening = scope.inner.open

    def elsewhere() -> object:
        info = opening()
        scope.inner.move(Position(x_um=500.0, y_um=-300.0))
        return info

    scope.inner.open = elsewhere  # type: ignore[method-assign]
    run(config, plan, out, scope=scope, clock=clock)
    places = [position for position, _ in scope.named("move")]
    assert max(abs(place.x_um) for place in places) < 20.0


def test_a_camera_that_dies_leaves_what_was_taken(tmp_path: Path) -> None:
    clock = ManualClock(1)
    config, plan = make_camera(), make_plan(tmp_path)
    scope = witness(config, clock)
    expose = scope.inner.expose
    count = 0

    def dies(exposure_us: int, n_frames: int = 1) -> object:
        nonlocal count
        count += 1
        if count == 9:
            raise CameraError("camera sim: went away", "plug it in")
        return expose(exposure_us, n_frames)

    scope.inner.expose = dies  # type: ignore[method-assign]
    summary = run(config, plan, tmp_path / "set", scope=scope, clock=clock)
    assert summary.exit_code == 3
    assert "went away" in summary.errors[0]
    assert summary.fields_done == 2
    assert summary.left == 2
    assert scope.log[-1][0] == "close"
    assert run(config, plan, tmp_path / "set").fields_done == 4


def test_the_light_goes_off_before_anything_else_when_the_camera_dies(tmp_path: Path) -> None:
    clock = ManualClock(1)
    config, plan = make_camera(), make_plan(tmp_path)
    scope = witness(config, clock)
    expose = scope.inner.expose

    def dies(exposure_us: int, n_frames: int = 1) -> Iterator[Exposed]:
        if scope.is_open and len(scope.named("expose")) > 5:
            yield next(iter(expose(exposure_us, 1)))
            raise CameraError("camera sim: went away")
        yield from expose(exposure_us, n_frames)

    scope.inner.expose = dies  # type: ignore[method-assign]
    run(config, plan, tmp_path / "set", scope=scope, clock=clock)
    last = [told for told, _ in scope.log if told in {"expose", "shutter"}][-1]
    assert last == "shutter"
    assert scope.named("shutter")[-1] is False


def test_a_shutter_that_fails_to_open_is_told_to_close(tmp_path: Path) -> None:
    clock = ManualClock(1)
    config, plan = make_camera(), make_plan(tmp_path)
    scope = witness(config, clock)
    set_shutter = scope.inner.set_shutter

    def sticks(*, is_open: bool) -> None:
        if is_open:
            raise CameraError("shutter: no answer")
        set_shutter(is_open=is_open)

    scope.inner.set_shutter = sticks  # type: ignore[method-assign]
    summary = run(config, plan, tmp_path / "set", scope=scope, clock=clock)
    assert summary.exit_code == 3
    assert scope.named("shutter")[-2:] == [True, False]


def test_without_constants_a_gain_is_estimated_once_and_said(tmp_path: Path) -> None:
    config = make_camera(camera={"estimate_constants": True})
    plan, out = make_plan(tmp_path), tmp_path / "set"
    summary = run(config, plan, out)
    header = open_dataset(out).header
    assert header.constants_source == "estimated"
    assert header.gain_e_per_adu == pytest.approx(0.46, rel=0.1)
    assert header.offset_adu == pytest.approx(100.0, abs=0.3)
    assert header.read_noise_e == pytest.approx(1.5, abs=0.4)
    assert any("gain estimated" in note for note in header.notes)
    assert summary.pairs_accepted == 4
    # Resumed, the same constants serve.
    again = run(config, plan, out)
    assert again.exit_code == 0
    assert open_dataset(out).header == header


def test_another_plan_is_refused_before_anything_is_exposed(tmp_path: Path) -> None:
    config, out = make_camera(), tmp_path / "set"
    run(config, make_plan(tmp_path / "a"), out)
    clock = ManualClock(1)
    scope = witness(config, clock)
    with pytest.raises(ConfigError, match="plan_hash"):
        run(config, make_plan(tmp_path / "b", low_us=2000), out, scope=scope, clock=clock)
    assert not scope.named("expose")
    assert scope.log[-1][0] == "close"


def test_light_is_set_in_the_dark_and_off_between(tmp_path: Path) -> None:
    light = """
[light]
device = "Light"
property = "Power"
full_value = 100
settle_ms = 3
"""
    text = make_plan(tmp_path, light).path.read_text()
    text = text.replace("exposure_us = 4000", "light = [0.2]").replace(
        "exposure_us = 20000", "exposure_us = 20000\nlight = 1.0"
    )
    (tmp_path / "plan.toml").write_text(text)
    from livedenoise.collect.plan import load_plan

    clock = ManualClock(1)
    config = make_camera()
    scope = witness(config, clock)
    plan = load_plan(tmp_path / "plan.toml")
    summary = run(config, plan, tmp_path / "set", scope=scope, clock=clock)
    assert summary.pairs_accepted == 4, summary
    told = [(settings[0].value, is_open) for settings, is_open in scope.named("set")]
    assert not any(is_open for _, is_open in told)
    assert {float(value) for value, _ in told} == {20.0, 100.0}
    stored = next(open_dataset(tmp_path / "set").pairs())
    assert stored.dose_ratio == pytest.approx(5.0)
