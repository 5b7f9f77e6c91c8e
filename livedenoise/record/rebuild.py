"""A sidecar made anew: from the part files alone, or without the lines that are not true.

Knows: what a page says about itself, how gap lines close the holes that left-out lines leave.
Must not know: when this is needed, run folders.

Pages carry no frame number and no time. A sidecar made from them numbers the pages and says so
(``rebuilt``); every time in it is 0, "did not happen".
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from livedenoise.core.errors import ConfigError, RecordError
from livedenoise.record.bigtiff import SOFTWARE
from livedenoise.record.pages import PageDamageError, PageFound, read_pages
from livedenoise.record.part import part_name, part_sizes
from livedenoise.record.sidecar import (
    SIDECAR_NAME,
    SIDECAR_VERSION,
    EpochLine,
    FrameLine,
    GapLine,
    Line,
    StreamLine,
    encode,
    scan,
)
from livedenoise.record.survey import Survey

PIXELS_LOST = "pixels_lost"
"""Reason of a gap of frames that were acknowledged and whose pixels are not there any more."""

LINE_DAMAGED = "line_damaged"
"""Reason of a gap of frames whose lines cannot be read."""


class _PageFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What the first page of a part says about the frames in it."""

    run_id: str = ""
    camera: str = ""
    epoch: int = 0
    bit_depth: int = 0
    exposure_us: int = 0
    roi_x: int = 0
    roi_y: int = 0
    binning: int = 1
    calibration: str = ""


def lines_from_pages(folder: Path, stream: str, camera: str) -> Iterator[Line]:
    """Yield the lines that the part files of a stream allow.

    Raises
    ------
    ConfigError
        If a part cannot be read. A damaged page ends its part.
    """
    yield StreamLine(version=SIDECAR_VERSION, stream=stream, software=SOFTWARE, rebuilt=True)
    seq = 0
    last: EpochLine | None = None
    for part in part_sizes(folder):
        facts = _PageFacts()
        for number, page in enumerate(_whole_pages(folder / part_name(part))):
            if number == 0:
                facts = _facts_of(page)
                epoch = _epoch(facts, page, part, camera)
                if last is None or msgspec.structs.replace(epoch, part=last.part) != last:
                    yield epoch
                    last = epoch
            yield FrameLine(
                seq=seq,
                epoch=facts.epoch,
                part=part,
                page=number,
                offset=page.offset,
                exposure_us=facts.exposure_us,
                t_host_ns=0,
            )
            seq += 1


def true_lines(folder: Path, survey: Survey) -> Iterator[Line]:
    """Yield the lines of a damaged sidecar that are true, with gaps for the frames left out."""
    next_seq, last_lost = 0, -1
    reasons: set[str] = set()
    for found in scan(folder / SIDECAR_NAME):
        line = found.line
        if line is None or (isinstance(line, FrameLine) and line.part not in survey.tally.parts):
            reasons.add(LINE_DAMAGED)
            continue
        if isinstance(line, FrameLine) and survey.is_lost(line):
            reasons.add(PIXELS_LOST)
            last_lost = max(last_lost, line.seq)
            continue
        span = _span(line)
        if span is not None:
            if span[0] > next_seq:
                yield _gap(next_seq, span[0] - 1, reasons)
            reasons.clear()
            next_seq = max(next_seq, span[1] + 1)
        yield line
    if last_lost >= next_seq:
        yield _gap(next_seq, last_lost, {PIXELS_LOST})


def write_sidecar(folder: Path, lines: Iterable[Line], *, keep_old: bool) -> str:
    """Write a sidecar whole under another name, then rename it; return the name of the old one.

    Parameters
    ----------
    keep_old : bool
        Keep a copy of the sidecar there is: it may say more than can be proven.

    Raises
    ------
    RecordError
        If it cannot be written; the old one is then as it was.
    """
    path = folder / SIDECAR_NAME
    temporary = folder / f".{SIDECAR_NAME}.{os.getpid()}.tmp"
    kept = ""
    try:
        temporary.unlink(missing_ok=True)
        with temporary.open("xb") as file:
            for line in lines:
                file.write(encode(line))
            file.flush()
            os.fsync(file.fileno())
        if keep_old:
            kept = _kept_name(folder)
            shutil.copyfile(path, folder / kept)
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise RecordError(f"{path}: cannot be written: {error}") from error
    except ConfigError:
        temporary.unlink(missing_ok=True)
        raise
    return kept


def _kept_name(folder: Path) -> str:
    number = 1
    while (folder / f"{SIDECAR_NAME}.damaged-{number}").exists():
        number += 1
    return f"{SIDECAR_NAME}.damaged-{number}"


def _whole_pages(path: Path) -> Iterator[PageFound]:
    try:
        yield from read_pages(path)
    except PageDamageError:
        # What comes after it cannot be found; the caller counts what came before.
        return


def _facts_of(page: PageFound) -> _PageFacts:
    try:
        return msgspec.json.decode(page.text, type=_PageFacts)
    except msgspec.MsgspecError:
        # Another program has rewritten the description: nothing is known then.
        return _PageFacts()


def _epoch(facts: _PageFacts, page: PageFound, part: int, camera: str) -> EpochLine:
    return EpochLine(
        epoch=facts.epoch,
        part=part,
        run_id=facts.run_id,
        camera=facts.camera or camera,
        height=page.height,
        width=page.width,
        dtype=page.dtype,
        bit_depth=facts.bit_depth,
        roi_x=facts.roi_x,
        roi_y=facts.roi_y,
        binning=facts.binning,
        calibration=facts.calibration,
    )


def _span(line: Line) -> tuple[int, int] | None:
    """Return the first and last number a line stands for, None for lines without."""
    match line:
        case FrameLine(seq=seq):
            return seq, seq
        case GapLine(first=first, last=last):
            return first, last
    return None


def _gap(first: int, last: int, reasons: set[str]) -> GapLine:
    reason = "+".join(sorted(reasons)) or "missing"
    return GapLine(first=first, last=last, count=last - first + 1, reason=reason)
