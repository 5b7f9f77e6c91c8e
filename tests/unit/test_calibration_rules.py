"""Rules of the calibration, each on numbers whose answer is known by hand."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from livedenoise.calibrate.defects import hot_pixels, telegraph_pixels
from livedenoise.calibrate.em_gain import excess_from_two_slopes, gain_and_excess
from livedenoise.calibrate.linearity import DoseLevel, linearity
from livedenoise.calibrate.measure import LitSeries, measure
from livedenoise.calibrate.results import Known, Value
from livedenoise.imaging.photon_noise import multiply_electrons
from livedenoise.imaging.ptc_moments import PixelMoments, PixelSummary

SIDE = 64
RNG_SEED = 11


def summary_of(frames: npt.NDArray[np.generic], *, bit_depth: int = 16) -> PixelSummary:
    moments = PixelMoments(frames.shape[1:], bit_depth=bit_depth, fourth=True)
    for frame in frames:
        moments.add(frame)
    return moments.summary()


def lit(frames: npt.NDArray[np.generic], light: float | None = 1.0) -> LitSeries:
    return LitSeries(exposure_us=1000.0, light=light, summary=summary_of(frames))


def test_excess_noise_from_two_slopes_by_hand() -> None:
    found = excess_from_two_slopes(
        Value(value=150.0, error=1.5), Value(value=0.25, error=0.0), Value(value=300.0, error=3.0)
    )
    assert found.value == pytest.approx(2.0)
    assert found.error == pytest.approx(2.0 * np.hypot(0.01, 0.01))
    assert excess_from_two_slopes(
        Value.missing("none"), Value(value=1.0), Value(value=1.0)
    ).status == ("not measurable")


def test_multiplication_is_measured_with_and_without_it() -> None:
    """Simulated register: conversion gain 4 e/ADU, multiplication 50, excess noise factor 2."""
    rng = np.random.default_rng(RNG_SEED)
    electrons = rng.poisson(200.0, (60, SIDE, SIDE)).astype(np.float32)
    multiplied = multiply_electrons(electrons, 50.0, rng)
    dark = summary_of(np.rint(100 + rng.normal(0, 3, (60, SIDE, SIDE))).astype(np.uint16))

    def calibrate(signal: npt.NDArray[np.float32], known: Known) -> tuple[Value, Value, Value]:
        noise = rng.normal(0, 3, signal.shape)
        frames = np.rint(100 + signal / 4 + noise).astype(np.uint16)
        result = measure({1000.0: dark}, [lit(frames)], bit_depth=16, known=known)
        assert result.transfer is not None
        slope = Value(value=result.transfer.slope_adu, error=result.transfer.slope_error_adu)
        return slope, result.gain_e_per_adu, result.excess_noise_factor

    off, gain_off, _ = calibrate(electrons, Known())
    on, gain_on, given = calibrate(multiplied, Known(excess_noise_factor=2.0))
    ratio = Value(value=50.0, error=0.1)
    factor = excess_from_two_slopes(on, off, ratio)
    assert gain_off.value == pytest.approx(4.0, rel=0.02)
    assert gain_on.value == pytest.approx(4.0 / 50, rel=0.02)
    assert given.status == "given"
    assert factor.value == pytest.approx(2.0, rel=0.03)
    _, gain, measured = calibrate(multiplied, Known(conversion_gain_e_per_adu=4.0, em_gain=50.0))
    assert gain.status == "given"
    assert measured.status == "measured"
    assert measured.value == pytest.approx(2.0, rel=0.02)


def test_a_slope_alone_tells_the_ratio_of_excess_noise_and_gain() -> None:
    gain, excess = gain_and_excess(2.0, 0.02, Known())
    assert (gain.value, gain.error) == (0.5, pytest.approx(0.005))
    assert excess.status == "assumed"
    gain, excess = gain_and_excess(2.0, 0.02, Known(excess_noise_factor=2.0))
    assert gain.value == 1.0
    assert excess.status == "given"
    assert "ratio only" in gain.text


def doses(bend: float) -> list[DoseLevel]:
    return [
        DoseLevel(dose=d, signal_adu=1000 * d * (1 - bend * (d / 10) ** 2), error_adu=0.1)
        for d in (0.1, 1.0, 2.0, 4.0, 6.0, 8.0, 9.9)
    ]


def test_linearity_is_judged_between_5_and_95_percent_of_saturation() -> None:
    straight = linearity(doses(0.0), 10_000.0)
    assert straight.error_percent.value == pytest.approx(0.0, abs=1e-9)
    assert [p.used for p in straight.points] == [False, True, True, True, True, True, False]
    bent = linearity(doses(0.1), 10_000.0)
    used = doses(0.1)[1:]  # bent down, the last one is within 95 %
    dose, signal = np.array([u.dose for u in used]), np.array([u.signal_adu for u in used])
    design = np.stack([dose, np.ones_like(dose)], axis=1) / signal[:, None]
    line = (
        np.stack([dose, np.ones_like(dose)], axis=1) @ np.linalg.lstsq(design, signal / signal)[0]
    )
    off = 100 * np.abs(signal / line - 1)
    assert off.max() > 2
    assert bent.largest_percent.value == pytest.approx(off.max())
    assert bent.error_percent.value == pytest.approx(off.mean())
    few = linearity(doses(0.0)[:3], 10_000.0)
    assert few.error_percent.value is None
    assert "needs 4 doses" in few.error_percent.text


def test_a_sensor_without_defects_has_none() -> None:
    rng = np.random.default_rng(RNG_SEED)
    false_hot, false_telegraph = 0, 0
    for _ in range(6):
        noise = 2.0 * np.exp(0.25 * rng.normal(size=(SIDE, SIDE)))
        dark = np.rint(100 + noise * rng.normal(size=(100, SIDE, SIDE))).astype(np.uint16)
        index, _ = telegraph_pixels(summary_of(dark), None)
        assert index is not None
        false_telegraph += index.size
        current = np.exp(0.3 * rng.normal(size=(SIDE, SIDE)))
        false_hot += hot_pixels(current, np.full_like(current, 0.01))[0].size
    assert false_hot <= 1
    assert false_telegraph <= 3


def test_three_levels_are_found_among_pixels_that_are_merely_noisy() -> None:
    rng = np.random.default_rng(RNG_SEED)
    noise = 2.0 * np.exp(0.2 * rng.normal(size=(SIDE, SIDE)))
    dark = 100 + noise * rng.normal(size=(200, SIDE, SIDE))
    chosen = rng.choice(SIDE * SIDE, 60, replace=False)
    steps = rng.integers(0, 2, (200, 60)) - rng.integers(0, 2, (200, 60))
    dark.reshape(200, -1)[:, chosen] += 7.0 * steps
    index, text = telegraph_pixels(summary_of(np.rint(dark).astype(np.uint16)), None)
    assert index is not None
    hits = len(set(index) & set(chosen))
    assert hits >= 54
    assert hits >= 0.9 * index.size
    assert "200 frames" in text


def test_darks_cut_off_at_zero_are_not_used_and_the_gain_stays_right() -> None:
    rng = np.random.default_rng(RNG_SEED)
    dark = np.rint(rng.normal(0, 3, (40, SIDE, SIDE))).clip(0).astype(np.uint16)
    scene = 20 + 180 * rng.random((SIDE // 8, SIDE // 8)).repeat(8, axis=0).repeat(8, axis=1)
    light = rng.poisson(scene, (40, SIDE, SIDE)) + rng.normal(0, 3, (40, SIDE, SIDE))
    frames = np.rint(light).clip(0).astype(np.uint16)
    result = measure({1000.0: summary_of(dark)}, [lit(frames)], bit_depth=16)
    assert result.gain_e_per_adu.value == pytest.approx(1.0, rel=0.03)
    assert result.offset_adu.status == "assumed"
    assert result.maps is None
    assert any("of the samples are zero" in w for w in result.warnings)


def test_dark_frames_without_noise_are_not_taken_for_a_camera_without_noise() -> None:
    rng = np.random.default_rng(RNG_SEED)
    dark = summary_of(np.full((30, SIDE, SIDE), 5, np.uint8), bit_depth=8)
    light = (5 + rng.poisson(40, (30, SIDE, SIDE))).astype(np.uint8)
    result = measure({1000.0: dark}, [lit(light)], bit_depth=8)
    assert result.read_noise_e.status == "assumed"
    assert result.read_noise_e.value == pytest.approx(12**-0.5, rel=0.05)


def test_values_say_how_they_are_known() -> None:
    with pytest.raises(ValueError, match="does not go with"):
        Value(value=None)
    with pytest.raises(ValueError, match="does not go with"):
        Value(value=1.0, status="not measurable")
    with pytest.raises(ValueError, match="finite"):
        Value(value=float("nan"))
    assert Value.missing("too dark").text == "too dark"


def test_a_moving_object_does_not_bias_the_gain() -> None:
    rng = np.random.default_rng(RNG_SEED)
    scene = 50 + 400 * rng.random((SIDE // 8, SIDE // 8)).repeat(8, axis=0).repeat(8, axis=1)
    frames = np.empty((30, SIDE, SIDE), np.uint16)
    for k in range(30):
        moved = scene.copy()
        moved[20 + k % 8 : 26 + k % 8, 30:36] += 600
        frames[k] = np.rint(100 + rng.poisson(moved))
    dark = summary_of(np.rint(rng.normal(100, 2, (30, SIDE, SIDE))).astype(np.uint16))
    result = measure({1000.0: dark}, [lit(frames)], bit_depth=16)
    assert result.transfer is not None
    assert any("the scene moved in" in w for w in result.warnings)
    assert result.gain_e_per_adu.value == pytest.approx(1.0, rel=0.02)
