"""Going on with a calibration: only with the camera as it was, covered and uncovered as needed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import cast

import numpy as np
import pytest
from calibrate_kit import SMALL, FakeMicroscope, take

from livedenoise.calibrate.command import OpenMicroscope, calibrate_camera
from livedenoise.calibrate.results import Known
from livedenoise.calibrate.resuming import configuration_of
from livedenoise.calibrate.settings import AcquireSettings, parse_light
from livedenoise.calibrate.taking import Taker
from livedenoise.cli import main
from livedenoise.core.errors import CalibrationError, CameraError
from livedenoise.report.page import Page

CONFIG = """
[[camera]]
kind = "simulated"
name = "sim"
[camera.sensor]
width_px = 24
height_px = 20
bit_depth = 12
offset_adu = 100.0
line_time_us = 0.0
[camera.scene]
kind = "flat"
photons_per_s = 2e6
"""
OPTIONS = ["--dark-frames=8", "--dark-exposures=1,5", "--levels=4", "--frames=4", "--discard=0"]


@pytest.fixture(autouse=True)
def _plain_report(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw no pictures: most of the time, and of no concern here."""
    page = Page(title="Calibration", sections=())
    monkeypatch.setattr("livedenoise.calibrate.command.measured_page", lambda *_: page)


def calibrate(
    scope: FakeMicroscope, out: Path, settings: AcquireSettings = SMALL, *, resume: bool = False
) -> None:
    make = cast("OpenMicroscope", lambda: scope)
    calibrate_camera(make, settings, out, known=Known(), say=print, resume=resume)


def interrupted(folder: Path, at: int) -> None:
    scope = FakeMicroscope()
    scope.fails_at = at
    with pytest.raises(KeyboardInterrupt):
        take(scope, folder)


@pytest.mark.parametrize(
    ("attribute", "value", "told"),
    [
        (
            "offset_adu",
            140.0,
            r"have 1[34]\d\.\d\d counts now, those taken before have \d+\.\d\d",
        ),
        ("read_noise_adu", 5.0, r"a noise of \S+ counts now, those taken before 2\.\d"),
    ],
)
def test_a_camera_in_another_mode_is_not_gone_on_with(
    tmp_path: Path, attribute: str, value: float, told: str
) -> None:
    interrupted(tmp_path / "p", at=20)
    other = FakeMicroscope()
    setattr(other, attribute, value)
    before = sorted((tmp_path / "p").glob("*.npz"))
    with pytest.raises(CalibrationError, match=told):
        take(other, tmp_path / "p", resume=True)
    assert len(other.exposed) == 1
    assert not other.shutter
    assert sorted((tmp_path / "p").glob("*.npz")) == before


def test_a_key_of_the_configuration_that_changed_is_named_with_both_values(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    config, out = tmp_path / "sim.toml", tmp_path / "c"
    config.write_text(CONFIG)
    command = ["calibrate", str(config), "--out", str(out), *OPTIONS]

    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Taker, "between_references", stop)
        assert main(command) == 130
    assert len(list((tmp_path / "c.partial").glob("*.npz"))) == 2
    capsys.readouterr()
    config.write_text(CONFIG.replace("offset_adu = 100.0", "offset_adu = 140.0"))
    assert main([*command, "--resume"]) == 2
    told = capsys.readouterr().err
    assert "sensor.offset_adu" in told
    assert "100.0" in told
    assert "140.0" in told
    assert len(list((tmp_path / "c.partial").glob("*.npz"))) == 2


def test_a_hardware_configuration_that_was_edited_is_another(tmp_path: Path) -> None:
    path = tmp_path / "rig.cfg"
    path.write_text("a")
    first = configuration_of({"config_file": path, "properties": {"Camera": {"Gain": 2}}})
    assert first["properties.Camera.Gain"] == 2
    assert json.loads(json.dumps(first)) == first
    path.write_text("b")
    assert configuration_of({"config_file": path}) != {"config_file": first["config_file"]}
    assert configuration_of({"config_file": path}) != {
        key: value for key, value in first.items() if key.startswith("config_file")
    }


