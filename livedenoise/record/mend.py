"""One stream folder of a killed or damaged run made whole: sidecar, chains of pages, index.

Knows: what a finished stream folder looks like, and how to get there without deleting a pixel.
Must not know: runs, processes, how findings are shown.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from livedenoise.core.errors import ConfigError, RecordError
from livedenoise.core.progress import OnProgress, Progress
from livedenoise.record.index import INDEX_NAME, RecordSummary, read_index, summarise, write_index
from livedenoise.record.inspect_part import chain_problem, not_acknowledged
from livedenoise.record.leftover import end_chain_after, set_aside
from livedenoise.record.part import part_name, part_sizes, set_aside_name
from livedenoise.record.raw_file import open_existing
from livedenoise.record.rebuild import PIXELS_LOST, lines_from_pages, true_lines, write_sidecar
from livedenoise.record.sidecar import SIDECAR_NAME, Line, SidecarWriter
from livedenoise.record.survey import OnBytes, Survey, survey_stream
from livedenoise.record.tally import PartTally, Tally

KILLED = "the recorder ended without finalising: it was killed, or its machine stopped"


class StreamReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a stream folder holds, what was found wrong with it, and what was changed.

    Attributes
    ----------
    frames, bytes : int
        Frames that are there, and the bytes of their pixels.
    missing : dict
        Frames that are not there, by reason.
    first_seq, last_seq : int
        Numbers of the first frame and of the last that is there or in a gap; -1 for none.
    first_ns, last_ns : int
        ``core.clock`` time of the first and the last frame, 0 when unknown.
    numbered : bool
        False when the sidecar was made from the part files: numbers and times are unknown.
    complete : bool
        True when nothing had to be changed.
    lost : int
        Frames that were acknowledged and are not there any more.
    error : str
        How the recording ended, as its index says; empty for in order.
    found, changes, unacknowledged : tuple of str
        For people: what is not as it should be; what was done about it; pixels in the files that
        were never acknowledged.
    """

    stream: str
    camera: str
    frames: int
    bytes: int
    parts: int
    missing: dict[str, int]
    first_seq: int
    last_seq: int
    first_ns: int
    last_ns: int
    numbered: bool
    complete: bool
    lost: int
    error: str
    found: tuple[str, ...]
    changes: tuple[str, ...]
    unacknowledged: tuple[str, ...]


def mend_stream(
    folder: Path, stream: str, *, check_only: bool, on_progress: OnProgress
) -> StreamReport:
    """Make one stream folder whole; with ``check_only`` only look.

    Raises
    ------
    ConfigError
        If a file cannot be read.
    RecordError
        If one cannot be written; everything is then as it was, or mended in part and can be mended
        again.
    """
    job = _Job(folder, stream, on_progress)
    job.look()
    if not check_only and job.can_mend:
        job.mend()
    return job.report()


