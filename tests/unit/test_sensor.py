"""The physics of the simulated sensor, recovered from its own frames."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from livedenoise.core.camera_config import SensorConfig
from livedenoise.imaging.photon_noise import EXACT_BELOW, poisson_electrons
from livedenoise.imaging.sensor import (
    bin_flux,
    camera_maps,
    draw_maps,
    expose,
    readout_ns,
    sensor_constants,
    true_electrons,
)
from livedenoise.imaging.sensor_maps import SensorMaps

SIZE = 192


def _sensor(**changes: object) -> SensorConfig:
    return SensorConfig.model_validate({"width_px": SIZE, "height_px": SIZE, **changes})


def _rng(seed: int = 0) -> np.random.Generator:
    return np.random.Generator(np.random.SFC64(seed))


def _frames(
    sensor: SensorConfig, maps: SensorMaps, mean_e: float, count: int, seed: int = 0
) -> npt.NDArray[np.float64]:
    mean = np.full(maps.shape, mean_e, np.float32)
    rng = _rng(seed)
    return np.stack([expose(mean, maps, sensor, rng) for _ in range(count)]).astype(float)


@pytest.mark.parametrize(
    "mean_e", [0.3, 5.0, 30.0, EXACT_BELOW - 0.5, EXACT_BELOW + 0.5, 200.0, 5000.0]
)
def test_poisson_moments_on_both_sides_of_the_approximation(mean_e: float) -> None:
    draws = poisson_electrons(np.full(2_000_000, mean_e, np.float32), _rng(1)).astype(float)
    n, centred = draws.size, draws - draws.mean()
    assert draws.mean() == pytest.approx(mean_e, abs=5 * np.sqrt(mean_e / n))
    assert draws.var() == pytest.approx(mean_e, rel=5 * np.sqrt((2 + 1 / mean_e) / n))
    # Standard error of the third central moment is about sqrt(6 var**3 / n) near a normal law.
    third_error = 6 * np.sqrt(6 * mean_e**3 / n) * (1 + 2 / np.sqrt(mean_e))
    assert (centred**3).mean() == pytest.approx(mean_e, abs=third_error + 0.002 * mean_e)
    assert (draws == np.rint(draws)).all()
    assert draws.min() >= 0


def test_poisson_mixes_exact_and_approximate_pixels_in_place() -> None:
    mean = np.tile(np.array([1.0, 1000.0], np.float32), 50_000).reshape(100, -1)
    draws = poisson_electrons(mean, _rng(2))
    assert draws[:, ::2].mean() == pytest.approx(1.0, rel=0.03)
    assert draws[:, 1::2].mean() == pytest.approx(1000.0, rel=0.002)
    assert draws[:, 1::2].var() == pytest.approx(1000.0, rel=0.03)


def test_photon_transfer_gives_back_gain_and_read_noise_within_two_percent() -> None:
    sensor = _sensor(full_well_e=1e6)
    maps = draw_maps(sensor, 7)
    levels = [0.0, 20.0, 60.0, 150.0, 400.0, 1000.0]
    means, variances = [], []
    for level in levels:
        frames = _frames(sensor, maps, level, 24, seed=int(level))
        means.append(frames.mean())
        variances.append(frames.var(axis=0, ddof=1).mean())
    slope = np.polyfit(np.array(means) - sensor.offset_adu, variances, 1)[0]
    constants = sensor_constants(sensor)
    assert 1.0 / slope == pytest.approx(constants.gain_e_per_adu, rel=0.02)
    read_noise_e = np.sqrt(variances[0]) * constants.gain_e_per_adu
    assert read_noise_e == pytest.approx(constants.read_noise_e, rel=0.02)
    assert means[0] == pytest.approx(constants.offset_adu, abs=0.05)


def test_maps_are_recovered_from_frames() -> None:
    sensor = _sensor(width_px=64, height_px=64, gain_spread=0.02, offset_spread_adu=2.0)
    maps = draw_maps(sensor, 3)
    dark = _frames(sensor, maps, 0.0, 1000, seed=1)
    bright = _frames(sensor, maps, 10000.0, 1000, seed=2)
    truth = camera_maps(maps, sensor)
    offset, variance = dark.mean(axis=0), dark.var(axis=0, ddof=1)
    gain = 10000.0 / (bright.mean(axis=0) - offset)
    assert np.abs(offset - truth.offset_adu).mean() < 0.12
    assert np.abs(gain / truth.gain_e_per_adu - 1).mean() < 0.001
    assert np.median(np.abs(variance / truth.variance_adu2 - 1)) < 0.05
    assert np.corrcoef(variance.ravel(), truth.variance_adu2.ravel())[0, 1] > 0.95


def test_read_noise_map_is_log_normal_around_its_median() -> None:
    sensor = _sensor(width_px=400, height_px=400, telegraph_fraction=0.0)
    logs = np.log(draw_maps(sensor, 1).read_noise_e)
    assert np.exp(np.median(logs)) == pytest.approx(sensor.read_noise_e, rel=0.005)
    assert logs.std() == pytest.approx(sensor.read_noise_log_sd, rel=0.01)


def test_telegraph_pixels_have_their_share_their_factor_and_three_levels() -> None:
    sensor = _sensor(telegraph_fraction=0.05, telegraph_factor=6.0, read_noise_log_sd=0.0)
    maps = draw_maps(sensor, 2)
    assert maps.telegraph_index.size / SIZE**2 == pytest.approx(0.05, rel=0.1)
    frames = _frames(sensor, maps, 0.0, 60).reshape(60, -1)
    spread_e = frames.std(axis=0, ddof=1) * sensor.gain_e_per_adu
    switching = np.zeros(SIZE**2, bool)
    switching[maps.telegraph_index] = True
    ratio = np.sqrt((spread_e[switching] ** 2).mean() / (spread_e[~switching] ** 2).mean())
    assert ratio == pytest.approx(6.0, rel=0.03)
    # Levels -A, 0, +A at 1/4, 1/2, 1/4, well apart here.
    distance_e = (frames - sensor.offset_adu) * sensor.gain_e_per_adu
    away = np.abs(distance_e[:, switching]) > maps.telegraph_e[0] / 2
    assert away.mean() == pytest.approx(0.5, abs=0.02)


def test_telegraph_pixels_switch_where_they_are_in_every_part_of_a_large_frame() -> None:
    # Large enough to be exposed in several blocks of rows.
    sensor = _sensor(width_px=512, height_px=300, telegraph_fraction=0.01, telegraph_factor=20.0)
    maps = draw_maps(sensor, 3)
    spread = _frames(sensor, maps, 0.0, 24).std(axis=0)
    noisy = np.flatnonzero(spread * sensor.gain_e_per_adu > 8.0)
    found = np.intersect1d(noisy, maps.telegraph_index).size
    assert found > 0.95 * maps.telegraph_index.size
    assert noisy.size < 1.05 * maps.telegraph_index.size


def test_dark_current_map_and_hot_pixels() -> None:
    sensor = _sensor(
        width_px=500, height_px=400, dark_current_e_per_s=2.0, hot_pixel_fraction=0.002
    )
    maps = draw_maps(sensor, 4)
    dark = maps.dark_current_e_per_s
    assert np.median(dark) == pytest.approx(2.0, rel=0.01)
    assert (dark > 40.0).mean() == pytest.approx(0.002, rel=0.25)
    mean_e = true_electrons(np.zeros(maps.shape, np.float32), maps, sensor, 500_000)
    np.testing.assert_allclose(mean_e, dark * 0.5, rtol=1e-6)


def test_true_electrons_are_the_mean_of_the_frames() -> None:
    sensor = _sensor(dark_current_e_per_s=300.0, gain_spread=0.01)
    maps = draw_maps(sensor, 5)
    flux = np.linspace(100, 5000, SIZE * SIZE, dtype=np.float32).reshape(SIZE, SIZE)
    mean_e = true_electrons(flux, maps, sensor, 10_000)
    assert mean_e[0, 0] == pytest.approx(
        (100 * sensor.quantum_efficiency + maps.dark_current_e_per_s[0, 0]) * 0.01, rel=1e-5
    )
    rng = _rng(6)
    frames = np.stack([expose(mean_e, maps, sensor, rng) for _ in range(100)]).astype(float)
    found = (frames.mean(axis=0) - maps.offset_adu) * maps.gain_e_per_adu
    assert found.mean() == pytest.approx(mean_e.mean(), rel=0.002)
    pull = (found - mean_e) / (frames.std(axis=0) * maps.gain_e_per_adu / 10.0)
    assert pull.std() == pytest.approx(1.0, abs=0.05)


def test_em_gain_doubles_the_variance_and_constants_are_input_referred() -> None:
    sensor = _sensor(em_gain=300.0, gain_e_per_adu=4.0, read_noise_e=40.0, telegraph_fraction=0.0)
    maps, constants = draw_maps(sensor, 1), sensor_constants(sensor)
    assert constants.excess_noise_factor == 2.0
    assert constants.gain_e_per_adu == pytest.approx(4.0 / 300.0)
    means, variances = [], []
    for level in (0.0, 2.0, 10.0, 50.0):
        frames = _frames(sensor, maps, level, 30, seed=int(level))
        electrons = (frames - constants.offset_adu) * constants.gain_e_per_adu
        means.append(electrons.mean())
        variances.append(electrons.var(axis=0, ddof=1).mean())
    np.testing.assert_allclose(means[1:], [2.0, 10.0, 50.0], rtol=0.01)
    assert np.polyfit(means, variances, 1)[0] == pytest.approx(2.0, rel=0.02)
    assert np.sqrt(variances[0]) == pytest.approx(constants.read_noise_e, rel=0.02)


@pytest.mark.parametrize("bit_depth", [8, 12, 16])
def test_saturation_at_the_bit_depth_and_dtype(bit_depth: int) -> None:
    sensor = _sensor(width_px=16, height_px=16, bit_depth=bit_depth, full_well_e=1e7)
    counts = expose(np.full((16, 16), 1e6, np.float32), draw_maps(sensor, 0), sensor, _rng())
    assert counts.dtype == (np.uint8 if bit_depth == 8 else np.uint16)
    assert (counts == 2**bit_depth - 1).all()


def test_full_well_clips_before_the_converter() -> None:
    sensor = _sensor(full_well_e=1000.0, gain_spread=0.0, offset_spread_adu=0.0)
    frames = _frames(sensor, draw_maps(sensor, 0), 5000.0, 1)
    assert frames.mean() == pytest.approx(1000.0 / 0.46 + 100.0, rel=1e-3)
    assert frames.std() * 0.46 < 3.0


def test_counts_below_zero_are_clipped_at_zero() -> None:
    sensor = _sensor(offset_adu=0.0, offset_spread_adu=0.0)
    frames = _frames(sensor, draw_maps(sensor, 0), 0.0, 1)
    assert frames.min() == 0
    assert (frames == 0).mean() > 0.4


def test_rounding_is_to_the_nearest_count() -> None:
    sensor = _sensor(read_noise_e=0.0, gain_e_per_adu=1.0, gain_spread=0.0, offset_spread_adu=0.0)
    mean = np.zeros((SIZE, SIZE), np.float32)
    for offset, count in ((100.4, 100), (100.6, 101)):
        shifted = sensor.model_copy(update={"offset_adu": offset})
        assert (expose(mean, draw_maps(shifted, 0), shifted, _rng()) == count).all()


@settings(deadline=None, max_examples=25)
@given(
    x=st.integers(0, 60), y=st.integers(0, 150), w=st.integers(1, 40), h=st.integers(1, 90),
    seed=st.integers(-3, 3),
)  # fmt: skip
@example(x=0, y=63, w=1, h=2, seed=0)
@example(x=99, y=64, w=1, h=64, seed=0)
def test_a_region_has_the_maps_of_the_full_sensor(
    x: int, y: int, w: int, h: int, seed: int
) -> None:
    sensor = _sensor(width_px=100, height_px=240, telegraph_fraction=0.05)
    full, part = draw_maps(sensor, seed), draw_maps(sensor, seed, (x, y, w, h))
    for name in ("offset_adu", "gain_e_per_adu", "read_noise_e", "dark_current_e_per_s"):
        window = getattr(full, name)[y : y + h, x : x + w]
        np.testing.assert_array_equal(getattr(part, name), window)
    mask = np.zeros((240, 100), bool)
    mask.ravel()[full.telegraph_index] = True
    expected = np.flatnonzero(mask[y : y + h, x : x + w])
    np.testing.assert_array_equal(part.telegraph_index, expected)


def test_another_seed_is_another_sensor() -> None:
    sensor = _sensor()
    assert not np.array_equal(draw_maps(sensor, 1).offset_adu, draw_maps(sensor, 2).offset_adu)


def test_same_generator_state_gives_the_same_frame() -> None:
    sensor = _sensor()
    maps, mean = draw_maps(sensor, 1), np.full((SIZE, SIZE), 12.0, np.float32)
    first, again, other = (expose(mean, maps, sensor, _rng(s)) for s in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("binning", [2, 4])
@pytest.mark.parametrize("em_gain", [1.0, 100.0])
def test_binning_sums_light_and_adds_read_noise_as_the_sensor_does(
    binning: int, em_gain: float
) -> None:
    sensor = _sensor(
        width_px=256, height_px=256, em_gain=em_gain, read_noise_e=3.0 * em_gain,
        gain_e_per_adu=0.5 * em_gain, gain_spread=0.0,
    )  # fmt: skip
    maps = draw_maps(sensor, 1, binning=binning)
    assert maps.shape == (256 // binning, 256 // binning)
    constants = sensor_constants(sensor, binning)
    dark = _frames(sensor, maps, 0.0, 60)
    noise_e = np.sqrt(dark.var(axis=0, ddof=1).mean()) * constants.gain_e_per_adu
    assert noise_e == pytest.approx(constants.read_noise_e, rel=0.03)
    one = sensor_constants(sensor)
    ratio = constants.read_noise_e / one.read_noise_e
    assert ratio == pytest.approx(1.0 if em_gain > 1 else binning, rel=0.01)
    assert dark.mean() == pytest.approx(sensor.offset_adu, abs=0.1)
    flux = np.ones((256, 256), np.float32)
    np.testing.assert_array_equal(bin_flux(flux, binning), np.full(maps.shape, binning**2))


def test_readout_depends_on_rows_only_and_ccd_binning_reads_fewer() -> None:
    sensor = _sensor(line_time_us=5.0)
    assert readout_ns(sensor, 192) == 960_000
    assert readout_ns(sensor, 96) == 480_000
    assert readout_ns(sensor, 192, binning=4) == 960_000
    assert readout_ns(_sensor(line_time_us=5.0, em_gain=2.0), 192, binning=4) == 240_000


def test_shapes_that_differ_are_refused_with_both() -> None:
    sensor = _sensor()
    with pytest.raises(ValueError, match=r"\(3, 4\).*\(192, 192\)"):
        expose(np.ones((3, 4), np.float32), draw_maps(sensor, 0), sensor, _rng())
