"""What a killed recorder left of a stream, made ready for its successor to go on. Quick.

Knows: where the whole lines of the sidecar end, which frames its last lines acknowledge, which part
files hold frames nobody acknowledged. Reads the end of the sidecar only, however long the
recording: frames pile up in the ring meanwhile. Totals are for ``survey``, later.
Must not know: rings, how the recording goes on.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec

from livedenoise.core.errors import ConfigError, RecordError
from livedenoise.record.bigtiff import HEADER_BYTES
from livedenoise.record.index import remove_index
from livedenoise.record.pages import PageDamageError, first_page, page_at, unlink_pages_after
from livedenoise.record.part import part_name, part_sizes, set_aside_name
from livedenoise.record.sidecar import (
    SIDECAR_NAME,
    SIDECAR_VERSION,
    FrameLine,
    GapLine,
    StreamLine,
    scan,
)

_TAIL_BYTES = 1 << 20
"""Some 5000 lines: what comes again is most often among them, and is looked up."""


class Leftover(msgspec.Struct, frozen=True, kw_only=True):
    """Where a successor goes on.

    Attributes
    ----------
    end : int
        Bytes of whole lines in the sidecar; ``torn_bytes`` follow them.
    next_seq : int
        The number after the last one that is a frame or in a gap.
    recent : frozenset of int
        Numbers of the frames acknowledged last: some of them may come again.
    oldest : int
        The lowest of them: what comes again with a lower number was acknowledged before.
    next_part : int
        Number of the next part file: none of this number exists.
    notes : tuple of str
        What was found and done, for people.
    """

    end: int
    torn_bytes: int
    next_seq: int
    recent: frozenset[int]
    oldest: int
    next_part: int
    notes: tuple[str, ...]


class _Tail(msgspec.Struct):
    end: int = 0
    damage: str = ""
    next_seq: int = 0
    frames: list[FrameLine] = []


def take_over(folder: Path, stream: str) -> Leftover | None:
    """Look at what a killed recorder left and make it ready; None when it left no sidecar.

    The old part's chain of pages ends at its last acknowledged page after this; parts without an
    acknowledged frame are renamed. No pixel is deleted. index.json is removed: it comes back when
    the recording is finalised.

    Raises
    ------
    RecordError
        If the sidecar is of another stream or version, is damaged by more than a torn last line,
        or the files cannot be changed.
    """
    sidecar = folder / SIDECAR_NAME
    if not folder.exists():
        return None
    try:
        parts = part_sizes(folder)
        if not sidecar.exists():
            if parts:
                raise RecordError(
                    f"{sidecar}: missing, but there are part files",
                    "livedenoise recover RUN rebuilds what can be known",
                )
            return None
        _check_first_line(sidecar, stream)
        tail = _read_tail(sidecar)
        notes = [*_end_chain(folder, tail), *_set_aside(folder, parts, tail)]
        used = {*parts, *part_sizes(folder, aside=True)} | {line.part for line in tail.frames}
        torn_bytes = sidecar.stat().st_size - tail.end
    except (OSError, ConfigError) as error:
        raise RecordError(f"{folder}: cannot go on: {error}") from error
    if torn_bytes:
        notes.append(f"{SIDECAR_NAME}: a torn last line of {torn_bytes} bytes was cut off")
    remove_index(folder)
    return Leftover(
        end=tail.end,
        torn_bytes=torn_bytes,
        next_seq=tail.next_seq,
        recent=frozenset(line.seq for line in tail.frames),
        oldest=min((line.seq for line in tail.frames), default=0),
        next_part=max(used, default=-1) + 1,
        notes=tuple(notes),
    )


def end_chain_after(path: Path, offset: int) -> str:
    """End a part's chain of pages at the page whose pixels begin at ``offset``.

    Returns
    -------
    str
        What was done, or why it could not be; empty when the chain ended there already.

    Raises
    ------
    ConfigError
        If the file cannot be read.
    """
    try:
        first = first_page(path)
        if first is None:
            return f"{path.name}: has no page, though frames in it were acknowledged"
        page = page_at(path, offset, first.nbytes)
        if not unlink_pages_after(path, page):
            return ""
    except PageDamageError as error:
        return f"{path.name}: its chain of pages was left as it is: {error.message}"
    except OSError as error:
        return f"{path.name}: its chain of pages could not be ended: {error}"
    return (
        f"{path.name}: one page that was never acknowledged was taken out of the chain; its pixels "
        f"stay in the file, at byte {page.end}"
    )


def set_aside(folder: Path, number: int, size: int) -> str:
    """Rename a part without an acknowledged frame, or remove it when it has not one pixel.

    Raises
    ------
    OSError
        If it cannot be renamed.
    """
    path = folder / part_name(number)
    if size <= HEADER_BYTES:
        path.unlink()
        return f"{path.name}: held no pixel and was removed"
    aside = folder / set_aside_name(number)
    path.rename(aside)
    return f"{path.name}: none of it was acknowledged; it is {aside.name} now"


def _check_first_line(sidecar: Path, stream: str) -> None:
    first = next(iter(scan(sidecar)), None)
    if first is None or first.line is None:
        return
    line = first.line
    if not isinstance(line, StreamLine) or line.version > SIDECAR_VERSION:
        raise RecordError(f"{sidecar}: not a sidecar of version {SIDECAR_VERSION} or older")
    if line.stream != stream:
        raise RecordError(f"{sidecar}: holds the stream {line.stream!r}, not {stream!r}")


def _read_tail(sidecar: Path) -> _Tail:
    """Return the end of a sidecar, from far enough before it to hold a frame."""
    window = _TAIL_BYTES
    while True:
        start = max(0, sidecar.stat().st_size - window)
        tail = _tail_from(sidecar, start)
        if tail.frames or not start:
            return tail
        window *= 8


def _tail_from(sidecar: Path, start: int) -> _Tail:
    tail = _Tail()
    for found in scan(sidecar, start):
        if tail.damage:
            raise RecordError(
                f"{sidecar}: damaged {sidecar.stat().st_size - tail.end} bytes before its end: "
                f"line {tail.damage}",
                "start a new run; livedenoise recover RUN mends what can be mended",
            )
        if found.line is None:
            tail.damage = found.damage
            continue
        tail.end = found.end
        if isinstance(found.line, FrameLine):
            tail.frames.append(found.line)
            tail.next_seq = max(tail.next_seq, found.line.seq + 1)
        elif isinstance(found.line, GapLine):
            tail.next_seq = max(tail.next_seq, found.line.last + 1)
    return tail


def _end_chain(folder: Path, tail: _Tail) -> Iterator[str]:
    if not tail.frames:
        return
    last = tail.frames[-1]
    path = folder / part_name(last.part)
    if not path.exists():
        yield f"{path.name}: is missing, though frames in it were acknowledged"
        return
    note = end_chain_after(path, last.offset)
    if note:
        yield note


def _set_aside(folder: Path, parts: dict[int, int], tail: _Tail) -> Iterator[str]:
    last = tail.frames[-1].part if tail.frames else -1
    for number, size in parts.items():
        if number > last:
            yield set_aside(folder, number, size)
