"""Calibration from files: which belong together, and that every layout gives the same numbers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from ndstorage import NDTiffDataset

from livedenoise.batch.predict import predict
from livedenoise.calibrate.finding import named_dark, named_exposure_us
from livedenoise.calibrate.read import read_frames
from livedenoise.cli import main
from livedenoise.core.calibration import read_calibration
from livedenoise.core.camera_config import SensorConfig
from livedenoise.core.errors import ConfigError
from livedenoise.imaging.sensor import draw_maps, expose, sensor_constants, true_electrons
from livedenoise.testing.tiny_package import write_tiny_package

SHAPE = (40, 56)
SENSOR = SensorConfig(
    width_px=SHAPE[1],
    height_px=SHAPE[0],
    bit_depth=12,
    dark_current_e_per_s=0.0,
    hot_pixel_fraction=0.0,
)
MAPS = draw_maps(SENSOR, 5)
LIGHT_MS = (2, 5, 10, 20)
FMD = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "fmd_confocal_bpae_b_fov1"


def frames_at(exposure_ms: float, n: int, *, dark: bool = False, seed: int = 0) -> np.ndarray:
    """Return frames of a ramp of light by the simulated sensor."""
    rng = np.random.default_rng([seed, round(exposure_ms * 1000), dark])
    ramp = np.linspace(500, 60_000, SHAPE[1], dtype=np.float32)
    flux = np.broadcast_to(0 * ramp if dark else ramp, SHAPE).astype(np.float32)
    mean_e = true_electrons(flux, MAPS, SENSOR, exposure_ms * 1000)
    return np.stack([expose(mean_e, MAPS, SENSOR, rng) for _ in range(n)])


def write(path: Path, stack: np.ndarray, **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    plain = {"photometric": "minisblack", "metadata": None}
    tifffile.imwrite(path, stack, **(plain | options))
    return path


def stacks_by_name(root: Path) -> None:
    write(root / "dark_10ms.tif", frames_at(10, 30, dark=True))
    for ms in LIGHT_MS:
        write(root / f"light_{ms}ms.tif", frames_at(ms, 16))


def folders_of_single_images(root: Path) -> None:
    for number, frame in enumerate(frames_at(10, 30, dark=True)):
        write(root / "darks" / "10 ms" / f"img{number}.tif", frame)
    for ms in LIGHT_MS:
        for number, frame in enumerate(frames_at(ms, 16)):
            write(root / "levels" / f"{ms}ms" / f"img{number}.tif", frame)


def single_images_of_one_folder(root: Path) -> None:
    for number, frame in enumerate(frames_at(10, 30, dark=True)):
        write(root / f"bias_10ms_{number}.tif", frame)
    for ms in LIGHT_MS:
        for number, frame in enumerate(frames_at(ms, 16)):
            write(root / f"flat_{ms}ms_{number}.tif", frame)


def ome_with_exposures(root: Path) -> None:
    def planes(exposures: list[float]) -> dict[str, Any]:
        n = len(exposures)
        plane = {"ExposureTime": exposures, "ExposureTimeUnit": ["ms"] * n}
        return {"axes": "TYX", "Plane": plane, "SignificantBits": 12}

    write(root / "a_dark.ome.tif", frames_at(10, 30, dark=True), metadata=planes([10] * 30))
    lit = np.concatenate([frames_at(ms, 16) for ms in LIGHT_MS])
    exposures = [float(ms) for ms in LIGHT_MS for _ in range(16)]
    write(root / "repeats.ome.tif", lit, metadata=planes(exposures))


def ndtiff_with_exposures(root: Path) -> None:
    write(root / "dark_10ms.tif", frames_at(10, 30, dark=True))
    dataset = NDTiffDataset(str(root / "ladder"), summary_metadata={}, writable=True)
    stacks = {ms: frames_at(ms, 16) for ms in LIGHT_MS}
    for number in range(16):
        for level, ms in enumerate(LIGHT_MS):
            facts = {"Exposure": float(ms), "BitDepth": 12}
            dataset.put_image({"time": number, "level": level}, stacks[ms][number], facts)
    dataset.current_writer.reader.close()
    dataset.finish()
    dataset.close()


@pytest.mark.parametrize(
    "layout",
    [
        stacks_by_name,
        folders_of_single_images,
        single_images_of_one_folder,
        ome_with_exposures,
        ndtiff_with_exposures,
    ],
)
def test_every_layout_gives_the_same_series(tmp_path: Path, layout: Any) -> None:
    layout(tmp_path / "data")
    data = read_frames([tmp_path / "data"], bit_depth=12)
    assert data.bit_depth == 12
    assert data.sensor == SHAPE
    assert {k: s.n_frames for k, s in data.darks().items()} == {10_000.0: 30}
    lit = data.lit()
    assert [s.exposure_us for s in lit] == [1000.0 * ms for ms in LIGHT_MS]
    assert [s.light for s in lit] == [1.0] * 4
    for series, ms in zip(lit, LIGHT_MS, strict=True):
        expected = frames_at(ms, 16).mean(axis=0)
        np.testing.assert_allclose(series.summary.mean_adu, expected, rtol=1e-6)
    assert any("taken to be the same" in note for note in data.notes)


def test_options_name_what_names_do_not(tmp_path: Path) -> None:
    black = write(tmp_path / "black.tif", frames_at(10, 6, dark=True))
    lit = write(tmp_path / "darkfield_lamp.tif", frames_at(10, 6))
    data = read_frames([], darks=[black], lights=[lit])
    assert [s.is_dark for s in data.series] == [True, False]
    assert data.lit()[0].light is None
    assert data.camera == "darkfield_lamp"


def test_dark_stacks_of_one_exposure_are_one_series(tmp_path: Path) -> None:
    for part in range(2):
        write(tmp_path / f"dark_{part}.tif", frames_at(10, 8, dark=True, seed=part))
    write(tmp_path / "lit.tif", frames_at(10, 6))
    data = read_frames([tmp_path])
    assert {k: s.n_frames for k, s in data.darks().items()} == {0.0: 16}


@pytest.mark.parametrize(
    ("other", "told"),
    [
        (np.zeros((6, 8, 8), np.uint16), "shape is"),
        (np.zeros((6, *SHAPE), np.uint8), "dtype is"),
        (np.zeros((6, *SHAPE), np.float32), "needs the camera's counts"),
    ],
)
def test_frames_that_do_not_belong_together_are_named(
    tmp_path: Path, other: np.ndarray, told: str
) -> None:
    write(tmp_path / "a.tif", frames_at(10, 6))
    write(tmp_path / "b_dark.tif", other)
    with pytest.raises(ConfigError, match=told) as caught:
        read_frames([tmp_path])
    assert "b_dark.tif" in caught.value.message


def test_what_cannot_be_calibrated_from_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file or folder"):
        read_frames([tmp_path / "absent"])
    with pytest.raises(ConfigError, match="no TIFF, PNG"):
        read_frames([tmp_path])
    write(tmp_path / "d" / "dark.tif", frames_at(10, 6, dark=True))
    with pytest.raises(ConfigError, match="every series is dark"):
        read_frames([tmp_path / "d"])
    write(tmp_path / "d" / "gain.tif", frames_at(10, 1)[0])
    with pytest.raises(ConfigError, match="every series is dark, or has one frame") as caught:
        read_frames([tmp_path / "d"])
    assert "--maps" in caught.value.hint
    (tmp_path / "d" / "manifest.jsonl").write_text("{}\n")
    with pytest.raises(ConfigError, match="a data set of pairs"):
        read_frames([tmp_path / "d"])


@pytest.mark.parametrize(
    ("name", "dark", "exposure_us"),
    [
        ("dark.tif", True, 0),
        ("Dark_100us.tif", True, 100),
        ("my_darks/img 0.5s.tif", True, 500_000),
        ("bias/x.tif", True, 0),
        ("darkfield.tif", False, 0),
        ("sample_2p5ms_003.ome.tif", False, 2500),
        ("20ms/frame10.tif", False, 20_000),
        ("mass.tif", False, 0),
        ("items/12msec.tif", False, 0),
    ],
)
def test_names_say_dark_and_exposure(name: str, dark: bool, exposure_us: int) -> None:
    assert named_dark(Path(name)) is dark
    assert named_exposure_us(Path(name)) == exposure_us


def test_the_verb_writes_a_calibration_that_predict_takes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stacks_by_name(tmp_path / "data")
    out = tmp_path / "camera"
    command = ["calibrate", str(tmp_path / "data"), "--out", str(out), "--bit-depth", "12"]
    assert main([*command, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    truth = sensor_constants(SENSOR)
    found = read_calibration(out)
    assert found.hash == told["hash"]
    assert found.constants.gain_e_per_adu == pytest.approx(truth.gain_e_per_adu, rel=0.02)
    assert found.constants.offset_adu == pytest.approx(truth.offset_adu, abs=0.1)
    assert found.maps is not None
    assert (out / "report.html").stat().st_size > 50_000
    assert {p.name for p in out.iterdir()} == {"camera.toml", "maps.tif", "report.html", "report"}
    movie = write(tmp_path / "movie.tif", frames_at(5, 2))
    model = write_tiny_package(tmp_path / "model")
    (result,) = predict(movie, tmp_path / "clean.tif", model=model, calibration=out)
    assert result.constants is not None
    assert result.constants.calibration_hash == found.hash
    assert main(command) == 2
    assert "exists already" in capsys.readouterr().err


def test_dark_and_lit_mistaken_for_each_other_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lit = write(tmp_path / "lit.tif", frames_at(10, 8))
    dark = write(tmp_path / "covered.tif", frames_at(10, 8, dark=True))
    command = ["calibrate", "--dark", str(lit), "--lit", str(dark), "--out", str(tmp_path / "c")]
    assert main(command) == 2
    assert "mistaken for each other" in capsys.readouterr().err


@pytest.mark.parametrize("stuck", [500, 4095])
def test_frames_without_noise_end_with_a_report(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], stuck: int
) -> None:
    write(tmp_path / "d" / "dark.tif", frames_at(10, 24, dark=True))
    write(tmp_path / "d" / "lit.tif", np.full((6, *SHAPE), stuck, np.uint16))
    command = ["calibrate", str(tmp_path / "d"), "--bit-depth", "12", "--out", str(tmp_path / "c")]
    assert main(command) == 2
    assert "gain_e_per_adu" in capsys.readouterr().err
    assert (tmp_path / "c.report" / "report.html").exists()


def test_without_a_gain_the_report_says_why(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(1)
    scene = np.linspace(100, 200, SHAPE[1])
    flat_noise = rng.normal(scene, 3.0, (20, *SHAPE)).round().astype(np.uint16)
    stack = write(tmp_path / "processed.tif", flat_noise)
    assert main(["calibrate", str(stack), "--out", str(tmp_path / "c")]) == 2
    report = tmp_path / "c.report" / "report.html"
    assert str(report) in capsys.readouterr().err
    assert "No gain could be measured" in report.read_text(encoding="utf-8")
    assert not (tmp_path / "c").exists()


@pytest.mark.skipif(not FMD.is_dir(), reason="real repeats are not on this machine")
def test_real_repeats_of_8_bits_are_called_what_they_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "fmd"
    assert main(["calibrate", str(FMD / "raw.tif"), "--out", str(out), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    values = told["values"]
    # The slope over four frames of its neighbours is 3.3 to 4 counts per electron.
    assert 0.2 < values["gain_e_per_adu"]["value"] < 0.4
    assert values["offset_adu"]["status"] == "assumed"
    assert values["read_noise_e"]["status"] in ("assumed", "not measurable")
    assert values["dark_current_e_per_s"]["status"] == "not measurable"
    assert told["warnings"]
    assert "The gain is biased" in told["verdict"]
