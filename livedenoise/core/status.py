"""What a running daemon looks like at one moment, as plain data for any view."""

from __future__ import annotations

import msgspec

from livedenoise.core.metrics import LatencySummary


class StreamStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One camera. Rates are over the last report intervals; counts since the start."""

    camera: str
    shape: tuple[int, int]
    dtype: str
    period_ms: float
    engine: str
    captured: int
    recorded: int
    denoised: int
    passthrough: int
    skipped: int
    lost_at_camera: int
    dropped: dict[str, int]
    fps_in: float
    fps_out: float
    mb_per_s: float
    ring_fill: float
    latency: LatencySummary
    note: str = ""


class StatusSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """A whole run. ``total_s`` and ``total_frames`` are 0 for "until stopped"."""

    name: str
    state: str
    elapsed_s: float
    total_s: float
    total_frames: int
    run_dir: str
    streams: tuple[StreamStatus, ...]
    errors: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
