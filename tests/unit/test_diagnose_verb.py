"""``livedenoise diagnose``: one strict JSON object, sentences and tables, exit codes."""

import json
from pathlib import Path

import diagnose_kit as kit
import numpy as np
import pytest
import tifffile

from livedenoise import cli


def refuse(constant: str) -> None:
    raise AssertionError(f"{constant} is no JSON")


@pytest.fixture
def frames(tmp_path: Path) -> Path:
    path = tmp_path / "frames.tif"
    tifffile.imwrite(path, kit.movie(8, size=128), photometric="minisblack")
    return path


def test_json_is_one_strict_object(frames: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["diagnose", str(frames), "--json"]) == 0
    found = json.loads(capsys.readouterr().out, parse_constant=refuse)
    assert found["exit_code"] == 0
    assert found["path"] == str(frames)
    assert found["shape"] == [128, 128]
    assert found["gain"]["unit"] == "e/count"
    assert {m["name"] for m in found["methods"]} == {"care", "n2n", "n2v", "pg", "structn2v"}
    assert all(m["why"] for m in found["methods"])
    assert found["summary"]


def test_json_of_constant_frames_is_strict_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "constant.tif"
    tifffile.imwrite(path, np.full((3, 64, 64), 9, np.uint16), photometric="minisblack")
    assert cli.main(["diagnose", str(path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out, parse_constant=refuse)
    assert found["gain"]["value"] is None
    assert found["gain"]["note"]


def test_people_read_sentences_numbers_and_verdicts(
    frames: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["diagnose", str(frames)]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "8 frames of 128 x 128 px, 16 bit" in text
    assert "The variance follows the mean" in text
    assert "independent noise" in text
    assert "correlation, next frame" in text
    assert "Noise2Noise" in text


@pytest.mark.parametrize("as_json", [False, True])
@pytest.mark.parametrize("kind", ["missing", "folder", "text", "rgb", "small", "nan"])
def test_what_cannot_be_read_is_exit_2_with_the_path(
    tmp_path: Path,
    kind: str,
    as_json: bool,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / f"{kind}.tif"
    _make(path, kind)
    assert cli.main(["diagnose", str(path), *(["--json"] if as_json else [])]) == 2
    captured = capsys.readouterr()
    if as_json:
        found = json.loads(captured.out, parse_constant=refuse)
        assert found["exit_code"] == 2
        assert kind in json.dumps(found["errors"])
    else:
        assert kind in captured.err
        assert "Traceback" not in captured.err


def _make(path: Path, kind: str) -> None:
    if kind == "folder":
        path.mkdir()
    elif kind == "text":
        path.write_text("no image")
    elif kind == "rgb":
        tifffile.imwrite(path, np.zeros((64, 64, 3), np.uint8), photometric="rgb")
    elif kind == "small":
        tifffile.imwrite(path, np.zeros((3, 20, 64), np.uint16), photometric="minisblack")
    elif kind == "nan":
        tifffile.imwrite(path, np.full((3, 64, 64), np.nan, np.float32), photometric="minisblack")
