"""Frames through the network path: cost of a call of ``send``, rate to a camera that takes them.

    python tools/bench_network.py --out network.json

One process sends, another takes the frames into one buffer, over loopback TCP: plain and with CURVE
keys. ``send_us`` is what a caller pays for a frame; ``nobody`` is a call while nobody listens,
``queue_full`` one that is dropped. ``copy_us`` is a plain copy of the same frame in the same run,
into memory already in use. A subscriber's figures are frames published and received.
"""

from __future__ import annotations

import argparse
import multiprocessing
import subprocess
import sys
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
from bench_common import busy, machine_facts, write_json

from livedenoise.acquire.network import NetworkCamera
from livedenoise.bus.keys import make_client_keys, make_server_keys
from livedenoise.client import FrameSender
from livedenoise.core.camera import StreamRequest
from livedenoise.core.camera_config import NetworkCameraConfig
from livedenoise.core.frame import Frame

SHAPES = ((128, 128), (512, 512), (2048, 2048))
_NOBODY = "tcp://127.0.0.1:9"


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("network.json"))
    parser.add_argument("--frames", type=int, default=300)
    arguments = parser.parse_args()
    facts = machine_facts()
    with tempfile.TemporaryDirectory() as folder:
        keys = Path(folder) / "keys"
        make_server_keys(keys)
        client = make_client_keys(keys, "bench")
        rows = [
            _measure(shape, arguments.frames, secure, keys, client)
            for shape in SHAPES
            for secure in (False, True)
        ]
    report = {"machine": facts, "import_ms": _import_ms(), "rows": rows, "busy_after": busy()}
    write_json(arguments.out, report)
    for row in rows:
        print(row)


def _measure(
    shape: tuple[int, int], frames: int, secure: bool, keys: Path, client: Path
) -> dict[str, Any]:
    pixels = np.random.default_rng(0).integers(0, 4096, shape, dtype=np.uint16)
    row = {"shape": f"{shape[1]}x{shape[0]}", "curve": secure, "frames": frames}
    row |= {"copy_us": _copy_us(pixels), "nobody_us": _nobody_us(pixels)}
    here, there = multiprocessing.Pipe()
    context = multiprocessing.get_context("spawn")
    server = keys if secure else None
    taker = context.Process(target=_take, args=(there, shape, frames + 20, server))
    taker.start()
    try:
        with FrameSender(here.recv(), keys=client if secure else None) as sender:
            row |= _send(sender, pixels, frames)
    finally:
        taker.join(30)
    return row


def _send(sender: FrameSender, pixels: Frame, frames: int) -> dict[str, float]:
    sender.wait_ready(30)
    for _ in range(20):  # connection and memory are warm after these
        sender.send(pixels, timeout_s=10)
    sender.flush(10)
    calls_us, full_us = [], []
    started = time.perf_counter()
    sent = 0
    while sent < frames:
        before = time.perf_counter()
        done = sender.send(pixels)
        (calls_us if done else full_us).append((time.perf_counter() - before) * 1e6)
        sent += done
        if not done:
            sender.flush(10)
    sender.flush(10)
    took_s = time.perf_counter() - started
    return {
        "send_us_p50": float(np.percentile(calls_us, 50)),
        "send_us_p99": float(np.percentile(calls_us, 99)),
        "queue_full_us_p50": float(np.percentile(full_us, 50)) if full_us else 0.0,
        "fps": frames / took_s,
        "mb_per_s": frames * pixels.nbytes / took_s / 1e6,
    }


def _take(pipe: Connection, shape: tuple[int, int], frames: int, keys: Path | None) -> None:
    config = NetworkCameraConfig(
        kind="network",
        listen="tcp://127.0.0.1:*",
        keys=keys,
        width_px=shape[1],
        height_px=shape[0],
    )
    camera = NetworkCamera(config)
    camera.open()
    camera.prepare(StreamRequest(exposure_us=0, n_frames=frames))
    camera.start()
    pipe.send(camera.endpoint)
    slot: Frame = np.zeros(shape, np.uint16)
    for _ in camera.frames(lambda *_: slot):
        pass
    camera.close()


def _copy_us(pixels: Frame) -> float:
    target = np.zeros_like(pixels)
    return _median_us(lambda: np.copyto(target, pixels))


def _nobody_us(pixels: Frame) -> float:
    with FrameSender(_NOBODY) as sender:
        return _median_us(lambda: sender.send(pixels))


def _median_us(call: Any, rounds: int = 50) -> float:  # noqa: ANN401
    times = []
    for _ in range(rounds):
        before = time.perf_counter()
        call()
        times.append((time.perf_counter() - before) * 1e6)
    return float(np.median(times))


def _import_ms() -> dict[str, float]:
    """Return how long the imports of a user's script take, each in a process of its own."""

    def timed(module: str) -> float:
        code = f"import time; t = time.perf_counter(); import {module}; "
        code += "print((time.perf_counter() - t) * 1e3)"
        runs = [
            float(
                subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout
            )
            for _ in range(3)
        ]
        return min(runs)

    return {name: timed(name) for name in ("numpy", "livedenoise.client")}


if __name__ == "__main__":
    main()
