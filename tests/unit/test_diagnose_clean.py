"""Nothing is suspected of clean movies, and errors are what they say."""

from pathlib import Path

import diagnose_kit as kit
import numpy as np
import pytest

from livedenoise.core.sensor_config import SensorConfig
from livedenoise.imaging.scenes import SCENE_KINDS, translate

CAMERAS = {
    "scmos": SensorConfig(),
    "12 bit": SensorConfig(bit_depth=12, gain_e_per_adu=0.24, offset_adu=50.0, read_noise_e=1.0),
    "8 bit": SensorConfig(bit_depth=8, gain_e_per_adu=2.0, offset_adu=8.0, read_noise_e=3.0),
    "quantitative": SensorConfig(gain_e_per_adu=0.11, offset_adu=200.0, read_noise_e=0.27),
    "emccd": SensorConfig(
        gain_e_per_adu=10.0,
        em_gain=200.0,
        read_noise_e=40.0,
        offset_adu=200.0,
        full_well_e=800000.0,
        telegraph_fraction=0.0,
    ),
}
NUMBERS = (
    "lag1_x",
    "lag1_y",
    "lag1_diagonal",
    "lag2_x",
    "lag2_y",
    "lag1_time",
    "fine_lag1_x",
    "fine_lag1_y",
)


@pytest.mark.parametrize("camera", CAMERAS)
def test_nothing_is_suspected_of_clean_movies(tmp_path: Path, camera: str) -> None:
    """Five kinds of scene for each of five cameras: 25 movies."""
    scores, gains = [], []
    sensor = CAMERAS[camera]
    excess = 2.0 if sensor.em_gain > 1.0 else 1.0
    for number, kind in enumerate(SCENE_KINDS):
        peak_e = (25.0, 60.0, 100.0, 150.0, 200.0)[number]
        frames = kit.movie(10, kind=kind, size=128, sensor=sensor, peak_e=peak_e, seed=number)
        found = kit.diagnosed(tmp_path, frames)
        assert found.suspicions == (), kind
        assert len(found.summary) == 2, (kind, found.summary)
        for name in ("n2n", "n2v"):
            assert kit.method(found, name).fit == "fits", (kind, kit.method(found, name).why)
        assert found.moving.value == 0.0
        numbers = [getattr(found, name) for name in NUMBERS]
        scores += [number.value / number.error for number in numbers]
        if found.gain.value is not None:
            assert found.gain.error is not None
            truth = sensor.gain_e_per_adu / sensor.em_gain / excess
            gains.append((found.gain.value - truth) / found.gain.error)
    assert np.abs(scores).max() < 5.0
    assert np.mean(np.abs(scores) < 3.0) > 0.9
    assert len(gains) >= 4
    assert np.abs(gains).max() < 5.0


def test_errors_of_trends_are_what_they_say(tmp_path: Path) -> None:
    """Bleaching, drift and shared noise of 8 movies scatter by about their errors."""
    scores: dict[str, list[float]] = {"bleaching": [], "drift": [], "lag1_time": []}
    light = np.exp(-0.1 * np.linspace(0.0, 1.0, 24)).astype(np.float32)
    for seed in range(8):
        scene = kit.scene_of("cells", 128, seed=seed, background=0.0) * np.float32(150.0)
        scene[:, :48] = 0.0
        mean_e = np.stack([v * translate(scene, 0.0, 0.05 * t) for t, v in enumerate(light)])
        found = kit.diagnosed(tmp_path, kit.exposed(mean_e, seed=seed))
        truths = {"bleaching": 1.0 - np.exp(-0.1), "drift": 23 * 0.05, "lag1_time": 0.0}
        for name, truth in truths.items():
            number = getattr(found, name)
            scores[name].append((number.value - truth) / number.error)
    for name, values in scores.items():
        assert np.mean(np.abs(values) < 3.0) >= 0.8, (name, values)
        assert np.abs(values).max() < 6.0, (name, values)
