"""What is known of an image before it is sent: by its axes, its array and its tags."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from livedenoise.client.hooking import axes
from livedenoise.client.hooking.axes import AxesFacts, Lookup
from livedenoise.client.hooking.beside import denoised_axes
from livedenoise.client.hooking.image import (
    camera_channel,
    is_frozen,
    obstacle,
    placing_of,
)
from livedenoise.client.hooking.lines import borrow, give_back
from livedenoise.client.hooking.words import Words
from livedenoise.core.errors import BusError
from livedenoise.micromanager.tags import Placing

NOBODY = "tcp://127.0.0.1:9"


def lookup(events: object = None, **options: Any) -> Lookup:
    made = Lookup(options.get("exposure_ms"), options.get("role"), options.get("channel"))
    if events is not None:
        made.expect(events)
    return made


@given(
    st.lists(
        st.tuples(st.integers(0, 50), st.sampled_from(["DAPI", "FITC"])), unique=True, min_size=1
    ),
    st.randoms(use_true_random=False),
)
def test_an_image_is_found_by_its_axes_whatever_their_order(axes: Any, random: Any) -> None:
    events = [
        {"axes": {"time": time, "channel": name}, "exposure": index + 0.5}
        for index, (time, name) in enumerate(axes)
    ]
    known = lookup(events)
    order = list(range(len(events)))
    random.shuffle(order)
    for index in order:
        reversed_axes = dict(reversed(events[index]["axes"].items()))
        facts = known(reversed_axes)
        assert (facts.event, facts.exposure_us) == (index, 1000 * index + 500)
    assert known.unknown == 0
    assert known({"time": 99}).event == -1
    assert known.unknown == 1


def test_events_go_on_counting_and_the_oldest_are_forgotten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(axes, "MAX_EVENTS", 3)
    known = lookup([{"axes": {"time": n}} for n in range(2)])
    known.expect([{"axes": {"time": n}} for n in range(10, 12)])
    assert [known({"time": n}).event for n in (0, 1, 10, 11)] == [-1, 1, 2, 3]


def test_an_image_belongs_to_the_event_that_was_expected_when_it_came() -> None:
    asked: list[int] = []

    def role(axes: Any) -> str:
        asked.append(axes["time"])
        return "low"

    known = lookup([{"axes": {"time": 0}, "exposure": 5}], role=role)
    facts = known.begin({"time": 0})
    known.expect([{"axes": {"time": 0}, "exposure": 50}])
    assert asked == [], "the user's functions are not called while the acquisition waits"
    assert facts() == AxesFacts(event=0, exposure_us=5000, role="low")
    assert known({"time": 0}) == AxesFacts(event=1, exposure_us=50_000, role="low")


def test_the_axis_the_engine_adds_for_cameras_does_not_hide_the_event() -> None:
    known = lookup([{"axes": {"time": 4}, "exposure": 7}])
    assert known({"time": 4, "camera": "Camera-2"}) == AxesFacts(event=0, exposure_us=7000)


def test_the_option_goes_before_the_event_and_unknown_is_zero() -> None:
    events = [{"axes": {"time": 0}, "exposure": 7}, {"axes": {"time": 1}}]
    assert [lookup(events)({"time": n}).exposure_us for n in range(2)] == [7000, 0]
    assert lookup(events, exposure_ms=2.5)({"time": 0}).exposure_us == 2500
    by_channel = lookup(exposure_ms={"DAPI": 3}, role={"DAPI": "low"}, channel={"DAPI": 5})
    assert by_channel({"channel": "DAPI"}) == AxesFacts(exposure_us=3000, role="low", channel=5)
    assert by_channel({"channel": "FITC"}) == AxesFacts()


def test_channel_names_are_numbered_by_the_events_first() -> None:
    known = lookup([{"axes": {"channel": name}} for name in ("B", "A")])
    assert [known({"channel": name}).channel for name in ("A", "B", "C", 7)] == [1, 0, 2, 7]


@pytest.mark.parametrize("events", [7, "events", [1], [{"axis": {}}], (e for e in ())])
def test_what_is_no_list_of_events_is_refused(events: object) -> None:
    with pytest.raises(BusError, match=r"not a list|not an event"):
        lookup(events)


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        (np.zeros((4, 5), np.uint16), ""),
        (np.zeros((4, 5), np.uint8), ""),
        (np.zeros((4, 5), ">u2"), "dtype"),
        (np.zeros((4, 5), np.int16), "dtype"),
        (np.zeros((4, 5), np.uint32), "dtype"),
        (np.zeros((4, 5, 3), np.uint8), "colour"),
        (np.zeros((3, 4, 5), np.uint16), "shape"),
        (np.zeros((0, 5), np.uint16), "shape"),
        (np.zeros((1, 16385), np.uint8), "shape"),
        ([[1, 2]], "no_array"),
        (None, "no_array"),
    ],
)
def test_which_images_are_frames(image: object, reason: str) -> None:
    assert obstacle(image) == reason


def test_only_immutable_memory_is_kept_without_a_copy() -> None:
    data = bytes(40)
    assert is_frozen(np.frombuffer(data, np.uint16).reshape(4, 5))
    assert not is_frozen(np.frombuffer(data, np.uint16).reshape(4, 5)[:, ::2])
    assert not is_frozen(np.frombuffer(bytearray(data), np.uint16).reshape(4, 5))
    owned = np.zeros((4, 5), np.uint16)
    hidden = owned[:]
    hidden.flags.writeable = False
    assert not is_frozen(owned)
    assert not is_frozen(hidden)


def test_the_region_is_told_in_sensor_pixels_and_kept_where_tags_are_silent() -> None:
    sequence = {"ROI-X-start": "4", "ROI-Y-start": "6", "Binning": "2"}
    placing = placing_of(sequence, Placing())
    assert placing == Placing(8, 12, 2)
    assert placing_of({}, placing) == placing
    assert placing_of({"ROI": "3-5-64-48", "Binning": "1"}, Placing()) == Placing(3, 5, 1)
    assert placing_of({"ROI": "", "Binning": "none"}, Placing()) == Placing()
    assert placing_of({"Binning": "2x2", "ROI-X-start": "16"}, Placing(0, 8, 1)) == Placing(
        32, 8, 2
    )
    assert camera_channel({"Multi Camera-CameraChannelIndex": "1"}) == 1
    assert camera_channel({"Camera": "x"}) == 0


def test_denoised_images_have_axes_of_their_own() -> None:
    assert denoised_axes({"time": 1, "channel": "DAPI"}) == {"time": 1, "channel": "DAPI denoised"}
    assert denoised_axes({"time": 1}) == {"time": 1, "denoised": 1}
    assert denoised_axes({"channel": 2}) == {"channel": 2, "denoised": 1}


def test_a_line_tells_all_its_users_and_the_log_once(caplog: pytest.LogCaptureFixture) -> None:
    first, second = Words(), Words()
    line = borrow(NOBODY, keys=None, buffer_mb=1, words=first)
    try:
        assert borrow(NOBODY, keys=None, buffer_mb=3, words=second) is line
        assert line._buffer_bytes == 3 << 20
        line._warn("a", "something")
        assert first.said == second.said == ["something"]
        assert len(caplog.records) == 1
        give_back(line, keys=None, words=first, linger_s=0.0)
        line._warn("b", "more")
        assert first.said == ["something"]
        assert second.said == ["something", "more"]
    finally:
        give_back(line, keys=None, words=second, linger_s=0.0)


def test_each_thing_is_said_once_and_not_without_end() -> None:
    words = Words()
    for _ in range(3):
        words.warn("a", "first")
    for number in range(300):
        words.warn(str(number), "more")
    assert words.said[0] == "first"
    assert len(words.said) == 100
