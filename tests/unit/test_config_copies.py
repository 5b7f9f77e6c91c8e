"""``livedenoise config NAME --out FILE``: what is copied works where it lies."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from livedenoise.cli import main
from livedenoise.core.config import MicroManagerCameraConfig, load_config
from livedenoise.hardware import config_folder, shipped_configs

NAME = "micromanager_two_cameras"
CFG = f"{NAME}.cfg"


def test_the_hardware_configuration_comes_along(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "my.toml"
    assert main(["config", NAME, "--out", str(target)]) == 0
    said = capsys.readouterr().out
    assert str(target) in said
    assert str(tmp_path / CFG) in said
    assert (tmp_path / CFG).read_bytes() == (config_folder() / CFG).read_bytes()
    (owner, _) = load_config(target).camera
    assert isinstance(owner, MicroManagerCameraConfig)
    assert owner.config_file == tmp_path.resolve() / CFG


def test_a_second_copy_shares_the_same_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("one.toml", "two.toml"):
        assert main(["config", NAME, "--out", str(tmp_path / name), "--json"]) == 0
    one, two = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert one["written"] == [str(tmp_path / "one.toml"), str(tmp_path / CFG)]
    assert two["written"] == [str(tmp_path / "two.toml")]


def test_another_file_of_that_name_is_not_overwritten_and_nothing_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / CFG).write_text("mine")
    assert main(["config", NAME, "--out", str(tmp_path / "my.toml")]) == 2
    assert f"{tmp_path / CFG}: is there already" in capsys.readouterr().err
    assert [file.name for file in tmp_path.iterdir()] == [CFG]
    assert (tmp_path / CFG).read_text() == "mine"


ONE_FILE = [name for name in shipped_configs() if not (config_folder() / f"{name}.cfg").exists()]


@pytest.mark.parametrize("name", ONE_FILE)
def test_the_others_are_one_file(name: str, tmp_path: Path) -> None:
    assert main(["config", name, "--out", str(tmp_path / "my.toml")]) == 0
    assert [file.name for file in tmp_path.iterdir()] == ["my.toml"]
    load_config(tmp_path / "my.toml")


def test_a_users_own_file_that_is_no_toml_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "broken.toml"
    broken.write_text("camera = [")
    assert main(["config", str(broken), "--out", str(tmp_path / "my.toml")]) == 2
    assert "broken.toml: cannot be read" in capsys.readouterr().err
