"""The camera contract: everything that produces frames implements it.

Life of a camera: ``open -> prepare -> start -> frames ... -> stop -> close``. ``prepare`` does
everything slow, so that ``start`` is deterministic; ``close`` restores what was changed. The
producer fills the slot it is given: no frame is copied twice.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import msgspec

from livedenoise.core.constants import CameraConstants
from livedenoise.core.frame import Frame

WAITS = "waits"
"""Capability of cameras that may be silent for as long as they like (frames from the network)."""


class CameraInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What a camera is, known once it is open.

    ``sensor`` is (Y, X) in pixels; ``constants`` is None where the camera does not know its gain
    (they are then given, or estimated once). ``max_rate_hz`` is 0 when unknown.
    """

    name: str
    kind: str
    sensor: tuple[int, int]
    dtype: str
    bit_depth: int
    constants: CameraConstants | None = None
    quantum_efficiency: float = 0.0
    max_rate_hz: float = 0.0
    capabilities: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """One commanded exposure of a list of events (paired and hardware-sequenced modes)."""

    index: int
    exposure_us: int
    role: str = ""
    channel: int = 0


class StreamRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What a run asks of a camera.

    ``roi`` is (x, y, width, height) in sensor pixels, None for the full sensor. ``rate_hz`` None
    means as fast as exposure and readout allow. ``n_frames`` None means until stopped.
    ``events`` are commanded in turn, and again from the first until ``n_frames``; a frame's
    ``event`` goes on counting. Micro-Manager takes ``exposure_us`` and ``binning`` 0, and no
    ``roi``, as: leave it as it is.
    """

    exposure_us: int
    rate_hz: float | None = None
    roi: tuple[int, int, int, int] | None = None
    binning: int = 1
    n_frames: int | None = None
    events: tuple[Event, ...] = ()


class Prepared(msgspec.Struct, frozen=True, kw_only=True):
    """What the camera will deliver, known before it starts.

    Attributes
    ----------
    shape : tuple of int
        (Y, X) of the first epoch.
    max_shape : tuple of int
        Largest (Y, X) any epoch may have: ring slots are made for it.
    period_ns : int
        Time between frames; 0 when frames come as fast as they are taken.
    buffer_frames : int
        Frames the camera itself holds while the ring is full.
    lossless : bool
        True for sources that wait for the slowest reader (replay with back-pressure).
    """

    shape: tuple[int, int]
    max_shape: tuple[int, int]
    dtype: str
    bit_depth: int
    period_ns: int
    exposure_us: int
    roi: tuple[int, int, int, int]
    binning: int = 1
    buffer_frames: int = 0
    n_frames: int | None = None
    lossless: bool = False
    constants: CameraConstants | None = None
    notes: tuple[str, ...] = ()


class Captured(msgspec.Struct, frozen=True, kw_only=True):
    """One frame the camera delivered.

    ``discarded`` is empty when the pixels are in the slot last handed out, else the reason why
    they are not (``"ring_full"``). ``camera_seq`` is the camera's own number, 0 for the first frame
    after the start and one more for each it exposed, delivered or not; -1 for none.
    ``t_host_ns`` is when the pixels were complete on the host: t0 of every latency.
    """

    camera_seq: int
    t_host_ns: int
    t_camera_ns: int = 0
    shape: tuple[int, int] = (0, 0)
    dtype: str = "<u2"
    exposure_us: int = 0
    roi_x: int = 0
    roi_y: int = 0
    binning: int = 1
    channel: int = 0
    event: int = -1
    role: str = ""
    flags: int = 0
    discarded: str = ""


class GetSlot(Protocol):
    """Hands out the next free slot of the raw ring."""

    def __call__(self, shape: tuple[int, int], dtype: str, timeout_s: float) -> Frame | None:
        """Return a writable (Y, X) array, or None when none came free within ``timeout_s``.

        Raises
        ------
        CameraError
            If the frame is larger than a slot: the run cannot go on (exit code 3).
        """


class Camera(Protocol):
    """A source of frames. Conformance: ``livedenoise.testing.camera_kit``.

    A camera that waits long for a frame has an attribute ``on_idle``, set before ``start``, and
    calls it about every 50 ms in the thread of ``frames``: readers attach meanwhile. One that
    refuses what it is sent has ``counters() -> dict[str, int]``.
    """

    def open(self) -> CameraInfo:
        """Connect and describe the camera.

        Raises
        ------
        CameraError
            If it cannot be opened.
        """

    def prepare(self, request: StreamRequest) -> Prepared:
        """Apply the request; do everything slow.

        Raises
        ------
        CameraError
            If the camera refuses the request; the message names both values.
        """

    def start(self) -> None:
        """Begin exposing. Deterministic and fast after ``prepare``."""

    def frames(self, get_slot: GetSlot) -> Iterator[Captured]:
        """Yield every frame the camera delivers, in order, until stopped or exhausted.

        A full ring is waited for as long as the camera's own buffer holds; then the frame is
        popped, discarded and yielded with its reason.

        Raises
        ------
        CameraError
            If the camera stalls or goes away.
        """

    def stop(self) -> None:
        """End the stream: idempotent, from any thread, within 2 s even during a long exposure.

        ``frames`` may still yield what was exposed before.
        """

    def close(self) -> None:
        """Release the camera and restore what was changed. Idempotent."""
