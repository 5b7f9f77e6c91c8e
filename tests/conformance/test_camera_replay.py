"""A replayed recording keeps the camera contract: every pace, every kind of recording."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
import tifffile

from livedenoise.acquire.replay import ReplayCamera
from livedenoise.core.camera import StreamRequest
from livedenoise.core.camera_config import ReplayCameraConfig
from livedenoise.testing.camera_kit import CAMERA_CHECKS, CameraCase

STACK = np.random.default_rng(3).poisson(200, (6, 16, 20))

CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "lossless": ("plain.tif", {"pace": "lossless"}),
    "lossless_loops_of_one_png": ("image.png", {"pace": "lossless", "loops": 0}),
    "recorded_times": ("timed.tif", {"pace": "recorded", "buffer_frames": 2}),
    "rate_compressed": ("deflate.tif", {"pace": "rate", "rate_hz": 400.0, "buffer_frames": 2}),
    "rate_for_ever": (
        "float.tif",
        {"pace": "rate", "rate_hz": 400.0, "loops": 0, "buffer_frames": 2},
    ),
}


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("recordings")
    counts = STACK.astype(np.uint16)
    tifffile.imwrite(folder / "plain.tif", counts, photometric="minisblack")
    tifffile.imwrite(folder / "deflate.tif", counts, photometric="minisblack", compression="zlib")
    tifffile.imwrite(
        folder / "timed.tif", counts, imagej=True, metadata={"axes": "TYX", "finterval": 0.003}
    )
    tifffile.imwrite(folder / "float.tif", STACK.astype(np.float32), photometric="minisblack")
    (folder / "image.png").write_bytes(imagecodecs.png_encode(STACK[0].astype(np.uint8)))
    return folder


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("check", CAMERA_CHECKS, ids=lambda check: check.__name__)
def test_contract(check: Callable[[CameraCase], None], name: str, recordings: Path) -> None:
    file, options = CASES[name]
    config = ReplayCameraConfig(kind="replay", input=recordings / file, **options)
    check(CameraCase(make=lambda: ReplayCamera(config), request=StreamRequest(exposure_us=0)))
