"""A whole collection: configuration and plan in, data set and report out.

Knows: which part is made from which, in what order they begin and end. Must not know: how any of
them works.

The data set is locked before the microscope is touched and until the microscope is put back: of two
processes, the second gets neither its light nor the journal of its changes.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import msgspec

from livedenoise.collect.camera_facts import StoppedError
from livedenoise.collect.dataset_lock import DatasetLock
from livedenoise.collect.dataset_resume import require_new
from livedenoise.collect.dry_run import one_camera
from livedenoise.collect.manifest import read_header, read_records
from livedenoise.collect.plan import Plan, load_plan
from livedenoise.collect.program import Program
from livedenoise.collect.records import MANIFEST_NAME
from livedenoise.collect.run import OnPair, Tally
from livedenoise.collect.work import Work
from livedenoise.core.clock import Clock, MonotonicClock
from livedenoise.core.config import CameraConfig
from livedenoise.core.errors import CollectError, LiveDenoiseError, RecordError
from livedenoise.core.microscope import Microscope
from livedenoise.core.progress import OnProgress, Progress
from livedenoise.microscope.choose import open_microscope_for


class CollectSummary(msgspec.Struct, frozen=True, kw_only=True):
    """How a collection ended. Counts include what was there before a ``--resume``.

    ``exit_code`` 0 also when it was stopped; ``left`` says how many fields are still to be taken.
    ``dose_us`` counts the attempts that have a record, and the frames a gain was estimated from.
    """

    exit_code: int
    fields: int
    fields_done: int
    fields_failed: int
    left: int
    pairs_accepted: int
    pairs_rejected: int
    dose_us: float
    elapsed_s: float
    report: str
    errors: list[str] = []
    notes: list[str] = []


def run_collect(
    config_path: Path,
    plan_path: Path,
    out: Path,
    *,
    resume: bool,
    on_progress: OnProgress,
    on_pair: OnPair | None,
    stop: threading.Event,
    clock: Clock | None = None,
) -> CollectSummary:
    """Collect pairs by a plan.

    Parameters
    ----------
    config_path, plan_path : Path
        Files of the rig and of the plan.
    out : Path
        Folder of the data set: new, or with ``resume`` begun before (or new as well).
    on_progress, on_pair : callable
        Told of every field; given every pair.
    stop : threading.Event
        When set, the field in progress is finished and the rest is left for ``resume``; during the
        dark frames nothing is begun.
    clock : Clock, optional
        Source of time.

    Raises
    ------
    ConfigError
        If configuration or plan are wrong, or do not fit microscope or data set, or another process
        writes there: nothing was exposed.
    CameraError, RecordError
        If the microscope cannot be opened, or the data set not begun.
    """
    camera, plan = one_camera(config_path), load_plan(plan_path)
    if not resume:
        require_new(out)
    out = out.resolve()
    with _locked(out) as lock:
        # Beside the data set: there before it, and after a kill for whoever goes on.
        journal = out.with_name(f".{out.name}-microscope.json")
        scope = open_microscope_for(camera, journal=journal)
        session = _Session(scope, camera, plan, lock=lock, out=out, on_progress=on_progress)
        return session.run(on_pair, stop, clock or MonotonicClock())


def collect_at(
    scope: Microscope,
    camera: CameraConfig,
    plan: Plan,
    out: Path,
    *,
    on_progress: OnProgress,
    on_pair: OnPair | None,
    stop: threading.Event,
    clock: Clock,
    with_report: bool = True,
) -> CollectSummary:
    """Collect pairs at a microscope, which is opened and closed; goes on where ``out`` has some.

    Raises
    ------
    LiveDenoiseError
        As ``run_collect`` says. What went wrong while the microscope was closed is a note on it.
    """
    with _locked(out) as lock:
        session = _Session(
            scope,
            camera,
            plan,
            lock=lock,
            out=out,
            on_progress=on_progress,
            with_report=with_report,
        )
        return session.run(on_pair, stop, clock)


@contextmanager
def _locked(out: Path) -> Iterator[DatasetLock]:
    """Hold a data set, begun or not; its folder is there from now on."""
    if not (out / MANIFEST_NAME).exists():
        require_new(out)  # leave no lock in a folder of something else
    lock = DatasetLock(out)
    try:
        yield lock
    finally:
        lock.release()


class _Session:
    """One run at a data set that is locked."""

    def __init__(
        self,
        scope: Microscope,
        camera: CameraConfig,
        plan: Plan,
        *,
        lock: DatasetLock,
        out: Path,
        on_progress: OnProgress,
        with_report: bool = True,
    ) -> None:
        self._scope = scope
        self._camera = camera
        self._plan = plan
        self._out = out
        self._lock = lock
        self._on_progress = on_progress
        self._with_report = with_report
        self._errors: list[LiveDenoiseError] = []

        self._closing: list[LiveDenoiseError] = []

    def run(self, on_pair: OnPair | None, stop: threading.Event, clock: Clock) -> CollectSummary:
        """Open, collect, close, and say how it ended."""
        started_ns = clock.now_ns()
        try:
            with ExitStack() as undo:
                undo.callback(self._close)
                work = Work.prepare(
                    self._scope,
                    self._camera,
                    self._plan,
                    self._out,
                    lock=self._lock,
                    clock=clock,
                    undo=undo,
                    on_progress=self._on_progress,
                    stop=stop,
                )
                self._take(work, on_pair, stop)
        except StoppedError as stopped:
            return self._nothing_begun(stopped, (clock.now_ns() - started_ns) * 1e-9)
        except BaseException as error:
            # It comes first, and is not hidden by what closing the microscope said.
            for other in (*self._errors, *self._closing):
                error.add_note(str(other))
            raise
        return self._summary(work, (clock.now_ns() - started_ns) * 1e-9)

    def _take(self, work: Work, on_pair: OnPair | None, stop: threading.Event) -> None:
        """Take what is left; an error ends it, and leaves a data set to tell of."""
        try:
            work.judge_left()
            tally = self._tally()
            _tell(self._on_progress, work, tally)
            work.collection(self._on_progress, on_pair, stop).run(work.left, tally)
        except LiveDenoiseError as error:
            self._errors.append(error)

    def _close(self) -> None:
        try:
            self._scope.close()
        except LiveDenoiseError as error:
            self._closing.append(error)

    def _tally(self) -> Tally:
        """Count what is on disk: that is what there is, whatever ended the run."""
        tally = Tally(dose_us=read_header(self._out).scout_dose_us)
        for record in read_records(self._out):
            tally.add(record)
        return tally

    def _summary(self, work: Work, elapsed_s: float) -> CollectSummary:
        tally, total = self._tally(), len(work.program.fields)
        left = total - tally.done - tally.failed
        problems = [*self._errors, *_nothing_good(self._errors, tally, left), *self._closing]
        report, no_report = "", list[str]()
        if self._with_report:
            report, no_report = _report(self._out, work.program, self._plan, self._on_progress)
        return CollectSummary(
            exit_code=_exit_code(problems, no_report),
            fields=total,
            fields_done=tally.done,
            fields_failed=tally.failed,
            left=left,
            pairs_accepted=tally.accepted,
            pairs_rejected=tally.rejected,
            dose_us=tally.dose_us,
            elapsed_s=elapsed_s,
            report=report,
            errors=[*_texts(problems), *no_report],
            notes=[*work.notes, *work.program.notes],
        )

    def _nothing_begun(self, stopped: StoppedError, elapsed_s: float) -> CollectSummary:
        return CollectSummary(
            exit_code=_exit_code(self._closing, []),
            fields=stopped.n_fields,
            fields_done=0,
            fields_failed=0,
            left=stopped.n_fields,
            pairs_accepted=0,
            pairs_rejected=0,
            dose_us=0.0,
            elapsed_s=elapsed_s,
            report="",
            errors=_texts(self._closing),
            notes=["stopped before the first field: there is no data set, start again"],
        )


def _nothing_good(
    errors: list[LiveDenoiseError], tally: Tally, left: int
) -> Iterator[LiveDenoiseError]:
    """Yield an error when everything was taken and nothing of it can be used."""
    if not errors and not left and not tally.accepted:
        yield CollectError(
            f"not one pair was accepted: all {tally.failed} fields failed",
            "look at the rejected pairs and their reasons in report.html, mend the cause, and "
            "begin another data set (failed fields are not taken again)",
        )


def _texts(errors: list[LiveDenoiseError]) -> list[str]:
    return [text for one in errors for text in (str(one), *getattr(one, "__notes__", ()))]


def _tell(on_progress: OnProgress, work: Work, tally: Tally) -> None:
    on_progress(
        Progress(
            task="collect",
            done=tally.done + tally.failed,
            total=len(work.program.fields),
            unit="fields",
        )
    )


def _report(
    out: Path, program: Program, plan: Plan, on_progress: OnProgress
) -> tuple[str, list[str]]:
    """Write the report; a report that cannot be written is an error and loses no data."""
    from livedenoise.collect.report import write_report

    try:
        return str(write_report(out, program.limits, on_progress)), []
    except LiveDenoiseError as error:
        return "", [f"{plan.name}: {error}"]


def _exit_code(problems: list[LiveDenoiseError], no_report: list[str]) -> int:
    if problems:
        return problems[0].exit_code
    return RecordError.exit_code if no_report else 0
