"""Our sequence numbers and epochs, from what a camera says about itself. Pure.

``seq`` advances for each frame the camera delivered and for each one its own numbers say it lost.
When the process around a camera was replaced, the numbers go on after the last frame of its
predecessor, and what the camera must have exposed meanwhile is counted as lost, from the frame
period.
"""

from __future__ import annotations

import msgspec

from livedenoise.core.camera import Captured
from livedenoise.core.losses import CAMERA_RESTARTED

CAMERA = "camera"
"""Reason of frames the camera's own numbers say it lost."""


class Predecessor(msgspec.Struct, frozen=True, kw_only=True):
    """Where the numbers of a killed acquire process ended.

    ``last_host_ns`` is when its last frame was complete, 0 for none; ``period_ns`` 0 when the rate
    is not known: the frames lost meanwhile are then not known either.
    """

    next_seq: int
    last_host_ns: int
    period_ns: int


class Numbering:
    """Numbers frames.

    Attributes
    ----------
    epoch : int
        Counts changes of the frame's format or exposure.
    repeated : bool
        Whether the last frame's own number did not advance.
    reason : str
        Why the frames before the last numbered one are missing.
    """

    def __init__(self, predecessor: Predecessor | None = None) -> None:
        self.epoch = 0
        self.repeated = False
        self.reason = CAMERA
        self.first_host_ns = 0
        self.last_host_ns = 0
        self._predecessor = predecessor
        self._next_seq = 0 if predecessor is None else predecessor.next_seq
        self._camera_seq = -1
        self._mode: tuple[object, ...] | None = None

    def number(self, captured: Captured) -> tuple[int, int]:
        """Return the frame's seq and how many frames were lost before it."""
        lost = self._lost_before(captured)
        self.repeated = False
        if captured.camera_seq >= 0:
            # A camera counts from 0, so that frames lost before the first one show as well.
            step = captured.camera_seq - self._camera_seq
            lost += max(0, step - 1)
            self.repeated = step <= 0
            self._camera_seq = captured.camera_seq
        seq = self._next_seq + lost
        self._next_seq = seq + 1
        self.first_host_ns = self.first_host_ns or captured.t_host_ns
        self.last_host_ns = captured.t_host_ns
        self._follow_mode(captured)
        return seq, lost

    def _lost_before(self, captured: Captured) -> int:
        """Return what was exposed between the predecessor's last frame and the first one here."""
        before, self._predecessor = self._predecessor, None
        self.reason = CAMERA
        if before is None:
            return 0
        self.reason = CAMERA_RESTARTED
        if not (before.period_ns and before.last_host_ns):
            return 0
        periods = round((captured.t_host_ns - before.last_host_ns) / before.period_ns)
        return max(0, periods - 1)

    def _follow_mode(self, captured: Captured) -> None:
        # Exposures that alternate by event belong to one epoch: they are commanded, not changed.
        exposure = captured.exposure_us if captured.event < 0 else -1
        mode = (captured.shape, captured.dtype, captured.roi_x, captured.roi_y, captured.binning)
        if self._mode is not None and self._mode != (*mode, exposure):
            self.epoch += 1
        self._mode = (*mode, exposure)
