"""Counts to network units and back: exact, rounded, clipped, and with the right variance."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from livedenoise.core.constants import CameraConstants, CameraMaps
from livedenoise.core.errors import CalibrationError, DenoiseError
from livedenoise.imaging.transforms import CountsTransform, quantise

ALL_COUNTS = np.arange(65536, dtype=np.uint16).reshape(256, 256)


def constants(**changes: float) -> CameraConstants:
    values = {"gain_e_per_adu": 0.46, "offset_adu": 100.0, "read_noise_e": 1.4} | changes
    return CameraConstants(**values)


def flat_maps(shape: tuple[int, int], gain: float, offset: float) -> CameraMaps:
    return CameraMaps(
        offset_adu=np.full(shape, offset, np.float32),
        gain_e_per_adu=np.full(shape, gain, np.float32),
        variance_adu2=np.full(shape, 4.0, np.float32),
    )


@given(
    gain=st.floats(0.02, 50),
    offset=st.floats(-50, 2000),
    read=st.floats(0, 60),
    factor=st.sampled_from([1.0, 2.0]),
)
def test_every_16_bit_count_survives_the_round_trip(
    gain: float, offset: float, read: float, factor: float
) -> None:
    transform = CountsTransform(
        constants(
            gain_e_per_adu=gain, offset_adu=offset, read_noise_e=read, excess_noise_factor=factor
        )
    )
    u = transform.to_network(ALL_COUNTS)
    assert u.dtype == np.float32
    back, clipped = transform.quantise(transform.to_counts(u), "<u2", 16)
    np.testing.assert_array_equal(back, ALL_COUNTS)
    assert clipped == 0


def test_scale_and_shift_are_the_scalar_affine() -> None:
    transform = CountsTransform(constants(excess_noise_factor=2.0))
    assert transform.scale == pytest.approx(0.23)
    assert transform.shift == pytest.approx(0.7**2 - 100 * 0.23)
    u = transform.to_network(np.array([[100]], dtype=np.uint16))
    assert u[0, 0] == pytest.approx(0.49, abs=1e-5)


def test_values_below_the_offset_are_kept() -> None:
    transform = CountsTransform(constants())
    u = transform.to_network(np.array([[80]], dtype=np.uint16))
    assert u[0, 0] == pytest.approx(-20 * 0.46 + 1.96, abs=1e-4)


@pytest.mark.parametrize("factor", [1.0, 2.0])
@pytest.mark.parametrize("electrons", [3.0, 200.0])
def test_variance_equals_mean_in_network_units(factor: float, electrons: float) -> None:
    rng = np.random.default_rng(0)
    # Excess noise: a gamma gain of unit mean and unit variance doubles the variance (EMCCD).
    primary = rng.poisson(electrons, 200_000)
    signal = rng.gamma(np.maximum(primary, 1e-9)) if factor == 2.0 else primary
    counts = 100 + (signal + rng.normal(0, 2.5, primary.size)) / 0.02
    transform = CountsTransform(
        constants(gain_e_per_adu=0.02, read_noise_e=2.5, excess_noise_factor=factor)
    )
    u = transform.to_network(counts.astype(np.float32))
    assert u.var() == pytest.approx(u.mean(), rel=0.03)


def test_uniform_maps_equal_the_scalars() -> None:
    scalar = CountsTransform(constants())
    mapped = CountsTransform(constants(), flat_maps((256, 256), 0.46, 100.0))
    np.testing.assert_allclose(
        mapped.to_network(ALL_COUNTS), scalar.to_network(ALL_COUNTS), rtol=1e-5, atol=1e-3
    )


def test_maps_take_the_fixed_pattern_out() -> None:
    rng = np.random.default_rng(0)
    gain = rng.normal(0.46, 0.02, (64, 64)).astype(np.float32)
    offset = rng.normal(100, 5, (64, 64)).astype(np.float32)
    maps = CameraMaps(
        offset_adu=offset, gain_e_per_adu=gain, variance_adu2=np.full((64, 64), 9.0, np.float32)
    )
    transform = CountsTransform(constants(), maps)
    flat_electrons = 92.0
    counts = (offset + flat_electrons / gain).astype(np.float32)
    assert counts.std() > 5
    restored = transform.to_counts(transform.to_network(counts))
    np.testing.assert_allclose(restored, 100 + flat_electrons / 0.46, rtol=1e-5)


def test_maps_of_another_shape_are_refused() -> None:
    transform = CountsTransform(constants(), flat_maps((8, 8), 0.46, 100.0))
    with pytest.raises(CalibrationError, match=r"\(4, 8\).*\(8, 8\)"):
        transform.to_network(np.zeros((4, 8), np.uint16))


def test_results_go_into_the_given_arrays() -> None:
    transform = CountsTransform(constants())
    frame = ALL_COUNTS[:4, :4]
    buffer = np.empty((4, 4), np.float32)
    assert transform.to_network(frame, out=buffer) is buffer
    assert transform.to_counts(buffer, out=buffer) is buffer
    np.testing.assert_allclose(buffer, frame, atol=1e-3)
    target = np.empty((4, 4), np.uint16)
    result, _ = quantise(buffer, "<u2", 16, out=target)
    assert result is target
    np.testing.assert_array_equal(target, frame)


def test_counts_are_rounded_half_to_even_never_truncated() -> None:
    counts = np.array([[0.5, 1.5, 2.4999, 2.6, 9.9999]], np.float32)
    result, clipped = quantise(counts, "|u1", 8)
    np.testing.assert_array_equal(result, [[0, 2, 2, 3, 10]])
    assert result.dtype == np.uint8
    assert clipped == 0


def test_clipping_is_to_the_bit_depth_and_counted_after_rounding() -> None:
    counts = np.array([[-3.0, -0.4, 4095.4, 4096.0, 70000.0]], np.float32)
    result, clipped = quantise(counts, "<u2", 12)
    np.testing.assert_array_equal(result, [[0, 0, 4095, 4095, 4095]])
    assert clipped == 3


def test_float_frames_are_neither_rounded_nor_clipped() -> None:
    counts = np.array([[-3.25, 70000.5]], np.float32)
    result, clipped = quantise(counts, "<f4", 16)
    np.testing.assert_array_equal(result, counts)
    assert clipped == 0


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", ["<u2", "<f4"])
def test_pixels_that_are_no_number_are_an_error_not_a_count(value: float, dtype: str) -> None:
    counts = np.array([[1.0, value]], np.float32)
    with pytest.raises(DenoiseError, match="not a number"):
        quantise(counts, dtype, 16)


def test_a_bit_depth_beyond_the_type_is_refused() -> None:
    with pytest.raises(ValueError, match="12 bits do not fit"):
        quantise(np.zeros((1, 1), np.float32), "|u1", 12)
