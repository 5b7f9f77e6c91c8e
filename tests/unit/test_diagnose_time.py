"""What changes from frame to frame: shared noise, bleaching, flicker, drift, motion, repeats."""

from pathlib import Path

import diagnose_kit as kit
import numpy as np
import pytest
from scipy import ndimage

from livedenoise.diagnose.drift import drift
from livedenoise.diagnose.facts import beyond
from livedenoise.imaging.scenes import translate


def running_mean(frames: np.ndarray, n: int) -> np.ndarray:
    total = np.cumsum(np.concatenate([np.zeros((1, *frames.shape[1:])), frames]), axis=0)
    return (total[n:] - total[:-n]) / n


def moved(n_frames: int, step_px: tuple[float, float], *, peak_e: float = 300.0) -> np.ndarray:
    scene = kit.scene_of("mixed") * np.float32(peak_e)
    return np.stack([translate(scene, t * step_px[0], t * step_px[1]) for t in range(n_frames)])


@pytest.mark.parametrize("n", [2, 4])
def test_a_running_mean_shares_noise_in_time(tmp_path: Path, n: int) -> None:
    frames = kit.counts(10.0 * running_mean(kit.movie(20 + n).astype(np.float64), n))
    found = kit.diagnosed(tmp_path, frames)
    assert found.lag1_time.value == pytest.approx(1.0 - 1.0 / n, abs=0.03)
    assert kit.method(found, "n2n").fit == "does not fit"
    assert any("running average" in line for line in found.suspicions)
    assert found.moving.value == 0.0
    assert kit.method(found, "n2v").fit == "fits"


def test_a_longer_mean_than_can_be_seen_is_a_lower_limit(tmp_path: Path) -> None:
    found = kit.diagnosed(
        tmp_path, kit.counts(10.0 * running_mean(kit.movie(40).astype(np.float64), 16))
    )
    assert found.lag1_time.value is not None
    assert 0.7 < found.lag1_time.value < 0.94
    assert found.lag1_time.note.startswith("at least")


def test_a_recursive_filter_in_time_is_seen(tmp_path: Path) -> None:
    frames = kit.movie(24).astype(np.float64)
    for t in range(1, len(frames)):
        frames[t] = 0.7 * frames[t] + 0.3 * frames[t - 1]
    found = kit.diagnosed(tmp_path, kit.counts(10.0 * frames[8:]))
    assert found.lag1_time.value == pytest.approx(0.3, abs=0.03)
    assert kit.method(found, "n2n").fit == "does not fit"


@pytest.mark.parametrize("lost", [0.05, 0.3, -0.1])
def test_bleaching_comes_back_within_its_error(tmp_path: Path, lost: float) -> None:
    n = 40
    light = np.exp(np.log(1.0 - lost) * np.arange(n) / (n - 1)).astype(np.float32)
    scene = kit.scene_of("cells", background=0.0) * np.float32(300.0)
    scene[:, :40] = 0.0  # so that the darkest part is the offset
    found = kit.diagnosed(tmp_path, kit.exposed(light[:, None, None] * scene))
    assert found.bleaching.value == pytest.approx(lost, rel=0.08)
    assert any("falls" in line or "rises" in line for line in found.summary)
    assert found.lag1_time.value == pytest.approx(0.0, abs=0.03)
    assert found.suspicions == ()


