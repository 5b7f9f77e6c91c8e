"""Training noise: the variance equals the mean in network units, whatever the camera."""

from __future__ import annotations

import numpy as np
import pytest

from livedenoise.train.synthesis import (
    BRIGHT_RANGE_E,
    PEAK_RANGE_E,
    READ_NOISE_RANGE_E,
    Draw,
    draw_conditions,
    synthesize,
    unit_noise_kernel,
)

N = 4
PLAIN: dict[str, float] = {
    "peak_e": 50.0,
    "pedestal_e": 0.0,
    "read_noise_e": 2.0,
    "read_noise_log_sd": 0.0,
    "telegraph_fraction": 0.0,
    "blur_y_px": 0.0,
    "blur_x_px": 0.0,
    "step_e": 0.0,
    "floor_e": -np.inf,
    "gain_error": 1.0,
    "read_noise_error": 1.0,
    "offset_error_e": 0.0,
}


def _draw(*, multiplied: bool = False, **changes: float) -> Draw:
    fields = {k: np.full((N, 1, 1), v, np.float32) for k, v in (PLAIN | changes).items()}
    return Draw(multiplied=np.full((N, 1, 1), multiplied), **fields)


def _flat(draw: Draw, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    return synthesize(np.ones((N, 128, 128), np.float32), draw, np.random.default_rng(seed))


@pytest.mark.parametrize(
    "changes",
    [
        {"peak_e": 0.5, "read_noise_e": 0.3},
        {"peak_e": 5.0, "read_noise_e": 8.0},
        {"peak_e": 2000.0, "read_noise_e": 1.6},
        {"peak_e": 1.0, "read_noise_e": 5.0, "read_noise_log_sd": 0.3},
        {"peak_e": 1.0, "read_noise_e": 5.0, "telegraph_fraction": 0.03},
        {"blur_y_px": 0.8, "blur_x_px": 0.8},
        {"blur_x_px": 0.5},
        {"multiplied": True, "peak_e": 5.0},
    ],
)
def test_mean_and_variance_are_the_same_number_in_u(changes: dict[str, float]) -> None:
    noisy, truth = _flat(_draw(**changes))  # type: ignore[arg-type]
    assert noisy.mean() == pytest.approx(truth.mean(), rel=0.01)
    assert noisy.var() == pytest.approx(truth.mean(), rel=0.05)


def test_truth_is_electrons_plus_squared_read_noise() -> None:
    _, truth = _flat(_draw(peak_e=10.0, pedestal_e=3.0, read_noise_e=2.0))
    assert np.allclose(truth, 10 + 3 + 4)


def test_excess_noise_halves_the_electrons_and_quarters_the_read_variance() -> None:
    _, truth = _flat(_draw(multiplied=True, peak_e=10.0, read_noise_e=2.0))
    assert np.allclose(truth, 10 / 2 + (2 / 2) ** 2)


def test_correlated_noise_is_correlated_where_it_was_asked_for() -> None:
    noisy, _ = _flat(_draw(blur_x_px=0.7))
    noise = noisy[0] - noisy[0].mean()
    along_x = (noise[:, 1:] * noise[:, :-1]).mean() / noise.var()
    along_y = (noise[1:] * noise[:-1]).mean() / noise.var()
    taps = unit_noise_kernel(0.7)
    assert along_x == pytest.approx(float(np.sum(taps[1:] * taps[:-1])), abs=0.03)
    assert along_y == pytest.approx(0.0, abs=0.03)


def test_kernels_keep_the_variance_of_white_noise() -> None:
    for sigma in (0.1, 0.5, 0.9):
        assert np.sum(unit_noise_kernel(sigma) ** 2) == pytest.approx(1.0, rel=1e-5)


def test_counts_are_rounded_to_whole_steps() -> None:
    noisy, _ = _flat(_draw(step_e=3.0, read_noise_e=2.0))
    counts = (noisy - 4.0) / 3.0
    assert np.allclose(counts, np.rint(counts), atol=1e-3)


@pytest.mark.parametrize("floor", [0.0, -2.0])
def test_truth_of_clipped_patches_is_the_mean_of_what_was_clipped(floor: float) -> None:
    """Read noise dominates: the normal approximation in the module's formula is then exact."""
    noisy, truth = _flat(_draw(peak_e=0.0, read_noise_e=3.0, floor_e=floor))
    assert noisy.min() >= floor + 9 - 1e-4
    assert noisy.mean() == pytest.approx(truth.mean(), abs=0.03)
    assert truth.mean() > 9.3


def test_wrong_constants_stand_in_input_and_truth_alike() -> None:
    noisy, truth = _flat(_draw(gain_error=1.25, read_noise_error=0.8, offset_error_e=2.0))
    assert np.allclose(truth, (50 + 2) * 1.25 + (2 * 0.8) ** 2)
    assert noisy.mean() == pytest.approx(truth.mean(), rel=0.01)


def test_a_batch_is_a_pure_function_of_its_seed() -> None:
    scenes = np.random.default_rng(1).random((8, 32, 32)).astype(np.float32)
    results = []
    for _ in range(2):
        rng = np.random.default_rng(7)
        results.append(synthesize(scenes, draw_conditions(rng, 8), rng))
    assert np.array_equal(results[0][0], results[1][0])
    assert np.array_equal(results[0][1], results[1][1])
    assert results[0][0].dtype == results[0][1].dtype == np.float32


def test_conditions_cover_the_promised_ranges() -> None:
    draw = draw_conditions(np.random.default_rng(0), 4000)
    assert draw.peak_e.min() < 1.2 * PEAK_RANGE_E[0]
    assert draw.peak_e.max() > 0.8 * BRIGHT_RANGE_E[1]
    assert draw.read_noise_e.min() >= 0.99 * READ_NOISE_RANGE_E[0]
    assert draw.read_noise_e.max() <= 1.01 * READ_NOISE_RANGE_E[1]
    dominated = (draw.read_noise_e**2 > draw.peak_e).mean()
    assert dominated > 0.2
    for name in Draw.__struct_fields__:
        assert getattr(draw, name).shape == (4000, 1, 1)


def test_every_drawn_patch_is_finite_and_keeps_its_mean() -> None:
    rng = np.random.default_rng(5)
    scenes = rng.random((64, 48, 48)).astype(np.float32)
    draw = draw_conditions(rng, 64)
    noisy, truth = synthesize(scenes, draw, rng)
    assert np.isfinite(noisy).all()
    assert np.isfinite(truth).all()
    free = ~np.isfinite(draw.floor_e[:, 0, 0])
    level = np.maximum(truth[free].mean((1, 2)), 1e-3)
    allowed = 6 * np.sqrt(level) / 48 + 0.05 * draw.step_e[free, 0, 0]
    assert (np.abs((noisy - truth)[free].mean((1, 2))) < allowed).all()
