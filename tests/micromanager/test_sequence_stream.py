"""What the stream of a sequence makes of a core that behaves badly: a scripted core, no camera."""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np
import pytest
from demo_kit import Slots
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from livedenoise.acquire.micromanager_control import Pace
from livedenoise.acquire.micromanager_stream import SequenceStream, StreamPlan
from livedenoise.core.errors import CameraError
from livedenoise.core.frame import Frame, FrameFlags
from livedenoise.micromanager.core import (
    Core,
    CoreVersions,
    IncompleteFrameError,
    NoFrameError,
    Taken,
)
from livedenoise.micromanager.setup import Format
from livedenoise.micromanager.tags import FrameTags

SHAPE = (8, 16)
TORN = -99


class ScriptedCore(Core):
    """A core whose every sequence is a list of ImageNumbers; ``TORN`` cannot be read."""

    backend = "python"
    cheap_tags = True

    def __init__(self, *sequences: list[int], shapes: list[tuple[int, int]] | None = None) -> None:
        self._sequences = deque(sequences)
        self._shapes = deque(shapes or [SHAPE] * len(sequences))
        self._waiting: deque[int] = deque()
        self._shape = SHAPE
        self.started: list[int] = []
        self.free = 100
        self.overflow = False
        self.bits = 16

    def call(self, name: str, *args: object) -> object:
        if name == "startSequenceAcquisition":
            assert args[1:] == (0.0, True)
            self.started.append(int(str(args[0])))
            self._waiting.extend(self._sequences.popleft())
            self._shape = self._shapes.popleft()
            return None
        return {
            "getRemainingImageCount": len(self._waiting),
            "isSequenceRunning": False,
            "isBufferOverflowed": self.overflow,
            "getBufferFreeCapacity": self.free,
            "getCameraDevice": "Camera",
            "hasProperty": False,
            "getImageHeight": self._shapes[0][0] if self._shapes else self._shape[0],
            "getImageWidth": self._shapes[0][1] if self._shapes else self._shape[1],
            "getBytesPerPixel": 2,
            "getNumberOfComponents": 1,
            "getImageBitDepth": self.bits,
            "getExposure": 1.0,
            "stopSequenceAcquisition": None,
        }[name]

    def pop(self, *, tags: bool) -> Taken:
        del tags
        if not self._waiting:
            raise NoFrameError("empty")
        number = self._waiting.popleft()
        if number == TORN:
            raise IncompleteFrameError("torn")
        return Taken(
            np.full(self._shape, number % 1000, np.uint16),
            FrameTags(image_number=number, shape=self._shape, roi_x=0, roi_y=0, binning=1),
        )

    def roi(self) -> tuple[int, int, int, int]:
        height, width = self._shapes[0] if self._shapes else self._shape
        return 0, 0, width, height

    def versions(self) -> CoreVersions:
        raise NotImplementedError

    def peek(self, before_newest: int) -> Taken | None:
        raise NotImplementedError

    def snap(self) -> Taken:
        raise NotImplementedError

    def texts(self, name: str, *args: object) -> tuple[str, ...]:
        raise NotImplementedError

    def preset_settings(self, group: str, preset: str) -> tuple[tuple[str, str, str], ...]:
        raise NotImplementedError

    def close(self) -> None:
        raise NotImplementedError


def stream_of(core: ScriptedCore, **changes: Any) -> SequenceStream:
    form = Format(
        shape=SHAPE, dtype="<u2", bit_depth=16, roi=(0, 0, 16, 8), binning=1, exposure_us=1000
    )
    plan = StreamPlan(
        **(
            {"name": "scope", "form": form, "period_ns": 1_000_000, "capacity": 80}
            | {"n_frames": None}
            | changes
        )
    )
    stream = SequenceStream(core, plan, forward={}, on_idle=lambda: None)
    stream.start()
    return stream


