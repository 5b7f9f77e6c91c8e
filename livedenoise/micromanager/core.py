"""Micro-Manager's core as this project uses it: one set of calls, two ways to reach it.

Knows: which calls of MMCore exist in both worlds (their names are the same) and what is asked of
each world. Must not know: configurations, cameras as ``core.camera.Camera``, frames' headers.

``PythonCore`` has the core in this process, ``JavaCore`` behind the bridge of a running
Micro-Manager. Everything either of them raises is a ``CameraError``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from livedenoise.core.errors import CameraError
from livedenoise.micromanager.tags import FrameTags

Pixels = NDArray[np.uint8] | NDArray[np.uint16]


class CoreGoneError(CameraError):
    """Nothing can be asked of the core any more."""


class NoFrameError(CameraError):
    """No frame waits in the sequence buffer."""


class IncompleteFrameError(CameraError):
    """A frame waited in the buffer while the camera's format changed: part of it is gone."""


class Taken(NamedTuple):
    """One frame out of the core: (Y, X) pixels that are ours to keep, and their tags."""

    pixels: Pixels
    tags: FrameTags


class CoreVersions(msgspec.Struct, frozen=True, kw_only=True):
    """Which software the core is made of; ``""`` or 0 where it does not apply or is not told.

    ``device_interface`` is the number that adapters must share with the core.
    """

    mmcore: str
    device_interface: int
    pymmcore: str = ""
    pycromanager: str = ""
    bridge: str = ""


class Core(ABC):
    """Calls of MMCore. Every method raises CameraError, with what was asked, when it fails.

    Attributes
    ----------
    backend : str
        ``python`` or ``java``.
    cheap_tags : bool
        Whether a frame's tags cost nothing worth saving (over the bridge they cost three calls).
    exposure_sequences : bool
        Whether ``load_exposure_sequence`` works.
    """

    backend: str
    cheap_tags: bool
    exposure_sequences: bool = False

    @abstractmethod
    def call(self, name: str, *args: object) -> object:
        """Call a method of MMCore by its name (``getExposure``), within the backend's time limit.

        What it returns is ``None``, a number, text, a list, or an object of the backend.

        Raises
        ------
        CameraError
            With the call, its arguments and what MMCore said.
        """

    def long_call(self, name: str, *args: object, limit_s: float) -> object:
        """Call a method that may rightly take long, up to ``limit_s``: it waits for an exposure."""
        del limit_s
        return self.call(name, *args)

    def interrupt(self) -> None:  # noqa: B027 - most have nothing to do
        """Let calls that wait now return with an error; nothing where a call is not waited for."""

    def reconnect(self) -> None:  # noqa: B027 - most have nothing to do
        """Reach the core once more after ``CoreGoneError``; nothing where there is no other way.

        Raises
        ------
        CameraError
            If it is still not to be had.
        """

    @abstractmethod
    def versions(self) -> CoreVersions:
        """Return the versions of what is behind this core."""

    @abstractmethod
    def pop(self, *, tags: bool) -> Taken:
        """Take the oldest frame out of the sequence buffer; only who owns the camera may.

        ``tags`` False leaves out what costs further calls: the tags then say shape and dtype only.

        Raises
        ------
        NoFrameError
            If none waits.
        IncompleteFrameError
            If the frame was taken out, and its pixels are not all there.
        """

    @abstractmethod
    def peek(self, before_newest: int) -> Taken | None:
        """Return a copy of a frame in the sequence buffer, 0 for the newest; it stays there.

        None when there is none that far back, or none that is complete.
        """

    @abstractmethod
    def snap(self) -> Taken:
        """Expose one frame and return it; waits for the exposure, however long."""

    @abstractmethod
    def texts(self, name: str, *args: object) -> tuple[str, ...]:
        """Call a method that returns a list of texts (``StrVector``)."""

    @abstractmethod
    def roi(self) -> tuple[int, int, int, int]:
        """Return the region: x, y, width, height, in pixels as delivered."""

    @abstractmethod
    def preset_settings(self, group: str, preset: str) -> tuple[tuple[str, str, str], ...]:
        """Return what a preset sets: (device, property, value)."""

    @abstractmethod
    def close(self) -> None:
        """Let go of the core. Idempotent."""

    def load_exposure_sequence(self, exposures_ms: list[float]) -> None:
        """Give the camera exposures to take in turn by itself, in ms.

        Raises
        ------
        CameraError
            If it cannot; ``exposure_sequences`` tells for the backend.
        """
        raise CameraError(
            f"the {self.backend} backend cannot load {len(exposures_ms)} exposures",
            "set the exposure for each frame",
        )

    # What follows is the same in both worlds.

    def text(self, name: str, *args: object) -> str:
        """Call a method that returns text."""
        return str(self.call(name, *args))

    def flag(self, name: str, *args: object) -> bool:
        """Call a method that returns yes or no."""
        return bool(self.call(name, *args))

    def number(self, name: str, *args: object) -> float:
        """Call a method that returns a number.

        Raises
        ------
        CameraError
            If it returns anything else: another version of Micro-Manager.
        """
        value = self.call(name, *args)
        if not isinstance(value, int | float):
            raise CameraError(
                f"Micro-Manager: {name} returned {value!r}, a number was expected",
                "livedenoise check prints the versions; use those its documentation names",
            )
        return value

    def camera(self) -> str:
        """Return the label of the core's camera device, "" for none."""
        return self.text("getCameraDevice")

    def property(self, device: str, name: str) -> str:
        """Return a property's value as text."""
        return self.text("getProperty", device, name)

    def set_property(self, device: str, name: str, value: str) -> None:
        """Set a property. Always as text: the bridge picks a numeric overload at random."""
        self.call("setProperty", device, name, value)
        self.call("waitForDevice", device)

    def exposure_ms(self) -> float:
        """Return the exposure."""
        return self.number("getExposure")

    def image_shape(self) -> tuple[int, int]:
        """Return (Y, X) of the frames as delivered now."""
        return int(self.number("getImageHeight")), int(self.number("getImageWidth"))

    def dtype(self) -> str:
        """Return the dtype of the frames as delivered now.

        Raises
        ------
        CameraError
            If they are not monochrome with 8 or 16 bits.
        """
        nbytes = int(self.number("getBytesPerPixel"))
        components = int(self.number("getNumberOfComponents"))
        if components != 1 or nbytes not in (1, 2):
            raise CameraError(
                f"camera {self.camera()}: {nbytes} bytes and {components} components per pixel, "
                "supported are 1 or 2 bytes and 1 component",
                "set the camera's PixelType to a monochrome one of 8 or 16 bits",
            )
        return "|u1" if nbytes == 1 else "<u2"

    def bit_depth(self) -> int:
        """Return the valid bits of a pixel."""
        return int(self.number("getImageBitDepth"))

    def channels(self) -> int:
        """Return how many cameras deliver behind this one; 1 but for a multi-camera device."""
        return int(self.number("getNumberOfCameraChannels"))

    def running(self) -> bool:
        """Return whether a sequence or a live view runs."""
        return self.flag("isSequenceRunning")

    def remaining(self) -> int:
        """Return how many frames wait in the sequence buffer."""
        return int(self.number("getRemainingImageCount"))

    def overflowed(self) -> bool:
        """Return whether the sequence was stopped because its buffer was full."""
        return self.flag("isBufferOverflowed")
