"""A real live view of a DemoCamera, tapped: what arrives, what the user's program notices."""

from __future__ import annotations

import gc
import logging
import threading
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import pymmcore
import pytest
from network_kit import Taking, taking
from tap_kit import NOBODY, ROOM, free_endpoint, go_live, live_core

import livedenoise
from livedenoise.client.problems import Problems
from livedenoise.client.tap import tap_of
from livedenoise.client.tapping import Tap
from livedenoise.core.errors import BusError, CameraError
from livedenoise.micromanager.borrowed import BorrowedCore

Eventually = Callable[..., Any]


@pytest.fixture
def core() -> Iterator[Any]:
    """Return such a core; a tap that a test leaves on it is ended."""
    made = live_core()
    yield made
    left = tap_of(made)
    if left is not None:
        left.stop()
    if made.getCameraDevice():
        made.stopSequenceAcquisition()
    made.unloadAllDevices()


def arrived(taken: Taking, frames: int) -> Callable[[], bool]:
    """Return the question whether so many frames have arrived."""
    return lambda: len(taken.frames) >= frames


def test_every_frame_of_a_live_view_arrives_in_order(core: Any, eventually: Eventually) -> None:
    with taking(**ROOM) as taken, livedenoise.tap(core, taken.endpoint) as tap:
        eventually(lambda: tap._sender.wait_ready(0.0))
        go_live(core)
        eventually(arrived(taken, 40))
        core.stopSequenceAcquisition()
        eventually(lambda: tap.counts().sent.taken == tap.counts().seen == len(taken.frames))
        counts = tap.counts()
        numbers = [frame.camera_seq for frame in taken.frames]
        steps = [after - before for before, after in pairwise(numbers)]
        assert set(steps) == {1}
        assert (counts.lost_in_core, counts.restarts, counts.loss_unknown) == (0, 0, 0)
        # The buffer is as full as it would be without us.
        assert core.getRemainingImageCount() >= len(taken.frames)
        newest = core.getLastImage()
        np.testing.assert_array_equal(taken.pixels[-1], newest)
        assert {frame.exposure_us for frame in taken.frames} == {5000}
        times = [frame.t_camera_ns for frame in taken.frames]
        assert all(after > before for before, after in pairwise(times))
    assert not tap.running


def test_changes_of_region_binning_type_and_exposure_arrive(
    core: Any, eventually: Eventually
) -> None:
    def again(frames: int = 3) -> None:
        go_live(core)
        eventually(arrived(taken, len(taken.frames) + frames))
        core.stopSequenceAcquisition()
        eventually(lambda: tap.counts().sent.in_flight == 0)

    with taking(**ROOM) as taken, livedenoise.tap(core, taken.endpoint) as tap:
        again()
        core.setROI(32, 16, 64, 48)
        core.setExposure(7.0)
        again()
        last = taken.frames[-1]
        assert (last.shape, last.roi_x, last.roi_y) == ((48, 64), 32, 16)
        assert last.exposure_us == 7000
        core.clearROI()
        core.setProperty("Camera", "Binning", "2")
        again()
        assert (taken.frames[-1].shape, taken.frames[-1].binning) == ((64, 64), 2)
        core.setROI(8, 4, 32, 16)  # in binned pixels; a header has unbinned ones
        again()
        last = taken.frames[-1]
        assert (last.shape, last.roi_x, last.roi_y) == ((16, 32), 16, 8)
        assert tap.counts().restarts == 3
        core.setProperty("Camera", "PixelType", "8bit")
        go_live(core)
        # The daemon's camera takes 16 bits here: refused by it, counted, said.
        eventually(lambda: tap.counts().sent.refused)
        eventually(lambda: "refuses" in tap.problem)
        assert "dtype" in repr(tap)
        core.stopSequenceAcquisition()
        core.setProperty("Camera", "PixelType", "16bit")
        again()
        eventually(lambda: not tap.problem)
        counts = tap.counts()
        assert counts.unsent == 0
        assert counts.seen == counts.sent.offered


