"""What can go wrong with a camera of our own core, and what then is promised."""

from __future__ import annotations

import gc
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import pymmcore
import pytest
from demo_kit import FAST, Slots, core_of, demo_camera, streaming, take
from waiting import wait_until

from livedenoise.core.camera import Event, StreamRequest
from livedenoise.core.clock import now_ns
from livedenoise.core.errors import EXIT_CAMERA, CameraError
from livedenoise.core.frame import FrameFlags

LONG_US = 3_000_000


def test_a_full_buffer_stops_cleanly_with_every_buffered_frame_delivered() -> None:
    with streaming(demo_camera(buffer_mb=8), rate_hz=None) as (camera, prepared):
        core, slots = core_of(camera), Slots()
        frames = camera.frames(slots)
        first = next(frames)
        deadline_s = time.monotonic() + 10
        while not core.overflowed():
            assert time.monotonic() < deadline_s
            time.sleep(0.01)
        numbers = [first.camera_seq]
        with pytest.raises(CameraError, match=r"buffer of 16 frames was full") as failed:
            numbers.extend(captured.camera_seq for captured in frames)
    assert failed.value.exit_code == EXIT_CAMERA
    assert "buffer_mb" in failed.value.hint
    # What was popped before and all the buffer held, without a gap.
    assert numbers == list(range(len(numbers)))
    assert len(numbers) >= prepared.buffer_frames


def test_a_region_changed_under_us_starts_again_with_the_new_one() -> None:
    with streaming(demo_camera()) as (camera, _):
        frames = camera.frames(Slots())
        before = [next(frames) for _ in range(3)]
        core_of(camera).call("setROI", 16, 32, 64, 128)
        while (after := next(frames)).shape == (512, 512):
            before.append(after)
        assert not camera.counters().get("renumbered")
        assert camera.counters()["changed_under_us"] == 1
    assert (after.shape, after.roi_x, after.roi_y) == ((128, 64), 16, 32)
    assert after.camera_seq > before[-1].camera_seq
    # What was exposed as the region changed is not known.
    assert after.flags & FrameFlags.AFTER_GAP


def test_a_change_under_us_is_counted() -> None:
    with streaming(demo_camera()) as (camera, _):
        frames = camera.frames(Slots())
        next(frames)
        core = core_of(camera)
        core.call("stopSequenceAcquisition")
        core.set_property("Camera", "Binning", "2")
        while next(frames).binning == 1:
            pass
        assert camera.counters()["changed_under_us"] == 1


def test_a_sequence_that_ends_by_itself_is_an_error() -> None:
    with streaming(demo_camera()) as (camera, _):
        frames = camera.frames(Slots())
        next(frames)
        core_of(camera).call("stopSequenceAcquisition")
        with pytest.raises(CameraError, match="ended by itself after"):
            list(frames)


@pytest.mark.parametrize(
    ("request_changes", "kind"),
    [
        ({"exposure_us": LONG_US}, "sequence"),
        ({"exposure_us": 0, "events": (Event(index=0, exposure_us=LONG_US),)}, "snap"),
    ],
    ids=["sequence", "one by one"],
)
def test_a_stop_during_a_long_exposure_ends_the_stream_at_once(
    request_changes: dict[str, Any], kind: str
) -> None:
    from threading import Timer

    camera = demo_camera(properties={"Camera": FAST | {"MaximumExposureMs": "10000"}})
    camera.open()
    try:
        camera.prepare(StreamRequest(**({"exposure_us": LONG_US, "binning": 0} | request_changes)))
        camera.start()
        began_s = time.monotonic()
        stop_s: list[float] = []

        def stop() -> None:
            asked_s = time.monotonic()
            camera.stop()
            stop_s.append(time.monotonic() - asked_s)

        timer = Timer(0.3, stop)
        timer.start()
        assert list(camera.frames(Slots())) == []
        assert time.monotonic() - began_s < 2.0, kind
        timer.join()
        assert stop_s[0] < 2.0
    finally:
        # Not closed here: that rightly waits for the exposure; the shorter limit makes it short.
        core_of(camera).call("setExposure", 1.0)
        camera.close()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"device": "Andor"}, r"device Andor is not in Micro-Manager; cameras there: Camera"),
        ({"presets": {"Laser": "on"}}, r"presets.Laser: there is no such configuration group"),
        ({"presets": {"Channel": "GFP"}}, r"presets.Channel = 'GFP': the group has Cy5, DAPI"),
        ({"properties": {"Cam": {"Gain": 1}}}, r"there is no device Cam; there are .*Camera"),
        ({"properties": {"Camera": {"Gian": 1}}}, r"Camera has no property Gian; it has .*Gain"),
        (
            {"properties": {"Camera": {"PixelType": "12bit"}}},
            r"PixelType = '12bit' was refused: .*; allowed are 16bit",
        ),
        ({"properties": {"Camera": {"Gain": 99}}}, r"Gain = '99' was refused: .*-5 to 8"),
        ({"properties": {"Camera": {"CameraID": "x"}}}, r"can only be read"),
        ({"properties": {"Camera": {"PixelType": "32bitRGB"}}}, r"4 components per pixel"),
        ({"channel": 2}, r"channel = 2, Camera has 1 channel"),
        ({"forward": {"1": "tcp://127.0.0.1:5599"}}, r"forward.1: the camera device has 1"),
        ({"config_file": Path("/no/such.cfg")}, r"such\.cfg"),
    ],
)
def test_mistakes_are_named_with_what_would_be_right(changes: dict[str, Any], said: str) -> None:
    camera = demo_camera(**changes)
    with pytest.raises(CameraError, match=said) as failed:
        camera.open()
    assert failed.value.hint
    camera.close()


