"""The microscope contract: a camera that exposes on demand, with stage, focus, shutter and light.

A ``core.camera.Camera`` streams; a microscope takes the exposures it is told to, one command after
another, as collection and calibration need. Life: ``open -> commands ... -> close``; ``close``
restores what was changed and leaves the sample dark. Conformance:
``livedenoise.testing.microscope_kit``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal, Protocol

import msgspec
import numpy as np
import numpy.typing as npt

from livedenoise.core.camera import CameraInfo

Pixels = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]
Capability = Literal["xy", "z", "shutter", "autofocus", "light"]


class Setting(msgspec.Struct, frozen=True):
    """A device property and its value as text, as Micro-Manager names and writes it."""

    device: str
    property: str
    value: str


class Position(msgspec.Struct, frozen=True, kw_only=True):
    """Where the stage is, or is to go; None leaves an axis where it is (or: there is none)."""

    x_um: float | None = None
    y_um: float | None = None
    z_um: float | None = None


class MicroscopeInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What a microscope is, known once it is open.

    Attributes
    ----------
    camera : CameraInfo
        The camera behind it.
    shape : tuple of int
        (Y, X) of a frame as delivered.
    roi : tuple of int
        (x, y, width, height) in unbinned sensor pixels.
    binning : int
        Sensor pixels summed along each axis.
    capabilities : tuple of str
        Which of ``xy``, ``z``, ``shutter``, ``autofocus``, ``light`` it has.
    pixel_size_um : float
        Of a delivered pixel in the sample; 0 when unknown.
    exposure_min_us, exposure_max_us : int
        Limits of the exposure; 0 when the camera does not tell.
    simulated : bool
        Whether light and sensor are computed: data of such a microscope is never called real.
    notes : tuple of str
        Lines for people.
    """

    camera: CameraInfo
    shape: tuple[int, int]
    roi: tuple[int, int, int, int]
    binning: int = 1
    capabilities: tuple[Capability, ...] = ()
    pixel_size_um: float = 0.0
    exposure_min_us: int = 0
    exposure_max_us: int = 0
    simulated: bool = False
    notes: tuple[str, ...] = ()


class Exposed(msgspec.Struct, frozen=True, kw_only=True):
    """One frame that was exposed on command.

    Attributes
    ----------
    pixels : ndarray
        Counts (Y, X), uint8 or uint16, the receiver's to keep.
    exposure_us : int
        What the camera says it exposed for (read back after setting), not a tag of the frame.
    t_host_ns : int
        When the pixels were complete on the host (``core.clock``).
    """

    pixels: Pixels
    exposure_us: int
    t_host_ns: int


class Microscope(Protocol):
    """A microscope that takes commands. One thread commands; ``abort`` may come from another.

    Commands return when the device says that it is there; settling beyond that is the caller's.
    A command for a capability it has not got raises ``CameraError`` naming the device to configure.
    """

    def open(self) -> MicroscopeInfo:
        """Connect, apply the configuration, describe. Shutter closed, nothing exposed.

        Raises
        ------
        CameraError
            If it cannot be had; what was changed until then is put back.
        """

    def expose(self, exposure_us: int, n_frames: int = 1) -> Iterator[Exposed]:
        """Expose ``n_frames`` in a row and yield each as it comes; memory for a few only.

        The shutter is left as it is: ``set_shutter`` opens and closes it. Closing the iterator
        early stops the camera.

        Raises
        ------
        CameraError
            If the exposure is refused (both values named), the camera stalls or goes away, frames
            are lost, or ``abort`` was called.
        """

    def set_shutter(self, *, is_open: bool) -> None:
        """Open or close the light path."""

    def set_properties(self, settings: Sequence[Setting]) -> None:
        """Set device properties (light level, laser power) and wait for the devices."""

    def read_property(self, device: str, name: str) -> str:
        """Return a device property as text."""

    def presets(self, group: str) -> tuple[str, ...]:
        """Return the names of the presets of a configuration group; none: no such group."""

    def set_preset(self, group: str, preset: str) -> None:
        """Apply a preset of a configuration group (a channel) and wait for it."""

    def move(self, position: Position) -> None:
        """Move the axes that are named and wait until they stand."""

    def position(self) -> Position:
        """Return where the stage says it is."""

    def autofocus(self, device: str = "", offset_um: float | None = None) -> float:
        """Focus by the autofocus device (default: the configured one) and return z in micrometres.

        Raises
        ------
        CameraError
            If there is none, or it does not lock.
        """

    def abort(self) -> None:
        """End the exposure in progress with an error, soon; from any thread. Idempotent."""

    def close(self) -> None:
        """Close the shutter, put everything back that was changed (stage included), let go.

        Idempotent.
        """
