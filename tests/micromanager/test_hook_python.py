"""``livedenoise.hook()`` in real acquisitions of pycromanager's python backend."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from acquisition_kit import python_backend, time_events
from network_kit import Taking, taking
from waiting import wait_until

import livedenoise
from livedenoise.client.hook import Hook

NDTIFF_LEAVES_A_FILE_OPEN = pytest.mark.filterwarnings(
    "ignore:Exception ignored in.*NDTiffStack:pytest.PytestUnraisableExceptionWarning"
)
NOBODY = "tcp://127.0.0.1:9"


@pytest.fixture(scope="module", autouse=True)
def core() -> Iterator[Any]:
    with python_backend() as core:
        yield core


@pytest.fixture
def daemon(leak_guard: None) -> Iterator[Taking]:
    """Return a network camera that takes frames, as the daemon's acquire stage does."""
    del leak_guard
    with taking() as running:
        yield running


@pytest.fixture
def hooked(leak_guard: None) -> Iterator[Callable[..., Hook]]:
    """Make hooks that are closed at the end."""
    del leak_guard
    made: list[Hook] = []

    def make(*arguments: Any, **options: Any) -> Hook:
        made.append(livedenoise.hook(*arguments, **options))
        return made[-1]

    yield make
    for hook in made:
        hook.close()


def acquire(events: Any, *more: Any, **options: Any) -> Any:
    """Run an acquisition and return its data set."""
    from pycromanager import Acquisition

    with Acquisition(**options) as acquisition:
        for each in (events, *more):
            acquisition.acquire(each)
    return acquisition.get_dataset()


def settle(hook: Hook, running: Taking) -> None:
    """Wait until all is there: a frame is answered just before the camera has it in its list."""
    assert hook.flush(5)
    wait_until(lambda: len(running.frames) >= hook.counts().lines[running.endpoint].sender.taken)


def images_of(dataset: Any) -> list[np.ndarray]:
    return [dataset.read_image(time=n) for n in sorted(dataset.axes["time"])]


@pytest.mark.parametrize("argument", ["image_process_fn", "image_saved_fn"])
def test_every_image_arrives_and_the_data_set_is_as_it_was(
    daemon: Taking, hooked: Callable[..., Hook], argument: str
) -> None:
    events = time_events(40, exposure=2.5)
    hook = hooked(daemon.endpoint, events=events)
    dataset = acquire(events, **{argument: hook})
    settle(hook, daemon)
    counts = hook.counts()
    assert (counts.images, counts.handed, counts.taken) == (40, 40, 40)
    assert (counts.passed_by, counts.dropped, counts.unknown_axes) == ({}, {}, 0)
    assert [one.event for one in daemon.frames] == list(range(40))
    assert {one.exposure_us for one in daemon.frames} == {2500}
    assert [one.camera_seq for one in daemon.frames] == list(range(40))
    assert len(dataset.get_image_coordinates_list()) == 40
    for sent, stored in zip(daemon.pixels, images_of(dataset), strict=True):
        np.testing.assert_array_equal(sent, stored)
    assert hook.said == []


def test_the_commanded_exposure_travels_where_the_tag_is_wrong(
    daemon: Taking, hooked: Callable[..., Hook], core: Any
) -> None:
    events = [
        {"axes": {"time": n, "pair": p}, "exposure": ms}
        for n in range(4)
        for p, ms in enumerate((1.0, 4.0))
    ]
    core.set_property("Camera", "UseExposureSequences", "Yes")
    hook = hooked(daemon.endpoint, events=events, role=lambda axes: ("low", "high")[axes["pair"]])
    try:
        acquire(events, image_process_fn=hook)
    finally:
        core.set_property("Camera", "UseExposureSequences", "No")
    settle(hook, daemon)
    assert [one.exposure_us for one in daemon.frames] == [1000, 4000] * 4
    assert [one.role for one in daemon.frames] == ["low", "high"] * 4
    assert [one.event for one in daemon.frames] == list(range(8))


