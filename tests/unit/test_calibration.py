"""The calibration folder: what is written is what is read, and what is wrong is named."""

from __future__ import annotations

import tomllib
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from livedenoise.core.calibration import HASH_LENGTH, read_calibration, write_calibration
from livedenoise.core.constants import CameraConstants, CameraMaps
from livedenoise.core.errors import CalibrationError

SENSOR = (6, 9)
CONSTANTS = CameraConstants(
    gain_e_per_adu=0.46, offset_adu=100.25, read_noise_e=1.6, excess_noise_factor=2.0
)


def make_maps(shape: tuple[int, int] = SENSOR) -> CameraMaps:
    ramp = np.arange(shape[0] * shape[1], dtype=np.float32).reshape(shape)
    return CameraMaps(
        offset_adu=100 + ramp / 7, gain_e_per_adu=0.4 + ramp / 1000, variance_adu2=9 + ramp
    )


def write(folder: Path, **changes: object) -> None:
    options: dict[str, object] = {
        "camera": "ORCA",
        "sensor": SENSOR,
        "bit_depth": 16,
        "maps": make_maps(),
    }
    write_calibration(folder, CONSTANTS, **(options | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize("maps", [None, make_maps()], ids=["scalars", "maps"])
def test_what_is_written_is_read(tmp_path: Path, maps: CameraMaps | None) -> None:
    folder = tmp_path / "a" / "calibration"
    written = write_calibration(
        folder, CONSTANTS, camera="ORCA", sensor=SENSOR, bit_depth=16, maps=maps
    )
    found = read_calibration(folder)
    assert (found.camera, found.sensor, found.bit_depth) == ("ORCA", SENSOR, 16)
    assert found.path == folder
    constants = found.constants
    assert constants.gain_e_per_adu == 0.46
    assert constants.offset_adu == 100.25
    assert constants.read_noise_e == 1.6
    assert constants.excess_noise_factor == 2.0
    assert (constants.source, constants.calibration_hash) == ("calibration", found.hash)
    assert written.hash == found.hash
    assert len(found.hash) == HASH_LENGTH
    if maps is None:
        assert found.maps is None
        return
    assert found.maps is not None
    for name in ("offset_adu", "gain_e_per_adu", "variance_adu2"):
        page = getattr(found.maps, name)
        np.testing.assert_array_equal(page, getattr(maps, name))
        assert page.dtype == np.float32
        assert page.flags.c_contiguous


@pytest.mark.parametrize("shape", [(1, 1), (1, 64), (3, 3), (4, 3), (2, 4), (64, 1)])
def test_maps_of_any_size_keep_their_shape(tmp_path: Path, shape: tuple[int, int]) -> None:
    """Three pages of 3 columns must not be taken for one RGB image, nor one row for none."""
    write(tmp_path / "c", sensor=shape, maps=make_maps(shape))
    found = read_calibration(tmp_path / "c").maps
    assert found is not None
    assert found.offset_adu.shape == shape
    np.testing.assert_array_equal(found.variance_adu2, make_maps(shape).variance_adu2)


def test_the_hash_covers_table_and_maps(tmp_path: Path) -> None:
    write(tmp_path / "a")
    write(tmp_path / "same")
    write(tmp_path / "other_name", camera="Zyla")
    write(tmp_path / "no_maps", maps=None)
    moved = make_maps()
    moved.offset_adu[0, 0] += 1
    write(tmp_path / "other_maps", maps=moved)
    names = ("a", "other_name", "no_maps", "other_maps")
    assert len({read_calibration(tmp_path / name).hash for name in names}) == 4
    assert read_calibration(tmp_path / "same").hash == read_calibration(tmp_path / "a").hash


NAMES = ('a "quoted" name', "back\\slash", "line\nbreak\t\x7f\x01", "Kamera \u00fc \U0001f52c", "")


@pytest.mark.parametrize("name", NAMES)
def test_any_camera_name_survives(tmp_path: Path, name: str) -> None:
    write(tmp_path / "c", camera=name, maps=None)
    assert read_calibration(tmp_path / "c").camera == name


def test_numpy_scalars_are_written_as_numbers(tmp_path: Path) -> None:
    constants = CameraConstants(
        gain_e_per_adu=np.float64(0.46), offset_adu=np.float32(99.5), read_noise_e=np.float64(1e-7)
    )
    write_calibration(
        tmp_path / "c",
        constants,
        camera="x",
        sensor=(np.int64(4), np.int32(5)),  # type: ignore[arg-type]
        bit_depth=np.uint8(12),  # type: ignore[arg-type]
    )
    found = read_calibration(tmp_path / "c")
    assert found.constants.read_noise_e == 1e-7
    assert found.constants.offset_adu == 99.5
    assert (found.sensor, found.bit_depth) == ((4, 5), 12)


def test_an_existing_folder_is_not_touched(tmp_path: Path) -> None:
    write(tmp_path / "c")
    before = read_calibration(tmp_path / "c").hash
    with pytest.raises(CalibrationError, match="exists already"):
        write(tmp_path / "c", camera="Zyla")
    assert read_calibration(tmp_path / "c").hash == before


def test_maps_of_another_size_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(CalibrationError, match=r"offset_adu is \(5, 9\) but .* says \(6, 9\)"):
        write(tmp_path / "c", maps=make_maps((5, 9)))
    assert not (tmp_path / "c").exists()


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CalibrationError, match="cannot be written"):
        write(tmp_path / "file" / "c")


GOOD = """
[camera]
name = "ORCA"
width_px = 9
height_px = 6
bit_depth = 16
mode = "slow"

[constants]
gain_e_per_adu = 0.46
offset_adu = 100
read_noise_e = 1.4

[measurement]
date = 2024-05-01
"""


def read_text(tmp_path: Path, text: str) -> None:
    folder = tmp_path / "c"
    folder.mkdir()
    (folder / "camera.toml").write_text(text, encoding="utf-8")
    read_calibration(folder)


def test_a_table_by_hand_is_read(tmp_path: Path) -> None:
    read_text(tmp_path, GOOD)
    found = read_calibration(tmp_path / "c")
    assert found.constants.excess_noise_factor == 1.0
    assert found.constants.offset_adu == 100.0


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("[constants]", "[constant]", "missing required field `constants`"),
        ("gain_e_per_adu", "gain", "unknown field `gain`"),
        ("gain_e_per_adu = 0.46\n", "", "missing required field `gain_e_per_adu`"),
        ("read_noise_e = 1.4", "read_noise_e = 1.4\nexcess_noise = 2", "field `excess_noise`"),
        ("0.46", '"0.46"', "Expected `float`, got `str`"),
        ("0.46", "true", "Expected `float`, got `bool`"),
        ("0.46", "0.0", "gain_e_per_adu must be > 0, got 0.0"),
        ("0.46", "nan", "must be finite"),
        ("1.4", "-1.4", "read_noise_e must be >= 0, got -1.4"),
        ("width_px = 9", "width_px = 9.5", "Expected `int`, got `float`"),
        ("width_px = 9", "width_px = 0", "`int` >= 1"),
        ("bit_depth = 16", "bit_depth = 64", "`int` <= 32"),
        ("[camera]", "camera = 3\n[other]", "Expected `object`, got `int`"),
        ("[camera]", "[camera", "not valid TOML"),
    ],
)
def test_a_wrong_table_is_refused_with_the_key(
    tmp_path: Path, old: str, new: str, problem: str
) -> None:
    assert old in GOOD
    with pytest.raises(CalibrationError) as caught:
        read_text(tmp_path, GOOD.replace(old, new, 1))
    assert problem in caught.value.message
    assert "camera.toml" in caught.value.message


