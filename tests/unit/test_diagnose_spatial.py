"""What neighbouring pixels, rows and columns share of the noise, against known truth."""

from pathlib import Path

import diagnose_kit as kit
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from livedenoise.core.sensor_config import SensorConfig
from livedenoise.diagnose.correlation import correlations, shared_noise
from livedenoise.diagnose.facts import Number
from livedenoise.diagnose.fine import FOURTH, fine_correlation, fine_variance
from livedenoise.diagnose.tiles import TileNoise, at_lag, tile_noise

ALL_LAGS = ("lag1_x", "lag1_y", "lag1_diagonal", "lag2_x", "lag2_y")


def truth_of(sigma_px: float, lag: int) -> float:
    """Return the correlation of white noise after a Gaussian filter along one axis."""
    impulse = np.zeros(41)
    impulse[20] = 1.0
    kernel = ndimage.gaussian_filter1d(impulse, sigma_px)
    return float((kernel[lag:] * kernel[: 41 - lag]).sum() / np.square(kernel).sum())


def z(number: Number, truth: float) -> float:
    assert number.value is not None
    assert number.error
    return (number.value - truth) / number.error


def all_tiles(noise: TileNoise) -> np.ndarray:
    return np.ones(len(noise.variance), dtype=bool)


def test_white_noise_has_no_correlation_and_its_constants_come_back(tmp_path: Path) -> None:
    found = kit.diagnosed(tmp_path, kit.movie(16, peak_e=200.0, background=0.0))
    for name in (*ALL_LAGS, "lag1_time"):
        assert abs(z(getattr(found, name), 0.0)) < 4.0
        assert abs(getattr(found, name).value) < 0.02
    assert found.noise_model == "poisson_gaussian"
    assert found.gain.value == pytest.approx(kit.CLEAN.gain_e_per_adu, rel=0.03)
    assert abs(z(found.gain, kit.CLEAN.gain_e_per_adu)) < 4.0
    assert found.offset.value == pytest.approx(100.0, abs=2.0)
    assert found.suspicions == ()
    for name in ("care", "n2n", "n2v", "pg"):
        assert kit.method(found, name).fit == "fits"
    assert kit.method(found, "structn2v").fit == "with care"


def test_read_noise_comes_back_where_part_of_the_field_is_dark(tmp_path: Path) -> None:
    scene = kit.scene_of("cells", background=0.0) * np.float32(300.0)
    scene[:, :64] = 0.0
    frames = kit.exposed(np.broadcast_to(scene, (16, *scene.shape)))
    found = kit.diagnosed(tmp_path, frames)
    assert found.read_noise.value == pytest.approx(kit.CLEAN.read_noise_e, rel=0.1)
    assert found.read_noise.upper_limit


def test_smoothed_noise_is_measured_and_no_blind_spot_fits(tmp_path: Path) -> None:
    noise = ndimage.gaussian_filter(kit.white(12), (0, 0.6, 0.6), mode="wrap")
    found = kit.diagnosed(tmp_path, kit.counts(kit.lit() + noise))
    lag1 = truth_of(0.6, 1)
    assert lag1 == pytest.approx(0.44, abs=0.03)
    for name, truth in (
        ("lag1_x", lag1),
        ("lag1_y", lag1),
        ("lag1_diagonal", lag1**2),
        ("lag2_x", truth_of(0.6, 2)),
    ):
        assert getattr(found, name).value == pytest.approx(truth, abs=0.015)
    assert kit.method(found, "n2v").fit == "does not fit"
    assert kit.method(found, "structn2v").fit == "does not fit"
    assert kit.method(found, "pg").fit == "does not fit"
    assert kit.method(found, "n2n").fit == "fits"
    assert any("smoothed" in line for line in found.suspicions)
    assert found.row_noise.value is not None
    assert found.row_noise.value < 0.05


