"""Good pairs are kept, each fault is caught and named, on simulated and on real pairs."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from check_kit import Case, fmd_pairs, good_case, make_case, with_fault

from livedenoise.collect import check_high
from livedenoise.collect.check_camera import PairCamera
from livedenoise.collect.check_high import HighShots
from livedenoise.collect.check_pair import check_pair
from livedenoise.collect.program import Limits
from livedenoise.collect.shots import Pair, Taken
from livedenoise.collect.verdict import Check, PairVerdict

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"
FMD = DATA / "fmd_confocal_bpae_b_fov1"
LIMITS = Limits()
PLAIN = Case(seed=0, kind="mixed", low_e=30.0, ratio=10.0)


def judge(case: Case) -> PairVerdict:
    return check_pair(*make_case(case), LIMITS)


def named(verdict: PairVerdict, name: str) -> Check:
    return next(check for check in verdict.checks if check.name == name)


@pytest.mark.parametrize("first", [0, 8, 16])
def test_no_good_pair_is_rejected(first: int) -> None:
    for seed in range(first, first + 8):
        verdict = judge(good_case(seed))
        assert verdict.accepted, (seed, [c.text for c in verdict.checks if not c.passed])
        assert verdict.reasons == ()


FAULTS = {
    "shift": {"shift_px": (2.6, -1.9)},
    "far shift": {"shift_px": (-24.0, 18.5)},
    "focus": {"blur_px": 2.0},
    "bleaching": {"bleaching": 0.15, "bracket": True},
    "ratio swapped": {"swapped": True},
    "ratio swapped dim": {"swapped": True, "low_e": 0.3},
    "ratio stale high": {"stale": "high"},
    "ratio stale low": {"stale": "low"},
    "ratio flicker": {"flicker": 1.3},
    "ratio odd": {"ratio": 1.0, "high_frames": 8, "odd_frame": 0},
    "ratio odd inside": {"ratio": 1.0, "high_frames": 8, "odd_frame": 3},
    "dark": {"dark": True},
    "motion": {"object_peak": 1.0},
    "saturated": {"saturate": True},
    "zero_clipped": {"offset_adu": 2.0, "low_e": 1.0},
    "shift in average": {"ratio": 1.0, "high_frames": 8, "drift_in_average_px": 4.0},
}


@pytest.mark.parametrize("name", FAULTS)
def test_each_fault_is_caught_and_named_first(name: str) -> None:
    expected = next(word for word in name.split() if word != "far")
    for seed, kind in enumerate(("tubules", "mixed", "tubules")):
        case = with_fault(PLAIN, seed=100 + seed, kind=kind, **FAULTS[name])
        verdict = judge(case)
        assert not verdict.accepted, (case, verdict.checks)
        assert verdict.reasons[0] == expected, (case, verdict.reasons)


def test_a_good_pair_comes_with_its_figures() -> None:
    verdict = judge(with_fault(PLAIN, shift_px=(0.6, -0.4), high_frames=2))
    assert verdict.accepted
    assert verdict.expected_ratio == pytest.approx(0.1)
    assert verdict.ratio == pytest.approx(0.1, rel=0.03)
    assert verdict.dose_ratio == pytest.approx(20.0)
    assert verdict.shift_px == pytest.approx((0.6, -0.4), abs=5 * verdict.shift_error_px)
    assert 0 < verdict.shift_error_px < 0.1
    assert verdict.low_electrons == pytest.approx(30.0, rel=0.2)
    assert verdict.high_electrons == pytest.approx(10 * verdict.low_electrons, rel=0.03)
    assert 10 < verdict.psnr_db < 40
    assert {c.name for c in verdict.checks} == {
        *("ratio", "exposure", "saturated", "zero_clipped", "shift"),
        *("focus", "bleaching", "motion", "dark"),
    }
    assert all(c.text for c in verdict.checks)


def test_psnr_is_that_of_the_residual() -> None:
    pair, camera = make_case(with_fault(PLAIN, low_e=50.0))
    verdict = check_pair(pair, camera, LIMITS)
    low = camera.signal_adu(pair.low.image, pair.low.shot.exposure_us) / verdict.ratio
    high = camera.signal_adu(pair.high.image, pair.high.shot.exposure_us)
    error = float(np.square(low - high).mean())
    expected = 10 * np.log10(np.quantile(high, 0.999) ** 2 / error)
    assert verdict.psnr_db == pytest.approx(expected, abs=0.15)


def test_what_cannot_be_told_passes_and_says_so() -> None:
    verdict = judge(with_fault(PLAIN, kind="flat", low_e=3.0, ratio=2.0))
    assert verdict.accepted
    for name in ("shift", "focus", "bleaching"):
        check = named(verdict, name)
        assert check.value is None
        assert check.passed
        assert check.text


def test_beyond_the_shift_limit_focus_and_motion_are_not_judged() -> None:
    verdict = judge(with_fault(PLAIN, shift_px=(6.0, 0.0), object_peak=2.0))
    assert verdict.reasons == ("shift",)
    assert named(verdict, "motion").value is None
    assert named(verdict, "focus").text.startswith("not judged")


def with_readback(pair: Pair, **exposures_us: int) -> Pair:
    changed = {
        role: Taken(**{**_fields(getattr(pair, role)), "exposure_us": us})
        for role, us in exposures_us.items()
    }
    return Pair(low=changed.get("low", pair.low), high=changed.get("high", pair.high))


def _fields(taken: Taken) -> dict[str, object]:
    return {name: getattr(taken, name) for name in taken.__struct_fields__}


def test_an_exposure_read_back_is_held_against_the_command() -> None:
    pair, camera = make_case(PLAIN)
    rounded = check_pair(with_readback(pair, low=10_015), camera, LIMITS)
    assert rounded.accepted
    wrong = check_pair(with_readback(pair, high=50_000), camera, LIMITS)
    assert wrong.reasons[0] == "exposure"
    assert "50000 us read back, 100000 us commanded" in named(wrong, "exposure").text
    silent = check_pair(with_readback(pair, low=0, high=0), camera, LIMITS)
    assert named(silent, "exposure").value is None


def test_hot_pixels_do_not_count_as_saturated() -> None:
    pair, camera = make_case(PLAIN)
    image = pair.high.image.copy()
    where = np.flatnonzero(~camera.hot)[:: image.size // 20] if camera.hot is not None else []
    image.ravel()[where] = 65535
    high = Taken(**{**_fields(pair.high), "image": image})
    saturated = check_pair(Pair(low=pair.low, high=high), camera, LIMITS)
    assert "saturated" in saturated.reasons
    hot = camera.hot.copy() if camera.hot is not None else np.zeros(image.shape, np.bool_)
    hot.ravel()[where] = True
    known = type(camera)(**{**vars_of(camera), "hot": hot})
    assert check_pair(Pair(low=pair.low, high=high), known, LIMITS).accepted


def vars_of(camera: object) -> dict[str, object]:
    names = ("constants", "bit_depth", "offsets_adu", "dark_variance_adu2", "hot", "dark_frames")
    return {name: getattr(camera, name) for name in names}


def test_bleaching_is_seen_in_the_frames_of_an_average_too() -> None:
    pair, camera = make_case(with_fault(PLAIN, ratio=1.0, high_frames=8))
    means = tuple(100 + (m - 100) * (1 - 0.03 * k) for k, m in enumerate(pair.high.frame_means_adu))
    high = Taken(**{**_fields(pair.high), "frame_means_adu": means})
    verdict = check_pair(Pair(low=pair.low, high=high), camera, LIMITS)
    assert verdict.reasons == ("bleaching",)
    assert named(verdict, "bleaching").value == pytest.approx(0.21, abs=0.01)


@pytest.mark.parametrize("frame", [0, 4, 7])
def test_one_frame_of_an_average_that_is_a_little_dark_is_found(frame: int) -> None:
    pair, camera = make_case(with_fault(PLAIN, ratio=1.0, high_frames=8))
    means = list(pair.high.frame_means_adu)
    means[frame] = 100 + 0.85 * (means[frame] - 100)
    high = Taken(**{**_fields(pair.high), "frame_means_adu": tuple(means)})
    verdict = check_pair(Pair(low=pair.low, high=high), camera, LIMITS)
    assert verdict.reasons == ("ratio",)
    assert f"frame {frame + 1} of 8" in named(verdict, "ratio").text


def test_the_odd_frame_is_named_whatever_the_bleaching() -> None:
    pair, camera = make_case(with_fault(PLAIN, ratio=1.0, high_frames=8))
    for frame in range(8):
        signal = (pair.high.frame_means_adu[0] - 100) * np.exp(-0.08 * np.arange(8))
        # The first and the last frame are further from the median than some of the odd ones.
        signal[frame] *= 1.25
        means = tuple(float(100 + s) for s in signal)
        high = Taken(**{**_fields(pair.high), "frame_means_adu": means})
        text = named(check_pair(Pair(low=pair.low, high=high), camera, LIMITS), "ratio").text
        assert f"frame {frame + 1} of 8" in text, (frame, text)


def bracketed(case: Case, change: Callable[[np.ndarray], np.ndarray]) -> PairVerdict:
    """Judge a bracket whose second low image was changed."""
    pair, camera = make_case(with_fault(case, bracket=True))
    assert pair.after is not None
    after = Taken(**{**_fields(pair.after), "image": change(pair.after.image)})
    return check_pair(Pair(low=pair.low, high=pair.high, after=after), camera, LIMITS)


def _saturate(image: np.ndarray) -> np.ndarray:
    changed = image.copy()
    changed[::40, ::40] = 65535
    return changed


def _zero(image: np.ndarray) -> np.ndarray:
    changed = image.copy()
    changed[::20, ::20] = 0
    return changed


def _mirror_half(image: np.ndarray) -> np.ndarray:
    changed = image.copy()
    changed[:, :128] = changed[:, :128][:, ::-1]
    return changed


AFTER = {
    "saturated": _saturate,
    "zero_clipped": _zero,
    "shift": lambda image: np.roll(image, 10, axis=1),
    "motion": _mirror_half,
}


@pytest.mark.parametrize("name", AFTER)
def test_the_second_low_image_of_a_bracket_is_checked_too(name: str) -> None:
    case = with_fault(PLAIN, kind="tubules")
    assert bracketed(case, lambda image: image).accepted
    verdict = bracketed(case, AFTER[name])
    assert name in verdict.reasons, [c.text for c in verdict.checks]
    assert verdict.reasons[0] == name


def test_a_drift_over_the_bracket_is_seen_where_each_half_is_within_the_limit() -> None:
    case = with_fault(PLAIN, kind="tubules", shift_px=(1.5, 0.0))
    assert bracketed(case, lambda image: image).accepted
    verdict = bracketed(case, lambda image: np.roll(image, 3, axis=0))
    assert verdict.reasons == ("shift",)
    assert "between the low images" in named(verdict, "shift").text


def test_a_blurred_second_low_image_is_out_of_focus() -> None:
    pair, camera = make_case(with_fault(PLAIN, kind="tubules", bracket=True))
    blurred, _ = make_case(with_fault(PLAIN, kind="tubules", blur_px=2.5, ratio=1.0))
    shot = pair.after.shot  # type: ignore[union-attr]
    after = Taken(**{**_fields(blurred.high), "shot": shot})
    verdict = check_pair(Pair(low=pair.low, high=pair.high, after=after), camera, LIMITS)
    assert verdict.reasons[0] == "focus"
    assert "second low" in named(verdict, "focus").text


def test_uneven_bleaching_within_the_limit_is_no_motion() -> None:
    case = with_fault(PLAIN, kind="cells", low_e=200.0, ratio=20.0)

    def bleach_left(image: np.ndarray) -> np.ndarray:
        changed = image.astype(np.float64)
        changed[:, :128] = 100 + 0.92 * (changed[:, :128] - 100)
        return np.rint(changed).astype(image.dtype)

    verdict = bracketed(case, bleach_left)
    assert verdict.accepted, [c.text for c in verdict.checks if not c.passed]


def test_pairs_that_share_their_high_image_get_the_verdict_they_get_alone() -> None:
    pair, camera = make_case(with_fault(PLAIN, bracket=True, shift_px=(1.7, 0.4), high_frames=2))
    highs = HighShots(camera)
    alone = check_pair(pair, camera, LIMITS)
    with ThreadPoolExecutor(4) as pool:
        shared = list(pool.map(lambda _: check_pair(pair, camera, LIMITS, highs), range(8)))
    assert all(one == alone for one in shared)


def test_a_high_image_is_looked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    looked_at = check_high.High.__init__

    def count(self: check_high.High, taken: Taken, camera: PairCamera) -> None:
        seen.append(id(taken))
        looked_at(self, taken, camera)

    monkeypatch.setattr(check_high.High, "__init__", count)
    pair, camera = make_case(PLAIN)
    other, _ = make_case(with_fault(PLAIN, seed=9))
    highs = HighShots(camera)
    with ThreadPoolExecutor(4) as pool:
        pairs = [pair, other] * 4
        list(pool.map(lambda one: check_pair(one, camera, LIMITS, highs), pairs))
    assert sorted(seen) == sorted({id(pair.high), id(other.high)})


@pytest.mark.parametrize("copies", [1, 2, 4, 8])
def test_one_small_object_is_found_in_a_field_of_any_size(copies: int) -> None:
    """Some six blocks of 8 px: 6 in 1000 of the smallest field, 1 in 10000 of the largest."""
    pair, camera = make_case(with_fault(PLAIN, seed=3, low_e=60.0, known="given"))
    low, high = (
        Taken(**{**_fields(one), "image": np.tile(one.image, (copies, copies))})
        for one in (pair.low, pair.high)
    )
    assert check_pair(Pair(low=low, high=high), camera, LIMITS).accepted
    image = high.image.astype(np.float64)
    y, x = np.ogrid[:256, :256]
    spot = np.exp(-((y - 200) ** 2 + (x - 204) ** 2) / (2 * 3.0**2))
    image[:256, :256] += 2.0 * np.quantile(pair.high.image - 100.0, 0.99) * spot
    changed = np.minimum(image, 60000).astype(np.uint16)
    high = Taken(**{**_fields(high), "image": changed})
    verdict = check_pair(Pair(low=low, high=high), camera, LIMITS)
    assert verdict.reasons == ("motion",), named(verdict, "motion").text


@pytest.mark.parametrize("side", [1, 6, 20, 40])
def test_small_fields_are_judged_by_what_they_show(side: int) -> None:
    pair, camera = make_case(with_fault(PLAIN, kind="flat", known="given"))
    shots = {
        role: Taken(**{**_fields(getattr(pair, role)), "image": image[:side, :side]})
        for role, image in (("low", pair.low.image), ("high", pair.high.image))
    }
    verdict = check_pair(Pair(low=shots["low"], high=shots["high"]), camera, LIMITS)
    assert verdict.accepted, [c.text for c in verdict.checks if not c.passed]
    assert np.isfinite(verdict.psnr_db)


def test_images_of_different_shape_are_refused() -> None:
    pair, camera = make_case(PLAIN)
    small = Taken(**{**_fields(pair.high), "image": pair.high.image[:128]})
    with pytest.raises(ValueError, match="differ in shape"):
        check_pair(Pair(low=pair.low, high=small), camera, LIMITS)


@pytest.mark.skipif(not FMD.exists(), reason="the shared FMD field is not here")
def test_real_pairs_are_kept_and_their_slow_drift_is_measured() -> None:
    camera, pairs = fmd_pairs(FMD)
    verdicts = [check_pair(pair, camera, LIMITS) for pair in pairs[::12]]
    assert all(v.accepted for v in verdicts), [v.reasons for v in verdicts]
    # The field drifts along y by about 1.6 px over the 50 frames.
    assert verdicts[0].shift_px[0] > 0.5
    assert verdicts[-1].shift_px[0] < -0.5
    assert all(v.shift_error_px < 0.05 for v in verdicts)
