"""The configuration: everything wrong is said at once, with file, key and value."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from livedenoise.core.config import (
    Config,
    ReplayCameraConfig,
    SimulatedCameraConfig,
    load_config,
    parse_config,
)
from livedenoise.core.errors import EXIT_CONFIG, ConfigError

SIMULATED = {"kind": "simulated"}


def parse(**sections: Any) -> Config:
    return parse_config({"camera": [SIMULATED]} | sections, "rig.toml")


def problems(data: dict[str, Any]) -> list[str]:
    """Return the lines of the error a configuration gives."""
    with pytest.raises(ConfigError) as caught:
        parse_config(data, "rig.toml")
    assert caught.value.exit_code == EXIT_CONFIG
    return caught.value.message.splitlines()


def camera_problems(**keys: Any) -> list[str]:
    return problems({"camera": [SIMULATED | keys]})


def test_the_least_that_is_needed() -> None:
    config = parse()
    assert isinstance(config.camera[0], SimulatedCameraConfig)
    assert (config.name, config.denoise.engine, config.record.raw) == ("run", "auto", True)


def test_the_kind_chooses_the_model() -> None:
    config = parse(camera=[SIMULATED | {"name": "a"}, {"kind": "replay", "name": "b"}])
    assert [type(camera) for camera in config.camera] == [SimulatedCameraConfig, ReplayCameraConfig]


@pytest.mark.parametrize(
    ("camera", "line"),
    [
        (
            {"kind": "webcam"},
            (
                "rig.toml:camera.0.kind: Input should be one of "
                "'simulated', 'replay', 'network', 'micromanager' (got 'webcam')"
            ),
        ),
        ({}, "rig.toml:camera.0.kind: Field required"),
        ({"kind": "replay", "exposure": 3}, "rig.toml:camera.0.exposure: Extra inputs are not"),
        ({"kind": "replay", "seed": 3}, "rig.toml:camera.0.seed: Extra inputs are not permitted"),
        (3, "rig.toml:camera.0: Input should be an object (got 3)"),
    ],
)
def test_a_wrong_camera(camera: object, line: str) -> None:
    (found,) = problems({"camera": [camera]})
    assert found.startswith(line)


def test_all_problems_are_reported_at_once_with_their_values() -> None:
    data = {
        "camera": [
            SIMULATED | {"exposure_us": 0, "sensor": {"bit_depth": 99, "cols": 9}},
            {"kind": "replay", "name": "b b", "pace": "fast"},
        ],
        "ring": {"memory_mb": "much"},
        "nonsense": 3,
    }
    assert problems(data) == [
        "rig.toml:camera.0.exposure_us: Input should be greater than or equal to 1 (got 0)",
        "rig.toml:camera.0.sensor.bit_depth: Input should be less than or equal to 16 (got 99)",
        "rig.toml:camera.0.sensor.cols: Extra inputs are not permitted (got 9)",
        "rig.toml:camera.1.name: String should match pattern '^[A-Za-z0-9._-]+$' (got 'b b')",
        "rig.toml:camera.1.pace: Input should be 'lossless', 'recorded' or 'rate' (got 'fast')",
        "rig.toml:ring.memory_mb: Input should be a valid integer (got 'much')",
        "rig.toml:nonsense: Extra inputs are not permitted (got 3)",
    ]


@pytest.mark.parametrize("name", ["simulated", "replay"])
def test_a_key_called_like_a_kind_is_not_garbled(name: str) -> None:
    assert camera_problems(**{name: 3}) == [
        f"rig.toml:camera.0.{name}: Extra inputs are not permitted (got 3)"
    ]
    assert camera_problems(sensor={name: 3}) == [
        f"rig.toml:camera.0.sensor.{name}: Extra inputs are not permitted (got 3)"
    ]
    assert problems({"camera": [SIMULATED], name: 3}) == [
        f"rig.toml:{name}: Extra inputs are not permitted (got 3)"
    ]
    assert problems({"camera": [SIMULATED], "ring": {name: {"camera": 1}}}) == [
        f"rig.toml:ring.{name}: Extra inputs are not permitted"
    ]


@pytest.mark.parametrize("name", ["simulated", "replay", "0"])
def test_a_camera_called_like_a_kind_is_not_garbled(name: str) -> None:
    assert parse(camera=[SIMULATED | {"name": name}]).camera[0].name == name
    twice = [SIMULATED | {"name": name}] * 2
    assert problems({"camera": twice}) == [
        f"rig.toml:(file): camera names must differ, used twice: {name}"
    ]


@pytest.mark.parametrize(
    ("keys", "line"),
    [
        ({"exposure_us": True}, "camera.0.exposure_us: Input should be a valid integer (got True)"),
        ({"exposure_us": "12"}, "camera.0.exposure_us: Input should be a valid integer (got '12')"),
        ({"rate_hz": "50"}, "camera.0.rate_hz: Input should be a valid number (got '50')"),
        ({"rate_hz": float("nan")}, "camera.0.rate_hz: Input should be a finite number (got nan)"),
        ({"name": 3}, "camera.0.name: Input should be a valid string (got 3)"),
        ({"save_truth": 1}, "camera.0.save_truth: Input should be a valid boolean (got 1)"),
        ({"roi": [1, 2, 3]}, "camera.0.roi.3: Field required"),
        ({"binning": 3}, "camera.0.binning: Input should be 1, 2 or 4 (got 3)"),
    ],
)
def test_values_of_another_type_are_refused(keys: dict[str, Any], line: str) -> None:
    assert camera_problems(**keys) == [f"rig.toml:{line}"]


def test_whole_numbers_may_stand_for_fractions() -> None:
    config = parse(camera=[SIMULATED | {"rate_hz": 50, "roi": [0, 1, 64, 32]}])
    camera = config.camera[0]
    assert isinstance(camera, SimulatedCameraConfig)
    assert (camera.rate_hz, camera.roi) == (50.0, (0, 1, 64, 32))


@pytest.mark.parametrize(
    ("camera", "line"),
    [
        ({"kind": "replay", "pace": "rate"}, 'camera.0: pace = "rate" needs rate_hz'),
        (
            SIMULATED | {"scene": {"kind": "file"}},
            'camera.0.scene: file = "..." goes with kind = "file" and only with it',
        ),
    ],
)
def test_keys_that_belong_together(camera: dict[str, Any], line: str) -> None:
    assert problems({"camera": [camera]}) == [f"rig.toml:{line}"]


@pytest.mark.parametrize(
    ("data", "line"),
    [
        ({}, "rig.toml:camera: Field required"),
        ({"camera": SIMULATED}, "rig.toml:camera: Input should be a valid array"),
        ({"camera": []}, "rig.toml:camera: List should have at least 1 item"),
    ],
)
def test_there_is_a_list_of_cameras(data: dict[str, Any], line: str) -> None:
    (found,) = problems(data)
    assert found.startswith(line)


def test_the_configuration_cannot_be_changed() -> None:
    config = parse()
    with pytest.raises(ValueError, match="frozen"):
        config.ring.memory_mb = 5  # type: ignore[misc]


def test_every_section_survives_its_own_json() -> None:
    """A camera section travels to its process as JSON data and is read back by the same models."""
    config = parse(
        camera=[SIMULATED | {"roi": [0, 0, 8, 8], "calibration": "cal", "faults": {"stall_s": 1}}]
    )
    assert parse_config(config.model_dump(mode="json"), "again") == config


RIG = """
name = "rig"

