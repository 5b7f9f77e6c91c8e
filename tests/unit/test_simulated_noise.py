"""Noise of a simulated microscope: never the same twice, the same again for equal commands."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from collect_kit import make_camera

from livedenoise.core.clock import ManualClock
from livedenoise.core.microscope import Position
from livedenoise.microscope.simulated import SimulatedMicroscope

Image = npt.NDArray[np.float64]
GAIN_E_PER_ADU = 0.46
PLACES = [
    Position(x_um=x, y_um=y, z_um=z)
    for x, y, z in [(0, 0, 0), (-40, 0, 0), (0, 55.5, 0), (0, 0, 1)]
]


def taken(places: list[Position]) -> list[npt.NDArray[np.generic]]:
    """Return two frames of each place, in a process of its own."""
    scope = SimulatedMicroscope(make_camera(), ManualClock(1))
    scope.open()
    scope.set_shutter(is_open=True)
    found: list[npt.NDArray[np.generic]] = []
    for place in places:
        scope.move(place)
        found += [frame.pixels for frame in scope.expose(5000, 2)]
    scope.close()
    return found


def noise_of(
    place: Position, frames: int, exposure_us: int = 5000, *, is_open: bool
) -> list[Image]:
    scope = SimulatedMicroscope(make_camera(), ManualClock(1))
    scope.open()
    scope.set_shutter(is_open=is_open)
    scope.move(place)
    return [
        frame.pixels.astype(np.float64) * GAIN_E_PER_ADU - scope.truth()
        for frame in scope.expose(exposure_us, frames)
    ]


def correlation(one: Image, other: Image) -> float:
    return float(np.corrcoef(one.ravel(), other.ravel())[0, 1])


def test_the_same_commands_give_the_same_noise_in_another_process() -> None:
    for one, other in zip(taken(PLACES), taken(PLACES), strict=True):
        np.testing.assert_array_equal(one, other)


def test_no_two_places_share_noise_whichever_is_first_in_a_process() -> None:
    """As after --resume, which begins at another field: all frames are the first ones there.

    In the dark, where all have the same mean: the same seed would give the very same frame.
    """
    frames = [one for place in PLACES for one in noise_of(place, 2, is_open=False)]
    for n, one in enumerate(frames):
        for other in frames[n + 1 :]:
            assert abs(correlation(one, other)) < 0.1


def test_the_frames_of_a_place_do_not_depend_on_what_was_taken_elsewhere() -> None:
    alone = taken([PLACES[1]])
    after = taken([PLACES[0], PLACES[1]])[2:]
    for one, other in zip(alone, after, strict=True):
        np.testing.assert_array_equal(one, other)
