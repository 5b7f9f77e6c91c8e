"""A camera behind Micro-Manager: camera to ring and one reader, against a bare pymmcore loop.

    python tools/bench_micromanager.py --pairs 3 --seconds 20 --json micromanager.json
    python tools/bench_micromanager.py --pairs 1 --seconds 60 --json micromanager.json

Both sides run the same DemoCamera (FastImage: it does not draw) in a process of their own, by
turns, so that what the machine does besides meets both alike.

bare: ``startSequenceAcquisition``, then ``getRemainingImageCount`` and ``popNextImage``, 0.2 ms of
sleep when nothing waits. The frames are thrown away.
livedenoise: ``livedenoise run`` with the identity engine, recording and view off: the camera's
process pops, copies each frame into the ring and publishes it, the engine's process reads it.

Frames per second are those of the last frame over the first. Processor time is that of the
camera's process alone (DemoCamera's own thread included, on both sides), from one second after the
first frame to the last.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from bench_common import machine_facts, write_json
from rich.console import Console
from rich.progress import track
from rich.table import Table

from livedenoise.core.config import load_config
from livedenoise.core.status import StatusSnapshot
from livedenoise.daemon.options import RunOptions
from livedenoise.daemon.run import Daemon

SCENES = {"512x512, 1 ms": (512, 1000), "2048x2048, 10 ms": (2048, 10_000)}
BUFFER_MB = 512
BARE, OURS = "bare", "livedenoise"
_WARM_S = 1.0


def toml(size_px: int, exposure_us: int) -> str:
    """Return the configuration of our side."""
    return f"""
name = "bench-micromanager"
[[camera]]
kind = "micromanager"
name = "scope"
app_path = "demo"
config_file = "MMConfig_demo.cfg"
exposure_us = {exposure_us}
buffer_mb = {BUFFER_MB}
constants = {{ gain_e_per_adu = 1.0, offset_adu = 100.0, read_noise_e = 2.5 }}
[camera.properties]
Camera = {{ PixelType = "16bit", FastImage = true, OnCameraCCDXSize = {size_px}, \
OnCameraCCDYSize = {size_px} }}
[denoise]
engine = "identity"
[record]
raw = false
[view]
enabled = false
[status]
report_ms = 200
"""


def cpu_s(pid: int) -> float:
    """Return the processor time a process has used, seconds (Linux)."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Meter:
    """Processor time of one process from a second after its first frame."""

    def __init__(self) -> None:
        self._began = (0.0, 0.0)
        self._last = (0.0, 0.0)

    def look(self, pid: int, frames: int) -> None:
        """Take a reading, once frames have come."""
        if not frames:
            return
        now = (time.perf_counter(), cpu_s(pid))
        if not self._began[0]:
            self._began = (now[0] + _WARM_S, 0.0)
        elif not self._began[1] and now[0] >= self._began[0]:
            self._began = now
        elif self._began[1]:
            self._last = now

    @property
    def share(self) -> float:
        """Return processor time over time, in cores."""
        return (self._last[1] - self._began[1]) / (self._last[0] - self._began[0])


def run_ours(config: Path, seconds: float) -> dict[str, Any]:
    """Run our side in this process, a fresh one; return its figures."""
    meter = Meter()
    daemon = Daemon(load_config(config), RunOptions(out=config.parent / "runs", seconds=seconds))

    def look(snapshot: StatusSnapshot) -> None:
        pid = daemon.stage_pids().get("acquire.scope", 0)
        if pid and snapshot.streams and snapshot.state == "running":
            meter.look(pid, snapshot.streams[0].captured)

    summary = daemon.run(look)
    return {
        "fps": summary.fps_in,
        "cores": meter.share,
        "frames": summary.captured,
        "lost": summary.lost_at_camera + summary.captured - summary.published,
        "denoised": summary.denoised,
        "skipped": summary.skipped,
        "exit_code": summary.exit_code,
        "errors": summary.errors,
    }


