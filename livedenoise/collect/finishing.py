"""Check a field and store it: what happens between the last exposure and the manifest line.

Knows: pairs -> verdicts -> status -> data set. Must not know: microscopes, how pairs are judged.

A field is done as soon as one of its pairs is accepted: the good ones are in the data set, the bad
ones apart. Only a field without any is taken again: light costs the sample, and one rung of a
ladder that always fails must not throw the others away.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

from livedenoise.collect.check_camera import PairCamera
from livedenoise.collect.check_high import HighShots
from livedenoise.collect.check_pair import check_pair
from livedenoise.collect.dataset import DatasetWriter, Status
from livedenoise.collect.dataset_images import SiteTaken
from livedenoise.collect.pending import FieldTaken, PendingFields
from livedenoise.collect.program import Program
from livedenoise.collect.records import FieldRecord
from livedenoise.collect.run import Outcome, PairShown
from livedenoise.collect.shots import Pair, make_pairs
from livedenoise.collect.verdict import PairVerdict
from livedenoise.core.errors import LiveDenoiseError, RecordError

_MOST_WORKERS = 4


class Finisher:
    """Checks and stores the fields of one data set; called by one worker thread.

    Parameters
    ----------
    program : Program
        Limits, attempts, splits.
    camera : PairCamera
        What the checks know of the camera.
    writer : DatasetWriter
        The data set.
    pending : PendingFields
        Where the field waits; it is removed once it has its line.
    """

    def __init__(
        self,
        program: Program,
        camera: PairCamera,
        writer: DatasetWriter,
        pending: PendingFields,
    ) -> None:
        self._program = program
        self._camera = camera
        self._writer = writer
        self._pending = pending

    def __call__(self, taken: FieldTaken) -> Outcome:
        """Check and store one attempt at a field.

        Raises
        ------
        RecordError
            If the disk takes no more, or the field cannot be judged: it still waits on disk then.
            All earlier fields are intact.
        """
        try:
            sites = self._checked(taken)
            record = self._add(taken, sites)
        except LiveDenoiseError:
            raise
        except Exception as error:
            # Arithmetic on strange images can fail in any way; the field must not be lost by it.
            raise self._not_judged(taken, error) from error
        self._pending.drop(taken.field, taken.attempt)
        shown = tuple(
            PairShown(field=taken.field, attempt=taken.attempt, pair=pair, verdict=verdict)
            for site in sites
            for pair, verdict in site.pairs
        )
        return record, shown

    def _add(self, taken: FieldTaken, sites: list[SiteTaken]) -> FieldRecord:
        return self._writer.add_field(
            taken.field,
            taken.attempt,
            sites,
            status=self._status(taken, sites),
            split=self._program.splits[taken.field],
            dose_us=taken.dose_us,
            elapsed_s=taken.elapsed_s,
            overhead_s=taken.overhead_s,
        )

    def _not_judged(self, taken: FieldTaken, error: Exception) -> RecordError:
        path = self._pending.path_of(taken.field, taken.attempt)
        return RecordError(
            f"{path}: field {taken.field}, attempt {taken.attempt + 1}, was exposed and cannot be "
            f"judged: {type(error).__name__}: {error}",
            "--resume judges it once more; if that fails as well, keep a copy of the file (please "
            "report it), remove it, and go on with --resume: the field is taken again",
        )

    def _checked(self, taken: FieldTaken) -> list[SiteTaken]:
        pairs = [make_pairs(list(shots)) for shots in taken.taken]
        verdicts = iter(self._judge([pair for site in pairs for pair in site]))
        sites = zip(self._program.fields[taken.field], taken.taken, pairs, strict=True)
        return [
            SiteTaken(
                site=site,
                taken=shots,
                pairs=tuple((pair, next(verdicts)) for pair in found),
            )
            for site, shots, found in sites
        ]

    def _judge(self, pairs: list[Pair]) -> list[PairVerdict]:
        """Judge pairs, several at a time: most of it is arithmetic that threads can share."""
        camera, limits = self._camera, self._program.limits
        highs = HighShots(camera)
        workers = min(len(pairs), _MOST_WORKERS, os.cpu_count() or 1)
        if workers < 2:
            return [check_pair(pair, camera, limits, highs) for pair in pairs]
        with ThreadPoolExecutor(workers, thread_name_prefix="check") as pool:
            return list(pool.map(lambda pair: check_pair(pair, camera, limits, highs), pairs))

    def _status(self, taken: FieldTaken, sites: list[SiteTaken]) -> Status:
        """Done when any pair is good; else again, or failed at the last attempt."""
        if any(verdict.accepted for site in sites for _, verdict in site.pairs):
            return "done"
        return "retry" if taken.attempt + 1 < self._program.attempts else "failed"
