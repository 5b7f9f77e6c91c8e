"""Finding a live view's frames by looking: against a model that moves, and a real DemoCamera."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import mm_test_adapters
import pymmcore
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from view_model import ModelCore, ViewModel
from waiting import wait_until

from livedenoise.core.errors import CameraError
from livedenoise.micromanager.core import Taken
from livedenoise.micromanager.peeking import Peeker, Seen
from livedenoise.micromanager.python_core import PythonCore


def watched(capacity: int = 50, **view: Any) -> tuple[ViewModel, ModelCore, Peeker]:
    """Return a model with one frame seen."""
    model = ViewModel(capacity, restarts=view.pop("restarts", False), **view)
    core = ModelCore(model)
    peeker = Peeker(core, most_s=1e6, clock=lambda: model.now_ns)
    model.start()
    model.expose()
    assert len(peeker.poll()) == 1
    return model, core, peeker


def indices(found: list[Seen]) -> list[int]:
    """Return which frames were found, by their pixels."""
    return [int(seen.taken.pixels[0, 0]) for seen in found]


def test_every_frame_is_found_once_in_order_and_looked_at_once() -> None:
    model, core, peeker = watched()
    found: list[Seen] = []
    for frames in (1, 0, 3, 0, 0, 7, 2):
        model.expose(frames)
        found += peeker.poll()
    assert indices(found) == list(range(1, 14))
    assert [seen.number for seen in found] == list(range(1, 14))
    assert not any(seen.lost_before or seen.restarted for seen in found)
    assert peeker.looks == len(core.looks) == 14


@settings(deadline=None, max_examples=150)
@given(
    capacity=st.integers(1, 20),
    restarts=st.booleans(),
    between=st.lists(st.integers(0, 30), max_size=25),
    arrivals=st.lists(st.sampled_from([0, 0, 0, 1, 2, 25]), min_size=1, max_size=30),
    pops=st.lists(st.integers(0, 3), min_size=1, max_size=5),
)
def test_frames_that_come_and_go_while_one_looks(
    capacity: int, restarts: bool, between: list[int], arrivals: list[int], pops: list[int]
) -> None:
    model, core, peeker = watched(capacity, restarts=restarts)
    moves = 0

    def meanwhile() -> None:
        nonlocal moves
        moves += 1
        model.expose(arrivals[moves % len(arrivals)])

    core.meanwhile = meanwhile
    last, number = 0, 0
    for poll, frames in enumerate(between):
        model.expose(frames)
        for _ in range(pops[poll % len(pops)]):
            model.pop()
        for seen in peeker.poll():
            index = int(seen.taken.pixels[0, 0])
            assert index > last, "twice, or backwards"
            assert seen.number == number + 1 + seen.lost_before
            if not restarts:
                assert seen.lost_before == index - last - 1
            last, number = index, seen.number
    assert len(core.looks) == peeker.looks


def test_what_slipped_while_one_looked_is_looked_for_again() -> None:
    model, core, peeker = watched()
    model.expose(4)
    arrivals = iter((0, 1, 2, 0))
    core.meanwhile = lambda: model.expose(next(arrivals, 0))
    assert indices(peeker.poll()) == [1, 2, 3, 4]
    # One copy for each frame found, one for each time it slipped, however far.
    assert peeker.looks == 1 + 4 + 2
    assert indices(peeker.poll()) == [5, 6, 7]


def test_a_new_sequence_that_starts_while_one_looks_is_not_mixed_with_the_old_one() -> None:
    model, core, peeker = watched()
    model.expose(30)
    looks = 0

    def restart() -> None:
        nonlocal looks
        looks += 1
        if looks == 2:
            model.start()
            model.expose(5)

    core.meanwhile = restart
    assert indices(peeker.poll()) == [30]
    found = peeker.poll()
    assert indices(found) == [31, 32, 33, 34, 35]
    assert [seen.restarted for seen in found] == [True] + [False] * 4


def test_a_wrap_behind_our_back_is_noticed_where_numbers_start_again() -> None:
    model, _, peeker = watched(10, restarts=True)
    for _ in range(2):
        model.expose()
        peeker.poll()
    model.expose(25)
    found = peeker.poll()
    # The newest one's number, 7, is beyond the last one seen, 2, two buffers later.
    assert indices(found) == list(range(20, 28))
    assert (found[0].lost_before, found[0].loss_estimated) == (17, True)


def test_a_long_stall_returns_the_newest_and_counts_the_rest() -> None:
    model, core, _ = watched(500)
    peeker = Peeker(core, most=10, clock=lambda: model.now_ns)
    peeker.poll()
    model.expose(100)
    found = peeker.poll()
    assert indices(found) == list(range(91, 101))
    assert [seen.lost_before for seen in found] == [90] + [0] * 9


def test_one_poll_returns_no_more_bytes_than_allowed() -> None:
    model, core, _ = watched()
    peeker = Peeker(core, most_bytes=3 * 12, clock=lambda: model.now_ns)
    peeker.poll()
    model.expose(10)
    assert indices(peeker.poll()) == [8, 9, 10]


def test_slow_looks_end_in_time_and_the_rest_is_counted() -> None:
    model, core, _ = watched(500)
    peeker = Peeker(core, most_s=0.5, clock=lambda: model.now_ns)
    peeker.poll()
    model.expose(100)

    def slow() -> None:
        model.now_ns += 200_000_000

    core.meanwhile = slow
    found = peeker.poll()
    assert indices(found) == [98, 99, 100]
    assert found[0].lost_before == 97


@pytest.mark.parametrize("restarts", [False, True])
def test_a_buffer_cleared_in_between_is_counted(restarts: bool) -> None:
    model, _, peeker = watched(10, restarts=restarts)
    for _ in range(3):
        model.expose()
        peeker.poll()
    model.expose(8)
    found = peeker.poll()
    # Frames 4 to 9 were cleared when the eleventh came.
    assert indices(found) == [10, 11]
    assert (found[0].lost_before, found[0].loss_estimated) == (6, restarts)


def test_somebody_popping_in_step_with_us_is_noticed() -> None:
    model, _, peeker = watched()
    found: list[Seen] = []
    for _ in range(40):
        model.expose()
        model.pop()
        found += peeker.poll()
    # The count of waiting frames never changes. Once that is noticed every frame is found.
    lost = sum(seen.lost_before for seen in found)
    assert indices(found)[-20:] == list(range(21, 41))
    assert len(found) + lost == 40


def test_a_view_seen_to_its_end_leaves_no_doubt_about_what_was_lost() -> None:
    model, _, peeker = watched()
    model.running = False
    for _ in range(20):
        assert peeker.poll() == []
    looked = peeker.looks
    for _ in range(50):
        peeker.poll()
    assert peeker.looks == looked, "a view that has ended is looked at again and again"
    model.start()
    model.expose(3)
    found = peeker.poll()
    assert indices(found) == [1, 2, 3]
    assert [seen.restarted for seen in found] == [True, False, False]
    assert not any(seen.loss_unknown or seen.lost_before for seen in found)


def test_a_view_switched_off_and_on_between_polls_says_so() -> None:
    model, _, peeker = watched()
    model.expose(5)
    model.start()
    model.expose(2)
    first, second = peeker.poll()
    assert (first.restarted, first.loss_unknown, first.lost_before) == (True, True, 0)
    assert (second.restarted, second.number) == (False, 2)


def test_one_channel_of_several_is_followed() -> None:
    model = ViewModel(20, restarts=False)
    core = ModelCore(model, channels=3)
    peeker = Peeker(core, channel=1, clock=lambda: model.now_ns)
    model.start()
    found: list[Seen] = []
    for frames in (1, 2, 1, 5):
        model.expose(frames)
        found += peeker.poll()
    assert indices(found) == list(range(9))
    assert {seen.taken.tags.channel for seen in found} == {1}
    assert peeker.other_channels > 0


def test_frames_without_a_number_are_refused() -> None:
    class Unnumbered(ModelCore):
        def peek(self, before_newest: int) -> Taken | None:
            taken = super().peek(before_newest)
            assert taken is not None
            return Taken(taken.pixels, type(taken.tags)(shape=(2, 3)))

    model = ViewModel(20, restarts=False)
    model.start()
    model.expose()
    with pytest.raises(CameraError, match="ImageNumber"):
        Peeker(Unnumbered(model)).poll()


# A real core.


@pytest.fixture
def raw() -> Iterator[Any]:
    """Return a pymmcore core with a fast DemoCamera of 5 ms."""
    core = pymmcore.CMMCore()
    folder = mm_test_adapters.device_adapter_path()
    core.setDeviceAdapterSearchPaths([folder])
    core.loadSystemConfiguration(folder + "/MMConfig_demo.cfg")
    core.setProperty("Camera", "FastImage", "1")
    core.setExposure(5.0)
    yield core
    if core.getCameraDevice():
        core.stopSequenceAcquisition()
    core.unloadAllDevices()


def until(peeker: Peeker, frames: int) -> list[Seen]:
    """Poll until so many frames were found."""
    found: list[Seen] = []

    def enough() -> bool:
        found.extend(peeker.poll())
        return len(found) >= frames

    wait_until(enough)
    return found


def assert_whole(found: list[Seen]) -> None:
    """Check that numbers and ImageNumber advance together."""
    for before, seen in pairwise(found):
        step = seen.number - before.number
        assert step == 1 + seen.lost_before
        assert seen.taken.tags.image_number - before.taken.tags.image_number == step


def test_a_real_live_view_is_followed_and_left_as_it_is(raw: Any) -> None:
    raw.startContinuousSequenceAcquisition(0)
    peeker = Peeker(PythonCore.around(raw))
    found = until(peeker, 60)
    raw.stopSequenceAcquisition()
    found += peeker.poll()
    assert_whole(found)
    last, waiting = found[-1].taken.tags.image_number, raw.getRemainingImageCount()
    assert waiting == last + 1, "frames are missing from the buffer"
    assert peeker.looks <= len(found) + 8
    assert not any(seen.lost_before for seen in found)


def test_a_real_view_that_starts_again_with_another_region(raw: Any) -> None:
    peeker = Peeker(PythonCore.around(raw))
    raw.startContinuousSequenceAcquisition(0)
    until(peeker, 10)
    raw.setROI(0, 0, 128, 64)  # during the sequence: the core stops it and clears the buffer
    wait_until(lambda: not raw.isSequenceRunning())
    assert peeker.poll() == []
    raw.startContinuousSequenceAcquisition(0)
    found = until(peeker, 5)
    assert found[0].restarted
    assert found[0].taken.pixels.shape == (64, 128)
    assert peeker.unfit == 0


def test_pixels_are_not_read_by_another_format_than_their_own(
    raw: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    core = PythonCore.around(raw)
    peeker = Peeker(core)
    raw.startContinuousSequenceAcquisition(0)
    until(peeker, 3)
    wait_until(lambda: raw.getRemainingImageCount() > 6)
    raw.stopSequenceAcquisition()
    # The frames that wait are of 16 bits; a copy made now would read them as 8.
    raw.setProperty("Camera", "PixelType", "8bit")

    def peek(before_newest: int) -> Taken | None:
        raise AssertionError(f"looked at {before_newest}")

    monkeypatch.setattr(core, "peek", peek)
    assert [peeker.poll() for _ in range(20)] == [[]] * 20


def test_a_full_real_buffer_is_cleared_and_numbers_go_on(raw: Any) -> None:
    raw.setCircularBufferMemoryFootprint(8)
    raw.setExposure(1.0)
    capacity = 16
    raw.startContinuousSequenceAcquisition(0)
    peeker = Peeker(PythonCore.around(raw))
    found = until(peeker, 3 * capacity)
    raw.stopSequenceAcquisition()
    assert_whole(found)


def test_devices_unloaded_under_us(raw: Any) -> None:
    peeker = Peeker(PythonCore.around(raw))
    raw.startContinuousSequenceAcquisition(0)
    until(peeker, 3)
    raw.stopSequenceAcquisition()
    raw.unloadAllDevices()
    assert [peeker.poll() for _ in range(20)] == [[]] * 20


@pytest.mark.parametrize("followed", [0, 1])
def test_one_of_two_real_cameras_is_followed(raw: Any, followed: int) -> None:
    raw.loadDevice("Second", "DemoCamera", "DCam")
    raw.initializeDevice("Second")
    raw.loadDevice("Both", "Utilities", "Multi Camera")
    raw.initializeDevice("Both")
    for number, camera in enumerate(("Camera", "Second"), 1):
        raw.setProperty(camera, "FastImage", "1")
        raw.setProperty(camera, "PixelType", "16bit")
        raw.setProperty(camera, "Binning", "1")
        raw.setProperty("Both", f"Physical Camera {number}", camera)
    raw.setCameraDevice("Both")
    raw.setExposure(5.0)
    raw.startContinuousSequenceAcquisition(0)
    found = until(Peeker(PythonCore.around(raw), channel=followed), 20)
    raw.stopSequenceAcquisition()
    assert {seen.taken.tags.camera for seen in found} == {("Camera", "Second")[followed]}
    assert_whole(found)