def run_bare(size_px: int, exposure_us: int, seconds: float) -> dict[str, Any]:
    """Pop frames in a bare loop in this process, a fresh one; return its figures."""
    import mm_test_adapters
    import pymmcore

    folder = mm_test_adapters.device_adapter_path()
    core = pymmcore.CMMCore()
    core.setDeviceAdapterSearchPaths([folder])
    core.loadSystemConfiguration(f"{folder}/MMConfig_demo.cfg")
    for name, value in (
        ("PixelType", "16bit"),
        ("FastImage", "1"),
        ("OnCameraCCDXSize", str(size_px)),
        ("OnCameraCCDYSize", str(size_px)),
    ):
        core.setProperty("Camera", name, value)
    core.setCircularBufferMemoryFootprint(BUFFER_MB)
    core.setExposure(exposure_us / 1000)
    meter, frames, times, next_look_s = Meter(), 0, [], 0.0
    core.startSequenceAcquisition(2**31 - 1, 0.0, True)
    end_s = time.perf_counter() + seconds
    while time.perf_counter() < end_s:
        if not core.getRemainingImageCount():
            time.sleep(0.0002)
            continue
        core.popNextImage()
        frames += 1
        times = [*times[:1], time.perf_counter()]
        if times[-1] > next_look_s:
            next_look_s = times[-1] + 0.2
            meter.look(os.getpid(), frames)
    overflowed = core.isBufferOverflowed()
    core.stopSequenceAcquisition()
    return {
        "fps": (frames - 1) / (times[-1] - times[0]),
        "cores": meter.share,
        "frames": frames,
        "lost": int(overflowed),
        "exit_code": 0,
        "errors": [],
    }


def measure(side: str, scene: str, seconds: float) -> dict[str, Any]:
    """Run one side in a process of its own.

    Raises
    ------
    RuntimeError
        If it does not end in order.
    """
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "bench.toml"
        config.write_text(toml(*SCENES[scene]), encoding="utf-8")
        command = [sys.executable, __file__, "--one", side, "--scene", scene]
        command += ["--seconds", str(seconds), "--config", str(config)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)
    if done.returncode:
        raise RuntimeError(f"{side}, {scene}: exit code {done.returncode}\n{done.stderr}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    if found["exit_code"]:
        raise RuntimeError(f"{side}, {scene}: {found['errors']}")
    return {"name": f"{scene}, {side}", "side": side, "scene": scene, **found}


def compared(rows: list[dict[str, Any]], scene: str) -> dict[str, Any]:
    """Return ours over bare, pair by pair: rate as a ratio, processor time as a difference."""
    mine = [row for row in rows if row["scene"] == scene]
    pairs = list(zip(mine[::2], mine[1::2], strict=True))
    fps = np.array([ours["fps"] / bare["fps"] for bare, ours in pairs])
    cores = np.array([ours["cores"] - bare["cores"] for bare, ours in pairs])
    return {
        "fps_ratio": {"median": float(np.median(fps)), "min": float(fps.min())},
        "cores_above": {"median": float(np.median(cores)), "max": float(cores.max())},
        "lost": sum(ours["lost"] for _, ours in pairs),
        "skipped": sum(ours["skipped"] for _, ours in pairs),
    }


def main() -> None:
    """Measure the pairs asked for and write the figures."""
    given = _arguments()
    if given.one:
        found = (
            run_ours(given.config, given.seconds)
            if given.one == OURS
            else run_bare(*SCENES[given.scene], given.seconds)
        )
        print(json.dumps(found))
        return
    console, machine = Console(), machine_facts()
    plan = [(side, scene) for scene in SCENES for _ in range(given.pairs) for side in (BARE, OURS)]
    rows = [
        measure(side, scene, given.seconds)
        for side, scene in track(plan, "measuring", console=console)
    ]
    results = {scene: compared(rows, scene) for scene in SCENES}
    console.print(_table(rows))
    console.print(results)
    if given.json:
        data = {"machine": machine, "seconds": given.seconds, "rows": rows, "compared": results}
        write_json(given.json, data)


def _table(rows: list[dict[str, Any]]) -> Table:
    table = Table(title="DemoCamera behind MMCore")
    for column in ("scene", "side", "fps", "cores", "frames", "lost", "skipped"):
        table.add_column(column)
    for row in rows:
        table.add_row(
            row["scene"],
            row["side"],
            f"{row['fps']:.1f}",
            f"{row['cores']:.2f}",
            str(row["frames"]),
            str(row["lost"]),
            str(row.get("skipped", "")),
        )
    return table


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=3, help="pairs of runs for each scene")
    parser.add_argument("--seconds", type=float, default=20.0, help="length of a run")
    parser.add_argument("--json", type=Path, default=None, help="file for the figures")
    parser.add_argument("--one", choices=(BARE, OURS), default=None, help=argparse.SUPPRESS)
    parser.add_argument("--scene", choices=tuple(SCENES), default=None, help=argparse.SUPPRESS)
    parser.add_argument("--config", type=Path, default=None, help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
