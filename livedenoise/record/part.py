"""One part file of a recording: its name and its format.

Knows: which frames have the format of a part, when a part is full, which files of a folder are
parts. Must not know: sidecars, gaps, acknowledgement.
"""

from __future__ import annotations

import re
from pathlib import Path

import msgspec

from livedenoise.core.errors import ConfigError
from livedenoise.core.frame import FrameHeader
from livedenoise.record.bigtiff import SOFTWARE, BigTiffAppender
from livedenoise.record.raw_file import OpenFile

_NAME = re.compile(r"part-([0-9]{4,9})\.tif")
_ASIDE = re.compile(r"unacknowledged-([0-9]{4,9})\.tif")


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
    """One open part file."""

    def __init__(self, folder: Path, number: int, header: FrameHeader, open_file: OpenFile) -> None:
        self.number = number
        self._first = header
        self.tiff = BigTiffAppender(
            folder / part_name(number), open_file, description=_description(header, number)
        )

    def fits(self, header: FrameHeader) -> bool:
        """Return whether a frame has this part's format."""
        return _format(header) == _format(self._first)

    def has_room(self, header: FrameHeader, size_bytes: int) -> bool:
        """Return whether a frame fits; a part holds at least one, however large."""
        return self.tiff.n_pages == 0 or self.tiff.size_bytes + header.nbytes <= size_bytes


def part_name(number: int) -> str:
    """Return the file name of a part."""
    return f"part-{number:04d}.tif"


def is_part_name(name: str) -> bool:
    """Return whether a file of this name is a part."""
    return _NAME.fullmatch(name) is not None


def set_aside_name(number: int) -> str:
    """Return the file name of a part none of whose frames was ever acknowledged."""
    return f"unacknowledged-{number:04d}.tif"


def part_sizes(folder: Path, *, aside: bool = False) -> dict[int, int]:
    """Return the part files of a folder: size in bytes by number, in order.

    Parameters
    ----------
    aside : bool
        Return those set aside instead.

    Raises
    ------
    ConfigError
        If the folder cannot be read.
    """
    pattern = _ASIDE if aside else _NAME
    try:
        found = [(pattern.fullmatch(path.name), path) for path in folder.iterdir()]
        return dict(sorted((int(name[1]), path.stat().st_size) for name, path in found if name))
    except OSError as error:
        raise ConfigError(f"{folder}: cannot be read: {error}") from error


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
