"""Carry out a program: every field, one after another, checked as it is taken.

Knows: the order of moving, exposing, checking, storing; when a field is tried again; when to give
up. Must not know: how devices move, how pairs are judged, how files look.

While the stage moves on, a worker puts the field just left on disk, unjudged; nothing is exposed
before that is done, so a kill loses at most the field in progress. It is checked and stored while
the next one is exposed. At most three fields are ever in memory. A field to be tried again is gone
back to as soon as that is known: after the next one, or at once where that was not begun.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor

import msgspec

from livedenoise.collect.arriving import Arrival
from livedenoise.collect.pending import FieldTaken
from livedenoise.collect.program import Program
from livedenoise.collect.records import FieldRecord, SiteRecord
from livedenoise.collect.shots import Pair, Taken
from livedenoise.collect.stopwatch import Stopwatch
from livedenoise.collect.taking import ShotTaker
from livedenoise.collect.verdict import PairVerdict
from livedenoise.core.errors import CameraError, CollectError, LiveDenoiseError
from livedenoise.core.progress import OnProgress, Progress


class PairShown(msgspec.Struct, frozen=True, kw_only=True):
    """A pair for people to look at, as it is taken."""

    field: int
    attempt: int
    pair: Pair
    verdict: PairVerdict


OnPair = Callable[[PairShown], None]
Outcome = tuple[FieldRecord, tuple[PairShown, ...]]
Finish = Callable[[FieldTaken], Outcome]
"""Checks and stores a field; called by a worker, one field at a time."""


class Tally(msgspec.Struct, kw_only=True):
    """Counts of a collection so far, those before a ``--resume`` included."""

    done: int = 0
    failed: int = 0
    retried: int = 0
    accepted: int = 0
    rejected: int = 0
    dose_us: float = 0.0

    def add(self, record: FieldRecord) -> None:
        """Count one attempt."""
        pairs = [pair for site in record.sites for pair in site.pairs]
        kept = record.status == "done"
        accepted = sum(pair.verdict.accepted for pair in pairs) if kept else 0
        self.done += record.status == "done"
        self.failed += record.status == "failed"
        self.retried += record.status == "retry"
        self.accepted += accepted
        self.rejected += sum(not pair.verdict.accepted for pair in pairs)
        self.dose_us += record.dose_us


class Collection:
    """Runs a program at one microscope.

    Parameters
    ----------
    program : Program
        What to do.
    arrival, taker : Arrival, ShotTaker
        Go to a site; take a shot.
    stopwatch : Stopwatch
        Shared by both.
    keep : callable
        Puts a field on disk as it is, unjudged.
    finish : callable
        Checks and stores a field.
    on_progress, on_pair : callable
        Told of every field and every pair.
    stop : threading.Event
        When set, the field in progress is finished and the rest left for ``--resume``.
    """

    def __init__(
        self,
        program: Program,
        *,
        arrival: Arrival,
        taker: ShotTaker,
        stopwatch: Stopwatch,
        keep: Callable[[FieldTaken], None],
        finish: Finish,
        on_progress: OnProgress,
        on_pair: OnPair | None,
        stop: threading.Event,
    ) -> None:
        self._program = program
        self._arrival = arrival
        self._taker = taker
        self._stopwatch = stopwatch
        self._keep = keep
        self._finish = finish
        self._on_progress = on_progress
        self._on_pair = on_pair
        self._stop = stop
        self._failed_in_a_row: list[FieldRecord] = []
        self._queue: deque[tuple[int, int]] = deque()
        self._kept: Future[None] | None = None
        self._waiting: deque[Future[Outcome]] = deque()

    def run(self, left: Mapping[int, int], tally: Tally) -> None:
        """Take the fields that are left.

        Parameters
        ----------
        left : mapping
            Field number to attempts made before, in the order to take them.
        tally : Tally
            Counts on.

        Raises
        ------
        CollectError
            If ``stop_after`` fields in a row failed; all of them are on disk.
        CameraError, RecordError
            If the microscope or the disk fails, or a field cannot be judged; every earlier field
            is on disk. What else fails while a microscope's error is dealt with is a note on it.
        """
        self._queue = deque(left.items())
        with ThreadPoolExecutor(1, thread_name_prefix="pairs") as worker:
            try:
                while self._step(worker, tally):
                    pass
            except CameraError as error:
                self._drain_after(error, tally)
                raise
            self._drain(tally)

    def _step(self, worker: ThreadPoolExecutor, tally: Tally) -> bool:
        """Take one field, or wait for the outcome of the last; return whether there is more."""
        if not self._queue or self._stop.is_set():
            self._settle(tally)
            return bool(self._queue or self._waiting) and not self._stop.is_set()
        field, attempt = self._queue.popleft()
        self._stopwatch.start()
        self._go(field)
        self._safe(tally)
        taken = self._expose(field, attempt)
        self._kept = worker.submit(self._keep, taken)
        self._waiting.append(worker.submit(self._finish, taken))
        return True

    def _safe(self, tally: Tally) -> None:
        """Wait until the field before is on disk, and the one before that is judged."""
        if self._kept is not None:
            kept, self._kept = self._kept, None
            kept.result()
        while self._waiting and (len(self._waiting) > 1 or self._waiting[0].done()):
            self._settle(tally)

    def _drain(self, tally: Tally) -> None:
        """Wait until everything that was exposed is judged and stored."""
        while self._waiting:
            self._settle(tally)

    def _drain_after(self, error: CameraError, tally: Tally) -> None:
        """Drain; what fails in it does not hide what the microscope said."""
        try:
            self._drain(tally)
        except LiveDenoiseError as second:
            error.add_note(str(second))

    def _go(self, field: int) -> None:
        self._arrival.field(field)

    def _expose(self, field: int, attempt: int) -> FieldTaken:
        try:
            taken = tuple(self._shots(field))
        except BaseException as error:
            # Before anything else is waited for: the sample gets no more light.
            self._darken(error)
            raise
        self._arrival.leave()
        return FieldTaken(
            field=field,
            attempt=attempt,
            taken=taken,
            dose_us=sum(one.shot.dose_us for site in taken for one in site),
            elapsed_s=self._stopwatch.elapsed_s,
            overhead_s=self._stopwatch.overhead_s,
        )

    def _shots(self, field: int) -> Iterator[tuple[Taken, ...]]:
        program = self._program
        for site in program.fields[field]:
            self._taker.at(self._arrival.site(site))
            shots = program.sequences[site.channel]
            yield tuple(self._taker.take(shot) for shot in shots)

    def _darken(self, error: BaseException) -> None:
        try:
            self._arrival.leave()
        except CameraError as second:
            error.add_note(f"the light could not be turned off: {second.message}")

    def _settle(self, tally: Tally) -> None:
        """Wait for the oldest outcome and tell it; put the field back in line to try it again."""
        if not self._waiting:
            return
        record, shown = self._waiting.popleft().result()
        tally.add(record)
        if self._on_pair is not None:
            for one in shown:
                self._on_pair(one)
        total = len(self._program.fields)
        note = f"{tally.accepted} pairs accepted, {tally.rejected} rejected"
        done = tally.done + tally.failed
        self._on_progress(
            Progress(task="collect", done=done, total=total, unit="fields", note=note)
        )
        if record.status == "retry":
            self._queue.appendleft((record.field, record.attempt + 1))
        else:
            self._watch_failures(record)

    def _watch_failures(self, record: FieldRecord) -> None:
        if record.status == "done":
            self._failed_in_a_row.clear()
            return
        self._failed_in_a_row.append(record)
        if len(self._failed_in_a_row) < self._program.stop_after:
            return
        count = len(self._failed_in_a_row)
        raise CollectError(
            f"{count} fields in a row failed, the last at field {record.field}: "
            f"{why(record.sites)}",
            "look at the rejected pairs in report.html, mend the cause, and go on with --resume "
            "(failed fields are not taken again)",
        )


def why(sites: tuple[SiteRecord, ...]) -> str:
    """Return the most telling reason of each rejected pair, in words, each once."""
    texts: dict[str, str] = {}
    for site in sites:
        for pair in site.pairs:
            if pair.verdict.accepted:
                continue
            first = pair.verdict.reasons[0]
            check = next(one for one in pair.verdict.checks if one.name == first)
            texts.setdefault(first, check.text)
    return "; ".join(texts.values())
