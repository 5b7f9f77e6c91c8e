"""Change of sharpness between exposures of different noise."""

import numpy as np
import pytest

from livedenoise.imaging.registration import register
from livedenoise.imaging.scenes import SceneKind, blur, render_scene
from livedenoise.quality.sharpness import SharpnessChange, compare_sharpness


def compare(
    kind: SceneKind, low_e: float, ratio: float, *, low_px: float = 0.0, high_px: float = 0.0
) -> SharpnessChange:
    rng = np.random.default_rng(4)
    scene = render_scene(kind, (256, 256), rng)
    scene *= np.float32(low_e / scene.mean())
    low = rng.poisson(blur(scene, low_px) if low_px else scene) + rng.normal(0, 1.5, scene.shape)
    clear = blur(scene, high_px) if high_px else scene
    high = rng.poisson(ratio * clear) + rng.normal(0, 1.5, scene.shape)
    return compare_sharpness(*register(low.astype(np.float32), high.astype(np.float32)))


@pytest.mark.parametrize("kind", ["tubules", "granules", "cells", "mixed"])
@pytest.mark.parametrize(("low_e", "ratio"), [(3.0, 30.0), (100.0, 2.0), (10.0, 1.0)])
def test_noise_is_no_blur(kind: SceneKind, low_e: float, ratio: float) -> None:
    found = compare(kind, low_e, ratio)
    assert found.found
    assert abs(found.change) < 0.05 + 4 * found.error


@pytest.mark.parametrize("blur_px", [1.0, 2.0])
def test_blur_of_either_image_is_measured_in_its_own_units(blur_px: float) -> None:
    high = compare("tubules", 50.0, 10.0, high_px=blur_px)
    low = compare("tubules", 50.0, 10.0, low_px=blur_px)
    assert low.change < -0.2
    assert high.change > 0.2
    # Half the difference of the variances of the point-spread functions.
    assert low.blur_px2 == pytest.approx(blur_px**2 / 2, rel=0.2)
    assert high.blur_px2 == pytest.approx(-(blur_px**2) / 2, rel=0.2)


def test_without_structure_nothing_is_said() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(0, 1, (2, 128, 128)).astype(np.float32)
    assert not compare_sharpness(*register(a, b)).found