[[camera]]
kind = "simulated"
name = "a"
calibration = "calibrations/a"
[camera.scene]
kind = "file"
file = "../scenes/cells.tif"

[[camera]]
kind = "replay"
name = "b"
input = "stack.tif"
calibration = "/absolute/b"

[denoise]
model = "../models/mine"
"""


def test_relative_paths_start_at_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "rigs").mkdir()
    (tmp_path / "rigs" / "rig.toml").write_text(RIG, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    config = load_config(Path("rigs/rig.toml"))
    first, second = config.camera
    assert isinstance(first, SimulatedCameraConfig)
    assert isinstance(second, ReplayCameraConfig)
    base = tmp_path / "rigs"
    assert first.calibration == base / "calibrations" / "a"
    assert first.scene.file == base / ".." / "scenes" / "cells.tif"
    assert second.input == base / "stack.tif"
    assert second.calibration == Path("/absolute/b")
    assert config.denoise.model == str(base / "../models/mine")


@pytest.mark.parametrize("model", ["realtime-m", "/models/mine"])
def test_shipped_names_and_absolute_folders_stay(model: str) -> None:
    data = {"camera": [SIMULATED], "denoise": {"model": model}}
    assert parse_config(data, "rig.toml", base=Path("/rigs")).denoise.model == model


def test_the_file_is_named_in_every_line(tmp_path: Path) -> None:
    path = tmp_path / "rig.toml"
    path.write_text('[[camera]]\nkind = "simulated"\nexposure_us = -1\nx = 2\n', encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    lines = caught.value.message.splitlines()
    assert len(lines) == 2
    assert all(line.startswith(f"{path}:camera.0.") for line in lines)
    assert caught.value.hint == "mend the keys named above"


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such configuration file"):
        load_config(tmp_path / "nothing.toml")
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(tmp_path)
    path = tmp_path / "rig.toml"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(path)
    path.write_text("[camera", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"rig.toml: not valid TOML: Expected"):
        load_config(path)