@pytest.mark.parametrize("axis", ["x", "y"])
def test_noise_smoothed_along_one_axis_wants_a_structured_mask(tmp_path: Path, axis: str) -> None:
    along = {"x": (0, 0, 0.6), "y": (0, 0.6, 0)}[axis]
    noise = ndimage.gaussian_filter(kit.white(12, 128), along, mode="wrap")
    found = kit.diagnosed(tmp_path, kit.counts(kit.lit() + noise))
    along_lag, across_lag = found.lag1_x, found.lag1_y
    if axis == "y":
        along_lag, across_lag = across_lag, along_lag
    assert along_lag.value == pytest.approx(truth_of(0.6, 1), abs=0.02)
    assert across_lag.value == pytest.approx(0.0, abs=0.02)
    verdict = kit.method(found, "structn2v")
    assert verdict.fit == "fits"
    assert f"along {axis} only" in verdict.why
    assert kit.method(found, "n2v").fit == "does not fit"


def test_correlation_two_pixels_apart_alone_is_seen(tmp_path: Path) -> None:
    noise = kit.white(12, 128)
    noise = noise + 0.5 * np.roll(noise, 2, axis=2)
    found = kit.diagnosed(tmp_path, kit.counts(kit.lit() + noise))
    assert found.lag1_x.value == pytest.approx(0.0, abs=0.02)
    assert found.lag2_x.value == pytest.approx(0.4, abs=0.02)
    assert kit.method(found, "n2v").fit == "does not fit"
    assert "two pixels apart along x" in kit.method(found, "n2v").why
    assert "two pixels" in kit.method(found, "structn2v").why


def test_sharpened_noise_is_called_sharpened(tmp_path: Path) -> None:
    noise = kit.white(12, 128)
    noise = 2.0 * noise - ndimage.gaussian_filter(noise, (0, 1, 1), mode="wrap")
    found = kit.diagnosed(tmp_path, kit.counts(kit.lit() + noise))
    assert found.lag1_x.value is not None
    assert found.lag1_x.value < -0.05
    assert kit.method(found, "n2v").fit != "fits"
    found = kit.diagnosed(
        tmp_path, kit.counts(kit.lit() + noise - np.roll(noise, 1, 2) - np.roll(noise, 1, 1))
    )
    assert any("sharpened" in line for line in found.suspicions)


@pytest.mark.parametrize(("axis", "share"), [(2, 0.3), (1, 0.3), (2, 0.15)])
def test_noise_that_lines_share_comes_back(tmp_path: Path, axis: int, share: float) -> None:
    rng = np.random.default_rng(3)
    line = np.expand_dims(rng.normal(0.0, 10.0 * share, (16, 128)), axis)
    found = kit.diagnosed(tmp_path, kit.counts(kit.lit() + kit.white(16) + line))
    truth = share / np.hypot(1.0, share)
    lines, none = found.row_noise, found.column_noise
    if axis == 1:
        lines, none = none, lines
    assert lines.value == pytest.approx(truth, rel=0.1)
    assert none.value is not None
    assert none.value < 0.06
    assert kit.method(found, "n2v").fit == "with care"
    mask = kit.method(found, "structn2v")
    assert mask.fit == "fits"
    assert "as many pixels" in mask.why
    assert any("stripes" in line for line in found.summary)


def test_fixed_pattern_hot_and_telegraph_pixels_do_not_read_as_correlation(tmp_path: Path) -> None:
    sensor = kit.CLEAN.model_copy(
        update={
            "offset_spread_adu": 12.0,
            "gain_spread": 0.05,
            "telegraph_fraction": 0.03,
            "telegraph_factor": 4.0,
            "hot_pixel_fraction": 0.002,
            "dark_current_e_per_s": 0.5,
        }
    )
    frames = kit.movie(16, peak_e=100.0, sensor=SensorConfig(**sensor.model_dump()))
    # Columns of different offset, as column amplifiers have: fixed, so they are no noise.
    frames = frames + np.random.default_rng(1).integers(0, 20, 128).astype(np.uint16)
    found = kit.diagnosed(tmp_path, frames)
    for name in ALL_LAGS:
        assert abs(getattr(found, name).value) < 0.02
    assert found.suspicions == ()
    assert kit.method(found, "n2v").fit == "fits"


