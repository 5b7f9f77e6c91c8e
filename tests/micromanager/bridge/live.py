"""``SnapLiveManager``: the live view of a Micro-Manager window, without the window.

Knows: how Micro-Manager starts, suspends and reads its live view. Must not know: the wire.

It reads as the program does: a copy of the newest frame at display rate, nothing taken out. A
test may also order a reader that pops (a badly behaved script), or none.
"""

from __future__ import annotations

import threading
import zlib
from collections import deque
from typing import Any

from bridge.core import CMMCore
from bridge.data import Image
from bridge.java import JavaObject, method

READERS = ("peek", "pop", "none")
_PERIOD_S = 1 / 30
_KEPT = 64


class LiveManager(
    JavaObject,
    name="org.micromanager.internal.SnapLiveManager",
    interfaces=("org.micromanager.SnapLiveManager", "org.micromanager.LiveManager"),
):
    """Live view, and what was sent to the preview.

    Attributes
    ----------
    displayed : deque
        What ``displayImage`` got, the newest last, bounded.
    display_count : int
        How often it was called.
    """

    def __init__(self, core: CMMCore) -> None:
        self._core = core
        self._on = False
        self._suspended = 0
        self._reader = "peek"
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()
        self._lock = threading.RLock()
        self.frames_read = 0
        self.displayed: deque[dict[str, Any]] = deque(maxlen=_KEPT)
        self.display_count = 0

    def read_with(self, reader: str) -> None:
        """Choose how the next live view reads."""
        if reader not in READERS:
            raise ValueError(f"reader {reader!r}, possible are {READERS}")
        self._reader = reader

    def reset(self) -> None:
        """Be as after the start."""
        with self._lock:
            self._on, self._suspended, self._reader = False, 0, "peek"
            self._follow()
            self.displayed.clear()
            self.display_count = self.frames_read = 0

    @property
    def suspended(self) -> int:
        """How many suspensions are in force."""
        return self._suspended

    @method("boolean")
    @method("boolean", name="getIsLiveModeOn")
    def is_live_mode_on(self) -> bool:
        return self._on

    @method("void", "boolean")
    @method("void", "boolean", name="setLiveMode")
    def set_live_mode_on(self, on: bool) -> None:
        with self._lock:
            if on == self._on:
                return
            self._on = on
            if not self._suspended:
                self._follow()

    @method("void", "boolean")
    def set_suspended(self, suspend: bool) -> None:
        with self._lock:
            self._suspended += 1 if suspend else -1
            if self._on and self._suspended == int(suspend):
                self._follow()

    @method("void", "org.micromanager.data.Image")
    def display_image(self, image: Image) -> None:
        with self._lock:
            self.displayed.append(_record(image))
            self.display_count += 1

    def _follow(self) -> None:
        """Start or stop the sequence and its reader, as the state is now."""
        self._end_reader()
        real = self._core.real
        if real.isSequenceRunning():
            real.stopSequenceAcquisition()
        if self._on and not self._suspended:
            real.startContinuousSequenceAcquisition(0)
            self._stop.clear()
            self._thread = threading.Thread(target=self._read, daemon=True)
            self._thread.start()

    def _end_reader(self) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _read(self) -> None:
        real = self._core.real
        calls = {"peek": real.getLastImage, "pop": real.popNextImage}
        while self._reader in calls and not self._stop.wait(_PERIOD_S):
            try:
                calls[self._reader]()
            except IndexError:
                continue  # no frame yet, or a client took them all
            self.frames_read += 1


def _record(image: Image) -> dict[str, Any]:
    return {
        "shape": [image.height, image.width],
        "bytes_per_pixel": image.bytes_per_pixel,
        "crc32": zlib.crc32(image.pixels.tobytes()),
        "coords": image.coords.axes,
        "metadata": image.metadata.values,
    }
