"""What a frame's tags say, as text or numbers, complete or not."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from livedenoise.core.errors import CameraError
from livedenoise.micromanager.tags import FrameTags, Placing, binning_of, parse_tags, placing

NOW = datetime(2026, 11, 21, 17, 31, 51, 500_000)  # noqa: DTZ001  the core writes local time
TAGS = {
    "Width": "128",
    "Height": "64",
    "PixelType": "GRAY16",
    "ROI-X-start": "10",
    "ROI-Y-start": "20",
    "Binning": "2",
    "ImageNumber": "7",
    "ElapsedTime-ms": "11.07",
    "TimeReceivedByCore": "2026-11-21 17:31:51.402713",
    "Camera": "Left",
}


def parsed(**changes: Any) -> Any:
    tags = {key: value for key, value in (TAGS | changes).items() if value is not None}
    return parse_tags(tags, wall_s=NOW.timestamp)


def test_everything_is_read() -> None:
    tags = parsed()
    assert (tags.shape, tags.dtype, tags.camera, tags.channel) == ((64, 128), "<u2", "Left", 0)
    assert (tags.roi_x, tags.roi_y, tags.binning) == (10, 20, 2)
    assert (tags.image_number, tags.elapsed_ns) == (7, 11_070_000)
    assert tags.age_ns == pytest.approx(97_287_000, abs=1000)


def test_numbers_are_as_good_as_text() -> None:
    assert parsed(Width=128, Height=64.0, ImageNumber=7) == parsed()


def test_what_is_missing_is_told_as_missing() -> None:
    tags = parse_tags({"PixelType": "GRAY8"})
    assert (tags.image_number, tags.elapsed_ns, tags.age_ns) == (-1, -1, -1)
    assert (tags.roi_x, tags.roi_y, tags.binning, tags.channel) == (-1, -1, 0, 0)
    assert tags.dtype == "|u1"


@pytest.mark.parametrize(
    ("text", "binning"),
    [("2", 2), ("2x2", 2), ("Binning 4x4", 4), (8, 8), ("0", 1), ("", 1), (None, 1), ("999", 1)],
)
def test_binning_is_read_by_one_rule(text: object, binning: int) -> None:
    assert binning_of(text) == binning
    assert parsed(Binning=text).binning == binning_of(text, 0)


def test_the_engines_way_to_write_a_region_is_understood() -> None:
    silent = {"ROI-X-start": None, "ROI-Y-start": None}
    assert (parsed(**silent, ROI="3-5-64-48").roi_x, parsed(**silent, ROI="3-5").roi_x) == (3, -1)
    assert parsed(ROI="3-5-64-48").roi_x == 10


def test_what_a_frame_does_not_say_of_its_place_is_as_known() -> None:
    told = FrameTags(roi_x=4, roi_y=6, binning=2)
    assert placing(told, roi=(1, 1), binning=1) == Placing(8, 12, 2)
    assert placing(FrameTags(), roi=(30, 40), binning=2) == Placing(30, 40, 2)
    assert placing(FrameTags(roi_x=4), roi=(30, 40), binning=2) == Placing(8, 40, 2)


@pytest.mark.parametrize(
    "tags",
    [
        {"Both-CameraChannelIndex": "1"},
        {"CameraChannelIndex": 0, "Both-CameraChannelIndex": "1"},
        {"Both-CameraChannelIndex": "1", "CameraChannelIndex": 0},
        {"CameraChannelIndex": "1"},
    ],
)
def test_the_channel_is_the_one_the_device_wrote(tags: dict[str, Any]) -> None:
    assert parsed(**tags).channel == 1


@pytest.mark.parametrize("kind", ["RGB32", "GRAY32", "RGB64", ""])
def test_other_pixels_are_refused_with_the_mend(kind: str) -> None:
    with pytest.raises(CameraError, match=f"frames are {kind}, supported are GRAY8, GRAY16"):
        parsed(PixelType=kind)


@pytest.mark.parametrize(
    "received",
    [
        "yesterday",
        None,
        str(NOW + timedelta(seconds=1)),
        # An hour out: the clock was set, or daylight saving ended, meanwhile.
        str(NOW - timedelta(hours=1)),
    ],
)
def test_an_age_that_cannot_be_is_not_believed(received: str | None) -> None:
    assert parsed(TimeReceivedByCore=received).age_ns == -1