def test_flicker_comes_back_and_is_neither_motion_nor_correlation(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    light = (1.0 + 0.15 * rng.normal(size=32)).astype(np.float32)
    scene = kit.scene_of("granules", background=0.0) * np.float32(1000.0)
    scene[:, :40] = 0.0
    found = kit.diagnosed(tmp_path, kit.exposed(light[:, None, None] * scene))
    second = np.diff(light / light.mean(), 2)
    assert found.flicker.value == pytest.approx(
        float(np.sqrt(np.square(second).mean() / 6)), rel=0.02
    )
    assert found.flicker.error is not None
    assert abs(found.flicker.value - 0.15) < 3.0 * found.flicker.error
    assert any("flickers" in line for line in found.summary)
    assert found.moving.value == 0.0
    for name in ("lag1_x", "lag1_y", "lag1_time"):
        assert getattr(found, name).value == pytest.approx(0.0, abs=0.03)
    assert not found.lag1_x.upper_limit
    assert kit.method(found, "n2v").fit == "fits"
    assert "flickers" in kit.method(found, "n2n").why


def test_light_that_goes_out_now_and_then_is_flicker(tmp_path: Path) -> None:
    light = np.where(np.arange(18) % 3, 300.0, 30.0).astype(np.float32)
    scene = kit.scene_of("granules")
    found = kit.diagnosed(tmp_path, kit.exposed(light[:, None, None] * scene))
    assert found.flicker.value is not None
    assert found.flicker.value > 0.4
    assert found.bleaching.value is None or not beyond(found.bleaching, 0.02)
    assert abs(found.lag1_x.value or 1.0) < 0.03
    assert kit.method(found, "n2n").fit == "with care"


def test_drift_comes_back_in_pixels(tmp_path: Path) -> None:
    found = kit.diagnosed(tmp_path, kit.exposed(moved(50, (0.03, -0.04))))
    assert found.drift.value == pytest.approx(49 * 0.05, rel=0.03)
    assert found.drift.error is not None
    assert found.drift.error < 0.2
    assert kit.method(found, "n2n").fit == "with care"
    assert "drifts" in kit.method(found, "n2n").why
    assert abs(found.lag1_x.value or 1.0) < 0.03


def test_in_a_field_that_moves_both_halves_must_show_the_drift() -> None:
    scene = kit.scene_of("cells") * np.float32(300.0)
    scene[:, 64:] = 20.0
    frames = list(kit.exposed(np.stack([translate(scene, 0.2 * t, 0.0) for t in range(12)])))
    still = drift([frames], len(frames), 100.0)
    assert still.value == pytest.approx(2.2, rel=0.05)
    assert drift([frames], len(frames), 100.0, moves=True).value is None


def test_halves_that_move_apart_are_no_drift() -> None:
    scene = kit.scene_of("mixed", 192) * np.float32(300.0)
    moved_apart = np.stack([translate(scene, 0.3 * t, 0.0) for t in range(12)])
    moved_apart[:, :, 96:] = np.stack([translate(scene, -0.1 * t, 0.0)[:, 96:] for t in range(12)])
    found = drift([list(kit.exposed(moved_apart))], 12, 100.0)
    assert found.value is None
    assert "differently" in found.note


def test_drift_there_and_back_is_drift(tmp_path: Path) -> None:
    scene = kit.scene_of("mixed") * np.float32(300.0)
    way = 3.0 * np.sin(np.linspace(0.0, np.pi, 40))
    found = kit.diagnosed(tmp_path, kit.exposed(np.stack([translate(scene, d, 0) for d in way])))
    assert found.drift.value is not None
    assert found.drift.value > 2.0


@pytest.mark.parametrize("step", [0.6, 6.0, 101.0])
def test_objects_that_move_in_part_of_the_field_are_left_out(tmp_path: Path, step: float) -> None:
    """Slowly, fast, and (a step of 101 px around the torus of 256) new in every frame."""
    size = 256
    still = kit.scene_of("cells", size) * np.float32(80.0)
    moving = kit.scene_of("granules", size, background=0.0) * np.float32(400.0)
    moving[:, 64:] = 0.0
    mean_e = np.stack([still + translate(moving, t * step, 0.0) for t in range(24)])
    found = kit.diagnosed(tmp_path, kit.exposed(mean_e))
    assert found.moving.value == pytest.approx(0.25, abs=0.07)
    assert "moves" in kit.method(found, "n2n").why
    assert kit.method(found, "care").fit == "with care"
    assert not found.lag1_x.upper_limit
    assert abs(found.lag1_x.value or 1.0) < 0.04
    assert kit.method(found, "n2v").fit == "fits"


def test_a_scene_that_moves_everywhere_gives_an_upper_limit_only(tmp_path: Path) -> None:
    scene = kit.scene_of("mixed", 192) * np.float32(800.0)
    rng = np.random.default_rng(2)
    places = np.cumsum(rng.normal(0.0, 0.7, (24, 2)), axis=0)
    found = kit.diagnosed(tmp_path, kit.exposed(np.stack([translate(scene, *p) for p in places])))
    assert found.moving.value is not None
    assert found.moving.value > 0.75
    assert found.drift.value is None or found.drift.value > 2.0
    assert found.lag1_x.upper_limit
    assert found.lag1_x.note == "upper limit: the scene moves"
    assert kit.method(found, "n2v").fit == "with care"
    assert kit.method(found, "structn2v").fit == "with care"
    assert not any("share noise" in line for line in found.suspicions)
    assert not any("strongly correlated" in line for line in found.summary)


@pytest.mark.parametrize(("sigma", "fit"), [(0.0, "with care"), (0.6, "does not fit")])
def test_a_moving_scene_is_judged_by_its_finest_detail(
    tmp_path: Path, sigma: float, fit: str
) -> None:
    scene = kit.scene_of("mixed", 192) * np.float32(400.0)
    mean_e = np.stack([translate(scene, 1.0 * t, 0.5 * t) for t in range(24)])
    frames = 10.0 * kit.exposed(mean_e).astype(np.float32)
    if sigma:
        frames = ndimage.gaussian_filter(frames, (0, 0, sigma), mode="wrap")
    found = kit.diagnosed(tmp_path, kit.counts(frames))
    assert found.lag1_x.upper_limit
    assert found.fine_lag1_x.value == pytest.approx(0.44 if sigma else 0.0, abs=0.07)
    assert found.fine_lag1_y.value == pytest.approx(0.0, abs=0.07)
    assert kit.method(found, "n2v").fit == fit
    assert ("along x only" in kit.method(found, "structn2v").why) == bool(sigma)
    assert ("seems white" in kit.method(found, "n2v").why) == (not sigma)


def test_smoothed_noise_in_even_light_is_not_taken_for_motion(tmp_path: Path) -> None:
    frames = kit.movie(16, peak_e=200.0).astype(np.float32)
    smooth = ndimage.gaussian_filter(frames, (0, 0.8, 0.8), mode="wrap")
    found = kit.diagnosed(tmp_path, kit.counts(smooth))
    assert found.moving.value == 0.0
    assert kit.method(found, "n2v").fit == "does not fit"
    assert not found.lag1_x.upper_limit


def test_repeated_frames_are_counted_and_left_out(tmp_path: Path) -> None:
    found = kit.diagnosed(tmp_path, np.repeat(kit.movie(12), 2, axis=0))
    assert found.repeated.value is not None
    assert found.repeated.value >= 4
    assert any("equal the frame before" in line for line in found.suspicions)
    assert found.lag1_time.value == pytest.approx(0.0, abs=0.05)
    assert "repeated" in kit.method(found, "n2n").why


def test_one_frame_tells_its_noise_and_nothing_of_correlation(tmp_path: Path) -> None:
    found = kit.diagnosed(tmp_path, kit.movie(1, background=0.0))
    assert found.gain.value == pytest.approx(kit.CLEAN.gain_e_per_adu, rel=0.15)
    for name in ("lag1_x", "lag1_time", "moving", "row_noise", "drift", "bleaching"):
        assert getattr(found, name).value is None
        assert getattr(found, name).note
    assert kit.method(found, "n2v").fit == "unknown"
    assert kit.method(found, "structn2v").fit == "unknown"
    assert kit.method(found, "n2n").fit == "unknown"


@pytest.mark.parametrize("n", [2, 3])
def test_two_or_three_frames_tell_correlation_but_not_independence(tmp_path: Path, n: int) -> None:
    found = kit.diagnosed(tmp_path, kit.movie(n))
    assert abs(found.lag1_x.value or 1.0) < 0.03
    assert found.lag1_time.value is None
    assert found.moving.note.startswith("only fast")
    assert kit.method(found, "n2v").fit == "fits"
    assert kit.method(found, "n2n").fit == "with care"
    assert "independence" in kit.method(found, "n2n").why


@pytest.mark.parametrize("n", [4, 5, 7, 9])
def test_short_movies_tell_independence(tmp_path: Path, n: int) -> None:
    found = kit.diagnosed(tmp_path, kit.movie(n))
    assert abs(found.lag1_time.value or 1.0) < 4.0 * (found.lag1_time.error or 0.0)
    assert kit.method(found, "n2n").fit == "fits"
    averaged = kit.counts(10.0 * running_mean(kit.movie(n + 1).astype(np.float64), 2))
    assert kit.diagnosed(tmp_path, averaged).lag1_time.value == pytest.approx(0.5, abs=0.06)
