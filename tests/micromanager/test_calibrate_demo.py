"""``calibrate`` against a real Micro-Manager core: DemoCamera's noise, whose truth is known.

Its mode ``Noise`` draws shot and read noise of the electrons and the conversion factor set,
and truncates twice: the mean lies a count below the offset of 100, and the read noise holds two
roundings (variance 1/12 count squared each). The shutter does not darken this mode: the light is
turned down by its property, whose lowest value gives 0.02 electrons in 0.01 ms.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from livedenoise.cli import main
from livedenoise.core.calibration import read_calibration

GAIN_E_PER_ADU = 0.5
READ_NOISE_E = 3.0
CONFIG = f"""
[[camera]]
kind = "micromanager"
name = "demo"
app_path = "demo"
config_file = "MMConfig_demo.cfg"
exposure_us = 2000
roi = [0, 0, 96, 96]
buffer_mb = 64

[camera.properties.Camera]
PixelType = "16bit"
Mode = "Noise"
"Photon Conversion Factor" = {GAIN_E_PER_ADU}
"ReadNoise (electrons)" = {READ_NOISE_E}
"""


def test_gain_and_read_noise_of_the_demo_camera_come_back(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config, out = tmp_path / "demo.toml", tmp_path / "calibration"
    config.write_text(CONFIG)
    options = "--exposure 2 --dark-exposures 0.01 --dark-frames 24 --frames 16 --discard 1 --flat"
    light = ["--light", "Camera.Photon Flux=100,300,1000,2000,4000", "--light-off", "2"]
    command = ["calibrate", str(config), "--out", str(out), *options.split(), *light]
    assert main([*command, "--light-linear", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    found = read_calibration(out)
    assert found.hash == told["hash"]
    assert found.sensor == (512, 512)
    assert found.maps is not None
    constants = found.constants
    assert constants.gain_e_per_adu == pytest.approx(GAIN_E_PER_ADU, rel=0.02)
    assert constants.read_noise_e == pytest.approx(READ_NOISE_E, rel=0.02)
    assert constants.offset_adu == pytest.approx(99.0, abs=0.2)
    gain = told["values"]["gain_e_per_adu"]
    assert gain["status"] == "measured"
    assert 0 < gain["error"] < 0.01
    assert abs(gain["value"] - GAIN_E_PER_ADU) < 5 * gain["error"]
    assert any("on the region (0, 0, 96, 96)" in line for line in told["warnings"])
    assert not (tmp_path / "calibration.partial").exists()
