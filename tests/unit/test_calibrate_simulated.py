"""``calibrate`` of a simulated camera, from its configuration to a folder that holds the truth."""

from __future__ import annotations

import json
import tomllib
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from livedenoise.calibrate.command import calibrate_camera
from livedenoise.calibrate.results import Known
from livedenoise.calibrate.settings import AcquireSettings
from livedenoise.cli import main
from livedenoise.core.calibration import Calibration, read_calibration
from livedenoise.core.camera_config import SimulatedCameraConfig
from livedenoise.core.config import load_config
from livedenoise.core.errors import CameraError
from livedenoise.core.progress import Progress
from livedenoise.imaging.sensor import draw_maps, sensor_constants
from livedenoise.microscope.choose import open_microscope_for

CONFIG = """
[[camera]]
kind = "simulated"
name = "sim"
exposure_us = 1000
seed = 7

[camera.sensor]
width_px = 96
height_px = 64
bit_depth = 12
gain_e_per_adu = 0.8
offset_adu = 150.0
offset_spread_adu = 3.0
dark_current_e_per_s = 200.0
full_well_e = 1e6
line_time_us = 0.0

[camera.scene]
kind = "flat"
photons_per_s = 2e6
"""
SETTINGS = AcquireSettings(
    dark_frames=60, dark_exposures_us=(1000, 20_000), levels=8, frames=24, discard=1
)
OPTIONS = ["--dark-frames=60", "--dark-exposures=1,20", "--levels=8", "--frames=24", "--discard=1"]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "sim.toml"
    path.write_text(CONFIG)
    return path


def camera_of(config: Path) -> SimulatedCameraConfig:
    camera = load_config(config).camera[0]
    assert isinstance(camera, SimulatedCameraConfig)
    return camera


def assert_true(found: Calibration, camera: SimulatedCameraConfig, told: dict[str, object]) -> None:
    """Check the constants within 2 % and 5 standard errors, and the offset map pixel by pixel."""
    truth, maps = sensor_constants(camera.sensor), draw_maps(camera.sensor, camera.seed)
    values = told["values"]
    assert isinstance(values, dict)
    gain = values["gain_e_per_adu"]
    assert gain["value"] == pytest.approx(truth.gain_e_per_adu, rel=0.02)
    assert abs(gain["value"] - truth.gain_e_per_adu) < 5 * gain["error"]
    assert found.constants.read_noise_e == pytest.approx(truth.read_noise_e, rel=0.05)
    assert found.constants.offset_adu == pytest.approx(150.0, abs=0.3)
    dark = values["dark_current_e_per_s"]
    assert dark["value"] == pytest.approx(200.0, rel=0.15)
    assert values["saturation_adu"]["value"] == 4095
    assert values["linearity_error_percent"]["value"] < 0.5
    assert found.maps is not None
    assert np.corrcoef(found.maps.offset_adu.ravel(), maps.offset_adu.ravel())[0, 1] > 0.95


def test_a_simulated_camera_comes_back_through_the_verb(
    tmp_path: Path, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "calibrations" / "sim"
    assert main(["calibrate", str(config), "--out", str(out), *OPTIONS, "--flat", "--json"]) == 0
    printed = capsys.readouterr()
    told = json.loads(printed.out)
    found = read_calibration(out)
    assert_true(found, camera_of(config), told)
    assert "stands still" in printed.err
    table = tomllib.loads((out / "camera.toml").read_text(encoding="utf-8"))
    assert table["measurement"]["simulated"] is True
    assert table["measured"]["gain_e_per_adu"]["error"] > 0
    pictures = {path.stem for path in (out / "report").iterdir()}
    assert {"photon-transfer", "linearity", "read-noise", "offset-map", "light-drift"} <= pictures
    assert [path.name for path in out.parent.iterdir()] == ["sim"]


def test_interrupted_it_leaves_no_folder_and_resumes_to_the_truth(
    tmp_path: Path, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, camera = tmp_path / "sim", camera_of(config)

    def interrupt(progress: Progress) -> None:
        if progress.task == "light frames" and progress.done > 60:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        calibrate_camera(
            partial(open_microscope_for, camera),
            SETTINGS,
            out,
            known=Known(),
            say=print,
            configuration=camera.model_dump(),
            on_progress=interrupt,
        )
    assert not out.exists()
    done = {path.name: path.stat().st_mtime_ns for path in tmp_path.glob("sim.partial/*.npz")}
    assert set(done) == {"dark-00.npz", "dark-01.npz", "light-00.npz", "light-02.npz"}
    capsys.readouterr()
    command = ["calibrate", str(config), "--out", str(out), *OPTIONS, "--json"]
    assert main(command) == 2
    assert "--resume" in json.loads(capsys.readouterr().out)["errors"][0]
    assert main([*command, "--resume"]) == 0
    assert_true(read_calibration(out), camera, json.loads(capsys.readouterr().out))
    assert not (tmp_path / "sim.partial").exists()


def test_a_camera_that_fails_leaves_what_was_finished(tmp_path: Path, config: Path) -> None:
    camera = camera_of(config)
    scope = open_microscope_for(camera)

    def abort(progress: Progress) -> None:
        if progress.task == "light frames":
            scope.abort()

    with pytest.raises(CameraError):
        calibrate_camera(
            lambda: scope, SETTINGS, tmp_path / "c", known=Known(), say=print, on_progress=abort
        )
    assert not (tmp_path / "c").exists()
    assert len(list((tmp_path / "c.partial").glob("*.npz"))) == 2


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["absent_name"], "no such configuration file"),
        (["absent.tif"], "no such file or folder"),
        ([], "nothing to calibrate from"),
        (["CONFIG", "--camera", "other"], "no camera 'other'"),
        (["CONFIG", "--light-off", "0"], "goes with --light"),
        (["CONFIG", "--light", "nothing"], "DEVICE.PROPERTY"),
        (["CONFIG", "--dark-by-hand"], "no terminal"),
        (["CONFIG", "--resume"], "nothing to resume"),
        (["CONFIG", "--excess-noise", "0.5"], "below 1"),
        (["CONFIG", "--em-gain", "300"], "go together"),
        (["a", "b", "--maps"], "takes one folder"),
    ],
)
def test_what_cannot_be_done_is_told_before_anything_is_exposed(
    tmp_path: Path,
    config: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    told: str,
) -> None:
    given = [str(config) if part == "CONFIG" else part for part in arguments]
    assert main(["calibrate", *given, "--out", str(tmp_path / "c"), "--json"]) == 2
    assert told in json.loads(capsys.readouterr().out)["errors"][0]
    assert not (tmp_path / "c").exists()
    assert not list(tmp_path.glob("c.partial/*.npz"))


@pytest.mark.parametrize(
    "option",
    [
        ["--dark-exposures", "1,x"],
        ["--dark-exposures", "0"],
        ["--levels", "2"],
        ["--frames", "1"],
        ["--settle", "-1"],
        ["--bit-depth", "7"],
    ],
)
def test_options_out_of_range_are_usage_errors(tmp_path: Path, option: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["calibrate", "demo", "--out", str(tmp_path / "c"), *option])
    assert caught.value.code == 2