class _Job:
    def __init__(self, folder: Path, stream: str, on_progress: OnProgress) -> None:
        self._folder = folder
        self._stream = stream
        self._on_progress = on_progress
        self._index: RecordSummary | None = None
        self._survey: Survey = Survey(Tally(), {}, {})
        self._rewrite: Callable[[], str] | None = None
        self._problems: list[str] = []
        self._error = ""
        self.can_mend = False
        self.found: list[str] = []
        self.changes: list[str] = []

    def look(self) -> None:
        """Fill ``found`` with everything that is not as in a finished recording."""
        self._survey = survey = self._look_at_sidecar()
        if survey.torn and not survey.damaged:
            self.found.append(
                f"{SIDECAR_NAME}: ends in a torn line of {survey.torn_bytes} bytes: a frame that "
                "was never acknowledged"
            )
        self._problems = survey.problems()
        if survey.damaged or survey.lost:
            self._rewrite = lambda: self._without_untrue_lines(survey)
        self.found += self._problems
        for number in self._orphans():
            self.found.append(f"{part_name(number)}: none of it was acknowledged")
        self._look_at_index()
        self.can_mend = bool(self.found)
        self._look_at_chains()

    def mend(self) -> None:
        """Change what has to be; the index comes last, so that a killed mending is mended again."""
        if self._rewrite is not None:
            self.changes.append(self._rewrite())
            self._survey = survey_stream(self._folder, self._on_bytes())
        elif self._survey.torn:
            self._cut_torn_line()
        for part in self._parts():
            note = end_chain_after(self._folder / part_name(part.number), part.last_offset)
            self.changes += [note] if note else []
        for number in self._orphans():
            self._set_aside(number)
        self._survey = survey_stream(self._folder)
        written = write_index(self._folder, self._new_index())
        if not written.complete and written.error != self._error:
            raise RecordError(written.error)
        self.changes.append("index.json was written")

    def report(self) -> StreamReport:
        """Return what there is now."""
        survey = self._survey
        tally, index = survey.tally, self._index
        parts = [part for part in tally.parts.values() if part.pages]
        lost = sum(n for reason, n in tally.missing.items() if PIXELS_LOST in reason.split("+"))
        error = self._error if self.changes else "" if index is None else index.error
        return StreamReport(
            stream=self._stream,
            camera=self._folder.name,
            frames=tally.frames - sum(one.count for one in survey.lost.values()),
            bytes=tally.bytes - sum(one.nbytes for one in survey.lost.values()),
            parts=len(parts),
            missing=dict(tally.missing),
            first_seq=parts[0].first_seq if parts else -1,
            last_seq=tally.next_seq - 1,
            first_ns=tally.first_ns,
            last_ns=tally.last_ns,
            numbered=not tally.rebuilt,
            complete=not self.found,
            lost=lost + sum(one.count for one in survey.lost.values()),
            error=error,
            found=tuple(self.found),
            changes=tuple(self.changes),
            unacknowledged=tuple(self._unacknowledged()),
        )

    def _look_at_sidecar(self) -> Survey:
        if (self._folder / SIDECAR_NAME).exists():
            return survey_stream(self._folder, self._on_bytes())
        self.found.append(
            f"{SIDECAR_NAME}: missing; it can be made from the part files, without the frames' "
            "numbers, times and gaps"
        )
        self._rewrite = self._from_pages
        # The survey of the sidecar that would be written.
        survey = Survey(Tally(), part_sizes(self._folder), {})
        for line in self._lines_from_pages():
            survey.tally.take(line)
        return survey

    def _lines_from_pages(self) -> Iterator[Line]:
        return lines_from_pages(self._folder, self._stream, self._folder.name)

    def _from_pages(self) -> str:
        write_sidecar(self._folder, self._lines_from_pages(), keep_old=False)
        return (
            f"{SIDECAR_NAME} was made from the part files: numbers count pages, times are unknown"
        )

    def _without_untrue_lines(self, survey: Survey) -> str:
        kept = write_sidecar(self._folder, true_lines(self._folder, survey), keep_old=True)
        return f"{SIDECAR_NAME} was written without what is not there; the old one is {kept}"

    def _cut_torn_line(self) -> None:
        path = self._folder / SIDECAR_NAME
        writer = SidecarWriter(path, open_existing, end=self._survey.end)
        try:
            writer.close()
        except OSError as error:
            raise RecordError(f"{path}: not closed cleanly: {error}") from error
        self.changes.append(f"{SIDECAR_NAME}: {self._survey.torn_bytes} bytes were cut off")

    def _parts(self) -> list[PartTally]:
        """Return the parts with acknowledged frames whose files are there."""
        survey = self._survey
        return [part for number, part in survey.tally.parts.items() if number in survey.sizes]

    def _orphans(self) -> list[int]:
        return [number for number in self._survey.sizes if number not in self._survey.tally.parts]

    def _set_aside(self, number: int) -> None:
        try:
            note = set_aside(self._folder, number, self._survey.sizes[number])
        except OSError as error:
            raise RecordError(
                f"{self._folder / part_name(number)}: cannot be renamed: {error}"
            ) from error
        self.changes.append(note)

    def _look_at_chains(self) -> None:
        for part in self._parts():
            problem = chain_problem(self._folder / part_name(part.number), part)
            if problem is not None:
                self.found.append(problem.text)
                self.can_mend = self.can_mend or problem.mendable

    def _look_at_index(self) -> None:
        try:
            self._index = read_index(self._folder)
        except ConfigError as error:
            self.found.append(error.message)
            return
        index = self._index
        if index is None:
            self.found.append(f"{INDEX_NAME}: missing: {KILLED}")
        elif not self.found and _counted(index) != _counted(self._new_index()):
            self.found.append(f"{INDEX_NAME}: does not say what is there")

    def _new_index(self) -> RecordSummary:
        before = KILLED if self._index is None else self._index.error
        self._error = "; ".join(dict.fromkeys([*filter(None, [before]), *self._problems]))
        return summarise(
            self._survey.tally,
            self._stream,
            self._survey.sizes,
            error=self._error,
            recovered=True,
            notes=tuple(self.found),
        )

    def _unacknowledged(self) -> Iterator[str]:
        for part in self._parts():
            path = self._folder / part_name(part.number)
            yield from not_acknowledged(path, part, self._survey.sizes[part.number])
        for number, size in self._survey.aside.items():
            yield f"{set_aside_name(number)}: {size} bytes, none of it acknowledged"

    def _on_bytes(self) -> OnBytes:
        path = self._folder / SIDECAR_NAME
        total = path.stat().st_size
        task = f"{self._stream}/{self._folder.name}"
        return lambda done: self._on_progress(
            Progress(task=task, done=done, total=total, unit="bytes")
        )


def _counted(index: RecordSummary) -> RecordSummary:
    """Return what of an index is counted, without how the recording ended."""
    return msgspec.structs.replace(index, complete=False, error="", recovered=False, notes=())
