"""The physics of the simulated microscope: light, sensor, stage, focus, bleaching, time."""

from __future__ import annotations

from math import exp, expm1
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy.ndimage import gaussian_filter

from livedenoise.core.camera_config import (
    NetworkCameraConfig,
    ReplayCameraConfig,
    SimulatedCameraConfig,
)
from livedenoise.core.clock import ManualClock
from livedenoise.core.config import MicroManagerCameraConfig, load_config
from livedenoise.core.errors import CameraError, ConfigError
from livedenoise.core.frame import max_count
from livedenoise.core.microscope import Position, Setting
from livedenoise.core.microscope_config import SimulatedMicroscopeConfig
from livedenoise.imaging.sensor import camera_maps, draw_maps
from livedenoise.microscope.choose import open_microscope_for
from livedenoise.microscope.micromanager import MicroManagerMicroscope
from livedenoise.microscope.overlay import SensorOverlay
from livedenoise.microscope.simulated import SimulatedMicroscope
from livedenoise.microscope.simulated_stage import SimulatedStage

PIXEL_UM = 0.1
SENSOR = {"width_px": 96, "height_px": 64}
FLAT = {"kind": "flat", "photons_per_s": 20_000.0}
GRANULES = {"kind": "granules", "photons_per_s": 20_000.0, "psf_sigma_px": 1.5}
FLAT_E_PER_S = 20_000.0 * 0.82
NO_DARK = {"dark_current_e_per_s": 0.0}


def make(scene: dict[str, Any] | None = None, **scope: Any) -> SimulatedMicroscope:
    """Return an open microscope on a manual clock, its shutter open."""
    sensor = {**SENSOR, **scope.pop("sensor", {})}
    data = {
        "kind": "simulated",
        "seed": scope.pop("seed", 1),
        "sensor": sensor,
        "scene": FLAT if scene is None else scene,
        "microscope": {"pixel_size_um": PIXEL_UM, **scope},
    }
    microscope = SimulatedMicroscope(SimulatedCameraConfig.model_validate(data), ManualClock())
    microscope.open()
    microscope.set_shutter(is_open=True)
    return microscope


def truth(scope: SimulatedMicroscope, exposure_us: int = 10_000) -> npt.NDArray[np.float64]:
    """Return the mean electrons of one more exposure."""
    list(scope.expose(exposure_us))
    return scope.truth().astype(np.float64)


def wait(scope: SimulatedMicroscope, seconds: float) -> None:
    clock = scope._clock
    assert isinstance(clock, ManualClock)
    clock.advance_ns(round(seconds * 1e9))


def power(scope: SimulatedMicroscope, percent: float) -> None:
    scope.set_properties([Setting("Light", "Power", str(percent))])


def test_dark_frames_have_the_mean_and_the_variance_of_the_sensor() -> None:
    sensor = {"dark_current_e_per_s": 50.0, "dark_current_log_sd": 0.0, "hot_pixel_fraction": 0.0}
    scope = make(sensor=sensor)
    scope.set_shutter(is_open=False)
    frames = np.array([frame.pixels for frame in scope.expose(100_000, 200)], np.float64)
    config = scope._config
    known = camera_maps(draw_maps(config.sensor, config.seed), config.sensor)
    gain = known.gain_e_per_adu
    expected = known.offset_adu + 5.0 / gain
    assert frames.mean() == pytest.approx(expected.mean(), abs=0.02)
    variance = known.variance_adu2 + 5.0 / gain**2
    assert frames.var(axis=0, ddof=1).mean() == pytest.approx(variance.mean(), rel=0.02)
    # Fixed pattern: the map of offsets is found again, pixel by pixel.
    assert np.corrcoef(frames.mean(axis=0).ravel(), known.offset_adu.ravel())[0, 1] > 0.5


