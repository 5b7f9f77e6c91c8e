"""Tiles cover every pixel once, start on the stride, keep their halo, and change no result."""

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from livedenoise.imaging.tiling import pad_to_stride, padded_shape, plan_tiles, run_tiled

Geometry = tuple[tuple[int, int], int, int, int]
Image = npt.NDArray[np.float32]


@st.composite
def geometries(draw: st.DrawFn) -> Geometry:
    stride = draw(st.sampled_from([1, 2, 4, 8]))
    halo = draw(st.integers(0, 20))
    tile = -(-2 * halo // stride) * stride + stride * draw(st.integers(1, 6))
    shape = draw(st.tuples(st.integers(1, 150), st.integers(1, 150)))
    return shape, tile, halo, stride


@settings(max_examples=150, deadline=None)
@given(geometries())
def test_every_pixel_is_placed_exactly_once(geometry: Geometry) -> None:
    shape, tile, halo, stride = geometry
    count = np.zeros(shape, dtype=int)
    for one in plan_tiles(shape, tile, halo, stride):
        count[one.place] += 1
    assert (count == 1).all()


@settings(max_examples=150, deadline=None)
@given(geometries())
def test_tiles_share_one_size_start_on_the_stride_and_stay_inside(geometry: Geometry) -> None:
    shape, tile, halo, stride = geometry
    padded = padded_shape(shape, stride)
    expected = tuple(min(tile, n) for n in padded)
    for one in plan_tiles(shape, tile, halo, stride):
        for axis in (0, 1):
            source = one.source[axis]
            assert source.start % stride == 0
            assert 0 <= source.start <= source.stop <= padded[axis]
            assert source.stop - source.start == expected[axis]


@settings(max_examples=150, deadline=None)
@given(geometries())
def test_kept_part_is_the_placed_part_and_keeps_the_halo_inside_the_image(
    geometry: Geometry,
) -> None:
    shape, tile, halo, stride = geometry
    padded = padded_shape(shape, stride)
    for one in plan_tiles(shape, tile, halo, stride):
        for axis in (0, 1):
            source, keep, place = one.source[axis], one.keep[axis], one.place[axis]
            assert (keep.start + source.start, keep.stop + source.start) == (
                place.start,
                place.stop,
            )
            if source.start > 0:
                assert keep.start >= halo
            if source.stop < padded[axis]:
                assert source.stop - source.start - keep.stop >= halo


def _network(image: Image) -> Image:
    """Two 5x5 layers around one of stride 4 (mean pool, nearest up): radius 2 + 2 + 3 + 4."""
    kernel = np.random.default_rng(3).normal(size=(5, 5)).astype(np.float32)
    first = np.maximum(ndimage.convolve(image, kernel, mode="constant"), 0)
    rows, columns = first.shape
    pooled = first.reshape(rows // 4, 4, columns // 4, 4).mean(axis=(1, 3))
    pooled = ndimage.convolve(pooled, kernel[:3, :3], mode="constant")
    up = pooled.repeat(4, axis=0).repeat(4, axis=1)
    return ndimage.convolve(first + up, kernel[::-1], mode="constant").astype(np.float32)


@pytest.mark.parametrize("shape", [(61, 130), (20, 200), (96, 96)])
def test_a_strided_convolution_stack_gives_the_same_tiled_as_whole(shape: tuple[int, int]) -> None:
    image = np.random.default_rng(1).normal(size=shape).astype(np.float32)
    whole = _network(pad_to_stride(image, 4))[: shape[0], : shape[1]]
    tiles = plan_tiles(shape, tile=48, halo=12, stride=4)
    assert len(tiles) > 1
    tiled = run_tiled(image, tiles, 4, _network)
    np.testing.assert_allclose(tiled, whole, rtol=1e-5, atol=1e-4)


def test_a_halo_too_small_does_change_the_result() -> None:
    image = np.random.default_rng(1).normal(size=(96, 96)).astype(np.float32)
    whole = _network(image)
    tiled = run_tiled(image, plan_tiles((96, 96), tile=48, halo=2, stride=4), 4, _network)
    assert np.abs(tiled - whole).max() > 0.1


def test_an_image_not_larger_than_a_tile_is_one_tile() -> None:
    tiles = plan_tiles((50, 63), tile=64, halo=16, stride=4)
    assert len(tiles) == 1
    assert tiles[0].source == (slice(0, 52), slice(0, 64))
    assert tiles[0].place == (slice(0, 50), slice(0, 63))


def test_padding_repeats_the_edge_at_bottom_and_right_only() -> None:
    image = np.arange(15, dtype=np.uint16).reshape(3, 5)
    padded = pad_to_stride(image, 4)
    assert padded.shape == (4, 8)
    np.testing.assert_array_equal(padded[:3, :5], image)
    np.testing.assert_array_equal(padded[3], padded[2])
    assert (padded[1, 5:] == image[1, 4]).all()


@pytest.mark.parametrize(
    ("tile", "halo", "stride", "message"),
    [(30, 4, 4, "multiple of the stride"), (16, 8, 4, "nothing between"), (16, 4, 0, "positive")],
)
def test_impossible_tiles_are_refused_with_their_numbers(
    tile: int, halo: int, stride: int, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        plan_tiles((100, 100), tile, halo, stride)
