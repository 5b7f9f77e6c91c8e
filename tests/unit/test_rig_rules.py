"""Cameras of one rig: who excludes whom, who needs whom; each refusal names both sections."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from livedenoise.core.config import Config, MicroManagerCameraConfig, load_config, parse_config
from livedenoise.core.errors import ConfigError

JAVA = {"kind": "micromanager", "backend": "java"}
PYTHON = {"kind": "micromanager", "config_file": "scope.cfg"}
RIGHT = {
    "kind": "network",
    "name": "right",
    "listen": "tcp://127.0.0.1:5571",
    "width_px": 64,
    "height_px": 48,
}
LEFT = PYTHON | {"name": "left", "forward": {"1": "tcp://127.0.0.1:5571"}}


def loaded(folder: Path, *cameras: dict[str, Any]) -> Config:
    """Return what a whole file with these cameras gives."""
    return parse_config({"camera": list(cameras)}, "rig.toml", base=folder)


def refusal(folder: Path, *cameras: dict[str, Any]) -> str:
    with pytest.raises(ConfigError) as caught:
        loaded(folder, *cameras)
    return str(caught.value)


@pytest.mark.parametrize(
    ("first", "second", "why"),
    [
        (JAVA, JAVA, "both drive the Micro-Manager on 127.0.0.1:4827"),
        (JAVA, JAVA | {"port": 4827, "device": "Camera-2"}, "both drive the Micro-Manager"),
        (JAVA, JAVA | {"mode": "tap"}, "no live view can run meanwhile"),
        (JAVA | {"mode": "tap"}, JAVA, "no live view can run meanwhile"),
        (PYTHON, PYTHON, "both load scope.cfg"),
        (PYTHON, PYTHON | {"config_file": "./sub/../scope.cfg", "device": "B"}, "can be opened"),
    ],
)
def test_two_owners_are_refused_with_the_way_for_several_cameras(
    first: dict[str, Any], second: dict[str, Any], why: str
) -> None:
    cameras = [first | {"name": "left"}, second | {"name": "right"}]
    with pytest.raises(ConfigError) as caught:
        parse_config({"camera": cameras}, "rig.toml")
    text = str(caught.value)
    assert "camera.1 (right) beside camera.0 (left)" in text
    assert why in text
    assert "forward = " in text


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (JAVA, JAVA | {"port": 4828}),
        (JAVA | {"mode": "tap"}, JAVA | {"mode": "tap", "channel": 1}),
        (JAVA | {"mode": "tap"}, JAVA | {"mode": "own", "port": 4828}),
        (PYTHON, JAVA),
        (PYTHON, PYTHON | {"config_file": "other.cfg"}),
    ],
)
def test_what_can_be_side_by_side_may(
    first: dict[str, Any], second: dict[str, Any], tmp_path: Path
) -> None:
    loaded(tmp_path, first | {"name": "left"}, second | {"name": "right"})


def test_one_file_under_two_names_is_found_once_the_folder_is_known(tmp_path: Path) -> None:
    file = tmp_path / "scope.cfg"
    file.touch()
    second = PYTHON | {"config_file": str(file), "name": "right"}
    assert f"both load {file}" in refusal(tmp_path, PYTHON | {"name": "left"}, second)


def test_a_channel_that_is_heard_loads(tmp_path: Path) -> None:
    assert loaded(tmp_path, LEFT, RIGHT).camera[1].name == "right"
    for everywhere in ("tcp://0.0.0.0:5571", "tcp://*:5571", "tcp://localhost:5571"):
        loaded(tmp_path, LEFT, RIGHT | {"listen": everywhere})


@pytest.mark.parametrize(
    ("right", "why"),
    [
        (RIGHT | {"listen": "tcp://127.0.0.1:5572"}, "cameras: right on tcp://127.0.0.1:5572"),
        (RIGHT | {"listen": "tcp://127.0.0.2:5571"}, "network cameras: none"),
        ({"kind": "simulated", "name": "right"}, "network cameras: none"),
        (RIGHT | {"keys": "keys"}, "camera right listens there with keys"),
    ],
)
def test_a_channel_nobody_takes_is_refused(right: dict[str, Any], why: str, tmp_path: Path) -> None:
    text = refusal(tmp_path, LEFT, right)
    assert "rig.toml:camera.0.forward.1 (left): tcp://127.0.0.1:5571: " in text
    assert why in text


def test_two_sections_cannot_send_to_one_network_camera(tmp_path: Path) -> None:
    other = LEFT | {"name": "third", "config_file": "other.cfg"}
    assert "camera right gets another camera's frames" in refusal(tmp_path, LEFT, RIGHT, other)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"forward": {"01": "tcp://127.0.0.1:5571"}}, "forward.01: a channel is a number"),
        ({"forward": {"16": "tcp://127.0.0.1:5571"}}, "forward.16: a channel is a number"),
        ({"forward": {"0": "tcp://127.0.0.1:5571"}}, "forward.0: name another channel than 0"),
        ({"forward": {"1": "tcp://127.0.0.1:x"}}, "is not tcp://127.0.0.1:PORT"),
        (
            {"forward": dict.fromkeys("12", "tcp://127.0.0.1:5571")},
            "forward.1: tcp://127.0.0.1:5571 is named twice",
        ),
        ({"event": [{"exposure_us": 5}]}, "forward and event exclude each other"),
        ({"backend": "java", "mode": "tap"}, 'forward goes with mode = "own"'),
    ],
)
def test_what_cannot_be_forwarded_is_refused(changes: dict[str, Any], why: str) -> None:
    with pytest.raises(ConfigError, match=r"camera\.0: ") as caught:
        parse_config({"camera": [LEFT | changes]}, "rig.toml")
    assert why in str(caught.value)


def test_java_takes_the_file_of_python(tmp_path: Path) -> None:
    keys = {"backend": "java", "name": "scope", "app_path": "mm"}
    (camera,) = loaded(tmp_path, PYTHON | keys).camera
    assert isinstance(camera, MicroManagerCameraConfig)
    assert camera.config_file == Path("scope.cfg")


@pytest.mark.parametrize("folder", ["Micro-Manager", "./mm", "../mm", "nightly/mm"])
def test_a_relative_app_path_starts_at_the_file(folder: str, tmp_path: Path) -> None:
    file = tmp_path / "rig.toml"
    file.write_text(f'[[camera]]\nkind = "micromanager"\napp_path = "{folder}"\n')
    (camera,) = load_config(file).camera
    assert isinstance(camera, MicroManagerCameraConfig)
    assert camera.app_path == str(tmp_path.resolve() / folder)


@pytest.mark.parametrize("folder", ["demo", "auto", "~/mm"])
def test_words_and_the_home_stay_what_they_are(folder: str, tmp_path: Path) -> None:
    (camera,) = loaded(tmp_path, PYTHON | {"app_path": folder}).camera
    assert isinstance(camera, MicroManagerCameraConfig)
    assert camera.app_path == folder
