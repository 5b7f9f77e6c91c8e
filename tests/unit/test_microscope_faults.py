"""Every fault of the simulated microscope does what it says, where it says, and is on record."""

from __future__ import annotations

from math import exp
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from pydantic import ValidationError

from livedenoise.core.camera_config import SimulatedCameraConfig
from livedenoise.core.clock import ManualClock
from livedenoise.core.frame import max_count
from livedenoise.core.microscope import Position
from livedenoise.core.microscope_config import MicroscopeFaultConfig
from livedenoise.microscope.simulated import SimulatedMicroscope
from livedenoise.microscope.simulated_faults import Injection
from livedenoise.microscope.simulated_view import _to_and_fro

PIXEL_UM = 0.1
LOW_US, HIGH_US = 2_000, 50_000
RATIO = LOW_US / HIGH_US
FLAT = {"kind": "flat", "photons_per_s": 20_000.0}
GRANULES = {"kind": "granules", "photons_per_s": 20_000.0, "psf_sigma_px": 1.5}
Image = npt.NDArray[np.float64]


def make(kind: str, scene: dict[str, Any] | None = None, **fault: Any) -> SimulatedMicroscope:
    """Return an open microscope with one fault at visit 1."""
    data = {
        "kind": "simulated",
        "seed": 1,
        "sensor": {"width_px": 96, "height_px": 64, "dark_current_e_per_s": 0.0},
        "scene": scene or FLAT,
        "microscope": {
            "pixel_size_um": PIXEL_UM,
            "fault": [{"kind": kind, "visits": [1]} | fault],
        },
    }
    scope = SimulatedMicroscope(SimulatedCameraConfig.model_validate(data), ManualClock())
    scope.open()
    return scope


def at_field(scope: SimulatedMicroscope, number: int) -> None:
    """Go to a field as a run does: move, then open the shutter."""
    scope.set_shutter(is_open=False)
    scope.move(Position(x_um=20.0 * number, y_um=5.0))
    scope.set_shutter(is_open=True)


def shot(scope: SimulatedMicroscope, exposure_us: int, n_frames: int = 1) -> Image:
    """Return the mean electrons of the last frame of one command."""
    for frame in scope.expose(exposure_us, n_frames):
        assert frame.exposure_us == exposure_us, "the camera says what was commanded"
    return scope.truth().astype(np.float64)


def pair(scope: SimulatedMicroscope, number: int) -> tuple[Image, Image]:
    """Return low and high of a field."""
    at_field(scope, number)
    return shot(scope, LOW_US), shot(scope, HIGH_US)


def shift_px(still: Image, moved: Image, reach: int = 12) -> tuple[int, int]:
    """Return by how many whole pixels an image has moved (Y, X): where the difference is least."""
    inner = moved[reach:-reach, reach:-reach]
    rows, columns = inner.shape
    best = min(
        (float(np.square(inner - still[y : y + rows, x : x + columns]).sum()), reach - y, reach - x)
        for y in range(2 * reach + 1)
        for x in range(2 * reach + 1)
    )
    return best[1], best[2]


@pytest.mark.parametrize(
    ("kind", "amount"),
    [
        ("drift", 40.0),
        ("defocus", 20.0),
        ("bleaching", 5.0),
        ("stage_error", 0.4),
        ("swapped_exposure", 0.0),
        ("stale_frames", 1.0),
        ("moving_object", 20.0),
        ("saturation", 2.0),
        ("light_flicker", 0.5),
        ("stuck_shutter", 0.0),
    ],
)
def test_a_fault_is_at_its_visit_and_nowhere_else(
    kind: str, amount: float, sound: SimulatedMicroscope, good: list[tuple[Image, Image]]
) -> None:
    scope = make(kind, GRANULES, amount=amount)
    # The same specimen, rendered once.
    scope._view._specimen = sound._view._specimen  # type: ignore[union-attr]
    for field in range(3):
        off = 0.0
        for image, as_it_should_be in zip(pair(scope, field), good[field], strict=True):
            off = max(off, np.abs(image / as_it_should_be - 1.0).max())
        assert (off > 0.02) == (field == 1), f"field {field}: {off}"
    assert {(one.visit, one.kind, one.amount) for one in scope.injected()} == {(1, kind, amount)}
    assert sound.injected() == []