def test_snaps_and_sequences_and_events_that_come_later(
    daemon: Taking, hooked: Callable[..., Hook]
) -> None:
    single = {"axes": {"time": 100}, "exposure": 3.0}
    hook = hooked(daemon.endpoint, events=single)
    later = time_events(3)
    hook.expect(later)
    acquire(single, later, {"axes": {"time": 200}}, image_process_fn=hook)
    settle(hook, daemon)
    assert [(one.event, one.exposure_us) for one in daemon.frames] == [
        (0, 3000),
        (1, 0),
        (2, 0),
        (3, 0),
        (-1, 0),
    ]
    assert hook.counts().unknown_axes == 1


def test_a_region_and_binning_travel_with_the_image(
    daemon: Taking, hooked: Callable[..., Hook], core: Any
) -> None:
    hook = hooked(daemon.endpoint)
    try:
        core.set_property("Camera", "Binning", "2")
        core.set_roi(4, 6, 16, 8)
        acquire(time_events(3), image_process_fn=hook)
    finally:
        core.clear_roi()
        core.set_property("Camera", "Binning", "1")
    settle(hook, daemon)
    assert [(f.roi_x, f.roi_y, f.binning, f.shape) for f in daemon.frames] == [
        (8, 12, 2, (8, 16))
    ] * 3


