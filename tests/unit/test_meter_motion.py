"""Motion is told from noise and from flicker, at one electron a pixel as at a thousand."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from scipy import ndimage

from livedenoise.imaging.scenes import render_scene, translate
from livedenoise.quality.motion import (
    GRADIENT_SCORES,
    Evidence,
    MotionDetector,
    align_brightness,
    motion_evidence,
)

LEVELS = (1.0, 10.0, 100.0, 1000.0)
STILL = Evidence(trend=0.0, gradient=float(GRADIENT_SCORES), place=2.1)
EDGE = 128
READ_NOISE_E = 1.4
Image = npt.NDArray[np.float32]


def scene_of(kind: str) -> Image:
    if kind == "grain":
        y, x = np.mgrid[:160, :160]
        scene = 0.1 + 20 * np.exp(-((y - 64) ** 2 + (x - 70) ** 2) / 4.5)
        return np.asarray(scene, np.float32)
    scene = render_scene(kind, (160, 160), np.random.default_rng(3))
    return np.asarray(scene / scene.mean(), np.float32)


def burst(
    scene: Image, mean_e: float, rng: np.random.Generator, moves: list[float], flicker: float = 0.0
) -> Image:
    frames = []
    for moved in moves:
        level = mean_e * (1 + flicker * rng.standard_normal())
        seen = translate(scene, moved, 0.7 * moved)[:EDGE, :EDGE] * level
        frames.append(rng.poisson(seen) + rng.normal(0, READ_NOISE_E, seen.shape))
    counts = np.rint(np.array(frames) / 0.46)
    return align_brightness((counts - counts.mean()).astype(np.float32))


def verdicts(
    kind: str, mean_e: float, samples: int, speed_px: float, flicker: float = 0.0
) -> list[bool]:
    rng, scene, detector = np.random.default_rng(7), scene_of(kind), MotionDetector()
    found = []
    for n in range(samples):
        moves = [speed_px * (4 * n + k) for k in range(4)]
        detector.add(motion_evidence(burst(scene, mean_e, rng, moves, flicker)))
        found.append(detector.moving)
    return found


@pytest.mark.parametrize("mean_e", LEVELS)
@pytest.mark.parametrize("kind", ["cells", "flat"])
def test_noise_and_flicker_are_no_motion(kind: str, mean_e: float) -> None:
    assert not any(verdicts(kind, mean_e, 40, 0.0, flicker=0.02))


@pytest.mark.parametrize("mean_e", LEVELS)
@pytest.mark.parametrize("kind", ["granules", "tubules"])
def test_half_a_pixel_a_frame_is_motion(kind: str, mean_e: float) -> None:
    found = verdicts(kind, mean_e, 16, 0.5)
    assert any(found[:8])
    assert found[-1]


@pytest.mark.parametrize("mean_e", [10.0, 100.0, 1000.0])
def test_one_moving_grain_is_motion(mean_e: float) -> None:
    found = verdicts("grain", mean_e, 8, 0.3)
    assert found[0 if mean_e >= 100 else -1]


def test_drift_too_weak_for_one_sample_shows_in_many() -> None:
    found = verdicts("cells", 10.0, 16, 0.1)
    assert not found[0]
    assert found[-1]


def test_vibration_is_motion() -> None:
    rng, scene, detector = np.random.default_rng(1), scene_of("cells"), MotionDetector()
    for _ in range(4):
        detector.add(motion_evidence(burst(scene, 100.0, rng, list(rng.normal(0, 0.4, 4)))))
    assert detector.moving


def test_parts_that_move_against_each_other_do_not_cancel() -> None:
    rng, scene = np.random.default_rng(1), scene_of("tubules")[:EDGE, :EDGE]
    frames = []
    for k in range(4):
        moved = np.hstack(
            [translate(scene, 0.3 * k, 0)[:, :64], translate(scene, -0.3 * k, 0)[:, 64:]]
        )
        frames.append(rng.poisson(moved * 100.0) - 100.0)
    evidence = motion_evidence(align_brightness(np.array(frames, np.float32)))
    assert evidence.gradient > 70


@pytest.mark.parametrize("sigma_px", [0.5, 0.8])
def test_noise_that_neighbours_share_is_no_motion(sigma_px: float) -> None:
    rng, detector = np.random.default_rng(2), MotionDetector()
    for _ in range(60):
        frames = rng.normal(0, 10, (4, EDGE, EDGE)).astype(np.float32)
        shared = ndimage.gaussian_filter(frames, (0, sigma_px, sigma_px))
        detector.add(motion_evidence(align_brightness(shared)))
        assert not detector.moving


def test_blinking_and_noisy_pixels_are_no_motion() -> None:
    rng, detector = np.random.default_rng(2), MotionDetector()
    for _ in range(60):
        frames = rng.normal(0, 3, (4, EDGE, EDGE)).astype(np.float32)
        frames[:, 4::8, 3::8] += rng.normal(0, 900, (4, EDGE // 8, EDGE // 8)).astype(np.float32)
        frames[:, 40, 50] += rng.integers(0, 2, 4) * 5000.0
        detector.add(motion_evidence(align_brightness(frames)))
        assert not detector.moving


def test_a_single_noisy_pixel_never_makes_a_moving_place() -> None:
    rng = np.random.default_rng(6)
    for _ in range(1500):
        frames = rng.normal(0, 1, (4, 32, 32)).astype(np.float32)
        frames[:, 4::16, 3::8] += rng.normal(0, 5000, (4, 2, 4)).astype(np.float32)
        assert motion_evidence(frames).place < 4.5


@pytest.mark.parametrize(
    "evidence",
    [
        Evidence(trend=7.0),
        Evidence(trend=-7.0),
        Evidence(gradient=75.0),
        Evidence(place=5.0, control=2.1),
    ],
)
def test_one_strong_sample_is_enough_after_a_calm_time(evidence: Evidence) -> None:
    detector = MotionDetector()
    assert not any(detector.add(STILL) for _ in range(20))
    assert detector.add(evidence) == 1


def test_scores_without_motion_have_their_stated_mean() -> None:
    rng = np.random.default_rng(3)
    found = [
        motion_evidence(align_brightness(rng.normal(0, 5, (4, EDGE, EDGE)).astype(np.float32)))
        for _ in range(60)
    ]
    assert np.mean([e.gradient for e in found]) == pytest.approx(GRADIENT_SCORES, abs=3)
    assert abs(np.mean([e.trend for e in found])) < 0.7
    assert np.mean([e.place for e in found]) == pytest.approx(2.1, abs=0.2)
    assert np.mean([e.control for e in found]) == pytest.approx(2.1, abs=0.2)


def test_brightness_is_aligned_to_the_first_frame() -> None:
    scene = np.random.default_rng(4).normal(0, 50, (64, 64)).astype(np.float32)
    frames = np.array([scene, 1.02 * scene + 3, 0.98 * scene, scene - 7], np.float32)
    np.testing.assert_allclose(align_brightness(frames), [scene] * 4, atol=1e-3)


def test_motion_starts_at_once_and_ends_after_eight_calm_samples() -> None:
    detector = MotionDetector()
    assert detector.add(STILL) == 0
    assert detector.add(Evidence(trend=20.0)) == 1
    for _ in range(7):
        assert detector.add(STILL) == 1
        assert detector.moving
    assert detector.add(STILL) == 0
    assert not detector.moving


def test_weak_motion_found_late_names_the_samples_taken_before() -> None:
    detector = MotionDetector()
    found = [detector.add(Evidence(trend=2.0)) for _ in range(12)]
    assert found.count(0) > 3
    first = next(n for n in found if n)
    assert first == found.index(first) + 1
    assert detector.moving


def test_a_reset_forgets() -> None:
    detector = MotionDetector()
    detector.add(Evidence(trend=20.0))
    detector.reset()
    assert not detector.moving
    assert detector.add(STILL) == 0


def test_a_region_too_small_counts_as_still() -> None:
    frames = np.random.default_rng(5).normal(0, 9, (4, 16, 200)).astype(np.float32)
    frames[3] += np.linspace(0, 1000, 200, dtype=np.float32)
    assert motion_evidence(frames) == Evidence()
    with pytest.raises(ValueError, match="4 successive"):
        motion_evidence(frames[:3])
