"""Frames that are not what a camera made of a still scene: no gain, or one that says so."""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt
import pytest

from livedenoise.calibrate.data import Series
from livedenoise.calibrate.defects import dead_pixels
from livedenoise.calibrate.drift import with_relative_light
from livedenoise.calibrate.em_gain import gain_and_excess
from livedenoise.calibrate.linearity import DoseLevel, linearity
from livedenoise.calibrate.measure import LitSeries, measure, to_constants
from livedenoise.calibrate.pixel_maps import SlopeMaps, common_spread
from livedenoise.calibrate.results import CalibrationResult, Known
from livedenoise.calibrate.scalars import gain_spread
from livedenoise.core.errors import CalibrationError
from livedenoise.imaging.ptc_blocks import transfer_blocks
from livedenoise.imaging.ptc_moments import PixelMoments, PixelSummary
from livedenoise.imaging.ptc_steady import steadiness

SIDE, GAIN, OFFSET = 96, 0.5, 100.0
Stack = npt.NDArray[np.float64]


def summary_of(frames: npt.NDArray[np.generic], *, fourth: bool = False) -> PixelSummary:
    moments = PixelMoments(frames.shape[1:], bit_depth=16, fourth=fourth)
    for frame in frames:
        moments.add(frame)
    return moments.summary()


def texture(seed: int = 0, size: float = 3.0) -> Stack:
    """Return a smooth random scene, 0.05 to 1."""
    from scipy.ndimage import gaussian_filter

    image = gaussian_filter(np.random.default_rng(seed).random((SIDE, SIDE)), size, mode="wrap")
    return np.asarray(0.05 + 0.95 * ((image - image.min()) / np.ptp(image)) ** 2)


def exposed(electrons: Stack, seed: int = 1) -> Stack:
    """Return counts of a stack of electrons (T, Y, X): 2 counts an electron, read noise 1.4 e."""
    rng = np.random.default_rng(seed)
    noisy = rng.poisson(electrons) + rng.normal(0, 1.4, electrons.shape)
    return np.asarray(np.rint(noisy / GAIN + OFFSET))


def still(frames: int, brightest: float = 600.0) -> Stack:
    return np.repeat(brightest * texture()[None], frames, axis=0)


@cache
def dark() -> PixelSummary:
    return summary_of(exposed(np.zeros((60, SIDE, SIDE)), seed=9), fourth=True)


def calibrated(stack: Stack, known: Known | None = None) -> CalibrationResult:
    level = LitSeries(exposure_us=1000.0, light=1.0, summary=summary_of(stack))
    return measure({1000.0: dark()}, [level], bit_depth=16, known=known)


def running_mean(stack: Stack, n: int) -> Stack:
    return np.stack([np.rint(stack[max(0, t - n + 1) : t + 1].mean(0)) for t in range(len(stack))])


def recursive(stack: Stack, share: float) -> Stack:
    found = stack.copy()
    for t in range(1, len(stack)):
        found[t] = share * stack[t] + (1 - share) * found[t - 1]
    return np.rint(found)


@pytest.mark.parametrize(
    "shared",
    [
        lambda s: running_mean(s, 4),
        lambda s: running_mean(s, 2),
        lambda s: recursive(s, 0.8),
        lambda s: np.repeat(s[::2], 2, axis=0),
    ],
    ids=["mean of 4", "mean of 2", "recursive", "repeated"],
)
@pytest.mark.parametrize("light", ["still", "drifting"])
def test_frames_that_share_noise_give_no_gain(shared: object, light: str) -> None:
    electrons = still(32)
    if light == "drifting":
        electrons *= np.linspace(1.0, 0.9, 32)[:, None, None]
    result = calibrated(shared(exposed(electrons)))  # type: ignore[operator]
    assert result.gain_e_per_adu.status == "not measurable"
    assert "share noise" in result.gain_e_per_adu.text
    with pytest.raises(CalibrationError, match="share noise"):
        to_constants(result)


@pytest.mark.parametrize("flat", [True, False], ids=["even light", "scene"])
def test_light_that_drifts_and_flickers_is_not_taken_for_shared_noise_or_motion(
    flat: bool,
) -> None:
    rng = np.random.default_rng(3)
    light = np.linspace(1.0, 0.8, 24) * (1 + 0.03 * rng.normal(size=24))
    electrons = np.full((24, SIDE, SIDE), 300.0) if flat else still(24)
    found = steadiness([summary_of(exposed(electrons * light[:, None, None], seed=4))])
    assert found.ratio == pytest.approx(1.0, abs=0.02)
    assert found.moving_share == 0.0