@settings(max_examples=20, deadline=None)
@given(exposure_us=st.integers(1000, 200_000), percent=st.floats(1.0, 100.0))
def test_signal_is_proportional_to_exposure_and_light(exposure_us: int, percent: float) -> None:
    scope = make(sensor=NO_DARK)
    power(scope, percent)
    frame = next(scope.expose(exposure_us))
    electrons = FLAT_E_PER_S * exposure_us * 1e-6 * percent / 100.0
    assert scope.truth() == pytest.approx(electrons, rel=1e-4)
    counts = frame.pixels.mean(dtype=np.float64) - 100.0
    error = 6.0 * ((electrons + 9.0) / frame.pixels.size) ** 0.5 / 0.46 + 0.02
    # A gain that spreads by 0.5 % over 6144 pixels.
    assert counts == pytest.approx(electrons / 0.46, abs=error + 4e-4 * electrons / 0.46)


def test_shot_noise_is_that_of_the_electrons() -> None:
    scope = make(sensor={**NO_DARK, "gain_spread": 0.0, "telegraph_fraction": 0.0})
    frames = np.array([frame.pixels for frame in scope.expose(20_000, 100)], np.float64)
    electrons = FLAT_E_PER_S * 0.02
    variance_e2 = frames.var(axis=0, ddof=1).mean() * 0.46**2
    read_e2 = 1.4**2 * exp(2 * 0.23**2) + 0.46**2 / 12
    assert variance_e2 == pytest.approx(electrons + read_e2, rel=0.02)


def test_a_closed_shutter_leaves_only_dark_current() -> None:
    scope = make(sensor={"dark_current_log_sd": 0.0, "hot_pixel_fraction": 0.0})
    scope.set_shutter(is_open=False)
    assert truth(scope, 1_000_000) == pytest.approx(0.06)
    scope.set_shutter(is_open=True)
    power(scope, 0.0)
    assert truth(scope, 1_000_000) == pytest.approx(0.06)


def test_a_move_shifts_the_image_the_other_way() -> None:
    scope = make(GRANULES, sensor=NO_DARK)
    before = truth(scope)
    scope.move(Position(x_um=3 * PIXEL_UM))
    right = truth(scope)
    assert np.allclose(right[:, :-3], before[:, 3:], rtol=1e-3, atol=0.01)
    scope.move(Position(y_um=2 * PIXEL_UM))
    down = truth(scope)
    assert np.allclose(down[:-2], right[2:], rtol=1e-3, atol=0.01)
    scope.move(Position(x_um=0.0, y_um=0.0))
    assert np.allclose(truth(scope), before)
    # Half a pixel there is not the same as none.
    scope.move(Position(x_um=PIXEL_UM / 2))
    assert np.abs(truth(scope) - before).max() > 1.0


def test_a_region_and_its_bins_see_what_the_sensor_sees_there() -> None:
    whole = truth(make(GRANULES, sensor=NO_DARK))
    data = make(GRANULES, sensor=NO_DARK)._config
    part = SimulatedMicroscope(
        data.model_copy(update={"roi": (16, 8, 40, 32), "binning": 2}), ManualClock()
    )
    info = part.open()
    assert (info.shape, info.pixel_size_um, info.binning) == ((16, 20), 2 * PIXEL_UM, 2)
    assert info.camera.constants is not None
    part.set_shutter(is_open=True)
    binned = whole[8:40, 16:56].reshape(16, 2, 20, 2).sum(axis=(1, 3))
    assert truth(part) == pytest.approx(binned, rel=1e-3)


def test_a_move_ends_with_the_error_of_the_stage_and_says_nothing_of_it() -> None:
    stage = SimulatedStage(SimulatedMicroscopeConfig(stage_error_um=0.3), seed=2)
    stage.start(0)
    missed = []
    for move in range(400):
        stage.arrive(Position(x_um=5.0 * move, y_um=-2.0), 0)
        assert stage.position == Position(x_um=5.0 * move, y_um=-2.0, z_um=0.0)
        x_um, y_um = stage.place_um(0)
        missed += [x_um - 5.0 * move, y_um + 2.0]
    assert np.std(missed) == pytest.approx(0.3, rel=0.1)
    assert abs(np.mean(missed)) < 0.05
    stage.arrive(Position(z_um=4.0), 0)
    assert stage.place_um(0) == (x_um, y_um), "a move in z does not touch xy"


