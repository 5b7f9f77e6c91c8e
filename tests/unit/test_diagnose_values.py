"""Counts that no converter gave, clipping, odd recordings."""

import json
import math
from pathlib import Path

import diagnose_kit as kit
import msgspec
import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from livedenoise.core.errors import ConfigError
from livedenoise.diagnose.facts import Diagnosis, Number, measured
from livedenoise.diagnose.pixel_values import clipped_at, missing_counts, step_between_counts
from livedenoise.diagnose.run import diagnose
from livedenoise.diagnose.words import shown

EIGHT_BIT = kit.CLEAN.model_copy(update={"bit_depth": 8, "gain_e_per_adu": 2.0, "offset_adu": 10.0})


def strict(found: Diagnosis) -> str:
    """Return the JSON, which must hold neither NaN nor infinity."""
    return json.dumps(msgspec.to_builtins(found), allow_nan=False)


def suspected(folder: Path, frames: np.ndarray) -> str:
    return " | ".join(kit.diagnosed(folder, frames).suspicions)


def test_pixels_cut_off_at_zero_are_counted(tmp_path: Path) -> None:
    sensor = kit.CLEAN.model_copy(update={"offset_adu": 2.0})
    found = kit.diagnosed(tmp_path, kit.movie(12, peak_e=60.0, sensor=sensor, background=0.0))
    assert found.zero_fraction.value is not None
    assert found.zero_fraction.value > 0.01
    assert any("pixels are 0" in line for line in found.summary)


@pytest.mark.parametrize("bits", [16, 12])
def test_saturated_pixels_are_counted_even_below_the_bit_depth(tmp_path: Path, bits: int) -> None:
    sensor = kit.CLEAN.model_copy(update={"bit_depth": bits, "gain_e_per_adu": 0.02})
    peak_e = 1.4 * 2**bits * 0.02
    frames = kit.movie(12, peak_e=peak_e, sensor=sensor, kind="cells")
    top = frames == 2**bits - 1
    found = kit.diagnosed(tmp_path, frames)
    assert found.bit_depth == 16
    assert found.saturated_fraction.value == pytest.approx(float(top[:].mean()), rel=0.3)
    assert any("highest count" in line for line in found.summary)


def test_a_12_bit_camera_in_16_bits_is_nothing_odd(tmp_path: Path) -> None:
    sensor = kit.CLEAN.model_copy(update={"bit_depth": 12})
    found = kit.diagnosed(tmp_path, kit.movie(12, sensor=sensor))
    assert found.suspicions == ()
    assert found.saturated_fraction.value == 0.0


@pytest.mark.parametrize("factor", [257, 16, 4])
def test_counts_scaled_up_are_multiples(tmp_path: Path, factor: int) -> None:
    frames = kit.movie(12, sensor=EIGHT_BIT).astype(np.uint16) * factor
    assert f"multiples of {factor}" in suspected(tmp_path, frames)


def test_a_few_odd_pixels_do_not_hide_multiples(tmp_path: Path) -> None:
    frames = kit.movie(12, sensor=EIGHT_BIT).astype(np.uint16) * 16
    frames[3, 5, 5:8] = (65535, 1237, 3)
    assert "multiples of 16" in suspected(tmp_path, frames)


@pytest.mark.parametrize("factor", [5.7, 257.3, 1.3])
def test_counts_stretched_by_a_fraction_leave_gaps(tmp_path: Path, factor: float) -> None:
    frames = kit.counts(kit.movie(12, sensor=EIGHT_BIT).astype(np.float64) * factor)
    found = suspected(tmp_path, frames)
    assert "stretched" in found or "scaled up" in found


@pytest.mark.parametrize("factor", [0.7, 0.6])
def test_counts_squeezed_pile_up(tmp_path: Path, factor: float) -> None:
    frames = kit.counts(kit.movie(12).astype(np.float64) * factor)
    assert "rounded twice" in suspected(tmp_path, frames)


def test_noise_below_the_rounding_is_suspected(tmp_path: Path) -> None:
    frames = (kit.movie(12, peak_e=2000.0).astype(np.float64) / 400.0 + 5.0).round()
    found = kit.diagnosed(tmp_path, frames.astype(np.uint16))
    assert any("below the rounding" in line for line in found.suspicions)


def test_single_photons_are_neither_cut_off_nor_denoised(tmp_path: Path) -> None:
    photons = np.random.default_rng(0).poisson(kit.scene_of("cells") * 0.5, (24, 128, 128))
    found = kit.diagnosed(tmp_path, photons.astype(np.uint8))
    assert found.gain.value == pytest.approx(1.0, rel=0.05)
    assert found.noise.value is not None
    assert found.noise.value < 0.4
    assert found.suspicions == ()
    assert any("single photons" in line for line in found.summary)
    assert kit.method(found, "n2v").fit == "fits"


def test_float_pixels_are_processed_already(tmp_path: Path) -> None:
    found = kit.diagnosed(tmp_path, kit.movie(12).astype(np.float32) / 7.0)
    assert any("not counts" in line for line in found.suspicions)
    assert len(found.suspicions) == 1
    assert found.zero_fraction.value == 0.0
    assert found.gain.value == pytest.approx(7.0 * kit.CLEAN.gain_e_per_adu, rel=0.05)
    strict(found)


def test_a_black_border_is_named(tmp_path: Path) -> None:
    frames = kit.movie(12)
    frames[:, :64] = 0
    found = kit.diagnosed(tmp_path, frames)
    assert any("never changes" in line for line in found.suspicions)
    assert abs(found.lag1_x.value or 1.0) < 0.03


