"""Scenes: normalised, periodic, repeatable, diverse; motion and bleaching are what they say."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from livedenoise.imaging.perlin import perlin_background, perlin_texture
from livedenoise.imaging.scene_shapes import splat
from livedenoise.imaging.scenes import (
    SCENE_KINDS,
    bleaching_factor,
    blur,
    brightest_mean,
    render_scene,
    translate,
)

STRUCTURES = [kind for kind in SCENE_KINDS if kind != "flat"]


def _rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize("kind", SCENE_KINDS)
@pytest.mark.parametrize("shape", [(96, 160), (33, 20), (8, 8)])
def test_scene_is_finite_not_negative_and_normalised(kind: str, shape: tuple[int, int]) -> None:
    for seed in range(4):
        scene = render_scene(kind, shape, _rng(seed), background=0.0)
        assert scene.dtype == np.float32
        assert scene.shape == shape
        assert np.isfinite(scene).all()
        assert scene.min() >= 0
        assert brightest_mean(scene) == pytest.approx(1.0, rel=1e-4)


@pytest.mark.parametrize("kind", SCENE_KINDS)
def test_same_generator_state_gives_the_same_scene_and_another_seed_another(kind: str) -> None:
    first, again = (render_scene(kind, (64, 64), _rng(3)) for _ in range(2))
    other = render_scene(kind, (64, 64), _rng(4))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_background_level_is_relative_to_the_foreground() -> None:
    with_background = render_scene("granules", (128, 128), _rng(1), background=0.3)
    without = render_scene("granules", (128, 128), _rng(1), background=0.0)
    assert (with_background - without).mean() == pytest.approx(0.3, rel=1e-3)
    assert (with_background - without).min() > 0


def test_drawn_backgrounds_span_nothing_to_forty_percent() -> None:
    levels = [float(render_scene("flat", (32, 32), _rng(s)).mean()) - 1.0 for s in range(60)]
    assert min(levels) == 0.0
    assert 0.2 < max(levels) <= 0.4 + 1e-5


@pytest.mark.parametrize("kind", STRUCTURES)
def test_scenes_of_a_kind_differ_in_density_and_texture(kind: str) -> None:
    filled = [
        float((render_scene(kind, (128, 128), _rng(s), background=0.0) > 0.1).mean())
        for s in range(16)
    ]
    assert max(filled) > 2.0 * min(filled)


@pytest.mark.parametrize("kind", STRUCTURES)
def test_scene_wraps_without_a_seam(kind: str) -> None:
    across, inside = [], []
    for seed in range(12):
        scene = render_scene(kind, (96, 96), _rng(seed))
        across.append(np.abs(scene[0] - scene[-1]).mean())
        inside.append(np.abs(np.diff(scene, axis=0)).mean())
    # Twelve scenes: a seam of cut structures would be many times the step between rows.
    assert np.mean(across) < 2.0 * np.mean(inside)


def test_unknown_kind_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="got 'clouds'"):
        render_scene("clouds", (8, 8), _rng())  # type: ignore[arg-type]


def test_splat_keeps_the_weight_and_the_centre_of_mass() -> None:
    image = splat((16, 16), np.array([5.25]), np.array([7.75]), np.array([2.0]))
    assert image.sum() == pytest.approx(2.0)
    rows, columns = np.indices(image.shape)
    assert (image * rows).sum() / 2.0 == pytest.approx(5.25)
    assert (image * columns).sum() / 2.0 == pytest.approx(7.75)


def test_blur_has_the_width_it_says_and_keeps_the_sum() -> None:
    point = np.zeros((41, 41), np.float32)
    point[20, 20] = 1.0
    image = blur(point, 1.7)
    offset = np.arange(41) - 20
    assert image.sum() == pytest.approx(1.0, abs=1e-5)
    assert np.sqrt((image.sum(axis=1) * offset**2).sum()) == pytest.approx(1.7, rel=0.01)


def _wave(shape: tuple[int, int], dy: float, dx: float) -> np.ndarray:
    y, x = np.indices(shape).astype(float)
    phase = 2 * np.pi * (2 * (y - dy) / shape[0] + 3 * (x - dx) / shape[1])
    return (2.0 + np.cos(phase)).astype(np.float32)


@settings(deadline=None, max_examples=40)
@given(dy=st.floats(-90, 90), dx=st.floats(-90, 90))
def test_translate_moves_a_wave_by_any_fraction(dy: float, dx: float) -> None:
    moved = translate(_wave((48, 64), 0, 0), dy, dx)
    np.testing.assert_allclose(moved, _wave((48, 64), dy, dx), atol=0.01)
    assert moved.mean() == pytest.approx(2.0, abs=1e-4)


def test_translate_by_whole_pixels_is_a_roll_and_does_not_alias() -> None:
    scene = render_scene("cells", (32, 32), _rng(1))
    np.testing.assert_array_equal(translate(scene, 3.0, -5.0), np.roll(scene, (3, -5), (0, 1)))
    still = translate(scene, 0.0, 0.0)
    still[:] = 0
    assert scene.max() > 0


def test_perlin_texture_is_standardised_and_periodic() -> None:
    texture = perlin_texture((120, 90), _rng(2), cell_px=30)
    assert texture.mean() == pytest.approx(0.0, abs=1e-5)
    assert texture.std() == pytest.approx(1.0, rel=1e-4)
    steps = np.abs(np.diff(texture, axis=0))
    assert np.abs(texture[0] - texture[-1]).max() <= 2 * steps.max()


def test_perlin_background_has_mean_one_and_stays_positive() -> None:
    background = perlin_background((100, 130), _rng(5), contrast=0.5)
    assert background.mean() == pytest.approx(1.0, rel=1e-5)
    assert background.min() > 0
    assert background.std() == pytest.approx(0.5, rel=0.15)


def test_bleaching_is_exponential() -> None:
    assert bleaching_factor(0.0, 100.0) == 1.0
    assert bleaching_factor(0.5, 2.0) == pytest.approx(np.exp(-1.0))
