"""The generalised Anscombe transform, its inverse, and the two classical denoisers."""

import numpy as np
import numpy.typing as npt
import pytest
from scipy import ndimage

from livedenoise.core.constants import CameraConstants
from livedenoise.imaging.classical import (
    gat_forward,
    gat_inverse,
    gat_nlm,
    gaussian,
    tuned_gaussian,
)

FloatImage = npt.NDArray[np.float64]


def noisy_electrons(level: float, read_e: float, size: int = 200_000) -> FloatImage:
    rng = np.random.default_rng(0)
    return np.asarray(rng.poisson(level, size) + rng.normal(0, read_e, size))


def structure(size: int = 96) -> FloatImage:
    """Return cell bodies of different brightness with soft edges, peak about 1."""
    rng = np.random.default_rng(2)
    y, x = np.mgrid[:size, :size]
    image = np.full((size, size), 0.05)
    for _ in range(6):
        centre, radius = rng.uniform(0, size, 2), rng.uniform(8, 18)
        image[(y - centre[0]) ** 2 + (x - centre[1]) ** 2 < radius**2] = rng.uniform(0.3, 1)
    return np.asarray(ndimage.gaussian_filter(image, 1.3))


@pytest.mark.parametrize(("level", "read_e"), [(5, 0.0), (5, 2.0), (50, 1.0), (2000, 5.0)])
def test_the_transform_has_unit_variance(level: float, read_e: float) -> None:
    stabilised = gat_forward(noisy_electrons(level, read_e), read_e)
    assert stabilised.std() == pytest.approx(1.0, abs=0.05)


@pytest.mark.parametrize("read_e", [0.0, 1.0, 3.0])
@pytest.mark.parametrize("level", [1.0, 4.0, 30.0, 1000.0])
def test_the_inverse_of_the_mean_is_unbiased(level: float, read_e: float) -> None:
    mean = gat_forward(noisy_electrons(level, read_e), read_e).astype(np.float64).mean()
    restored = float(gat_inverse(np.array([mean]), read_e)[0])
    assert restored == pytest.approx(level, rel=0.01, abs=0.06)
    algebraic = mean**2 / 4 - 3 / 8 - read_e**2
    if level == 4.0 and read_e == 0.0:
        assert abs(algebraic - level) > 3 * abs(restored - level)


def test_the_inverse_has_no_pole_and_is_never_negative() -> None:
    values = np.linspace(-5, 5, 1001)
    for read_e in (0.0, 0.5, 3.0):
        restored = gat_inverse(values, read_e)
        assert np.isfinite(restored).all()
        assert restored.min() >= 0
        assert (np.diff(restored) >= -1e-6).all()


@pytest.mark.parametrize(("gain", "factor"), [(0.5, 1.0), (0.05, 2.0)])
def test_nlm_removes_noise_and_keeps_the_mean_in_counts(gain: float, factor: float) -> None:
    rng = np.random.default_rng(0)
    clean_e = 60 * structure()
    primary = rng.poisson(clean_e)
    signal = rng.gamma(np.maximum(primary, 1e-9)) if factor == 2.0 else primary
    counts = (100 + (signal + rng.normal(0, 2, clean_e.shape)) / gain).astype(np.float32)
    truth = 100 + clean_e / gain
    constants = CameraConstants(
        gain_e_per_adu=gain, offset_adu=100.0, read_noise_e=2.0, excess_noise_factor=factor
    )
    restored = gat_nlm(counts, constants)
    assert restored.dtype == np.float32
    assert np.square(restored - truth).mean() < 0.35 * np.square(counts - truth).mean()
    assert (restored - 100).mean() == pytest.approx((truth - 100).mean(), rel=0.05)


def test_nlm_divides_the_excess_noise_factor_out_first() -> None:
    counts = np.random.default_rng(0).poisson(200 * structure(48)).astype(np.float32)
    emccd = CameraConstants(
        gain_e_per_adu=0.8, offset_adu=3.0, read_noise_e=6.0, excess_noise_factor=2.0
    )
    plain = CameraConstants(gain_e_per_adu=0.4, offset_adu=3.0, read_noise_e=3.0)
    np.testing.assert_allclose(gat_nlm(counts, emccd), gat_nlm(counts, plain), rtol=1e-5)


def test_nlm_of_a_flat_image_holds_its_level() -> None:
    counts = (50 + np.random.default_rng(0).poisson(4.0, (128, 128))).astype(np.uint16)
    constants = CameraConstants(gain_e_per_adu=1.0, offset_adu=50.0, read_noise_e=0.0)
    restored = gat_nlm(counts, constants)
    assert (restored - 50).mean() == pytest.approx(4.0, rel=0.03)
    assert restored.std() < 0.5 * counts.std()


def test_gaussian_keeps_the_mean_and_zero_copies() -> None:
    image = np.random.default_rng(0).poisson(50, (64, 64)).astype(np.uint16)
    assert gaussian(image, 2.0).mean() == pytest.approx(image.mean(), rel=0.01)
    np.testing.assert_array_equal(gaussian(image, 0.0), image)


def test_tuned_gaussian_returns_the_best_of_its_sigmas() -> None:
    rng = np.random.default_rng(0)
    clean = 100 * structure()
    noisy = clean + rng.normal(0, 20, clean.shape)
    counts = noisy.astype(np.float32)
    sigmas = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 6.0)
    best, sigma = tuned_gaussian(counts, clean, sigmas)
    errors = [np.square(gaussian(counts, s) - clean).mean() for s in sigmas]
    assert sigma == sigmas[int(np.argmin(errors))]
    assert 0.0 < sigma < 6.0
    assert np.square(best - clean).mean() == pytest.approx(min(errors))


def test_tuned_gaussian_refuses_nothing_to_choose_from() -> None:
    image = np.zeros((8, 8), np.float32)
    with pytest.raises(ValueError, match="sigmas"):
        tuned_gaussian(image, image, ())
    with pytest.raises(ValueError, match="shape"):
        tuned_gaussian(image, image[:4], (1.0,))
