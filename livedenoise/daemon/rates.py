"""From the stages' last metrics to the snapshot a view shows. Rates are since the last snapshot."""

from __future__ import annotations

from livedenoise.core.clock import now_ns
from livedenoise.core.config import Config
from livedenoise.core.metrics import MetricsView, merged, metrics_from_wire
from livedenoise.core.status import StatusSnapshot, StreamStatus
from livedenoise.daemon.options import RunOptions
from livedenoise.daemon.plan import CameraFacts
from livedenoise.daemon.stages import StageHandle, Stages

_SMOOTHING = 0.3
"""Weight of the newest rate: the figures are read by eye, a few times a second."""


class Rates:
    """Smoothed rates of counters, one for each name."""

    def __init__(self) -> None:
        self._last: dict[str, tuple[int, int]] = {}
        self._rates: dict[str, float] = {}

    def update(self, name: str, count: int) -> float:
        """Take a counter's value now; return its rate per second."""
        moment_ns = now_ns()
        last = self._last.get(name)
        if last is None:
            self._last[name] = (count, moment_ns)
            return 0.0
        elapsed_ns = moment_ns - last[1]
        if count == last[0] and elapsed_ns < 1_000_000_000:
            # No report came in between: keep the last rate instead of showing a dip.
            return self._rates.get(name, 0.0)
        rate = (count - last[0]) * 1e9 / max(elapsed_ns, 1)
        previous = self._rates.get(name)
        smooth = rate if previous is None else previous + _SMOOTHING * (rate - previous)
        self._last[name], self._rates[name] = (count, moment_ns), smooth
        return smooth


def status_snapshot(
    config: Config,
    options: RunOptions,
    stages: Stages,
    facts: dict[str, CameraFacts],
    rates: Rates,
    *,
    run_dir: str,
    elapsed_s: float,
    state: str,
    errors: tuple[str, ...],
    notes: tuple[str, ...],
) -> StatusSnapshot:
    """Return the state of a run from what its stages said last."""
    streams = tuple(
        _stream(camera.name, facts[camera.name], stages, rates)
        for camera in config.camera
        if camera.name in facts
    )
    return StatusSnapshot(
        name=config.name,
        state=state,
        elapsed_s=elapsed_s,
        total_s=options.seconds or 0.0,
        total_frames=options.frames or 0,
        run_dir=run_dir,
        streams=streams,
        errors=errors,
        notes=notes,
    )


def _stream(camera: str, facts: CameraFacts, stages: Stages, rates: Rates) -> StreamStatus:
    acquire, denoise, record = (
        _view(stages.get(kind, camera)) for kind in ("acquire", "denoise", "record")
    )
    done = denoise.count("denoised") + denoise.count("passthrough")
    prepared = facts.prepared
    hops = [v.hops["camera_to_denoised"] for v in (denoise,) if "camera_to_denoised" in v.hops]
    return StreamStatus(
        camera=camera,
        shape=prepared.shape,
        dtype=prepared.dtype,
        period_ms=prepared.period_ns * 1e-6,
        engine=_engine_text(stages.get("denoise", camera)),
        captured=acquire.count("captured"),
        recorded=record.count("recorded"),
        denoised=denoise.count("denoised"),
        passthrough=denoise.count("passthrough"),
        skipped=denoise.count("skipped"),
        lost_at_camera=acquire.count("lost_at_camera"),
        dropped=acquire.dropped,
        fps_in=rates.update(f"{camera}.in", acquire.count("captured")),
        fps_out=rates.update(f"{camera}.out", done),
        mb_per_s=rates.update(f"{camera}.bytes", acquire.count("bytes")) * 1e-6,
        ring_fill=acquire.gauges.get("ring_fill", 0.0),
        latency=merged(hops),
    )


def _view(handle: StageHandle | None) -> MetricsView:
    return MetricsView() if handle is None else metrics_from_wire(handle.metrics)


def _engine_text(denoise: StageHandle | None) -> str:
    if denoise is None:
        return "off"
    if denoise.failed is not None:
        return "dead"
    engine = ((denoise.ready or {}).get("serving") or {}).get("engine") or {}
    if not engine:
        return "learning the camera's constants"
    return f"{engine['engine']} {engine['precision']} {engine['model']}".strip()
