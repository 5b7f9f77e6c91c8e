"""The core of recording: frames of one stream to part files, a sidecar and an index.

Knows: when a frame counts as written, when a new part begins, which frame numbers are missing.
Must not know: rings, sockets, processes, other streams.

A frame is acknowledged when ``append`` returns: its pixels and then its sidecar line have both
been taken by the operating system, so they survive the death of this process. After the first
error nothing more is taken (DataLossError), but what was acknowledged stays readable and
``finalise`` still closes it: pages, sidecar frames and index agree.

The successor of a killed recorder goes on with ``Recorder.resume``: in the same sidecar, in a part
of its own. A frame acknowledged already is not written twice.
"""

from __future__ import annotations

from pathlib import Path
from typing import Self

from livedenoise.core.errors import ConfigError, DataLossError, RecordError
from livedenoise.core.frame import SUPPORTED_DTYPES, Frame, FrameHeader
from livedenoise.record.bigtiff import SOFTWARE
from livedenoise.record.index import INDEX_NAME, RecordSummary, summarise, write_index
from livedenoise.record.leftover import Leftover, take_over
from livedenoise.record.part import Part
from livedenoise.record.raw_file import OpenFile, open_existing, open_new, sync_folder
from livedenoise.record.sidecar import (
    SIDECAR_NAME,
    SIDECAR_VERSION,
    GapLine,
    Line,
    SidecarWriter,
    StreamLine,
    epoch_line,
    frame_line,
)
from livedenoise.record.survey import survey_stream
from livedenoise.record.tally import Tally

__all__ = ["INDEX_NAME", "MISSING", "RecordSummary", "Recorder"]

MISSING = "missing"
"""Reason of a gap that nobody announced."""


