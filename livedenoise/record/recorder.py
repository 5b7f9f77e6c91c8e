"""The core of recording: frames of one stream to part files, a sidecar and an index.

Knows: when a frame counts as written, when a new part begins, which frame numbers are missing.
Must not know: rings, sockets, processes, other streams.

A frame is acknowledged when ``append`` returns: its pixels and then its sidecar line have both
been taken by the operating system, so they survive the death of this process. After the first
error nothing more is taken (DataLossError), but what was acknowledged stays readable and
``finalise`` still closes it: pages, sidecar frames and index agree.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import msgspec

from livedenoise.core.errors import DataLossError, RecordError
from livedenoise.core.frame import Frame, FrameHeader
from livedenoise.record.bigtiff import SOFTWARE
from livedenoise.record.part import Part, PartSummary
from livedenoise.record.raw_file import OpenFile, open_new, replace_file, sync_folder
from livedenoise.record.sidecar import (
    SIDECAR_NAME,
    SIDECAR_VERSION,
    GapLine,
    SidecarWriter,
    StreamLine,
    epoch_line,
    frame_line,
)

INDEX_NAME = "index.json"
MISSING = "missing"
"""Reason of a gap that nobody announced."""


class RecordSummary(msgspec.Struct, frozen=True, kw_only=True):
    """What a recording holds; also the content of index.json.

    Attributes
    ----------
    frames : int
        Frames acknowledged.
    bytes : int
        Bytes of their pixels.
    gaps : int
        Gap lines in the sidecar.
    missing : dict
        Frames named in them, by reason.
    out_of_order : int
        Frames whose number had been passed already; they are recorded all the same.
    complete : bool
        True when every frame handed over was written; False after any error.
    error : str
        The first error, empty for none.
    """

    version: int
    stream: str
    run_id: str
    camera: str
    frames: int
    bytes: int
    parts: tuple[PartSummary, ...]
    gaps: int
    missing: dict[str, int]
    out_of_order: int
    complete: bool
    error: str


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
        Opens files; tests put fault files here.

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
    ) -> None:
        self._folder = folder
        self._stream = stream
        self._part_size_bytes = part_size_bytes
        self._fsync_every = fsync_every
        self._open_file = open_file
        self._frames = 0
        self._bytes = 0
        self._next_seq = 0
        self._gaps = 0
        self._missing: Counter[str] = Counter()
        self._out_of_order = 0
        self._first_header: FrameHeader | None = None
        self._parts: list[PartSummary] = []
        self._part: Part | None = None
        self._n_opened = 0
        self._error = ""
        self._summary: RecordSummary | None = None
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RecordError(f"{folder}: cannot be created: {error}") from error
        self._sidecar = SidecarWriter(folder / SIDECAR_NAME, open_file)
        try:
            line = StreamLine(version=SIDECAR_VERSION, stream=stream, software=SOFTWARE)
            self._sidecar.write(line)
        except RecordError:
            self._sidecar.close()
            raise

    @property
    def acknowledged(self) -> int:
        """Return how many frames are written: pixels and sidecar line."""
        return self._frames

    def append(self, header: FrameHeader, pixels: Frame) -> None:
        """Write one frame; on return it is acknowledged.

        Parameters
        ----------
        header : FrameHeader
            A change of ``epoch``, shape or dtype begins a new part.
        pixels : ndarray
            (Y, X), as the header says, C-contiguous; not copied.

        Raises
        ------
        RecordError
            If this frame could not be written, or could not be made safe from power loss.
        DataLossError
            If an earlier one could not: nothing more is taken.
        """
        self._refuse_after_error(f"frame {header.seq}")
        try:
            self._check(header, pixels)
            self._follow_seq(header.seq)
            self._write(self._part_for(header), header, pixels)
            if self._fsync_every and self._frames % self._fsync_every == 0:
                self._sync()
        except RecordError as error:
            self._error = error.message
            raise

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

        Never raises: what cannot be closed or written is named in the summary's ``error``.
        """
        if self._summary is None:
            for close in (self._close_part, self._close_sidecar):
                try:
                    close()
                except (OSError, RecordError) as error:
                    self._error = self._error or f"{self._folder}: not closed cleanly: {error}"
            self._summary = self._write_index(self._summarise())
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

    def _follow_seq(self, seq: int) -> None:
        if seq < self._next_seq:
            self._out_of_order += 1
            return
        self._missing_until(seq)
        self._next_seq = seq + 1

    def _missing_until(self, seq: int) -> None:
        if seq > self._next_seq:
            self._write_gap(self._next_seq, seq - 1, MISSING)

    def _write_gap(self, first: int, last: int, reason: str) -> None:
        count = last - first + 1
        self._sidecar.write(GapLine(first=first, last=last, count=count, reason=reason))
        self._next_seq = last + 1
        self._gaps += 1
        self._missing[reason] += count

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
            self._sidecar.write(epoch_line(header, part.number))
        if self._fsync_every:
            self._sync_names()
        return part

    def _write(self, part: Part, header: FrameHeader, pixels: Frame) -> None:
        page = part.tiff.append(pixels)
        try:
            self._sidecar.write(frame_line(header, part.number, page))
        except RecordError as error:
            # A page without its line was never acknowledged: take it back, so that both agree.
            try:
                part.tiff.withdraw_last()
            except RecordError as second:
                raise RecordError(f"{error.message}; {second.message}") from error
            raise
        part.note(header.seq)
        self._first_header = self._first_header or header
        self._frames += 1
        self._bytes += pixels.nbytes

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
                self._parts.append(part.summary())
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
        header = self._first_header
        return RecordSummary(
            version=SIDECAR_VERSION,
            stream=self._stream,
            run_id="" if header is None else header.run_id,
            camera="" if header is None else header.camera,
            frames=self._frames,
            bytes=self._bytes,
            parts=tuple(self._parts),
            gaps=self._gaps,
            missing=dict(self._missing),
            out_of_order=self._out_of_order,
            complete=not self._error,
            error=self._error,
        )

    def _write_index(self, summary: RecordSummary) -> RecordSummary:
        content = msgspec.json.format(msgspec.json.encode(summary), indent=2) + b"\n"
        try:
            replace_file(self._folder / INDEX_NAME, content, self._open_file)
        except OSError as error:
            text = f"{self._folder / INDEX_NAME}: not written: {error}"
            error_text = f"{summary.error}; {text}" if summary.error else text
            return msgspec.structs.replace(summary, complete=False, error=error_text)
        return summary
