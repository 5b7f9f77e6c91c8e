"""``recover``: what a killed or damaged run left becomes a finished run folder again.

Knows: when a run has ended, which folders hold streams, what a summary can still say.
Must not know: how findings are shown. Changes nothing in a run that is complete, deletes no pixel,
invents no number: what is not known is not in the summary.
"""

from __future__ import annotations

import platform
import time
from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec

from livedenoise.core.errors import EXIT_OK, EXIT_RECORD, ConfigError
from livedenoise.core.process_life import same_process
from livedenoise.core.progress import OnProgress, ignore_progress
from livedenoise.micromanager.changes import left_changed
from livedenoise.record.mend import StreamReport, mend_stream
from livedenoise.record.part import is_part_name
from livedenoise.record.run_folder import (
    STREAMS,
    SUMMARY_NAME,
    Run,
    RunFacts,
    is_run_folder,
    open_run,
    write_json,
)
from livedenoise.record.sidecar import SIDECAR_NAME

_STAGES_END_S = 1.5
"""Age of the newest file at which the stages of a killed daemon have ended too: they take 1 s."""

_STAGES_WAIT_S = 5.0
_FOREIGN_AGE_S = 120.0
"""Age of the newest file at which a run is over whose process cannot be asked for."""


class RecoveryReport(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a run.

    Attributes
    ----------
    complete : bool
        True when nothing had to be changed.
    check_only : bool
        True when nothing was changed whatever was found.
    lost : int
        Frames that were acknowledged and are not there any more.
    summary : dict
        What was written to summary.json; empty when it was left as it is.
    left : tuple of str
        What a killed camera process left changed in software that outlives it (Micro-Manager);
        nothing of it is mended here.
    """

    path: str
    run_id: str
    complete: bool
    check_only: bool
    lost: int
    streams: tuple[StreamReport, ...]
    found: tuple[str, ...]
    changes: tuple[str, ...]
    summary: dict[str, Any]
    left: tuple[str, ...] = ()

    @property
    def exit_code(self) -> int:
        """Return 0 when everything acknowledged is there and nothing is left to be done, else 5."""
        left = self.check_only and not self.complete
        return EXIT_RECORD if left or self.lost else EXIT_OK


def recover_run(
    path: Path,
    on_progress: OnProgress = ignore_progress,
    *,
    check_only: bool = False,
    force: bool = False,
) -> RecoveryReport:
    """Mend a killed or damaged run: sidecars, chains of pages, indexes, summary. Idempotent.

    Parameters
    ----------
    check_only : bool
        Say what is wrong and change nothing.
    force : bool
        Go on although the run may still be under way.

    Raises
    ------
    ConfigError
        If it is no run folder, its daemon still runs, or a file cannot be read.
    RecordError
        If a file cannot be written.
    """
    run = _open(path)
    if run.summary is None and not force:
        _require_ended(path, run.facts)
    streams = tuple(
        mend_stream(folder, stream, check_only=check_only, on_progress=on_progress)
        for stream, folder in _stream_folders(path)
    )
    found, changes = _outside_streams(run, streams, check_only=check_only)
    return RecoveryReport(
        path=str(path),
        run_id=run.facts.run_id,
        complete=not found and all(stream.complete for stream in streams),
        check_only=check_only,
        lost=sum(stream.lost for stream in streams),
        streams=streams,
        found=tuple(found),
        changes=tuple(changes),
        summary=_summary(run, streams) if changes else {},
        left=tuple(left_changed(path / "logs")),
    )


def _open(path: Path) -> Run:
    if is_run_folder(path):
        return open_run(path, damaged_ok=True)
    above = next((folder for folder in path.parents if is_run_folder(folder)), None)
    hint = "give the folder that holds run.json" if above is None else f"give {above}"
    raise ConfigError(f"{path}: not a run folder", hint)


def _require_ended(path: Path, facts: RunFacts) -> None:
    """Refuse a run that is, or may be, under way; wait for the stages of a killed daemon."""
    if facts.pid and facts.host in ("", platform.node()):
        if same_process(facts.pid, facts.born):
            raise ConfigError(
                f"{path}: its daemon (process {facts.pid}) still runs",
                "stop it first; --force recovers all the same",
            )
        deadline = time.monotonic() + _STAGES_WAIT_S
        while _age_s(path) < _STAGES_END_S and time.monotonic() < deadline:
            time.sleep(0.05)
        if _age_s(path) < _STAGES_END_S:
            raise ConfigError(
                f"{path}: its daemon is dead and something still writes to it",
                "wait until its recorder has ended; --force recovers all the same",
            )
        return
    age_s = _age_s(path)
    if age_s < _FOREIGN_AGE_S:
        raise ConfigError(
            f"{path}: last written to {age_s:.0f} s ago, by a process on "
            f"{facts.host or 'a machine'} that cannot be asked for from here",
            f"wait {_FOREIGN_AGE_S:.0f} s, or use --force when that process has ended",
        )


def _age_s(path: Path) -> float:
    """Return how long ago the newest file of a run was written."""
    files = [
        path / "run.json",
        *(f for _, folder in _stream_folders(path) for f in folder.iterdir()),
    ]
    return time.time() - max(file.stat().st_mtime for file in files)


def _stream_folders(path: Path) -> Iterator[tuple[str, Path]]:
    """Yield the folders in which a stream was recorded, or begun to be."""
    for stream in STREAMS:
        for folder in sorted((path / stream).glob("*/")):
            names = {file.name for file in folder.iterdir()}
            if SIDECAR_NAME in names or any(is_part_name(name) for name in names):
                yield stream, folder


def _outside_streams(
    run: Run, streams: tuple[StreamReport, ...], *, check_only: bool
) -> tuple[list[str], list[str]]:
    """Look at the run's summary, and write one from what is known where there is none."""
    ours = run.summary is not None and bool(run.summary.get("recovered"))
    if run.summary is not None and not ours:
        return [], []
    summary = _summary(run, streams)
    if run.summary == summary:
        return [], []
    path = run.path / SUMMARY_NAME
    damaged = run.summary is None and path.exists()
    what = "damaged" if damaged else "missing: the run was killed"
    if run.summary is not None:
        what = "does not say what is there"
    found = [f"{SUMMARY_NAME}: {what}"]
    if check_only:
        return found, []
    changes = [f"{SUMMARY_NAME} was written from what is known"]
    if damaged:
        kept = _free_name(path)
        path.rename(kept)
        changes.append(f"the damaged one is {kept.name}")
    write_json(path, summary)
    return found, changes


def _free_name(path: Path) -> Path:
    """Return a name beside ``path`` that nothing has yet."""
    numbers = iter(range(1, 1000))
    names = (path.with_name(f"{path.name}.damaged-{number}") for number in numbers)
    return next(name for name in names if not name.exists())


def _summary(run: Run, streams: tuple[StreamReport, ...]) -> dict[str, Any]:
    """Return the totals that the streams still tell, marked ``recovered``; plain JSON types."""
    raw = [stream for stream in streams if stream.stream == "raw"]
    return {
        "recovered": True,
        "run_id": run.facts.run_id,
        "recorded": sum(stream.frames for stream in raw),
        "recorded_clean": sum(s.frames for s in streams if s.stream == "clean"),
        "missing": _by_reason(raw),
        "missing_clean": _by_reason([s for s in streams if s.stream == "clean"]),
        **_span(run.facts, raw),
        "streams": [_stream_entry(run.facts, stream) for stream in streams],
    }


def _stream_entry(facts: RunFacts, stream: StreamReport) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "camera": stream.camera,
        "stream": stream.stream,
        "frames": stream.frames,
        "bytes": stream.bytes,
        "missing": stream.missing,
        "lost": stream.lost,
        "error": stream.error,
        **_span(facts, [stream]),
    }
    if stream.numbered and stream.last_seq >= 0:
        entry |= {"first_seq": stream.first_seq, "last_seq": stream.last_seq}
    return entry


