"""What the offset decides, what a calibration tells, and errors that cover what is not known."""

from pathlib import Path

import diagnose_kit as kit
import numpy as np
import pytest
from scipy import ndimage

from livedenoise import cli
from livedenoise.core.calibration import write_calibration
from livedenoise.core.constants import CameraConstants
from livedenoise.core.errors import ConfigError
from livedenoise.diagnose.drift import drift
from livedenoise.diagnose.facts import Diagnosis, Number
from livedenoise.diagnose.levels import Known, camera_of, levels
from livedenoise.diagnose.light import comparable_runs, structure_adu
from livedenoise.imaging.noise_fit import fit_noise
from livedenoise.imaging.scenes import translate

LOST = 0.7


def bleaching(n: int = 24) -> np.ndarray:
    """Return frames of a field whose darkest part is far from dark, losing 70 % of its light."""
    light = np.exp(np.log(1.0 - LOST) * np.arange(n) / (n - 1)).astype(np.float32)
    scene = kit.scene_of("cells", background=0.2) * np.float32(300.0)
    return kit.exposed(light[:, None, None] * scene)


def test_without_an_offset_the_light_lost_is_an_upper_limit(tmp_path: Path) -> None:
    frames = bleaching()
    found = kit.diagnosed(tmp_path, frames)
    number, counts = found.bleaching, found.bleaching_adu
    assert number.value is not None
    assert number.least is not None
    assert number.upper_limit
    assert "darkest part" in number.note
    assert number.least < LOST + 0.01 < number.value - 0.05
    truth = (frames[0].mean() - 100.0) * LOST
    assert counts.value == pytest.approx(truth, rel=0.02)
    (line,) = (line for line in found.summary if "falls" in line)
    assert " to " in line
    assert "counts" in line
    assert "offset" in line


def test_with_the_offset_it_is_measured(tmp_path: Path) -> None:
    found = kit.diagnosed(tmp_path, bleaching(), offset_adu=100.0)
    assert found.bleaching.value == pytest.approx(LOST, abs=0.01)
    assert not found.bleaching.upper_limit
    assert found.offset.note == "given"
    assert found.offset.value == 100.0
    assert not found.read_noise.upper_limit
    assert any("falls by 70" in line for line in found.summary)


@pytest.mark.parametrize("flicker", [0.1, 0.2])
def test_flicker_does_not_enter_the_gain(tmp_path: Path, flicker: float) -> None:
    scores = []
    for seed in range(2):
        rng = np.random.default_rng(seed)
        grain = ndimage.gaussian_filter(np.random.default_rng(seed).random((128, 128)), 3.0)
        scene = 600.0 * (0.03 + np.square((grain - grain.min()) / np.ptp(grain)))
        light = (1.0 + flicker * rng.normal(size=(16, 1, 1))).astype(np.float32)
        found = kit.diagnosed(tmp_path, kit.exposed(light * scene, seed=seed))
        assert found.gain.value == pytest.approx(kit.CLEAN.gain_e_per_adu, rel=0.025)
        scores.append((found.gain.value - kit.CLEAN.gain_e_per_adu) / found.gain.error)
    assert np.abs(scores).max() < 4.0
    assert "light" in found.gain.note


def test_frames_are_divided_by_their_light_such_that_the_line_keeps_its_slope() -> None:
    """The variance of a divided frame goes with 1 / light, whose mean must be 1."""
    light = np.array([0.5, 1.0, 1.5, 1.0], np.float32)
    run = [one * kit.scene_of() * np.float32(500.0) for one in light]
    comparable = comparable_runs([run])
    assert comparable.evened
    factors = [float((a / b).mean()) for a, b in zip(comparable.runs[0], run, strict=True)]
    assert np.mean(factors) == pytest.approx(1.0, abs=1e-3)
    assert factors[0] / factors[2] == pytest.approx(3.0, rel=1e-3)


def test_frames_without_light_are_not_divided_by_it(tmp_path: Path) -> None:
    light = np.where(np.arange(16) % 4, 300.0, 0.0).astype(np.float32)
    found = kit.diagnosed(tmp_path, kit.exposed(light[:, None, None] * kit.scene_of()))
    assert not comparable_runs([list(np.zeros((4, 64, 64), np.uint16))]).evened
    assert "may read low" in found.gain.note or found.gain.value is None


def test_flicker_that_cannot_be_evened_out_is_in_the_error() -> None:
    camera = camera_of(fit_noise(list(kit.movie(4)), bit_depth=16), Known())
    white = Number(value=1.0, error=0.01)
    calm, uneven = (
        levels(camera, white, Number(value=v, error=0.005), evened=False, rounded=True)["gain"]
        for v in (0.0, 0.1)
    )
    assert calm.error is not None
    assert calm.value is not None
    assert uneven.error == pytest.approx(np.hypot(calm.error, 0.1 * calm.value))
    assert "flickers" in uneven.note
    assert not calm.note


