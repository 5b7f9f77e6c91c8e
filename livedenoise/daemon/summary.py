"""The summary of a run: totals, losses by stage and reason, latencies, and whether it all adds up.

Identities, checked on the real counters (never filled in to fit):
``captured == recorded + raw drops`` and ``published == denoised + passthrough + skipped``; and
every number ever given to a frame is captured or lost at the camera, and is a frame or in a gap of
the raw file.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import msgspec

from livedenoise.core.metrics import (
    HOPS,
    LatencySummary,
    MetricsView,
    merged,
    metrics_from_wire,
)


class StreamResult(msgspec.Struct, kw_only=True):
    """Final metrics and facts of one camera's stages, over all their processes; empty when none.

    ``record_failed`` and ``denoise_failed`` name the known cause of frames a stage never took: its
    death, or that the run was given up. ``restarts`` counts replaced processes by kind;
    ``file_numbers`` is how many numbers the raw file holds, as frames and in gaps, -1 when it
    cannot say; ``acquire_died`` says that the camera's last process was killed and not replaced.
    """

    camera: str
    acquire: dict[str, Any] = {}
    acquire_metrics: dict[str, Any] = {}
    denoise: dict[str, Any] = {}
    denoise_metrics: dict[str, Any] = {}
    record_metrics: dict[str, Any] = {}
    clean_metrics: dict[str, Any] = {}
    recording: bool = False
    denoising: bool = False
    record_failed: str = ""
    denoise_failed: str = ""
    restarts: dict[str, int] = {}
    file_numbers: int = -1
    acquire_died: bool = False


class Incident(msgspec.Struct, kw_only=True):
    """A stage process that died or hung, ``at_s`` after the start.

    ``ready_after_s`` is when its successor was ready, counted from the death; -1 when it was not
    replaced.
    """

    stage: str
    what: str
    at_s: float
    pid: int
    ready_after_s: float = -1.0


class StreamSummary(msgspec.Struct, kw_only=True):
    """Totals of one camera."""

    camera: str
    captured: int
    lost_at_camera: int
    recorded: int
    recorded_clean: int
    published: int
    denoised: int
    passthrough: int
    skipped: int
    dropped: dict[str, dict[str, int]]
    fps_in: float
    fps_out: float
    mb_per_s: float
    latency_ms: dict[str, LatencySummary]
    conserved: bool
    engine: dict[str, Any]
    constants: dict[str, Any]
    restarts: dict[str, int]


class Summary(msgspec.Struct, kw_only=True):
    """Totals of a run; the object ``--json`` prints.

    ``first_denoised_s`` counts from the daemon's birth, ``first_denoised_ns`` is ``core.clock``;
    -1 when no frame was denoised.
    """

    captured: int
    lost_at_camera: int
    recorded: int
    recorded_clean: int
    published: int
    denoised: int
    passthrough: int
    skipped: int
    dropped: dict[str, dict[str, int]]
    fps_in: float
    fps_out: float
    mb_per_s: float
    latency_ms: dict[str, LatencySummary]
    conserved: bool
    engine: str
    precision: str
    model: str
    model_hash: str
    run_dir: str
    seconds: float
    exit_code: int
    errors: list[str]
    notes: list[str]
    first_denoised_s: float
    first_denoised_ns: int
    restarts: dict[str, int]
    incidents: list[Incident]
    streams: list[StreamSummary]


def stream_summary(result: StreamResult, seconds: float) -> StreamSummary:
    """Return the totals of one camera from its stages' last words."""
    acquire = metrics_from_wire(result.acquire_metrics)
    denoise = metrics_from_wire(result.denoise_metrics)
    record = metrics_from_wire(result.record_metrics)
    facts = result.acquire
    captured = int(facts.get("captured", acquire.count("captured")))
    published = int(facts.get("published", acquire.count("published")))
    recorded = record.count("recorded")
    dropped: dict[str, dict[str, int]] = {}
    _put(dropped, "acquire", _acquire_drops(facts, acquire.dropped))
    _put(dropped, "record", _record_drops(result, published, recorded))
    skipped = _skips(result, published)
    _put(dropped, "denoise", skipped)
    period = _duration_s(facts, captured) or seconds
    done = denoise.count("denoised") + denoise.count("passthrough")
    stream_bytes = int(facts.get("bytes", 0))
    return StreamSummary(
        camera=result.camera,
        captured=captured,
        lost_at_camera=int(facts.get("lost_at_camera", acquire.count("lost_at_camera"))),
        recorded=recorded,
        recorded_clean=metrics_from_wire(result.clean_metrics).count("recorded"),
        published=published,
        denoised=denoise.count("denoised"),
        passthrough=denoise.count("passthrough"),
        skipped=sum(skipped.values()),
        dropped=dropped,
        fps_in=_rate(captured, period),
        fps_out=_rate(done, max(period, _output_span_s(facts, denoise))),
        mb_per_s=_rate(stream_bytes, period) / 1e6,
        latency_ms=_latencies([result.acquire_metrics, result.denoise_metrics]),
        conserved=_conserved(result, captured, published, recorded, done + sum(skipped.values())),
        engine=(result.denoise.get("serving") or {}).get("engine") or {},
        constants=(result.denoise.get("serving") or {}).get("constants") or {},
        restarts=result.restarts,
    )


