"""The estimate of camera constants against simulated cameras, odd recordings and real ones."""

import time
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from scipy import ndimage

from livedenoise.core.constants import CameraConstants
from livedenoise.imaging.noise_blocks import block_statistics, choose_pairs, sample_windows
from livedenoise.imaging.noise_fit import constants_from_fit, fit_constants, fit_noise
from livedenoise.imaging.noise_line import fit_line
from livedenoise.imaging.transforms import CountsTransform

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"
OFFSET_ADU = 100.0
Stack = npt.NDArray[np.uint16]


def scene(
    size: int = 256, psf_sigma_px: float = 1.3, dark: float = 0.04
) -> npt.NDArray[np.float64]:
    """Granules, walking filaments and cell bodies of peak about 1, blurred."""
    rng = np.random.default_rng(5)
    image = np.zeros((size, size))
    for _ in range(size * size // 2000):
        image[tuple(rng.integers(0, size, 2))] += rng.uniform(2, 10)
        y, x, angle = *rng.uniform(0, size, 2), rng.uniform(0, 2 * np.pi)
        for _ in range(150):
            angle += rng.normal(0, 0.08)
            y, x = y + 0.7 * np.sin(angle), x + 0.7 * np.cos(angle)
            image[int(y) % size, int(x) % size] += 0.7
    image = ndimage.gaussian_filter(image, psf_sigma_px, mode="wrap")
    cells = ndimage.gaussian_filter(rng.normal(size=(size, size)), 14, mode="wrap")
    image = image / np.quantile(image, 0.999) + 1.2 * np.clip(cells / cells.max() - 0.2, 0, 1)
    return dark + (1 - dark) * np.clip(image, 0, 1.5)


SCENE = scene()


def record(
    n_frames: int,
    peak_e: float,
    read_noise_e: float,
    counts_per_e: float,
    *,
    bits: int = 16,
    offset: float = OFFSET_ADU,
    shift_px: float = 0.0,
    bleach: float = 0.0,
    blur_px: float = 0.0,
    seed: int = 0,
) -> Stack:
    """Return simulated counts (T, Y, X); motion is per frame, bleaching over 50 frames."""
    rng = np.random.default_rng(seed)
    frames = []
    for t in range(n_frames):
        moved = SCENE
        if shift_px:
            moved = ndimage.shift(SCENE, (shift_px * t, 0.6 * shift_px * t), order=3, mode="wrap")
        mean = peak_e * np.clip(moved, 1e-3, None) * (1 - bleach * t / 50)
        noise = rng.poisson(mean) - mean + rng.normal(0, read_noise_e, mean.shape)
        if blur_px:
            smooth = ndimage.gaussian_filter(noise, blur_px, mode="wrap")
            noise = smooth * (noise.std() / smooth.std())
        frames.append(np.rint(offset + counts_per_e * (mean + noise)))
    kind = np.uint8 if bits == 8 else np.uint16
    return np.clip(np.stack(frames), 0, 2**bits - 1).astype(kind)


def variance_over_mean(
    constants: CameraConstants,
    peak_e: float,
    read_noise_e: float,
    counts_per_e: float,
    offset: float = OFFSET_ADU,
) -> npt.NDArray[np.float64]:
    """Return true variance over mean in network units, in the dark and in the bright parts."""
    level_e = peak_e * np.quantile(SCENE, (0.05, 0.995))
    transform = CountsTransform(constants)
    u = (offset + counts_per_e * level_e) * transform.scale + transform.shift
    variance = counts_per_e**2 * (level_e + read_noise_e**2) * transform.scale**2
    return np.asarray(variance / u)


CAMERAS = [
    pytest.param(2000, 1.5, 2.0, 16, id="bright sCMOS"),
    pytest.param(500, 5.0, 0.5, 16, id="half a count per electron"),
    pytest.param(100, 2.0, 1.0, 16, id="dim"),
    pytest.param(20, 1.5, 10.0, 16, id="very dim, ten counts per electron"),
    pytest.param(5, 0.5, 20.0, 16, id="few electrons, twenty counts each"),
    pytest.param(1000, 2.0, 0.1, 8, id="8-bit, ten electrons per count"),
]


@pytest.mark.parametrize(("peak_e", "read_noise_e", "counts_per_e", "bits"), CAMERAS)
@pytest.mark.parametrize("n_frames", [2, 16])
def test_still_repeats_give_back_gain_and_units_within_five_percent(
    peak_e: float, read_noise_e: float, counts_per_e: float, bits: int, n_frames: int
) -> None:
    offset = 5.0 if bits == 8 else OFFSET_ADU
    frames = record(n_frames, peak_e, read_noise_e, counts_per_e, bits=bits, offset=offset)
    constants = fit_constants(frames, bit_depth=bits)
    assert constants.source == "estimated"
    assert constants.model == "poisson_gaussian"
    assert 1 / constants.gain_e_per_adu == pytest.approx(counts_per_e, rel=0.05)
    ratio = variance_over_mean(constants, peak_e, read_noise_e, counts_per_e, offset)
    np.testing.assert_allclose(ratio, 1, atol=0.06)


@pytest.mark.parametrize(("peak_e", "read_noise_e", "counts_per_e", "bits"), CAMERAS[:4])
def test_motion_and_bleaching_leave_the_estimate_within_six_percent(
    peak_e: float, read_noise_e: float, counts_per_e: float, bits: int
) -> None:
    frames = record(
        16, peak_e, read_noise_e, counts_per_e, bits=bits, shift_px=0.7, bleach=0.3, seed=3
    )
    fit = fit_noise(frames, bit_depth=bits)
    assert fit.method == "moving frame pairs"
    assert fit.slope_adu == pytest.approx(counts_per_e, rel=0.06)
    constants = constants_from_fit(fit)
    ratio = variance_over_mean(constants, peak_e, read_noise_e, counts_per_e)
    np.testing.assert_allclose(ratio, 1, atol=0.06)


@pytest.mark.parametrize(("peak_e", "read_noise_e", "counts_per_e", "bits"), CAMERAS)
def test_one_image_gives_gain_and_units_within_fifteen_percent(
    peak_e: float, read_noise_e: float, counts_per_e: float, bits: int
) -> None:
    offset = 5.0 if bits == 8 else OFFSET_ADU
    frame = record(1, peak_e, read_noise_e, counts_per_e, bits=bits, offset=offset, seed=7)[0]
    constants = fit_constants(frame, bit_depth=bits)
    assert "one image" in constants.note
    assert 1 / constants.gain_e_per_adu == pytest.approx(counts_per_e, rel=0.15)
    ratio = variance_over_mean(constants, peak_e, read_noise_e, counts_per_e, offset)
    np.testing.assert_allclose(ratio, 1, atol=0.15)


def test_a_known_offset_gives_back_the_read_noise() -> None:
    constants = fit_constants(record(16, 200, 5.0, 2.0), bit_depth=16, offset_adu=OFFSET_ADU)
    assert constants.offset_adu == OFFSET_ADU
    assert constants.read_noise_e == pytest.approx(5.0, rel=0.03)


def test_the_chosen_offset_does_not_change_network_units() -> None:
    frames = record(16, 200, 5.0, 2.0)
    chosen = CountsTransform(fit_constants(frames, bit_depth=16))
    given = CountsTransform(fit_constants(frames, bit_depth=16, offset_adu=OFFSET_ADU))
    assert chosen.scale == given.scale
    assert chosen.shift == pytest.approx(given.shift, abs=1e-9)


def test_the_offset_is_never_below_the_level_without_noise() -> None:
    frames = np.random.default_rng(0).poisson(400 * SCENE, (8, 256, 256)).astype(np.uint16)
    constants = fit_constants(frames, bit_depth=16)
    fit = fit_noise(frames, bit_depth=16)
    assert constants.offset_adu >= -fit.intercept_adu2 / fit.slope_adu
    assert constants.read_noise_e >= 0


def test_rounding_is_taken_out_of_the_read_noise() -> None:
    fit = fit_noise(record(32, 300, 0.5, 0.6), bit_depth=16)
    dark_adu2 = fit.slope_adu * OFFSET_ADU + fit.intercept_adu2
    # Without the correction it would read 0.09 + 0.083 counts squared.
    assert dark_adu2 == pytest.approx(0.6**2 * 0.5**2, abs=0.04)


def test_saturated_pixels_are_left_out_and_reported() -> None:
    frames = np.minimum(record(16, 1000, 2.0, 1.0), 600)
    constants = fit_constants(frames, bit_depth=16)
    assert 1 / constants.gain_e_per_adu == pytest.approx(1.0, rel=0.05)
    assert "touches zero or the top" in constants.note


def test_dark_pixels_clipped_to_zero_are_left_out() -> None:
    frames = record(16, 300, 8.0, 2.0, offset=0.0)
    assert (frames == 0).mean() > 0.02
    fit = fit_noise(frames, bit_depth=16)
    assert fit.slope_adu == pytest.approx(2.0, rel=0.06)
    assert fit.clipped_fraction > 0.05


def test_spatially_correlated_noise_is_measured_fully_and_named() -> None:
    frames = record(16, 100, 3.0, 2.0, blur_px=0.6)
    fit = fit_noise(frames, bit_depth=16)
    kernel = np.exp(-(np.arange(-2, 3) ** 2) / (2 * 0.6**2))
    expected = (kernel[1:] @ kernel[:-1]) / (kernel @ kernel)
    assert fit.lag1_x == pytest.approx(expected, abs=0.05)
    assert fit.lag1_y == pytest.approx(expected, abs=0.05)
    constants = constants_from_fit(fit)
    np.testing.assert_allclose(variance_over_mean(constants, 100, 3.0, 2.0), 1, atol=0.12)
    assert "SPATIALLY CORRELATED" in constants.note


def test_white_noise_is_not_called_correlated() -> None:
    fit = fit_noise(record(8, 100, 3.0, 2.0), bit_depth=16)
    assert abs(fit.lag1_x) < 0.02
    assert abs(fit.lag1_y) < 0.02
    assert "CORRELATED" not in constants_from_fit(fit).note


def test_frames_that_share_noise_are_noticed_and_not_subtracted() -> None:
    raw = record(20, 400, 3.0, 2.0).astype(np.float32)
    running = np.stack([raw[i : i + 8].mean(axis=0) for i in range(12)])
    constants = fit_constants(running, bit_depth=16)
    assert "share noise" in constants.note
    # A mean of 8 frames has an eighth of the variance per count.
    assert 1 / constants.gain_e_per_adu == pytest.approx(2.0 / 8, rel=0.15)


def test_repeated_frames_count_once() -> None:
    frames = record(4, 300, 2.0, 1.0)
    doubled = np.repeat(frames, 2, axis=0)
    assert fit_noise(doubled, bit_depth=16) == fit_noise(frames, bit_depth=16)
    assert fit_noise(np.repeat(frames[:1], 5, axis=0), bit_depth=16).method == "single image"


@pytest.mark.parametrize("n_frames", [1, 16])
def test_noise_that_ignores_the_signal_becomes_a_scale_that_says_so(n_frames: int) -> None:
    rng = np.random.default_rng(0)
    sigma = 12.0
    clean = 60 + 120 * SCENE
    frames = np.clip(clean + rng.normal(0, sigma, (n_frames, 256, 256)), 0, 255)
    constants = fit_constants(frames.round().astype(np.uint8), bit_depth=8)
    assert constants.model == "gaussian"
    assert "not meant literally" in constants.note
    scaled = constants.read_noise_e / constants.gain_e_per_adu
    assert scaled == pytest.approx(sigma, rel=0.05)
    u = CountsTransform(constants).to_network(clean.astype(np.float32))
    assert 0 < u.min() < u.max() < 4000
    variance = (sigma * constants.gain_e_per_adu) ** 2
    np.testing.assert_allclose(variance / np.quantile(u, (0.02, 0.98)), 1, atol=0.35)


@pytest.mark.parametrize(("sigma", "capped"), [(3.0, True), (40.0, False)])
def test_the_scale_keeps_network_units_flat_and_in_range(sigma: float, capped: bool) -> None:
    rng = np.random.default_rng(0)
    frames = 300 + 120 * SCENE + rng.normal(0, sigma, (8, 256, 256))
    fit = fit_noise(frames.astype(np.float32), bit_depth=16)
    constants = constants_from_fit(fit)
    assert constants.model == "gaussian"
    scale, base = constants.gain_e_per_adu, constants.read_noise_e**2
    assert base + scale * fit.range_adu <= 3000 * 1.001
    if capped:
        assert base + scale * fit.range_adu == pytest.approx(3000, rel=1e-3)
    else:
        assert scale * fit.range_adu == pytest.approx(base / 4, rel=1e-3)


@pytest.mark.parametrize(
    "frames",
    [
        pytest.param(np.full((4, 64, 64), 7, np.uint8), id="constant"),
        pytest.param(np.zeros((64, 64), np.float32), id="float zeros"),
        pytest.param(np.full((16, 64, 64), 255, np.uint8), id="all saturated"),
        pytest.param(np.ones((1, 1), np.uint8), id="one pixel"),
        pytest.param(np.eye(64, dtype=np.uint16), id="one line"),
        pytest.param(record(8, 100, 2, 1)[:, :8, :8], id="smaller than a block"),
        pytest.param(record(8, 100, 2, 1)[:, :20, :20], id="four blocks"),
        pytest.param(np.full((3, 64, 64), 1e6, np.float32), id="constant floats"),
    ],
)
def test_empty_constant_and_tiny_images_give_usable_constants(
    frames: npt.NDArray[np.generic],
) -> None:
    constants = fit_constants(frames, bit_depth=8 if frames.dtype == np.uint8 else 16)
    assert constants.model == "gaussian"
    first = frames if frames.ndim == 2 else frames[0]
    assert np.isfinite(CountsTransform(constants).to_network(first)).all()


def test_a_dark_image_with_few_bright_spots_measures_the_spots() -> None:
    rng = np.random.default_rng(0)
    spots = np.zeros((256, 256))
    spots[40:220:30, 40:220:30] = 5000
    frames = rng.poisson(ndimage.gaussian_filter(spots, 1.5), (16, 256, 256)).astype(np.uint16)
    constants = fit_constants(frames, bit_depth=16)
    assert constants.gain_e_per_adu == pytest.approx(1.0, rel=0.1)


def test_a_list_of_frames_and_a_stack_agree() -> None:
    frames = record(3, 100, 2, 1)
    assert fit_noise(list(frames), bit_depth=16) == fit_noise(frames, bit_depth=16)


@pytest.mark.parametrize("scale", [1e-6, 1e4])
def test_float_frames_of_any_scale_give_the_same_network_units(scale: float) -> None:
    frames = record(4, 300, 2, 1).astype(np.float32)
    plain = CountsTransform(fit_constants(frames, bit_depth=16)).to_network(frames[0])
    scaled = (frames * np.float32(scale)).astype(np.float32)
    other = CountsTransform(fit_constants(scaled, bit_depth=16)).to_network(scaled[0])
    np.testing.assert_allclose(other, plain, rtol=1e-3, atol=0.01)


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        ([], "no frame"),
        ([np.zeros((20, 20), np.uint8), np.zeros((20, 21), np.uint8)], "different shape"),
        ([np.zeros((20, 20), np.uint8), np.zeros((20, 20), np.uint16)], "dtype"),
        (np.zeros((2, 2, 20, 20), np.uint8), "axes"),
        (np.full((20, 20), np.nan, np.float32), "not a number"),
    ],
)
def test_frames_that_do_not_belong_together_are_refused(
    frames: npt.NDArray[np.generic], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        fit_constants(frames, bit_depth=8)


def test_a_line_survives_a_fifth_of_its_blocks_being_far_too_high() -> None:
    rng = np.random.default_rng(0)
    level = rng.gamma(2.0, 100.0, 2000)
    variance = (3.0 * level + 50) * rng.chisquare(30, level.size) / 30
    variance[rng.random(level.size) < 0.2] *= 8
    line = fit_line(level, variance, dof=30, n_level=1e9)
    assert line.slope == pytest.approx(3.0, rel=0.05)
    assert line.r2 > 0.95


def test_noise_of_the_level_does_not_flatten_the_line() -> None:
    rng = np.random.default_rng(0)
    truth = rng.uniform(0, 20, 4000)
    sigma2 = 0.5 * truth + 300
    level = truth + rng.normal(0, np.sqrt(sigma2 / 16))
    variance = sigma2 * rng.chisquare(200, truth.size) / 200
    line = fit_line(level, variance, dof=200, n_level=16)
    plain = np.polyfit(level, variance, 1)[0]
    assert plain < 0.38
    assert line.slope == pytest.approx(0.5, rel=0.12)


@pytest.mark.parametrize(("n_frames", "most"), [(2, 8), (3, 8), (16, 8), (50, 128), (300, 8)])
def test_pairs_are_neighbours_spread_over_the_recording(n_frames: int, most: int) -> None:
    pairs = choose_pairs(n_frames, most)
    assert 0 < len(pairs) <= most
    assert all(0 <= i < j < n_frames and j == i + 1 for i, j in pairs)
    assert len(set(pairs)) == len(pairs)
    if n_frames > 8:
        assert pairs[-1][1] >= 0.9 * (n_frames - 1)


@pytest.mark.parametrize("shape", [(2048, 2048), (4096, 100), (100, 9000), (700, 3000)])
def test_large_frames_are_sampled_over_their_whole_field(shape: tuple[int, int]) -> None:
    windows = sample_windows(shape)
    pixels = sum((y.stop - y.start) * (x.stop - x.start) for y, x in windows)
    assert 64 * 64 <= pixels <= 64 * 64 * 96
    for axis, length in enumerate(shape):
        assert min(w[axis].start for w in windows) == 0
        assert max(w[axis].stop for w in windows) == length


def test_block_statistics_read_white_noise_right_and_structure_hardly() -> None:
    rng = np.random.default_rng(0)
    frames = rng.normal(50, 3, (2, 256, 256)).astype(np.float32)
    pair = block_statistics(frames, bit_depth=16)
    np.testing.assert_allclose([pair.direct.mean(), pair.high_pass.mean()], 9, rtol=0.03)
    smooth = block_statistics([(500 * SCENE).astype(np.float32)], bit_depth=16)
    assert smooth.high_pass.mean() < 2e-3 * smooth.direct.mean()


def test_sixteen_frames_take_well_under_a_second() -> None:
    frames = np.random.default_rng(0).poisson(50, (16, 512, 512)).astype(np.uint16)
    start = time.perf_counter()
    fit_constants(frames, bit_depth=16)
    # About 0.15 s; generous, since machines of continuous integration are shared.
    assert time.perf_counter() - start < 2.0


def _read(name: str) -> npt.NDArray[np.generic]:
    tifffile = pytest.importorskip("tifffile")
    path = DATA / name
    if not path.exists():
        pytest.skip(f"{path} is not here")
    frames: npt.NDArray[np.generic] = tifffile.imread(path)
    return frames


def test_real_fixed_field_sixteen_frames_and_one_agree_with_photon_transfer() -> None:
    frames = _read("fmd_confocal_bpae_b_fov1/raw.tif")
    mean = frames.mean(axis=0)
    variance = np.square(np.diff(frames.astype(np.float32), axis=0)).mean(axis=0) / 2
    edges = np.quantile(mean, np.linspace(0, 1, 41))
    bins = np.clip(np.digitize(mean.ravel(), edges) - 1, 0, 39)
    n = np.bincount(bins)
    level, noise = (np.bincount(bins, v.ravel()) / n for v in (mean, variance))
    slope, intercept = np.polyfit(level, noise, 1, w=1 / noise)
    for count, tolerance in ((16, 0.03), (1, 0.12)):
        fit = fit_noise(frames[:count], bit_depth=8)
        assert fit.slope_adu == pytest.approx(slope, rel=tolerance)
        assert -fit.intercept_adu2 / fit.slope_adu == pytest.approx(-intercept / slope, abs=0.15)


@pytest.mark.parametrize("movie", [2, 7])
def test_real_moving_lysosomes_give_one_gain_from_16_frames_50_and_one(movie: int) -> None:
    frames = _read(f"lysosome_confocal/{movie}.tif")
    every = fit_noise(frames, bit_depth=16)
    assert every.method == "moving frame pairs"
    assert fit_noise(frames[:16], bit_depth=16).slope_adu == pytest.approx(
        every.slope_adu, rel=0.06
    )
    assert fit_noise(frames[0], bit_depth=16).slope_adu == pytest.approx(every.slope_adu, rel=0.2)


def test_real_running_average_is_not_mistaken_for_sixteen_times_less_noise() -> None:
    averaged = _read("fmd_confocal_bpae_b_fov1/avg16.tif")
    raw = fit_noise(_read("fmd_confocal_bpae_b_fov1/raw.tif"), bit_depth=8)
    fit = fit_noise(averaged[:16], bit_depth=8)
    assert fit.shared_noise
    assert fit.slope_adu == pytest.approx(raw.slope_adu / 16, rel=0.15)