class Recorder:
    """Writes one stream into a folder of its own.

    Parameters
    ----------
    folder : Path
        Created when it does not exist; must not hold a recording.
    stream : str
        ``"raw"`` or ``"clean"``.
    part_size_bytes : int
        A part file that would grow beyond this is closed and the next one begun.
    fsync_every : int
        Frames between two fsync; 0 leaves it to the operating system.
    open_file : callable
        Creates files; tests put fault files here.
    reopen : callable
        Opens the sidecar of a killed predecessor.
    left : Leftover, optional
        What a killed predecessor left, ready to go on: use ``resume``.

    Attributes
    ----------
    already_recorded : int
        Frames given to ``append`` that the predecessor had acknowledged.

    Raises
    ------
    RecordError
        If the folder holds a recording or cannot be written.
    """

    def __init__(
        self,
        folder: Path,
        stream: str,
        *,
        part_size_bytes: int,
        fsync_every: int = 0,
        open_file: OpenFile = open_new,
        reopen: OpenFile = open_existing,
        left: Leftover | None = None,
    ) -> None:
        self._folder = folder
        self._stream = stream
        self._part_size_bytes = part_size_bytes
        self._fsync_every = fsync_every
        self._open_file = open_file
        self._left = left
        self._tally = Tally()
        self._next_seq = 0 if left is None else left.next_seq
        self._n_opened = 0 if left is None else left.next_part
        self._sizes: dict[int, int] = {}
        self._part: Part | None = None
        self._error = ""
        self._summary: RecordSummary | None = None
        self.already_recorded = 0
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RecordError(f"{folder}: cannot be created: {error}") from error
        opener = open_file if left is None else reopen
        end = None if left is None else left.end
        self._sidecar = SidecarWriter(folder / SIDECAR_NAME, opener, end=end)
        try:
            self._write_line(_stream_line(stream, left))
        except RecordError:
            self._sidecar.close()
            raise

    @classmethod
    def resume(
        cls,
        folder: Path,
        stream: str,
        *,
        part_size_bytes: int,
        fsync_every: int = 0,
        open_file: OpenFile = open_new,
        reopen: OpenFile = open_existing,
    ) -> Self:
        """Go on where a killed recorder stopped; begin where it had not begun.

        A torn last line of the sidecar is cut off. The numbering goes on, in a new part.

        Raises
        ------
        RecordError
            If what is there is another stream's, damaged by more than a torn line, or cannot be
            written.
        """
        return cls(
            folder,
            stream,
            part_size_bytes=part_size_bytes,
            fsync_every=fsync_every,
            open_file=open_file,
            reopen=reopen,
            left=take_over(folder, stream),
        )

    @property
    def acknowledged(self) -> int:
        """Return how many frames this recorder has written: pixels and sidecar line."""
        return self._tally.frames

    @property
    def next_seq(self) -> int:
        """Return the number after the last one that is a frame or in a gap."""
        return self._next_seq

    @property
    def resumed(self) -> bool:
        """Return whether this goes on with a predecessor's recording."""
        return self._left is not None

    @property
    def notes(self) -> tuple[str, ...]:
        """Return what was found of a predecessor, for people."""
        return () if self._left is None else self._left.notes

    def append(self, header: FrameHeader, pixels: Frame) -> bool:
        """Write one frame; on return it is acknowledged.

        Parameters
        ----------
        header : FrameHeader
            A change of ``epoch``, shape or dtype begins a new part.
        pixels : ndarray
            (Y, X), as the header says, C-contiguous; not copied.

        Returns
        -------
        bool
            False when a killed predecessor had acknowledged this frame: nothing was written.

        Raises
        ------
        RecordError
            If this frame could not be written, or could not be made safe from power loss.
        DataLossError
            If an earlier one could not: nothing more is taken.
        """
        self._refuse_after_error(f"frame {header.seq}")
        left = self._left
        if left is not None and (header.seq in left.recent or header.seq < left.oldest):
            self.already_recorded += 1
            return False
        try:
            self._check(header, pixels)
            self._missing_until(header.seq)
            self._write(self._part_for(header), header, pixels)
            if self._fsync_every and self._tally.frames % self._fsync_every == 0:
                self._sync()
        except RecordError as error:
            self._error = error.message
            raise
        return True

    def note_gap(self, first: int, last: int, reason: str) -> None:
        """Record that frames ``first`` to ``last`` will not come, and why.

        Raises
        ------
        RecordError
            If the line could not be written.
        DataLossError
            If an earlier frame or line could not: nothing more is taken.
        """
        self._refuse_after_error(f"gap {first}..{last}")
        try:
            self._missing_until(first)
            if last >= self._next_seq:
                self._write_gap(max(first, self._next_seq), last, reason)
        except RecordError as error:
            self._error = error.message
            raise

    def finalise(self) -> RecordSummary:
        """Close everything, write index.json and return what the recording holds. Idempotent.

        After ``resume`` the whole sidecar is read again, so that the summary holds everything, and
        every frame is looked for: about 3 s for a million frames.

        Never raises: what cannot be closed or written is named in the summary's ``error``.
        """
        if self._summary is None:
            for close in (self._close_part, self._close_sidecar):
                try:
                    close()
                except (OSError, RecordError) as error:
                    self._error = self._error or f"{self._folder}: not closed cleanly: {error}"
            self._summary = write_index(self._folder, self._summarise(), self._open_file)
        return self._summary

    def _refuse_after_error(self, what: str) -> None:
        if self._error:
            raise DataLossError(
                f"{self._folder}: {what} not recorded: the recording ended with: {self._error}"
            )
        if self._summary is not None:
            raise DataLossError(f"{self._folder}: {what} not recorded: the recording is finalised")

    def _check(self, header: FrameHeader, pixels: Frame) -> None:
        if pixels.shape != header.shape or pixels.dtype.str != header.dtype:
            raise RecordError(
                f"{self._folder}: frame {header.seq}: its header says {header.shape} of "
                f"{header.dtype}, its pixels are {pixels.shape} of {pixels.dtype.str}"
            )
        if header.dtype not in SUPPORTED_DTYPES:
            raise RecordError(
                f"{self._folder}: frame {header.seq}: pixels of {header.dtype} are not recorded, "
                f"only {', '.join(SUPPORTED_DTYPES)}"
            )

    def _missing_until(self, seq: int) -> None:
        if seq > self._next_seq:
            self._write_gap(self._next_seq, seq - 1, MISSING)

    def _write_gap(self, first: int, last: int, reason: str) -> None:
        line = GapLine(first=first, last=last, count=last - first + 1, reason=reason)
        self._write_line(line)
        self._next_seq = last + 1

    def _write_line(self, line: Line) -> None:
        self._sidecar.write(line)
        self._tally.take(line)

    def _part_for(self, header: FrameHeader) -> Part:
        """Return the part a frame belongs to; close the one before and begin it when needed."""
        part = self._part
        new_format = part is None or not part.fits(header)
        if part is not None and not new_format and part.has_room(header, self._part_size_bytes):
            return part
        self._close_part()
        part = self._part = Part(self._folder, self._n_opened, header, self._open_file)
        self._n_opened += 1
        if new_format:
            self._write_line(epoch_line(header, part.number))
        if self._fsync_every:
            self._sync_names()
        return part

    def _write(self, part: Part, header: FrameHeader, pixels: Frame) -> None:
        page = part.tiff.append(pixels)
        try:
            self._write_line(frame_line(header, part.number, page))
        except RecordError as error:
            # A page without its line was never acknowledged: take it back, so that both agree.
            try:
                part.tiff.withdraw_last()
            except RecordError as second:
                raise RecordError(f"{error.message}; {second.message}") from error
            raise
        self._next_seq = max(self._next_seq, header.seq + 1)

    def _close_part(self) -> None:
        part, self._part = self._part, None
        if part is None:
            return
        try:
            if self._fsync_every and part.tiff.n_pages:
                part.tiff.sync()
            part.tiff.close()
        except OSError as error:
            raise RecordError(f"{part.tiff.path}: not closed cleanly: {error}") from error
        finally:
            if part.tiff.n_pages:
                self._sizes[part.number] = part.tiff.size_bytes
            else:
                part.tiff.path.unlink()

    def _close_sidecar(self) -> None:
        try:
            if self._fsync_every:
                self._sidecar.sync()
        finally:
            self._sidecar.close()

    def _sync(self) -> None:
        try:
            if self._part is not None:
                self._part.tiff.sync()
            self._sidecar.sync()
        except OSError as error:
            raise RecordError(
                f"{self._folder}: fsync failed after frame {self._next_seq - 1}: {error}",
                "the last frames are written but may not survive a power loss",
            ) from error

    def _sync_names(self) -> None:
        try:
            sync_folder(self._folder)
        except OSError as error:
            raise RecordError(f"{self._folder}: fsync failed: {error}") from error

    def _summarise(self) -> RecordSummary:
        tally, sizes = self._tally, self._sizes
        if self._left is not None:
            try:
                survey = survey_stream(self._folder)
            except ConfigError as error:
                self._error = self._error or f"what was recorded cannot be counted: {error.message}"
            else:
                tally, sizes = survey.tally, survey.sizes
                self._error = self._error or "; ".join(survey.problems())
        return summarise(tally, self._stream, sizes, error=self._error, notes=self.notes)


def _stream_line(stream: str, left: Leftover | None) -> StreamLine:
    return StreamLine(
        version=SIDECAR_VERSION,
        stream=stream,
        software=SOFTWARE,
        resumed=left is not None,
        torn_bytes=0 if left is None else left.torn_bytes,
    )
