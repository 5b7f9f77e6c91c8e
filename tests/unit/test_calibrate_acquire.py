"""Taking calibration frames: what is exposed, in which light, and what an interruption leaves."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import cast

import numpy as np
import pytest
from calibrate_kit import SMALL, FakeMicroscope, take
from hypothesis import given
from hypothesis import strategies as st

from livedenoise.calibrate.command import OpenMicroscope, calibrate_camera
from livedenoise.calibrate.ladder import (
    ExposureLimits,
    Found,
    find_brightest,
    spread_exposures,
    visiting_order,
)
from livedenoise.calibrate.partial import PartialStore
from livedenoise.calibrate.results import Known
from livedenoise.calibrate.resuming import identity_of
from livedenoise.calibrate.settings import AcquireSettings, parse_light
from livedenoise.core.errors import CalibrationError, CameraError, ConfigError


class Hostile:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return (os.mkdir, (str(self.folder),))


def test_darks_are_dark_and_the_ladder_fills_the_range(tmp_path: Path) -> None:
    scope = FakeMicroscope()
    data = take(scope, tmp_path / "p")
    dark = [s for s in data.series if s.is_dark]
    assert [(s.exposure_us, s.summary.n_frames) for s in dark] == [(1000, 10), (50_000, 8)]
    assert all(abs(float(s.summary.mean_adu.mean()) - 100) < 1 for s in dark)
    assert all(not is_open for _, _, is_open, _ in scope.exposed[:2])
    assert all(is_open for _, _, is_open, _ in scope.exposed[2:])
    assert not scope.shutter
    ladder = {s.name: s for s in data.series if not s.is_dark}
    filled = [
        (float(s.summary.mean_adu.mean()) - 100) / (4095 - 100)
        for name, s in sorted(ladder.items())
        if name != "light-beyond"
    ]
    assert len(filled) == 8
    assert 0.03 < filled[0] < 0.06
    assert 0.8 < filled[-1] < 0.95
    steps = np.diff(np.log(filled))
    np.testing.assert_allclose(steps, steps.mean(), rtol=0.1)
    assert ladder["light-beyond"].summary.saturated_fraction > 0.99
    assert data.warnings == ()
    assert data.darks().keys() == {1000.0, 50_000.0}
    assert [s.exposure_us for s in data.lit()] == sorted(s.exposure_us for s in data.lit())


def test_light_that_drifts_is_told_and_taken_into_account(tmp_path: Path) -> None:
    scope = FakeMicroscope()
    scope.per_second = 0.02
    data = take(scope, tmp_path / "p")
    assert any("light changed by" in line for line in data.warnings)
    lit = [s for s in data.series if not s.is_dark and s.name != "light-beyond"]
    rates = [(float(s.summary.mean_adu.mean()) - 100) / s.exposure_us for s in lit]
    corrected = [rate / (s.light or 0) for rate, s in zip(rates, lit, strict=True)]
    assert np.std(corrected) / np.mean(corrected) < 0.5 * np.std(rates) / np.mean(rates)


def test_without_a_way_to_darkness_nothing_is_exposed(tmp_path: Path) -> None:
    scope = FakeMicroscope(shutter=False)
    with pytest.raises(CalibrationError, match="no shutter") as caught:
        take(scope, tmp_path / "p")
    assert "--dark-by-hand" in caught.value.hint
    assert "--light-off" in caught.value.hint
    by_hand = AcquireSettings(dark_by_hand=True)
    with pytest.raises(CalibrationError, match="no terminal"):
        take(scope, tmp_path / "p", by_hand)
    assert scope.exposed == []


def test_by_hand_the_user_is_asked_before_and_after_the_darks(tmp_path: Path) -> None:
    scope = FakeMicroscope(shutter=False)
    asked: list[str] = []

    def user(line: str) -> None:
        asked.append(line.partition(" ")[0])
        scope.covered = asked[-1] == "Cover"

    settings = AcquireSettings(dark_frames=8, levels=4, frames=4, dark_by_hand=True)
    data = take(scope, tmp_path / "p", settings, ask=user)
    assert asked == ["Cover", "Uncover"]
    assert all(float(s.mean_adu.mean()) < 101 for s in data.darks().values())


def test_by_hand_a_camera_left_uncovered_is_found_out(tmp_path: Path) -> None:
    settings = AcquireSettings(dark_frames=8, levels=4, frames=4, dark_by_hand=True)
    with pytest.raises(CalibrationError, match="not dark"):
        take(FakeMicroscope(shutter=False), tmp_path / "p", settings, ask=print)


@pytest.mark.parametrize(
    ("counts_per_us", "told"), [(1e-4, "of the range only"), (500.0, "saturates the camera")]
)
def test_light_that_does_not_suit_is_told(tmp_path: Path, counts_per_us: float, told: str) -> None:
    data = take(FakeMicroscope(counts_per_us), tmp_path / "p")
    assert any(told in line for line in data.warnings), data.warnings


def test_a_shutter_that_leaks_is_told_and_one_that_is_stuck_refused(tmp_path: Path) -> None:
    scope = FakeMicroscope()
    scope.leak = 0.2
    (told,) = take(scope, tmp_path / "p").warnings
    assert "brighten with exposure 2" in told
    for leak, exposures_us in ((0.7, (1000, 50_000)), (1.0, (1000, 1_000_000))):
        scope = FakeMicroscope()
        scope.leak = leak
        settings = AcquireSettings(dark_frames=8, dark_exposures_us=exposures_us, frames=4)
        with pytest.raises(CalibrationError, match="not dark"):
            take(scope, tmp_path / f"{leak}", settings)
        # The ladder of light is not even begun, and what was refused is not gone on with.
        assert not list((tmp_path / f"{leak}").glob("*.npz"))


def test_no_light_at_all_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CalibrationError, match="no light reaches the camera"):
        take(FakeMicroscope(0.0), tmp_path / "p")


def test_a_ladder_of_light_keeps_one_exposure(tmp_path: Path) -> None:
    scope = FakeMicroscope()
    light = parse_light("Laser.Power level=0.1,0.2,0.5,1", off="0", linear=True)
    settings = AcquireSettings(dark_frames=8, frames=4, light=light)
    data = take(scope, tmp_path / "p", settings)
    lit = {s.name: s for s in data.series if not s.is_dark}
    assert len({s.exposure_us for s in lit.values()}) == 1
    assert [lit[f"light-{n:02d}"].light for n in range(4)] == [0.1, 0.2, 0.5, 1.0]
    means = [float(lit[f"light-{n:02d}"].summary.mean_adu.mean()) - 100 for n in range(4)]
    np.testing.assert_allclose(np.array(means) / means[-1], (0.1, 0.2, 0.5, 1.0), rtol=0.05)
    assert [power for _, _, _, power in scope.exposed[:3]] == [0.0] * 3
    assert scope.power == 0.0


@pytest.mark.parametrize("fails_at", [2, 3, 8, 20])
def test_an_interruption_keeps_what_is_finished(tmp_path: Path, fails_at: int) -> None:
    scope = FakeMicroscope()
    scope.fails_at = fails_at
    with pytest.raises(KeyboardInterrupt):
        take(scope, tmp_path / "p")
    done = {path.stem for path in (tmp_path / "p").glob("*.npz")}
    again = FakeMicroscope()
    data = take(again, tmp_path / "p", resume=True)
    times = [s.time_s for s in data.series if not s.is_dark]
    assert times == sorted(times)
    fresh = FakeMicroscope()
    whole = take(fresh, tmp_path / "q")
    assert {s.name for s in data.series} == {s.name for s in whole.series}
    # Nothing finished is taken twice: each lit series has reference frames before and after it.
    spared = [n for name in done for n in _exposures_of(name)]
    compared = 1 if "dark-00" in done else 0
    assert len(_series_of(again)) == len(_series_of(fresh)) - len(spared) + compared
    kept = PartialStore(tmp_path / "p", identity_of(again.info, SMALL), resume=True)
    for name in done:
        found = next(s for s in data.series if s.name == name)
        loaded = kept.load(name)
        assert loaded.summary.n_frames == found.summary.n_frames
        np.testing.assert_array_equal(loaded.summary.mean_adu, found.summary.mean_adu)


def _series_of(scope: FakeMicroscope) -> list[tuple[int, int, bool, float]]:
    """Return what was exposed but for the search, which takes one frame behind two discarded."""
    return [taken for taken in scope.exposed if taken[1] > 3]


def _exposures_of(name: str) -> list[str]:
    return [name] if name.startswith("dark") else ["before", name, "after"]


def test_another_calibration_is_not_gone_on_with(tmp_path: Path) -> None:
    take(FakeMicroscope(), tmp_path / "p")
    with pytest.raises(CalibrationError, match="not finished is here"):
        take(FakeMicroscope(), tmp_path / "p")
    other = AcquireSettings(dark_frames=11, dark_exposures_us=(1000,), levels=8, frames=6)
    with pytest.raises(CalibrationError, match="begun with settings"):
        take(FakeMicroscope(), tmp_path / "p", other, resume=True)
    with pytest.raises(CalibrationError, match="nothing to resume"):
        take(FakeMicroscope(), tmp_path / "none", resume=True)


def test_a_damaged_or_pickled_series_is_named_and_never_unpickled(tmp_path: Path) -> None:
    scope = FakeMicroscope()
    take(scope, tmp_path / "p")
    store = PartialStore(tmp_path / "p", identity_of(scope.info, SMALL), resume=True)
    path = tmp_path / "p" / "dark-00.npz"
    whole = path.read_bytes()
    for content in (b"", whole[:-200], pickle.dumps({"facts": 1})):
        path.write_bytes(content)
        with pytest.raises(CalibrationError, match=r"dark-00\.npz: cannot be read"):
            store.load("dark-00")
    np.savez(path, mean_adu=np.array([Hostile(tmp_path / "ran")], dtype=object))
    with pytest.raises(CalibrationError, match=r"dark-00\.npz: cannot be read"):
        store.load("dark-00")
    assert not (tmp_path / "ran").exists()


def test_an_exposure_that_changes_within_a_series_is_refused(tmp_path: Path) -> None:
    scope = FakeMicroscope()
    scope.wrong_exposure = True
    with pytest.raises(CameraError, match="changed its exposure"):
        take(scope, tmp_path / "p")
    assert json.loads((tmp_path / "p" / "settings.json").read_text())["camera"] == "fake"
    assert not list((tmp_path / "p").glob("*.npz"))


def test_where_no_gain_comes_out_report_and_series_are_kept(tmp_path: Path) -> None:
    scope = FakeMicroscope()
    scope.is_noisy = False
    out = tmp_path / "c"

    def calibrate(*, resume: bool = False) -> None:
        make = cast("OpenMicroscope", lambda: scope)
        calibrate_camera(make, SMALL, out, known=Known(), say=print, resume=resume)

    with pytest.raises(CalibrationError, match="gain_e_per_adu") as caught:
        calibrate()
    assert scope.closed
    assert not out.exists()
    assert "--resume" in caught.value.hint
    assert (tmp_path / "c.report" / "report.html").exists()
    exposed = len(scope.exposed)
    with pytest.raises(CalibrationError, match="gain_e_per_adu"):
        calibrate(resume=True)
    assert len(scope.exposed) == exposed


@given(st.floats(1e-7, 1.0), st.integers(10, 1_000_000))
def test_the_search_fills_the_range_of_any_scene_within_the_limits(
    per_us: float, start_us: int
) -> None:
    limits = ExposureLimits(10, 10_000_000)
    found = find_brightest(lambda us: min(1.0, per_us * us), limits, start_us)
    assert 10 <= found.exposure_us <= 10_000_000
    within = 1.1 / limits.highest_us < per_us < 0.03
    if within:
        assert found.fraction == pytest.approx(0.9, rel=0.06)
    elif per_us <= 0.8 / limits.highest_us:
        assert found.exposure_us == limits.highest_us


@given(st.integers(10, 10_000_000), st.integers(1, 20))
def test_levels_rise_within_the_limits_and_each_is_visited_once(
    brightest_us: int, levels: int
) -> None:
    limits = ExposureLimits(10, 10_000_000)
    found = spread_exposures(Found(exposure_us=brightest_us, fraction=0.9), limits, levels)
    assert found == sorted(set(found))
    assert found[0] >= 10
    assert found[-1] <= brightest_us
    assert sorted(visiting_order(len(found))) == list(range(len(found)))


@pytest.mark.parametrize(
    "text", ["Laser=1,2,3", "Laser.Power", "Laser.Power=1,2", "Laser.Power=1,,3", ".Power=1,2,3"]
)
def test_light_of_another_form_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"DEVICE\.PROPERTY"):
        parse_light(text)


@pytest.mark.parametrize("values", ["a,b,c", "3,2,1", "0,1,2"])
def test_linear_light_must_be_rising_numbers(values: str) -> None:
    assert parse_light(f"Laser.Power={values}").relative("1") is None
    with pytest.raises(ConfigError, match="rising"):
        parse_light(f"Laser.Power={values}", linear=True)
