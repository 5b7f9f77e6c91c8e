"""What a frame costs the recorder, up to the page cache and up to the disk. Runs in the child.

Drives the live plane's own recorder in a folder that the parent made and removes.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import msgspec

from livedenoise.core.clock import now_ns
from livedenoise.core.frame import frame_nbytes
from livedenoise.daemon.preflight.frames import (
    FrameKind,
    Timed,
    blank_header,
    random_frames,
    repeat,
)
from livedenoise.record.recorder import Recorder


def measure_recorder(
    kind: FrameKind, folder: Path, seconds: float, limits: dict[str, Any]
) -> dict[str, Any]:
    """Measure the recorder, to the page cache and to the disk.

    ``cached`` ends when the system has taken the frames, ``synced`` when they are on the disk: an
    fsync of every file at the end counts in full.
    ``limits`` holds ``max_bytes``, ``part_size_bytes`` and ``fsync_every``.
    """
    sources, header = random_frames(kind), blank_header(kind)
    frames = max(1, int(limits["max_bytes"]) // frame_nbytes(kind.shape, kind.dtype))
    recorder = Recorder(
        folder,
        "raw",
        part_size_bytes=int(limits["part_size_bytes"]),
        fsync_every=int(limits["fsync_every"]),
    )

    def append(n: int) -> None:
        recorder.append(msgspec.structs.replace(header, seq=n), sources[n % len(sources)])

    start_ns, cpu_s = now_ns(), time.process_time()
    done = repeat(append, seconds, most=frames)
    recorder.finalise()
    for path in sorted(folder.iterdir()):
        _sync(path)
    synced = Timed(
        frames=done.frames,
        wall_s=(now_ns() - start_ns) * 1e-9,
        cpu_s=time.process_time() - cpu_s,
    )
    return {"cached": msgspec.to_builtins(done), "synced": msgspec.to_builtins(synced)}


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
