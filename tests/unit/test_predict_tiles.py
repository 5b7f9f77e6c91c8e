"""Tiled results against whole ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from livedenoise.batch.denoiser import AUTO_TILE_PIXELS, Denoiser
from livedenoise.core.constants import CameraConstants, CameraMaps
from livedenoise.core.engine import ServeRequest
from livedenoise.core.errors import ConfigError
from livedenoise.core.frame import Frame
from livedenoise.engines.package import read_package
from livedenoise.testing.tiny_package import write_tiny_package

CONSTANTS = CameraConstants(gain_e_per_adu=0.5, offset_adu=100.0, read_noise_e=1.5)


def _request(package: Path, shape: tuple[int, int], **changes: Any) -> ServeRequest:
    values: dict[str, Any] = {
        "shape": shape,
        "dtype": "<u2",
        "out_dtype": "<u2",
        "bit_depth": 12,
        "constants": CONSTANTS,
        "package": package,
    }
    return ServeRequest(**(values | changes))


def _denoise(request: ServeRequest, frames: list[Frame], tile: int | None) -> list[Any]:
    assert request.package is not None
    denoiser = Denoiser("openvino", read_package(request.package), tile)
    try:
        denoiser.open(request)
        assert denoiser.tiled == (tile is not None)
        return list(denoiser.run(frames, Path("frames.tif")))
    finally:
        denoiser.close()


def _frames(shape: tuple[int, int], n: int = 2) -> list[Frame]:
    rng = np.random.default_rng(4)
    frames: list[Frame] = [rng.integers(80, 300, shape).astype(np.uint16) for _ in range(n)]
    for frame in frames:
        frame[::37, ::11] = 4095  # some of these are clipped
    return frames


@pytest.mark.parametrize("shape", [(128, 96), (131, 90), (30, 203)])
def test_tiled_is_whole_within_rounding(tmp_path: Path, shape: tuple[int, int]) -> None:
    request = _request(write_tiny_package(tmp_path, "conv", stride=4), shape)
    frames = _frames(shape)
    whole, tiled = _denoise(request, frames, None), _denoise(request, frames, 48)
    for a, b in zip(whole, tiled, strict=True):
        difference = np.abs(a.pixels.astype(int) - b.pixels)
        assert difference.max() <= 1
        assert (difference > 0).mean() < 1e-4
        assert abs(a.clipped - b.clipped) <= 1
        assert a.clipped > 0
        assert b.pixels.dtype == np.uint16


def test_tiled_float_is_whole(tmp_path: Path) -> None:
    request = _request(write_tiny_package(tmp_path, "conv"), (131, 90), out_dtype="<f4")
    frames = _frames((131, 90), 1)
    (whole,), (tiled,) = _denoise(request, frames, None), _denoise(request, frames, 52)
    np.testing.assert_allclose(tiled.pixels, whole.pixels, rtol=1e-5, atol=1e-2)


def test_tiled_maps_are_whole_maps(tmp_path: Path) -> None:
    rng = np.random.default_rng(9)
    shape = (101, 90)
    maps = CameraMaps(
        offset_adu=(100 + 3 * rng.standard_normal(shape)).astype(np.float32),
        gain_e_per_adu=(0.5 + 0.1 * rng.random(shape)).astype(np.float32),
        variance_adu2=np.ones(shape, np.float32),
    )
    package = write_tiny_package(tmp_path, "conv")
    request = _request(package, shape, maps=maps, out_dtype="<f4")
    frames = _frames(shape, 1)
    (whole,), (tiled,) = _denoise(request, frames, None), _denoise(request, frames, 52)
    np.testing.assert_allclose(tiled.pixels, whole.pixels, rtol=1e-5, atol=1e-2)
    (plain,) = _denoise(_request(package, shape, out_dtype="<f4"), frames, None)
    assert np.abs(plain.pixels - whole.pixels).max() > 1


def test_only_very_large_frames_are_tiled_unasked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert AUTO_TILE_PIXELS == 16 * 1024**2
    monkeypatch.setattr("livedenoise.batch.denoiser.AUTO_TILE_PIXELS", 128 * 128)
    monkeypatch.setattr("livedenoise.batch.denoiser.AUTO_TILE_PX", 64)
    package = write_tiny_package(tmp_path)
    denoiser = Denoiser("openvino", read_package(package), None)
    try:
        denoiser.open(_request(package, (128, 128)))
        assert not denoiser.tiled
        denoiser.open(_request(package, (128, 129)))
        assert denoiser.tiled
    finally:
        denoiser.close()


def test_too_small_tiles_are_refused_with_the_size_that_works(tmp_path: Path) -> None:
    package = write_tiny_package(tmp_path, "conv", stride=4)
    denoiser = Denoiser("openvino", read_package(package), 27)
    with pytest.raises(ConfigError, match="at least 28 px"):
        denoiser.open(_request(package, (200, 200)))
    tiled = _denoise(_request(package, (60, 60)), _frames((60, 60), 1), 28)
    whole = _denoise(_request(package, (60, 60)), _frames((60, 60), 1), None)
    assert np.abs(tiled[0].pixels.astype(int) - whole[0].pixels).max() <= 1
