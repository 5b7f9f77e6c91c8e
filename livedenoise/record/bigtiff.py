"""BigTIFF, one IFD per frame, appended so that the file is whole at every moment.

Knows: the little-endian BigTIFF layout of uncompressed single-strip grey pages.
Must not know: frame headers, sidecars, rolling over.

Each append writes, in this order, the pixels, the IFD that points to them (its own next pointer
0), and only then the next pointer of the page before. That last write is the commit: until then
readers do not see the new page, after it they see all of it. It overwrites 8 bytes that lie in one
8-byte cell of the file, so it needs no free space and never crosses a page of the page cache, where
a kill could tear it. Hence a SIGKILL or a full disk leaves every earlier page readable.

Sources: TIFF 6.0 (Adobe, 1992) for the tags; the BigTIFF proposal (Aware Systems) for the layout.

Example
-------
>>> with BigTiffAppender(path) as tiff:  # doctest: +SKIP
...     tiff.append(pixels)
Page(number=0, offset=16)
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np

from livedenoise import __version__
from livedenoise.core.errors import RecordError
from livedenoise.core.frame import SUPPORTED_DTYPES, Frame
from livedenoise.record.raw_file import OpenFile, open_new, write_all

SOFTWARE = f"livedenoise {__version__}"

_HEADER = struct.Struct("<2sHHHQ")
HEADER_BYTES = _HEADER.size
_FIRST_POINTER = 8
_COUNT = struct.Struct("<Q")
_ENTRY = struct.Struct("<HHQ8s")
_POINTER = struct.Struct("<Q")
PIXEL_ALIGNMENT = 16
IFD_ALIGNMENT = 8

_ASCII, _SHORT, _LONG, _RATIONAL, _LONG8 = 2, 3, 4, 5, 16
_PACKING = {_SHORT: "<H6x", _LONG: "<I4x", _LONG8: "<Q", _RATIONAL: "<II"}
_SAMPLE_FORMATS = {"u": 1, "f": 3}
_NO_UNIT = 1


class Page(NamedTuple):
    """Where a frame went: its page in the file and the byte offset of its first pixel."""

    number: int
    offset: int


class BigTiffAppender:
    """A growing BigTIFF file of (Y, X) pages.

    Parameters
    ----------
    path : Path
        File to create; it must not exist.
    file_factory : callable
        Opens it; tests put fault files here.
    description : mapping
        Facts for the first page's ImageDescription, written as plain ASCII JSON.

    Raises
    ------
    RecordError
        If the file exists or cannot be created.
    """

    def __init__(
        self,
        path: Path,
        file_factory: OpenFile = open_new,
        *,
        description: Mapping[str, Any] | None = None,
    ) -> None:
        self.path = path
        self._description = json.dumps(description or {}, ensure_ascii=True)
        self._end = _HEADER.size
        self._pointer = _FIRST_POINTER
        self._undo: tuple[int, int] | None = None
        self._n_pages = 0
        self._closed = False
        try:
            self._file = file_factory(path)
        except FileExistsError:
            raise RecordError(f"{path}: exists already", "choose another folder") from None
        except OSError as error:
            raise RecordError(f"{path}: cannot be created: {error}") from error
        try:
            write_all(self._file, memoryview(_HEADER.pack(b"II", 43, 8, 0, 0)))
        except OSError as error:
            self._file.close()
            path.unlink()
            raise RecordError(f"{path}: cannot be written: {error}") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    @property
    def n_pages(self) -> int:
        """Return how many pages the file has."""
        return self._n_pages

    @property
    def size_bytes(self) -> int:
        """Return the size of the file in bytes."""
        return self._end

    def append(self, pixels: Frame) -> Page:
        """Append one page and return where it is; on return the operating system has all of it.

        Parameters
        ----------
        pixels : ndarray
            C-contiguous (Y, X) array of uint8, uint16 or float32, little-endian. Not copied.

        Raises
        ------
        RecordError
            If the file takes no more, or the array cannot be a page. All earlier pages stay
            readable, and the torn tail is cut off.
        """
        data = self._bytes_of(pixels)
        offset = self._end
        ifd_offset = aligned(offset + data.nbytes, IFD_ALIGNMENT)
        ifd, next_pointer = _ifd(pixels, offset, ifd_offset, self._texts())
        padding = bytes(ifd_offset - offset - data.nbytes)
        tail = padding + ifd
        try:
            self._file.seek(offset)
            write_all(self._file, data)
            write_all(self._file, memoryview(tail))
            self._set_pointer(self._pointer, ifd_offset)
        except OSError as error:
            left = self._cut(self._pointer, offset)
            page = self._n_pages
            raise RecordError(f"{self.path}: page {page} not written: {error}{left}") from error
        self._undo = (self._pointer, offset)
        self._pointer = next_pointer
        self._end = offset + data.nbytes + len(tail)
        self._n_pages += 1
        return Page(self._n_pages - 1, offset)

    def withdraw_last(self) -> None:
        """Take the page of the last ``append`` back (once): what describes it was not written.

        Raises
        ------
        RecordError
            If there is no such page, or the file does not let it go.
        """
        if self._undo is None:
            raise RecordError(f"{self.path}: no page to withdraw")
        pointer, offset = self._undo
        left = self._cut(pointer, offset)
        self._pointer, self._end, self._undo = pointer, offset, None
        self._n_pages -= 1
        if left:
            raise RecordError(f"{self.path}: page {self._n_pages} not withdrawn{left}")

    def sync(self) -> None:
        """Make all pages survive a power loss.

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

    def _texts(self) -> tuple[str, str] | None:
        return (self._description, SOFTWARE) if self._n_pages == 0 else None

    def _bytes_of(self, pixels: Frame) -> memoryview:
        if pixels.ndim != 2 or pixels.size == 0 or pixels.dtype.str not in SUPPORTED_DTYPES:
            raise RecordError(
                f"{self.path}: a page is a (Y, X) array of {', '.join(SUPPORTED_DTYPES)}, "
                f"got {pixels.shape} of {pixels.dtype.str}"
            )
        if not pixels.flags.c_contiguous:
            raise RecordError(f"{self.path}: pixels must be C-contiguous: they are never copied")
        return pixels.reshape(-1).view(np.uint8).data

    def _set_pointer(self, position: int, target: int) -> None:
        self._file.seek(position)
        write_all(self._file, memoryview(_POINTER.pack(target)))

    def _cut(self, pointer: int, end: int) -> str:
        """End the chain of pages at ``pointer`` and the file at ``end``; return what failed."""
        problems = []
        try:
            self._set_pointer(pointer, 0)
        except OSError as error:
            problems.append(f"the chain of pages could not be ended: {error}")
        try:
            self._file.truncate(end)
        except OSError as error:
            problems.append(f"the torn tail could not be cut off: {error}")
        return "".join(f" ({problem})" for problem in problems)


