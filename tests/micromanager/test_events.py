"""Commanded exposures: each frame has the one its header says, by hardware and one by one."""

from __future__ import annotations

from itertools import islice
from typing import Any

import numpy as np
import pytest
from demo_kit import Slots, core_of, demo_camera, streaming
from hypothesis import given
from hypothesis import strategies as st

from livedenoise.core.camera import Event
from livedenoise.core.errors import CameraError
from livedenoise.micromanager.batches import batch_sizes, event_at

LIT = {
    "PixelType": "16bit",
    "Mode": "Noise",
    "OnCameraCCDXSize": 64,
    "OnCameraCCDYSize": 64,
    "Photon Flux": 50,
    "Photon Conversion Factor": 1,
}
"""DemoCamera's noise mode: 100 counts of offset and 50 electrons a millisecond, 1 per count."""
CYCLE = (
    Event(index=0, exposure_us=2_000, role="low"),
    Event(index=1, exposure_us=2_000, role="low"),
    Event(index=2, exposure_us=20_000, role="high"),
)


def lit_camera(sequences: str, cycle: tuple[Event, ...] = CYCLE) -> Any:
    events = [{"exposure_us": event.exposure_us, "role": event.role} for event in cycle]
    return demo_camera(
        properties={"Camera": LIT | {"UseExposureSequences": sequences}}, event=tuple(events)
    )


@pytest.mark.parametrize("sequences", ["No", "Yes"], ids=["one by one", "by hardware"])
def test_each_frame_was_exposed_as_its_header_says(sequences: str) -> None:
    with streaming(lit_camera(sequences), exposure_us=0, events=CYCLE, n_frames=15) as (camera, _):
        slots = Slots()
        frames = list(camera.frames(slots))
        by_hardware = camera.counters().get("hardware_sequenced", 0)
    assert by_hardware == (sequences == "Yes")
    assert [frame.event for frame in frames] == list(range(15))
    assert [frame.role for frame in frames] == ["low", "low", "high"] * 5
    assert [frame.camera_seq for frame in frames] == list(range(15))
    for frame, pixels in zip(frames, slots.frames, strict=True):
        electrons = 50 * frame.exposure_us / 1000
        # Two truncations of DemoCamera cost a count; the mean of 4096 pixels is good to 0.5.
        assert pixels.mean() == pytest.approx(99.5 + electrons, abs=2.5), frame


@pytest.mark.parametrize("sequences", ["No", "Yes"], ids=["one by one", "by hardware"])
def test_events_end_in_order_when_stopped_and_start_again(sequences: str) -> None:
    request = {"exposure_us": 0, "events": CYCLE}
    with streaming(lit_camera(sequences), **request) as (camera, _):
        for _ in range(2):
            frames = camera.frames(Slots())
            assert [frame.event for frame in islice(frames, 7)] == list(range(7))
            camera.stop()
            # What was exposed before the stop may still come, in order.
            rest = [frame.event for frame in frames]
            assert rest == list(range(7, 7 + len(rest)))
            camera.start()


def test_a_long_run_of_a_hardware_sequence_is_made_of_bounded_batches() -> None:
    cycle = (
        Event(index=0, exposure_us=1_000, role="low"),
        Event(index=1, exposure_us=2_000, role="high"),
    )
    with streaming(lit_camera("Yes", cycle), exposure_us=0, events=cycle, n_frames=230) as (
        camera,
        _,
    ):
        slots = Slots()
        frames = list(camera.frames(slots))
    assert [frame.event for frame in frames] == list(range(230))
    means = np.array([pixels.mean() for pixels in slots.frames])
    low = np.array([frame.role == "low" for frame in frames])
    assert means[low].max() < 160 < means[~low].min()


def test_a_frame_missing_from_a_hardware_sequence_is_not_given_a_wrong_exposure() -> None:
    with streaming(lit_camera("Yes"), exposure_us=0, events=CYCLE) as (camera, _):
        frames = camera.frames(Slots())
        next(frames)
        core = core_of(camera)
        core.pop(tags=False) if core.remaining() else _pop_next(core)
        with pytest.raises(CameraError, match="came where 1 was due: its exposure is not known"):
            list(frames)


def _pop_next(core: Any) -> None:
    while not core.remaining():
        pass
    core.pop(tags=False)


def test_events_of_a_refused_exposure_name_it() -> None:
    """DemoCamera would keep the exposure it had, without a word."""
    cycle = (Event(index=0, exposure_us=1_000), Event(index=1, exposure_us=60_000_000))
    with (
        pytest.raises(CameraError, match="60000000 was asked for, the camera took 1000"),
        streaming(lit_camera("No", cycle), exposure_us=0, events=cycle),
    ):
        pass


@given(cycle=st.integers(1, 300), n_frames=st.integers(1, 2000))
def test_batches_are_whole_cycles_and_sum_up(cycle: int, n_frames: int) -> None:
    sizes = list(batch_sizes(cycle, n_frames))
    assert sum(sizes) == n_frames
    assert all(size % cycle == 0 for size in sizes[:-1])
    assert all(size <= max(100, cycle) for size in sizes)


@given(counts=st.lists(st.integers(0, 10_000), min_size=2, unique=True))
def test_an_event_index_is_never_used_twice(counts: list[int]) -> None:
    assert len({event_at(CYCLE, count).index for count in counts}) == len(counts)
    for count in counts:
        assert event_at(CYCLE, count).role == CYCLE[count % 3].role