def test_a_weak_filter_over_time_widens_the_error_and_says_so() -> None:
    result = calibrated(recursive(exposed(still(60)), 0.94))
    gain = result.gain_e_per_adu
    assert gain.status == "measured, biased"
    assert gain.value is not None
    assert gain.error is not None
    assert gain.value - GAIN > 0.05 * GAIN
    assert gain.value - GAIN < 2 * gain.error
    assert result.read_noise_e.status == "measured, biased"
    assert any("share noise" in w for w in result.warnings)


def test_a_scene_that_moves_is_not_called_a_filter() -> None:
    frames = np.stack([np.roll(600 * texture(), t, axis=1) for t in range(24)])
    result = calibrated(exposed(frames))
    assert result.gain_e_per_adu.value is None
    assert "moved" in result.gain_e_per_adu.text
    assert not any("smoothed or resampled" in w for w in result.warnings)
    assert any("scene moved" in w for w in result.warnings)


def test_an_object_that_moves_is_left_out_and_not_called_smoothing() -> None:
    y, x = np.mgrid[:SIDE, :SIDE]
    blob = [900 * np.exp(-((x - 20 - t) ** 2 + (y - 30) ** 2) / 12) for t in range(30)]
    result = calibrated(exposed(still(30) + np.stack(blob)))
    gain = result.gain_e_per_adu
    assert gain.status == "measured"
    assert gain.value is not None
    assert abs(gain.value - GAIN) < 4 * float(gain.error or 0)
    assert any("left out of the fit" in w for w in result.warnings)
    assert not any("smoothed" in w for w in result.warnings)


def test_many_small_things_that_move_are_not_called_smoothing() -> None:
    rng = np.random.default_rng(8)
    y, x = np.mgrid[:SIDE, :SIDE]
    places, frames = rng.random((8, 2)) * SIDE, []
    for _ in range(24):
        places += rng.normal(0, 1.5, places.shape)
        image = 20.0 + np.zeros((SIDE, SIDE))
        for row, column in places % SIDE:
            image += 300 * np.exp(-((y - row) ** 2 + (x - column) ** 2) / 6)
        frames.append(image)
    result = calibrated(exposed(np.stack(frames)))
    assert not any("smoothed or resampled" in w for w in result.warnings)
    assert any("scene moved" in w for w in result.warnings)
    gain = result.gain_e_per_adu
    if gain.value is not None:
        assert abs(gain.value - GAIN) < 4 * float(gain.error or 0)


def test_smoothing_is_in_the_error_of_the_gain() -> None:
    stack = exposed(still(30))
    mixed = stack.copy()
    mixed[:, :, 1:] = 0.95 * stack[:, :, 1:] + 0.05 * stack[:, :, :-1]
    gain = calibrated(mixed).gain_e_per_adu
    assert gain.status == "measured, biased"
    assert gain.value is not None
    assert abs(gain.value - GAIN) < 2 * float(gain.error or 0)


def test_an_impossible_excess_noise_factor_is_refused() -> None:
    gain, excess = gain_and_excess(2.0, 0.02, Known(conversion_gain_e_per_adu=2.0, em_gain=10.0))
    assert (gain.value, excess.value) == (None, None)
    assert "conversion gain or EM gain is wrong" in gain.text
    _, near = gain_and_excess(2.0, 0.02, Known(conversion_gain_e_per_adu=4.95, em_gain=10.0))
    assert near.value == pytest.approx(0.99)


def test_a_factor_that_is_set_to_one_is_told() -> None:
    known = Known(conversion_gain_e_per_adu=GAIN * 2 * 0.997, em_gain=2.0)
    result = calibrated(exposed(still(20)), known)
    factor = result.excess_noise_factor.value
    assert factor is not None
    told = any("1 is written" in w for w in result.warnings)
    assert told == (factor < 1.0)
    assert to_constants(result).excess_noise_factor >= 1.0
    assert factor < 1.0


def test_an_em_gain_alone_gives_an_assumed_gain() -> None:
    gain, excess = gain_and_excess(2.0, 0.02, Known(em_gain=100.0))
    assert (gain.status, excess.status) == ("assumed", "assumed")
    assert gain.value == pytest.approx(1.99 / 2.0)


def doses(drift: float, light_error: float | None) -> list[DoseLevel]:
    return [
        DoseLevel(dose=d, signal_adu=900 * d, error_adu=0.1, drift=drift, light_error=light_error)
        for d in (1.0, 2.0, 4.0, 6.0, 8.0, 10.0)
    ]


def test_light_that_changed_within_levels_gives_no_linearity() -> None:
    lost = linearity(doses(-0.9, None), 10_000.0)
    assert lost.error_percent.value is None
    assert "light changed" in lost.error_percent.text
    assert linearity(doses(-0.9, 0.001), 10_000.0).error_percent.value is None
    followed = linearity(doses(-0.1, 0.003), 10_000.0).largest_percent
    assert followed.value == pytest.approx(0.0, abs=1e-6)
    assert followed.error == pytest.approx(0.3, rel=0.02)