@pytest.fixture(scope="module")
def sound() -> SimulatedMicroscope:
    return make("stuck_shutter", GRANULES, visits=[99])


@pytest.fixture(scope="module")
def good(sound: SimulatedMicroscope) -> list[tuple[Image, Image]]:
    return [pair(sound, field) for field in range(3)]


def test_only_the_first_attempts_are_bad() -> None:
    scope = make("stuck_shutter", attempts=2)
    levels = []
    for field in (0, 1, 1, 1, 2, 1):
        low, _ = pair(scope, field)
        levels.append(bool(low.any()))
        # A frame in the dark meets no fault of the light.
        scope.set_shutter(is_open=False)
        list(scope.expose(LOW_US))
        visit, attempt = scope.visit
    assert levels == [True, False, False, True, True, True]
    assert (visit, attempt) == (1, 3)
    assert [(one.visit, one.attempt, one.frames) for one in scope.injected()] == [
        (1, 0, 2),
        (1, 1, 2),
    ]
    assert scope.injected(1, 1) == [
        Injection(visit=1, attempt=1, kind="stuck_shutter", amount=0.0, frames=2)
    ]
    assert scope.injected(0) == scope.injected(1, 2) == []


def test_visits_begin_with_the_first_move_and_anew_after_opening() -> None:
    scope = make("stuck_shutter")
    scope.set_shutter(is_open=True)
    assert scope.visit == (0, 0)
    at_field(scope, 7)
    assert scope.visit == (0, 0)
    scope.move(Position(z_um=3.0))
    scope.autofocus()
    assert scope.visit == (0, 0)
    at_field(scope, 7)
    assert scope.visit == (0, 0), "nothing was exposed: no attempt yet"
    at_field(scope, 8)
    at_field(scope, 7)
    assert scope.visit == (0, 0)
    shot(scope, LOW_US)
    scope.move(Position(z_um=4.0))
    assert scope.visit == (0, 0), "the next z of the same attempt"
    at_field(scope, 8)
    assert scope.visit == (1, 0)
    at_field(scope, 7)
    assert scope.visit == (0, 1)
    list(scope.expose(LOW_US))
    scope.set_shutter(is_open=False)
    list(scope.expose(LOW_US))
    at_field(scope, 9)
    assert scope.visit == (2, 0)
    scope.close()
    scope.open()
    at_field(scope, 7)
    assert scope.visit == (0, 0)


def test_swapped_exposures_are_those_of_the_last_other_command() -> None:
    scope = make("swapped_exposure")
    low, high = pair(scope, 0)
    assert low.mean() / high.mean() == pytest.approx(RATIO)
    swapped_low, swapped_high = pair(scope, 1)
    assert swapped_low.mean() == pytest.approx(high.mean())
    assert swapped_high.mean() == pytest.approx(low.mean())
    for _ in range(2):
        assert shot(scope, LOW_US).mean() == pytest.approx(high.mean())
    low, high = pair(scope, 2)
    assert low.mean() / high.mean() == pytest.approx(RATIO)


def test_stale_frames_still_have_the_exposure_before() -> None:
    scope = make("stale_frames", amount=2)
    pair(scope, 0)
    at_field(scope, 1)
    expected = 20_000.0 * 0.82e-6
    electrons = [scope.truth().mean() / expected for _ in scope.expose(LOW_US, 4)]
    assert electrons == pytest.approx([HIGH_US, HIGH_US, LOW_US, LOW_US])
    # No change of the exposure, nothing stale.
    assert shot(scope, LOW_US).mean() == pytest.approx(LOW_US * expected)
    assert shot(scope, HIGH_US, 3).mean() == pytest.approx(HIGH_US * expected)
    assert [one.frames for one in scope.injected()] == [4]


def test_the_sample_drifts_only_while_it_is_visited() -> None:
    scope = make("drift", GRANULES, amount=40.0)
    at_field(scope, 1)
    at_field(scope, 2)
    before = shot(scope, HIGH_US)
    scope._clock.advance_ns(100_000_000)  # type: ignore[attr-defined]
    after = shot(scope, HIGH_US)
    # 100 ms of waiting and 50 ms of exposing at 40 px/s.
    assert np.hypot(*shift_px(before, after)) == pytest.approx(6.0, abs=0.75)


