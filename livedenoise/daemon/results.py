"""From what the stages of a line said last to the result the summary is made of."""

from __future__ import annotations

from typing import Any

import msgspec

from livedenoise.core.errors import ConfigError
from livedenoise.daemon.line import Line
from livedenoise.daemon.rings import CLEAN, RAW
from livedenoise.daemon.stages import StageHandle, Stages
from livedenoise.daemon.summary import StreamResult
from livedenoise.record.run_folder import RunFolder
from livedenoise.record.sidecar import SIDECAR_NAME, FrameLine, SidecarReader


def stream_result(line: Line, stages: Stages, folder: RunFolder, given_up: str) -> StreamResult:
    """Return the final metrics and facts of a camera's stages.

    Parameters
    ----------
    given_up : str
        Why the run did not wait for every frame, "" when it did.
    """
    acquire, denoise, record = (line.get(kind) for kind in ("acquire", "denoise", "record"))
    metrics = {kind: _totals(stages, kind, line.name) for kind in ("acquire", "denoise")}
    return StreamResult(
        camera=line.name,
        acquire=_acquire_facts(line, stages, metrics["acquire"]) if line.facts else {},
        acquire_metrics=metrics["acquire"],
        denoise=_denoise_facts(denoise),
        denoise_metrics=metrics["denoise"],
        record_metrics=_recorded(stages, "record", RAW, line.name, folder),
        clean_metrics=_recorded(stages, "record-clean", CLEAN, line.name, folder),
        recording=record is not None,
        denoising=denoise is not None,
        record_failed=_why_unfinished(record, "recorder_failed", given_up),
        denoise_failed=_why_unfinished(denoise, "denoiser_failed", given_up),
        restarts={handle.kind: handle.restarts for handle in line.handles if handle.restarts},
        file_numbers=_numbers_in_file(record),
        acquire_died=acquire is not None and acquire.failed is not None and acquire.silent_death,
    )


def _totals(stages: Stages, kind: str, camera: str) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.to_builtins(stages.totals(kind, camera))
    return found


def _acquire_facts(line: Line, stages: Stages, metrics: dict[str, Any]) -> dict[str, Any]:
    """Return the totals of the raw rings (exact also for killed processes) and the times."""
    totals, handle = line.raw_totals(), line.get("acquire")
    facts = {} if handle is None else handle.facts
    return {
        "captured": totals.captured,
        "published": totals.published,
        "dropped_full": totals.dropped_full,
        "lost_at_camera": totals.lost_at_camera,
        "numbers": totals.last_seq + 1,
        "bytes": metrics["counts"].get("bytes", 0),
        "first_host_ns": int(stages.first("acquire", line.name, "first_host_ns")),
        "last_host_ns": totals.last_host_ns,
        "undelivered": facts.get("undelivered", {}),
    }


def _denoise_facts(denoise: StageHandle | None) -> dict[str, Any]:
    """Return what served; of a killed denoiser, what it said last."""
    if denoise is None:
        return {}
    serving = denoise.facts.get("serving") or denoise.metrics.get("serving")
    return {"serving": serving or (denoise.ready or {}).get("serving")}


def _recorded(
    stages: Stages, kind: str, stream: str, camera: str, folder: RunFolder
) -> dict[str, Any]:
    """Return a recorder's metrics, with the frames its files hold, over all its processes."""
    handle = stages.get(kind, camera)
    if handle is None:
        return {}
    metrics = _totals(stages, kind, camera)
    sidecar = folder.stream_folder(stream, camera) / SIDECAR_NAME
    if "frames" in handle.facts:
        metrics["counts"]["recorded"] = handle.facts["frames"]
    elif sidecar.is_file():
        # Killed without a word: its last report is older than its last frame.
        try:
            found = sum(isinstance(line, FrameLine) for line in SidecarReader(sidecar))
        except ConfigError:
            return metrics | {"unreadable": str(sidecar)}
        metrics["counts"]["recorded"] = found
    return metrics


def _numbers_in_file(record: StageHandle | None) -> int:
    """Return how many numbers the raw file holds, as frames and in gaps; -1 when it cannot say."""
    if record is None or "missing" not in record.facts:
        return -1
    missing: dict[str, int] = record.facts["missing"]
    return int(record.facts["frames"]) + sum(missing.values())


def _why_unfinished(handle: StageHandle | None, failed: str, given_up: str) -> str:
    """Return the known cause of frames a stage never took; empty when it took all."""
    if handle is not None and handle.failed is not None:
        return failed
    return given_up
