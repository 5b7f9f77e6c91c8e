"""TIFF files as a source of frames: stacks, single images, hyperstacks, compressed or not.

Knows: reading one frame of a file whose layout ``tiff_layout`` worked out.
Must not know: other formats, cameras. Plainly stored frames are read straight from their byte
offset; others are decoded one at a time.
"""

from __future__ import annotations

import logging
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import tifffile

from livedenoise.acquire.source_base import PixelFile, RecordedFrames
from livedenoise.acquire.tiff_layout import PagePlane, TiffLayout, read_layout
from livedenoise.acquire.tiff_metadata import TiffFacts, read_facts
from livedenoise.core.errors import ConfigError
from livedenoise.core.frame import Frame

DAMAGE = (ValueError, RuntimeError, OSError, LookupError, TypeError, ArithmeticError, struct.error)
"""What tifffile and imagecodecs raise on damaged files (TiffFileError is a ValueError)."""


class TiffSource(RecordedFrames):
    """Frames of one TIFF file (or of a multi-file OME-TIFF, opened by any of its files).

    Raises
    ------
    ConfigError
        If it cannot be read, is damaged, or does not hold grey frames of one size and type.
    """

    def __init__(self, path: Path) -> None:
        with _quiet_when_refused():
            layout, found = self._open(path)
        try:
            self._start(path, layout, found)
        except ConfigError:
            self._tiff.close()
            raise

    def _open(self, path: Path) -> tuple[TiffLayout, TiffFacts]:
        with _damage(path, "cannot be read as TIFF"):
            self._tiff = tifffile.TiffFile(path)
        try:
            with _damage(path, "is damaged"):
                layout = read_layout(self._tiff, path)
                return layout, read_facts(self._tiff, layout.n_frames, only_time=layout.only_time)
        except ConfigError:
            self._tiff.close()
            raise

    def _start(self, path: Path, layout: TiffLayout, found: TiffFacts) -> None:
        facts = found.facts
        if not facts.bit_depth and layout.bits < layout.pixels.bits:
            facts = msgspec.structs.replace(facts, bit_depth=layout.bits)
        facts = msgspec.structs.replace(facts, notes=(*layout.notes, *facts.notes))
        super().__init__(
            path, shape=layout.shape, pixels=layout.pixels, n_frames=layout.n_frames, facts=facts
        )
        self._offsets = layout.offsets
        self._planes: list[PagePlane] = layout.planes
        self._frame_time = found.frame_time
        self._frame_exposure = found.frame_exposure
        self._file = PixelFile(path)

    def time_ns(self, index: int) -> int:
        """Return the recorded time of frame ``index`` since frame 0; 0 when unknown."""
        if self._frame_time is None:
            return super().time_ns(index)
        with _damage(self.path, f"frame {index}: its time cannot be read"):
            return self._frame_time(index) - self._frame_time(0)

    def frame_exposure_us(self, index: int) -> int:
        """Return the exposure of frame ``index`` as recorded; 0 when unknown."""
        if self._frame_exposure is None:
            return super().frame_exposure_us(index)
        with _damage(self.path, f"frame {index}: its exposure cannot be read"):
            return self._frame_exposure(index)

    def close(self) -> None:
        """Release the file. Idempotent."""
        self._file.close()
        self._tiff.close()

    def _fill(self, index: int, out: Frame) -> None:
        if self._offsets is not None:
            self._file.read_into(int(self._offsets[index]), out, index)
            self._settle(index, out)
            return
        page, plane = self._planes[index]
        self._check_inside(index, page)
        with _damage(self.path, f"frame {index}: cannot be decoded"):
            # One thread: the live path must not start a pool of them for every frame.
            decoded: npt.NDArray[Any] = np.asarray(page.asarray(maxworkers=1))
        if page.keyframe.samplesperpixel > 1:
            decoded = decoded[plane]
        self._take(index, decoded, out)

    def _check_inside(self, index: int, page: Any) -> None:  # noqa: ANN401
        """Refuse a page whose bytes are not all in its file: tifffile may fill in zeros."""
        end = max(a + n for a, n in zip(page.dataoffsets, page.databytecounts, strict=True))
        size = page.parent.filehandle.size
        problem = ""
        if end > size:
            problem = f"the file ends {end - size} bytes before the frame does"
        elif not all(page.databytecounts):
            problem = "a part of the frame was never written"
        if problem:
            raise ConfigError(
                f"{self.path}: frame {index}: {problem}", "it is truncated: copy it again"
            )


@contextmanager
def _damage(path: Path, what: str) -> Iterator[None]:
    """Turn what the libraries raise on damaged files into an error that names the file."""
    try:
        yield
    except ConfigError:
        raise
    except DAMAGE as error:
        raise ConfigError(f"{path}: {what}: {error}", "copy the file again") from error


@contextmanager
def _quiet_when_refused() -> Iterator[None]:
    """Hold tifffile's log of this thread back: an error of ours says it all, else it is let out."""
    logger, thread = logging.getLogger("tifffile"), threading.get_ident()
    held: list[logging.LogRecord] = []

    def hold(record: logging.LogRecord) -> bool:
        if record.thread != thread:
            return True
        held.append(record)
        return False

    logger.addFilter(hold)
    try:
        yield
    finally:
        logger.removeFilter(hold)
    for record in held:
        logger.handle(record)