def test_by_hand_a_resume_asks_to_cover_and_to_uncover(tmp_path: Path) -> None:
    settings = AcquireSettings(dark_frames=8, levels=4, frames=4, dark_by_hand=True)
    scope = FakeMicroscope(shutter=False)

    def leaves(line: str) -> None:
        scope.covered = line.startswith("Cover")
        if not scope.covered:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        take(scope, tmp_path / "p", settings, ask=leaves)
    again, asked = FakeMicroscope(shutter=False), list[str]()
    # As the user left it: covered.
    again.covered = True
    ask = _obeying(again, asked)
    data = take(again, tmp_path / "p", settings, resume=True, ask=ask)
    assert asked == ["Cover", "Uncover"]
    lit = [s for s in data.series if not s.is_dark]
    assert min(float(s.summary.mean_adu.mean()) for s in lit) > 150


def _obeying(scope: FakeMicroscope, asked: list[str]) -> Callable[[str], None]:
    def ask(line: str) -> None:
        asked.append(line.partition(" ")[0])
        scope.covered = asked[-1] == "Cover"

    return ask


def test_light_that_fades_within_a_level_is_followed(tmp_path: Path) -> None:
    scope = FakeMicroscope()
    scope.per_second = 0.1
    data = take(scope, tmp_path / "p")
    lit = [s for s in data.series if not s.is_dark and s.name != "light-beyond"]
    rates = np.array([(float(s.summary.mean_adu.mean()) - 100) / s.exposure_us for s in lit])
    light = np.array([s.light or 0.0 for s in lit])
    assert np.ptp(rates) / rates.mean() > 0.05
    corrected = rates / light
    assert np.max(np.abs(corrected / corrected.mean() - 1)) < 0.006


def test_a_wrong_light_is_told_before_a_folder_is_made(tmp_path: Path) -> None:
    settings = AcquireSettings(light=parse_light("Laser.Powr=0.1,0.5,1"))
    scope = FakeMicroscope()
    with pytest.raises(CameraError, match="Powr"):
        calibrate(scope, tmp_path / "c", settings)
    assert scope.closed
    assert scope.exposed == []
    assert list(tmp_path.iterdir()) == []


def test_what_took_nothing_leaves_nothing_to_resume(tmp_path: Path) -> None:
    scope = FakeMicroscope()
    scope.fails_at = 1
    with pytest.raises(KeyboardInterrupt):
        calibrate(scope, tmp_path / "c")
    assert list(tmp_path.iterdir()) == []
    calibrate(FakeMicroscope(), tmp_path / "c")
    assert [path.name for path in tmp_path.iterdir()] == ["c"]


def test_a_success_removes_the_report_of_the_failure_before(tmp_path: Path) -> None:
    scope = FakeMicroscope()
    scope.is_noisy = False
    with pytest.raises(CalibrationError, match="gain_e_per_adu"):
        calibrate(scope, tmp_path / "c")
    for left in (tmp_path / "c.partial").iterdir():
        left.unlink()
    (tmp_path / "c.report" / "mine.txt").write_text("kept")
    calibrate(FakeMicroscope(), tmp_path / "c")
    assert [path.name for path in (tmp_path / "c.report").iterdir()] == ["mine.txt"]
    assert not (tmp_path / "c.partial").exists()


@pytest.mark.parametrize("beside", [("no", "file"), ("file",)])
def test_an_output_below_a_file_is_refused_before_anything(
    tmp_path: Path, beside: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("x")
    config = tmp_path / "sim.toml"
    config.write_text(CONFIG)
    below = tmp_path / "file" / "deeper" if "no" in beside else tmp_path / "file"
    assert main(["calibrate", str(config), "--out", str(below / "c"), *OPTIONS]) == 2
    assert "is a file, not a folder" in capsys.readouterr().err


def test_the_microscope_gets_a_journal_beside_the_calibration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, journals = tmp_path / "sim.toml", list[Path]()
    config.write_text(CONFIG)

    def refuse(_: object, *, journal: Path) -> None:
        assert journal.parent.is_dir()
        journals.append(journal)
        raise CameraError("not today")

    monkeypatch.setattr("livedenoise.microscope.choose.open_microscope_for", refuse)
    out = tmp_path / "calibrations" / "c"
    assert main(["calibrate", str(config), "--out", str(out), *OPTIONS]) == 3
    assert journals == [tmp_path / "calibrations" / ".c-microscope.json"]