def test_moves_take_their_time() -> None:
    scope = make(stage_speed_um_per_s=100.0)
    scope.move(Position(x_um=30.0, y_um=40.0, z_um=-10.0))
    assert scope._clock.now_ns() == 500_000_000
    scope.move(Position(z_um=15.0))
    assert scope._clock.now_ns() == 750_000_000
    scope.move(Position())
    assert scope._clock.now_ns() == 750_000_000
    assert scope.position() == Position(x_um=30.0, y_um=40.0, z_um=15.0)


def test_the_sample_drifts_straight_on() -> None:
    scope = make(GRANULES, drift_um_per_s=0.05)
    places = []
    for _ in range(3):
        places.append(scope._view.stage.place_um(scope._clock.now_ns()))  # type: ignore[union-attr]
        wait(scope, 2.0)
    steps = np.diff(np.array(places), axis=0)
    assert np.hypot(*steps.T) == pytest.approx(0.1)
    assert steps[0] == pytest.approx(steps[1])
    still = make(GRANULES)
    first, later = truth(still), truth(scope)
    wait(still, 6.0)
    assert np.array_equal(truth(still), first), "a sample that does not drift stands still"
    assert not np.allclose(later, first, rtol=0.05)


def test_defocus_widens_by_half_at_the_depth_of_field() -> None:
    sharp_scope = make(GRANULES, sensor=NO_DARK, depth_of_field_um=0.6)
    sharp = truth(sharp_scope)
    for z_um in (0.6, -0.6):
        sharp_scope.move(Position(z_um=z_um))
        # sigma^2 adds up: 1.5 px becomes 2.25 px by a Gaussian of 1.5 * sqrt(1.25) px.
        expected = gaussian_filter(sharp, 1.5 * 1.25**0.5)[12:-12, 12:-12]
        assert np.allclose(truth(sharp_scope)[12:-12, 12:-12], expected, rtol=0.01)
    sharp_scope.move(Position(z_um=0.0))
    assert np.allclose(truth(sharp_scope), sharp)


def test_autofocus_follows_tilt_and_drift() -> None:
    scope = make(GRANULES, tilt_um_per_mm=5.0, focus_drift_um_per_s=0.1, autofocus_error_um=0.0)
    scope.move(Position(x_um=1000.0))
    wait(scope, 9.7)
    # 5 um of tilt, and 10 s of drift: 0.2 s on the way, 9.7 s waited, 0.1 s for the autofocus.
    assert scope.autofocus() == pytest.approx(6.0)
    assert scope.position() == Position(x_um=1000.0, y_um=0.0, z_um=scope.position().z_um)
    assert scope.autofocus("Autofocus", offset_um=2.0) == pytest.approx(8.01, abs=0.002)
    sure = make(GRANULES, autofocus_error_um=0.2)
    found = [sure.autofocus() for _ in range(200)]
    assert np.std(found) == pytest.approx(0.2, rel=0.15)


def test_light_behind_an_open_shutter_bleaches() -> None:
    scope = make(bleaching_per_s=0.5, sensor=NO_DARK)
    first = truth(scope, 1000)
    wait(scope, 2.0)
    assert truth(scope, 1000) / first == pytest.approx(exp(-0.5 * 2.001), rel=1e-4)
    power(scope, 50.0)
    wait(scope, 2.0)
    power(scope, 100.0)
    faded = truth(scope, 1000)
    assert faded / first == pytest.approx(exp(-0.5 * 3.002), rel=1e-4)
    scope.set_shutter(is_open=False)
    wait(scope, 50.0)
    scope.set_shutter(is_open=True)
    assert truth(scope, 1000) / faded == pytest.approx(exp(-0.5 * 0.001), rel=1e-4)


