"""Verdicts on recordings that are cut off, dark, or move: no way of training fits those."""

from pathlib import Path

import diagnose_kit as kit
import numpy as np
import pytest

from livedenoise.diagnose.facts import Diagnosis
from livedenoise.imaging.scenes import translate

ALL = {"care", "n2n", "n2v", "pg", "structn2v"}


def fits(found: Diagnosis) -> dict[str, str]:
    assert {one.name for one in found.methods} == ALL
    return {one.name: one.fit for one in found.methods}


@pytest.mark.parametrize(
    ("part", "fit"), [(0.8, "does not fit"), (0.01, "with care"), (0.0, "fits")]
)
def test_saturated_pixels_enter_every_verdict(tmp_path: Path, part: float, fit: str) -> None:
    frames = kit.movie(12)
    top = int(np.quantile(frames, 1.0 - part)) if part else 65535
    found = kit.diagnosed(tmp_path, np.minimum(frames, top).astype(np.uint16))
    assert found.saturated_fraction.value == pytest.approx(part, rel=0.3, abs=1e-6)
    for name in ("care", "n2n", "n2v", "pg"):
        one = kit.method(found, name)
        assert one.fit == fit, one
        assert ("highest count" in one.why) == bool(part)


@pytest.mark.parametrize(("part", "fit"), [(0.2, "does not fit"), (0.03, "with care")])
@pytest.mark.parametrize("gain", [0.5, 1.0])
def test_pixels_at_0_enter_every_verdict(
    tmp_path: Path, part: float, fit: str, gain: float
) -> None:
    """Also at one electron a count, which single photons have too."""
    sensor = kit.CLEAN.model_copy(update={"gain_e_per_adu": gain})
    frames = kit.movie(12, sensor=sensor, kind="cells").astype(np.int64)
    cut = np.maximum(frames - int(np.quantile(frames, part)), 0)
    found = kit.diagnosed(tmp_path, cut.astype(np.uint16))
    for one in found.methods:
        assert one.fit == fit, one
        assert "are 0" in one.why


def test_a_black_border_of_the_image_is_no_more_than_to_be_cropped(tmp_path: Path) -> None:
    frames = kit.movie(12)
    frames[:, :64] = 0
    found = kit.diagnosed(tmp_path, frames)
    assert found.constant.value == pytest.approx(0.5)
    assert kit.method(found, "n2v").fit == "with care"
    assert "crop" in kit.method(found, "n2v").why


@pytest.mark.parametrize("mean_e", [0.0, 200.0])
def test_without_anything_to_see_nothing_is_known(tmp_path: Path, mean_e: float) -> None:
    frames = kit.exposed(np.full((8, 128, 128), mean_e, np.float32))
    found = kit.diagnosed(tmp_path, frames)
    assert set(fits(found).values()) == {"unknown"}
    assert not any("falls" in line or "rises" in line for line in found.summary)


def test_a_faint_sample_is_something_to_see(tmp_path: Path) -> None:
    found = kit.diagnosed(tmp_path, kit.movie(12, peak_e=8.0, background=0.0))
    assert "unknown" not in fits(found).values()


def test_pairs_want_a_sample_that_holds_still(tmp_path: Path) -> None:
    still = kit.method(kit.diagnosed(tmp_path, kit.movie(12)), "care")
    assert still.fit == "fits"
    assert "holds still" in still.why

    scene = kit.scene_of("granules") * np.float32(800.0)
    apart = np.stack([translate(scene, 0.6 * t, 0.0) for t in range(12)])
    apart[:, :, 64:] = np.stack([translate(scene, -0.6 * t, 0.0)[:, 64:] for t in range(12)])
    found = kit.diagnosed(tmp_path, kit.exposed(apart))
    assert kit.method(found, "care").fit == "does not fit"
    assert found.methods[0].name != "care"
    assert "moves" in kit.method(found, "care").why

    drifting = np.stack([translate(kit.scene_of() * 300, 0.1 * t, 0.0) for t in range(20)])
    found = kit.diagnosed(tmp_path, kit.exposed(drifting))
    assert kit.method(found, "care").fit == "with care"
    assert "drifts" in kit.method(found, "care").why


def test_one_frame_does_not_tell_whether_pairs_can_be_had(tmp_path: Path) -> None:
    assert kit.method(kit.diagnosed(tmp_path, kit.movie(1)), "care").fit == "unknown"
