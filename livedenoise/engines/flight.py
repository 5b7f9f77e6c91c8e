"""What every engine checks and counts alike: requests, frames, and what came out.

Knows: which requests and frames no engine can take, and how a finished graph's row outputs become
a ``Done``. Must not know: any runtime.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from livedenoise.core.engine import MAX_IN_FLIGHT, Done, FrameView, ServeRequest
from livedenoise.core.errors import DenoiseError
from livedenoise.core.frame import SUPPORTED_DTYPES, Frame

NOT_FINITE = "the network's output holds NaN or infinity"


@dataclass
class Flight:
    """One submitted frame; it keeps both arrays alive until it is done."""

    seq: int
    pixels: Frame
    out: Frame
    t_submit_ns: int
    t_end_ns: int = 0


def request_problem(request: ServeRequest) -> str | None:
    """Return why no engine can serve a request, or None."""
    if min(request.shape) < 1:
        return f"frames of {request.shape} (Y, X) hold no pixel"
    for name in ("dtype", "out_dtype"):
        dtype = getattr(request, name)
        if dtype not in SUPPORTED_DTYPES:
            return f"{name} {dtype!r} is not one of {', '.join(SUPPORTED_DTYPES)}"
        kind = np.dtype(dtype)
        if kind.kind == "u" and not 1 <= request.bit_depth <= 8 * kind.itemsize:
            return f"a bit depth of {request.bit_depth} does not fit {name} {dtype!r}"
    maps = request.maps
    if maps is not None:
        for name in ("offset_adu", "gain_e_per_adu"):
            shape = getattr(maps, name).shape
            if shape != request.shape:
                return f"the {name} map is {shape} but frames are {request.shape} (Y, X)"
    return None


def check_frame(request: ServeRequest, frame: FrameView, out: Frame, in_flight: int) -> None:
    """Refuse a frame the engine was not opened for.

    Raises
    ------
    DenoiseError
        If an array's shape, type or layout is wrong, or too many frames are in flight.
    """
    if in_flight >= MAX_IN_FLIGHT:
        raise DenoiseError(
            f"frame {frame.seq}: {in_flight} frames are in flight already, at most {MAX_IN_FLIGHT}",
            "poll first",
        )
    ends = (("frame", frame.pixels, request.dtype), ("output", out, request.out_dtype))
    for what, array, dtype in ends:
        if array.shape != request.shape or array.dtype != np.dtype(dtype):
            raise DenoiseError(
                f"frame {frame.seq}: {what} is {array.shape} {array.dtype.str}, the engine was "
                f"opened for {request.shape} {dtype}"
            )
        if not array.flags.c_contiguous:
            raise DenoiseError(f"frame {frame.seq}: {what} is not C-contiguous")
    if not out.flags.writeable:
        raise DenoiseError(f"frame {frame.seq}: output is read-only")


def done_of(
    flight: Flight,
    t_start_ns: int,
    row_sums: npt.NDArray[np.float32],
    row_clipped: npt.NDArray[np.float32] | None,
) -> Done:
    """Return the outcome of a finished graph: see ``engines.graph`` for its two row outputs."""
    finite = bool(np.isfinite(row_sums).all())
    clipped = 0 if row_clipped is None or not finite else int(row_clipped.sum(dtype=np.float64))
    return Done(
        seq=flight.seq,
        t_start_ns=t_start_ns,
        t_end_ns=flight.t_end_ns,
        error="" if finite else NOT_FINITE,
        clipped=clipped,
    )


def choose_threads(asked: int) -> int:
    """Return how many threads to compute with: as asked, else room for camera and recorder.

    Two cores are both used (one would halve the frame rate; the other stages mostly wait); above
    that one is left free, and two above eight.
    """
    if asked > 0:
        return asked
    cores = available_cores()
    if cores <= 2:
        return cores
    return cores - 1 if cores <= 8 else cores - 2


def available_cores() -> int:
    """Return how many processors this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # Windows and macOS have no such call
        return os.cpu_count() or 1