def test_an_exposure_is_the_mean_over_the_light_that_bleaches_it() -> None:
    scope = make(bleaching_per_s=0.5, sensor=NO_DARK)
    assert truth(scope, 4_000_000) == pytest.approx(FLAT_E_PER_S * -expm1(-2.0) / 0.5, rel=1e-4)


def test_what_is_out_of_view_does_not_bleach_and_what_was_in_view_stays_bleached() -> None:
    scope = make(bleaching_per_s=0.5, sensor=NO_DARK)
    first = truth(scope, 1000)
    wait(scope, 2.0)
    scope.move(Position(x_um=96 * PIXEL_UM))
    assert truth(scope, 1000) == pytest.approx(first)
    scope.move(Position(x_um=48 * PIXEL_UM))
    seam = truth(scope, 1000)
    assert seam[:, :48] / first[:, :48] == pytest.approx(exp(-0.5 * 2.001), rel=2e-3)
    assert seam[:, 48:] / first[:, 48:] == pytest.approx(exp(-0.5 * 0.001), rel=1e-4)
    scope.close()
    scope.open()
    scope.set_shutter(is_open=True)
    assert (truth(scope, 1000)[:, :48] < 0.4 * first[:, :48]).all()


def test_the_light_follows_its_setting_slowly() -> None:
    scope = make(light_lag_ms=20.0, sensor=NO_DARK)
    full = truth(scope, 5000)
    power(scope, 10.0)
    begin = truth(scope, 5000) / full
    # The mean of 0.1 + 0.9 exp(-t / 20 ms) over 0 to 5 ms.
    assert begin == pytest.approx(0.1 + 0.9 * 4.0 * -expm1(-0.25), rel=1e-4)
    wait(scope, 0.3)
    assert truth(scope, 5000) / full == pytest.approx(0.1, rel=1e-3)
    assert scope.read_property("Light", "Power") == "10"
    # A second change while it still follows the first begins where the light is then.
    power(scope, 90.0)
    wait(scope, 0.01)
    reached = 0.9 - 0.8 * exp(-0.5)
    power(scope, 10.0)
    expected = 0.1 + (reached - 0.1) * 4.0 * -expm1(-0.25)
    assert truth(scope, 5000) / full == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("value", ["101", "-1", "nan", "bright", ""])
def test_light_beyond_its_range_is_refused_and_changes_nothing(value: str) -> None:
    scope = make()
    with pytest.raises(CameraError, match="Power cannot be") as error:
        scope.set_properties([Setting("Light", "Power", "20"), Setting("Light", "Power", value)])
    assert "0 to 100" in error.value.hint
    assert scope.read_property("Light", "Power") == "100"


def test_the_same_commands_give_the_same_pixels() -> None:
    def run(seed: int) -> list[npt.NDArray[np.uint16]]:
        scope = make(GRANULES, seed=seed, stage_error_um=0.2, drift_um_per_s=0.1)
        taken = list(scope.expose(5000, 2))
        scope.move(Position(x_um=12.0, y_um=7.0))
        return [frame.pixels for frame in (*taken, *scope.expose(9000, 2))]

    first, again, other = run(1), run(1), run(2)
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not any(np.array_equal(a, b) for a, b in zip(first, other, strict=True))
    assert not np.array_equal(first[0], first[1]), "noise is drawn anew for each frame"


def test_frames_follow_at_exposure_or_readout() -> None:
    scope = make(sensor={"line_time_us": 100.0})
    assert [frame.t_host_ns for frame in scope.expose(2000, 3)] == [
        6_400_000 * n for n in (1, 2, 3)
    ]
    began_ns = scope._clock.now_ns()
    times = [frame.t_host_ns - began_ns for frame in scope.expose(10_000, 2)]
    assert times == [10_000_000, 20_000_000]


def test_a_late_receiver_gets_the_next_frame_at_once() -> None:
    scope = make()
    frames = scope.expose(10_000, 3)
    next(frames)
    wait(scope, 1.0)
    assert [frame.t_host_ns for frame in frames] == [1_010_000_000] * 2


