"""Where a frame lies on the sensor, asked of the core where its tags do not say it.

Knows: which of the core's settings say what tags leave out. Must not know: configurations, when to
ask: each question may wait for a busy camera.
"""

from __future__ import annotations

from livedenoise.micromanager.core import Core
from livedenoise.micromanager.tags import FrameTags, Placing, binning_of, placing, says_where

BINNING = "Binning"


def placing_now(core: Core, tags: FrameTags) -> Placing:
    """Return where a frame lies: by its tags, else as the camera is set now.

    Raises
    ------
    CameraError
        If the core does not answer.
    """
    if says_where(tags):
        return placing(tags, roi=(0, 0), binning=1)
    binning = tags.binning or binning_now(core, core.camera())
    x, y, _, _ = (0, 0, 0, 0) if min(tags.roi_x, tags.roi_y) >= 0 else core.roi()
    return placing(tags, roi=(x * binning, y * binning), binning=binning)


def binning_now(core: Core, camera: str) -> int:
    """Return the camera's binning; 1 for a camera that has none.

    Raises
    ------
    CameraError
        If the core does not answer.
    """
    if not core.flag("hasProperty", camera, BINNING):
        return 1
    return binning_of(core.property(camera, BINNING))
