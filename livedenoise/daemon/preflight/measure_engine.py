"""What a frame costs the denoiser: the engine opened as the denoise stage opens it.

Runs in the measuring child, so that no inference runtime is imported by the command line.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from statistics import median
from typing import Any

import msgspec
import numpy as np

from livedenoise.core.clock import now_ns
from livedenoise.core.engine import FrameView
from livedenoise.core.errors import DenoiseError
from livedenoise.core.frame import Frame
from livedenoise.daemon.preflight.frames import FrameKind, Timed, random_frames
from livedenoise.denoise.serving import Serving, ServingSettings

MIN_FRAMES = 20
MAX_FRAMES = 200
_POLL_S = 0.1
_FRAME_TIMEOUT_S = 30.0


def measure_engine(kind: FrameKind, serving: dict[str, Any], seconds: float) -> dict[str, Any]:
    """Open the engine as the denoise stage does and measure the median time of a frame.

    At least 20 frames, unless they take longer than ``seconds``. Opening an engine runs it once;
    one more frame comes before the first that counts, unless it alone took all the time.
    """
    engine = Serving(msgspec.convert(serving, ServingSettings))
    times_s: list[float] = []
    cpu_times_s: list[float] = []
    try:
        sources = random_frames(kind)
        out = np.empty(kind.shape, kind.dtype)
        while not enough(times_s, seconds):
            n = len(times_s)
            begun_ns, cpu_s = now_ns(), time.process_time()
            _infer(engine, FrameView(seq=n, pixels=sources[n % len(sources)]), out)
            times_s.append((now_ns() - begun_ns) * 1e-9)
            cpu_times_s.append(time.process_time() - cpu_s)
        info = engine.facts()["engine"]
    finally:
        engine.close()
    counted, cpu_counted = times_s[1:] or times_s, cpu_times_s[1:] or cpu_times_s
    n = len(counted)
    timed = Timed(frames=n, wall_s=n * median(counted), cpu_s=sum(cpu_counted))
    return {"engine": msgspec.to_builtins(timed), "info": info}


def enough(times_s: Sequence[float], seconds: float) -> bool:
    """Return whether the frames so far suffice: 20 after the first, then a third of the time.

    A slow engine ends earlier, when all of the time is spent; never before one frame.
    """
    counted, spent_s = len(times_s) - 1, sum(times_s)
    if counted < MIN_FRAMES:
        return bool(times_s) and spent_s >= seconds
    return counted >= MAX_FRAMES or spent_s >= seconds / 3


def _infer(engine: Serving, frame: FrameView, out: Frame) -> None:
    engine.submit(frame, out, reset=True)
    deadline_ns = now_ns() + int(_FRAME_TIMEOUT_S * 1e9)
    while now_ns() < deadline_ns:
        done = engine.poll(_POLL_S)
        if done is not None:
            if done.error:
                raise DenoiseError(f"frame {frame.seq}: {done.error}")
            return
    raise DenoiseError(f"frame {frame.seq}: not denoised within {_FRAME_TIMEOUT_S:.0f} s")
