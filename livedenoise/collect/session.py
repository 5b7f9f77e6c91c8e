"""A whole collection: configuration and plan in, data set and report out.

Knows: which part is made from which. Must not know: how any of them works.
"""

from __future__ import annotations

import threading
from contextlib import ExitStack
from pathlib import Path

import msgspec

from livedenoise.collect.dry_run import one_camera
from livedenoise.collect.manifest import read_records
from livedenoise.collect.plan import Plan, load_plan
from livedenoise.collect.program import Program
from livedenoise.collect.records import MANIFEST_NAME
from livedenoise.collect.run import OnPair, Tally
from livedenoise.collect.work import Work
from livedenoise.core.clock import Clock, MonotonicClock
from livedenoise.core.config import CameraConfig
from livedenoise.core.errors import (
    CameraError,
    CollectError,
    ConfigError,
    LiveDenoiseError,
    RecordError,
)
from livedenoise.core.microscope import Microscope
from livedenoise.core.progress import OnProgress, Progress
from livedenoise.microscope.choose import open_microscope_for


class CollectSummary(msgspec.Struct, frozen=True, kw_only=True):
    """How a collection ended. Counts include what was there before a ``--resume``.

    ``exit_code`` 0 also when it was stopped; ``left`` says how many fields are still to be taken.
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
        When set, the field in progress is finished and the rest is left for ``resume``.
    clock : Clock, optional
        Source of time.

    Raises
    ------
    ConfigError
        If configuration or plan are wrong, or do not fit microscope or data set: nothing was
        exposed.
    CameraError, RecordError
        If the microscope cannot be opened, or the data set not begun.
    """
    camera, plan = one_camera(config_path), load_plan(plan_path)
    if not resume and (out / MANIFEST_NAME).exists():
        raise ConfigError(
            f"{out}: holds a data set already", "go on with --resume, or choose another --out"
        )
    # Beside the data set: there before it, and after a kill for whoever goes on.
    journal = out.resolve().with_name(f".{out.name}-microscope.json")
    scope = open_microscope_for(camera, journal=journal)
    return collect_at(
        scope,
        camera,
        plan,
        out,
        on_progress=on_progress,
        on_pair=on_pair,
        stop=stop,
        clock=clock or MonotonicClock(),
    )


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
        As ``run_collect`` says.
    """
    started_ns = clock.now_ns()
    tally, error = Tally(), None
    with ExitStack() as undo:
        undo.callback(scope.close)
        work = Work.prepare(
            scope, camera, plan, out, clock=clock, undo=undo, on_progress=on_progress
        )
        for record in read_records(out):
            tally.add(record)
        _tell(on_progress, work, tally)
        try:
            work.collection(on_progress, on_pair, stop).run(work.left, tally)
        except (CameraError, CollectError, RecordError) as problem:
            error = problem
    # What counts is what is on disk, also where the run ended in the middle of something.
    tally = Tally()
    for record in read_records(out):
        tally.add(record)
    report, errors = _report(out, work.program, plan, on_progress) if with_report else ("", [])
    if error is not None:
        errors = [str(error), *getattr(error, "__notes__", ()), *errors]
    total = len(work.program.fields)
    return CollectSummary(
        exit_code=_exit_code(error, errors),
        fields=total,
        fields_done=tally.done,
        fields_failed=tally.failed,
        left=total - tally.done - tally.failed,
        pairs_accepted=tally.accepted,
        pairs_rejected=tally.rejected,
        dose_us=tally.dose_us,
        elapsed_s=(clock.now_ns() - started_ns) * 1e-9,
        report=report,
        errors=errors,
        notes=[*work.notes, *work.program.notes],
    )


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


def _exit_code(error: LiveDenoiseError | None, errors: list[str]) -> int:
    if error is not None:
        return error.exit_code
    return RecordError.exit_code if errors else 0