def test_bleaching_files_are_not_called_a_camera_that_is_not_linear() -> None:
    levels = []
    for k, light in enumerate((0.1, 0.2, 0.4, 0.6, 0.8, 1.0)):
        fade = np.exp(-np.linspace(0, 0.3 * (k + 1), 12))[:, None, None]
        stack = exposed(np.full((12, SIDE, SIDE), 600.0 * light) * fade, seed=k)
        levels.append(LitSeries(exposure_us=1000.0, light=light, summary=summary_of(stack)))
    result = measure({1000.0: dark()}, levels, bit_depth=16)
    assert result.linearity.error_percent.status == "not measurable"
    assert "light changed" in result.linearity.error_percent.text
    assert not any("not linear" in w for w in result.warnings)


def test_linearity_is_judged_by_the_bright_part_of_a_dark_scene() -> None:
    spot = np.zeros((SIDE, SIDE))
    spot[40:56, 40:56] = 1.0
    levels = []
    for k, light in enumerate((0.08, 0.2, 0.4, 0.6, 0.8, 0.95, 1.5)):
        electrons = np.repeat(30_000.0 * light * spot[None], 6, axis=0)
        stack = exposed(electrons, seed=k).clip(0, 65_535).astype(np.uint16)
        levels.append(LitSeries(exposure_us=1000.0, light=light, summary=summary_of(stack)))
    result = measure({1000.0: dark()}, levels, bit_depth=16)
    points = result.linearity.points
    assert result.linearity.largest_percent.value is not None, result.linearity.error_percent.text
    assert result.linearity.largest_percent.value < 0.2
    assert max(p.signal_adu for p in points if p.used) > 50_000
    assert sum(p.used for p in points) >= 5


def test_pixels_without_a_spread_are_said_to_have_one_in_few_runs_of_hundred() -> None:
    rng = np.random.default_rng(11)
    claims = 0
    for _ in range(300):
        first, second = rng.normal(size=(2, 24, 24))
        found = common_spread(first, second, np.zeros((24, 24)), None)
        value = gain_spread(_slopes(*found), None)
        claims += value.value is not None
    assert claims == 0
    shared = rng.normal(size=(48, 48))
    first, second = shared + rng.normal(size=(2, 48, 48))
    spread, error = common_spread(first, second, np.zeros((48, 48)), None)
    assert gain_spread(_slopes(spread, error), None).value == pytest.approx(100 * spread)
    assert abs(spread - 1.0) < 4 * error


def _slopes(spread: float, error: float) -> SlopeMaps:
    image = np.ones((2, 2))
    return SlopeMaps(
        slope_adu=image,
        error_adu=image,
        shrinkage=image,
        spread=spread,
        spread_error=error,
        own_error=1.0,
        n_levels=4,
        n_frames=40,
    )


def filaments() -> Stack:
    from scipy.ndimage import gaussian_filter

    rng = np.random.default_rng(0)
    image = np.zeros((256, 256))
    for _ in range(25):
        y, x = rng.random(2) * 256
        angle = rng.random() * 2 * np.pi
        along = np.arange(0, 120, 0.3)
        rows = (y + along * np.sin(angle)).astype(int) % 256
        np.add.at(image, (rows, (x + along * np.cos(angle)).astype(int) % 256), 1)
    image = gaussian_filter(image, 1.2)
    return np.asarray(5 + 5000 * image / image.max())


def test_a_scene_of_filaments_has_no_dead_pixels() -> None:
    scene = filaments()
    clean = summary_of(exposed(np.repeat(scene[None], 10, axis=0)))
    index, _ = dead_pixels([clean], OFFSET)
    assert index is not None
    assert index.size == 0
    row, column = np.unravel_index(int(np.argmax(scene)), scene.shape)
    scene[row, column] = 0.0
    index, _ = dead_pixels([summary_of(exposed(np.repeat(scene[None], 10, axis=0)))], OFFSET)
    assert index is not None
    assert index.tolist() == [row * 256 + column]


