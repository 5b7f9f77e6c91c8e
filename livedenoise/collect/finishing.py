"""Check a field and store it: what happens between the last exposure and the manifest line.

Knows: pairs -> verdicts -> status -> data set. Must not know: microscopes, how pairs are judged.
"""

from __future__ import annotations

from livedenoise.collect.check_camera import PairCamera
from livedenoise.collect.check_pair import check_pair
from livedenoise.collect.dataset import DatasetWriter, Status
from livedenoise.collect.dataset_images import SiteTaken
from livedenoise.collect.program import Program
from livedenoise.collect.records import FieldRecord
from livedenoise.collect.run import FieldTaken, PairShown


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
    """

    def __init__(self, program: Program, camera: PairCamera, writer: DatasetWriter) -> None:
        self._program = program
        self._camera = camera
        self._writer = writer

    def __call__(self, taken: FieldTaken) -> tuple[FieldRecord, tuple[PairShown, ...]]:
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
        shown = tuple(
            PairShown(field=taken.field, attempt=taken.attempt, pair=pair, verdict=verdict)
            for site in sites
            for pair, verdict in site.pairs
        )
        return record, shown

    def _checked(self, taken: FieldTaken) -> list[SiteTaken]:
        limits, camera = self._program.limits, self._camera
        sites = zip(self._program.fields[taken.field], taken.taken, taken.pairs, strict=True)
        return [
            SiteTaken(
                site=site,
                taken=shots,
                pairs=tuple((pair, check_pair(pair, camera, limits)) for pair in pairs),
            )
            for site, shots, pairs in sites
        ]

    def _status(self, taken: FieldTaken, sites: list[SiteTaken]) -> Status:
        """Done when all pairs are good, or, at the last attempt, any; else again, or failed."""
        verdicts = [verdict.accepted for site in sites for _, verdict in site.pairs]
        if all(verdicts):
            return "done"
        if taken.attempt + 1 < self._program.attempts:
            return "retry"
        return "done" if any(verdicts) else "failed"