def test_without_a_daemon_images_pass_and_it_is_said_once(
    hooked: Callable[..., Hook], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        hook = hooked(NOBODY, wait_s=0.05)
        dataset = acquire(time_events(20), image_process_fn=hook)
    assert len(dataset.get_image_coordinates_list()) == 20
    said = [record.message for record in caplog.records if "no daemon" in record.message]
    assert len(said) == 1
    assert NOBODY in said[0]
    wait_until(lambda: hook.counts().dropped == {"not_connected": 20})


def test_a_daemon_that_comes_later_is_found(hooked: Callable[..., Hook]) -> None:
    with taking() as first:
        endpoint = first.endpoint
        hook = hooked(endpoint)
        acquire(time_events(3), image_process_fn=hook)
        settle(hook, first)
    wait_until(lambda: any("is gone" in text for text in hook.said))
    acquire(time_events(3), image_process_fn=hook)
    with taking(listen=endpoint) as second:
        wait_until(
            lambda: acquire(time_events(1), image_process_fn=hook) and second.frames, timeout_s=10
        )
    # The numbers go on: what was handed over meanwhile is known to be missing.
    assert first.frames[-1].camera_seq == 2


@NDTIFF_LEAVES_A_FILE_OPEN
def test_images_read_from_a_data_set_on_disk_are_not_stale(
    daemon: Taking, hooked: Callable[..., Hook], tmp_path: Path
) -> None:
    hook = hooked(daemon.endpoint)
    dataset = acquire(time_events(30), image_saved_fn=hook, directory=str(tmp_path), name="disk")
    try:
        settle(hook, daemon)
        assert len(daemon.frames) == 30
        for sent, stored in zip(daemon.pixels, images_of(dataset), strict=True):
            np.testing.assert_array_equal(sent, stored)
    finally:
        dataset.close()


def test_nothing_is_raised_into_the_acquisition(
    daemon: Taking, hooked: Callable[..., Hook]
) -> None:
    def broken(axes: Any) -> float:
        raise KeyError(axes["time"])

    hook = hooked(daemon.endpoint, exposure_ms=broken)
    dataset = acquire(time_events(5), image_process_fn=hook)
    assert len(dataset.get_image_coordinates_list()) == 5
    wait_until(lambda: hook.counts().dropped == {"error": 5})
    assert len([text for text in hook.said if "KeyError" in text]) == 1

    class Broken:
        def read_image(self, **_: object) -> None:
            raise OSError("disk")

    assert hook({"time": 0}, Broken()) is None
    assert hook("neither", "nor") == ("neither", "nor")
    assert hook.counts().passed_by == {"error": 1, "no_array": 1}


def test_an_image_changed_in_place_afterwards_was_sent_as_it_came(
    daemon: Taking, hooked: Callable[..., Hook]
) -> None:
    hook = hooked(daemon.endpoint)

    def wipe(image: np.ndarray, tags: dict[str, Any]) -> tuple[np.ndarray, dict[str, Any]]:
        seen.append(image.copy())
        hook(image, tags)
        image[:] = 0
        return image, tags

    seen: list[np.ndarray] = []
    acquire(time_events(30), image_process_fn=wipe)
    settle(hook, daemon)
    assert all(image.any() for image in seen)
    for sent, came in zip(daemon.pixels, seen, strict=True):
        np.testing.assert_array_equal(sent, came)


def test_hooks_of_one_endpoint_share_a_connection(
    daemon: Taking, hooked: Callable[..., Hook]
) -> None:
    for _ in range(3):
        hook = hooked(daemon.endpoint)
        acquire(time_events(2), image_process_fn=hook)
    settle(hook, daemon)
    assert len(daemon.frames) == 6
    assert [one.camera_seq for one in daemon.frames] == list(range(6))
    assert daemon.counter("refused_second_sender") == 0
    assert daemon.counter("senders") == 1


def test_a_closed_hook_lets_images_pass_and_frees_the_camera(
    daemon: Taking, hooked: Callable[..., Hook]
) -> None:
    first = hooked(daemon.endpoint)
    acquire(time_events(2), image_process_fn=first)
    first.close()
    dataset = acquire(time_events(2), image_process_fn=first)
    assert len(dataset.get_image_coordinates_list()) == 2
    assert first.counts().passed_by == {"closed": 2}
    assert len(daemon.frames) == 2
    assert hooked(daemon.endpoint).wait_ready(5)
    assert not [t for t in threading.enumerate() if t.name.startswith("hook ")][1:]


def test_each_camera_of_a_multi_camera_device_goes_to_its_own_endpoint(
    daemon: Taking, hooked: Callable[..., Hook], core: Any
) -> None:
    core.load_device("Camera2", "DemoCamera", "DCam")
    core.load_device("Multi", "Utilities", "Multi Camera")
    for name in ("Camera2", "Multi"):
        core.initialize_device(name)
    for name, value in (("OnCameraCCDXSize", "64"), ("OnCameraCCDYSize", "48")):
        core.set_property("Camera2", name, value)
    core.set_property("Camera2", "PixelType", "16bit")
    core.set_property("Multi", "Physical Camera 1", "Camera")
    core.set_property("Multi", "Physical Camera 2", "Camera2")
    try:
        core.set_camera_device("Multi")
        with taking() as second:
            hook = hooked({0: daemon.endpoint, 1: second.endpoint})
            acquire({"axes": {"time": 9}}, image_process_fn=hook)
            acquire(time_events(4), image_process_fn=hook)
            settle(hook, daemon)
            settle(hook, second)
            assert len(daemon.frames) == len(second.frames) == 5
            hook.close()
    finally:
        core.set_camera_device("Camera")
        for name in ("Multi", "Camera2"):
            core.unload_device(name)


def test_a_camera_without_an_endpoint_passes(daemon: Taking, hooked: Callable[..., Hook]) -> None:
    hook = hooked({"Other": daemon.endpoint})
    acquire(time_events(2), image_process_fn=hook)
    assert hook.counts().passed_by == {"no_endpoint": 2}


def test_denoised_beside_cannot_with_process_fn_here_and_says_so(
    daemon: Taking, hooked: Callable[..., Hook]
) -> None:
    hook = hooked(daemon.endpoint, denoised="beside", clean_endpoint=NOBODY)
    dataset = acquire(time_events(5), image_process_fn=hook)
    assert len(dataset.get_image_coordinates_list()) == 5
    settle(hook, daemon)
    assert len(daemon.frames) == 5
    assert [text for text in hook.said if "exactly one image" in text]
    assert hook.counts().denoised["delivered"] == 0


@NDTIFF_LEAVES_A_FILE_OPEN
def test_denoised_beside_leaves_a_data_set_on_disk_alone(
    daemon: Taking, hooked: Callable[..., Hook], tmp_path: Path
) -> None:
    hook = hooked(daemon.endpoint, denoised="beside", clean_endpoint=NOBODY)
    dataset = acquire(time_events(5), image_saved_fn=hook, directory=str(tmp_path), name="disk")
    dataset.close()
    assert [text for text in hook.said if "one file from one thread" in text]
