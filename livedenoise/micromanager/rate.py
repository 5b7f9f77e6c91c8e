"""How fast a camera will deliver, found by asking it for a few frames.

Knows: how to take a short sequence without light. Must not know: who
wants to know.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import pairwise
from statistics import median

from livedenoise.core.clock import now_ns
from livedenoise.core.errors import CameraError
from livedenoise.micromanager.changes import Changes
from livedenoise.micromanager.core import Core
from livedenoise.micromanager.tags import FrameTags

_FRAMES = 8
_EXTRA_S = 2.0


def measured_period_ns(core: Core, changes: Changes, exposure_us: int) -> int:
    """Return the median time between frames of a sequence, 0 when it was not measured.

    Eight frames are exposed behind a closed shutter. Without an automatic shutter nothing is
    exposed: the sample would be lit.

    Raises
    ------
    CameraError
        If the camera does not run a sequence.
    """
    if not changes.close_shutter():
        return 0
    try:
        found = _short_sequence(core, exposure_us)
    finally:
        changes.free_shutter()
    return period_of(found)


def _short_sequence(core: Core, exposure_us: int) -> list[FrameTags]:
    core.call("startSequenceAcquisition", _FRAMES, 0.0, True)
    try:
        return list(_tags(core, _FRAMES * exposure_us * 1e-6 + _EXTRA_S))
    finally:
        core.long_call("stopSequenceAcquisition", limit_s=exposure_us * 1e-6 + _EXTRA_S)
        core.call("clearCircularBuffer")


def period_of(tags: list[FrameTags]) -> int:
    """Return the median time between successive frames of one camera, in ns; 0 when unknown."""
    mine = [tag for tag in tags if tag.channel == tags[0].channel and tag.elapsed_ns >= 0]
    pairs = pairwise(mine)
    steps = [b.elapsed_ns - a.elapsed_ns for a, b in pairs if b.elapsed_ns > a.elapsed_ns]
    return round(median(steps)) if steps else 0


def _tags(core: Core, limit_s: float) -> Iterator[FrameTags]:
    deadline_ns = now_ns() + int(limit_s * 1e9)
    while now_ns() < deadline_ns:
        if core.remaining():
            yield core.pop(tags=True).tags
        elif not core.running() and not core.remaining():
            return
        else:
            time.sleep(0.001)
    raise CameraError(
        f"camera {core.camera()}: {_FRAMES} frames did not come within {limit_s:.1f} s",
        "see whether it delivers in Micro-Manager's own live view; with an external trigger, set "
        "camera.rate_hz",
    )
