"""What a TIFF file says beside its pixels: bit depth, exposure, frame times.

Knows: our own description, ImageJ, OME-TIFF and Micro-Manager metadata.
Must not know: where frames lie, reading pixels. What is absent stays unknown, never guessed.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, NamedTuple

import tifffile

from livedenoise.acquire.source_base import RecordingFacts, median_period_ns

_MM_TAG = 51123
_SAMPLES = 64
_SECONDS = {"s": 1.0, "sec": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9, "min": 60.0}

FrameTime = Callable[[int], int]
FrameExposure = Callable[[int], int]


class TiffFacts(NamedTuple):
    """Facts; time in nanoseconds and exposure in microseconds of each frame the file has one of."""

    facts: RecordingFacts
    frame_time: FrameTime | None = None
    frame_exposure: FrameExposure | None = None


def read_facts(tiff: tifffile.TiffFile, n_frames: int, *, only_time: bool) -> TiffFacts:
    """Return what the file says; times only where time is the only axis."""
    own = _own_description(tiff)
    if own is not None:
        return TiffFacts(own)
    if tiff.is_micromanager:
        return _micromanager(tiff, n_frames)
    if tiff.is_ome and tiff.ome_metadata:
        return _ome(tiff.ome_metadata, n_frames, only_time=only_time)
    if tiff.is_imagej and tiff.imagej_metadata and only_time:
        metadata = tiff.imagej_metadata
        unit = _SECONDS.get(str(metadata.get("tunit", "s")), 1.0)
        return TiffFacts(RecordingFacts(period_ns=_ns(metadata.get("finterval"), unit)))
    return TiffFacts(RecordingFacts())


def _own_description(tiff: tifffile.TiffFile) -> RecordingFacts | None:
    """Return the facts of a part file of our own recorder."""
    text = tiff.pages.first.description
    if not text.startswith('{"software": "livedenoise'):
        return None
    try:
        content = json.loads(text)
        return RecordingFacts(
            bit_depth=int(content["bit_depth"]),
            exposure_us=int(content["exposure_us"]),
            notes=("one part file of a recording: its frame times are in the folder's sidecar",),
        )
    except (ValueError, KeyError, TypeError):
        return RecordingFacts(notes=("the description of the first page is damaged",))


def _micromanager(tiff: tifffile.TiffFile, n_frames: int) -> TiffFacts:
    """Return what the first page's Micro-Manager tag says; times are read when asked for."""

    def tag(index: int) -> dict[str, Any]:
        page = tiff.pages[index]
        value = page.aspage().tags.valueof(_MM_TAG)
        return value if isinstance(value, dict) else {}

    def frame_time(index: int) -> int:
        return _ns(tag(index).get("ElapsedTime-ms"), 1e-3)

    def frame_exposure(index: int) -> int:
        return _ns(tag(index).get("Exposure-ms"), 1e-3) // 1000

    first = tag(0)
    facts = RecordingFacts(bit_depth=_int(first.get("BitDepth")), exposure_us=frame_exposure(0))
    if len(tiff.pages) < n_frames:
        return TiffFacts(facts)
    if "ElapsedTime-ms" not in first:
        return TiffFacts(facts, None, frame_exposure)
    times = [frame_time(index) for index in range(min(n_frames, _SAMPLES))]
    facts = RecordingFacts(
        bit_depth=facts.bit_depth,
        exposure_us=facts.exposure_us,
        period_ns=median_period_ns(times),
    )
    return TiffFacts(facts, frame_time, frame_exposure)


def _ome(text: str, n_frames: int, *, only_time: bool) -> TiffFacts:
    try:
        pixels = tifffile.xml2dict(text)["OME"]["Image"]
        pixels = (pixels[0] if isinstance(pixels, list) else pixels)["Pixels"]
    except (KeyError, TypeError, SyntaxError, IndexError):
        return TiffFacts(RecordingFacts(notes=("its OME metadata is damaged",)))
    planes = pixels.get("Plane", [])
    planes = planes if isinstance(planes, list) else [planes]
    exposures = [_exposure_us(plane) for plane in planes]
    facts = RecordingFacts(
        bit_depth=_int(pixels.get("SignificantBits")), exposure_us=next(iter(exposures), 0)
    )
    # Planes are listed in the order of the pages by every writer we know of.
    frame_exposure = exposures.__getitem__ if len(exposures) == n_frames else None
    if not only_time:
        return TiffFacts(facts, None, frame_exposure)
    period_ns = _ns(pixels.get("TimeIncrement"), _unit(pixels, "TimeIncrementUnit"))
    timed = {int(p.get("TheT", 0)): p for p in planes if "DeltaT" in p}
    if len(timed) != n_frames or sorted(timed) != list(range(n_frames)):
        return TiffFacts(_with_period(facts, period_ns), None, frame_exposure)
    times = [_ns(timed[t]["DeltaT"], _unit(timed[t], "DeltaTUnit")) for t in range(n_frames)]
    facts = _with_period(facts, period_ns or median_period_ns(times))
    return TiffFacts(facts, times.__getitem__, frame_exposure)


def _exposure_us(plane: dict[str, Any]) -> int:
    return _ns(plane.get("ExposureTime"), _unit(plane, "ExposureTimeUnit")) // 1000


def _with_period(facts: RecordingFacts, period_ns: int) -> RecordingFacts:
    return RecordingFacts(
        bit_depth=facts.bit_depth, exposure_us=facts.exposure_us, period_ns=period_ns
    )


def _unit(element: dict[str, Any], name: str) -> float:
    return _SECONDS.get(str(element.get(name, "s")), 1.0)


def _ns(value: object, unit_s: float) -> int:
    """Return a time as nanoseconds; 0 for what is no time."""
    if isinstance(value, str | int | float):
        try:
            return max(0, round(float(value) * unit_s * 1e9))
        except (ValueError, OverflowError):
            return 0
    return 0


def _int(value: object) -> int:
    try:
        return max(0, int(str(value)))
    except ValueError:
        return 0
