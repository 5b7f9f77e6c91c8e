"""Which files are taken as dark and lit, what is refused, and what is told of it."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import pytest
import tifffile

from livedenoise.acquire.sources import open_source
from livedenoise.calibrate.finding import Group, find_groups, named_dark
from livedenoise.calibrate.read import read_frames
from livedenoise.cli import main
from livedenoise.core.errors import ConfigError
from livedenoise.report.page import Page
from livedenoise.report.parts import Picture

SHAPE = (24, 32)
PICTURES = ("transfer", "linearity", "defects", "dark_current", "drift")


@pytest.fixture
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw none: most of the time of a small calibration."""
    for name in PICTURES:
        monkeypatch.setattr(f"livedenoise.calibrate.report.{name}_picture", lambda *_: None)
    small = Picture(name="noise", png=b"", caption="")
    monkeypatch.setattr("livedenoise.calibrate.report.noise_picture", lambda *_: small)
    monkeypatch.setattr("livedenoise.calibrate.report.map_pictures", lambda *_: ())


@pytest.fixture
def plain_report(monkeypatch: pytest.MonkeyPatch) -> None:
    """Write no report."""
    page = Page(title="Calibration", sections=())
    monkeypatch.setattr("livedenoise.calibrate.command.measured_page", lambda *_: page)


def stack(level: float, n: int = 8, *, noise: float = 2.0) -> np.ndarray:
    """Return frames of 100 counts offset, so many counts of light at 1 e-/ADU, read noise."""
    rng = np.random.default_rng([round(level), n])
    counts = 100 + rng.poisson(level, (n, *SHAPE)) + rng.normal(0, noise, (n, *SHAPE))
    return np.rint(np.maximum(counts, 0)).astype(np.uint16)