def test_a_few_cosmic_rays_do_not_read_as_correlation(tmp_path: Path) -> None:
    frames = kit.movie(16)
    for t, y, x in ((2, 40, 41), (7, 100, 12), (11, 70, 110)):
        frames[t, y : y + 3, x : x + 3] += 3000
    found = kit.diagnosed(tmp_path, frames)
    for name in ALL_LAGS:
        assert abs(getattr(found, name).value) < 0.02
    assert kit.method(found, "n2v").fit == "fits"


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    slope=st.tuples(st.floats(-3, 3), st.floats(-3, 3)),
    scale=st.floats(0.1, 100),
)
def test_a_plane_that_comes_and_goes_and_the_scale_change_nothing(
    seed: int, slope: tuple[float, float], scale: float
) -> None:
    run = list(kit.white(3, 64, sigma=1.0, seed=seed))
    y, x = np.mgrid[:64, :64].astype(np.float32)
    plane = np.float32(slope[0]) * y + np.float32(slope[1]) * x
    other = [np.float32(scale) * (frame + t * plane) for t, frame in enumerate(run)]
    first, second = tile_noise([run]), tile_noise([other])
    assert second.variance == pytest.approx(first.variance * scale**2, rel=1e-3)
    for (a, _), (b, _) in zip(
        correlations(first, all_tiles(first)).values(),
        correlations(second, all_tiles(second)).values(),
        strict=True,
    ):
        assert b == pytest.approx(a, abs=1e-3)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**31), sigma=st.tuples(st.floats(0, 1), st.floats(0, 1)))
def test_a_transposed_movie_has_x_and_y_exchanged(seed: int, sigma: tuple[float, float]) -> None:
    run = list(ndimage.gaussian_filter(kit.white(3, 64, seed=seed), (0, *sigma)))
    noise, turned = tile_noise([run]), tile_noise([[frame.T for frame in run]])
    assert noise.variance.mean() == pytest.approx(turned.variance.mean(), rel=1e-4)
    for a, b in (("lag1_x", "lag1_y"), ("lag2_y", "lag2_x"), ("diagonal", "diagonal")):
        here = correlations(noise, all_tiles(noise))[a][0]
        there = correlations(turned, all_tiles(turned))[b][0]
        assert here == pytest.approx(there, abs=1e-4)
    rows = shared_noise(noise, all_tiles(noise), "x")[0]
    assert rows == pytest.approx(shared_noise(turned, all_tiles(turned), "y")[0], abs=1e-3)


def test_the_two_diagonals_are_told_apart_and_the_larger_is_reported(tmp_path: Path) -> None:
    """Noise shared with the pixel below and to the right is at lag (1, 1), not at (1, -1)."""
    noise = kit.white(12, 128)
    noise = noise + 0.5 * np.roll(noise, (1, 1), axis=(1, 2))
    tiles = tile_noise([list(noise)])
    assert float((at_lag(tiles.near, 1, 1) / tiles.variance).mean()) == pytest.approx(0.4, abs=0.02)
    assert float((at_lag(tiles.near, 1, -1) / tiles.variance).mean()) == pytest.approx(0, abs=0.02)
    for frames in (noise, noise[:, :, ::-1]):
        found = kit.diagnosed(tmp_path, kit.counts(kit.lit() + frames))
        assert found.lag1_diagonal.value == pytest.approx(0.4, abs=0.02)
        assert kit.method(found, "structn2v").fit == "does not fit"


def test_a_field_that_is_not_alike_everywhere_has_larger_errors() -> None:
    """Half the tiles correlate by 0.44 and half by 0: the mean of 16 is known to 0.06, not less."""
    noise = kit.white(6, 128)
    noise[:, :64] = ndimage.gaussian_filter(noise, (0, 0.6, 0.6))[:, :64]
    tiles = tile_noise([list(noise)])
    value, error = correlations(tiles, all_tiles(tiles))["lag1_x"]
    assert value == pytest.approx(0.22, abs=0.02)
    assert error == pytest.approx(0.22 / np.sqrt(15), rel=0.15)


