"""Frames to measure with, and the loop that measures: bounded in time and in frames.

Runs in the measuring child. Knows: clocks and random pixels. Must not know: what is measured.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import msgspec
import numpy as np

from livedenoise.core.clock import now_ns
from livedenoise.core.frame import Frame, FrameHeader, max_count

_SOURCES = 4
"""Frames that are used in turn: one alone would stay in the cache."""


class FrameKind(msgspec.Struct, frozen=True, kw_only=True):
    """Frames to measure with: (Y, X) pixels of a type and bit depth."""

    shape: tuple[int, int]
    dtype: str
    bit_depth: int


class Timed(msgspec.Struct, frozen=True, kw_only=True):
    """What was measured: frames, and seconds of wall clock and of processors they took."""

    frames: int
    wall_s: float
    cpu_s: float


def repeat(
    step: Callable[[int], None], seconds: float, *, warm: int = 0, most: int = 1 << 30
) -> Timed:
    """Repeat ``step(n)`` for ``seconds`` or ``most`` times, after ``warm`` uncounted ones."""
    for n in range(warm):
        step(n)
    frames, start_ns, cpu_s = 0, now_ns(), time.process_time()
    deadline_ns = start_ns + int(seconds * 1e9)
    while frames < most and (now_ns() < deadline_ns or not frames):
        step(warm + frames)
        frames += 1
    return Timed(
        frames=frames, wall_s=(now_ns() - start_ns) * 1e-9, cpu_s=time.process_time() - cpu_s
    )


def random_frames(kind: FrameKind) -> list[Frame]:
    """Return different frames over the whole range of counts: no file system can compress them."""
    rng = np.random.default_rng(0)
    top = max_count(kind.bit_depth)
    if np.dtype(kind.dtype).kind == "f":
        return [(rng.random(kind.shape, np.float32) * top) for _ in range(_SOURCES)]
    return [
        rng.integers(0, top, kind.shape, dtype=np.dtype(kind.dtype), endpoint=True)
        for _ in range(_SOURCES)
    ]


def blank_header(kind: FrameKind) -> FrameHeader:
    """Return the header of such a frame, with neither number nor slot yet."""
    return FrameHeader(
        run_id="check",
        camera="check",
        stream="raw",
        seq=0,
        epoch=0,
        camera_seq=-1,
        t_camera_ns=0,
        t_host_ns=0,
        t_ring_ns=0,
        t_infer_start_ns=0,
        t_infer_end_ns=0,
        t_publish_ns=0,
        height=kind.shape[0],
        width=kind.shape[1],
        dtype=kind.dtype,
        bit_depth=kind.bit_depth,
        roi_x=0,
        roi_y=0,
        binning=1,
        channel=0,
        exposure_us=0,
        slot=0,
        generation=0,
        ring_epoch=0,
        calibration="",
        model="",
    )
