"""What every benchmark needs: the facts of the machine, and one way to write figures.

Imported by the other benchmarks; measures nothing but how busy the machine is.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import time
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("livedenoise", "numpy", "msgspec", "pyzmq", "tifffile", "openvino", "onnxruntime")
_BUSY_SAMPLE_S = 0.5


def machine_facts() -> dict[str, Any]:
    """Return the machine, the versions, the commit, and how busy others keep the machine now."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit(),
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "cores_usable": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None,
        "memory_gib": _memory_gib(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "versions": _versions(),
        "busy_before": busy(),
    }


def busy() -> dict[str, Any]:
    """Return the load average and the share of all cores in use over half a second.

    Called while nothing of ours runs, it says what else was running.
    """
    before, start = cpu_ticks(), time.perf_counter()
    time.sleep(_BUSY_SAMPLE_S)
    total, idle = (after - b for after, b in zip(cpu_ticks(), before, strict=True))
    return {
        "load_average": os.getloadavg() if hasattr(os, "getloadavg") else None,
        "cpu_in_use": round(1 - idle / total, 3) if total else None,
        "sampled_s": round(time.perf_counter() - start, 2),
    }


def commit() -> str:
    """Return the commit, marked when the tree differs from it; "unknown" outside a checkout."""
    head = _git("rev-parse", "HEAD")
    if not head:
        return "unknown"
    return f"{head} with changes" if _git("status", "--porcelain", "-uno") else head


def write_json(path: Path, data: object) -> None:
    """Write figures for people and programs: indented, keys in the order they were made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")


def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(
            ["git", "-C", str(ROOT), *arguments],  # noqa: S607  (the user's own git)
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _versions() -> dict[str, str]:
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = "not installed"
    return versions


def _cpu_model() -> str:
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or "unknown"


def _memory_gib() -> float | None:
    names = getattr(os, "sysconf_names", {})
    if "SC_PHYS_PAGES" not in names:
        return None
    return round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30, 1)


def cpu_ticks() -> tuple[int, int]:
    """Return (all, idle) ticks of 10 ms of all cores since boot; zeros where nobody says."""
    path = Path("/proc/stat")
    if not path.exists():
        return 0, 0
    ticks = [int(tick) for tick in path.read_text(encoding="utf-8").splitlines()[0].split()[1:9]]
    return sum(ticks), ticks[3] + ticks[4]
