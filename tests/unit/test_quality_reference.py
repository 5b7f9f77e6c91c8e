"""Reference metrics against known truth."""

import numpy as np
import numpy.typing as npt
import pytest

from livedenoise.quality.reference import (
    intensity_bias,
    nrmse,
    psnr,
    scale_invariant_psnr,
    ssim,
)

Image = npt.NDArray[np.float64]


@pytest.fixture
def clean() -> Image:
    y, x = np.mgrid[:64, :64]
    return np.asarray(100 + 80 * np.sin(x / 5) * np.cos(y / 7))


def test_psnr_of_a_known_error(clean: Image) -> None:
    assert psnr(clean, clean + 2.55, 255) == pytest.approx(40.0)
    assert psnr(clean, clean + 25.5, 255) == pytest.approx(20.0)
    assert psnr(clean, clean, 255) == np.inf


def test_psnr_of_unsigned_images_does_not_wrap_around() -> None:
    low, high = np.full((8, 8), 1, np.uint8), np.full((8, 8), 254, np.uint8)
    assert psnr(low, high, 255) == pytest.approx(20 * np.log10(255 / 253))


def test_ssim_is_one_for_equal_images_and_follows_the_formula_for_a_shift(clean: Image) -> None:
    assert ssim(clean, clean, 255) == pytest.approx(1.0)
    flat = np.full((32, 32), 100.0)
    c1 = (0.01 * 255) ** 2
    expected = (2 * 100 * 120 + c1) / (100**2 + 120**2 + c1)
    assert ssim(flat, flat + 20, 255) == pytest.approx(expected, rel=1e-6)
    noisy = clean + np.random.default_rng(0).normal(0, 40, clean.shape)
    assert ssim(clean, noisy, 255) < 0.7


def test_nrmse_is_relative_to_the_range_of_the_reference(clean: Image) -> None:
    span = clean.max() - clean.min()
    assert nrmse(clean, clean + 0.1 * span) == pytest.approx(0.1)


def test_scale_invariant_psnr_forgives_units_but_not_noise(clean: Image) -> None:
    noise = np.random.default_rng(0).normal(0, 8, clean.shape)
    plain = scale_invariant_psnr(clean, clean + noise)
    assert scale_invariant_psnr(clean, 0.2 * (clean + noise) - 30) == pytest.approx(plain)
    span = clean.max() - clean.min()
    assert plain == pytest.approx(20 * np.log10(span / 8), abs=0.3)
    assert scale_invariant_psnr(clean, 3 * clean + 7) > 200
    assert scale_invariant_psnr(clean, np.full_like(clean, 5)) == pytest.approx(
        20 * np.log10(span / clean.std())
    )


def test_intensity_bias_takes_the_offset_out_of_both(clean: Image) -> None:
    test = 50 + 0.97 * (clean - 50)
    assert intensity_bias(clean, test, offset_adu=50) == pytest.approx(0.97)
    assert intensity_bias(clean, test) > 0.98


def test_figures_that_mean_nothing_are_refused(clean: Image) -> None:
    flat = np.full_like(clean, 7)
    for metric in (nrmse, scale_invariant_psnr):
        with pytest.raises(ValueError, match="constant"):
            metric(flat, clean)
    with pytest.raises(ValueError, match="data_range"):
        psnr(clean, clean, 0)
    with pytest.raises(ValueError, match="not above offset"):
        intensity_bias(flat, clean, offset_adu=7)
    with pytest.raises(ValueError, match="7x7"):
        ssim(clean[:6], clean[:6], 255)
    with pytest.raises(ValueError, match=r"\(64, 64\) but test is \(63, 64\)"):
        psnr(clean, clean[1:], 255)
