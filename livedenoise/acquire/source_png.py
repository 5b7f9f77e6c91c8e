"""A grey PNG as a source of one frame.

Knows: the PNG signature and header (PNG specification, 2nd edition, section 11.2.2); imagecodecs
decodes. Must not know: other formats.
"""

from __future__ import annotations

import struct
from pathlib import Path

import imagecodecs
import numpy as np

from livedenoise.acquire.source_base import RecordedFrames, RecordingFacts, stored_pixels
from livedenoise.core.errors import ConfigError
from livedenoise.core.frame import Frame

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_HEADER = struct.Struct(">8sI4sIIBB")
_COLOUR_TYPES = {0: "grey", 2: "RGB", 3: "palette", 4: "grey with alpha", 6: "RGB with alpha"}
_DAMAGE = (imagecodecs.PngError, ValueError, RuntimeError)


class PngSource(RecordedFrames):
    """One frame of 8 or 16 bits.

    Raises
    ------
    ConfigError
        If it cannot be read or is not a grey PNG of 8 or 16 bits.
    """

    def __init__(self, path: Path) -> None:
        content = _read(path, _HEADER.size)
        if len(content) < _HEADER.size:
            raise ConfigError(f"{path}: frame 0: the file ends in its header", "copy it again")
        _, _, _, width, height, bits, colour = _HEADER.unpack(content)
        if colour != 0:
            kind = _COLOUR_TYPES.get(colour, f"colour type {colour}")
            raise ConfigError(f"{path}: is {kind}, not grey", "save it as 8-bit or 16-bit grey")
        if bits not in {8, 16}:
            raise ConfigError(f"{path}: has {bits} bits a pixel", "save it with 8 or 16 bits")
        pixels = stored_pixels(np.dtype(f"u{bits // 8}"), path)
        super().__init__(
            path, shape=(height, width), pixels=pixels, n_frames=1, facts=RecordingFacts()
        )

    def close(self) -> None:
        """Nothing is held open."""

    def _fill(self, index: int, out: Frame) -> None:
        try:
            decoded = imagecodecs.png_decode(_read(self.path))
        except _DAMAGE as error:
            raise ConfigError(
                f"{self.path}: frame {index}: cannot be decoded: {error}", "copy the file again"
            ) from error
        self._take(index, decoded, out)


def _read(path: Path, size: int = -1) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(size)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from error
