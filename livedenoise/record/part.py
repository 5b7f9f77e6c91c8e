"""One part file of a recording: its name, its format, and the range of frames in it.

Knows: which frames have the format of a part and when a part is full.
Must not know: sidecars, gaps, acknowledgement.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from livedenoise.core.frame import FrameHeader
from livedenoise.record.bigtiff import SOFTWARE, BigTiffAppender
from livedenoise.record.raw_file import OpenFile


class PartSummary(msgspec.Struct, frozen=True, kw_only=True):
    """One part file: its pages, their format, and the frames in it."""

    file: str
    pages: int
    bytes: int
    epoch: int
    height: int
    width: int
    dtype: str
    first_seq: int
    last_seq: int


class Part:
    """One open part file and the range of frames in it."""

    def __init__(self, folder: Path, number: int, header: FrameHeader, open_file: OpenFile) -> None:
        self.number = number
        self._first = header
        self._first_seq = -1
        self._last_seq = -1
        self.tiff = BigTiffAppender(
            folder / part_name(number), open_file, description=_description(header, number)
        )

    def fits(self, header: FrameHeader) -> bool:
        """Return whether a frame has this part's format."""
        return _format(header) == _format(self._first)

    def has_room(self, header: FrameHeader, size_bytes: int) -> bool:
        """Return whether a frame fits; a part holds at least one, however large."""
        return self.tiff.n_pages == 0 or self.tiff.size_bytes + header.nbytes <= size_bytes

    def note(self, seq: int) -> None:
        """Count a frame that is written."""
        if self._first_seq < 0:
            self._first_seq = seq
        self._last_seq = seq

    def summary(self) -> PartSummary:
        """Return what the part holds."""
        return PartSummary(
            file=self.tiff.path.name,
            pages=self.tiff.n_pages,
            bytes=self.tiff.size_bytes,
            epoch=self._first.epoch,
            height=self._first.height,
            width=self._first.width,
            dtype=self._first.dtype,
            first_seq=self._first_seq,
            last_seq=self._last_seq,
        )


def part_name(number: int) -> str:
    """Return the file name of a part."""
    return f"part-{number:04d}.tif"


def _format(header: FrameHeader) -> tuple[object, ...]:
    return (
        header.epoch,
        header.shape,
        header.dtype,
        header.bit_depth,
        header.roi_x,
        header.roi_y,
        header.binning,
        header.calibration,
    )


def _description(header: FrameHeader, part: int) -> dict[str, object]:
    return {
        "software": SOFTWARE,
        "run_id": header.run_id,
        "camera": header.camera,
        "stream": header.stream,
        "part": part,
        "epoch": header.epoch,
        "bit_depth": header.bit_depth,
        "exposure_us": header.exposure_us,
        "roi_x": header.roi_x,
        "roi_y": header.roi_y,
        "binning": header.binning,
        "calibration": header.calibration,
    }
