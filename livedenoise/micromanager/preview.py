"""Show frames of ours in Micro-Manager's own preview window. Experimental.

Knows: how an image is made in Micro-Manager and handed to its snap/live window. Must not know:
where the frames come from.

Not verified with a Micro-Manager window: written from its source (``SnapLiveManager`` 2.0), tested
against a stand-in. What that source says:

- the image is drawn later, by the window's own thread; what goes wrong there is in its log only;
- an image of another size or pixel type than the last one makes the window anew and suspends the
  live view meanwhile: such a one is not shown, and counted;
- while Micro-Manager's live view runs, its raw frames go to the same window, in turn with ours. It
  is of most use while the camera is run by livedenoise (``mode = "own"``).
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

from numpy.typing import NDArray

from livedenoise.core.clock import now_ns
from livedenoise.core.closing import Closing
from livedenoise.core.errors import CameraError
from livedenoise.micromanager.java_core import JavaCore
from livedenoise.micromanager.java_object import JavaObject

_FORMAT_NS = 1_000_000_000
"""The camera's format is asked for again after this time."""


class PreviewPusher(Closing):
    """Shows frames in Micro-Manager's snap/live window, a few per second.

    Parameters
    ----------
    core : JavaCore
        The bridge; Micro-Manager must have its window.
    max_hz : float
        Frames shown per second at most; the others are left out.

    Attributes
    ----------
    shown : int
        Frames handed to the window.
    left_out : int
        Frames that came sooner than ``max_hz`` allows.
    unfit : int
        Frames of another size or pixel type than the camera has now.

    Raises
    ------
    CameraError
        If ``max_hz`` is not positive, or Micro-Manager runs without its window.
    """

    def __init__(self, core: JavaCore, max_hz: float = 10.0) -> None:
        if max_hz <= 0:
            raise CameraError(f"max_hz is {max_hz:g}", "give the frames per second to show")
        self.shown = self.left_out = self.unfit = 0
        self._core = core
        self._period_ns = round(1e9 / max_hz)
        self._next_ns = 0
        self._format: tuple[tuple[int, int], str] = ((0, 0), "")
        self._format_ns = -_FORMAT_NS
        self._held = ExitStack()
        with ExitStack() as undo:
            undo.callback(self.close)
            studio = self._hold(core.studio())
            self._live = self._hold(studio.call("live"))
            self._data = self._hold(studio.call("data"))
            # Neither an image number nor an axis: a number seen before is not drawn again.
            self._coords = self._built("coordsBuilder")
            self._metadata = self._built("metadataBuilder")
            undo.pop_all()

    def show(self, pixels: NDArray[Any]) -> bool:
        """Show a frame; return whether it was handed to the window. 3 questions, 3 more a second.

        Parameters
        ----------
        pixels : ndarray
            (Y, X), uint8 or uint16, as the camera's frames are now.

        Raises
        ------
        CameraError
            If Micro-Manager refuses it or does not answer.
        """
        now = now_ns()
        if now < self._next_ns:
            self.left_out += 1
            return False
        self._next_ns = now + self._period_ns
        if (pixels.shape, pixels.dtype.str) != self._camera_format(now):
            self.unfit += 1
            return False
        height, width = pixels.shape
        made = self._data.call(
            "createImage",
            *(pixels.reshape(-1), width, height, pixels.dtype.itemsize, 1),
            *(self._coords, self._metadata),
        )
        with _expect(made, "createImage") as image:
            self._live.call("displayImage", image)
        self.shown += 1
        return True

    def close(self) -> None:
        """Let Java forget what was held. Idempotent; the bridge stays open."""
        self._held.close()

    def _camera_format(self, now: int) -> tuple[tuple[int, int], str]:
        if now - self._format_ns >= _FORMAT_NS:
            self._format = self._core.image_shape(), self._core.dtype()
            self._format_ns = now
        return self._format

    def _built(self, builder: str) -> JavaObject:
        with _expect(self._data.call(builder), builder) as made:
            return self._hold(made.call("build"))

    def _hold(self, found: object) -> JavaObject:
        held = _expect(found, "studio")
        self._held.callback(held.free)
        return held


def _expect(found: object, what: str) -> JavaObject:
    if not isinstance(found, JavaObject):
        raise CameraError(
            f"Micro-Manager: {what} returned {found!r}, an object was expected",
            "Micro-Manager must run with its window",
        )
    return found
