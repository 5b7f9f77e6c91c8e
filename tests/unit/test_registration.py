"""Shift between noisy images, its standard error, and alignment."""

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from livedenoise.imaging.cross_spectrum import block_sums, pair_spectra
from livedenoise.imaging.interpolation import interpolate
from livedenoise.imaging.registration import (
    align_high,
    measure_shift,
    register,
    valid_region,
)
from livedenoise.imaging.scenes import SceneKind, render_scene, translate

Image = npt.NDArray[np.float32]
MARGIN_PX = 40


def noisy_pair(
    kind: SceneKind, shift_px: tuple[float, float], low_e: float, ratio: float, seed: int
) -> tuple[Image, Image]:
    """Return low, and high moved by ``shift_px``, of a field cut from a larger scene."""
    rng = np.random.default_rng(seed)
    scene = render_scene(kind, (192 + 2 * MARGIN_PX,) * 2, rng)
    scene *= np.float32(low_e / scene.mean())
    inner = slice(MARGIN_PX, -MARGIN_PX)
    moved = translate(scene, *shift_px)[inner, inner]
    low = rng.poisson(scene[inner, inner]) + rng.normal(0, 1.5, moved.shape)
    high = rng.poisson(ratio * moved) + rng.normal(0, 1.5, moved.shape)
    return low.astype(np.float32), high.astype(np.float32)


@pytest.mark.parametrize("kind", ["tubules", "granules", "cells", "mixed"])
def test_a_shift_is_found_to_hundredths_and_its_error_is_true(kind: SceneKind) -> None:
    scores = []
    for seed in range(6):
        rng = np.random.default_rng(seed)
        shift = (float(rng.uniform(-2, 2)), float(rng.uniform(-2, 2)))
        found = measure_shift(*noisy_pair(kind, shift, 20.0, 10.0, seed))
        assert found.found
        assert found.shift_px == pytest.approx(shift, abs=5 * found.error_px)
        assert found.error_px < 0.25
        scores.append(np.subtract(found.shift_px, shift) / found.error_px)
    assert np.sqrt(np.mean(np.square(scores))) < 2.0


@pytest.mark.parametrize("shift", [(25.0, -31.5), (-38.0, 0.0), (0.0, 17.3)])
def test_tens_of_pixels_are_found_as_exactly(shift: tuple[float, float]) -> None:
    found = measure_shift(*noisy_pair("mixed", shift, 20.0, 10.0, 3))
    assert found.shift_px == pytest.approx(shift, abs=0.1)


def test_one_electron_is_enough_where_there_is_structure() -> None:
    found = measure_shift(*noisy_pair("tubules", (1.2, -0.7), 1.0, 20.0, 1))
    assert found.found
    assert found.shift_px == pytest.approx((1.2, -0.7), abs=5 * found.error_px)


def test_noise_alone_has_no_shift() -> None:
    rng = np.random.default_rng(0)
    for _ in range(10):
        a, b = rng.normal(0, 1, (2, 192, 192)).astype(np.float32)
        assert not measure_shift(a, b).found


def test_a_flat_field_has_none_or_a_small_one() -> None:
    for seed in range(10):
        found = measure_shift(*noisy_pair("flat", (0.3, 0.2), 5.0, 10.0, seed))
        assert not found.found or found.length_px < 1.0 + 5 * found.error_px


def test_constant_images_have_no_shift_and_small_ones_are_refused() -> None:
    assert not measure_shift(np.ones((64, 64), np.float32), np.ones((64, 64), np.float32)).found
    with pytest.raises(ValueError, match="too small"):
        measure_shift(np.ones((16, 64), np.float32), np.ones((16, 64), np.float32))
    with pytest.raises(ValueError, match="one shape"):
        pair_spectra(np.ones((64, 64), np.float32), np.ones((64, 32), np.float32))


def test_binned_spectra_give_the_shift_in_pixels_of_the_image() -> None:
    low, high = noisy_pair("mixed", (1.4, -2.2), 50.0, 10.0, 5)
    spectra, found = register(low, high, least_binning=2)
    assert spectra.binning == 2
    assert found.shift_px == pytest.approx((1.4, -2.2), abs=0.15)


@pytest.mark.parametrize("shape", [(33, 1500), (64, 65), (40, 41), (1500, 70)])
def test_narrow_and_odd_fields_are_registered(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    scene = render_scene("tubules", (shape[0] + 8, shape[1] + 8), rng) * np.float32(2000)
    a, b = scene[4:-4, 4:-4], scene[3:-5, 4:-4]
    low, high = (rng.poisson(one).astype(np.float32) for one in (a, b))
    for binning in {1, min(shape) // 32}:
        found = measure_shift(low, high, least_binning=binning)
        assert not found.found or found.shift_px == pytest.approx((1.0, 0.0), abs=0.5)


@settings(max_examples=30, deadline=None)
@given(
    rows=st.integers(1, 40),
    columns=st.integers(1, 40),
    size=st.integers(1, 5),
    seed=st.integers(0, 99),
)
def test_block_sums_are_sums_over_blocks(rows: int, columns: int, size: int, seed: int) -> None:
    image = np.random.default_rng(seed).integers(0, 99, (rows, columns)).astype(np.float32)
    sums = block_sums(image, size)
    assert sums.shape == (rows // size, columns // size)
    for y, x in np.ndindex(sums.shape):
        block = image[y * size : (y + 1) * size, x * size : (x + 1) * size]
        assert sums[y, x] == block.sum()


def smooth_scene(shape: tuple[int, int]) -> Image:
    y, x = np.mgrid[: shape[0], : shape[1]]
    return (100 + 30 * np.sin(y / 5.0) * np.cos(x / 7.0)).astype(np.float32)


@pytest.mark.parametrize("shift", [(0.0, 0.0), (3.0, -2.0), (0.37, -0.81), (-6.5, 4.25)])
def test_alignment_undoes_a_shift_where_it_says_it_is_valid(shift: tuple[float, float]) -> None:
    y, x = np.mgrid[:80, :90].astype(np.float64)
    moved = (100 + 30 * np.sin((y - shift[0]) / 5) * np.cos((x - shift[1]) / 7)).astype(np.float32)
    truth = smooth_scene((80, 90))
    aligned, valid = align_high(moved, shift)
    assert aligned.dtype == np.float32
    assert aligned.shape == moved.shape
    np.testing.assert_allclose(aligned[valid], truth[valid], atol=1.5)
    inner = valid_region(truth.shape, shift, margin_px=6)
    np.testing.assert_allclose(aligned[inner], truth[inner], atol=0.02)
    fast, region = interpolate(moved, shift)
    np.testing.assert_allclose(fast, truth[region], atol=0.02)


def test_alignment_takes_counts_and_leaves_them_alone() -> None:
    counts = np.arange(64 * 64, dtype=np.uint16).reshape(64, 64)
    before = counts.copy()
    aligned, valid = align_high(counts, (2.0, -3.0))
    np.testing.assert_array_equal(counts, before)
    np.testing.assert_allclose(aligned[valid][0, 0], counts[2, 0], atol=1e-2)
    assert valid == (slice(0, 62), slice(3, 64))


def test_a_shift_longer_than_the_image_leaves_nothing() -> None:
    with pytest.raises(ValueError, match="leaves nothing"):
        interpolate(np.zeros((20, 20), np.float32), (25.0, 0.0))
    rows, _ = valid_region((20, 20), (25.0, 0.0))
    assert rows.start == rows.stop
