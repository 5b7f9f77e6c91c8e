"""The run folder: never overwritten, never half written, enough to repeat the run."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import numpy as np
import pytest

import livedenoise
from livedenoise.core.camera import CameraInfo
from livedenoise.core.config import Config, parse_config
from livedenoise.core.constants import CameraConstants
from livedenoise.core.errors import ConfigError, RecordError
from livedenoise.record.run_folder import (
    CameraRecord,
    RunFolder,
    create_run_folder,
    is_run_folder,
    open_run,
)

TEXT = 'name = "test"\n\n[[camera]]\nkind = "simulated"\nname = "sim"\n'
CONSTANTS = CameraConstants(gain_e_per_adu=0.5, offset_adu=100.0, read_noise_e=1.5)


def make_config() -> Config:
    return parse_config(tomllib.loads(TEXT), "test")


def make_run(base: Path) -> RunFolder:
    return create_run_folder(
        base, "test", config=make_config(), config_text=TEXT, argv=["livedenoise", "run", "x.toml"]
    )


def test_holds_what_repeats_the_run(tmp_path: Path) -> None:
    folder = make_run(tmp_path)
    assert (folder.path / "config.toml").read_text() == TEXT
    assert Config.model_validate_json((folder.path / "config.json").read_text()) == make_config()
    run = open_run(folder.path)
    assert run.facts.run_id == folder.run_id
    assert run.facts.argv == ["livedenoise", "run", "x.toml"]
    machine = run.facts.machine
    assert machine.livedenoise == livedenoise.__version__
    assert machine.packages["numpy"] == np.__version__
    assert machine.cpu
    assert machine.cpu_count >= 1
    assert run.summary is None
    assert run.streams == ()


def test_name_holds_the_moment_and_the_given_name(tmp_path: Path) -> None:
    date, time, name = make_run(tmp_path).path.name.split("-")
    assert (len(date), len(time), name.split("-")[0]) == (8, 6, "test")


def test_runs_of_one_second_never_share_a_folder(tmp_path: Path) -> None:
    folders = [make_run(tmp_path) for _ in range(5)]
    assert len({folder.path for folder in folders}) == 5
    assert len({folder.run_id for folder in folders}) == 5
    assert all(is_run_folder(folder.path) for folder in folders)


def test_summary_is_whole_or_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_run(tmp_path)
    folder.write_summary({"captured": 1})

    def fail(path: Path, target: Path) -> Path:
        raise OSError(28, "injected fault")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(RecordError, match=r"summary\.json: cannot be written: .*injected fault"):
        folder.write_summary({"captured": 2})
    monkeypatch.undo()
    assert open_run(folder.path).summary == {"captured": 1}
    assert not list(folder.path.glob(".*"))


def test_streams_are_found_by_their_sidecars(tmp_path: Path) -> None:
    folder = make_run(tmp_path)
    for stream, camera in (("raw", "b"), ("raw", "a"), ("clean", "a")):
        place = folder.stream_folder(stream, camera)
        place.mkdir(parents=True)
        (place / "frames.jsonl").touch()
    folder.stream_folder("clean", "b").mkdir()
    run = open_run(folder.path)
    assert run.cameras("raw") == ["a", "b"]
    assert run.cameras("clean") == ["a"]
    assert run.streams[0].path == folder.path / "raw" / "a"
    truth = folder.truth_file("a")
    assert truth.parent.is_dir()
    assert truth.parent.parent == folder.path / "truth"


def test_constants_come_from_the_camera_notes_then_from_the_summary(tmp_path: Path) -> None:
    folder = make_run(tmp_path)
    assert open_run(folder.path).constants("sim") is None
    streams = [
        {"camera": "other", "constants": {}},
        {
            "camera": "sim",
            "constants": {"gain_e_per_adu": 2.0, "offset_adu": 3.0, "read_noise_e": 4.0},
        },
    ]
    folder.write_summary({"streams": streams})
    from_summary = open_run(folder.path).constants("sim")
    assert from_summary is not None
    assert from_summary.gain_e_per_adu == 2.0
    info = CameraInfo(name="sim", kind="simulated", sensor=(4, 6), dtype="<u2", bit_depth=16)
    folder.note_camera("sim", CameraRecord(info=info, constants=CONSTANTS))
    folder.note_camera("other", CameraRecord(info=info))
    run = open_run(folder.path)
    assert run.constants("sim") == CONSTANTS
    assert run.facts.cameras["sim"].info == info


def test_damaged_summary_constants_are_named(tmp_path: Path) -> None:
    folder = make_run(tmp_path)
    folder.write_summary({"streams": [{"camera": "sim", "constants": {"gain_e_per_adu": -1}}]})
    with pytest.raises(ConfigError, match=r"summary\.json: damaged"):
        open_run(folder.path).constants("sim")


def test_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"run\.json is missing"):
        open_run(tmp_path)


@pytest.mark.parametrize("content", ["{", "[]", "{}", "\0\0"])
def test_damaged_run_facts_are_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "run.json").write_text(content)
    with pytest.raises(ConfigError, match=r"run\.json: (damaged|cannot be read)"):
        open_run(tmp_path)


def test_run_of_a_newer_version_is_refused_with_both_numbers(tmp_path: Path) -> None:
    folder = make_run(tmp_path)
    facts = json.loads((folder.path / "run.json").read_text())
    (folder.path / "run.json").write_text(json.dumps(facts | {"version": 99}))
    with pytest.raises(ConfigError, match=r"version 99, this program reads up to 1"):
        open_run(folder.path)


def test_base_that_is_a_file_is_refused(tmp_path: Path) -> None:
    base = tmp_path / "runs"
    base.touch()
    with pytest.raises(RecordError, match="runs"):
        make_run(base)