def run_summary(
    results: Sequence[StreamResult],
    *,
    seconds: float,
    run_dir: str,
    exit_code: int,
    errors: list[str],
    notes: list[str],
    first_denoised_s: float,
    first_denoised_ns: int,
    incidents: Sequence[Incident] = (),
) -> Summary:
    """Return the totals of a run."""
    streams = [stream_summary(result, seconds) for result in results]
    engine = streams[0].engine if streams else {}
    dropped: dict[str, Counter[str]] = {}
    for stream in streams:
        for stage, reasons in stream.dropped.items():
            dropped.setdefault(stage, Counter()).update(reasons)
    metrics = [m for r in results for m in (r.acquire_metrics, r.denoise_metrics)]
    return Summary(
        captured=sum(s.captured for s in streams),
        lost_at_camera=sum(s.lost_at_camera for s in streams),
        recorded=sum(s.recorded for s in streams),
        recorded_clean=sum(s.recorded_clean for s in streams),
        published=sum(s.published for s in streams),
        denoised=sum(s.denoised for s in streams),
        passthrough=sum(s.passthrough for s in streams),
        skipped=sum(s.skipped for s in streams),
        dropped={stage: dict(reasons) for stage, reasons in dropped.items()},
        fps_in=sum(s.fps_in for s in streams),
        fps_out=sum(s.fps_out for s in streams),
        mb_per_s=sum(s.mb_per_s for s in streams),
        latency_ms=_latencies(metrics),
        conserved=all(s.conserved for s in streams) and bool(streams),
        engine=str(engine.get("engine", "none")),
        precision=str(engine.get("precision", "none")),
        model=str(engine.get("model", "")),
        model_hash=str(engine.get("model_hash", "")),
        run_dir=run_dir,
        seconds=seconds,
        exit_code=exit_code,
        errors=errors,
        notes=notes,
        first_denoised_s=first_denoised_s,
        first_denoised_ns=first_denoised_ns,
        restarts=_restarts(streams),
        incidents=list(incidents),
        streams=streams,
    )


def _rate(count: int, seconds: float) -> float:
    return count / seconds if seconds > 0 else 0.0


def _put(dropped: dict[str, dict[str, int]], stage: str, reasons: dict[str, int]) -> None:
    found = {reason: count for reason, count in reasons.items() if count}
    if found:
        dropped[stage] = found


