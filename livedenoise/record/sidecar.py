r"""The sidecar of a recording: JSON Lines, one line per frame or gap, appended as they happen.

Knows: what each kind of line holds, how a line is appended whole, how a file that ends in a torn
line is read. Must not know: TIFF, rings, what a gap means to the run.

The first line says the version and the stream; an ``epoch`` line gives the format of the frames
after it; ``frame`` lines give each frame's number, times and place (part, page and the byte offset
of its pixels, so that a reader needs no TIFF library); ``gap`` lines give the numbers of frames
that are not there and why. Keys at their default are left out. New keys may be added; a reader
ignores keys it does not know.

Example
-------
>>> encode(GapLine(first=7, last=9, count=3, reason="ring_full"))
b'{"kind":"gap","first":7,"last":9,"count":3,"reason":"ring_full"}\n'
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, TypeAlias

import msgspec

from livedenoise.core.errors import ConfigError, RecordError
from livedenoise.core.frame import FrameHeader
from livedenoise.record.bigtiff import Page
from livedenoise.record.raw_file import OpenFile, open_new, write_all

SIDECAR_VERSION = 1
SIDECAR_NAME = "frames.jsonl"


class StreamLine(
    msgspec.Struct, frozen=True, kw_only=True, tag="stream", tag_field="kind", omit_defaults=True
):
    """First line: version of this format, ``raw`` or ``clean``, and who wrote it.

    Written again, with ``resumed``, where the successor of a killed recorder goes on;
    ``torn_bytes`` is the half line it cut off. ``rebuilt`` marks a sidecar made from the part files
    alone: numbers count their pages, times are unknown.
    """

    version: int
    stream: str
    software: str = ""
    resumed: bool = False
    torn_bytes: int = 0
    rebuilt: bool = False


class EpochLine(msgspec.Struct, frozen=True, kw_only=True, tag="epoch", tag_field="kind"):
    """Format of the frames that follow, from part file number ``part`` on."""

    epoch: int
    part: int
    run_id: str
    camera: str
    height: int
    width: int
    dtype: str
    bit_depth: int
    roi_x: int = 0
    roi_y: int = 0
    binning: int = 1
    calibration: str = ""


class FrameLine(
    msgspec.Struct, frozen=True, kw_only=True, tag="frame", tag_field="kind", omit_defaults=True
):
    """One frame: ``offset`` is the byte of part ``part`` at which its pixels begin.

    Times are ``core.clock`` nanoseconds as in ``FrameHeader``; 0 means it did not happen.
    """

    seq: int
    epoch: int
    part: int
    page: int
    offset: int
    exposure_us: int
    t_host_ns: int
    camera_seq: int = -1
    t_camera_ns: int = 0
    t_ring_ns: int = 0
    t_infer_start_ns: int = 0
    t_infer_end_ns: int = 0
    t_publish_ns: int = 0
    channel: int = 0
    event: int = -1
    role: str = ""
    flags: int = 0
    model: str = ""


class GapLine(msgspec.Struct, frozen=True, kw_only=True, tag="gap", tag_field="kind"):
    """Frames ``first`` to ``last`` (both included) are not in the recording."""

    first: int
    last: int
    count: int
    reason: str


Line: TypeAlias = StreamLine | EpochLine | FrameLine | GapLine

_ENCODER = msgspec.json.Encoder()
_DECODER: msgspec.json.Decoder[Line] = msgspec.json.Decoder(Line)


def encode(line: Line) -> bytes:
    """Return the bytes of one line, newline included."""
    return _ENCODER.encode(line) + b"\n"


def epoch_line(header: FrameHeader, part: int) -> EpochLine:
    """Return the line that starts the format of ``header``."""
    return EpochLine(
        epoch=header.epoch,
        part=part,
        run_id=header.run_id,
        camera=header.camera,
        height=header.height,
        width=header.width,
        dtype=header.dtype,
        bit_depth=header.bit_depth,
        roi_x=header.roi_x,
        roi_y=header.roi_y,
        binning=header.binning,
        calibration=header.calibration,
    )


def frame_line(header: FrameHeader, part: int, page: Page) -> FrameLine:
    """Return the line of one frame."""
    return FrameLine(
        seq=header.seq,
        epoch=header.epoch,
        part=part,
        page=page.number,
        offset=page.offset,
        exposure_us=header.exposure_us,
        t_host_ns=header.t_host_ns,
        camera_seq=header.camera_seq,
        t_camera_ns=header.t_camera_ns,
        t_ring_ns=header.t_ring_ns,
        t_infer_start_ns=header.t_infer_start_ns,
        t_infer_end_ns=header.t_infer_end_ns,
        t_publish_ns=header.t_publish_ns,
        channel=header.channel,
        event=header.event,
        role=header.role,
        flags=header.flags,
        model=header.model,
    )


class SidecarWriter:
    """Appends lines to a file, each with one ``write()``.

    Parameters
    ----------
    open_file : callable
        Creates the file; with ``end``, opens the one there is.
    end : int, optional
        Bytes of whole lines in an existing file: what follows them is cut off.

    Raises
    ------
    RecordError
        If a new file exists already, or the file cannot be opened or cut.
    """

    def __init__(
        self, path: Path, open_file: OpenFile = open_new, *, end: int | None = None
    ) -> None:
        self.path = path
        self._end = end or 0
        self._closed = False
        try:
            self._file = open_file(path)
        except FileExistsError:
            raise RecordError(f"{path}: exists already", "choose another folder") from None
        except OSError as error:
            what = "created" if end is None else "opened"
            raise RecordError(f"{path}: cannot be {what}: {error}") from error
        if end is not None:
            failed = self._cut()
            if failed:
                self.close()
                raise RecordError(f"{path}: cannot go on{failed}")

    def write(self, line: Line) -> None:
        """Append one line; on return the operating system has all of it.

        Raises
        ------
        RecordError
            If the file takes no more. All earlier lines stay, the torn one is cut off.
        """
        content = encode(line)
        try:
            self._file.seek(self._end)
            write_all(self._file, memoryview(content))
        except OSError as error:
            raise RecordError(f"{self.path}: line not written: {error}{self._cut()}") from error
        self._end += len(content)

    def sync(self) -> None:
        """Make all lines survive a power loss.

        Raises
        ------
        OSError
            If the system cannot.
        """
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file. Idempotent.

        Raises
        ------
        OSError
            If the system reports a late write error.
        """
        if not self._closed:
            self._closed = True
            self._file.close()

    def _cut(self) -> str:
        try:
            self._file.truncate(self._end)
        except OSError as error:
            return f" (the torn line could not be cut off: {error})"
        return ""


