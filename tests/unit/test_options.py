"""Options override the configuration and are checked like it."""

from __future__ import annotations

from pathlib import Path

import pytest

from livedenoise.core.config import ReplayCameraConfig, parse_config
from livedenoise.core.errors import ConfigError
from livedenoise.daemon.options import RunOptions, with_options
from livedenoise.hardware import find_config, shipped_configs

SIMULATED = {"camera": [{"kind": "simulated"}]}
REPLAY = {"camera": [{"kind": "replay"}]}


def test_options_win_over_the_file() -> None:
    config = with_options(
        parse_config(SIMULATED, "test"), RunOptions(model="mine", engine="identity")
    )
    assert config.denoise.model == "mine"
    assert config.denoise.engine == "identity"


def test_without_options_nothing_changes() -> None:
    config = parse_config(SIMULATED, "test")
    assert with_options(config, RunOptions()) == config


def test_input_goes_to_the_replay_camera() -> None:
    config = with_options(parse_config(REPLAY, "test"), RunOptions(input=Path("movie.tif")))
    camera = config.camera[0]
    assert isinstance(camera, ReplayCameraConfig)
    assert camera.input == Path("movie.tif").resolve()


def test_input_without_a_replay_camera_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"has 0[\s\S]*replay.toml"):
        with_options(parse_config(SIMULATED, "test"), RunOptions(input=Path("movie.tif")))


def test_unknown_engine_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"denoise\.engine"):
        with_options(parse_config(SIMULATED, "test"), RunOptions(engine="magic"))


def test_shipped_configurations_are_found_by_name_and_by_path(tmp_path: Path) -> None:
    assert find_config("demo") == shipped_configs()["demo"]
    assert find_config("hardware_configs/demo.toml").name == "demo.toml"
    own = tmp_path / "demo.toml"
    own.write_text("")
    assert find_config(str(own)) == own
    with pytest.raises(ConfigError, match="orca_flash4_v3"):
        find_config("nothing")