def test_broad_blotches_are_not_taken_for_stripes() -> None:
    blotches = ndimage.gaussian_filter(kit.white(40, 128, seed=1), (0, 7.0, 7.0), mode="wrap")
    tiles = tile_noise([list(kit.white(40, 128) + 4.0 / blotches.std() * blotches)])
    for axis in ("x", "y"):
        assert shared_noise(tiles, all_tiles(tiles), axis)[0] < 0.1


def test_the_fine_part_of_the_noise_is_what_the_filter_passes() -> None:
    """Out of the autocovariance, and by filtering the frames: the same."""
    noise = ndimage.gaussian_filter(kit.white(41, 128), (0, 0.4, 0.5), mode="wrap")
    tiles = tile_noise([list(noise)])
    kernel = np.array([1.0, -4.0, 6.0, -4.0, 1.0]) / np.sqrt(70.0)
    passed = ndimage.correlate1d(ndimage.correlate1d(noise, kernel, axis=1), kernel, axis=2)
    truth = float(np.square(np.diff(passed[:, 4:-4, 4:-4], axis=0)).mean()) / 2.0
    assert float(fine_variance(tiles.near, FOURTH, FOURTH).mean()) == pytest.approx(truth, rel=0.03)
    assert truth < 0.6 * float(tiles.variance.mean())


@pytest.mark.parametrize(("axis", "sigma"), [("x", (0, 0, 0.5)), ("y", (0, 0.6, 0))])
def test_the_finest_detail_tells_how_neighbours_correlate(
    axis: str, sigma: tuple[float, ...]
) -> None:
    noise = ndimage.gaussian_filter(kit.white(24, 128), sigma, mode="wrap")
    tiles = tile_noise([list(noise)])
    value, error = fine_correlation(tiles, axis)
    assert value == pytest.approx(truth_of(max(sigma), 1), abs=0.04)
    assert error < 0.03
    other, error = fine_correlation(tiles, "y" if axis == "x" else "x")
    assert abs(other) < 4.0 * error
    assert error < 0.05


def test_what_the_plane_takes_of_line_noise_is_put_back() -> None:
    line = np.random.default_rng(3).normal(0.0, 5.0, (150, 128, 1)).astype(np.float32)
    tiles = tile_noise([list(kit.white(150, 128) + line)])
    shared, error = shared_noise(tiles, all_tiles(tiles), "x")
    # The plane takes 1 part in 16 of the rows' variance, which is 0.2 of all of it.
    total = float(tiles.variance.mean())
    assert shared * np.sqrt(total) == pytest.approx(5.0, rel=0.012)
    assert error < 0.01


def test_the_plane_taken_out_leaves_no_bias() -> None:
    """Over 400 frames the error of a lag is below 0.0007: 3 / 1024 of bias would stand out."""
    noise = tile_noise([list(kit.white(400, 128))])
    for name, (value, error) in correlations(noise, all_tiles(noise)).items():
        assert error < 7e-4, name
        assert abs(value) < 4.0 * error, name
    assert float(noise.variance.mean()) == pytest.approx(100.0, rel=0.003)
    far = float((at_lag(noise.near, 20, 20) / noise.variance).mean())
    assert abs(far) < 2e-3


def test_errors_are_what_they_say() -> None:
    """Over 40 movies values scatter around 0 by their own errors, neither less nor more."""
    scores = []
    for seed in range(40):
        noise = tile_noise([list(kit.white(5, 128, seed=seed))])
        scores.append([v / e for v, e in correlations(noise, all_tiles(noise)).values()])
    spread = float(np.sqrt(np.square(scores).mean()))
    assert 0.8 < spread < 1.2
    assert np.mean(np.abs(scores) < 3.0) > 0.97
