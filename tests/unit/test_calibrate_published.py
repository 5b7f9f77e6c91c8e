"""Published maps become our calibration: units as the user says, none guessed, none unpickled."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import numpy as np
import pytest
import tifffile

from livedenoise.calibrate.published import read_published
from livedenoise.cli import main
from livedenoise.core.calibration import read_calibration
from livedenoise.core.errors import CalibrationError

SHAPE = (9, 14)
REAL = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "scmos_maps"


def maps() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(2)
    return {
        "gain": rng.normal(2.0, 0.02, SHAPE).astype(np.float32),
        "offset": rng.normal(100, 1, SHAPE).astype(np.float32),
        "variance": rng.uniform(4, 9, SHAPE).astype(np.float32),
    }


def write(folder: Path, images: dict[str, np.ndarray]) -> Path:
    folder.mkdir(exist_ok=True)
    for name, image in images.items():
        tifffile.imwrite(folder / f"{name}.tif", image)
    return folder


@pytest.mark.parametrize("unit", ["e_per_adu", "adu_per_e"])
def test_a_folder_of_maps_is_taken_in_the_unit_named(tmp_path: Path, unit: str) -> None:
    images = maps()
    found = read_published(write(tmp_path / "m", images), gain_unit=unit)  # type: ignore[arg-type]
    gain = images["gain"] if unit == "e_per_adu" else 1 / images["gain"].astype(np.float64)
    np.testing.assert_allclose(found.maps.gain_e_per_adu, gain, rtol=1e-6)
    np.testing.assert_array_equal(found.maps.offset_adu, images["offset"])
    np.testing.assert_allclose(found.maps.variance_adu2, images["variance"], rtol=1e-6)
    noise = np.sqrt(np.mean(images["variance"] * gain**2))
    assert found.constants.read_noise_e == pytest.approx(noise, rel=1e-6)
    assert found.constants.gain_e_per_adu == pytest.approx(np.median(gain), rel=1e-6)
    assert found.sources == ("gain: gain.tif", "offset: offset.tif", "variance: variance.tif")
    assert found.warnings == ()


@pytest.mark.parametrize("unit", ["adu", "e"])
def test_a_noise_map_is_squared_in_its_unit(tmp_path: Path, unit: str) -> None:
    images = maps()
    images["read_noise"] = np.sqrt(images.pop("variance"))
    folder = write(tmp_path / "m", images)
    with pytest.raises(CalibrationError, match="noise map") as caught:
        read_published(folder, gain_unit="e_per_adu")
    assert "--noise-unit" in caught.value.hint
    found = read_published(folder, gain_unit="e_per_adu", noise_unit=unit)  # type: ignore[arg-type]
    scale = 1.0 if unit == "adu" else images["gain"]
    expected = (images["read_noise"] / scale) ** 2
    np.testing.assert_allclose(found.maps.variance_adu2, expected, rtol=1e-5)


def test_what_is_missing_or_ambiguous_is_named(tmp_path: Path) -> None:
    images = maps()
    folder = write(tmp_path / "m", images)
    with pytest.raises(CalibrationError, match="does not say its unit") as caught:
        read_published(folder, gain_unit=None)
    assert "adu_per_e" in caught.value.hint
    write(folder, {"my_gain": images["gain"]})
    with pytest.raises(CalibrationError, match=r"both gain\.tif and my_gain\.tif"):
        read_published(folder, gain_unit="e_per_adu")
    (folder / "my_gain.tif").unlink()
    (folder / "variance.tif").unlink()
    with pytest.raises(CalibrationError, match="no map of the variance"):
        read_published(folder, gain_unit="e_per_adu")
    found = read_published(folder, gain_unit="e_per_adu", read_noise_e=1.5)
    assert found.constants.read_noise_e == pytest.approx(1.5)
    assert "1.5 e rms is taken for every pixel" in found.warnings[0]
    (folder / "offset.tif").unlink()
    with pytest.raises(CalibrationError, match="no map of the offset"):
        read_published(folder, gain_unit="e_per_adu")
    write(folder, {"offset": images["offset"][1:]})
    with pytest.raises(CalibrationError, match="differ in size"):
        read_published(folder, gain_unit="e_per_adu", read_noise_e=1.5)


def test_few_pixels_without_a_gain_get_the_median_and_many_are_refused(tmp_path: Path) -> None:
    images = maps()
    images["gain"][2, 3] = 0.0
    found = read_published(write(tmp_path / "m", images), gain_unit="adu_per_e")
    assert found.warnings == ("1 pixels without a gain were given the median",)
    assert found.maps.gain_e_per_adu[2, 3] == pytest.approx(1 / np.median(images["gain"]), rel=0.01)
    images["gain"][:2] = np.nan
    with pytest.raises(CalibrationError, match="zero, negative or no number"):
        read_published(write(tmp_path / "m", images), gain_unit="adu_per_e")


def test_plain_arrays_are_read_and_pickles_refused(tmp_path: Path) -> None:
    images = maps()
    planes = [images["offset"], images["variance"], images["gain"]]
    np.save(tmp_path / "plain.npy", np.stack(planes))
    found = read_published(tmp_path / "plain.npy", gain_unit="adu_per_e")
    np.testing.assert_array_equal(found.maps.offset_adu, images["offset"])
    np.testing.assert_allclose(found.maps.gain_e_per_adu, 1 / images["gain"], rtol=1e-6)
    listed = np.empty(5, dtype=object)
    listed[:] = [*planes, np.ones(SHAPE), 2]
    np.save(tmp_path / "list.npy", listed, allow_pickle=True)
    with pytest.raises(CalibrationError, match="without running what it contains") as caught:
        read_published(tmp_path / "list.npy", gain_unit="adu_per_e")
    assert "np.stack" in caught.value.hint
    np.save(tmp_path / "flat.npy", images["gain"])
    with pytest.raises(CalibrationError, match="expected an array"):
        read_published(tmp_path / "flat.npy", gain_unit="adu_per_e")
    with pytest.raises(CalibrationError, match="no such file"):
        read_published(tmp_path / "absent.npy", gain_unit="adu_per_e")


def test_a_damaged_map_is_named(tmp_path: Path) -> None:
    folder = write(tmp_path / "m", maps())
    (folder / "gain.tif").write_bytes(b"II*\0")
    with pytest.raises(CalibrationError, match=r"gain\.tif: cannot be read"):
        read_published(folder, gain_unit="e_per_adu")


@pytest.mark.skipif(not REAL.is_dir(), reason="real maps are not on this machine")
def test_real_maps_become_a_calibration(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "camera"
    command = ["calibrate", str(REAL), "--maps", "--out", str(out), "--json"]
    assert main(command) == 2
    assert "does not say its unit" in json.loads(capsys.readouterr().out)["errors"][0]
    assert main([*command, "--gain-unit", "adu_per_e", "--read-noise", "1.4"]) == 0
    capsys.readouterr()
    found = read_calibration(out)
    assert found.sensor == (256, 256)
    assert found.maps is not None
    assert found.maps.offset_adu.min() == 47
    assert found.constants.read_noise_e == pytest.approx(1.4)
    table = tomllib.loads((out / "camera.toml").read_text(encoding="utf-8"))
    assert table["measured"]["gain_e_per_adu"]["status"] == "given"
    assert "nothing was measured" in (out / "report.html").read_text(encoding="utf-8")


def test_what_is_said_of_the_noise_beside_a_map_of_it_is_refused(tmp_path: Path) -> None:
    folder = write(tmp_path / "m", maps())
    with pytest.raises(CalibrationError, match=r"--read-noise 1\.5 does not apply"):
        read_published(folder, gain_unit="e_per_adu", read_noise_e=1.5)
    with pytest.raises(CalibrationError, match="--noise-unit adu does not apply"):
        read_published(folder, gain_unit="e_per_adu", noise_unit="adu")
