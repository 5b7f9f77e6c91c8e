"""The frame header: every fact about a frame except its pixels.

Pixels live in shared memory (or in the last part of a message); the header travels by ZeroMQ and
is written, line by line, beside the recording. It is append-only: new fields go last, with a
default, so that an older reader still understands a newer writer's first fields.
"""

from __future__ import annotations

from enum import IntFlag
from math import prod

import msgspec
import numpy as np
import numpy.typing as npt

HEADER_VERSION = 1
"""Raised only when a field changes its meaning, never when one is appended."""

SUPPORTED_DTYPES = ("|u1", "<u2", "<f4")
"""Pixel types a frame may have: 8-bit and 16-bit counts, float32 for images without a bit depth."""

Frame = npt.NDArray[np.uint8] | npt.NDArray[np.uint16] | npt.NDArray[np.float32]


class FrameFlags(IntFlag):
    """What happened to a frame; combined in ``FrameHeader.flags``."""

    NONE = 0
    DENOISED = 1
    """Pixels come from the denoiser."""
    PASSTHROUGH = 2
    """A clean frame whose pixels are the raw ones: the denoiser was not ready or failed."""
    LATE = 4
    """Published later than two frame periods after its pixels were complete."""
    SATURATED = 8
    """At least one raw pixel stands at the top of the bit depth."""
    CLIPPED = 16
    """At least one denoised pixel was clipped to the range of the data type."""
    AFTER_GAP = 32
    """Frames are missing between this one and the one before it."""


class FrameHeader(msgspec.Struct, frozen=True, array_like=True, kw_only=True):
    """Facts about one frame. Axes are always (Y, X); times are ``core.clock`` nanoseconds.

    A clean frame carries the ``seq`` of the raw frame it was made from. Times are 0 until they
    happen. ``exposure_us`` is the COMMANDED exposure, never a camera's tag. ``calibration`` and
    ``model`` are hash prefixes, empty for none. ``role`` is ``"low"`` or ``"high"`` in paired mode.
    """

    run_id: str
    camera: str
    stream: str
    seq: int
    epoch: int
    camera_seq: int
    t_camera_ns: int
    t_host_ns: int
    t_ring_ns: int
    t_infer_start_ns: int
    t_infer_end_ns: int
    t_publish_ns: int
    height: int
    width: int
    dtype: str
    bit_depth: int
    roi_x: int
    roi_y: int
    binning: int
    channel: int
    exposure_us: int
    slot: int
    generation: int
    ring_epoch: int
    calibration: str
    model: str
    event: int = -1
    role: str = ""
    flags: int = 0

    @property
    def shape(self) -> tuple[int, int]:
        """Return (Y, X) in pixels."""
        return (self.height, self.width)

    @property
    def nbytes(self) -> int:
        """Return the size of the pixels in bytes."""
        return frame_nbytes(self.shape, self.dtype)

    def has(self, flag: FrameFlags) -> bool:
        """Return whether ``flag`` is set."""
        return bool(self.flags & flag)


def frame_nbytes(shape: tuple[int, ...], dtype: str) -> int:
    """Return the bytes a C-contiguous array of ``shape`` and ``dtype`` occupies."""
    return prod(shape) * np.dtype(dtype).itemsize


def dtype_in_words(dtype: str) -> str:
    """Return what people call a pixel type; of what a stranger wrote, the beginning, quoted."""
    return {"|u1": "8-bit", "<u2": "16-bit", "<f4": "float32"}.get(dtype, repr(dtype[:20]))


def max_count(bit_depth: int) -> int:
    """Return the highest camera count of a bit depth (65535 for 16)."""
    return (1 << bit_depth) - 1
