"""The live figures against simulated frames whose truth is known."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
from scipy import ndimage

from livedenoise.core.camera_config import SensorConfig
from livedenoise.core.constants import CameraConstants
from livedenoise.core.frame import Frame
from livedenoise.core.status import QualityStatus
from livedenoise.imaging.scenes import render_scene, translate
from livedenoise.imaging.sensor import draw_maps, expose, sensor_constants
from livedenoise.quality.blind import cross_mse, pairs_mse
from livedenoise.quality.definitions import FIGURES
from livedenoise.quality.meter import LEAST_SAMPLES, LiveMeter
from livedenoise.quality.sample import Burst

EDGE = 128
LEVELS = (1.0, 10.0, 100.0, 1000.0)
Denoiser = Callable[[Frame], Frame]
Image = npt.NDArray[np.float32]


def identity(raw: Frame) -> Frame:
    return raw


def blur(sigma_px: float) -> Denoiser:
    def denoise(raw: Frame) -> Frame:
        return np.rint(ndimage.gaussian_filter(raw.astype(np.float64), sigma_px)).astype(raw.dtype)

    return denoise


class Rig:
    """A simulated camera without fixed pattern on a scene of known mean."""

    def __init__(
        self, mean_e: float, *, kind: str = "mixed", seed: int = 0, **sensor: float
    ) -> None:
        self.mean_e = mean_e
        values = {"offset_spread_adu": 0, "gain_spread": 0, "read_noise_log_sd": 0}
        values |= {"telegraph_fraction": 0, "dark_current_e_per_s": 0, "hot_pixel_fraction": 0}
        self.sensor = SensorConfig(width_px=EDGE, height_px=EDGE, **(values | sensor))
        self.constants = sensor_constants(self.sensor)
        self.maps = draw_maps(self.sensor, 1)
        self.rng = np.random.default_rng(seed)
        scene = render_scene(kind, (EDGE, EDGE), np.random.default_rng(5), background=0.2)
        self.scene: Image = (scene / scene.mean()).astype(np.float32)
        self.errors: list[tuple[float, float]] = []
        self.moved_px = 0.0

    def frame(self, factor: float = 1.0) -> Frame:
        scene = translate(self.scene, self.moved_px, 0.6 * self.moved_px)
        mean_e = scene * np.float32(self.mean_e * factor)
        return expose(mean_e, self.maps, self.sensor, self.rng)

    def burst(
        self, denoise: Denoiser | None = None, *, speed_px: float = 0.0, flicker: float = 0.0
    ) -> Burst:
        raw = []
        for _ in range(4):
            raw.append(self.frame(1.0 + flicker * self.rng.standard_normal()))
            self.moved_px += speed_px
        clean = None if denoise is None else denoise(raw[0])
        if clean is not None and not speed_px and not flicker:
            c = self.constants
            truth = self.scene * np.float32(self.mean_e) / c.gain_e_per_adu + c.offset_adu
            self.errors.append((mse(raw[0], truth), mse(clean, truth)))
        return Burst(raw=raw, denoised=clean, bit_depth=16)

    def meter(self, window: int = 30) -> LiveMeter:
        return LiveMeter(window=window, constants=self.constants, quantum_efficiency=0.8)

    @property
    def true_gain_db(self) -> float:
        raw, clean = np.mean(self.errors, axis=0)
        return float(10 * np.log10(raw / clean))


def mse(image: Frame, truth: Image) -> float:
    return float(np.square(image - truth).mean())


def value(status: QualityStatus, key: str) -> float:
    found = status.figures[key].value
    assert found is not None, f"{key} has no value: {status.figures[key]}"
    return found


def filled(rig: Rig, denoise: Denoiser | None, samples: int = 24) -> QualityStatus:
    meter = rig.meter()
    for _ in range(samples):
        meter.add(rig.burst(denoise))
    return meter.status()


@pytest.mark.parametrize("mean_e", LEVELS)
def test_signal_snr_and_noise_are_those_of_the_scene(mean_e: float) -> None:
    rig = Rig(mean_e)
    status = filled(rig, None, 24)
    noise = np.sqrt(mean_e + rig.constants.read_noise_e**2)
    assert value(status, "signal_e") == pytest.approx(mean_e, rel=0.01)
    assert value(status, "photons") == pytest.approx(mean_e / 0.8, rel=0.01)
    assert value(status, "snr_db") == pytest.approx(20 * np.log10(mean_e / noise), abs=0.1)
    assert value(status, "noise_e") == pytest.approx(noise, rel=0.01)
    assert value(status, "noise_measured_e") == pytest.approx(noise, rel=0.02)
    assert value(status, "noise_ratio") == pytest.approx(1.0, abs=0.02)
    assert status.constants == "camera"


def test_an_emccd_has_twice_the_shot_noise() -> None:
    rig = Rig(20.0, em_gain=100.0, gain_e_per_adu=12.0, read_noise_e=50.0)
    status = filled(rig, None, 24)
    noise = np.sqrt(2 * 20 + rig.constants.read_noise_e**2)
    assert value(status, "noise_e") == pytest.approx(noise, rel=0.01)
    assert value(status, "noise_ratio") == pytest.approx(1.0, abs=0.03)
    assert value(status, "snr_db") == pytest.approx(20 * np.log10(20 / noise), abs=0.1)


@pytest.mark.parametrize("mean_e", LEVELS)
@pytest.mark.parametrize("sigma_px", [0.7, 1.5])
def test_gain_of_the_denoiser_is_the_true_gain(mean_e: float, sigma_px: float) -> None:
    rig = Rig(mean_e)
    status = filled(rig, blur(sigma_px))
    assert value(status, "gain_db") == pytest.approx(rig.true_gain_db, abs=0.3)
    psnr = 10 * np.log10(65535**2 / np.mean([clean for _, clean in rig.errors]))
    assert value(status, "upsnr_db") == pytest.approx(psnr, abs=0.3)


def test_a_copy_of_the_raw_frame_gains_nothing() -> None:
    status = filled(Rig(30.0), identity, 24)
    assert value(status, "gain_db") == 0.0
    assert value(status, "variance_ratio") == 0.0


def test_blurring_structure_away_loses() -> None:
    good, bad = filled(Rig(100.0), blur(0.7)), filled(Rig(100.0), blur(8.0))
    assert value(good, "gain_db") > 0.5
    assert value(bad, "gain_db") < -3
    assert value(bad, "residual_corr") > 0.2
    assert value(good, "residual_corr") < 0.02
    assert value(bad, "variance_ratio") > 2
    assert value(good, "variance_ratio") < 1
    for key, definition in FIGURES.items():
        if "snr" in key and not definition.needs_denoised:
            assert value(bad, key) == value(good, key), f"{key} looks at the denoised frame"
    assert value(bad, "upsnr_db") < value(good, "upsnr_db")
    assert value(bad, "bright_e") < value(good, "bright_e")


def test_bright_pixels_are_not_those_that_happen_to_be_noisy() -> None:
    rig = Rig(2.0, kind="flat")
    assert value(filled(rig, identity, 24), "bright_e") == pytest.approx(2.0, rel=0.1)


def test_noise_shared_by_neighbours_is_no_lost_structure() -> None:
    rig = Rig(100.0, kind="flat")
    meter, c = rig.meter(), rig.constants
    truth = np.rint(rig.scene * 100.0 / c.gain_e_per_adu + c.offset_adu).astype(np.uint16)
    for _ in range(24):
        raw = [blur(0.6)(frame) for frame in rig.burst(None).raw]
        meter.add(Burst(raw=raw, denoised=truth))
    assert value(meter.status(), "residual_corr") == pytest.approx(0.0, abs=0.02)


def test_no_figure_has_a_value_before_twenty_samples() -> None:
    rig = Rig(30.0)
    meter = rig.meter()
    for n in range(1, LEAST_SAMPLES + 1):
        meter.add(rig.burst(blur(1.0)))
        found = meter.status().figures
        assert {figure.n for figure in found.values()} == {n}
        assert all((f.value is None) == (n < 20) for f in found.values()), f"{n} samples: {found}"


def test_the_average_moves() -> None:
    rig = Rig(10.0, kind="flat")
    meter = rig.meter(window=20)
    for mean_e in (10.0, 40.0):
        rig.mean_e = mean_e
        for _ in range(20):
            meter.add(rig.burst())
        assert value(meter.status(), "signal_e") == pytest.approx(mean_e, rel=0.01)
        assert meter.status().figures["signal_e"].n == 20


def test_every_defined_figure_is_reported_and_no_other() -> None:
    assert list(LiveMeter(window=20).status().figures) == list(FIGURES)
    assert list(filled(Rig(30.0), identity, 20).figures) == list(FIGURES)


def test_samples_taken_during_motion_stay_out() -> None:
    rig = Rig(100.0)
    meter = rig.meter()
    for _ in range(24):
        meter.add(rig.burst(blur(1.0)))
    before = meter.status()
    assert not before.motion
    for _ in range(5):
        meter.add(rig.burst(blur(1.0), speed_px=0.5))
    during = meter.status()
    assert during.motion
    for key, definition in FIGURES.items():
        if definition.compares_frames:
            assert during.figures[key] == before.figures[key], key
        else:
            assert during.figures[key].n == before.figures[key].n + 5, key
    for _ in range(12):
        meter.add(rig.burst(blur(1.0)))
    after = meter.status()
    assert not after.motion
    assert 24 < after.figures["gain_db"].n < 24 + 5 + 12


def test_without_constants_there_are_no_electrons() -> None:
    rig = Rig(30.0)
    for constants in (None, gaussian()):
        meter = LiveMeter(window=20, constants=constants)
        for _ in range(20):
            meter.add(rig.burst(blur(0.7)))
        status = meter.status()
        missing = {key for key, figure in status.figures.items() if figure.value is None}
        assert missing == {key for key, one in FIGURES.items() if one.needs_constants}
        assert status.constants == ("" if constants is None else "estimated")


def gaussian() -> CameraConstants:
    return CameraConstants(
        gain_e_per_adu=0.5,
        offset_adu=100.0,
        read_noise_e=2.0,
        source="estimated",
        model="gaussian",
    )


def test_without_a_known_quantum_efficiency_there_are_no_photons() -> None:
    rig = Rig(30.0)
    meter = LiveMeter(window=20, constants=rig.constants)
    for _ in range(20):
        meter.add(rig.burst())
    assert value(meter.status(), "signal_e")
    assert meter.status().figures["photons"].value is None


def test_frames_that_passed_through_never_count_as_denoised() -> None:
    found = filled(Rig(30.0), None, 25).figures
    for key, one in FIGURES.items():
        assert found[key].n == (0 if one.needs_denoised else 25), key
        assert (found[key].value is None) == one.needs_denoised, key


def test_learnt_constants_and_a_new_epoch_start_anew() -> None:
    rig = Rig(30.0)
    meter = LiveMeter(window=20)
    for _ in range(20):
        meter.add(rig.burst(identity))
    meter.learn(rig.constants)
    assert {figure.n for figure in meter.status().figures.values()} == {0}
    for _ in range(20):
        meter.add(rig.burst(identity))
    assert value(meter.status(), "signal_e") == pytest.approx(30, rel=0.01)
    burst = rig.burst(identity)
    meter.add(Burst(raw=burst.raw, denoised=burst.denoised, epoch=1))
    assert {figure.n for figure in meter.status().figures.values()} == {1}


@pytest.mark.parametrize(("dtype", "bits"), [(np.uint8, 8), (np.uint16, 12), (np.uint16, 16)])
def test_saturated_and_zero_pixels_are_counted_exactly(dtype: type, bits: int) -> None:
    meter = LiveMeter(window=20)
    top = 2**bits - 1
    for n in range(20):
        raw = [np.full((64, 64), top - 1, dtype) for _ in range(4)]
        raw[1].ravel()[:n] = top
        raw[2].ravel()[: 2 * n] = 0
        meter.add(Burst(raw=raw, bit_depth=bits))
    status = meter.status()
    assert value(status, "saturated_fraction") == pytest.approx(np.mean(range(20)) / 4 / 4096)
    assert value(status, "zero_fraction") == pytest.approx(np.mean(range(20)) / 2 / 4096)


def test_float_frames_have_no_highest_count() -> None:
    rig = Rig(30.0)
    meter = rig.meter()
    for _ in range(20):
        burst = rig.burst()
        raw = [frame.astype(np.float32) for frame in burst.raw]
        meter.add(Burst(raw=raw, denoised=blur(0.7)(raw[0])))
    missing = {key for key, figure in meter.status().figures.items() if figure.value is None}
    assert missing == {"saturated_fraction", "upsnr_db"}


def test_flicker_leaves_the_errors_alone() -> None:
    still, flickering = Rig(1000.0), Rig(1000.0)
    gains = []
    for rig, flicker in ((still, 0.0), (flickering, 0.02)):
        meter = rig.meter()
        for _ in range(25):
            meter.add(rig.burst(blur(0.5), flicker=flicker))
        assert not meter.status().motion
        gains.append(value(meter.status(), "gain_db"))
        assert value(meter.status(), "noise_ratio") == pytest.approx(1.0, abs=0.03)
    assert gains[1] == pytest.approx(gains[0], abs=0.3)


def test_small_and_odd_regions_are_measured_too() -> None:
    for shape in ((1, 1), (5, 40), (33, 47)):
        meter = LiveMeter(window=20)
        frames = np.random.default_rng(0).integers(0, 9, (4, *shape), dtype=np.uint8)
        for _ in range(20):
            meter.add(Burst(raw=list(frames), denoised=frames[0], bit_depth=8))
        assert meter.status().figures["gain_db"].n == 20


def test_what_cannot_be_measured_is_refused() -> None:
    with pytest.raises(ValueError, match="window"):
        LiveMeter(window=19)
    with pytest.raises(ValueError, match="quantum_efficiency"):
        LiveMeter(window=20, quantum_efficiency=1.1)
    frame = np.zeros((8, 8), np.uint16)
    with pytest.raises(ValueError, match="4 successive raw frames"):
        LiveMeter(window=20).add(Burst(raw=[frame] * 3))
    with pytest.raises(ValueError, match="different shape"):
        LiveMeter(window=20).add(Burst(raw=[frame] * 4, denoised=frame[1:]))


def test_pairs_error_is_the_mean_of_the_cross_errors() -> None:
    image, *others = np.random.default_rng(1).normal(50, 3, (4, 16, 16))
    pairs = [(0, 1), (0, 2), (1, 2)]
    expected = np.mean([cross_mse(image, others[i], others[j]) for i, j in pairs])
    assert pairs_mse(image, others) == pytest.approx(expected)
    with pytest.raises(ValueError, match="at least 2"):
        pairs_mse(image, others[:1])
    with pytest.raises(ValueError, match="different shape"):
        pairs_mse(image, [others[0], others[1][1:]])
