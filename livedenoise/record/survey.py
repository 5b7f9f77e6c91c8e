"""A whole stream folder looked at: what its sidecar adds up to, and whether every frame is there.

Knows: sidecar and part files together. Changes nothing. Must not know: what is done about damage.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec

from livedenoise.core.errors import ConfigError
from livedenoise.record.part import part_name, part_sizes
from livedenoise.record.sidecar import SIDECAR_NAME, FrameLine, Line, scan
from livedenoise.record.tally import Tally

_LINES_PER_REPORT = 4096

OnBytes = Callable[[int], None]
"""Takes the bytes of the sidecar read so far."""


class LostFrames(msgspec.Struct):
    """Acknowledged frames of one part whose pixels are not there."""

    file: str
    why: str
    first: int
    last: int
    count: int = 0
    nbytes: int = 0

    def text(self) -> str:
        """Return it for people."""
        return f"{self.file} {self.why}: {self.count} frames are lost ({self.first}..{self.last})"


class Survey(msgspec.Struct):
    """What a stream folder holds.

    Attributes
    ----------
    end : int
        Bytes up to the last whole line.
    torn : str
        What is wrong with the last line, empty when it is whole; it is ``torn_bytes`` long.
    damaged : list of str
        What is wrong with lines before the last.
    sizes : dict
        Size of every part file by number, also of parts without an acknowledged frame.
    lost : dict
        By part number.
    """

    tally: Tally
    sizes: dict[int, int]
    aside: dict[int, int]
    end: int = 0
    torn: str = ""
    torn_bytes: int = 0
    damaged: list[str] = []
    lost: dict[int, LostFrames] = {}

    def problems(self) -> list[str]:
        """Return what makes the recording less than its sidecar says, for people."""
        found = [lost.text() for lost in self.lost.values()]
        if self.damaged:
            found.append(f"{SIDECAR_NAME}: {len(self.damaged)} damaged lines: {self.damaged[0]}")
        return found

    def is_lost(self, line: FrameLine) -> bool:
        """Return whether the pixels of a frame are missing, in part or all."""
        part = self.tally.part_of(line)
        return line.offset + part.nbytes > self.sizes.get(line.part, -1)


def survey_stream(folder: Path, on_bytes: OnBytes | None = None) -> Survey:
    """Read the whole sidecar of a stream and compare it with the part files.

    Raises
    ------
    ConfigError
        If the sidecar or the folder cannot be read.
    """
    survey = Survey(Tally(), part_sizes(folder), part_sizes(folder, aside=True))
    waiting = ""
    found_end = 0
    for found in scan(folder / SIDECAR_NAME):
        if waiting:
            survey.damaged.append(waiting)
        damage = _take(survey, found.line) if found.line is not None else found.damage
        waiting, found_end = damage, found.end
        if not damage:
            survey.end = found.end
        if on_bytes is not None and found.number % _LINES_PER_REPORT == 0:
            on_bytes(found.end)
    survey.torn, survey.torn_bytes = waiting, found_end - survey.end
    return survey


def _take(survey: Survey, line: Line) -> str:
    """Count a line; return why it makes no sense, empty when it does."""
    try:
        survey.tally.take(line)
    except ConfigError as error:
        return error.message
    if isinstance(line, FrameLine) and survey.is_lost(line):
        _note_lost(survey, line)
    return ""


def _note_lost(survey: Survey, line: FrameLine) -> None:
    lost = survey.lost.get(line.part)
    if lost is None:
        size = survey.sizes.get(line.part)
        why = "is missing" if size is None else f"ends at byte {size}"
        lost = LostFrames(part_name(line.part), why, line.seq, line.seq)
        survey.lost[line.part] = lost
    lost.count += 1
    lost.nbytes += survey.tally.part_of(line).nbytes
    lost.first, lost.last = min(lost.first, line.seq), max(lost.last, line.seq)