def flat_camera(
    hot_e_per_s: float, warm_e_per_s: float, seed: int = 5
) -> tuple[CalibrationResult, Stack]:
    """Return a calibration of even light with hot pixels of no other gain, and the true gains."""
    rng = np.random.default_rng(seed)
    response = 1 + 0.02 * rng.normal(size=(SIDE, SIDE))
    current = warm_e_per_s * rng.random((SIDE, SIDE))
    current[rng.random((SIDE, SIDE)) < 0.004] = hot_e_per_s

    def series(light: float, exposure_s: float, frames: int, *, fourth: bool) -> PixelSummary:
        electrons = rng.poisson(light + current * exposure_s, (frames, SIDE, SIDE))
        noisy = (electrons + rng.normal(0, 1.4, electrons.shape)) * response / GAIN
        return summary_of(np.rint(noisy + OFFSET), fourth=fourth)

    darks = {e * 1e6: series(0.0, e, 30, fourth=True) for e in (0.01, 1.0)}
    levels = [
        LitSeries(exposure_us=e * 1e6, light=1.0, summary=series(5000 * e, e, 12, fourth=False))
        for e in (0.1, 0.25, 0.5, 0.75)
    ]
    result = measure(darks, levels, bit_depth=16, known=Known(flat_field=True))
    return result, GAIN / response


@pytest.mark.parametrize("warm", [0.0, 600.0])
def test_hot_and_warm_pixels_under_even_light_get_no_wrong_gain(warm: float) -> None:
    result, truth = flat_camera(6000.0, warm)
    assert result.maps is not None
    assert result.map_errors is not None
    hot = result.defects.hot_index
    assert hot is not None
    assert hot.size > 10
    wrong = (result.maps.gain_e_per_adu - truth).ravel()
    pull = wrong / result.map_errors.gain_e_per_adu.ravel()
    assert np.abs(wrong[hot] / truth.ravel()[hot]).mean() < 0.03
    assert np.abs(pull[hot]).max() < 3
    normal = np.delete(pull, hot)
    assert np.sqrt(np.mean(normal**2)) < 1.5


def test_a_common_gain_for_all_pixels_has_an_error() -> None:
    result = calibrated(exposed(still(24)))
    assert result.maps is not None
    assert result.map_errors is not None
    assert np.ptp(result.maps.gain_e_per_adu) == 0
    assert (result.map_errors.gain_e_per_adu > 0.005 * GAIN).all()


def test_a_lit_series_keeps_what_is_needed() -> None:
    frames = exposed(still(8)).astype(np.uint16)
    summary = summary_of(frames)
    kept = [getattr(summary, name) for name in summary.__struct_fields__]
    held = sum(v.nbytes for v in kept if isinstance(v, np.ndarray))
    assert held < 11 * SIDE * SIDE


def test_blocks_with_one_clipped_pixel_take_no_part_in_the_fit() -> None:
    electrons = np.full((10, SIDE, SIDE), 2000.0)
    electrons[:, ::4, ::8] = 33_000.0
    summary = summary_of(exposed(electrons).clip(0, 65_535).astype(np.uint16))
    blocks = transfer_blocks([summary], None)
    assert blocks.clipped.mean() == pytest.approx(0.5)
    assert blocks.raw_mean[~blocks.clipped].max() < 5000


def test_a_full_well_that_few_blocks_reach_has_their_spread_for_its_error() -> None:
    rng = np.random.default_rng(6)
    # A sixth of the image is full, and what borders on it only just.
    scene = np.linspace(0.02, 1.2, SIDE)[None, :] * np.ones((SIDE, 1))
    levels = []
    for k, light in enumerate((3000.0, 9000.0, 17_500.0)):
        full = np.minimum(rng.poisson(light * scene, (12, SIDE, SIDE)), 18_000)
        counts = np.rint((full + rng.normal(0, 1.4, full.shape)) / GAIN + OFFSET)
        levels.append(LitSeries(exposure_us=1000.0, light=float(k + 1), summary=summary_of(counts)))
    result = measure({1000.0: dark()}, levels, bit_depth=16)
    found = result.saturation_adu
    assert found.value is not None, found.text
    assert abs(found.value - (18_000 / GAIN + OFFSET)) < 3 * float(found.error or 0)


def test_references_give_each_level_the_error_of_its_light() -> None:
    frames = exposed(np.full((4, 16, 16), 100.0))

    def series(reference: float, error: float) -> Series:
        return Series(
            name="x",
            exposure_us=1.0,
            light=1.0,
            is_dark=False,
            summary=summary_of(frames),
            reference_adu=OFFSET + reference,
            reference_error_adu=error,
        )

    falling = [series(reference, 1.0) for reference in (1000.0, 900.0, 800.0)]
    found, told = with_relative_light(falling, OFFSET)
    assert [s.light for s in found] == pytest.approx([1000 / 900, 1.0, 800 / 900])
    assert [s.light_error for s in found] == pytest.approx([1 / 1000, 1 / 900, 1 / 800])
    assert told
    steady, _ = with_relative_light([series(1000.0, 5.0)] * 3, OFFSET)
    assert [(s.light, s.light_error) for s in steady] == [(1.0, 0.0)] * 3
    assert with_relative_light(falling[:2], OFFSET)[0][0].light_error is None
