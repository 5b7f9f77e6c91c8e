"""End-to-end runs of the live plane at the rates it must hold: the daemon with real stages.

Each case is one run of ``livedenoise run`` in a fresh process on a generated configuration, so that
start-up is part of what is measured. Used by ``tools/benchmark.py``.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

RAM_DISK = Path("/dev/shm")  # noqa: S108  (recording to RAM takes the disk out of the measurement)


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """One run: a square simulated camera, an engine, and what must hold."""

    name: str
    size_px: int
    rate_hz: float
    seconds: float
    engine: str
    record: bool
    target: str


CASES = (
    Case(
        name="identity, 2048x2048 at 50 fps, recording to RAM",
        size_px=2048,
        rate_hz=50,
        seconds=15,
        engine="identity",
        record=True,
        target="nothing dropped",
    ),
    Case(
        name="identity, 2048x2048 at 100 fps, not recording",
        size_px=2048,
        rate_hz=100,
        seconds=60,
        engine="identity",
        record=False,
        target="nothing dropped",
    ),
    Case(
        name="realtime-m on the CPU, 512x512 at 50 fps, recording",
        size_px=512,
        rate_hz=50,
        seconds=60,
        engine="auto",
        record=True,
        target="every frame denoised, camera_to_denoised p99 under 40 ms",
    ),
)


def run_case(case: Case, seconds: float | None = None) -> dict[str, Any]:
    """Run one case and return its figures; ``seconds`` shortens it."""
    with tempfile.TemporaryDirectory(dir=RAM_DISK if RAM_DISK.is_dir() else None) as folder:
        config = Path(folder) / "case.toml"
        config.write_text(_toml(case), encoding="utf-8")
        plain_mb_per_s = _touch(Path(folder), case, seconds or case.seconds)
        started = time.perf_counter()
        summary = livedenoise(
            ["run", str(config), "--seconds", str(seconds or case.seconds), "--json"], Path(folder)
        )
        wall_s = time.perf_counter() - started
    return {
        "case": case.name,
        "target": case.target,
        "met": _met(case, summary),
        "wall_s": wall_s,
        "plain_write_mb_per_s": plain_mb_per_s,
        "first_denoised_s": summary["first_denoised_s"],
        **{key: summary[key] for key in _KEPT},
    }


def _touch(folder: Path, case: Case, seconds: float) -> float:
    """Write as much as the case will record, remove it, and return the rate in MB/s.

    On a virtual machine the first use of memory waits for the hypervisor; what is measured then is
    the hypervisor. The rate of plain writes is the yardstick for the recorder in the same run.
    """
    if not case.record:
        return 0.0
    frame = bytes(2 * case.size_px * case.size_px)
    count = int(case.rate_hz * seconds)
    started = time.perf_counter()
    with (folder / "touch").open("wb", buffering=0) as file:
        for _ in range(count):
            file.write(frame)
    elapsed = time.perf_counter() - started
    (folder / "touch").unlink()
    return count * len(frame) / elapsed / 1e6


def livedenoise(arguments: Sequence[str], folder: Path) -> dict[str, Any]:
    """Run the command line in ``folder`` and return the object it prints.

    Raises
    ------
    RuntimeError
        If it does not end with exit code 0.
    """
    command = [sys.executable, "-m", "livedenoise", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: exit code {done.returncode}\n{done.stderr}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


_KEPT = (
    "captured",
    "lost_at_camera",
    "recorded",
    "denoised",
    "passthrough",
    "skipped",
    "dropped",
    "fps_in",
    "fps_out",
    "mb_per_s",
    "latency_ms",
    "conserved",
    "engine",
    "precision",
    "model_hash",
)


def _met(case: Case, summary: dict[str, Any]) -> bool:
    lost = summary["lost_at_camera"] + summary["skipped"] + summary["passthrough"]
    lost += sum(sum(r.values()) for s, r in summary["dropped"].items() if s == "acquire")
    recorded = not case.record or summary["recorded"] == summary["captured"]
    if lost or not recorded or not summary["conserved"]:
        return False
    p99 = float(summary["latency_ms"]["camera_to_denoised"]["p99"])
    return case.engine == "identity" or p99 < 2e3 / case.rate_hz


def _toml(case: Case) -> str:
    return f"""
