"""The pages of a part file, read back: where each one is, and where the chain goes on.

Knows: the layout ``bigtiff`` writes (little-endian BigTIFF, one strip a page), nothing of other
TIFF files. Must not know: sidecars, frame numbers, why a file is damaged.

A page is committed by the pointer of the page before; a page that was never acknowledged is taken
out of the chain by setting that pointer back to 0: 8 bytes in one 8-byte cell, as they were
committed. Its pixels stay in the file.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from livedenoise.core.errors import ConfigError
from livedenoise.record.bigtiff import IFD_ALIGNMENT, PIXEL_ALIGNMENT, aligned

_HEADER = struct.Struct("<2sHHHQ")
_COUNT = struct.Struct("<Q")
_ENTRY = struct.Struct("<HHQ8s")
_MOST_ENTRIES = 64
_MOST_TEXT = 1 << 16
_WIDTH, _HEIGHT, _BITS, _TEXT, _OFFSET, _NBYTES, _FORMAT = 256, 257, 258, 270, 273, 279, 339
_NEEDED = (_WIDTH, _HEIGHT, _BITS, _OFFSET, _NBYTES, _FORMAT)
_DTYPES = {(1, 8): "|u1", (1, 16): "<u2", (3, 32): "<f4"}

FIRST_POINTER = 8
"""Byte at which a file points to its first page."""


class PageFound(NamedTuple):
    """A page: its pixels ((Y, X) of ``dtype`` at ``offset``) and the pointer to the next one.

    ``next_at`` is the byte at which that pointer lies, ``next_ifd`` its value, 0 for the last page;
    ``end`` is where the pixels of a page after this one would begin. ``text`` is the first page's
    ImageDescription.
    """

    offset: int
    nbytes: int
    height: int
    width: int
    dtype: str
    next_at: int
    next_ifd: int
    end: int
    text: str


class PageDamageError(ConfigError):
    """A page cannot be read: its description is torn, or is not one of ours."""


def read_pages(path: Path) -> Iterator[PageFound]:
    """Yield the pages of a part in the order of its chain.

    Raises
    ------
    PageDamageError
        Where the chain is damaged; the pages before it were yielded.
    ConfigError
        If the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            at = _first_ifd(file, path)
            last = 0
            while at:
                if at <= last:
                    raise PageDamageError(f"{path}: the chain of pages goes back to byte {at}")
                page = _page(file, path, at)
                yield page
                last, at = at, page.next_ifd
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from error


def page_at(path: Path, offset: int, nbytes: int) -> PageFound:
    """Return the page whose pixels are ``nbytes`` at ``offset``, linked into the chain or not.

    Raises
    ------
    PageDamageError
        If there is none.
    ConfigError
        If the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            page = _page(file, path, aligned(offset + nbytes, IFD_ALIGNMENT))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from error
    if (page.offset, page.nbytes) != (offset, nbytes):
        raise PageDamageError(
            f"{path}: the page after byte {offset} describes {page.nbytes} bytes at {page.offset}, "
            f"not {nbytes}"
        )
    return page


def first_page(path: Path) -> PageFound | None:
    """Return the first page of a part, None when it has none.

    Raises
    ------
    PageDamageError
        If it is damaged.
    ConfigError
        If the file cannot be read.
    """
    return next(read_pages(path), None)


def unlink_pages_after(path: Path, page: PageFound) -> bool:
    """End the chain at ``page``; return whether it went on until now. No pixel is touched.

    Raises
    ------
    OSError
        If the file cannot be written.
    """
    if not page.next_ifd:
        return False
    with path.open("r+b", buffering=0) as file:
        file.seek(page.next_at)
        file.write(_COUNT.pack(0))
    return True


def _first_ifd(file: BinaryIO, path: Path) -> int:
    found = file.read(_HEADER.size)
    if len(found) < _HEADER.size:
        # Killed between making the file and writing its 16 bytes of header.
        return 0
    order, version, width, zero, first = _HEADER.unpack(found)
    if (order, version, width, zero) != (b"II", 43, 8, 0):
        raise PageDamageError(f"{path}: not a little-endian BigTIFF file")
    return int(first)


def _page(file: BinaryIO, path: Path, at: int) -> PageFound:
    file.seek(at)
    count = _number(file.read(_COUNT.size))
    if not 0 < count <= _MOST_ENTRIES:
        raise PageDamageError(f"{path}: no page at byte {at}")
    body = file.read(count * _ENTRY.size + _COUNT.size)
    if len(body) < count * _ENTRY.size + _COUNT.size:
        raise PageDamageError(f"{path}: the page at byte {at} is torn")
    entries = {tag: (n, value) for tag, _, n, value in _entries(body, count)}
    numbers = {tag: _number(entries[tag][1]) for tag in _NEEDED if tag in entries}
    if len(numbers) < len(_NEEDED):
        raise PageDamageError(f"{path}: the page at byte {at} is not one of ours")
    dtype = _DTYPES.get((numbers[_FORMAT], numbers[_BITS]), "")
    if not dtype or numbers[_OFFSET] + numbers[_NBYTES] > at:
        raise PageDamageError(f"{path}: the page at byte {at} is not one of ours")
    next_at = at + _COUNT.size + count * _ENTRY.size
    text_end, text = _text(file, entries.get(_TEXT))
    software_end = _content_end(entries.get(305))
    return PageFound(
        offset=numbers[_OFFSET],
        nbytes=numbers[_NBYTES],
        height=numbers[_HEIGHT],
        width=numbers[_WIDTH],
        dtype=dtype,
        next_at=next_at,
        next_ifd=_number(body[-_COUNT.size :]),
        end=aligned(max(next_at + _COUNT.size, text_end, software_end), PIXEL_ALIGNMENT),
        text=text,
    )


def _entries(body: bytes, count: int) -> Iterator[tuple[int, int, int, bytes]]:
    yield from _ENTRY.iter_unpack(body[: count * _ENTRY.size])


def _number(value: bytes) -> int:
    """Return a value of at most 8 bytes; shorter types are padded with zeros."""
    return int.from_bytes(value, "little")


def _content_end(entry: tuple[int, bytes] | None) -> int:
    """Return the byte after a text that lies outside its entry, 0 for none."""
    return 0 if entry is None or entry[0] <= 8 else _number(entry[1]) + entry[0]


def _text(file: BinaryIO, entry: tuple[int, bytes] | None) -> tuple[int, str]:
    if entry is None:
        return 0, ""
    count, value = entry
    content = value[:count]
    if count > 8:
        file.seek(_number(value))
        content = file.read(min(count, _MOST_TEXT))
    return _content_end(entry), content.rstrip(b"\0").decode("ascii", "replace")
