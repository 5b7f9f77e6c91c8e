"""What every kind of recording shares: its facts, reading into a given array, pixel types.

Knows: which stored pixel types can be served and how their bytes become an array; how bytes are
read at an offset of a file. Must not know: any file format, cameras, rings.

Frames are read one at a time; nothing here or in the sources holds a stack in memory.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import msgspec
import numpy as np
import numpy.typing as npt

from livedenoise.core.constants import CameraConstants
from livedenoise.core.errors import ConfigError
from livedenoise.core.frame import Frame, frame_nbytes

_PERIOD_SAMPLES = 1024


class RecordingFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What a recording says about itself; 0 and None for what it does not say.

    ``sensor`` is (Y, X) of the camera in pixels, ``roi_x``, ``roi_y`` and ``binning`` say which
    part of it the frames show.
    """

    bit_depth: int = 0
    exposure_us: int = 0
    period_ns: int = 0
    sensor: tuple[int, int] = (0, 0)
    roi_x: int = 0
    roi_y: int = 0
    binning: int = 1
    constants: CameraConstants | None = None
    notes: tuple[str, ...] = ()


class StoredPixels(msgspec.Struct, frozen=True, kw_only=True):
    """How pixels lie in the file (``stored``, any byte order) and as what they are served."""

    stored: str
    served: str
    bits: int
    note: str = ""


_STORED = {
    "u1": ("|u1", 8, ""),
    "u2": ("<u2", 16, ""),
    "i2": ("<u2", 15, "signed 16-bit pixels, served as unsigned: no frame may hold negative ones"),
    "f4": ("<f4", 32, ""),
}
_MENDS = {
    "f": "save it as 32-bit float",
    "i": "save it as 16-bit unsigned, without scaling (Fiji: add an offset if values are negative)",
    "u": "save it as 16-bit unsigned, without scaling",
    "b": "save it as 8-bit",
    "c": "save its magnitude as 32-bit float",
}


def stored_pixels(dtype: np.dtype[Any] | None, path: Path) -> StoredPixels:
    """Return how pixels of ``dtype`` are served.

    Raises
    ------
    ConfigError
        If they are not; the message names the dtype and the mend.
    """
    known = None if dtype is None else _STORED.get(f"{dtype.kind}{dtype.itemsize}")
    if dtype is None or known is None:
        name = "of an unknown type" if dtype is None else str(dtype)
        raise ConfigError(
            f"{path}: pixels are {name}; frames are uint8, uint16 or float32",
            _MENDS.get("u" if dtype is None else dtype.kind, _MENDS["u"]),
        )
    served, bits, note = known
    return StoredPixels(stored=dtype.str, served=served, bits=bits, note=note)