class Scanned(NamedTuple):
    """One line as found: its number, the bytes up to its end, and the line or its damage."""

    number: int
    end: int
    line: Line | None
    damage: str


def scan(path: Path, start: int = 0) -> Iterator[Scanned]:
    """Yield every line of a sidecar, damaged ones too.

    Parameters
    ----------
    start : int
        Byte to start at; the line it lies in is left out, unless it is the first.

    Raises
    ------
    ConfigError
        If the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            file.seek(max(0, start - 1))
            end = max(0, start - 1)
            if start > 0:
                end += len(file.readline())
            for number, content in enumerate(file, start=1):
                end += len(content)
                try:
                    if not content.endswith(b"\n"):
                        raise msgspec.DecodeError("the line has no end")  # noqa: TRY301
                    line = _DECODER.decode(content)
                except (msgspec.DecodeError, UnicodeDecodeError) as error:
                    yield Scanned(number, end, None, f"{number}: not a line of a sidecar: {error}")
                else:
                    yield Scanned(number, end, line, "")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from error


class SidecarReader:
    """Iterates over the lines of a sidecar, whatever its size.

    Attributes
    ----------
    torn : str
        After iterating: what is wrong with the last line, empty when it is whole. A torn last line
        is what a killed writer leaves; it was never acknowledged and is not yielded.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.torn = ""

    def __iter__(self) -> Iterator[Line]:
        """Yield every whole line.

        Raises
        ------
        ConfigError
            If the file cannot be read, or a line other than the last is damaged.
        """
        self.torn = ""
        damage = ""
        for found in scan(self.path):
            if damage:
                raise ConfigError(
                    f"{self.path}:{damage}", "livedenoise recover RUN mends what can be mended"
                )
            # Only the last line may be torn: wait for whether another one follows.
            damage = found.damage
            if found.line is not None:
                yield found.line
        self.torn = damage


class Sidecar(msgspec.Struct, kw_only=True):
    """A sidecar in memory: for short recordings, tests and tools."""

    stream: StreamLine | None = None
    epochs: list[EpochLine] = []
    frames: list[FrameLine] = []
    gaps: list[GapLine] = []
    torn: str = ""


def read_sidecar(path: Path) -> Sidecar:
    """Read a whole sidecar.

    Raises
    ------
    ConfigError
        If it cannot be read, or a line other than the last is damaged.
    """
    reader = SidecarReader(path)
    content = Sidecar()
    for line in reader:
        match line:
            case StreamLine():
                content.stream = line
            case EpochLine():
                content.epochs.append(line)
            case FrameLine():
                content.frames.append(line)
            case GapLine():
                content.gaps.append(line)
    content.torn = reader.torn
    return content