def test_a_new_command_ends_the_one_before() -> None:
    scope = make()
    frames = scope.expose(10_000, 3)
    next(frames)
    assert len(list(scope.expose(5000))) == 1
    with pytest.raises(CameraError, match="10000 us ended early: another"):
        next(frames)


def test_nothing_is_known_before_the_first_exposure() -> None:
    scope = make()
    with pytest.raises(CameraError, match="nothing was exposed"):
        scope.truth()
    with pytest.raises(CameraError, match="no group Channel"):
        scope.set_preset("Channel", "GFP")
    with pytest.raises(CameraError, match="finite"):
        scope.move(Position(x_um=float("nan")))


def test_bright_light_stands_at_the_highest_count() -> None:
    scope = make({"kind": "flat", "photons_per_s": 1e7}, sensor={"bit_depth": 12})
    assert (next(scope.expose(100_000)).pixels == max_count(12)).all()


def test_limits_that_exclude_each_other_are_refused() -> None:
    with pytest.raises(ValidationError, match=r"50.*is above.*20"):
        SimulatedMicroscopeConfig(exposure_min_us=50, exposure_max_us=20)


@pytest.mark.parametrize(
    "camera",
    [
        ReplayCameraConfig(kind="replay", name="old", input=Path("x.tif")),
        NetworkCameraConfig(kind="network", name="far", width_px=8, height_px=8),
        MicroManagerCameraConfig(kind="micromanager", name="spy", backend="java", mode="tap"),
    ],
)
def test_a_camera_that_takes_no_commands_is_no_microscope(
    camera: ReplayCameraConfig | NetworkCameraConfig | MicroManagerCameraConfig,
) -> None:
    with pytest.raises(ConfigError, match=f"{camera.name}.*cannot be commanded") as error:
        open_microscope_for(camera)
    assert "micromanager" in error.value.hint


@pytest.mark.parametrize(
    ("table", "kind"), [({}, MicroManagerMicroscope), ({"sensor": {}}, SensorOverlay)]
)
def test_a_micro_manager_is_exposed_by_itself_or_by_a_simulated_sensor(
    table: dict[str, Any], kind: type
) -> None:
    data = {"kind": "micromanager", "app_path": "demo", "microscope": table}
    assert isinstance(open_microscope_for(MicroManagerCameraConfig.model_validate(data)), kind)


def test_the_shipped_microscope_shows_a_specimen() -> None:
    path = Path(__file__).resolve().parents[2] / "hardware_configs" / "simulated_microscope.toml"
    camera = load_config(path).camera[0]
    scope = open_microscope_for(camera)
    assert isinstance(scope, SimulatedMicroscope)
    info = scope.open()
    assert (info.shape, info.simulated) == ((512, 512), True)
    scope.set_shutter(is_open=True)
    low = next(scope.expose(2000)).pixels.astype(float) - 100.0
    high = next(scope.expose(100_000)).pixels.astype(float) - 100.0
    scope.close()
    assert high.mean() / low.mean() == pytest.approx(50.0, rel=0.1)
    assert high.max() < max_count(16) - 100
    # Structure well above shot noise: what a pair needs to be registered.
    assert high.std() > 3.0 * (high.mean() / 0.46) ** 0.5


def test_lateness_is_what_rendering_took_beyond_the_exposure(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scope = make()
    assert scope.late_ns == 0
    view = scope._view
    assert view is not None
    rendered = view.mean_electrons

    def slowly(begin_ns: int, end_ns: int, exposure_us: int) -> npt.NDArray[np.float32]:
        wait(scope, 0.03)
        return rendered(begin_ns, end_ns, exposure_us)

    monkeypatch.setattr(view, "mean_electrons", slowly)
    list(scope.expose(50_000, 2))
    assert scope.late_ns == 0
    frames = scope.expose(10_000, 3)
    next(frames)
    assert scope.late_ns == 20_000_000
    # A receiver that takes its time is none of the microscope's lateness.
    wait(scope, 1.0)
    list(frames)
    assert scope.late_ns == 80_000_000