class RecordedFrames(ABC):
    """Base of every source; ``core.source.FrameSource`` says what its attributes mean.

    ``notes`` are lines for people about what was assumed; ``pixels`` is how the file stores them.
    ``sensor`` (Y, X) and ``roi`` (x, y, width, height in sensor pixels) are the frame itself where
    the recording does not say them.
    """

    def __init__(
        self,
        path: Path,
        *,
        shape: tuple[int, int],
        pixels: StoredPixels,
        n_frames: int,
        facts: RecordingFacts,
    ) -> None:
        if n_frames < 1:
            raise ConfigError(f"{path}: holds no frame")
        if min(shape) < 1:
            raise ConfigError(f"{path}: frames of {shape} (Y, X) have no pixel")
        self.path = path
        self.shape = shape
        self.dtype = pixels.served
        self.bit_depth = facts.bit_depth if 0 < facts.bit_depth < pixels.bits else pixels.bits
        self.n_frames = n_frames
        self.period_ns = facts.period_ns
        self.exposure_us = facts.exposure_us
        self.constants = facts.constants
        height, width = (side * facts.binning for side in shape)
        known = all(facts.sensor)
        self.sensor = facts.sensor if known else shape
        self.roi = (facts.roi_x, facts.roi_y, width, height) if known else (0, 0, *shape[::-1])
        self.binning = facts.binning if known else 1
        self.notes = (*facts.notes, pixels.note) if pixels.note else facts.notes
        self.pixels = pixels

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    @property
    def frame_nbytes(self) -> int:
        """Return the bytes of one frame."""
        return frame_nbytes(self.shape, self.dtype)

    def read(self, index: int) -> Frame:
        """Return frame ``index`` as a new C-contiguous native (Y, X) array.

        Raises
        ------
        ConfigError
            If there is no such frame, or the file is damaged there; file and frame are named.
        """
        out: Frame = np.empty(self.shape, np.dtype(self.dtype))
        self.read_into(index, out)
        return out

    def read_into(self, index: int, out: Frame) -> None:
        """Read frame ``index`` into a C-contiguous (Y, X) array of ``dtype``, without a copy.

        Raises
        ------
        ConfigError
            If there is no such frame, the array does not fit, or the file is damaged there.
        """
        if not 0 <= index < self.n_frames:
            raise ConfigError(f"{self.path}: frame {index} of {self.n_frames} does not exist")
        if out.shape != self.shape or out.dtype.str != self.dtype or not out.flags.c_contiguous:
            raise ConfigError(
                f"{self.path}: frames are {self.shape} of {self.dtype}, the array to fill is "
                f"{out.shape} of {out.dtype.str}"
            )
        self._fill(index, out)

    def time_ns(self, index: int) -> int:
        """Return the time of frame ``index`` since frame 0, at the mean rate; 0 when unknown."""
        return index * self.period_ns

    def frame_exposure_us(self, index: int) -> int:  # noqa: ARG002  (for those that know each)
        """Return the exposure of frame ``index`` as recorded; 0 when unknown."""
        return self.exposure_us

    @abstractmethod
    def close(self) -> None:
        """Release files. Idempotent."""

    @abstractmethod
    def _fill(self, index: int, out: Frame) -> None:
        """Read frame ``index`` into ``out``; both are checked."""

    def _settle(self, index: int, out: Frame) -> None:
        """Turn the stored bytes lying in ``out`` into the values they mean."""
        if not np.dtype(self.pixels.stored).isnative:
            out.byteswap(inplace=True)
        self._check_sign(index, out)

    def _take(self, index: int, decoded: npt.NDArray[Any], out: Frame) -> None:
        """Copy a decoded array of the stored kind into ``out``."""
        stored = np.dtype(self.pixels.stored).newbyteorder("=")
        if decoded.shape != self.shape or decoded.dtype != stored:
            raise ConfigError(
                f"{self.path}: frame {index}: decoded to {decoded.shape} of {decoded.dtype}, "
                f"expected {self.shape} of {stored}"
            )
        np.copyto(out.view(stored), decoded)
        self._check_sign(index, out)

    def _check_sign(self, index: int, out: Frame) -> None:
        if np.dtype(self.pixels.stored).kind != "i":
            return
        lowest = int(out.view(np.int16).min())
        if lowest < 0:
            raise ConfigError(
                f"{self.path}: frame {index}: signed 16-bit pixels down to {lowest}; counts must "
                f"not be negative",
                _MENDS["i"],
            )


class PixelFile:
    """A file from which frames are read at byte offsets, straight into the array given.

    Not a memory map: a file that shrinks under a map kills the process, here it is an error.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._file = path.open("rb", buffering=0)
        except OSError as error:
            raise ConfigError(f"{path}: cannot be read: {error}") from error

    def read_into(self, offset: int, out: Frame, frame: int) -> None:
        """Fill ``out`` with the bytes at ``offset``.

        Raises
        ------
        ConfigError
            If the file ends before ``out`` is full, or cannot be read.
        """
        data = out.reshape(-1).view(np.uint8).data
        try:
            self._file.seek(offset)
            while data.nbytes:
                count = self._file.readinto(data)
                if not count:
                    raise ConfigError(
                        f"{self.path}: frame {frame}: the file ends {data.nbytes} bytes before "
                        f"the frame does",
                        "it is truncated: copy it again",
                    )
                data = data[count:]
        except OSError as error:
            raise ConfigError(f"{self.path}: frame {frame}: cannot be read: {error}") from error

    def close(self) -> None:
        """Close the file. Idempotent."""
        self._file.close()


def median_period_ns(times_ns: Sequence[int] | npt.NDArray[np.int64]) -> int:
    """Return the median time between frames, from at most the first 1024; 0 for one frame."""
    steps = np.diff(np.asarray(times_ns[:_PERIOD_SAMPLES], np.int64))
    return max(0, int(np.median(steps))) if len(steps) else 0