def _by_reason(streams: list[StreamReport]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for stream in streams:
        total.update(stream.missing)
    return dict(total)


def _span(facts: RunFacts, streams: list[StreamReport]) -> dict[str, Any]:
    """Return wall-clock times of the first and last frame, seconds between them, frames a second.

    Empty where times are unknown. ``fps`` is the sum over cameras of the frames recorded after the
    first, by the time they took.
    """
    timed = [stream for stream in streams if stream.first_ns and stream.last_ns]
    if not timed:
        return {}
    first = min(stream.first_ns for stream in timed)
    last = max(stream.last_ns for stream in timed)
    found: dict[str, Any] = {
        "first_time": _wall_time(facts, first),
        "last_time": _wall_time(facts, last),
        "seconds": (last - first) * 1e-9,
    }
    rates = [
        (s.frames - 1) / ((s.last_ns - s.first_ns) * 1e-9) for s in timed if s.last_ns > s.first_ns
    ]
    return found | {"fps": sum(rates)} if rates else found


def _wall_time(facts: RunFacts, t_ns: int) -> str:
    """Return a ``core.clock`` time of this run as wall-clock time (ISO 8601 with offset)."""
    since = timedelta(microseconds=(t_ns - facts.created_ns) / 1000)
    return (datetime.fromisoformat(facts.created) + since).isoformat(timespec="milliseconds")
