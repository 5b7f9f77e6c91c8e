"""A snapshot, or the summary of a run that ended, as a few lines of plain text. Pure.

Knows: words and units for people who read a log or a terminal. Must not know: where a snapshot
comes from, colours, the screen.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from livedenoise.core.status import StageStatus, StatusSnapshot, StreamStatus

_FEW = 3


def status_lines(snapshot: StatusSnapshot, *, everything: bool = False) -> list[str]:
    """Return one line for the run, two for each camera, then what is wrong.

    Parameters
    ----------
    everything : bool
        Every stage, error and note too; else the last few.
    """
    lines = [_head(snapshot)]
    for stream in snapshot.streams:
        lines += _stream_lines(stream)
        if everything:
            lines += [_stage_line(stage) for stage in stream.stages]
    few = None if everything else -_FEW
    lines += [f"  ! {alert}" for alert in snapshot.alerts]
    lines += [f"  ! {error}" for error in snapshot.errors[few:]]
    lines += [f"  - {note}" for note in snapshot.notes[few:]] if everything else []
    return lines


def draining_line(snapshot: StatusSnapshot) -> str:
    """Return what a run that was asked to stop still does."""
    counts = ", ".join(
        f"{s.camera} captured {s.captured} recorded {s.recorded} denoised {s.denoised}"
        for s in snapshot.streams
    )
    busy = [
        stage.name
        for stream in snapshot.streams
        for stage in stream.stages
        if stage.state not in ("finished", "dead")
    ]
    waits = f"; still busy: {', '.join(busy)}" if busy else ""
    return f"{snapshot.state}: {counts or 'nothing captured yet'}{waits}"


def summary_line(summary: Mapping[str, Any]) -> str:
    """Return the totals of a run, from its summary.json, in one line."""
    whole = "all accounted for" if summary["conserved"] else "NOT all accounted for"
    return (
        f"captured {summary['captured']}, lost at camera {summary['lost_at_camera']}, "
        f"recorded {summary['recorded']}, denoised {summary['denoised']}, "
        f"passed through {summary.get('passthrough', 0)}, skipped {summary['skipped']}, {whole}, "
        f"exit code {summary['exit_code']}, run folder {summary['run_dir']}"
    )


def duration_text(seconds: float) -> str:
    """Return a duration in the unit it is best read in."""
    for unit, size in (("d", 86_400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.1f} s"


def _head(snapshot: StatusSnapshot) -> str:
    until = ""
    if snapshot.total_s:
        until = f" of {duration_text(snapshot.total_s)}"
    elif snapshot.total_frames:
        until = f" until {snapshot.total_frames} frames"
    parts = [
        f"{snapshot.name}: {snapshot.state} {duration_text(snapshot.elapsed_s)}{until}",
        f"process {snapshot.pid}",
        f"run folder {snapshot.run_dir}",
    ]
    if snapshot.recording_left_s is not None:
        parts.append(f"disk full in {duration_text(snapshot.recording_left_s)}")
    return ", ".join(parts)


def _stream_lines(stream: StreamStatus) -> list[str]:
    lost = stream.lost_at_camera + sum(stream.dropped.values())
    height, width = stream.shape
    counts = (
        f"captured {stream.captured} ({stream.fps_in:.1f} fps), recorded {stream.recorded}, "
        f"denoised {stream.denoised} ({stream.fps_out:.1f} fps), skipped {stream.skipped}, "
        f"lost {lost}{_reasons(stream.dropped)}"
    )
    restarts = sum(stage.restarts for stage in stream.stages)
    note = f", {stream.note}" if stream.note else ""
    return [
        f"  {stream.camera}: {width}x{height} {np.dtype(stream.dtype).name}, {counts}",
        f"    latency {_latency(stream)}, engine {stream.engine}, restarts {restarts}{note}",
    ]


def _latency(stream: StreamStatus) -> str:
    found = stream.recent or stream.latency
    if not found.count:
        return "not measured"
    return f"p50 {found.p50:.1f} ms p99 {found.p99:.1f} ms"


def _stage_line(stage: StageStatus) -> str:
    parts = [f"    {stage.name}: {stage.state}"]
    if stage.pid:
        parts.append(f"process {stage.pid}")
    parts += [f"{stage.count} frames", f"{stage.fps:.1f} fps", f"restarts {stage.restarts}"]
    if stage.queue:
        parts.append(f"{stage.queue} {stage.fill:.0%} full")
    return ", ".join(parts) + _reasons(stage.dropped)


def _reasons(dropped: Mapping[str, int]) -> str:
    found = [f"{count} {reason}" for reason, count in dropped.items() if count]
    return f" ({', '.join(found)})" if found else ""
