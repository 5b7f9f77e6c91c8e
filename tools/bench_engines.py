"""Time of one frame in each engine, alone in its process, median and percentiles.

Used by ``tools/benchmark.py``. Engines are compared in one run, in turns, so that a drift of the
machine's speed hits all of them.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from livedenoise.core.constants import CameraConstants
from livedenoise.core.engine import Engine, FrameView, ServeRequest
from livedenoise.core.frame import Frame
from livedenoise.engines.cache import default_cache_dir
from livedenoise.engines.package import resolve_model
from livedenoise.engines.select import choose_engine

SHAPES = ((128, 128), (512, 512), (1024, 1024), (2048, 2048))
ENGINES = (("openvino", 1), ("openvino", 2), ("onnxruntime", 1), ("onnxruntime", 2))
_TURN = 10


def measure_engines(frames: int) -> list[dict[str, Any]]:
    """Return one row for each engine, number of threads and shape."""
    rows = []
    for shape in SHAPES:
        count = max(3, min(frames, frames * 512 * 512 // (shape[0] * shape[1])))
        rows += _one_shape(shape, count)
    return rows


def _one_shape(shape: tuple[int, int], count: int) -> list[dict[str, Any]]:
    rng = np.random.default_rng(0)
    frame = (rng.poisson(20, shape) + 100).astype(np.uint16)
    engines: list[tuple[str, int, Engine, list[float]]] = []
    for name, threads in ENGINES:
        request = _request(shape, threads)
        engine = choose_engine(name, request)
        engine.open(request)
        engines.append((name, threads, engine, []))
    while any(len(times) < count for *_, times in engines):
        for _, _, engine, times in engines:
            _time_turn(engine, frame, times, min(_TURN, count - len(times)))
    for *_, engine, _ in engines:
        engine.close()
    return [_row(name, threads, shape, times) for name, threads, _, times in engines]


def _time_turn(engine: Engine, frame: Frame, times: list[float], count: int) -> None:
    out = np.empty_like(frame)
    for seq in range(count):
        engine.submit(FrameView(seq=seq, pixels=frame), out, reset=False)
        done = engine.poll(60.0)
        if done is None or done.error:
            raise RuntimeError(f"the engine failed: {done}")
        times.append((done.t_end_ns - done.t_start_ns) * 1e-6)


def _row(name: str, threads: int, shape: tuple[int, int], times: list[float]) -> dict[str, Any]:
    p50, p99 = np.percentile(times, (50, 99))
    return {
        "engine": name,
        "threads": threads,
        "shape": f"{shape[1]}x{shape[0]}",
        "frames": len(times),
        "p50_ms": float(p50),
        "p99_ms": float(p99),
        "fps": float(1e3 / p50),
        "mpx_per_s": float(shape[0] * shape[1] / p50 / 1e3),
    }


def _request(shape: tuple[int, int], threads: int) -> ServeRequest:
    return ServeRequest(
        shape=shape,
        dtype="<u2",
        out_dtype="<u2",
        bit_depth=16,
        constants=CameraConstants(gain_e_per_adu=0.46, offset_adu=100.0, read_noise_e=1.5),
        package=resolve_model("realtime-m"),
        precision="fp32",
        threads=threads,
        cache_dir=default_cache_dir(),
    )
