"""One camera's part of a snapshot, from what its stages said last.

Knows what each kind of stage reports: its counts, gauges and what its queue is. Must not know:
sockets, processes, other cameras, terminals.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import msgspec

from livedenoise.core.camera import Prepared
from livedenoise.core.config import Config
from livedenoise.core.frame import frame_nbytes
from livedenoise.core.metrics import HOPS, LatencySummary, MetricsView, merged
from livedenoise.core.status import Preview, QualityStatus, StageStatus, StreamStatus
from livedenoise.daemon.camera_counters import counters_in
from livedenoise.daemon.memory import SECOND_NS, StreamMemory

KINDS = ("acquire", "denoise", "record", "record-clean", "view")
"""Kinds of stages in the order frames reach them."""

_HANDLED = {
    "acquire": ("captured",),
    "denoise": ("denoised", "passthrough"),
    "record": ("recorded",),
    "record-clean": ("recorded",),
    "view": ("samples",),
}


class Handle(Protocol):
    """What is read of a stage: its last words and how it is."""

    metrics: dict[str, Any]
    ready: dict[str, Any] | None
    process: Any

    @property
    def state(self) -> str:
        """Return the state, as ``StageStatus.state``."""

    @property
    def restarts(self) -> int:
        """Return how often its process was replaced."""


class StagesView(Protocol):
    """What is read of the stages of a run."""

    def get(self, kind: str, camera: str) -> Handle | None:
        """Return a stage, None where the run has none of that kind."""

    def totals(self, kind: str, camera: str) -> MetricsView:
        """Return counts, drops and hops summed over a stage's processes; the latest gauges."""


