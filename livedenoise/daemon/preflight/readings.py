"""Reading the machine: what it has free, and what it says when a folder or a port is tried.

Knows: where each platform tells these figures; None or empty where it does not. Must not know:
what is enough.
"""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from livedenoise.bus.exposure import safe_endpoint
from livedenoise.bus.keys import server_keys
from livedenoise.bus.segment import free_shared_memory
from livedenoise.core.errors import ConfigError
from livedenoise.daemon.preflight.ports import PortUse

SCRATCH_PREFIX = ".livedenoise-check-"
_MEMINFO = Path("/proc/meminfo")
_CGROUP = Path("/sys/fs/cgroup")
_MOUNTS = Path("/proc/self/mountinfo")
_CPUS = Path("/sys/devices/system/cpu")


class Readings(msgspec.Struct, frozen=True, kw_only=True):
    """What the machine says. None or empty: it does not say.

    ``folder`` is where the run folders would be made, or the nearest folder above that exists;
    ``folder_error`` is what the system said when something was written there.
    """

    shared_memory_free: int | None
    memory_available: int | None
    processors: int
    load: float | None
    clock_step_ns: float
    clock_monotonic: bool
    governors: tuple[str, ...]
    folder: Path
    folder_error: str
    disk_free: int
    file_system: str


def read_machine(out: Path) -> Readings:
    """Return what the machine says now; ``out`` is where recordings would go."""
    folder = existing_folder(out)
    return Readings(
        shared_memory_free=free_shared_memory(),
        memory_available=available_memory(),
        processors=usable_processors(),
        load=recent_load(),
        clock_step_ns=clock_step_ns(),
        clock_monotonic=time.get_clock_info("perf_counter").monotonic,
        governors=read_governors(),
        folder=folder,
        folder_error=try_folder(folder),
        disk_free=shutil.disk_usage(folder).free,
        file_system=file_system_of(folder),
    )


def existing_folder(out: Path) -> Path:
    """Return ``out``, or the nearest path above it that exists."""
    path = out.absolute()
    while not path.exists():
        path = path.parent
    return path


def try_folder(folder: Path) -> str:
    """Return what the system says when a folder is made there; empty when it can."""
    try:
        with tempfile.TemporaryDirectory(prefix=SCRATCH_PREFIX, dir=folder):
            return ""
    except OSError as error:
        return error.strerror or str(error)


def available_memory() -> int | None:
    """Return the bytes a program may still take: the system's, or a control group's if less."""
    found = [value for value in (_meminfo_available(), _cgroup_available()) if value is not None]
    return min(found, default=None)


def usable_processors() -> int:
    """Return the logical processors this process may run on."""
    # Not on every platform: a limit set for this process counts where there is one.
    affinity: Callable[[int], set[int]] | None = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity is not None else os.cpu_count() or 1


def recent_load() -> float | None:
    """Return how many programs ran or waited in the last minute, where the system counts them."""
    ask: Callable[[], tuple[float, float, float]] | None = getattr(os, "getloadavg", None)
    try:
        return None if ask is None else ask()[0]
    except OSError:
        return None


def clock_step_ns(samples: int = 200) -> float:
    """Return the smallest step above 0 that the clock was seen to make, in nanoseconds."""
    steps = []
    for _ in range(samples):
        start = now = time.perf_counter_ns()
        while now == start:
            now = time.perf_counter_ns()
        steps.append(now - start)
    return float(min(steps))


def read_governors() -> tuple[str, ...]:
    """Return the frequency governor of each processor, where Linux tells it."""
    files = sorted(_CPUS.glob("cpu[0-9]*/cpufreq/scaling_governor"))
    return tuple(text for path in files if (text := _text(path).strip()))


def file_system_of(path: Path) -> str:
    """Return the kind of file system a path lies on as Linux names it; empty elsewhere."""
    return parse_mounts(_text(_MOUNTS), path.resolve())


def parse_mounts(text: str, path: Path) -> str:
    """Return the kind of the innermost mount above ``path`` in the text of a mountinfo file."""
    best, kind = -1, ""
    for line in text.splitlines():
        fields, _, rest = line.partition(" - ")
        parts = fields.split()
        if len(parts) < 5 or not rest:
            continue
        # Blanks in mount points are written as octal escapes.
        point = Path(parts[4].replace("\\040", " "))
        depth = len(point.parts)
        # The last of equals lies on top.
        if (path == point or point in path.parents) and depth >= best:
            best, kind = depth, rest.split()[0]
    return kind


def try_port(use: PortUse) -> str:
    """Return what the system says when a port is bound for a moment; empty when it is free."""
    host = "" if use.host == "*" else use.host
    try:
        found = socket.getaddrinfo(host or None, use.port, type=socket.SOCK_STREAM, flags=_PASSIVE)
        family, kind, protocol, _, address = found[0]
        with socket.socket(family, kind, protocol) as probe:
            if os.name == "posix":
                # As ZeroMQ does: a port whose last connections are still winding down is free.
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        return error.strerror or str(error)
    return ""


_PASSIVE = socket.AI_PASSIVE


def refusal_of(use: PortUse) -> tuple[str, str]:
    """Return why a port would be refused (exposed, bad keys) and the mend; empty for nothing."""
    try:
        safe_endpoint(f"tcp://{use.address}", use.keys, key=use.key, keys_key=use.keys_key)
        if use.keys is not None:
            server_keys(use.keys)
    except ConfigError as error:
        return error.message, error.hint
    return "", ""


def _meminfo_available() -> int | None:
    for line in _text(_MEMINFO).splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) << 10
    return None


def _cgroup_available() -> int | None:
    limit, used = _text(_CGROUP / "memory.max").strip(), _text(_CGROUP / "memory.current").strip()
    return int(limit) - int(used) if limit.isdigit() and used.isdigit() else None


def _text(path: Path) -> str:
    """Return a small system file; empty where the platform has none or keeps it to itself."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