def test_the_exposure_is_read_again_while_the_view_runs(core: Any, eventually: Eventually) -> None:
    with (
        taking(**ROOM) as taken,
        livedenoise.tap(core, taken.endpoint, exposure_refresh_s=0.05),
    ):
        go_live(core)
        eventually(arrived(taken, 3))
        core.setExposure(8.0)
        eventually(lambda: taken.frames[-1].exposure_us == 8000)


def test_a_daemon_that_comes_later_is_found(
    core: Any, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("livedenoise.client.tapping._PATIENCE_NS", 1)
    endpoint = free_endpoint()
    with livedenoise.tap(core, endpoint) as tap:
        go_live(core)
        eventually(lambda: tap.counts().sent.dropped.get("not_connected", 0) > 3)
        eventually(lambda: "nobody" in tap.problem)
        for _ in range(2):  # and when it was restarted
            with taking(listen=endpoint, **ROOM) as taken:
                eventually(arrived(taken, 5))
                eventually(lambda: not tap.problem)


def test_nobody_there_is_said_once(
    core: Any,
    eventually: Eventually,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr("livedenoise.client.tapping._PATIENCE_NS", 1)
    said: list[str] = []
    with livedenoise.tap(core, NOBODY, on_problem=said.append) as tap:
        go_live(core)
        eventually(lambda: said)
        seen = tap.counts().seen
        eventually(lambda: tap.counts().seen > seen + 20)
        assert len(said) == 1
        assert NOBODY in said[0]
        assert tap.problem == said[0]
        assert said[0] in repr(tap)
    assert [record.levelno for record in caplog.records] == [logging.WARNING]


def test_devices_unloaded_and_loaded_again(core: Any, eventually: Eventually) -> None:
    with taking(**ROOM) as taken, livedenoise.tap(core, taken.endpoint):
        go_live(core)
        eventually(arrived(taken, 3))
        core.stopSequenceAcquisition()
        core.unloadAllDevices()
        threading.Event().wait(0.1)  # the tap looks at a core without a camera
        core.loadDevice("Other", "DemoCamera", "DCam")
        core.initializeDevice("Other")
        core.setCameraDevice("Other")
        core.setProperty("Other", "PixelType", "16bit")
        core.setROI(0, 0, 100, 80)
        go_live(core)
        eventually(lambda: taken.frames[-1].shape == (80, 100))


def test_frames_that_cannot_be_given_to_the_sender_are_counted(
    core: Any, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("livedenoise.client.tapping._RETRY_S", 0.01)
    with livedenoise.tap(core, NOBODY) as tap:

        def fails(*_: object, **__: object) -> bool:
            raise BusError("no frame of ours")

        monkeypatch.setattr(tap._sender, "send", fails)
        go_live(core)
        eventually(lambda: tap.counts().unsent > 3)
        eventually(lambda: "no frame of ours" in tap.problem)
    counts = tap.counts()
    assert counts.seen == counts.sent.offered + counts.unsent


def test_without_an_exposure_frames_go_as_of_unknown_exposure(
    core: Any, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails() -> float:
        raise CameraError("not told")

    with taking(**ROOM) as taken, livedenoise.tap(core, taken.endpoint) as tap:
        monkeypatch.setattr(tap._core, "exposure_ms", fails)
        go_live(core)
        eventually(arrived(taken, 3))
        assert {frame.exposure_us for frame in taken.frames} == {0}
        assert "without their exposure" in tap.problem


@pytest.mark.parametrize("raises", [SystemError("no result"), CameraError("no answer")])
def test_whatever_the_core_raises_the_tap_goes_on(
    core: Any, eventually: Eventually, monkeypatch: pytest.MonkeyPatch, raises: Exception
) -> None:
    monkeypatch.setattr("livedenoise.client.tapping._RETRY_S", 0.01)
    said: list[str] = []
    with taking(**ROOM) as taken, livedenoise.tap(core, taken.endpoint) as tap:
        tap._problems._on_problem = said.append
        with monkeypatch.context() as broken:

            def fails() -> list[Any]:
                raise raises

            broken.setattr(tap._peeker, "poll", fails)
            eventually(lambda: tap.problem)
        go_live(core)
        eventually(arrived(taken, 3))
        eventually(lambda: not tap.problem)
    assert len(said) == 1
    assert str(raises.args[0]) in said[0]


def test_a_core_that_is_dropped_ends_the_tap(eventually: Eventually) -> None:
    with taking(**ROOM) as taken:
        core = live_core()
        tap = livedenoise.tap(core, taken.endpoint)
        go_live(core)
        eventually(arrived(taken, 3))
        core.stopSequenceAcquisition()
        del core
        gc.collect()
        eventually(lambda: not tap.running)
        tap.stop()
        assert tap.counts().seen >= 3


def test_a_second_tap_on_a_core_is_refused_until_the_first_ends(core: Any) -> None:
    first = livedenoise.tap(core, NOBODY)
    with pytest.raises(CameraError, match="tapped already") as refused:
        livedenoise.tap(core, NOBODY)
    assert "tap_of(core)" in refused.value.hint
    assert tap_of(core) is first
    first.stop()
    first.stop()
    assert tap_of(core) is None
    livedenoise.tap(core, NOBODY).stop()


@pytest.mark.parametrize(
    ("what", "error"),
    [
        ({"endpoint": "nowhere"}, BusError),
        ({"max_queue": 0}, BusError),
        ({"poll_ms": 0.0}, CameraError),
        ({"channel": -1}, CameraError),
    ],
)
def test_what_cannot_be_is_refused_at_once(core: Any, what: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        livedenoise.tap(core, **({"endpoint": NOBODY} | what))
    assert tap_of(core) is None


def test_what_is_no_core_is_refused() -> None:
    with pytest.raises(CameraError, match="not a Micro-Manager core"):
        livedenoise.tap(object(), NOBODY)


def test_a_channel_that_never_comes_is_said(
    core: Any, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("livedenoise.client.tapping._OTHERS_NS", 100_000_000)
    core.setExposure(1.0)
    with livedenoise.tap(core, NOBODY, channel=3, poll_ms=1.0) as tap:
        go_live(core)
        eventually(lambda: "channel 3" in tap.problem)


def test_stop_may_be_asked_for_in_on_problem(
    core: Any, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("livedenoise.client.tapping._PATIENCE_NS", 1)
    taps: list[Tap] = []
    taps.append(livedenoise.tap(core, NOBODY, on_problem=lambda _: taps[0].stop()))
    eventually(lambda: not taps[0].running)
    taps[0].stop()


def test_a_user_who_pops_loses_nothing(core: Any, eventually: Eventually) -> None:
    with taking(**ROOM) as taken, livedenoise.tap(core, taken.endpoint):
        go_live(core)
        popped = 0

        def pop() -> bool:
            nonlocal popped
            while core.getRemainingImageCount() > 5:
                core.popNextImage()
                popped += 1
            return popped >= 40

        eventually(pop)
        assert len(taken.frames) > 10


def test_a_pymmcore_plus_core_ends_its_events_with_the_interpreter(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plus = type("CMMCorePlus", (pymmcore.CMMCore,), {"__module__": "pymmcore_plus.core"})
    for kind, expected in ((plus, ["registerCallback"]), (pymmcore.CMMCore, [])):
        raw = kind()
        core = BorrowedCore(raw)
        called: list[str] = []
        monkeypatch.setattr(core, "call", lambda name, *_, called=called: called.append(name))
        core.end_events()
        assert called == expected
        del raw
        core.end_events()
        assert called == expected


def test_a_problem_is_said_when_it_begins(caplog: pytest.LogCaptureFixture) -> None:
    said: list[str] = []
    problems = Problems(logging.getLogger("livedenoise.test"), "tap x", said.append)
    for text in ("a", "a", "b"):
        problems.say("core", text)
    problems.say("daemon", "c")
    assert problems.current == "b; c"
    problems.clear("core")
    problems.say("core", "a")
    assert said == ["a", "b", "c", "a"]
    for number in range(100):
        problems.say("core", str(number))
    assert len(said) == 50
    assert "last one" in said[-1]
    del caplog


def test_a_callback_that_fails_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    def fails(text: str) -> None:
        raise ValueError(text)

    problems = Problems(logging.getLogger("livedenoise.test"), "tap x", fails)
    problems.say("core", "a")
    assert "on_problem failed" in caplog.text
