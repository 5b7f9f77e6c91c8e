"""Reference-free figures against simulations whose truth is known."""

import numpy as np
import numpy.typing as npt
import pytest
from scipy import ndimage

from livedenoise.core.constants import CameraConstants
from livedenoise.quality.blind import (
    cross_mse,
    difference_noise_adu,
    electron_snr,
    noise_variance_adu2,
    residual_lag1,
    unbiased_mse,
    unbiased_psnr,
    variance_ratio,
)

CAMERA = CameraConstants(gain_e_per_adu=0.5, offset_adu=100.0, read_noise_e=2.0)
Image = npt.NDArray[np.float64]


@pytest.fixture(scope="module")
def clean() -> Image:
    """Return a scene in counts: 10 to 90 electrons."""
    smooth = ndimage.gaussian_filter(np.random.default_rng(1).normal(size=(128, 128)), 3)
    electrons = 50 + 40 * smooth / np.abs(smooth).max()
    return np.asarray(100 + electrons / 0.5)


def shots(clean: Image, n: int, seed: int = 0) -> list[Image]:
    rng = np.random.default_rng(seed)
    electrons = (clean - 100) * 0.5
    noisy = rng.poisson(electrons, (n, *clean.shape)) + rng.normal(0, 2, (n, *clean.shape))
    return [np.asarray(100 + frame / 0.5) for frame in noisy]


def test_expected_variance_is_that_of_many_shots(clean: Image) -> None:
    measured = np.var(shots(clean, 60), axis=0).mean()
    assert noise_variance_adu2(clean, CAMERA).mean() == pytest.approx(measured, rel=0.03)


def test_electron_snr_follows_its_formula_and_knows_excess_noise() -> None:
    level = np.array([[100.0, 90.0, 300.0]])
    np.testing.assert_allclose(electron_snr(level, CAMERA), [[0, 0, 100 / np.sqrt(104)]])
    emccd = CameraConstants(
        gain_e_per_adu=0.5, offset_adu=100.0, read_noise_e=2.0, excess_noise_factor=2.0
    )
    assert electron_snr(level, emccd)[0, 2] == pytest.approx(100 / np.sqrt(204))
    silent = CameraConstants(gain_e_per_adu=1.0, offset_adu=100.0, read_noise_e=0.0)
    assert electron_snr(level, silent)[0, 0] == 0


def test_difference_noise_is_the_rms_of_one_frame_whatever_the_bleaching(clean: Image) -> None:
    first, second = shots(clean, 2)
    truth = np.sqrt(noise_variance_adu2(clean, CAMERA).mean())
    assert difference_noise_adu(first, second) == pytest.approx(truth, rel=0.03)
    assert difference_noise_adu(first, second - 50) == pytest.approx(truth, rel=0.03)


def test_the_residual_of_a_perfect_denoiser_is_white_and_of_unit_variance(clean: Image) -> None:
    (raw,) = shots(clean, 1)
    assert residual_lag1(raw, clean, CAMERA) == pytest.approx((0, 0), abs=0.02)
    assert variance_ratio(raw, clean, CAMERA) == pytest.approx(1, abs=0.03)


def test_lost_structure_correlates_the_residual_and_raises_its_variance(clean: Image) -> None:
    (raw,) = shots(clean, 1)
    blurred = ndimage.gaussian_filter(clean, 6)
    assert min(residual_lag1(raw, blurred, CAMERA)) > 0.3
    assert variance_ratio(raw, blurred, CAMERA) > 1.4


def test_correlation_is_told_apart_by_direction(clean: Image) -> None:
    stripes = clean + 40 * np.sign(np.sin(np.arange(128) / 9))[:, None]
    along_x, along_y = residual_lag1(stripes, clean, CAMERA)
    assert along_x > 0.98
    assert along_x > along_y > 0.6


def test_an_identity_denoiser_shows_as_too_little_residual(clean: Image) -> None:
    (raw,) = shots(clean, 1)
    assert variance_ratio(raw, raw, CAMERA) == 0
    assert residual_lag1(raw, raw, CAMERA) == (0, 0)


@pytest.mark.parametrize("sigma", [0.8, 2.0, 6.0])
def test_unbiased_errors_agree_with_the_true_error(clean: Image, sigma: float) -> None:
    estimates = []
    for seed in range(12):
        raw, a, b, c = shots(clean, 4, seed)
        denoised = ndimage.gaussian_filter(raw, sigma)
        truth = np.square(denoised - clean).mean()
        estimates.append(
            (unbiased_mse(denoised, a, b, c) / truth, cross_mse(denoised, a, b) / truth)
        )
    np.testing.assert_allclose(np.mean(estimates, axis=0), 1, atol=0.07)


def test_unbiased_psnr_is_ten_times_the_logarithm() -> None:
    assert unbiased_psnr(2.55**2, 255) == pytest.approx(40)
    assert np.isnan(unbiased_psnr(-1.0, 255))
    with pytest.raises(ValueError, match="data_range"):
        unbiased_psnr(1.0, 0)


def test_images_of_different_shape_are_refused(clean: Image) -> None:
    with pytest.raises(ValueError, match="different shape"):
        difference_noise_adu(clean, clean[1:])