def test_the_stage_moves_a_step_further_with_each_command() -> None:
    scope = make("stage_error", GRANULES, amount=0.4)
    at_field(scope, 0)
    at_field(scope, 1)
    images = [shot(scope, HIGH_US) for _ in range(3)]
    for step in (1, 2):
        moved = shift_px(images[0], images[step])
        assert np.hypot(*moved) == pytest.approx(4.0 * step, abs=0.75)
    assert scope.position() == Position(x_um=20.0, y_um=5.0, z_um=0.0)


def test_defocus_grows_while_the_place_is_visited() -> None:
    scope = make("defocus", GRANULES, amount=2.0)
    at_field(scope, 0)
    at_field(scope, 1)
    sharpness = []
    for _ in range(3):
        image = shot(scope, LOW_US)
        sharpness.append(float(np.square(np.diff(image)).mean()))
        scope._clock.advance_ns(500_000_000)  # type: ignore[attr-defined]
    assert sharpness[0] > 1.5 * sharpness[1] > 2.0 * sharpness[2]


def test_bleaching_is_at_its_rate() -> None:
    scope = make("bleaching", amount=3.0)
    at_field(scope, 0)
    first, last = [shot(scope, HIGH_US).mean() for _ in range(2)]
    assert last == pytest.approx(first)
    at_field(scope, 1)
    first, last = [shot(scope, HIGH_US).mean() for _ in range(2)]
    assert last / first == pytest.approx(exp(-3.0 * HIGH_US * 1e-6), rel=1e-4)


def test_light_flickers_at_every_second_command() -> None:
    scope = make("light_flicker", amount=0.5)
    at_field(scope, 0)
    at_field(scope, 1)
    scope.set_shutter(is_open=False)
    list(scope.expose(LOW_US))
    scope.set_shutter(is_open=True)
    levels = [shot(scope, LOW_US).mean() for _ in range(4)]
    assert np.array(levels) / levels[0] == pytest.approx([1.0, 0.5, 1.0, 0.5], rel=1e-4)
    assert [one.frames for one in scope.injected()] == [2], "the dark frame is not one of them"


def test_saturation_reaches_the_highest_count() -> None:
    scope = make("saturation", amount=50.0)
    at_field(scope, 0)
    assert next(scope.expose(HIGH_US)).pixels.max() < max_count(16)
    at_field(scope, 1)
    low, high = next(scope.expose(LOW_US)).pixels, next(scope.expose(HIGH_US)).pixels
    assert low.max() < max_count(16)
    # The full well of 30000 e- ends at 65317 counts on average: above 65535 for many pixels only.
    assert 0.1 < (high == max_count(16)).mean() < 0.5
    assert (high > 0.97 * max_count(16)).all()


def test_an_object_moves_by_its_amount_between_commands() -> None:
    scope = make("moving_object", amount=12.0)
    at_field(scope, 0)
    at_field(scope, 1)
    plain = 20_000.0 * 0.82e-6 * LOW_US
    centres, areas = [], []
    for _ in range(3):
        there = shot(scope, LOW_US) / plain - 1.0
        y, x = np.indices(there.shape)
        areas.append(there.sum() / there.size)
        centres.append((np.average(y, weights=there), np.average(x, weights=there)))
    moved = np.hypot(*np.diff(np.array(centres), axis=0).T)
    assert moved == pytest.approx(12.0, abs=0.1)
    assert areas == pytest.approx([areas[0]] * 3, rel=0.01)
    assert areas[0] > 0.01, "large enough to be found"
    # Two frames of one command show it at the same place.
    frames = [scope.truth().copy() for _ in scope.expose(LOW_US, 2)]
    assert np.array_equal(*frames)


def test_an_object_turns_round_at_the_edge() -> None:
    places = [_to_and_fro(way, 10.0) for way in (0.0, 8.0, 10.0, 12.0, 20.0, 30.0, 38.0, -12.0)]
    assert places == pytest.approx([0.0, 8.0, 10.0, 8.0, 0.0, -10.0, -2.0, -8.0])


@pytest.mark.parametrize(
    ("kind", "amount", "problem"),
    [("drift", 0.0, "needs an amount"), ("stuck_shutter", 1.0, "takes no amount")],
)
def test_an_amount_goes_with_its_kind(kind: str, amount: float, problem: str) -> None:
    with pytest.raises(ValidationError, match=f"{kind} {problem}"):
        MicroscopeFaultConfig.model_validate({"kind": kind, "visits": [0], "amount": amount})
