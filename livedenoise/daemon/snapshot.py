"""From what the stages said last to the snapshot that views and subscribers get.

It never waits. What must be remembered from one snapshot to the next is in ``SnapshotMemory``. Must
not know: sockets, processes, terminals.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from livedenoise.core.config import Config
from livedenoise.core.status import StageStatus, StatusSnapshot, StreamStatus
from livedenoise.daemon.alerts import alerts
from livedenoise.daemon.memory import SnapshotMemory
from livedenoise.daemon.options import RunOptions
from livedenoise.daemon.plan import CameraFacts
from livedenoise.daemon.stream_report import StagesView, StreamReport

__all__ = ["SnapshotMemory", "status_snapshot"]

_SETTLED_S = 2.0
"""Age of a run from which its data rate says how long the disk lasts."""


def status_snapshot(
    config: Config,
    options: RunOptions,
    stages: StagesView,
    facts: Mapping[str, CameraFacts],
    memory: SnapshotMemory,
    *,
    run_dir: str,
    elapsed_s: float,
    state: str,
    errors: tuple[str, ...],
    notes: tuple[str, ...],
    run_id: str = "",
    pid: int = 0,
) -> StatusSnapshot:
    """Return the state of a run from what its stages said last.

    Raises
    ------
    ValueError, msgspec.ValidationError
        If a stage reported something that is no metrics (another version of the program).
    """
    now_ns = memory.clock.now_ns()
    reports = (
        StreamReport(
            camera.name,
            config=config,
            stages=stages,
            prepared=facts[camera.name].prepared,
            memory=memory.stream(camera.name),
            now_ns=now_ns,
        )
        for camera in config.camera
        if camera.name in facts
    )
    streams = tuple(report.status() for report in reports)
    recording = bool(streams) and all(_records(stream) for stream in streams)
    # One camera's dead recorder does not make the disk larger for the others.
    writing = any(_records(stream) for stream in streams)
    free = memory.disk.free_bytes(run_dir, now_ns) if writing else None
    settled = elapsed_s > _SETTLED_S
    rate = sum(s.mb_per_s for stream in streams for s in stream.stages if _writes(s)) * 1e6
    snapshot = StatusSnapshot(
        name=config.name,
        state=state,
        elapsed_s=elapsed_s,
        total_s=options.seconds or 0.0,
        total_frames=options.frames or 0,
        run_dir=run_dir,
        streams=streams,
        errors=errors,
        notes=notes,
        recording=recording,
        recording_left_s=free / rate if free is not None and rate and settled else None,
        disk_free_bytes=free,
        run_id=run_id,
        pid=pid,
    )
    wrong = alerts(snapshot, memory.before(now_ns))
    if writing and memory.disk.problem:
        wrong = (memory.disk.problem, *wrong)
    memory.remember(now_ns, snapshot)
    return msgspec.structs.replace(snapshot, alerts=wrong)


def _records(stream: StreamStatus) -> bool:
    return any(s.kind == "record" and s.state != "dead" for s in stream.stages)


def _writes(stage: StageStatus) -> bool:
    return stage.kind in ("record", "record-clean")
