"""Photometry of the shipped model through the default engine: mean out equals mean in.

Static structured scenes at 2, 10, 100 and 1000 electrons, 8-bit and 16-bit. The gain spreads the
scene over the range: an integer output cannot hold a flat signal of a fraction of a count, whatever
the denoiser (docs/units-and-noise.md).
"""

from __future__ import annotations

import numpy as np
import pytest

from livedenoise.core.constants import CameraConstants
from livedenoise.core.engine import FrameView, ServeRequest
from livedenoise.core.frame import Frame
from livedenoise.engines.package import resolve_model
from livedenoise.engines.select import choose_engine
from livedenoise.imaging.scenes import render_scene

SHAPE = (256, 256)
FRAMES = 4
OFFSET = {"|u1": 20.0, "<u2": 100.0}
BITS = {"|u1": 8, "<u2": 12}


@pytest.fixture(scope="module")
def scene() -> np.ndarray:
    """Return a structured scene with mean 1 and no dark majority."""
    image = render_scene("mixed", SHAPE, np.random.default_rng(4), background=0.3)
    return (image / image.mean()).astype(np.float32)


def noisy(scene: np.ndarray, mean_e: float, constants: CameraConstants, dtype: str) -> list[Frame]:
    rng = np.random.default_rng(7)
    frames = []
    for _ in range(FRAMES):
        electrons = rng.poisson(scene * mean_e) + rng.normal(0, constants.read_noise_e, SHAPE)
        counts = electrons / constants.gain_e_per_adu + constants.offset_adu
        frames.append(np.clip(np.rint(counts), 0, 2 ** BITS[dtype] - 1).astype(dtype))
    return frames


@pytest.mark.parametrize("dtype", ["|u1", "<u2"])
@pytest.mark.parametrize("mean_e", [2.0, 10.0, 100.0, 1000.0])
def test_offset_subtracted_mean_is_kept(scene: np.ndarray, mean_e: float, dtype: str) -> None:
    top = 2 ** BITS[dtype] - 1 - OFFSET[dtype]
    # The peak with its noise stays below saturation.
    peak_e = float(scene.max()) * mean_e + 6 * np.sqrt(scene.max() * mean_e + 2)
    constants = CameraConstants(
        gain_e_per_adu=max(peak_e / top, 0.05), offset_adu=OFFSET[dtype], read_noise_e=1.4
    )
    frames = noisy(scene, mean_e, constants, dtype)
    request = ServeRequest(
        shape=SHAPE,
        dtype=dtype,
        out_dtype=dtype,
        bit_depth=BITS[dtype],
        constants=constants,
        package=resolve_model("realtime-m"),
    )
    engine = choose_engine("openvino", request)
    engine.open(request)
    means_in, means_out = [], []
    out = np.empty(SHAPE, dtype)
    for seq, frame in enumerate(frames):
        engine.submit(FrameView(seq=seq, pixels=frame), out, reset=False)
        done = engine.poll(30)
        assert done is not None
        assert done.error == ""
        means_in.append(frame.mean() - OFFSET[dtype])
        means_out.append(out.mean() - OFFSET[dtype])
        truth = scene * mean_e / constants.gain_e_per_adu + OFFSET[dtype]
        assert np.mean((out - truth) ** 2) < 0.5 * np.mean((frame - truth) ** 2), "it denoises"
    engine.close()
    assert np.mean(means_out) == pytest.approx(np.mean(means_in), rel=0.005)