def numbers_of(stream: SequenceStream, get_slot: Any = None) -> list[int]:
    found = []
    with pytest.raises(CameraError, match="ended by itself"):
        found.extend(frame.camera_seq for frame in stream.frames(get_slot or Slots()))
    stream.finish()
    return found


def test_a_gap_in_image_numbers_stays_a_gap() -> None:
    stream = stream_of(ScriptedCore([0, 1, 4, 5]))
    assert numbers_of(stream) == [0, 1, 4, 5]
    assert not stream.counts["renumbered"]


def test_frames_missing_from_the_start_are_missing() -> None:
    assert numbers_of(stream_of(ScriptedCore([3, 4]))) == [3, 4]


def test_image_numbers_that_begin_again_go_on_and_are_counted() -> None:
    """Up to MMCore 12.2.2 they do; what was lost is then not known, what follows is."""
    stream = stream_of(ScriptedCore([0, 1, 2, 0, 1, 3, 0]))
    assert numbers_of(stream) == [0, 1, 2, 3, 4, 6, 7]
    assert stream.counts["renumbered"] == 2


def test_a_core_without_image_numbers_is_counted_by_us() -> None:
    assert numbers_of(stream_of(ScriptedCore([-1, -1, -1]))) == [0, 1, 2]


def test_a_frame_that_cannot_be_read_is_a_gap() -> None:
    stream = stream_of(ScriptedCore([0, TORN, 2]))
    assert numbers_of(stream) == [0, 2]
    assert stream.counts["incomplete"] == 1


def test_after_a_new_region_the_numbers_go_on_and_the_rest_is_asked_for() -> None:
    core = ScriptedCore([0, 1, 2], [0, 1, 2, 3, 4, 5, 6], shapes=[SHAPE, (4, 4)])
    stream = stream_of(core, n_frames=10)
    frames = list(stream.frames(Slots()))
    assert [frame.camera_seq for frame in frames] == list(range(10))
    assert [frame.shape for frame in frames] == [SHAPE] * 3 + [(4, 4)] * 7
    assert core.started == [10, 7]
    assert stream.counts["changed_under_us"] == 1
    assert not stream.counts["renumbered"]


def test_an_overflow_is_told_after_everything_was_delivered() -> None:
    core = ScriptedCore([0, 1, 2])
    core.overflow = True
    stream, found = stream_of(core), []
    with pytest.raises(CameraError, match="buffer of 80 frames was full after 3 frames"):
        found.extend(stream.frames(Slots()))
    assert len(found) == 3


@pytest.mark.parametrize(("free", "waited"), [(10, False), (60, True)])
def test_a_full_ring_is_waited_for_until_an_eighth_of_the_buffer_is_left(
    free: int, waited: bool
) -> None:
    core = ScriptedCore([0, 1])
    core.free = free
    asked: list[float] = []

    def get_slot(shape: tuple[int, int], dtype: str, timeout_s: float) -> Frame | None:
        asked.append(timeout_s)
        # It takes the reader 40 ms.
        return np.zeros(shape, np.dtype(dtype)) if sum(asked) > 0.04 else None

    found: list[str] = []
    with pytest.raises(CameraError, match="ended by itself"):
        found.extend(frame.discarded for frame in stream_of(core).frames(get_slot))
    assert found == ([""] * 2 if waited else ["ring_full"] * 2)


def test_saturated_pixels_are_told() -> None:
    form = Format(
        shape=SHAPE, dtype="<u2", bit_depth=9, roi=(0, 0, 16, 8), binning=1, exposure_us=1000
    )
    # The scripted pixels are the ImageNumber; 511 is the top of 9 bits.
    core, found = ScriptedCore([0, 510, 511]), []
    core.bits = 9
    stream = stream_of(core, form=form)
    with pytest.raises(CameraError, match="ended by itself"):
        found.extend(stream.frames(Slots()))
    assert [bool(frame.flags & FrameFlags.SATURATED) for frame in found] == [False, False, True]


