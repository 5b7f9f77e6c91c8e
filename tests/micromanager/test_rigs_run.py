"""Rigs of several cameras as users start them: from a copied file, and where a channel is lost."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

from livedenoise.cli import main
from livedenoise.core.config import Config, load_config
from livedenoise.hardware import config_folder
from livedenoise.testing.live import LiveRun

Start = Callable[..., LiveRun]
LOST = "frames of other channels are in no stream"
NOT_TAKEN = "frames of other channels were not taken by their network cameras"


def free_endpoint() -> str:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return f"tcp://127.0.0.1:{found.getsockname()[1]}"


def copied(folder: Path) -> dict[str, Any]:
    """Return the configuration of two cameras as a user gets it, loaded where it was copied to."""
    target = folder / "my.toml"
    assert main(["config", "micromanager_two_cameras", "--out", str(target)]) == 0
    data = load_config(target).model_dump(mode="json")
    assert Path(data["camera"][0]["config_file"]) == folder.resolve() / (
        "micromanager_two_cameras.cfg"
    )
    data["denoise"]["engine"] = "identity"
    data["view"]["enabled"] = False
    data["camera"][0] |= {"exposure_us": 5000, "buffer_mb": 64}
    return data


def as_config(data: dict[str, Any]) -> Config:
    return Config.model_validate_json(json.dumps(data))


def test_a_rate_that_is_not_kept_is_in_the_notes(start: Start) -> None:
    data = load_config(config_folder() / "micromanager_demo.toml").model_dump(mode="json")
    data["denoise"]["engine"] = "identity"
    data["view"]["enabled"] = False
    fast = {"PixelType": "16bit", "OnCameraCCDXSize": 64, "OnCameraCCDYSize": 48, "FastImage": 1}
    changes = {"properties": {"Camera": fast}, "exposure_us": 2000, "buffer_mb": 16}
    data["camera"][0] |= changes | {"rate_hz": 10.0}
    summary = start(as_config(data), frames=100).result()
    assert (summary.exit_code, summary.recorded) == (0, 100)
    assert summary.fps_in > 100
    assert any("frames do not come at camera.rate_hz" in note for note in summary.notes)


def test_a_copied_configuration_runs(start: Start, tmp_path: Path) -> None:
    data, endpoint = copied(tmp_path), free_endpoint()
    data["camera"][0]["forward"] = {"1": endpoint}
    data["camera"][1]["listen"] = endpoint
    summary = start(as_config(data), frames=10).result()
    assert (summary.exit_code, summary.errors) == (0, [])
    assert [stream.recorded for stream in summary.streams] == [10, 10]
    assert not any(LOST in note or NOT_TAKEN in note for note in summary.notes)


def test_a_channel_that_is_left_out_is_in_the_notes(start: Start, tmp_path: Path) -> None:
    data = copied(tmp_path)
    data["camera"] = [data["camera"][0] | {"forward": {}}]
    summary = start(as_config(data), frames=10).result()
    assert (summary.exit_code, summary.recorded) == (0, 10)
    (note,) = [note for note in summary.notes if LOST in note]
    assert note.startswith("left: ")
    assert "camera.forward" in note


def test_a_channel_that_nobody_takes_is_in_the_notes(start: Start, tmp_path: Path) -> None:
    data = copied(tmp_path)
    data["camera"] = [data["camera"][0] | {"forward": {"1": free_endpoint()}}]
    summary = start(as_config(data), frames=10).result()
    assert summary.recorded == 10
    assert any(note.startswith("left: ") and NOT_TAKEN in note for note in summary.notes)
