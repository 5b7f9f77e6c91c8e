"""Measuring the ceilings of a run: one child after another, so that none disturbs the next.

Cameras of the same frames share a measurement. Segments and files belong to this process and are
removed whatever happens to the children.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from livedenoise.bus.endpoints import Endpoints
from livedenoise.bus.ring import Ring, ring_spec
from livedenoise.bus.segment import is_stale
from livedenoise.core.config import Config
from livedenoise.core.engine import EngineInfo
from livedenoise.core.errors import LiveDenoiseError
from livedenoise.core.frame import frame_nbytes
from livedenoise.daemon.preflight.ceilings import (
    DENOISER,
    MESSAGES,
    RING,
    Cost,
    recorder_cost,
)
from livedenoise.daemon.preflight.demand import Demand
from livedenoise.daemon.preflight.frames import FrameKind, Timed
from livedenoise.daemon.preflight.measure_stage import MEASURE
from livedenoise.daemon.preflight.probes import Job, Probes
from livedenoise.daemon.preflight.readings import SCRATCH_PREFIX

RING_S = 0.8
RECORDER_S = 1.5
ENGINE_S = 4.0
"""Seconds of measurement each, divided among different kinds of frames."""

MAX_BYTES = 512 << 20
_RING_BYTES = 256 << 20
_TIMEOUT_S = 60.0
_SCRATCH = re.compile(rf"{re.escape(SCRATCH_PREFIX)}([0-9]{{1,10}})-\w+")

OnStep = Callable[[str], None]


class Subject(msgspec.Struct, frozen=True, kw_only=True):
    """One camera to measure for. ``serving`` is what its denoiser would be told; None: none."""

    demand: Demand
    bit_depth: int
    serving: dict[str, Any] | None

    @property
    def kind(self) -> FrameKind:
        """Return the frames to measure with."""
        demand = self.demand
        return FrameKind(shape=demand.shape, dtype=demand.dtype, bit_depth=self.bit_depth)


class Measured(msgspec.Struct, kw_only=True):
    """What was measured: costs by camera, engines by camera, failures by what failed."""

    costs: dict[str, list[Cost]] = {}
    engines: dict[str, EngineInfo] = {}
    failures: dict[str, LiveDenoiseError] = {}


def measure(
    config: Config,
    subjects: Sequence[Subject],
    folder: Path | None,
    disk_free: int,
    on_step: OnStep,
) -> Measured:
    """Measure every stage for every different kind of frames.

    Parameters
    ----------
    folder : Path
        Existing folder on the disk that recordings go to; nothing is left in it. None where it
        cannot be written: the recorder is left out.
    disk_free : int
        Bytes free there: at most a quarter is written.
    on_step : callable
        Told what is measured next.
    """
    found = Measured(costs={subject.demand.camera: [] for subject in subjects})
    groups: dict[FrameKind, list[Subject]] = {}
    for subject in subjects:
        groups.setdefault(subject.kind, []).append(subject)
    if folder is not None:
        remove_stale_scratch(folder)
    with Probes() as probes:
        bench = _Bench(config, subjects, probes, found, share=1.0 / max(1, len(groups)))
        for kind, members in groups.items():
            on_step("ring and messages")
            bench.ring(kind, members)
            recorded = any(member.demand.recorded_streams for member in members)
            if recorded and folder is not None:
                on_step("recorder")
                bench.recorder(kind, members, folder, min(MAX_BYTES, disk_free // 4))
            served = [member for member in members if member.serving is not None]
            if served:
                on_step("denoiser")
                bench.engine(kind, served)
    return found


def remove_stale_scratch(folder: Path) -> None:
    """Remove what a killed check left in a folder (POSIX)."""
    for path in folder.glob(f"{SCRATCH_PREFIX}*"):
        if is_stale(path, _SCRATCH):
            shutil.rmtree(path, ignore_errors=True)


class _Bench:
    """Asks one child after another and turns its answers into costs."""

    def __init__(
        self,
        config: Config,
        subjects: Sequence[Subject],
        probes: Probes,
        found: Measured,
        *,
        share: float,
    ) -> None:
        self._config = config
        self._demands = [subject.demand for subject in subjects]
        self._probes = probes
        self._found = found
        self._share = share

    def ring(self, kind: FrameKind, members: Sequence[Subject]) -> None:
        """Measure the way into the ring."""
        try:
            with _ring(kind) as (ring, endpoint):
                settings = {"ring": msgspec.to_builtins(ring.spec), "endpoint": endpoint}
                answer = self._ask("ring", kind, RING_S, settings)
        except LiveDenoiseError as error:
            self._found.failures["ring"] = error
            return
        filled, hops = (msgspec.convert(answer[key], Timed) for key in ("ring", "messages"))
        for member in members:
            method = f"{filled.frames} frames copied into slots, nobody reading"
            self._add(member, RING, filled, method)
            self._add(member, MESSAGES, hops, f"{hops.frames} headers sent and released")

    def recorder(
        self, kind: FrameKind, members: Sequence[Subject], folder: Path, max_bytes: int
    ) -> None:
        """Measure the recorder on the disk of ``folder``."""
        record = self._config.record
        settings: dict[str, Any] = {
            "max_bytes": max_bytes,
            "part_size_bytes": record.part_size_mb << 20,
            "fsync_every": record.fsync_every,
        }
        try:
            with _scratch(folder) as scratch:
                settings["folder"] = str(scratch)
                answer = self._ask("recorder", kind, RECORDER_S, settings)
        except (LiveDenoiseError, OSError) as error:
            known = error if isinstance(error, LiveDenoiseError) else LiveDenoiseError(str(error))
            self._found.failures["recorder"] = known
            return
        cached, synced = (msgspec.convert(answer[key], Timed) for key in ("cached", "synced"))
        for member in members:
            if member.demand.recorded_streams:
                self._add_recorder(member, cached, synced)

    def engine(self, kind: FrameKind, members: Sequence[Subject]) -> None:
        """Measure the denoiser."""
        first = members[0]
        try:
            answer = self._ask("engine", kind, ENGINE_S, {"serving": first.serving})
        except LiveDenoiseError as error:
            for member in members:
                self._found.failures[f"{member.demand.camera}: engine"] = error
            return
        timed = msgspec.convert(answer["engine"], Timed)
        info = msgspec.convert(answer["info"], EngineInfo)
        for member in members:
            self._found.engines[member.demand.camera] = info
            method = f"median of {timed.frames} frames, {info.engine} {info.precision}"
            self._add(member, DENOISER, timed, method)

    def _ask(
        self, what: str, kind: FrameKind, seconds: float, settings: dict[str, Any]
    ) -> dict[str, Any]:
        common = {
            "what": what,
            "kind": msgspec.to_builtins(kind),
            "seconds": seconds * self._share,
        }
        job = Job(name=f"check.{what}", entry=MEASURE, settings=common | settings)
        answer = self._probes.ask([job], _TIMEOUT_S)[job.name]
        if isinstance(answer, LiveDenoiseError):
            raise answer
        return answer

    def _add(self, member: Subject, stage: str, timed: Timed, method: str) -> None:
        s, cpu_s = timed.wall_s / timed.frames, timed.cpu_s / timed.frames
        moved = 0 if stage == MESSAGES else member.demand.frame_bytes
        cost = Cost(stage=stage, s=s, cpu_s=cpu_s, frame_bytes=moved, method=method)
        self._found.costs[member.demand.camera].append(cost)

    def _add_recorder(self, member: Subject, cached: Timed, synced: Timed) -> None:
        frame_bytes = member.demand.frame_bytes
        written = synced.frames * frame_bytes
        disk, cache = written / synced.wall_s, cached.frames * frame_bytes / cached.wall_s
        streams = "raw and clean" if member.demand.recorded_streams > 1 else "one stream"
        method = (
            f"{written >> 20} MiB: to the disk {disk * 1e-6:.0f} MB/s, to the page cache alone "
            f"{cache * 1e-6:.0f} MB/s; {streams}"
        )
        cost = recorder_cost(
            member.demand,
            self._demands,
            bytes_per_s=min(disk, cache),
            cpu_s_per_byte=synced.cpu_s / written,
            method=method,
        )
        self._found.costs[member.demand.camera].append(cost)


@contextmanager
def _ring(kind: FrameKind) -> Iterator[tuple[Ring, str]]:
    """Make a ring larger than any cache, and an endpoint for it."""
    frame_bytes = frame_nbytes(kind.shape, kind.dtype)
    memory = max(_RING_BYTES, 4 * (frame_bytes + 4096))
    ring = Ring.create(ring_spec("check", frame_bytes, memory_bytes=memory, max_slots=64))
    try:
        with Endpoints() as endpoints:
            yield ring, endpoints.bind_to("check")
    finally:
        ring.close()


@contextmanager
def _scratch(folder: Path) -> Iterator[Path]:
    prefix = f"{SCRATCH_PREFIX}{os.getpid()}-"
    with tempfile.TemporaryDirectory(prefix=prefix, dir=folder) as scratch:
        yield Path(scratch) / "stream"
