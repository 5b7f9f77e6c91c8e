"""Plain data of a soak: how it is set up, what it does next, what is left of each run.

Knows: the configuration of the runs, and which blow a seed draws. Must not know: processes, files.
"""

from __future__ import annotations

import random
import signal
from pathlib import Path
from typing import Any

import msgspec

CAMERA = "sim"
KINDS = ("acquire", "denoise", "record", "record-clean", "view")


class Setup(msgspec.Struct, frozen=True, kw_only=True):
    """What every run of a soak is configured with."""

    engine: str = "identity"
    size_px: int = 128
    rate_hz: float = 100.0
    pool_frames: int = 8
    kinds: tuple[str, ...] = KINDS
    seed: int = 0

    @property
    def stages(self) -> set[str]:
        """Return the kinds of stages such a run has."""
        return {kind for kind in KINDS if kind != "view" or "view" in self.kinds}

    @property
    def mb_per_s(self) -> float:
        """Return what both recorded streams write."""
        return 2 * 2 * self.size_px**2 * self.rate_hz * 1e-6

    def toml(self) -> str:
        """Return the configuration: rings that hold ten seconds, restarts without a limit."""
        slots = min(65536, max(64, int(10 * self.rate_hz)))
        # The clean ring gets a quarter of the memory of the raw one.
        memory_mb = 1 + 4 * slots * 2 * self.size_px**2 // 2**20
        return f"""
name = "soak"
[[camera]]
kind = "simulated"
name = "{CAMERA}"
exposure_us = {int(0.5e6 / self.rate_hz)}
rate_hz = {self.rate_hz}
pool_frames = {self.pool_frames}
seed = {self.seed}
[camera.sensor]
width_px = {self.size_px}
height_px = {self.size_px}
line_time_us = {min(5.0, 0.4e6 / self.rate_hz / self.size_px)}
[camera.scene]
photons_per_s = 20000.0
[ring]
memory_mb = {memory_mb}
max_slots = {slots}
[denoise]
engine = "{self.engine}"
[record]
raw = true
clean = true
part_size_mb = 64
[supervise]
restarts = 1000000
window_s = 1000000.0
[view]
enabled = {str("view" in self.kinds).lower()}
"""


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What to do. One of ``minutes`` and ``kills`` is None; fractions are probabilities."""

    setup: Setup
    out: Path
    seed: int = 0
    minutes: float | None = None
    kills: int | None = None
    interval_s: float = 3.0
    hang_fraction: float = 0.2
    pair_fraction: float = 0.1
    daemon_kills: float = 0.03
    run_minutes: float = 5.0
    disk_mb: float = 2000.0


class Strike(msgspec.Struct, frozen=True, kw_only=True):
    """The next blow as drawn: ``wait_s`` after the one before; no kinds: the daemon."""

    wait_s: float
    sort: signal.Signals
    kinds: tuple[str, ...]


class Blow(msgspec.Struct, kw_only=True):
    """What was done to whom, and what came of it; times of ``core.clock``.

    ``gone_ms`` is when the last victim was gone (a hung one is killed by the daemon, a killed
    daemon's children end by themselves), ``denoised_ms`` when the first frame captured after the
    blow was denoised and published: None when there was none. ``youngest_s`` is the age of the
    youngest victim: a process that is still starting is given more time before it counts as hung.
    ``alone`` is False when another blow fell before the run was back from one of the two.
    """

    t_ns: int
    kinds: tuple[str, ...]
    sort: str
    pids: tuple[int, ...]
    youngest_s: float = 0.0
    gone_ms: float | None = None
    denoised_ms: float | None = None
    alone: bool = True


class Sample(msgspec.Struct, kw_only=True):
    """Memory at one moment: private bytes (RSS without shared pages), the run's segments."""

    t_s: float
    daemon_mb: float
    private_mb: float
    shm_mb: float
    segments: int
    daemon_fds: int
    processes: int
    blows: int


class Record(msgspec.Struct, kw_only=True):
    """What is left of one run: its findings."""

    number: int
    seconds: float = 0.0
    ended: str = ""
    blows: list[Blow] = []
    samples: list[Any] = []
    streams: dict[str, Any] = {}
    summary: dict[str, Any] = {}
    asked: int = 0
    unanswered: int = 0
    problems: list[str] = []


def draw(rng: random.Random, options: Options) -> Strike:
    """Return the next blow."""
    wait_s = rng.expovariate(1 / options.interval_s)
    if rng.random() < options.daemon_kills:
        return Strike(wait_s=wait_s, sort=signal.SIGKILL, kinds=())
    sort = signal.SIGSTOP if rng.random() < options.hang_fraction else signal.SIGKILL
    several = min(len(options.setup.kinds), 2 if rng.random() < options.pair_fraction else 1)
    kinds = sorted(rng.sample(options.setup.kinds, several))
    return Strike(wait_s=wait_s, sort=sort, kinds=tuple(kinds))