name = "case"
[[camera]]
kind = "simulated"
name = "sim"
exposure_us = {int(0.9e6 / case.rate_hz)}
rate_hz = {float(case.rate_hz)}
pool_frames = {64 if case.size_px <= 512 else 8}
[camera.sensor]
width_px = {case.size_px}
height_px = {case.size_px}
line_time_us = {0.8e6 / case.rate_hz / case.size_px}
[camera.scene]
photons_per_s = 3000.0
[denoise]
engine = "{case.engine}"
[record]
raw = {str(case.record).lower()}
"""


def measure_start(repeats: int) -> list[dict[str, Any]]:
    """Return the times from starting the demo to its first denoised frame, engine cached.

    ``command_s`` counts from the start of the command's process, ``daemon_s`` from the daemon's.
    """
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(repeats + 1):
            started_ns = time.perf_counter_ns()
            summary = livedenoise(["demo", "--frames", "25", "--json"], Path(folder))
            first_ns = summary["first_denoised_ns"]
            rows.append(
                {
                    "command_s": (first_ns - started_ns) * 1e-9,
                    "daemon_s": summary["first_denoised_s"],
                }
            )
    # The first run may have compiled the engine.
    return rows[1:]


def measure_memory(seconds: float) -> list[dict[str, Any]]:
    """Watch the resident memory of every process of a 128x128, 500 fps run with recording."""
    case = Case(
        name="memory, 128x128 at 500 fps, recording",
        size_px=128,
        rate_hz=500,
        seconds=seconds,
        engine="auto",
        record=True,
        target="flat",
    )
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "case.toml"
        config.write_text(_toml(case), encoding="utf-8")
        command = [sys.executable, "-m", "livedenoise", "run", str(config), "--json"]
        command += ["--seconds", str(seconds)]
        process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True)
        samples = _watch_memory(process, seconds)
        output, _ = process.communicate(timeout=120)
    summary = json.loads(output)
    rows = [_memory_row(name, found) for name, found in samples.items()]
    total = {key: summary[key] for key in ("captured", "recorded", "denoised", "skipped", "fps_in")}
    return [*rows, {"process": "run", "lost_at_camera": summary["lost_at_camera"], **total}]


def _watch_memory(
    process: subprocess.Popen[str], seconds: float
) -> dict[str, list[tuple[float, float]]]:
    """Sample private memory (RSS without shared pages) of the run's processes, by start order."""
    import psutil

    samples: dict[str, list[tuple[float, float]]] = {}
    started = time.perf_counter()
    while process.poll() is None and time.perf_counter() - started < seconds + 60:
        root = psutil.Process(process.pid)
        for index, member in enumerate([root, *root.children()]):
            try:
                info = member.memory_info()
            except psutil.NoSuchProcess:
                continue
            private_mb = (info.rss - info.shared) / 1e6
            moment = time.perf_counter() - started
            samples.setdefault(f"process {index}", []).append((moment, private_mb))
        time.sleep(max(0.2, seconds / 300))
    return samples


def _memory_row(name: str, samples: list[tuple[float, float]]) -> dict[str, Any]:
    """Compare the memory after the first fifth of the run with that at its end."""
    settled = samples[len(samples) // 5 :] or samples
    third = max(1, len(settled) // 3)
    early = sum(mb for _, mb in settled[:third]) / third
    late = sum(mb for _, mb in settled[-third:]) / third
    span_min = (settled[-1][0] - settled[0][0]) / 60 or 1.0
    return {
        "process": name,
        "early_mb": early,
        "late_mb": late,
        "growth_mb_per_min": (late - early) / span_min,
        "max_mb": max(mb for _, mb in samples),
    }