def test_a_filter_raises_the_gain_and_the_error_covers_it(tmp_path: Path) -> None:
    frames = kit.movie(12, peak_e=400.0, background=0.0).astype(np.float64)
    smooth = 100.0 * ndimage.convolve1d(frames, [0.05, 0.9, 0.05], axis=2, mode="wrap")
    found = kit.diagnosed(tmp_path, kit.counts(smooth - 9000.0))
    truth = kit.CLEAN.gain_e_per_adu / 100.0
    factor = 1.0 / (0.9**2 + 2 * 0.05**2)
    assert found.grain_factor.value == pytest.approx(factor, abs=0.03)
    assert found.gain.value == pytest.approx(truth * factor, rel=0.06)
    assert found.gain.error is not None
    assert abs(found.gain.value - truth) < 1.5 * found.gain.error
    assert "times too high" in found.gain.note
    assert any("sensor's own gain" in line for line in found.summary)


def test_white_noise_has_no_grain(tmp_path: Path) -> None:
    found = kit.diagnosed(tmp_path, kit.movie(12))
    assert found.grain_factor.value == pytest.approx(1.0, abs=0.05)
    assert found.gain.note == ""


@pytest.mark.parametrize(("n", "step"), [(9, 0.3), (15, 0.3), (32, 0.15)])
def test_the_error_of_drift_covers_the_ends(tmp_path: Path, n: int, step: float) -> None:
    """Of 9 to 15 frames only the first 8 are looked at."""
    scene = kit.scene_of("cells") * np.float32(600.0)
    mean_e = np.stack([translate(scene, 0.0, step * t) for t in range(n)])
    found, truth = kit.diagnosed(tmp_path, kit.exposed(mean_e)).drift, step * (n - 1)
    assert found.value == pytest.approx(truth, rel=0.05)
    assert found.error is not None
    assert abs(found.value - truth) < found.error < 0.35 * truth


def test_drift_that_comes_back_is_not_drawn_out() -> None:
    scene = kit.scene_of() * np.float32(300.0)
    way = 3.0 * np.sin(np.linspace(0.0, np.pi, 40))
    frames = list(kit.exposed(np.stack([translate(scene, d, 0.0) for d in way])))
    starts = (0, 16, 32)
    found = drift([frames[start : start + 8] for start in starts], 40, 100.0, starts=starts)
    assert found.value == pytest.approx(float(way[21] - way[2]), abs=0.3)
    assert found.note.startswith("at least")


def test_hot_pixels_in_the_dark_are_nothing_to_see() -> None:
    frames = kit.exposed(np.zeros((4, 128, 128), np.float32)).astype(np.int64)
    frames[:, 5::40, 7::40] += 5000
    assert structure_adu(list(frames.astype(np.uint16))) < 0.5
    assert structure_adu(list(kit.movie(4))) > 5.0


def calibration(folder: Path, **constants: float) -> Path:
    """Write the calibration of ``kit.CLEAN``, with constants changed."""
    known = {
        "gain_e_per_adu": kit.CLEAN.gain_e_per_adu,
        "offset_adu": kit.CLEAN.offset_adu,
        "read_noise_e": kit.CLEAN.read_noise_e,
    }
    path = folder / "calibration"
    write_calibration(
        path, CameraConstants(**known | constants), camera="test", sensor=(128, 128), bit_depth=16
    )
    return path


def compared(folder: Path, frames: np.ndarray, **constants: float) -> Diagnosis:
    return kit.diagnosed(folder, frames, calibration=calibration(folder, **constants))


def test_a_calibration_that_holds_is_said_to_hold(tmp_path: Path) -> None:
    found = compared(tmp_path, kit.movie(12))
    assert found.noise_factor.value == pytest.approx(1.0, abs=0.03)
    assert any("is what the calibration says" in line for line in found.summary)
    assert kit.method(found, "pg").fit == "fits"
    assert found.offset.value == kit.CLEAN.offset_adu


@pytest.mark.parametrize(("gain", "factor"), [(0.25, 0.5), (1.0, 2.0)])
def test_noise_of_another_mode_is_said_to_be_so(tmp_path: Path, gain: float, factor: float) -> None:
    read_noise_e = kit.CLEAN.read_noise_e * np.sqrt(gain / kit.CLEAN.gain_e_per_adu)
    found = compared(tmp_path, kit.movie(12), gain_e_per_adu=gain, read_noise_e=read_noise_e)
    assert found.noise_factor.value == pytest.approx(factor, rel=0.1)
    assert any("times what the calibration says" in line for line in found.summary)
    assert kit.method(found, "pg").fit == "with care"
    assert kit.method(found, "n2v").fit == "fits"


def test_offset_and_calibration_exclude_each_other(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = calibration(tmp_path)
    kit.diagnosed(tmp_path, kit.movie(4))
    frames = str(tmp_path / "frames.tif")
    assert cli.main(["diagnose", frames, "--offset", "100", "--calibration", str(folder)]) == 2
    assert "exclude each other" in capsys.readouterr().err
    assert cli.main(["diagnose", frames, "--calibration", str(tmp_path)]) == 2
    assert cli.main(["diagnose", frames, "--calibration", str(folder)]) == 0
    assert "variance over the calibration's" in capsys.readouterr().out


def test_an_offset_that_is_no_number_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="finite"):
        kit.diagnosed(tmp_path, kit.movie(2), offset_adu=float("nan"))
