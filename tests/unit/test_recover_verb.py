"""``livedenoise recover``: exit code, the words people read, and the one JSON object."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest
from record_kit import abandoned, contents, make_header, make_pixels

from livedenoise.core.config import parse_config
from livedenoise.core.errors import ConfigError
from livedenoise.record import recover
from livedenoise.record.run_folder import create_run_folder
from livedenoise.verbs import recovering


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a run whose process is dead."""
    monkeypatch.setattr(recover, "_STAGES_END_S", 0.0)
    monkeypatch.setenv("COLUMNS", "500")
    config = parse_config({"camera": [{"kind": "simulated"}]}, "test")
    path = create_run_folder(tmp_path, "test", config=config, argv=[]).path
    facts = json.loads((path / "run.json").read_text()) | {"born": "another boot:1"}
    (path / "run.json").write_text(json.dumps(facts))
    with abandoned(path / "raw" / "cam", part_size_bytes=1000) as recorder:
        for seq in (0, 1, 4, 5):
            recorder.append(make_header(seq), make_pixels(seq))
    return path


def call(*arguments: str) -> int:
    parser = argparse.ArgumentParser()
    recovering.register(parser.add_subparsers())
    found = parser.parse_args(["recover", *arguments])
    code: int = found.verb(found)
    return code


def test_says_what_is_missing_and_mends(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(str(run)) == 0
    text = capsys.readouterr().out
    assert "recovered" in text
    assert "4 frames in 2 parts" in text
    assert "2 missing" in text
    assert "index.json: missing: the recorder ended without finalising" in text
    assert "summary.json: missing: the run was killed" in text
    assert call(str(run)) == 0
    assert "complete: nothing had to be changed" in capsys.readouterr().out


def test_check_only_changes_nothing(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = contents(run)
    assert call(str(run), "--check-only") == 5
    assert "not complete" in capsys.readouterr().out
    assert contents(run) == before


def test_json_is_one_object(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (run / "raw/cam/part-0001.tif").unlink()
    assert call(str(run), "--json") == 5
    report = json.loads(capsys.readouterr().out)
    assert (report["exit_code"], report["lost"], report["complete"]) == (5, 2, False)
    assert report["streams"][0]["missing"] == {"missing": 2, "pixels_lost": 2}
    assert report["summary"]["recovered"] is True


def test_no_run_folder(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not a run folder"):
        call(str(tmp_path))


@pytest.mark.parametrize("text", ["", "{", "[]"])
def test_a_damaged_summary_is_kept_and_written_anew(run: Path, text: str) -> None:
    (run / "summary.json").write_text(text)
    assert call(str(run), "--check-only") == 5
    assert call(str(run)) == 0
    assert json.loads((run / "summary.json").read_text())["recovered"]
    assert (run / "summary.json.damaged-1").read_text() == text
    assert call(str(run), "--check-only") == 0


def test_a_damaged_configuration_is_no_obstacle(run: Path) -> None:
    (run / "config.json").write_text("{")
    assert call(str(run)) == 0


def test_what_something_still_writes_to_is_left_alone(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recover, "_STAGES_END_S", 60.0)
    monkeypatch.setattr(recover, "_STAGES_WAIT_S", 0.1)
    before = contents(run)
    with pytest.raises(ConfigError, match="something still writes to it"):
        call(str(run))
    assert contents(run) == before
    assert call(str(run), "--force") == 0
