"""Carry out a program: every field, one after another, checked as it is taken.

Knows: the order of moving, exposing, checking, storing; when a field is tried again; when to give
up. Must not know: how devices move, how pairs are judged, how files look.

While the stage moves on, a worker checks and stores the field just left. Nothing is exposed
before that is done: a kill loses at most the field in progress, and at most two fields are ever in
memory. A field to be tried again is gone back to at once.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor

import msgspec

from livedenoise.collect.arriving import Arrival
from livedenoise.collect.program import Program
from livedenoise.collect.records import FieldRecord, SiteRecord
from livedenoise.collect.shots import Pair, Taken, make_pairs
from livedenoise.collect.stopwatch import Stopwatch
from livedenoise.collect.taking import ShotTaker
from livedenoise.collect.verdict import PairVerdict
from livedenoise.core.errors import CollectError
from livedenoise.core.progress import OnProgress, Progress


class FieldTaken(msgspec.Struct, frozen=True, kw_only=True):
    """Everything exposed at one field in one attempt: the shots of each of its sites."""

    field: int
    attempt: int
    taken: tuple[tuple[Taken, ...], ...]
    dose_us: float
    elapsed_s: float
    overhead_s: float

    @property
    def pairs(self) -> tuple[tuple[Pair, ...], ...]:
        """Return the pairs of each site."""
        return tuple(tuple(make_pairs(list(site))) for site in self.taken)


class PairShown(msgspec.Struct, frozen=True, kw_only=True):
    """A pair for people to look at, as it is taken."""

    field: int
    attempt: int
    pair: Pair
    verdict: PairVerdict


OnPair = Callable[[PairShown], None]
Finish = Callable[[FieldTaken], tuple[FieldRecord, tuple[PairShown, ...]]]
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
        finish: Finish,
        on_progress: OnProgress,
        on_pair: OnPair | None,
        stop: threading.Event,
    ) -> None:
        self._program = program
        self._arrival = arrival
        self._taker = taker
        self._stopwatch = stopwatch
        self._finish = finish
        self._on_progress = on_progress
        self._on_pair = on_pair
        self._stop = stop
        self._failed_in_a_row: list[FieldRecord] = []

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
            If the microscope or the disk fails; every earlier field is on disk.
        """
        queue = deque(left.items())
        with ThreadPoolExecutor(1, thread_name_prefix="pairs") as worker:
            pending: Future[tuple[FieldRecord, tuple[PairShown, ...]]] | None = None
            while queue and not self._stop.is_set():
                field, attempt = queue.popleft()
                self._stopwatch.start()
                self._go(field)
                again = self._settle(pending, tally)
                pending = None
                if again is not None:
                    queue.appendleft((field, attempt))
                    field, attempt = again
                    self._go(field)
                pending = worker.submit(self._finish, self._expose(field, attempt))
                if not queue or self._stop.is_set():
                    again = self._settle(pending, tally)
                    pending = None
                    if again is not None:
                        queue.appendleft(again)
            if pending is not None:
                self._settle(pending, tally)

    def _go(self, field: int) -> None:
        homes = self._program.homes_z_um
        self._arrival.field(self._program.fields[field], homes[field] if homes else None)

    def _expose(self, field: int, attempt: int) -> FieldTaken:
        program, taken = self._program, []
        for site in program.fields[field]:
            z_um = self._arrival.site(site)
            self._taker.at(z_um)
            shots = program.sequences[site.channel]
            taken.append(tuple(self._taker.take(shot) for shot in shots))
        self._arrival.leave()
        return FieldTaken(
            field=field,
            attempt=attempt,
            taken=tuple(taken),
            dose_us=sum(one.shot.dose_us for site in taken for one in site),
            elapsed_s=self._stopwatch.elapsed_s,
            overhead_s=self._stopwatch.overhead_s,
        )

    def _settle(
        self,
        pending: Future[tuple[FieldRecord, tuple[PairShown, ...]]] | None,
        tally: Tally,
    ) -> tuple[int, int] | None:
        """Wait until a field is on disk; return it with its next attempt when it is tried again."""
        if pending is None:
            return None
        record, shown = pending.result()
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
            return record.field, record.attempt + 1
        self._watch_failures(record)
        return None

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
