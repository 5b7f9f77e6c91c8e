"""What supervision and metrics cost: end-to-end frames per second with them over without them.

    python tools/bench_supervision.py --pairs 6 --json supervision.json

One recording is replayed as fast as the pipeline takes it (lossless: every frame denoised by the
identity engine and recorded raw), again and again, by turns with and without, so that what the
machine does besides meets both alike.

With: the defaults. View stage with its figures and pictures, a report of every stage each 200 ms, a
status snapshot five times a second. Without: no view stage, no report during the run, nobody asks
for the status, every time-out out of reach. What cannot be switched off is in both: a process, a
control thread and a heartbeat message each report interval for every stage, counters and latency
histograms per frame, and the daemon's loop of 20 ms. CPU seconds are those of all processes of a
run, less those of a run of few frames: starting a view stage costs as much as its work for long.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from bench_common import machine_facts, write_json
from bench_end_to_end import RAM_DISK
from rich.console import Console
from rich.progress import track
from rich.table import Table

from livedenoise.core.config import load_config
from livedenoise.core.status import StatusSnapshot
from livedenoise.daemon.options import RunOptions
from livedenoise.daemon.run import Daemon

POOL_FRAMES = 32
FEW_FRAMES = 10
WITH, WITHOUT = "with", "without"


def toml(variant: str, stack: Path) -> str:
    """Return the configuration of one variant."""
    text = f"""
name = "{variant}"
[[camera]]
kind = "replay"
name = "replay"
input = {json.dumps(str(stack))}
pace = "lossless"
loops = 0
constants = {{ gain_e_per_adu = 0.5, offset_adu = 100.0, read_noise_e = 1.5 }}
[denoise]
engine = "identity"
[record]
raw = true
"""
    if variant == WITH:
        return text
    return f"""{text}
[view]
enabled = false
[status]
report_ms = 600000
stall_timeout_s = 3600.0
drain_timeout_s = 3600.0
[supervise]
silence_s = 3600.0
"""


def write_stack(path: Path, size_px: int) -> None:
    """Write the recording: shot noise at 200 counts over the offset, another in every frame."""
    rng = np.random.default_rng(7)
    stack = 100 + rng.poisson(200, (POOL_FRAMES, size_px, size_px)).astype(np.uint16)
    tifffile.imwrite(path, stack, metadata={"axes": "TYX"})


def run_once(config: Path, out: Path, frames: int, *, watched: bool) -> dict[str, Any]:
    """Run one variant in this process, a fresh one, and return its figures."""
    seen: list[StatusSnapshot] = []
    daemon = Daemon(load_config(config), RunOptions(out=out, frames=frames))
    summary = daemon.run(seen.append if watched else None)
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return {
        "fps": summary.fps_out,
        "cpu_s": sum(one.ru_utime + one.ru_stime for one in used),
        "denoised": summary.denoised,
        "recorded": summary.recorded,
        "snapshots": len(seen),
        "exit_code": summary.exit_code,
        "errors": summary.errors,
    }


def measure(variant: str, frames: int, size_px: int) -> dict[str, Any]:
    """Run one variant in a process of its own, recording to memory where there is such a disk.

    Raises
    ------
    RuntimeError
        If a frame is missing, or the run does not end in order.
    """
    with tempfile.TemporaryDirectory(dir=RAM_DISK if RAM_DISK.is_dir() else None) as folder:
        stack, config = Path(folder) / "stack.tif", Path(folder) / f"{variant}.toml"
        write_stack(stack, size_px)
        config.write_text(toml(variant, stack), encoding="utf-8")
        command = [sys.executable, __file__, "--one", str(config), "--frames", str(frames)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)
        if done.returncode:
            raise RuntimeError(f"{variant}: exit code {done.returncode}\n{done.stderr}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    if found["exit_code"] or not found["denoised"] == found["recorded"] == frames:
        raise RuntimeError(f"{variant}: {frames} frames asked for: {found}")
    return {"variant": variant, **found}


def ratios(rows: list[dict[str, Any]], key: str) -> dict[str, float]:
    """Return with over without: the median of the pairs, the least and the greatest."""
    pairs = zip(rows[::2], rows[1::2], strict=True)
    found = np.array([a[key] / b[key] for a, b in pairs])
    return {"median": float(np.median(found)), "min": float(found.min()), "max": float(found.max())}


def main() -> None:
    """Measure the pairs asked for and write the figures."""
    given = _arguments()
    if given.one is not None:
        found = run_once(given.one, Path("runs"), given.frames, watched=given.one.stem == WITH)
        print(json.dumps(found))
        return
    console = Console()
    machine = machine_facts()
    start_s = {
        variant: min(measure(variant, FEW_FRAMES, given.size)["cpu_s"] for _ in range(2))
        for variant in (WITH, WITHOUT)
    }
    turns = [WITH, WITHOUT] * given.pairs
    rows = [
        measure(variant, given.frames, given.size)
        for variant in track(turns, "runs", console=Console(stderr=True))
    ]
    for row in rows:
        row["cpu_s"] -= start_s[row["variant"]]
    result = {
        "machine": machine,
        "size_px": given.size,
        "frames": given.frames,
        "cpu_s_of_the_start": start_s,
        "fps_with_over_without": ratios(rows, "fps"),
        "cpu_with_over_without": ratios(rows, "cpu_s"),
        "runs": rows,
    }
    write_json(given.json, result)
    _show(result, console)


def _show(result: dict[str, Any], console: Console) -> None:
    table = Table("variant", "fps", "CPU s", "snapshots", title="supervision and metrics")
    for row in result["runs"]:
        snapshots = str(row["snapshots"])
        table.add_row(row["variant"], f"{row['fps']:.1f}", f"{row['cpu_s']:.1f}", snapshots)
    console.print(table)
    for key in ("fps_with_over_without", "cpu_with_over_without"):
        text = "median {median:.3f}, {min:.3f} to {max:.3f}".format(**result[key])
        console.print(f"{key.replace('_', ' ')}: {text}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    add = parser.add_argument
    add("--pairs", type=int, default=6, metavar="N", help="pairs of runs, by turns")
    add("--frames", type=int, default=4000, metavar="N", help="of each run")
    add("--size", type=int, default=512, metavar="PX", help="width and height of a frame")
    add("--json", type=Path, default=Path("supervision.json"), metavar="FILE")
    add("--one", type=Path, metavar="CONFIG", help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
