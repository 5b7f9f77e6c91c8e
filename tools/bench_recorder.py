"""Appends of the recorder to a RAM disk, against plain writes of the same bytes in the same run.

Used by ``tools/benchmark.py``.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from bench_end_to_end import RAM_DISK

from livedenoise.core.frame import Frame, FrameHeader
from livedenoise.record.recorder import Recorder

SHAPES = ((128, 128), (512, 512), (2048, 2048))


def measure_recorder(frames: int) -> list[dict[str, Any]]:
    """Return one row for each frame size."""
    return [_one_shape(shape, frames) for shape in SHAPES]


def _one_shape(shape: tuple[int, int], frames: int) -> dict[str, Any]:
    pixels = np.random.default_rng(0).integers(0, 4096, shape, dtype=np.uint16)
    with tempfile.TemporaryDirectory(dir=RAM_DISK if RAM_DISK.is_dir() else None) as folder:
        recorded, times = _record(Path(folder) / "recorder", pixels, frames)
        plain = _write(Path(folder) / "plain", pixels, frames)
    size_mb = frames * pixels.nbytes / 1e6
    return {
        "shape": f"{shape[1]}x{shape[0]}",
        "frames": frames,
        "recorder_mb_per_s": size_mb / recorded,
        "recorder_fps": frames / recorded,
        "append_p99_ms": float(np.percentile(times, 99)),
        "plain_mb_per_s": size_mb / plain,
        "ratio_to_plain": plain / recorded,
    }


def _record(folder: Path, pixels: Frame, frames: int) -> tuple[float, list[float]]:
    recorder = Recorder(folder, "raw", part_size_bytes=4 << 30)
    times = []
    started = time.perf_counter()
    for seq in range(frames):
        before = time.perf_counter()
        recorder.append(_header(seq, pixels), pixels)
        times.append((time.perf_counter() - before) * 1e3)
    recorder.finalise()
    return time.perf_counter() - started, times


def _write(path: Path, pixels: Frame, frames: int) -> float:
    started = time.perf_counter()
    with path.open("wb", buffering=0) as file:
        for _ in range(frames):
            file.write(pixels.data)
    return time.perf_counter() - started


def _header(seq: int, pixels: Frame) -> FrameHeader:
    return FrameHeader(
        run_id="benchmark",
        camera="camera",
        stream="raw",
        seq=seq,
        epoch=0,
        camera_seq=seq,
        t_camera_ns=0,
        t_host_ns=seq,
        t_ring_ns=seq,
        t_infer_start_ns=0,
        t_infer_end_ns=0,
        t_publish_ns=0,
        height=pixels.shape[0],
        width=pixels.shape[1],
        dtype="<u2",
        bit_depth=16,
        roi_x=0,
        roi_y=0,
        binning=1,
        channel=0,
        exposure_us=10000,
        slot=0,
        generation=2,
        ring_epoch=0,
        calibration="",
        model="",
    )