class StreamReport:
    """One camera's part of a snapshot.

    Parameters
    ----------
    camera : str
        Its name.
    prepared : Prepared
        What it delivers.
    memory : StreamMemory
        What was remembered of it; brought up to date.
    now_ns : int
        ``core.clock`` time of the snapshot.
    """

    def __init__(
        self,
        camera: str,
        *,
        config: Config,
        stages: StagesView,
        prepared: Prepared,
        memory: StreamMemory,
        now_ns: int,
    ) -> None:
        self._config = config
        self._camera = camera
        self._prepared = prepared
        self._memory = memory
        self._now_ns = now_ns
        found = ((kind, stages.get(kind, camera)) for kind in KINDS)
        self._handles = {kind: handle for kind, handle in found if handle is not None}
        self._totals = {kind: stages.totals(kind, camera) for kind in self._handles}

    def status(self) -> StreamStatus:
        """Return it."""
        acquire, denoise, record = (self._view(kind) for kind in ("acquire", "denoise", "record"))
        prepared, latency = self._prepared, self._memory.latency
        cumulative = denoise.hops.get("camera_to_denoised", [0])
        fps_in, fps_out = self._rate("acquire", "frames"), self._rate("denoise", "frames")
        quality, preview, note = self._seen()
        if self._memory.history.due(self._now_ns):
            second = latency.last_second(cumulative)
            row = {
                "fps_in": fps_in,
                "fps_out": fps_out,
                "latency_p50_ms": second.p50 if second else None,
                "ring_fill": acquire.gauges.get("ring_fill"),
                "signal_e": _figure(quality, "signal_e"),
            }
            self._memory.history.add(self._now_ns, row)
        return StreamStatus(
            camera=self._camera,
            shape=prepared.shape,
            dtype=prepared.dtype,
            period_ms=prepared.period_ns * 1e-6,
            engine=self._engine(),
            captured=acquire.count("captured"),
            recorded=record.count("recorded"),
            denoised=denoise.count("denoised"),
            passthrough=denoise.count("passthrough"),
            skipped=sum(denoise.dropped.values()),
            lost_at_camera=acquire.count("lost_at_camera"),
            dropped=acquire.dropped,
            fps_in=fps_in or 0.0,
            fps_out=fps_out or 0.0,
            mb_per_s=(self._rate("acquire", "bytes") or 0.0) * 1e-6,
            ring_fill=acquire.gauges.get("ring_fill", 0.0),
            latency=merged([cumulative]),
            note=note,
            recent=latency.update(cumulative, self._now_ns),
            hops=self._hops(),
            stages=tuple(self._stage(kind) for kind in self._handles),
            skips=denoise.dropped,
            saturated=acquire.count("saturated"),
            clipped_pixels=denoise.count("clipped_pixels"),
            history=self._memory.history.curves(),
            quality=quality,
            preview=preview,
            counters=counters_in(acquire.gauges),
        )

    def _view(self, kind: str) -> MetricsView:
        return self._totals.get(kind) or MetricsView()

    def _handled(self, kind: str) -> int:
        counts = self._view(kind).counts
        return sum(counts.get(name, 0) for name in _HANDLED[kind])

    def _rate(self, kind: str, what: str) -> float | None:
        """Return frames or bytes a second; called twice within a snapshot it gives the same."""
        count = self._handled(kind) if what == "frames" else self._view(kind).count("bytes")
        slow_ns = 3 * (self._prepared.period_ns + self._config.status.report_ms * 1_000_000)
        hold_ns = max(SECOND_NS, slow_ns)
        return self._memory.rates.update(f"{kind}.{what}", count, self._now_ns, hold_ns)

    def _stage(self, kind: str) -> StageStatus:
        handle, view = self._handles[kind], self._view(kind)
        fps = self._rate(kind, "frames") or 0.0
        rate = self._rate(kind, "bytes") or 0.0
        if kind == "denoise":
            rate = fps * frame_nbytes(self._prepared.shape, self._prepared.dtype)
        queue, fill = self._queue(kind, view.gauges)
        dropped = dict(view.dropped)
        if kind == "acquire" and view.count("lost_at_camera"):
            dropped["camera"] = view.count("lost_at_camera")
        return StageStatus(
            name=f"{kind}.{self._camera}",
            kind=kind,
            state=handle.state,
            pid=handle.process.pid,
            restarts=handle.restarts,
            count=self._handled(kind),
            fps=fps,
            mb_per_s=rate * 1e-6,
            queue=queue,
            fill=fill,
            dropped=dropped,
        )

    def _queue(self, kind: str, gauges: Mapping[str, float]) -> tuple[str, float]:
        """Return what a stage's queue is called and how full it is."""
        if kind == "acquire":
            return ("ring", gauges["ring_fill"]) if "ring_fill" in gauges else ("", 0.0)
        if "backlog" not in gauges:
            return "", 0.0
        bound = self._config.denoise.max_backlog if self._jumps(kind) else self._ring_slots()
        return "backlog", min(1.0, gauges["backlog"] / bound)

    def _jumps(self, kind: str) -> bool:
        """Return whether a stage skips frames when its backlog is full."""
        policy = self._config.denoise.policy
        waits = policy == "lossless" or (policy == "auto" and self._prepared.lossless)
        return kind == "denoise" and not waits

    def _ring_slots(self) -> int:
        ring, prepared = self._config.ring, self._prepared
        frame_bytes = frame_nbytes(prepared.max_shape, prepared.dtype)
        return max(1, min(ring.max_slots, (ring.memory_mb << 20) // max(1, frame_bytes)))

    def _hops(self) -> dict[str, LatencySummary]:
        wires = {**self._view("acquire").hops, **self._view("denoise").hops}
        return {hop: merged([wires[hop]]) for hop in HOPS if hop in wires}

    def _engine(self) -> str:
        handle = self._handles.get("denoise")
        if handle is None:
            return "off"
        if handle.state == "dead":
            return "dead"
        serving = handle.metrics.get("serving") or (handle.ready or {}).get("serving") or {}
        engine = serving.get("engine") or {}
        if not engine:
            return "starting" if handle.state != "running" else self._without_engine()
        return f"{engine['engine']} {engine['precision']} {engine['model']}".strip()

    def _without_engine(self) -> str:
        """Return what a denoiser without an engine waits for."""
        if not self._view("acquire").count("published"):
            return "waiting for the first frames"
        return "learning the camera's constants"

    def _seen(self) -> tuple[QualityStatus | None, Preview | None, str]:
        """Return figures and pictures of the view stage; what a dead one said last is old."""
        handle = self._handles.get("view")
        if handle is None or handle.state in ("dead", "restarting"):
            return None, None, ""
        quality, preview = handle.metrics.get("quality"), handle.metrics.get("preview")
        try:
            return (
                msgspec.convert(quality, QualityStatus | None),
                msgspec.convert(preview, Preview | None),
                "",
            )
        except msgspec.ValidationError as error:
            # The recording must not end because a figure cannot be read: it is said instead.
            return None, None, f"figures of the view stage cannot be read: {error}"


def _figure(quality: QualityStatus | None, key: str) -> float | None:
    figure = None if quality is None else quality.figures.get(key)
    return None if figure is None else figure.value