def aligned(offset: int, alignment: int) -> int:
    """Return the first multiple of ``alignment`` that is not below ``offset``."""
    return -(-offset // alignment) * alignment


def _ifd(
    pixels: Frame, pixel_offset: int, ifd_offset: int, texts: tuple[str, str] | None
) -> tuple[bytes, int]:
    """Return the bytes of an IFD with its texts, padded, and the position of its next pointer.

    The number of entries is even, so that the next pointer, 8 + 20 n bytes into the IFD, lies in
    one 8-byte cell.
    """
    entries = _page_entries(pixels, pixel_offset)
    extra = b""
    if texts is not None:
        extra_offset = ifd_offset + _ifd_size(len(entries) + len(texts))
        for tag, text in zip((270, 305), texts, strict=True):
            content = text.encode("ascii") + b"\0"
            entries[tag] = _text_entry(tag, content, extra_offset + len(extra))
            extra += content if len(content) > 8 else b""
    body = b"".join(entries[tag] for tag in sorted(entries))
    ifd = _COUNT.pack(len(entries)) + body + _POINTER.pack(0)
    end = ifd_offset + len(ifd) + len(extra)
    padding = bytes(aligned(end, PIXEL_ALIGNMENT) - end)
    return ifd + extra + padding, ifd_offset + len(ifd) - _POINTER.size


def _page_entries(pixels: Frame, pixel_offset: int) -> dict[int, bytes]:
    height, width = pixels.shape
    rows: tuple[tuple[int, int, tuple[int, ...]], ...] = (
        (256, _LONG, (width,)),  # ImageWidth
        (257, _LONG, (height,)),  # ImageLength
        (258, _SHORT, (pixels.itemsize * 8,)),  # BitsPerSample
        (259, _SHORT, (1,)),  # Compression: none
        (262, _SHORT, (1,)),  # PhotometricInterpretation: black is zero
        (273, _LONG8, (pixel_offset,)),  # StripOffsets
        (274, _SHORT, (1,)),  # Orientation: row 0 is the top
        (277, _SHORT, (1,)),  # SamplesPerPixel
        (278, _LONG, (height,)),  # RowsPerStrip
        (279, _LONG8, (pixels.nbytes,)),  # StripByteCounts
        (282, _RATIONAL, (1, 1)),  # XResolution
        (283, _RATIONAL, (1, 1)),  # YResolution
        (296, _SHORT, (_NO_UNIT,)),  # ResolutionUnit
        (339, _SHORT, (_SAMPLE_FORMATS[pixels.dtype.kind],)),  # SampleFormat
    )
    return {
        tag: _ENTRY.pack(tag, kind, 1, struct.pack(_PACKING[kind], *values))
        for tag, kind, values in rows
    }


def _text_entry(tag: int, content: bytes, offset: int) -> bytes:
    value = content if len(content) <= 8 else _COUNT.pack(offset)
    return _ENTRY.pack(tag, _ASCII, len(content), value)


def _ifd_size(n_entries: int) -> int:
    return _COUNT.size + n_entries * _ENTRY.size + _POINTER.size
