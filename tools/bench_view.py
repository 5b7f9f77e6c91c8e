"""What the view stage costs: processor time of its process, and of a whole run with and without.

    python tools/bench_view.py [--seconds 20] [--output FILE]

Two measurements. ``stage``: the stage in its own process, as the daemon starts it, on both streams
of a 512x512 uint16 camera at 100 frames a second, written in real time by this process; processor
time of that process alone after it has settled. ``run``: whole runs of the live plane (simulated
camera, identity engine, not recording) with ``[view]`` on and off, processor time of all their
processes; each run is made short and long, and the slope between them leaves the start-up out.
"""

from __future__ import annotations

import argparse
import json
import resource
import secrets
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import psutil
from bench_common import busy, machine_facts, write_json

from livedenoise.bus import wire
from livedenoise.bus.context import Context, new_context
from livedenoise.bus.control import ControlServer
from livedenoise.bus.endpoints import Endpoints
from livedenoise.bus.ring import Ring, RingSpec, ring_spec
from livedenoise.bus.writer import FrameWriter
from livedenoise.core.clock import MonotonicClock, now_ns
from livedenoise.core.config import ViewConfig
from livedenoise.core.constants import CameraConstants
from livedenoise.core.frame import FrameFlags, FrameHeader
from livedenoise.supervise.child import ChildSpec
from livedenoise.supervise.process import StageProcess

SIZE_PX = 512
RATE_HZ = 100.0
SETTLE_S = 3.0
LIMIT = 0.05
CAMERA = CameraConstants(gain_e_per_adu=0.46, offset_adu=100.0, read_noise_e=1.4, source="camera")
_POOL = 16
_SHORT_S = 5.0


