"""Dark statistics, hot pixels, and constants that nobody gave."""

import numpy as np
import pytest
from check_kit import Case, dark_statistics, make_case, sensor_config
from hypothesis import given, settings
from hypothesis import strategies as st

from livedenoise.collect.check_camera import (
    DarkStatistics,
    PairCamera,
    camera_from_darks,
    hot_pixels,
)
from livedenoise.core.constants import CameraConstants
from livedenoise.imaging.sensor import sensor_constants

CONSTANTS = CameraConstants(gain_e_per_adu=0.5, offset_adu=100.0, read_noise_e=1.5)


@settings(max_examples=25, deadline=None)
@given(frames=st.integers(2, 12), level=st.integers(0, 60000), seed=st.integers(0, 99))
def test_running_statistics_are_those_of_the_stack(frames: int, level: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    stack = (level + rng.integers(0, 50, (frames, 5, 7))).astype(np.uint16)
    statistics = DarkStatistics()
    for frame in stack:
        statistics.add(frame)
    assert statistics.frames == frames
    np.testing.assert_allclose(statistics.mean_adu, stack.mean(axis=0), rtol=1e-6)
    variance = statistics.variance_adu2
    assert variance is not None
    np.testing.assert_allclose(variance, stack.var(axis=0, ddof=1), rtol=1e-4, atol=1e-4)


def test_one_dark_frame_has_a_mean_and_no_variance() -> None:
    statistics = DarkStatistics()
    with pytest.raises(ValueError, match="no dark frame"):
        _ = statistics.mean_adu
    statistics.add(np.full((4, 4), 7, np.uint16))
    assert statistics.variance_adu2 is None
    assert statistics.mean_adu[0, 0] == 7
    with pytest.raises(ValueError, match="dark frame is"):
        statistics.add(np.zeros((4, 5), np.uint16))


def test_the_nearest_exposure_serves_where_there_is_no_dark() -> None:
    camera = PairCamera(
        constants=CONSTANTS, bit_depth=16, offsets_adu={1000: 101.0, 100_000: 107.0}
    )
    assert camera.offset_adu(1000) == 101.0
    assert camera.mean_offset_adu(4000) == 101.0
    assert camera.mean_offset_adu(30_000) == 107.0
    assert PairCamera(constants=CONSTANTS, bit_depth=16).mean_offset_adu(5) == 100.0


def test_hot_pixels_are_found_and_replaced_by_their_neighbours() -> None:
    rng = np.random.default_rng(0)
    dark = DarkStatistics()
    for _ in range(10):
        frame = rng.normal(100, 3, (64, 64))
        frame[10, 20] = 5000
        dark.add(np.rint(frame).astype(np.uint16))
    camera = camera_from_darks({1000: dark}, CONSTANTS, bit_depth=16)
    assert camera.hot is not None
    assert np.argwhere(camera.hot).tolist() == [[10, 20]]
    image = np.full((64, 64), 160, np.uint16)
    image[10, 20] = 65535
    assert camera.signal_adu(image, 1000).max() < 70
    assert hot_pixels([], None) is None


def test_noise_that_follows_no_signal_brings_no_shot_noise() -> None:
    gaussian = CameraConstants(
        gain_e_per_adu=0.5, offset_adu=0.0, read_noise_e=2.0, model="gaussian"
    )
    assert PairCamera(constants=gaussian, bit_depth=8).shot_adu == 0.0
    assert PairCamera(constants=CONSTANTS, bit_depth=8).shot_adu == 2.0


@pytest.mark.parametrize("kind", ["mixed", "flat"])
@pytest.mark.parametrize("sensor", ["scmos", "emccd", "8-bit"])
def test_gain_is_estimated_from_the_first_pair_and_the_darks(kind: str, sensor: str) -> None:
    case = Case(seed=2, kind=kind, sensor=sensor, low_e=40.0, ratio=5.0, known="estimated")
    _, camera = make_case(case)
    truth = sensor_constants(sensor_config(sensor))
    assert camera.constants.source == "estimated"
    assert camera.constants.model == "poisson_gaussian"
    # One frame cannot tell gain from excess noise: their quotient is what noise follows.
    expected = truth.excess_noise_factor / truth.gain_e_per_adu
    assert camera.shot_adu == pytest.approx(expected, rel=0.12)
    assert camera.constants.offset_adu == pytest.approx(truth.offset_adu, abs=0.3)


def test_without_constants_and_frames_there_is_no_camera() -> None:
    dark = dark_statistics("scmos", 64, 1000)
    with pytest.raises(ValueError, match="no frame to estimate"):
        camera_from_darks({1000: dark}, None, [], bit_depth=16)
    camera = camera_from_darks({}, CONSTANTS, bit_depth=16)
    assert camera.dark_frames == 0
    assert camera.hot is None
    assert (
        camera.offset_error_adu
        > camera_from_darks({1000: dark}, CONSTANTS, bit_depth=16).offset_error_adu
    )
