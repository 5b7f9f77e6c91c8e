"""The simulated specimen: one plane, seen at any place, focus and state of bleaching."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from livedenoise.core.camera_config import SceneConfig
from livedenoise.microscope.bleaching import BleachingMap
from livedenoise.microscope.specimen import MAX_BLUR_PX, Specimen

SHAPE = (48, 64)
TILE_PX = 256
SCENE = SceneConfig(kind="granules", photons_per_s=1000.0, background_photons_per_s=100.0)


@pytest.fixture(scope="module")
def specimen() -> Specimen:
    return Specimen(SCENE, SHAPE, seed=3)


def test_a_place_looks_the_same_whatever_was_looked_at_before(specimen: Specimen) -> None:
    there = specimen.view((10.25, 900.5), SHAPE, 0.0).copy()
    other = Specimen(SCENE, SHAPE, seed=3)
    other.view((-500.0, 3.0), SHAPE, 0.0)
    assert np.array_equal(other.view((10.25, 900.5), SHAPE, 0.0), there)
    assert not np.array_equal(
        Specimen(SCENE, SHAPE, seed=4).view((10.25, 900.5), SHAPE, 0.0), there
    )


@settings(max_examples=15, deadline=None)
@given(
    y=st.floats(-300, 300),
    x=st.floats(-300, 300),
    down=st.integers(0, 40),
    right=st.integers(0, 40),
)
def test_views_are_windows_of_one_plane(y: float, x: float, down: int, right: int) -> None:
    # A window larger than both, cut out twice: their corners are whole pixels apart.
    plane = ONE_PLANE.view((y, x), (96, 112), 0.0)[down : down + 48, right : right + 64].copy()
    seen = ONE_PLANE.view((y + down, x + right), SHAPE, 0.0)
    assert np.allclose(seen, plane, rtol=1e-3, atol=0.5)


ONE_PLANE = Specimen(SCENE, SHAPE, seed=5)


@pytest.mark.parametrize("part", [0.1, 0.25, 0.5, 0.9])
def test_a_fraction_of_a_pixel_shifts_by_that_fraction(specimen: Specimen, part: float) -> None:
    still = specimen.view((0.0, 0.0), (120, 140), 6.0).astype(np.float64)
    moved = specimen.view((0.0, part), (120, 140), 6.0).astype(np.float64)
    # out(x + d) = out(x) + d * slope: the least-squares d, with the slope half way.
    slope = np.gradient((still + moved) / 2, axis=1)[:, 2:-2]
    found = (slope * (moved - still)[:, 2:-2]).sum() / (slope**2).sum()
    assert found == pytest.approx(part, abs=0.02)


def test_tiles_join_without_an_edge() -> None:
    # Fields of very different content meet at the border of a tile, 128 px from its middle.
    steps = []
    for seed in range(4):
        window = Specimen(SCENE, SHAPE, seed).view((0.0, 78.0), (100, 100), 0.0)
        steps.append(np.abs(np.diff(window, axis=1)).mean(axis=0))
    step = np.mean(steps, axis=0)
    assert step[49] < 2.0 * np.median(step)


def test_no_two_fields_are_alike(specimen: Specimen) -> None:
    first = specimen.view((0.0, 0.0), SHAPE, 0.0).astype(np.float64)
    for corner in ((0.0, TILE_PX), (TILE_PX, 0.0), (0.0, 2048.0), (-TILE_PX, -TILE_PX)):
        other = specimen.view((float(corner[0]), float(corner[1])), SHAPE, 0.0)
        assert abs(np.corrcoef(first.ravel(), other.ravel())[0, 1]) < 0.5


def test_defocus_is_a_gaussian_on_top(specimen: Specimen) -> None:
    wide = specimen.view((3.0, 4.0), (120, 140), 0.0)
    expected = gaussian_filter(wide, 2.0)[20:-20, 20:-20]
    blurred = specimen.view((23.0, 24.0), (80, 100), 2.0)
    assert np.allclose(blurred, expected, rtol=1e-3, atol=0.1)
    farthest = specimen.view((23.0, 24.0), SHAPE, MAX_BLUR_PX).copy()
    assert np.array_equal(specimen.view((23.0, 24.0), SHAPE, 10 * MAX_BLUR_PX), farthest)


def test_a_flat_specimen_is_flat_everywhere() -> None:
    flat = Specimen(SceneConfig(kind="flat", photons_per_s=77.0), SHAPE, 0)
    assert (flat.view((1e6 + 0.3, -1e6), SHAPE, 3.0) == 77.0).all()


def test_memory_does_not_grow_with_places() -> None:
    small = Specimen(SCENE, (16, 16), seed=1)
    for place in range(12):
        small.view((0.0, 300.0 * place), (16, 16), 0.0)
    assert len(small._tiles) <= small._max_tiles <= 8


def test_a_picture_is_mirrored_outwards(tmp_path: Path) -> None:
    file = tmp_path / "ramp.tif"
    tifffile.imwrite(file, np.add.outer(np.arange(1024.0), np.arange(1024.0)).astype(np.float32))
    scene = SceneConfig(kind="file", file=file, photons_per_s=1000.0)
    picture = Specimen(scene, SHAPE, 0)
    middle = picture.view((-24.0, -32.0), SHAPE, 0.0)
    assert (np.diff(middle, axis=1) > 0).all()
    across = picture.view((-24.0, 512.0 - 32.0), SHAPE, 0.0)
    assert np.allclose(across, across[:, ::-1], rtol=1e-5)
    assert np.abs(np.diff(across, axis=1)).max() < 2.0
    again = picture.view((2048.0 - 24.0, 512.0 - 32.0), SHAPE, 0.0)
    assert np.allclose(across, again)


def test_bleaching_adds_up_where_light_fell() -> None:
    map_ = BleachingMap((20, 30))
    assert map_.left((0.0, 0.0)) == 1.0
    map_.add((0.0, 0.0), 0.1)
    map_.add((0.0, 0.0), 0.2)
    assert map_.left((0.0, 0.0)) == pytest.approx(np.exp(-0.3))
    assert map_.left((0.0, 30.0)) == 1.0
    half = map_.left((0.0, 15.5))
    assert isinstance(half, np.ndarray)
    assert half[:, :14] == pytest.approx(np.exp(-0.3))
    assert half[:, 14] == pytest.approx(np.exp(-0.15))
    assert (half[:, 15:] == 1.0).all()


corners = st.tuples(st.integers(-40, 40), st.integers(-40, 40))


@settings(max_examples=40, deadline=None)
@given(lit=st.lists(st.tuples(corners, st.floats(0.01, 1.0)), max_size=8), seen=corners)
def test_bleaching_agrees_with_a_map_of_every_pixel(
    lit: list[tuple[tuple[int, int], float]], seen: tuple[int, int]
) -> None:
    plane = np.zeros((120, 120))
    map_ = BleachingMap((12, 17))
    for (y, x), exponent in lit:
        plane[y + 50 : y + 62, x + 50 : x + 67] += exponent
        map_.add((float(y), float(x)), exponent)
    expected = np.exp(-plane[seen[0] + 50 : seen[0] + 62, seen[1] + 50 : seen[1] + 67])
    left = map_.left((float(seen[0]), float(seen[1])))
    assert np.allclose(np.broadcast_to(left, expected.shape), expected, rtol=1e-5)


def test_a_place_lit_again_and_again_is_remembered_once() -> None:
    map_ = BleachingMap((20, 30))
    for number in range(1000):
        map_.add((0.0, 1e-5 * number), 1e-3)
        map_.add((500.0, 0.0), 1e-3)
    assert sum(len(cell) for cell in map_._cells.values()) == 2
    assert map_.left((0.0, 0.0)) == pytest.approx(np.exp(-1.0))