def main() -> int:
    """Measure, print, and write the figures where asked."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=20.0, help="length of each measurement")
    parser.add_argument("--repeats", type=int, default=2, help="whole runs of each kind")
    parser.add_argument("--stage-only", action="store_true", help="leave the whole runs out")
    parser.add_argument("--output", type=Path, help="JSON file")
    options = parser.parse_args()
    figures: dict[str, Any] = {"machine": machine_facts(), "limit_core_share": LIMIT}
    figures["stage"] = measure_stage(options.seconds)
    if not options.stage_only:
        figures["run"] = measure_runs(options.seconds, options.repeats)
    figures["busy_after"] = busy()
    print(json.dumps(figures, indent=2))
    if options.output:
        write_json(options.output, figures)
    return 0 if figures["stage"]["core_share"] < LIMIT else 1


class _Source:
    """One stream of noisy frames, published on time."""

    def __init__(self, context: Context, endpoints: Endpoints, name: str) -> None:
        nbytes = 2 * SIZE_PX * SIZE_PX
        self.spec: RingSpec = ring_spec(name, nbytes, memory_bytes=64 << 20, max_slots=128)
        self._ring = Ring.create(self.spec)
        self.writer = FrameWriter(
            self._ring, context, endpoints.bind_to(name), lease_timeout_ns=2_000_000_000
        )
        self._name = name
        rng = np.random.default_rng(len(name))
        electrons = rng.poisson(100.0, (_POOL, SIZE_PX, SIZE_PX))
        if name == "clean":
            electrons = np.full_like(electrons, 100)
        self._pool = (electrons / CAMERA.gain_e_per_adu + 100.0).astype(np.uint16)

    def publish(self, seq: int) -> None:
        found = self.writer.begin((SIZE_PX, SIZE_PX), "<u2", 0.0)
        if found is None:
            raise RuntimeError(f"stream {self._name}: no slot for frame {seq}")
        grant, pixels = found
        pixels[...] = self._pool[seq % _POOL]
        flags = FrameFlags.DENOISED if self._name == "clean" else FrameFlags.NONE
        header = _header(self._name, seq, grant.slot, grant.generation, int(flags))
        self.writer.publish(grant, header)

    def close(self) -> None:
        self.writer.close()
        self._ring.close()


def measure_stage(seconds: float) -> dict[str, Any]:
    """Run the stage on two paced streams and return its share of one core."""
    context = new_context()
    with Endpoints() as endpoints, tempfile.TemporaryDirectory() as folder:
        sources = [_Source(context, endpoints, name) for name in ("raw", "clean")]
        server = ControlServer(context, endpoints.bind_to("control"))
        process = _start(server, Path(folder))
        try:
            return _paced(server, process, sources, seconds)
        finally:
            process.end()
            server.close()
            for source in sources:
                source.close()
            context.term()


def _start(server: ControlServer, folder: Path) -> StageProcess:
    identity = secrets.token_hex(16)
    server.expect("view.bench", identity)
    spec = ChildSpec(
        stage="view.bench",
        entry="livedenoise.view.stage:ViewStage",
        endpoint=server.endpoint,
        identity=identity,
        report_ms=200,
        settings={},
    )
    return StageProcess(spec, folder / "view.log")


def _paced(
    server: ControlServer, process: StageProcess, sources: list[_Source], seconds: float
) -> dict[str, Any]:
    raw, clean = sources
    wiring = {
        "camera": "bench",
        "raw_ring": msgspec.to_builtins(raw.spec),
        "raw_endpoint": raw.writer.endpoint,
        "clean_ring": msgspec.to_builtins(clean.spec),
        "clean_endpoint": clean.writer.endpoint,
        "constants": msgspec.to_builtins(CAMERA),
        "quantum_efficiency": 0.8,
        "bit_depth": 16,
        "period_ns": int(1e9 / RATE_HZ),
        "sample_hz": ViewConfig().sample_hz,
        "window": 50,
        "preview_px": 96,
    }
    server.send("view.bench", wire.Configure(settings=wiring))
    server.send("view.bench", wire.Start())
    clock, period_ns = MonotonicClock(), int(1e9 / RATE_HZ)
    start_ns, member = now_ns(), psutil.Process(process.pid)
    settled = int((SETTLE_S) * RATE_HZ)
    before, samples, metrics = 0.0, 0, {}
    for seq in range(settled + int(seconds * RATE_HZ)):
        clock.sleep_until_ns(start_ns + seq * period_ns)
        for source in sources:
            source.publish(seq)
        while (said := server.receive(0)) is not None:
            if isinstance(said[1], wire.Beat) and said[1].metrics:
                metrics = said[1].metrics
        if seq == settled:
            before, samples = _cpu_s(member), metrics["counts"]["samples"]
            settled_ns = now_ns()
    used, elapsed = _cpu_s(member) - before, (now_ns() - settled_ns) * 1e-9
    taken = metrics["counts"]["samples"] - samples
    return {
        "frames": f"{SIZE_PX}x{SIZE_PX} uint16 at {RATE_HZ:g} fps, raw and clean",
        "seconds": elapsed,
        "samples": taken,
        "samples_per_s": taken / elapsed,
        "counts": metrics["counts"],
        "cpu_s": used,
        "core_share": used / elapsed,
        "met": used / elapsed < LIMIT,
    }


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def measure_runs(seconds: float, repeats: int) -> list[dict[str, Any]]:
    """Return the processor time a second of whole runs with and without the view, by turns."""
    rows = []
    for _ in range(repeats):
        for view in (True, False):
            short, long = _run_cpu_s(_SHORT_S, view=view), _run_cpu_s(seconds, view=view)
            share = (long - short) / (seconds - _SHORT_S)
            rows.append({"view": view, "cores_used": share})
    shares = {
        view: [row["cores_used"] for row in rows if row["view"] is view] for view in (True, False)
    }
    means = {view: sum(found) / len(found) for view, found in shares.items()}
    rows.append({"difference_core_share": means[True] - means[False]})
    return rows


def _run_cpu_s(seconds: float, *, view: bool) -> float:
    """Return the processor time of a run and of all its processes."""
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "case.toml"
        config.write_text(_toml(view=view), encoding="utf-8")
        command = [sys.executable, "-m", "livedenoise", "run", str(config), "--json"]
        command += ["--seconds", str(seconds)]
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: exit code {done.returncode}\n{done.stderr}")
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _toml(*, view: bool) -> str:
    return f"""
name = "case"
[[camera]]
kind = "simulated"
name = "sim"
exposure_us = 9000
rate_hz = {RATE_HZ}
pool_frames = 32
[camera.sensor]
width_px = {SIZE_PX}
height_px = {SIZE_PX}
[camera.scene]
photons_per_s = 3000.0
[denoise]
engine = "identity"
[record]
raw = false
[view]
enabled = {str(view).lower()}
"""


def _header(stream: str, seq: int, slot: int, generation: int, flags: int) -> FrameHeader:
    moment = now_ns()
    return FrameHeader(
        run_id="bench",
        camera="bench",
        stream=stream,
        seq=seq,
        epoch=0,
        camera_seq=seq,
        t_camera_ns=0,
        t_host_ns=moment,
        t_ring_ns=moment,
        t_infer_start_ns=0,
        t_infer_end_ns=0,
        t_publish_ns=moment,
        height=SIZE_PX,
        width=SIZE_PX,
        dtype="<u2",
        bit_depth=16,
        roi_x=0,
        roi_y=0,
        binning=1,
        channel=0,
        exposure_us=9000,
        slot=slot,
        generation=generation,
        ring_epoch=0,
        calibration="",
        model="",
        flags=flags,
    )


if __name__ == "__main__":
    sys.exit(main())