def test_a_table_that_is_not_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "camera.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(CalibrationError, match="not valid TOML"):
        read_calibration(tmp_path)


def test_what_is_no_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / "nothing", tmp_path / "file", tmp_path):
        with pytest.raises(CalibrationError, match=r"camera\.toml is missing"):
            read_calibration(path)
    (tmp_path / "camera.toml").mkdir()
    with pytest.raises(CalibrationError, match="cannot be read"):
        read_calibration(tmp_path)


def replace_maps(folder: Path, pages: np.ndarray) -> None:
    write(folder)
    tifffile.imwrite(folder / "maps.tif", pages, photometric="minisblack")


def pages_with(value: float, page: int) -> np.ndarray:
    pages = np.ones((3, *SENSOR), np.float32)
    pages[page, 2, 3] = value
    return pages


@pytest.mark.parametrize(
    ("pages", "problem"),
    [
        (np.ones(SENSOR, np.float32), r"expected 3 pages .* got \(1, 6, 9\)"),
        (np.ones((4, *SENSOR), np.float32), r"expected 3 pages .* got \(4, 6, 9\)"),
        (np.ones((3, 6, 8), np.float32), r"is \(6, 8\) but camera.toml says \(6, 9\)"),
        (pages_with(np.nan, 0), "maps must be finite"),
        (pages_with(0.0, 1), "gain > 0"),
        (pages_with(-1.0, 2), "variance >= 0"),
    ],
)
def test_wrong_maps_are_refused(tmp_path: Path, pages: np.ndarray, problem: str) -> None:
    replace_maps(tmp_path / "c", pages)
    with pytest.raises(CalibrationError, match=problem):
        read_calibration(tmp_path / "c")


def test_maps_in_one_series_as_other_programs_write_them_are_read(tmp_path: Path) -> None:
    replace_maps(tmp_path / "c", np.full((3, *SENSOR), 2.5, np.float64))
    found = read_calibration(tmp_path / "c").maps
    assert found is not None
    assert (found.gain_e_per_adu == 2.5).all()


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_damaged_maps_give_a_calibration_or_a_calibration_error(
    tmp_path: Path, data: st.DataObject
) -> None:
    folder = tmp_path / "c"
    if not folder.exists():
        write(folder)
        (tmp_path / "whole").write_bytes((folder / "maps.tif").read_bytes())
    whole = bytearray((tmp_path / "whole").read_bytes())
    if data.draw(st.booleans()):
        del whole[data.draw(st.integers(0, len(whole) - 1)) :]
    for _ in range(data.draw(st.integers(0, 6))):
        if whole:
            whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    (folder / "maps.tif").write_bytes(whole)
    try:
        found = read_calibration(folder)
    except CalibrationError:
        return
    assert found.maps is not None
    assert found.maps.offset_adu.shape == SENSOR


def test_further_tables_are_kept_and_hashed(tmp_path: Path) -> None:
    write(tmp_path / "plain")
    write(tmp_path / "more", mode="16 bit", extra="[measured]\ngain_error = 0.01\n")
    text = (tmp_path / "more" / "camera.toml").read_text(encoding="utf-8")
    assert tomllib.loads(text)["measured"] == {"gain_error": 0.01}
    assert tomllib.loads(text)["camera"]["mode"] == "16 bit"
    assert read_calibration(tmp_path / "more").hash != read_calibration(tmp_path / "plain").hash


@pytest.mark.parametrize("extra", ["[measured", "[camera]\nname = 'x'\n", "[camera.more]\na = 1\n"])
def test_further_tables_that_are_wrong_leave_nothing(tmp_path: Path, extra: str) -> None:
    with pytest.raises(CalibrationError, match="further tables"):
        write(tmp_path / "c", extra=extra)
    assert not (tmp_path / "c").exists()