def test_dark_frames_have_read_noise_alone(tmp_path: Path) -> None:
    found = kit.diagnosed(tmp_path, kit.exposed(np.zeros((16, 128, 128), np.float32)))
    assert found.noise_model == "gaussian"
    assert found.gain.value is None
    assert found.noise.value == pytest.approx(kit.CLEAN.read_noise_e / 0.5, rel=0.05)
    assert found.suspicions == ()
    assert not any("flickers" in line or "falls" in line for line in found.summary)
    for one in found.methods:
        assert one.fit == "unknown", one
        assert "no light" in one.why
    assert "Nothing is to be seen" in found.summary[0]
    strict(found)


def test_an_emccd_reads_its_gain_less_the_excess_noise(tmp_path: Path) -> None:
    sensor = kit.CLEAN.model_copy(
        update={
            "em_gain": 200.0,
            "gain_e_per_adu": 10.0,
            "read_noise_e": 40.0,
            "full_well_e": 800000.0,
        }
    )
    found = kit.diagnosed(tmp_path, kit.movie(16, peak_e=40.0, sensor=sensor))
    assert found.gain.value == pytest.approx(10.0 / 200.0 / 2.0, rel=0.05)
    assert kit.method(found, "n2v").fit == "fits"
    assert found.suspicions == ()


@pytest.mark.parametrize("n", [1, 2, 12])
@pytest.mark.parametrize("value", [0, 7, 65535])
def test_constant_frames_are_said_not_to_differ(tmp_path: Path, n: int, value: int) -> None:
    found = kit.diagnosed(tmp_path, np.full((n, 64, 64), value, np.uint16))
    assert found.lag1_x.value is None
    assert found.gain.value is None
    assert {one.fit for one in found.methods} == {"does not fit" if value == 65535 else "unknown"}
    strict(found)


def test_frames_too_small_are_refused_with_the_size(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"frames are \(31, 64\).*32 px") as error:
        kit.diagnosed(tmp_path, kit.movie(4, size=64)[:, :31])
    assert error.value.hint


@pytest.mark.parametrize("size", [32, 47, 64])
def test_the_smallest_frames_give_errors_and_not_zero(tmp_path: Path, size: int) -> None:
    found = kit.diagnosed(tmp_path, kit.movie(8, size=size))
    assert found.lag1_x.error is not None
    assert found.lag1_x.error > 0.003
    assert abs(found.lag1_x.value or 0.0) < 4.0 * found.lag1_x.error
    strict(found)


def test_pixels_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    frames = kit.movie(4, size=64).astype(np.float32)
    frames[2, 3, 4] = np.nan
    with pytest.raises(ConfigError, match="not a number"):
        kit.diagnosed(tmp_path, frames)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_no_number_is_ever_not_finite(value: float) -> None:
    assert measured(value).value is None
    assert measured(value).note
    assert measured(1.0, value).error is None


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (measured(0.26887, 0.00048, unit="e/count"), "0.26887 ± 0.00048 e/count"),
        (measured(1234.5, 56.0), "1234 ± 56"),
        (measured(0.0, 0.0131), "0.000 ± 0.013"),
        (measured(3.8512, unit="counts"), "3.85 counts"),
        (measured(0.5, note="a note"), "0.5 (a note)"),
        (measured(math.nan, note="why"), "not measured: why"),
    ],
)
def test_a_number_shows_two_digits_of_its_error(number: Number, text: str) -> None:
    assert shown(number) == text


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    seed=st.integers(0, 2**31),
    n=st.integers(1, 9),
    sides=st.tuples(st.integers(32, 70), st.integers(32, 70)),
    dtype=st.sampled_from([np.uint8, np.uint16, np.float32]),
    level=st.sampled_from([0.0, 1.0, 100.0, 255.0, 65535.0]),
    noise=st.sampled_from([0.0, 0.1, 1.0, 30.0, 1e5]),
    held=st.booleans(),
)
def test_any_recording_gives_strict_json(
    tmp_path: Path,
    *,
    seed: int,
    n: int,
    sides: tuple[int, int],
    dtype: type[np.generic],
    level: float,
    noise: float,
    held: bool,
) -> None:
    rng = np.random.default_rng(seed)
    frames = level + noise * rng.normal(size=(n, *sides))
    if held:
        frames[:, : sides[0] // 2] = frames[:1, : sides[0] // 2]
    if dtype is not np.float32:
        frames = np.clip(np.rint(frames), 0, np.iinfo(dtype).max)  # type: ignore[type-var]
    found = kit.diagnosed(tmp_path, frames.astype(dtype))
    again = msgspec.json.decode(strict(found), type=Diagnosis)
    assert again == found
    assert len(found.methods) == 5


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(50, 5000), min_size=20, max_size=200), st.integers(1, 40))
def test_steps_and_gaps_of_histograms(heights: list[int], step: int) -> None:
    histogram = np.zeros(len(heights) * step, np.int64)
    histogram[::step] = heights
    assert step_between_counts(histogram) == step
    assert missing_counts(histogram) == pytest.approx((step - 1) / step)


def test_the_tail_of_a_histogram_is_not_clipping() -> None:
    values = np.random.default_rng(0).normal(100, 10, 10**6).round().astype(int)
    histogram = np.bincount(values)
    assert clipped_at(histogram) is None
    assert clipped_at(histogram[: np.flatnonzero(histogram > 60)[-1] + 1]) is None
    assert clipped_at(np.full(30, 100)) is None
    assert clipped_at(np.bincount(np.minimum(values, 115))) == 115


def test_a_png_is_one_frame_and_rgb_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "rgb.tif"
    tifffile.imwrite(path, np.zeros((64, 64, 3), np.uint8), photometric="rgb")
    with pytest.raises(ConfigError):
        diagnose(path)
