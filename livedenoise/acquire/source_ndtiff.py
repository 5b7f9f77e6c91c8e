"""An NDTiff data set (Micro-Manager, pycromanager) as a source of frames.

Knows: the index and the metadata as the ``ndstorage`` package reads them; pixels are read straight
at the offsets of the index, without dask. Must not know: other formats.
"""

from __future__ import annotations

import contextlib
import io
import struct
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np

from livedenoise.acquire.source_base import (
    PixelFile,
    RecordedFrames,
    RecordingFacts,
    median_period_ns,
    stored_pixels,
)
from livedenoise.core.errors import ConfigError
from livedenoise.core.frame import Frame

INDEX_NAME = "NDTiff.index"

_RGB = 2
_BITS = {0: 8, 1: 16, 3: 10, 4: 12, 5: 14, 6: 11}
"""Bits of each pixel type of the index (NDTiff format, version 3)."""
_SAMPLES = 64
_DAMAGE = (ValueError, RuntimeError, OSError, LookupError, TypeError, struct.error)


class _Place(NamedTuple):
    """One frame as the index names it."""

    axes: dict[str, Any]
    file: str
    offset: int
    shape: tuple[int, int]
    pixel_type: int


class NdtiffSource(RecordedFrames):
    """Frames of a data set in the order they were written.

    Raises
    ------
    ConfigError
        If ``ndstorage`` is not installed, the data set is damaged, or its frames are colour or of
        more than one size or type.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._files: dict[str, PixelFile] = {}
        self._dataset, note = _open(path)
        try:
            self._places = _places(self._dataset, path)
            first = self._places[0]
            bits = _BITS[first.pixel_type]
            super().__init__(
                path,
                shape=first.shape,
                pixels=stored_pixels(np.dtype("u1" if bits == 8 else "<u2"), path),
                n_frames=len(self._places),
                facts=self._facts(bits, note),
            )
        except ConfigError:
            self.close()
            raise

    def time_ns(self, index: int) -> int:
        """Return the recorded time of frame ``index`` since frame 0; 0 when unknown."""
        return self._elapsed_ns(index) - self._elapsed_ns(0)

    def frame_exposure_us(self, index: int) -> int:
        """Return the exposure of frame ``index`` as recorded; 0 when unknown."""
        return round(_number(self._metadata(index), "Exposure") * 1e3)

    def close(self) -> None:
        """Release files. Idempotent."""
        for file in self._files.values():
            file.close()
        self._dataset.close()

    def _fill(self, index: int, out: Frame) -> None:
        place = self._places[index]
        file = self._files.get(place.file)
        if file is None:
            file = self._files[place.file] = PixelFile(self.path / place.file)
        file.read_into(place.offset, out, index)
        self._settle(index, out)

    def _facts(self, bits: int, note: str) -> RecordingFacts:
        first = self._metadata(0)
        n_times = min(len(self._places), _SAMPLES)
        notes = tuple(text for text in (note, _axes_note(self._places)) if text)
        facts = RecordingFacts(
            bit_depth=int(_number(first, "BitDepth")) or bits,
            exposure_us=round(_number(first, "Exposure") * 1e3),
            notes=notes,
        )
        if "ElapsedTime-ms" not in first:
            return facts
        times = [self._elapsed_ns(index) for index in range(n_times)]
        return msgspec.structs.replace(facts, period_ns=median_period_ns(times))

    def _elapsed_ns(self, index: int) -> int:
        return round(_number(self._metadata(index), "ElapsedTime-ms") * 1e6)

    def _metadata(self, index: int) -> dict[str, Any]:
        try:
            found = self._dataset.read_metadata(**self._places[index].axes)
        except _DAMAGE as error:
            raise ConfigError(
                f"{self.path}: frame {index}: its metadata cannot be read: {error}",
                "copy the data set again",
            ) from error
        return found if isinstance(found, dict) else {}


def _open(path: Path) -> tuple[Any, str]:
    """Open the data set; return it and what ndstorage warned about."""
    try:
        from ndstorage import NDTiffDataset
    except ImportError as error:
        raise ConfigError(
            f"{path}: is an NDTiff data set, and the package that reads it is not installed: "
            f"{error}",
            'pip install "livedenoise[ndtiff]"',
        ) from error
    # It prints its progress, and standard output may carry nothing but our own JSON.
    with (
        warnings.catch_warnings(record=True) as caught,
        contextlib.redirect_stdout(io.StringIO()),
    ):
        warnings.simplefilter("always")
        try:
            dataset = NDTiffDataset(str(path))
        except Exception as error:  # ndstorage raises bare Exception
            raise ConfigError(
                f"{path}: cannot be read as NDTiff: {error}", "copy the data set again"
            ) from error
    # Leaked handles of its own are no news about the data.
    texts = [str(w.message) for w in caught if not issubclass(w.category, ResourceWarning)]
    return dataset, "; ".join(texts)


def _places(dataset: Any, path: Path) -> list[_Place]:  # noqa: ANN401  (no types published)
    places = [
        _Place(
            axes=dict(axes),
            file=str(entry.filename),
            offset=int(entry.pix_offset),
            shape=(int(entry.image_height), int(entry.image_width)),
            pixel_type=int(entry.pixel_type),
        )
        for axes, entry in dataset.index.items()
    ]
    if not places:
        raise ConfigError(f"{path}: holds no frame")
    first = places[0]
    for number, place in enumerate(places):
        if place.pixel_type == _RGB or place.pixel_type not in _BITS:
            kind = "RGB" if place.pixel_type == _RGB else f"of pixel type {place.pixel_type}"
            raise ConfigError(f"{path}: frame {number}: is {kind}, not grey", "split the channels")
        if (place.shape, place.pixel_type) != (first.shape, first.pixel_type):
            raise ConfigError(
                f"{path}: frame {number}: is {place.shape} of {_BITS[place.pixel_type]} bits, "
                f"frame 0 is {first.shape} of {_BITS[first.pixel_type]} bits",
                "save frames of one size and type to a data set of their own",
            )
    return places


def _axes_note(places: list[_Place]) -> str:
    values: dict[str, set[Any]] = {}
    for place in places:
        for name, value in place.axes.items():
            values.setdefault(name, set()).add(value)
    axes = [f"{name} {len(found)}" for name, found in values.items() if len(found) > 1]
    if len(axes) <= 1:
        return ""
    return f"axes {', '.join(sorted(axes))} flattened to {len(places)} frames in file order"


def _number(metadata: dict[str, Any], key: str) -> float:
    value = metadata.get(key)
    try:
        return 0 if value is None else float(value)
    except (TypeError, ValueError):
        return 0