def write(path: Path, frames: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    tifffile.imwrite(path, frames, photometric="minisblack", metadata=None)
    return path


def found(*inputs: Path) -> list[Group]:
    return list(find_groups(inputs, is_single=lambda _: False).groups)


def are_dark(*inputs: Path) -> dict[str, bool]:
    return {group.paths[0].name: group.is_dark for group in found(*inputs)}


def touched(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


@pytest.mark.parametrize(
    ("name", "dark"),
    [
        ("mydark.tif", True),
        ("DarkFrames/1.tif", True),
        ("dark-field.tif", False),
        ("darkroom/1.tif", False),
        ("bias.tif", True),
        ("my_biases_10ms.tif", True),
        ("offset3.tif", True),
        ("unbiased.tif", False),
        ("light_offset_20um.tif", False),
        ("flatfield_bias3V.tif", False),
        ("flat_offset/1.tif", False),
        ("darks_and_lights/1.tif", False),
        ("darks_and_lights/dark_1.tif", True),
        ("dark_light_off.tif", True),
        ("lightsheet_darks/1.tif", True),
        ("brightfield_darks/1.tif", True),
        ("dark_subtracted/1.tif", False),
    ],
)
def test_names_are_read_as_documented(name: str, dark: bool) -> None:
    assert named_dark(Path(name)) is dark


def test_the_name_of_the_folder_given_counts(tmp_path: Path) -> None:
    darks = touched(tmp_path / "x" / "darks", "1.tif", "10ms/2.tif")
    lights = touched(tmp_path / "x" / "lights", "3.tif")
    assert are_dark(darks, lights) == {"1.tif": True, "2.tif": True, "3.tif": False}
    assert are_dark(darks / "1.tif", lights / "3.tif") == {"1.tif": True, "3.tif": False}


def test_names_inside_a_folder_go_before_its_own(tmp_path: Path) -> None:
    mixed = touched(tmp_path / "dark_calibration", "dark.tif", "light_10ms.tif")
    assert are_dark(mixed) == {"dark.tif": True, "light_10ms.tif": False}
    both = touched(tmp_path / "darks_and_lights", "dark.tif", "a.tif")
    assert are_dark(both) == {"dark.tif": True, "a.tif": False}
    for folder in ("flat_darks", "x/flat_darks"):
        nothing_dark = touched(tmp_path / "y" / folder, "1.tif", "2.tif")
        assert nothing_dark.is_dir()
        with pytest.raises(ConfigError, match="flat_darks, whose name says dark and lit"):
            found(tmp_path / "y" / folder.partition("/")[0])
    assert are_dark(both / "a.tif", both / "dark.tif") == {"dark.tif": True, "a.tif": False}
    unsure = touched(tmp_path / "darks", "dark_100ms.tif", "10ms.tif")
    with pytest.raises(ConfigError, match=r"10ms\.tif; but dark_100ms\.tif") as caught:
        found(unsure)
    with pytest.raises(ConfigError, match=r"10ms\.tif; but dark_100ms\.tif"):
        found(*unsure.iterdir())
    assert "--dark" in caught.value.hint


@pytest.mark.usefixtures("no_pictures")
def test_what_was_taken_as_what_is_printed_reported_and_in_the_json(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "x"
    dark = write(data / "darks" / "1.tif", stack(0, 30))
    lit = [write(data / "lights" / f"{level}.tif", stack(level)) for level in (200, 900, 3000)]
    command = ["calibrate", str(data / "darks"), str(data / "lights")]
    assert main([*command, "--out", str(tmp_path / "c"), "--json"]) == 0
    printed = capsys.readouterr()
    told = json.loads(printed.out)
    assert told["taken_as_dark"] == [str(dark)]
    assert told["taken_as_lit"] == [str(path) for path in lit]
    assert f"taken as dark: {dark}" in printed.err
    assert f"taken as lit: {lit[0]}" in printed.err
    report = (tmp_path / "c" / "report.html").read_text(encoding="utf-8")
    assert "taken as dark" in report
    assert str(dark) in report
    assert told["values"]["offset_adu"]["value"] == pytest.approx(100, abs=0.2)


@pytest.mark.parametrize("folder", ["", "bias"])
def test_dark_files_of_different_levels_are_not_merged(tmp_path: Path, folder: str) -> None:
    write(tmp_path / "d" / folder / "dark_a.tif", stack(0))
    write(tmp_path / "d" / folder / "dark_b.tif", stack(0) + np.uint16(300))
    write(tmp_path / "d" / "lit.tif", stack(900))
    with pytest.raises(ConfigError, match="dark files of one exposure differ") as caught:
        read_frames([tmp_path / "d"])
    assert "dark_a.tif has 100." in caught.value.message
    assert "dark_b.tif 400." in caught.value.message


def test_single_dark_images_of_different_levels_are_not_merged(tmp_path: Path) -> None:
    for number, frame in enumerate(stack(0, 6)):
        write(tmp_path / "d" / f"dark_{number}.tif", frame + np.uint16(20 * (number == 4)))
    write(tmp_path / "d" / "lit.tif", stack(900))
    with pytest.raises(ConfigError, match=r"dark_4\.tif 1[12]\d"):
        read_frames([tmp_path / "d"])


def test_dark_files_of_one_mode_may_differ_a_little(tmp_path: Path) -> None:
    write(tmp_path / "d" / "dark_a.tif", stack(0))
    write(tmp_path / "d" / "dark_b.tif", stack(0, 9) + np.uint16(1))
    write(tmp_path / "d" / "lit.tif", stack(900))
    assert next(iter(read_frames([tmp_path / "d"]).darks().values())).n_frames == 17


@pytest.mark.usefixtures("plain_report")
def test_what_calibrations_left_in_the_folder_is_not_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "x"
    write(data / "dark.tif", stack(0, 30))
    for level in (200, 900, 3000):
        write(data / f"{level}.tif", stack(level))
    for folder in ("old.report", "old.partial"):
        write(data / folder / "picture.tif", np.zeros((4, 4), np.uint8))
    command = ["calibrate", str(data), "--json", "--out"]
    assert main([*command, str(data / "c1")]) == 0
    capsys.readouterr()
    assert main([*command, str(data / "c2")]) == 0
    said = capsys.readouterr().err
    assert f"{data / 'c1'}: left out: a calibration" in said
    assert f"{data / 'old.report'}: left out" in said
    with pytest.raises(ConfigError, match="a calibration"):
        found(data / "c1")


def test_counts_above_the_bit_depth_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "dark.tif", stack(0))
    lit = write(tmp_path / "lit.tif", stack(3000))
    with pytest.raises(ConfigError, match=r"and 10 bits hold 1023 only") as caught:
        read_frames([tmp_path], bit_depth=10)
    assert str(lit) in caught.value.message
    assert "--bit-depth 12" in caught.value.hint


@pytest.mark.usefixtures("plain_report")
def test_options_that_the_frames_gainsay_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "d" / "dark.tif", stack(0, 30))
    for level in (200, 900, 3000):
        write(tmp_path / "d" / f"{level}.tif", stack(level))
    command = ["calibrate", str(tmp_path / "d"), "--out", str(tmp_path / "c"), "--json"]
    assert main([*command, "--saturation", "250"]) == 2
    assert "below the dimmest lit series (200.tif)" in capsys.readouterr().err
    assert main([*command, "--saturation", "70000"]) == 2
    assert "above the highest count of 16 bits, 65535" in capsys.readouterr().err
    assert main([*command, "--offset", "150"]) == 0
    (told,) = [w for w in json.loads(capsys.readouterr().out)["warnings"] if "--offset" in w]
    assert "--offset 150 was not used: the dark frames say 100." in told


@pytest.mark.usefixtures("plain_report")
def test_a_failure_tells_its_warnings_and_what_was_taken_as_what(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "d" / "dark.tif", stack(0, 8))
    write(tmp_path / "d" / "lit.tif", np.full((6, *SHAPE), 500, np.uint16))
    write(tmp_path / "d" / "alone" / "one.tif", stack(900, 1)[0])
    command = ["calibrate", str(tmp_path / "d"), "--out", str(tmp_path / "c"), "--json"]
    assert main(command) == 2
    (error,) = json.loads(capsys.readouterr().out)["errors"]
    assert "! alone: one frame only: left out" in error
    assert f"taken as dark: {tmp_path / 'd' / 'dark.tif'}" in error


def test_a_damaged_tiff_is_told_by_us_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    whole = write(tmp_path / "a.tif", stack(0, 4)).read_bytes()
    (tmp_path / "bad.tif").write_bytes(whole[:4] + (len(whole) * 2).to_bytes(4, "little"))
    with caplog.at_level(logging.DEBUG), pytest.raises(ConfigError, match=r"bad\.tif"):
        open_source(tmp_path / "bad.tif")
    assert caplog.records == []
    logging.getLogger("tifffile").warning("somebody else's")
    assert [record.message for record in caplog.records] == ["somebody else's"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["DATA", "--levels", "10"], "--levels does not apply from files"),
        (["DATA", "--resume"], "--resume does not apply from files"),
        (
            ["DATA", "--dark-frames", "200", "--light", "A.B=1,2,3"],
            "--dark-frames, --light does not apply from files",
        ),
        (["DATA", "--read-noise", "1.4"], "--read-noise does not apply from files"),
        (["demo", "--bit-depth", "12"], "--bit-depth does not apply with a camera"),
        (["demo", "--offset", "100"], "--offset does not apply with a camera"),
        (["demo", "--gain-unit", "adu_per_e"], "--gain-unit does not apply with a camera"),
        (["demo", "--dark", "DATA"], "--dark does not apply with a camera"),
        (["demo.toml", "--dark", "DATA"], "files or folders are given beside it"),
        (["demo.toml", "DATA"], "files or folders are given beside it"),
        (["DATA", "--maps", "--flat"], "--flat does not apply with --maps"),
        (["demo", "--levels", "5", "--light", "A.B=1,2,3"], "--levels does not go with --light"),
        (["demo", "--exposure", "5", "--max-exposure", "9"], "does not go with --exposure"),
    ],
)
def test_options_that_would_be_ignored_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], told: str
) -> None:
    data = tmp_path / "x"
    data.mkdir()
    given = [str(data) if part == "DATA" else part for part in arguments]
    assert main(["calibrate", *given, "--out", str(tmp_path / "c"), "--json"]) == 2
    assert told in json.loads(capsys.readouterr().out)["errors"][0]
    assert not (tmp_path / "c").exists()