class Sender:
    """Stands for a ``FrameSender``: keeps what it is given, takes it or not."""

    def __init__(self, *, takes: bool) -> None:
        self.sent: list[dict[str, Any]] = []
        self._takes = takes

    def send(self, pixels: Frame, **facts: Any) -> bool:
        self.sent.append({"pixels": pixels.copy(), **facts})
        return self._takes


class TwoCameras(ScriptedCore):
    """Frames of two channels by turns, each with its own numbers."""

    def pop(self, *, tags: bool) -> Taken:
        pixels, told = super().pop(tags=tags)
        channel, number = divmod(told.image_number, 100)
        return Taken(pixels, structs.replace(told, channel=channel, image_number=number))


@pytest.mark.parametrize("takes", [True, False])
def test_frames_of_another_channel_go_on_with_their_own_numbers(*, takes: bool) -> None:
    core, sender = TwoCameras([0, 100, 1, 101, 103, 2]), Sender(takes=takes)
    stream = stream_of(core, n_channels=2)
    stream._forward = {1: sender}
    assert numbers_of(stream) == [0, 1, 2]
    assert [frame["camera_seq"] for frame in sender.sent] == [0, 1, 3]
    assert {frame["channel"] for frame in sender.sent} == {1}
    assert {frame["exposure_us"] for frame in sender.sent} == {1000}
    assert [int(frame["pixels"][0, 0]) for frame in sender.sent] == [100, 101, 103]
    # One that takes nothing is not waited for again.
    assert [frame["timeout_s"] > 0 for frame in sender.sent] == [True, takes, takes]
    assert stream.counts["forwarded" if takes else "not_forwarded"] == 3


def test_frames_of_a_channel_nobody_wants_are_counted() -> None:
    stream = stream_of(TwoCameras([0, 100, 1, 101, 2]), n_channels=2)
    assert numbers_of(stream) == [0, 1, 2]
    assert stream.counts["channel_not_taken"] == 2


def test_the_other_channels_frames_are_waited_for_at_the_end() -> None:
    """``n_frames`` is of every camera; the last one of ours need not be the last of all."""
    core, sender = TwoCameras([0, 1, 2, 100, 101, 102]), Sender(takes=True)
    stream = stream_of(core, n_channels=2, n_frames=3)
    stream._forward = {1: sender}
    assert [frame.camera_seq for frame in stream.frames(Slots())] == [0, 1, 2]
    assert [frame["camera_seq"] for frame in sender.sent] == [0, 1, 2]


def test_a_wait_ends_when_the_next_frame_is_due() -> None:
    pace = Pace(10_000_000)
    pace.came(1_000_000_000)
    assert pace.wait_s(1_002_000_000) == pytest.approx(0.008)
    # Late by now: asked for again soon.
    assert pace.wait_s(1_011_000_000) == pytest.approx(0.0005)


def test_the_period_is_learnt_and_a_pause_is_not_one() -> None:
    pace, t_ns = Pace(10_000_000), 0
    for _ in range(200):
        t_ns += 12_000_000
        pace.came(t_ns)
    t_ns += 3_000_000_000
    pace.came(t_ns)
    assert pace.wait_s(t_ns) == pytest.approx(0.012, rel=0.01)


@given(
    period_ns=st.integers(0, 20_000_000_000),
    steps_ns=st.lists(st.integers(-1_000_000, 30_000_000_000), max_size=20),
)
def test_a_wait_is_never_long_nor_nothing(period_ns: int, steps_ns: list[int]) -> None:
    pace, t_ns = Pace(period_ns), 1_000_000_000
    for step_ns in steps_ns:
        t_ns += step_ns
        pace.came(t_ns)
        assert 0.0002 <= pace.wait_s(t_ns) <= 0.02
        assert 0.0002 <= pace.wait_s(t_ns + 50_000_000) <= 0.02
