"""Streaming moments against numpy on the whole stack, and what is taken out of differences."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from livedenoise.imaging.ptc_drift import FrameMeans
from livedenoise.imaging.ptc_moments import PixelMoments

SIDE = 48


def moments_of(stack: npt.NDArray[np.generic], *, bit_depth: int = 16) -> PixelMoments:
    moments = PixelMoments(stack.shape[1:], bit_depth=bit_depth, fourth=True)
    for frame in stack:
        moments.add(frame)
    return moments


@given(
    seed=st.integers(0, 2**32 - 1),
    level=st.sampled_from([3.0, 100.0, 60_000.0]),
    cuts=st.lists(st.integers(2, 10), min_size=1, max_size=4),
)
@settings(max_examples=30, deadline=None)
def test_merged_series_have_the_moments_of_the_whole(
    seed: int, level: float, cuts: list[int]
) -> None:
    rng = np.random.default_rng(seed)
    parts = [rng.poisson(level, (n, 7, 9)).clip(0, 65535).astype(np.uint16) for n in cuts]
    whole = np.concatenate(parts).astype(np.float64)
    merged = moments_of(parts[0])
    for part in parts[1:]:
        merged.merge(moments_of(part))
    summary = merged.summary()
    assert summary.n_frames == sum(cuts)
    np.testing.assert_allclose(summary.mean_adu, whole.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(
        summary.sample_variance_adu2, whole.var(axis=0, ddof=1), rtol=1e-5, atol=1e-6
    )
    centred = whole - whole.mean(axis=0)
    power = np.mean(centred**2, axis=0)
    kurtosis = np.where(power > 0, np.mean(centred**4, axis=0) / np.maximum(power, 1e-9) ** 2, 3)
    np.testing.assert_allclose(summary.excess_kurtosis, kurtosis - 3, rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(summary.at_zero, (whole == 0).sum(axis=0))
    np.testing.assert_array_equal(summary.saturated, (whole == 65535).sum(axis=0))
    means = whole.mean(axis=(1, 2))
    line = np.polyfit(np.arange(len(means)), means, 1)
    assert summary.drift_adu == pytest.approx(line[0] * (len(means) - 1), abs=1e-6 * level)


def test_variance_from_differences_is_unbiased_with_the_stated_degrees_of_freedom() -> None:
    stack = np.random.default_rng(0).normal(1000, 5, (40, SIDE, SIDE))
    summary = moments_of(stack).summary()
    variance = summary.variance_adu2.astype(float)
    assert variance.mean() == pytest.approx(25.0, rel=0.015)
    assert 2 * 25.0**2 / variance.var() == pytest.approx(summary.dof, rel=0.1)


def test_drift_and_flicker_of_a_structured_scene_leave_the_variance_alone() -> None:
    rng = np.random.default_rng(2)
    scene = 200 + 800 * rng.random((SIDE, SIDE))
    light = (1 + 0.05 * np.linspace(-1, 1, 60)) * (1 + 0.03 * rng.normal(size=60))
    stack = 100 + light[:, None, None] * scene + rng.normal(0, 6, (60, SIDE, SIDE))
    summary = moments_of(stack).summary()
    assert summary.variance_adu2.mean() == pytest.approx(36.0, rel=0.02)
    bright = scene > 900
    assert summary.variance_adu2[bright].mean() == pytest.approx(36.0, rel=0.05)
    # Without the correction the same frames read more than twice as much.
    assert np.diff(stack, axis=0).var(axis=0).mean() / 2 > 80


def test_a_hot_pixel_keeps_its_noise() -> None:
    rng = np.random.default_rng(3)
    stack = 100 + rng.normal(0, 2, (80, SIDE, SIDE))
    stack[:, 5, 7] += 3000 + rng.normal(0, 50, 80)
    summary = moments_of(stack).summary()
    assert summary.variance_adu2[5, 7] == pytest.approx(2504, rel=0.4)
    assert summary.variance_adu2.ravel()[:100].mean() == pytest.approx(4.0, rel=0.05)


def test_even_light_does_not_take_its_own_noise_for_flicker() -> None:
    stack = np.random.default_rng(4).poisson(500, (6, SIDE, SIDE)).astype(np.uint16)
    assert moments_of(stack).summary().variance_adu2.mean() == pytest.approx(500, rel=0.02)


def test_neighbour_correlation_of_smoothed_noise() -> None:
    rng = np.random.default_rng(5)
    white = rng.normal(0, 10, (20, SIDE, SIDE + 1))
    summary = moments_of(1000 + 0.5 * (white[:, :, 1:] + white[:, :, :-1])).summary()
    assert summary.lag1_x == pytest.approx(0.5, abs=5 * summary.lag1_error)
    assert summary.lag1_y == pytest.approx(0.0, abs=5 * summary.lag1_error)


def test_what_does_not_fit_is_refused() -> None:
    moments = PixelMoments((4, 4), bit_depth=8)
    with pytest.raises(ValueError, match="two frames"):
        moments.summary()
    with pytest.raises(ValueError, match=r"\(4, 4\)"):
        moments.add(np.zeros((4, 5), np.uint8))
    with pytest.raises(ValueError, match="finite"):
        moments.add(np.full((4, 4), np.nan))
    with pytest.raises(ValueError, match="merged"):
        moments.merge(PixelMoments((4, 4), bit_depth=12))


def test_line_through_frame_means() -> None:
    means = FrameMeans()
    for k in range(50):
        means.add(1000 + 0.5 * k + (1 if k % 2 else -1))
    assert means.drift() == pytest.approx(24.5, abs=0.2)
    assert means.flicker() == pytest.approx(1.0, rel=0.05)
    assert means.error() == pytest.approx(1 / np.sqrt(50), rel=0.05)
