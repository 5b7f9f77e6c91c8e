"""A model of a live view in MMCore's buffer: what it numbers, clears and forgets."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from livedenoise.micromanager.core import Core, CoreVersions, Taken
from livedenoise.micromanager.following import Stamp
from livedenoise.micromanager.tags import FrameTags

MS = 1_000_000


class Exposed(NamedTuple):
    """One frame: its true place among all that were ever exposed, and what the core says of it."""

    serial: int
    sequence: int
    number: int
    elapsed_ns: int
    received_ns: int

    def stamp(self, *, received: bool = True) -> Stamp:
        """Return it as the follower is told."""
        bounds = (self.received_ns - 50_000, self.received_ns + 50_000) if received else (-1, -1)
        return Stamp(self.number, self.elapsed_ns, *bounds)


class ViewModel:
    """A camera whose frames enter a buffer that is cleared as a whole when it is full.

    ``restarts`` is MMCore until 12.2.2: ImageNumber starts again whenever the buffer is cleared.
    """

    def __init__(self, capacity: int, *, restarts: bool, period_ms: float = 10.0) -> None:
        self.capacity = capacity
        self.restarts = restarts
        self.period_ns = round(period_ms * MS)
        self.now_ns = 10_000_000_000
        self.buffer: list[Exposed] = []
        self.exposed: list[Exposed] = []
        self.running = False
        self._sequence = -1
        self._number = 0
        self._began_ns = 0

    def start(self, pause_ms: float = 300.0) -> None:
        """Start a new sequence, as a live view that is switched on again."""
        self.now_ns += round(pause_ms * MS)
        self._began_ns = self.now_ns
        self._sequence += 1
        self._number = 0
        self.buffer.clear()
        self.running = True

    def expose(self, frames: int = 1, late_ns: int = 0) -> None:
        """Let the camera deliver frames; ``late_ns`` is how late the last is stamped."""
        for _ in range(frames):
            self.now_ns += self.period_ns
            if len(self.buffer) == self.capacity:
                self.clear()
            elapsed_ns = self.now_ns + late_ns - self._began_ns
            received_ns = self.now_ns + late_ns
            frame = Exposed(
                len(self.exposed), self._sequence, self._number, elapsed_ns, received_ns
            )
            self._number += 1
            self.exposed.append(frame)
            self.buffer.append(frame)

    def clear(self) -> None:
        """Clear the buffer as a whole."""
        self.buffer.clear()
        if self.restarts:
            self._number = 0

    def pop(self) -> None:
        """Let somebody else take the oldest frame."""
        if self.buffer:
            del self.buffer[0]

    def lost(self, first: Exposed, then: Exposed) -> int:
        """Return how many frames were exposed between two."""
        return then.serial - first.serial - 1


class ModelCore(Core):
    """A core whose buffer is a ``ViewModel``; before each look ``meanwhile`` may happen.

    ``mark`` is the channel that a multi-camera device left on a camera now used alone.
    """

    backend = "java"
    cheap_tags = True

    def __init__(self, view: ViewModel, *, channels: int = 1) -> None:
        self.view = view
        self.meanwhile: Callable[[], None] = lambda: None
        self.looks: list[Exposed] = []
        self._channels = channels
        self.mark = 0

    def use(self, *, channels: int, mark: int = 0) -> None:
        """Change to a device of so many channels, as a user does while the view stands still."""
        self._channels, self.mark = channels, mark

    def call(self, name: str, *args: object) -> object:
        """Answer the few calls a watcher makes; any other one would disturb the view."""
        assert not args
        answers: dict[str, object] = {
            "getRemainingImageCount": len(self.view.buffer) * self._channels,
            "getBufferTotalCapacity": self.view.capacity,
            "isSequenceRunning": self.view.running,
            "getCameraDevice": "Camera",
            "getImageHeight": 2,
            "getImageWidth": 3,
            "getBytesPerPixel": 2,
            "getNumberOfComponents": 1,
            "getNumberOfCameraChannels": self._channels,
        }
        return answers[name]

    def versions(self) -> CoreVersions:
        """Return one from before or after the numbers went on at a wrap."""
        mmcore = "12.2.2" if self.view.restarts else "12.5.1"
        return CoreVersions(mmcore=mmcore, device_interface=75)

    def peek(self, before_newest: int) -> Taken | None:
        """Return a frame of the model, with its true index in the pixels."""
        self.meanwhile()
        back, channel = divmod(before_newest, self._channels)
        if back >= len(self.view.buffer):
            return None
        frame = self.view.buffer[-1 - back]
        self.looks.append(frame)
        tags = FrameTags(
            image_number=frame.number,
            elapsed_ns=frame.elapsed_ns,
            age_ns=self.view.now_ns - frame.received_ns,
            shape=(2, 3),
            channel=self.mark + self._channels - 1 - channel,
        )
        return Taken(np.full((2, 3), frame.serial % 65536, np.uint16), tags)

    def pop(self, *, tags: bool) -> Taken:
        """Refuse: a watcher takes nothing."""
        raise AssertionError(f"popped, tags={tags}")

    def snap(self) -> Taken:
        """Refuse."""
        raise AssertionError("snapped")

    def texts(self, name: str, *args: object) -> tuple[str, ...]:
        """Refuse."""
        raise AssertionError(name, args)

    def roi(self) -> tuple[int, int, int, int]:
        """Return the whole frame."""
        return 0, 0, 3, 2

    def preset_settings(self, group: str, preset: str) -> tuple[tuple[str, str, str], ...]:
        """Refuse."""
        raise AssertionError(group, preset)

    def close(self) -> None:
        """Do nothing."""
