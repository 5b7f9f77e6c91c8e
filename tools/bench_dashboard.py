"""What the dashboard costs: building a snapshot and drawing it, in processor time.

    python tools/bench_dashboard.py

Stages are made up (100 fps, latency histograms as wide as in a long run, a 96 px preview); builder,
layout and terminal writing are the product's own. Prints milliseconds a refresh and the share of
one core at five refreshes a second.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
from rich.console import Console

from livedenoise.core.camera import CameraInfo, Prepared
from livedenoise.core.config import parse_config
from livedenoise.core.metrics import HOPS, LatencyHistogram, MetricsView, metrics_from_wire
from livedenoise.core.status import Figure, Preview, QualityStatus, StatusSnapshot
from livedenoise.daemon.options import RunOptions
from livedenoise.daemon.plan import CameraFacts
from livedenoise.daemon.snapshot import SnapshotMemory, status_snapshot
from livedenoise.quality.definitions import FIGURES
from livedenoise.view.dashboard import Dashboard

REFRESH_HZ = 5
ROUNDS = 100
SHAPE = (512, 512)


class _Clock:
    """Time that goes on by one refresh each round."""

    def __init__(self) -> None:
        self.ns = 0

    def now_ns(self) -> int:
        """Return it."""
        return self.ns

    def sleep_until_ns(self, deadline_ns: int) -> None:
        """Jump."""
        self.ns = deadline_ns


class _Stages:
    """Stages that report once a refresh."""

    def __init__(self) -> None:
        self._random = np.random.default_rng(0)
        self._hops = {hop: LatencyHistogram() for hop in HOPS}
        self._frames = 0
        for _ in range(5000):
            self._add_frame()
        self._preview = self._random.integers(0, 255, 96 * 96, dtype=np.uint8).tobytes()

    def _add_frame(self) -> None:
        self._frames += 1
        for hop in self._hops.values():
            hop.add(int(self._random.lognormal(15.5, 0.5)))

    def report(self) -> None:
        """Take in the frames of one refresh."""
        for _ in range(100 // REFRESH_HZ):
            self._add_frame()

    def get(self, kind: str, camera: str) -> Any:  # noqa: ANN401
        """Return a stage."""
        del camera
        return SimpleNamespace(
            metrics=self._metrics(kind),
            ready={},
            state="running",
            restarts=0,
            process=SimpleNamespace(pid=1),
        )

    def totals(self, kind: str, camera: str) -> MetricsView:
        """Return its counts."""
        del camera
        return metrics_from_wire(self._metrics(kind))

    def _metrics(self, kind: str) -> dict[str, Any]:
        n = self._frames
        names = ("captured", "denoised", "recorded", "samples")
        counts = dict.fromkeys(names, n) | {"bytes": n * 2 * SHAPE[0] * SHAPE[1]}
        metrics: dict[str, Any] = {"counts": counts, "gauges": {"ring_fill": 0.2, "backlog": 1}}
        if kind == "denoise":
            hops = {hop: found.to_wire() for hop, found in self._hops.items()}
            metrics |= {"hops": hops, "dropped": {"backlog": n // 100}}
        if kind == "view":
            figures = {key: Figure(value=n / 1e4, n=50) for key in FIGURES}
            preview = Preview(
                seq=n,
                height=96,
                width=96,
                low_adu=90,
                high_adu=300,
                raw=self._preview,
                clean=self._preview[::-1],
            )
            quality = QualityStatus(figures=figures, constants="camera")
            metrics["quality"] = msgspec.to_builtins(quality)
            metrics["preview"] = msgspec.to_builtins(preview, builtin_types=(bytes,))
        return metrics


def main() -> None:
    """Measure builder and screens."""
    stages, clock = _Stages(), _Clock()
    build = _builder(stages, clock)
    _print("build a snapshot", _measured(build, stages, clock))
    for width, height in ((80, 24), (200, 60)):
        file = io.StringIO()
        console = Console(
            file=file,
            force_terminal=True,
            color_system="truecolor",
            width=width,
            height=height,
            _environ={},
        )
        with Dashboard(console) as dashboard:
            shown = build()

            def draw(dashboard: Dashboard = dashboard, shown: StatusSnapshot = shown) -> None:
                dashboard.show(shown)

            spent = _measured(draw, stages, clock)
        size = len(file.getvalue()) // (ROUNDS + 1) // 1000
        _print(f"draw {width}x{height} ({size} kB)", spent)


def _builder(stages: _Stages, clock: _Clock) -> Callable[[], StatusSnapshot]:
    config = parse_config({"camera": [{"kind": "simulated", "name": "sim"}]}, "bench")
    info = CameraInfo(name="sim", kind="simulated", sensor=SHAPE, dtype="<u2", bit_depth=16)
    prepared = Prepared(
        shape=SHAPE,
        max_shape=SHAPE,
        dtype="<u2",
        bit_depth=16,
        period_ns=10_000_000,
        exposure_us=10_000,
        roi=(0, 0, SHAPE[1], SHAPE[0]),
    )
    memory = SnapshotMemory(clock)

    def build() -> StatusSnapshot:
        return status_snapshot(
            config,
            RunOptions(),
            stages,
            {"sim": CameraFacts(info=info, prepared=prepared)},
            memory,
            run_dir=".",
            elapsed_s=clock.ns * 1e-9,
            state="running",
            errors=(),
            notes=(),
        )

    return build


def _measured(work: Callable[[], object], stages: _Stages, clock: _Clock) -> float:
    """Return the processor seconds of one call; what the made-up stages cost is left out."""
    work()
    spent = 0
    for _ in range(ROUNDS):
        clock.ns += 1_000_000_000 // REFRESH_HZ
        stages.report()
        start = time.process_time_ns()
        work()
        spent += time.process_time_ns() - start
    return spent * 1e-9 / ROUNDS


def _print(name: str, seconds: float) -> None:
    share = seconds * REFRESH_HZ
    print(f"{name:28} {seconds * 1e3:6.2f} ms   {share:6.2%} of a core at {REFRESH_HZ} Hz")


if __name__ == "__main__":
    main()
