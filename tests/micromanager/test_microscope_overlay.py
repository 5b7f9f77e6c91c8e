"""A simulated sensor before the demonstration camera's beads: the contract, and its physics."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from microscope_demo import beads_config

from livedenoise.core.errors import CameraError
from livedenoise.core.microscope import Microscope, MicroscopeInfo, Position, Setting
from livedenoise.microscope.micromanager import micromanager_microscope
from livedenoise.testing.microscope_kit import MICROSCOPE_CHECKS, MicroscopeCase

CASE = MicroscopeCase(
    make=lambda: micromanager_microscope(beads_config()),
    exposure_us=2000,
    long_exposure_us=1_500_000,
    setting=Setting("Light", "Voltage", "5"),
    light_margin_adu=0.5,
)
FULL, HALF, OFF = (Setting("Light", "Voltage", value) for value in ("10", "5", "0"))


@pytest.fixture
def beads() -> Iterator[tuple[Microscope, MicroscopeInfo]]:
    """Return the beads, open. A process has one core: no test opens another one beside it."""
    scope = micromanager_microscope(beads_config())
    info = scope.open()
    yield scope, info
    scope.close()


@pytest.mark.parametrize("check", MICROSCOPE_CHECKS, ids=lambda check: check.__name__)
def test_contract(check: Callable[[MicroscopeCase], None]) -> None:
    check(CASE)


def frames_of(scope: Microscope, exposure_us: int, n_frames: int = 1) -> np.ndarray:
    """Return frames as float64 (N, Y, X)."""
    return np.stack([one.pixels.astype(float) for one in scope.expose(exposure_us, n_frames)])


def test_it_says_that_it_is_simulated(beads: tuple[Microscope, MicroscopeInfo]) -> None:
    _, info = beads
    constants = info.camera.constants
    assert info.simulated
    assert any("simulated" in note for note in info.notes)
    assert constants is not None
    assert (constants.gain_e_per_adu, constants.offset_adu) == (0.46, 100.0)
    assert (info.shape, info.roi, info.pixel_size_um) == ((256, 256), (128, 128, 256, 256), 1.0)
    assert set(info.capabilities) == {"xy", "z", "shutter", "autofocus", "light"}


def test_signal_follows_exposure_light_and_shutter(
    beads: tuple[Microscope, MicroscopeInfo],
) -> None:
    scope, _ = beads
    dark = frames_of(scope, 20_000, 4).mean()
    assert dark == pytest.approx(100.0, abs=0.1)
    scope.set_shutter(is_open=True)
    means = {}
    for light in (FULL, HALF, OFF):
        scope.set_properties([light])
        for exposure_us in (10_000, 40_000):
            means[light.value, exposure_us] = frames_of(scope, exposure_us, 2).mean() - dark
    scope.set_properties([FULL])
    scope.set_shutter(is_open=False)
    full = means["10", 40_000]
    assert full > 30
    assert means["10", 10_000] == pytest.approx(full / 4, rel=0.02)
    assert means["5", 40_000] == pytest.approx(full / 2, rel=0.02)
    assert means["5", 10_000] == pytest.approx(full / 8, rel=0.02)
    assert abs(means["0", 40_000]) < 0.1
    assert abs(frames_of(scope, 40_000).mean() - dark) < 0.1, "light behind a closed shutter"


def test_noise_is_that_of_the_constants_it_states(
    beads: tuple[Microscope, MicroscopeInfo],
) -> None:
    """Variance of differences against mean: photon transfer gives gain and read noise back."""
    scope, info = beads
    constants = info.camera.constants
    assert constants is not None
    scope.set_shutter(is_open=True)
    lit = frames_of(scope, 20_000, 16)
    scope.set_shutter(is_open=False)
    dark = frames_of(scope, 1000, 16)
    read_e = np.sqrt(dark.var(axis=0, ddof=1).mean()) * constants.gain_e_per_adu
    assert read_e == pytest.approx(constants.read_noise_e, rel=0.03)
    signal_e = (lit.mean() - constants.offset_adu) * constants.gain_e_per_adu
    noise_e2 = lit.var(axis=0, ddof=1).mean() * constants.gain_e_per_adu**2
    assert noise_e2 - read_e**2 == pytest.approx(signal_e, rel=0.03)


def test_noise_never_repeats_and_is_another_at_each_place() -> None:
    """Also for a program that is started anew, at another field: the seeds are the same."""

    def first_frames(x_um: float) -> np.ndarray:
        scope = micromanager_microscope(beads_config())
        try:
            scope.open()
            scope.move(Position(x_um=x_um, y_um=0.0))
            return frames_of(scope, 1000, 2)
        finally:
            scope.close()

    here, there, again = first_frames(0.0), first_frames(30.0), first_frames(0.0)
    assert np.array_equal(here, again)
    for one, other in ((here[0], here[1]), (here[0], there[0])):
        assert abs(np.corrcoef(one.ravel(), other.ravel())[0, 1]) < 0.2, "only the offset map"


def test_the_sample_stays_where_it_is_while_the_stage_goes_and_comes(
    beads: tuple[Microscope, MicroscopeInfo],
) -> None:
    """10 um to x are 10 columns; back at the same place the beads are the same."""
    scope, info = beads
    step_px = round(10.0 / info.pixel_size_um)
    scope.set_shutter(is_open=True)
    before = frames_of(scope, 50_000)[0]
    scope.move(Position(x_um=10.005, y_um=0.0))
    moved = frames_of(scope, 50_000)[0]
    scope.move(Position(x_um=0.0, y_um=0.0))
    back = frames_of(scope, 50_000)[0]
    scope.set_shutter(is_open=False)
    assert np.corrcoef(before.ravel(), back.ravel())[0, 1] > 0.99
    shifted = np.corrcoef(before[:, step_px:].ravel(), moved[:, :-step_px].ravel())[0, 1]
    other_way = np.corrcoef(before[:, :-step_px].ravel(), moved[:, step_px:].ravel())[0, 1]
    assert max(shifted, other_way) > 0.95
    assert np.corrcoef(before.ravel(), moved.ravel())[0, 1] < 0.5


def test_the_commanded_time_passes(beads: tuple[Microscope, MicroscopeInfo]) -> None:
    scope, _ = beads
    began_s = time.perf_counter()
    frames_of(scope, 60_000, 3)
    took_s = time.perf_counter() - began_s
    assert 0.18 <= took_s < 0.35


def test_a_light_that_is_no_number_is_refused() -> None:
    scope = micromanager_microscope(beads_config(light_device="Camera", light_property="PixelType"))
    with pytest.raises(CameraError, match=r"Camera\.PixelType is '16bit'.* must be a number"):
        scope.open()
    with pytest.raises(CameraError, match="before open"):
        scope.position()