def _restarts(streams: Sequence[StreamSummary]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for stream in streams:
        total.update(stream.restarts)
    return dict(total)


def _acquire_drops(facts: dict[str, Any], reported: dict[str, int]) -> dict[str, int]:
    """Frames that found no slot; those a killed process dropped after its last report included."""
    unreported = int(facts.get("dropped_full", 0)) - sum(reported.values())
    if unreported <= 0:
        return reported
    return reported | {"ring_full": reported.get("ring_full", 0) + unreported}


def _record_drops(result: StreamResult, published: int, recorded: int) -> dict[str, int]:
    """Frames the recorder did not write, only where a known cause explains them."""
    if not result.recording:
        return {"recording_off": published}
    cause = result.record_failed
    return {cause: published - recorded} if cause else {}


def _camera_cause(result: StreamResult) -> str:
    """Return why frames of a killed camera process may have been told to nobody."""
    if result.acquire_died:
        return "camera_died"
    return "camera_restarted" if result.restarts.get("acquire") else ""


def _skips(result: StreamResult, published: int) -> dict[str, int]:
    """Frames the denoiser did not take, by reason; the rest only where a cause is known."""
    if not result.denoising:
        return {"denoiser_off": published}
    denoise = metrics_from_wire(result.denoise_metrics)
    skipped = dict(denoise.dropped)
    taken = denoise.count("denoised") + denoise.count("passthrough") + sum(skipped.values())
    left = published - taken
    cause = _untaken_cause(result, left) if left > 0 else ""
    if cause:
        skipped[cause] = skipped.get(cause, 0) + left
    return skipped


def _untaken_cause(result: StreamResult, left: int) -> str:
    """Return why the denoiser never saw the ``left`` frames; empty when nothing explains them."""
    if result.denoise_failed:
        return result.denoise_failed
    if result.restarts.get("denoise"):
        return "denoiser_restarted"
    undelivered = result.acquire.get("undelivered", {}).get("denoise", 0)
    if undelivered >= left:
        # Headers that found the reader's socket full: the raw writer counts them.
        return "undelivered"
    return _camera_cause(result)


def _conserved(
    result: StreamResult, captured: int, published: int, recorded: int, handled: int
) -> bool:
    facts = result.acquire
    if not facts:
        return False
    drops = _record_drops(result, published, recorded)
    accounted = captured == recorded + sum(drops.values()) + facts["dropped_full"]
    honest = min(drops.values(), default=0) >= 0
    return accounted and honest and published == handled and _numbers_agree(result, captured)


def _numbers_agree(result: StreamResult, captured: int) -> bool:
    """Return whether every number ever given is a frame or in a gap: of the counts, of the file."""
    facts = result.acquire
    if "numbers" not in facts:
        return True
    numbers = int(facts["numbers"])
    whole = captured + int(facts["lost_at_camera"]) == numbers
    if result.file_numbers < 0 or result.record_failed or result.acquire_died:
        # Of a recording that was cut short the file cannot speak for the rest.
        return whole
    return whole and result.file_numbers == numbers


def _duration_s(facts: dict[str, Any], captured: int) -> float:
    """Time the captured frames span by the camera, one period more than first to last."""
    if captured < 2 or "last_host_ns" not in facts:
        return 0.0
    span = facts["last_host_ns"] - facts["first_host_ns"]
    return float(span) * 1e-9 * captured / (captured - 1)


def _output_span_s(facts: dict[str, Any], denoise: MetricsView) -> float:
    """Time from the first raw frame to the last clean one: longer when the denoiser is behind."""
    last_ns = denoise.gauges.get("last_publish_ns", 0.0)
    return (last_ns - facts["first_host_ns"]) * 1e-9 if last_ns and facts else 0.0


def _latencies(metrics: Sequence[dict[str, Any]]) -> dict[str, LatencySummary]:
    views = [metrics_from_wire(data) for data in metrics]
    return {hop: merged([v.hops[hop] for v in views if hop in v.hops]) for hop in HOPS}


def summary_lines(summary: Summary) -> list[tuple[str, str]]:
    """Return the summary as labelled lines for people."""
    drops = [
        f"{count} {stage}: {reason}"
        for stage, reasons in summary.dropped.items()
        for reason, count in reasons.items()
    ]
    constants = [
        f"{s.camera}: {s.constants['gain_e_per_adu']:.4g} e-/count, offset "
        f"{s.constants['offset_adu']:.4g}, read noise {s.constants['read_noise_e']:.3g} e- "
        f"({s.constants['source']})"
        for s in summary.streams
        if s.constants
    ]
    return [
        ("captured", f"{summary.captured} frames in {summary.seconds:.1f} s"),
        ("lost at camera", str(summary.lost_at_camera)),
        ("recorded", f"{summary.recorded} raw, {summary.recorded_clean} denoised"),
        (
            "denoised",
            f"{summary.denoised}, {summary.passthrough} passed through, {summary.skipped} skipped",
        ),
        ("dropped", "; ".join(drops) or "nothing"),
        ("rate", f"{summary.fps_in:.1f} fps in, {summary.fps_out:.1f} fps out"),
        ("data", f"{summary.mb_per_s:.1f} MB/s raw"),
        ("engine", f"{summary.engine} {summary.precision} {summary.model}".strip()),
        ("camera constants", "; ".join(constants) or "none used"),
        ("replaced", _restart_text(summary.restarts)),
        ("all accounted for", "yes" if summary.conserved else "NO: see summary.json"),
        ("run folder", summary.run_dir),
    ]


def _restart_text(restarts: dict[str, int]) -> str:
    """Return how often which kind of process was replaced: ``record 2x, view 1x``."""
    return ", ".join(f"{kind} {count}x" for kind, count in restarts.items()) or "no process"
