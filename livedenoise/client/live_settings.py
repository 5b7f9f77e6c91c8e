"""What the frames of a live view do not say themselves, asked of the core now and then.

Knows: the exposure is in no tag that can be trusted; region and binning are in the tags of some
cameras only. Must not know: how frames are found, what becomes of them.
"""

from __future__ import annotations

from livedenoise.client.problems import Problems
from livedenoise.core.clock import now_ns
from livedenoise.core.errors import CameraError
from livedenoise.micromanager.core import Core, CoreGoneError
from livedenoise.micromanager.placing import placing_now
from livedenoise.micromanager.tags import FrameTags, Placing, placing, says_where


class LiveSettings:
    """The camera's settings, asked for seldom: the question waits for a busy camera.

    Parameters
    ----------
    core : Core
        Whose frames.
    refresh_ns : int
        They are asked for again after this time, with each new format and each new sequence.
    problems : Problems
        Told what the core does not answer.
    """

    def __init__(self, core: Core, refresh_ns: int, problems: Problems) -> None:
        self._core = core
        self._problems = problems
        self._refresh_ns = refresh_ns
        self._read_ns = 0
        self._form: object = None
        self._exposure_us = 0
        self._place = Placing()

    def of(self, tags: FrameTags, *, restarted: bool) -> tuple[int, Placing]:
        """Return a frame's commanded exposure in microseconds, 0 where unknown, and its place.

        Raises
        ------
        CoreGoneError
            If the program has dropped its core.
        """
        form = (tags.shape, tags.dtype, tags.binning, tags.roi_x, tags.roi_y)
        now = now_ns()
        if restarted or form != self._form or now - self._read_ns >= self._refresh_ns:
            self._exposure_us = self._read_exposure()
            self._place = self._read_place(tags)
            self._read_ns, self._form = now, form
        return self._exposure_us, self._place

    def _read_exposure(self) -> int:
        try:
            exposure_us = max(0, round(self._core.exposure_ms() * 1e3))
        except CoreGoneError:
            raise
        except CameraError as error:
            self._problems.say("exposure", f"frames go without their exposure: {error}")
            return 0
        self._problems.clear("exposure")
        return exposure_us

    def _read_place(self, tags: FrameTags) -> Placing:
        """Return where a frame lies: by its tags, where these are silent as the core says."""
        if says_where(tags):
            self._problems.clear("region")
            return placing(tags, roi=(0, 0), binning=1)
        try:
            place = placing_now(self._core, tags)
        except CoreGoneError:
            raise
        except CameraError as error:
            self._problems.say("region", f"frames go without their region: {error}")
            return placing(tags, roi=(0, 0), binning=1)
        self._problems.clear("region")
        return place
