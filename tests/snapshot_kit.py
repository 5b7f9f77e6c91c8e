"""Snapshots for tests of what shows or judges them: one healthy run, changed where a test wants."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from rich.console import Console

from livedenoise.core.metrics import HOPS, LatencySummary
from livedenoise.core.status import (
    Figure,
    Preview,
    QualityStatus,
    StageStatus,
    StatusSnapshot,
    StreamStatus,
)
from livedenoise.quality.definitions import FIGURES
from livedenoise.view.layout import Choice, render

VALUES = {
    "signal_e": 11.8,
    "bright_e": 31.4,
    "photons": 14.4,
    "snr_db": 9.6,
    "noise_e": 3.66,
    "noise_measured_e": 3.71,
    "noise_ratio": 1.01,
    "gain_db": 8.7,
    "upsnr_db": 62.1,
    "variance_ratio": 0.94,
    "residual_corr": -0.012,
    "saturated_fraction": 0.0,
    "zero_fraction": 0.0,
}


def latency(**changes: float) -> LatencySummary:
    values: dict[str, Any] = {"p50": 14.2, "p99": 31.5, "p999": 40.0, "max": 41.0, "count": 1200}
    return LatencySummary(**(values | changes))


def stage(kind: str, **changes: Any) -> StageStatus:
    values: dict[str, Any] = {
        "name": f"{kind}.sim",
        "kind": kind,
        "state": "running",
        "pid": 4711,
        "count": 1234,
        "fps": 50.0,
        "mb_per_s": 26.2,
    }
    return StageStatus(**(values | changes))


def stages() -> tuple[StageStatus, ...]:
    return (
        stage("acquire", queue="ring", fill=0.25),
        stage("denoise", queue="backlog", fill=0.33, count=1200, dropped={"backlog": 34}),
        stage("record", queue="backlog"),
        stage("record-clean", queue="backlog"),
        stage("view", mb_per_s=0.0, fps=5.0),
    )


def quality(**changes: Any) -> QualityStatus:
    figures = {key: Figure(value=VALUES[key], n=50) for key in FIGURES}
    values: dict[str, Any] = {"figures": figures, "constants": "camera"}
    return QualityStatus(**(values | changes))


def preview(size: int = 96) -> Preview:
    ramp = np.linspace(0, 255, size * size).astype(np.uint8).tobytes()
    return Preview(
        seq=1233, height=size, width=size, low_adu=98.0, high_adu=340.0, raw=ramp, clean=ramp[::-1]
    )


def history(length: int = 90) -> dict[str, tuple[float, ...]]:
    wave = [1 + 0.2 * np.sin(i / 5) for i in range(length)]
    scale = {"fps_in": 50, "fps_out": 48, "latency_p50_ms": 14, "signal_e": 12, "ring_fill": 0.2}
    return {name: tuple(float(factor * w) for w in wave) for name, factor in scale.items()}


def stream(**changes: Any) -> StreamStatus:
    values: dict[str, Any] = {
        "camera": "sim",
        "shape": (480, 640),
        "dtype": "<u2",
        "period_ms": 20.0,
        "engine": "openvino fp32 realtime-m",
        "captured": 1234,
        "recorded": 1230,
        "denoised": 1200,
        "passthrough": 0,
        "skipped": 34,
        "lost_at_camera": 0,
        "dropped": {},
        "fps_in": 50.04,
        "fps_out": 48.7,
        "mb_per_s": 30.7,
        "ring_fill": 0.25,
        "latency": latency(),
        "recent": latency(p50=13.1, p99=28.4, count=480),
        "hops": {hop: latency() for hop in HOPS},
        "stages": stages(),
        "skips": {"backlog": 34},
        "history": history(),
        "quality": quality(),
        "preview": preview(),
    }
    return StreamStatus(**(values | changes))


def snapshot(**changes: Any) -> StatusSnapshot:
    values: dict[str, Any] = {
        "name": "rig",
        "state": "running",
        "elapsed_s": 12.34,
        "total_s": 30.0,
        "total_frames": 0,
        "run_dir": "runs/x",
        "streams": (stream(),),
        "recording": True,
        "recording_left_s": 5000.0,
        "disk_free_bytes": 58_300_000_000,
    }
    return StatusSnapshot(**(values | changes))


def text_of(shown: StatusSnapshot, width: int = 80, height: int = 24, **choice: Any) -> list[str]:
    """Return the lines of a screen without colours."""
    file = io.StringIO()
    console = Console(width=width, height=height, file=file, color_system=None, _environ={})
    console.print(render(shown, (width, height), Choice(**choice)), end="")
    return file.getvalue().splitlines()
