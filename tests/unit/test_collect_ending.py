"""How a collection ends: which error comes first, what is kept, what light is counted."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from collect_kit import Witness, make_camera, make_plan, run

from livedenoise.collect import finishing
from livedenoise.collect.check_pair import check_pair
from livedenoise.collect.dataset_reader import open_dataset, verify_dataset
from livedenoise.collect.dataset_summary import summarise_dataset
from livedenoise.collect.finishing import Finisher
from livedenoise.collect.manifest import read_header
from livedenoise.collect.pending import FieldTaken
from livedenoise.collect.shots import Pair
from livedenoise.collect.verdict import Check, PairVerdict
from livedenoise.core.clock import ManualClock
from livedenoise.core.errors import CameraError, ConfigError, RecordError
from livedenoise.core.microscope import Exposed
from livedenoise.core.progress import Progress
from livedenoise.microscope.simulated import SimulatedMicroscope


def witness(config: object, clock: ManualClock) -> Witness:
    return Witness(SimulatedMicroscope(config, clock))  # type: ignore[arg-type]


def bad(verdict: PairVerdict) -> PairVerdict:
    check = Check(name="shift", value=9.0, limit=2.0, passed=False, text="shifted by 9 px")
    return msgspec.structs.replace(verdict, accepted=False, reasons=("shift",), checks=(check,))


# How it ends


@pytest.mark.parametrize("dies", [False, True])
def test_what_closing_says_hides_nothing(tmp_path: Path, dies: bool) -> None:
    clock = ManualClock(1)
    config, plan, out = make_camera(), make_plan(tmp_path), tmp_path / "set"
    scope = witness(config, clock)
    expose, close = scope.inner.expose, scope.inner.close

    def stalls(exposure_us: int, n_frames: int = 1) -> Any:
        if dies and len(scope.named("expose")) == 9:
            raise CameraError("camera sim: stalled")
        return expose(exposure_us, n_frames)

    def complains() -> None:
        close()
        raise CameraError("xy was 0 0: refused", "set it by hand")

    scope.inner.expose = stalls  # type: ignore[method-assign]
    scope.inner.close = complains  # type: ignore[method-assign]
    summary = run(config, plan, out, scope=scope, clock=clock, with_report=True)
    assert summary.exit_code == 3
    assert ["stalled" in text for text in summary.errors] == [True, False][not dies :]
    assert "xy was 0 0: refused" in summary.errors[-1]
    assert summary.fields_done == (2 if dies else 4)
    assert Path(summary.report).is_file()


def test_what_closing_says_is_a_note_where_nothing_was_begun(tmp_path: Path) -> None:
    clock = ManualClock(1)
    config, out = make_camera(), tmp_path / "set"
    run(config, make_plan(tmp_path / "a"), out)
    scope = witness(config, clock)

    def complains() -> None:
        raise CameraError("xy was 0 0: refused")

    scope.inner.close = complains  # type: ignore[method-assign]
    with pytest.raises(ConfigError, match="plan_hash") as caught:
        run(config, make_plan(tmp_path / "b", low_us=2000), out, scope=scope, clock=clock)
    assert caught.value.__notes__ == ["xy was 0 0: refused"]


def test_the_camera_s_error_comes_before_what_fails_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, told = ManualClock(1), threading.Event()
    config, plan, out = make_camera(), make_plan(tmp_path), tmp_path / "set"
    scope = witness(config, clock)
    expose = scope.inner.expose

    def dies(exposure_us: int, n_frames: int = 1) -> Any:
        if len(scope.named("expose")) == 6:
            told.set()
            raise CameraError("camera sim: stalled")
        return expose(exposure_us, n_frames)

    def full(self: Finisher, taken: FieldTaken) -> None:
        assert told.wait(30.0)
        raise RecordError("field_0000.ome.tif: not written: no space")

    scope.inner.expose = dies  # type: ignore[method-assign]
    monkeypatch.setattr(Finisher, "__call__", full)
    summary = run(config, plan, out, scope=scope, clock=clock)
    assert summary.exit_code == 3
    assert "stalled" in summary.errors[0]
    assert "no space" in summary.errors[1]


@pytest.mark.parametrize("how", ["raises", "is not finite"])
def test_a_field_that_cannot_be_judged_is_named_and_not_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    config, plan, out = make_camera(), make_plan(tmp_path), tmp_path / "set"
    judged = 0

    def odd(*facts: Any) -> PairVerdict:
        nonlocal judged
        judged += 1
        if judged == 1:
            return check_pair(*facts)
        if how == "raises":
            raise ValueError("odd image")
        return msgspec.structs.replace(check_pair(*facts), psnr_db=float("nan"))

    with monkeypatch.context() as patched:
        patched.setattr(finishing, "check_pair", odd)
        for again in (False, True):
            summary = run(config, plan, out, with_report=again)
            assert (summary.exit_code, summary.fields_done) == (5, 1)
            error = summary.errors[0]
            assert "field_0001_attempt0.npz: field 1, attempt 1, was exposed" in error
            assert ("odd image" if how == "raises" else "psnr_db") in error
            assert "remove it, and go on with --resume" in error
        assert Path(summary.report).is_file()
    for path in (out / "pending").iterdir():
        path.unlink()
    assert run(config, plan, out).fields_done == 4
    assert not verify_dataset(out).problems


# What is kept


def judged_by(choose: Callable[[int, Pair], bool]) -> Callable[..., PairVerdict]:
    """Return a check that lets pass what ``choose`` says, by visit and pair."""
    visits = 0

    def judge(pair: Pair, *facts: Any) -> PairVerdict:
        nonlocal visits
        verdict = check_pair(pair, *facts)
        visits += pair.low.shot.level == 0
        return verdict if choose(visits, pair) else bad(verdict)

    return judge


def ladder(folder: Path, attempts: int) -> Any:
    from livedenoise.collect.plan import load_plan

    plan = make_plan(folder, rows=1, columns=2, attempts=attempts)
    text = plan.path.read_text().replace("exposure_us = 4000", "exposure_us = [4000, 2000]")
    plan.path.write_text(text)
    return load_plan(plan.path)


def test_one_bad_rung_costs_no_second_exposure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, out, clock = make_camera(), tmp_path / "set", ManualClock(1)
    monkeypatch.setattr(finishing, "check_pair", judged_by(lambda _, p: not p.low.shot.level))
    scope = witness(config, clock)
    summary = run(config, ladder(tmp_path, 3), out, scope=scope, clock=clock)
    assert (summary.pairs_accepted, summary.pairs_rejected, summary.exit_code) == (2, 2, 0)
    records = list(open_dataset(out).records())
    assert [(one.field, one.attempt, one.status) for one in records] == [
        (0, 0, "done"),
        (1, 0, "done"),
    ]
    assert all(one.file and one.rejected_file for one in records)
    assert [pair.low_shot.shot.level for pair in open_dataset(out).pairs()] == [0, 0]


def test_a_field_without_a_good_pair_is_tried_again_then_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, out = make_camera(), tmp_path / "set"
    monkeypatch.setattr(finishing, "check_pair", judged_by(lambda *_: False))
    summary = run(config, ladder(tmp_path, 2), out, with_report=True)
    records = list(open_dataset(out).records())
    told = sorted((one.field, one.attempt, one.status) for one in records)
    assert told == [(0, 0, "retry"), (0, 1, "failed"), (1, 0, "retry"), (1, 1, "failed")]
    # All was taken and nothing can be used: that is no success.
    assert (summary.exit_code, summary.left, summary.pairs_accepted) == (5, 0, 0)
    assert "not one pair was accepted: all 2 fields failed" in summary.errors[0]
    assert "not one pair may be trained on" in (out / "report.html").read_text()


def test_a_stop_during_the_darks_ends_them_and_begins_nothing(tmp_path: Path) -> None:
    config, plan, out = make_camera(), make_plan(tmp_path), tmp_path / "new" / "set"
    stop, clock = threading.Event(), ManualClock(1)
    scope = witness(config, clock)
    frames = 0
    expose = scope.inner.expose

    def counted(exposure_us: int, n_frames: int = 1) -> Any:
        nonlocal frames
        exposed: Exposed
        for exposed in expose(exposure_us, n_frames):
            frames += 1
            yield exposed

    class StopAtThird(list[Progress]):
        def append(self, step: Progress) -> None:
            if step.task == "dark frames" and step.done == 3:
                stop.set()

    scope.inner.expose = counted  # type: ignore[method-assign]
    summary = run(
        config,
        plan,
        out,
        scope=scope,
        clock=clock,
        stop=stop,
        steps=StopAtThird(),
        with_report=True,
    )
    assert frames == 1 + 3  # the first is thrown away
    assert (summary.exit_code, summary.left, summary.errors) == (0, 4, [])
    assert any("there is no data set" in note for note in summary.notes)
    assert not (tmp_path / "new").exists()
    assert scope.log[-1][0] == "close"
    assert run(config, plan, out).fields_done == 4


def test_the_light_of_the_scout_is_counted(tmp_path: Path) -> None:
    config = make_camera(camera={"estimate_constants": True})
    plan, out, clock = make_plan(tmp_path), tmp_path / "set", ManualClock(1)
    scope = witness(config, clock)
    summary = run(config, plan, out, scope=scope, clock=clock, with_report=True)
    lit = sum(us * frames for us, frames, is_open in scope.named("expose") if is_open)  # type: ignore[misc, has-type]
    assert read_header(out).scout_dose_us == 4000 * (8 + 1)
    assert summary.dose_us == summarise_dataset(out)[1].dose_us == lit
    text = (out / "report.html").read_text()
    assert "36 ms of it for the gain" in text
    assert "light not counted" in text
    assert "an error or a kill broke off" in text