@pytest.mark.parametrize(
    ("request_changes", "said"),
    [
        ({"binning": 3}, r"binning = 3 was asked for, Camera has 1, 2, 4, 8"),
        ({"roi": (500, 0, 64, 64)}, r"roi = \[500, 0, 64, 64\].* the sensor has 512x512"),
        # DemoCamera keeps the exposure it had, without a word.
        ({"exposure_us": 60_000_000}, r"60000000 was asked for, the camera took 10000"),
        ({"n_frames": 0}, r"0 frames were asked for"),
    ],
)
def test_requests_beyond_the_camera_are_refused(request_changes: dict[str, Any], said: str) -> None:
    camera = demo_camera()
    try:
        camera.open()
        with pytest.raises(CameraError, match=said) as failed:
            camera.prepare(StreamRequest(**({"exposure_us": 1000, "binning": 0} | request_changes)))
        assert failed.value.hint
        # It can be asked again.
        camera.prepare(StreamRequest(exposure_us=1000, binning=0))
    finally:
        camera.close()


_CHILD = """
import sys
sys.path.insert(0, {folder!r})
from demo_kit import demo_camera, streaming, Slots
from livedenoise.core.camera import StreamRequest
camera = demo_camera()
camera.open()
camera.prepare(StreamRequest(exposure_us=1000, binning=0))
camera.start()
frames = camera.frames(Slots())
for _ in range(5):
    next(frames)
{end}
"""


@pytest.mark.parametrize("end", ["", "camera.stop()", "camera.close()"])
def test_the_interpreter_ends_without_abort_however_the_camera_was_left(end: str) -> None:
    script = _CHILD.format(folder=str(Path(__file__).parent), end=end)
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_frames_wait_in_the_core_while_the_ring_is_full_and_are_then_told() -> None:
    """A ring without slots for a while: nothing is lost as long as the core's buffer holds."""
    with streaming(demo_camera(), rate_hz=None) as (camera, _):
        slots, refuse_until_s = Slots(), time.monotonic() + 0.1

        def get_slot(shape: tuple[int, int], dtype: str, timeout_s: float) -> Any:
            if time.monotonic() < refuse_until_s:
                time.sleep(timeout_s)
                return None
            return slots(shape, dtype, timeout_s)

        frames = camera.frames(get_slot)
        taken = [next(frames) for _ in range(60)]
    assert not any(captured.discarded for captured in taken)
    assert [captured.camera_seq for captured in taken] == list(range(60))


def test_pycromanager_is_left_ready_for_another_core() -> None:
    """Its engine would stay bound to the old core; the next acquisition would fail and hang."""
    from pycromanager.acquisition.acq_eng_py.internal.engine import Engine

    with streaming(demo_camera()) as (camera, _):
        take(camera, 1)
        assert hasattr(Engine, "singleton")
    assert not hasattr(Engine, "singleton")


def test_a_number_of_frames_is_what_the_camera_exposes() -> None:
    with streaming(demo_camera(), n_frames=7) as (camera, _):
        assert len(list(camera.frames(Slots()))) == 7
        assert not core_of(camera).running()
        assert core_of(camera).remaining() == 0


def test_the_time_of_a_frame_is_when_the_core_had_it() -> None:
    """A frame that waited in the core's buffer is as old as it is."""
    with streaming(demo_camera(), n_frames=40, rate_hz=None) as (camera, _):
        core = core_of(camera)
        wait_until(lambda: not core.running())
        ended_ns = now_ns()
        taken = take(camera, 40)
    times = [frame.t_host_ns for frame in taken]
    # The core tells microseconds, by another clock of the same machine.
    assert max(times) < ended_ns + 1_000_000
    by_us = [b - a for a, b in pairwise(times)]
    by_camera = [b.t_camera_ns - a.t_camera_ns for a, b in pairwise(taken)]
    assert sum(by_us) == pytest.approx(sum(by_camera), abs=20_000_000)


def test_a_closed_camera_frees_its_core_and_its_buffer() -> None:
    """Pycromanager's methods on the core hold the core: without care each one stays for ever."""

    def cores() -> int:
        gc.collect()
        # Not isinstance: it asks objects for their class, and some answer with a warning.
        return sum(issubclass(type(one), pymmcore.CMMCore) for one in gc.get_objects())

    before = cores()
    with streaming(demo_camera()) as (camera, _):
        take(camera, 1)
        assert cores() == before + 1
    assert cores() == before
