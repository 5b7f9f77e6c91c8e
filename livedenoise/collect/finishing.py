"""Check a field and store it: what happens between the last exposure and the manifest line.

Knows: pairs -> verdicts -> status -> data set. Must not know: microscopes, how pairs are judged.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

from livedenoise.collect.check_camera import PairCamera
from livedenoise.collect.check_pair import check_pair
from livedenoise.collect.dataset import DatasetWriter, Status
from livedenoise.collect.dataset_images import SiteTaken
from livedenoise.collect.pending import FieldTaken, PendingFields
from livedenoise.collect.program import Program
from livedenoise.collect.run import Outcome, PairShown
from livedenoise.collect.shots import Pair, make_pairs
from livedenoise.collect.verdict import PairVerdict

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
            If the disk takes no more; all earlier fields are intact.
        """
        sites = self._checked(taken)
        record = self._writer.add_field(
            taken.field,
            taken.attempt,
            sites,
            status=self._status(taken, sites),
            split=self._program.splits[taken.field],
            dose_us=taken.dose_us,
            elapsed_s=taken.elapsed_s,
            overhead_s=taken.overhead_s,
        )
        self._pending.drop(taken.field, taken.attempt)
        shown = tuple(
            PairShown(field=taken.field, attempt=taken.attempt, pair=pair, verdict=verdict)
            for site in sites
            for pair, verdict in site.pairs
        )
        return record, shown

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
        workers = min(len(pairs), _MOST_WORKERS, os.cpu_count() or 1)
        if workers < 2:
            return [check_pair(pair, camera, limits) for pair in pairs]
        with ThreadPoolExecutor(workers, thread_name_prefix="check") as pool:
            return list(pool.map(lambda pair: check_pair(pair, camera, limits), pairs))

    def _status(self, taken: FieldTaken, sites: list[SiteTaken]) -> Status:
        """Done when all pairs are good, or, at the last attempt, any; else again, or failed."""
        verdicts = [verdict.accepted for site in sites for _, verdict in site.pairs]
        if all(verdicts):
            return "done"
        if taken.attempt + 1 < self._program.attempts:
            return "retry"
        return "done" if any(verdicts) else "failed"
