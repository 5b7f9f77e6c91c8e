"""How many pixels a second the bridge of a running Micro-Manager can carry.

Knows: how many questions a frame costs on each way. Must not know: cameras' rates, what is made of
the answer.
"""

from __future__ import annotations

from statistics import median

from livedenoise.core.clock import now_ns
from livedenoise.core.errors import CameraError
from livedenoise.micromanager.core import Core
from livedenoise.micromanager.java_core import JavaCore

OWN_QUESTIONS = 2
"""A frame popped: how many wait, the frame."""
TAP_QUESTIONS = 5
"""A frame looked at: how many wait, the frame, its tags, its pixels, and freeing it."""

_NS_PER_BYTE = 2.4
"""Of a real bridge with frames of 8 MiB, pyjavaz 1.2.8 and a Java 17 (420 MB/s)."""
_LOOKS = 5
_MEASURE_NS = 300_000_000


def bridge_ceiling(core: Core, frame_bytes: int, *, questions: int = OWN_QUESTIONS) -> float:
    """Return the rate at which frames can come over the bridge, in MB/s (1e6 bytes).

    Measured on frames that are in the sequence buffer, by looking at the newest one; where there is
    none, from the measured time of a question and what a real bridge was measured to carry.
    Nothing is exposed or taken out. Takes about 0.3 s at most.

    Parameters
    ----------
    core : JavaCore
        The core.
    frame_bytes : int
        Size of a frame.
    questions : int
        That each frame costs: ``OWN_QUESTIONS`` or ``TAP_QUESTIONS``.

    Raises
    ------
    CameraError
        If it is not behind a bridge, or does not answer.
    """
    if not isinstance(core, JavaCore):
        raise CameraError(
            f"a {core.backend} core has no bridge", 'its ceiling is that of backend = "java"'
        )
    question_ns = core.measure_round_trip_ms() * 1e6
    ns_per_byte = _measured_ns_per_byte(core, question_ns) or _NS_PER_BYTE
    frame_ns = questions * question_ns + frame_bytes * ns_per_byte
    return frame_bytes / frame_ns * 1e3


def _measured_ns_per_byte(core: JavaCore, question_ns: float) -> float:
    """Return what each byte of the frames in the buffer costs; 0 when there are none."""
    costs: list[float] = []
    began_ns = now_ns()
    for _ in range(_LOOKS):
        asked_ns = now_ns()
        nbytes = core.newest_nbytes()
        if not nbytes:
            break
        costs.append(max(0.0, now_ns() - asked_ns - question_ns) / nbytes)
        if now_ns() - began_ns > _MEASURE_NS:
            break
    return median(costs) if costs else 0.0
