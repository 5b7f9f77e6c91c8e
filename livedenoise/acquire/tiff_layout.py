"""Where the frames of a TIFF file lie: byte offsets where pixels are stored plainly, pages else.

Knows: how tifffile describes pages and series, and which files are stacks of grey frames.
Must not know: metadata, reading pixels.
"""

from __future__ import annotations

import struct
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import tifffile

from livedenoise.acquire.source_base import StoredPixels, stored_pixels
from livedenoise.core.errors import ConfigError

_SEPARATE_PLANES = 2
_BLACK_IS_ZERO, _WHITE_IS_ZERO = 1, 0
_SALVAGE = "copy the file again, or save its readable frames with another program"


class PagePlane(NamedTuple):
    """A frame that must be decoded: a page, and which of its planes."""

    page: Any
    plane: int


class TiffLayout(NamedTuple):
    """Frames in file order: either ``offsets`` (stored plainly) or ``planes`` (to be decoded).

    ``only_time`` says whether time is, or may be, the only axis beyond (Y, X).
    """

    shape: tuple[int, int]
    pixels: StoredPixels
    bits: int
    offsets: npt.NDArray[np.int64] | None
    planes: list[PagePlane]
    n_frames: int
    only_time: bool
    notes: tuple[str, ...]


def read_layout(tiff: tifffile.TiffFile, path: Path) -> TiffLayout:
    """Return where the frames are.

    Raises
    ------
    ConfigError
        If the file is no stack of grey frames of one size, or its chain of pages is broken.
    """
    _check_chain(tiff, path)
    series = list(tiff.series)
    if not series:
        raise ConfigError(f"{path}: holds no page")
    key = series[0].keyframe
    _check_grey(key, path)
    shape = (int(key.imagelength), int(key.imagewidth))
    for other in series[1:]:
        found = (int(other.keyframe.imagelength), int(other.keyframe.imagewidth))
        if found != shape or other.keyframe.dtype != key.dtype:
            raise ConfigError(
                f"{path}: frames of {shape} {key.dtype} and of {found} {other.keyframe.dtype} "
                f"in one file",
                "save frames of one size and type to a file of their own",
            )
        _check_grey(other.keyframe, path)
    pixels = stored_pixels(_stored_dtype(key, tiff), path)
    offsets, planes = _places(tiff, series, path)
    n_frames = len(planes) if offsets is None else len(offsets)
    notes, only_time = _axes(series, n_frames)
    if key.photometric == _WHITE_IS_ZERO:
        notes = (*notes, "stored with white as zero: values are used as stored")
    return TiffLayout(
        shape=shape,
        pixels=pixels,
        bits=int(key.bitspersample) if pixels.served != "<f4" else 0,
        offsets=offsets,
        planes=planes,
        n_frames=n_frames,
        only_time=only_time,
        notes=notes,
    )


def _check_chain(tiff: tifffile.TiffFile, path: Path) -> None:
    """Refuse a file whose last readable page points on: the pages it points to are lost."""
    n_pages = len(tiff.pages)
    position = tiff.pages.next_page_offset
    if position is None:
        return
    tiff.filehandle.seek(position)
    size, form = tiff.tiff.offsetsize, tiff.tiff.offsetformat
    content = tiff.filehandle.read(size)
    if len(content) != size or struct.unpack(form, content)[0]:
        raise ConfigError(
            f"{path}: frame {n_pages}: the chain of pages is broken after {n_pages} whole ones",
            _SALVAGE,
        )


def _check_grey(page: Any, path: Path) -> None:  # noqa: ANN401  (TiffPage or TiffFrame)
    grey = page.photometric in {_BLACK_IS_ZERO, _WHITE_IS_ZERO}
    planes = page.samplesperpixel == 1 or page.planarconfig == _SEPARATE_PLANES
    if not grey or not planes or page.imagedepth != 1:
        kind = getattr(page.photometric, "name", str(page.photometric)).lower()
        raise ConfigError(
            f"{path}: pages are {kind} with {page.samplesperpixel} samples a pixel (axes "
            f"{page.axes}, shape {page.shape}), not grey frames",
            "split the channels (Fiji: Image > Color > Split Channels); a grey stack written by "
            'tifffile needs photometric="minisblack"',
        )


def _stored_dtype(page: Any, tiff: tifffile.TiffFile) -> np.dtype[Any] | None:  # noqa: ANN401
    if page.dtype is None:
        return None
    dtype: np.dtype[Any] = np.dtype(page.dtype).newbyteorder(tiff.byteorder)
    return dtype


def _places(
    tiff: tifffile.TiffFile, series: list[Any], path: Path
) -> tuple[npt.NDArray[np.int64] | None, list[PagePlane]]:
    """Return byte offsets if every frame is stored plainly in this file, else pages to decode."""
    plain = [_plain_offsets(part, tiff) for part in series]
    found = [offsets for offsets in plain if offsets is not None]
    if len(found) == len(plain):
        return np.concatenate(found), []
    pages = [page for part in series for page in part]
    if any(page is None for page in pages):
        raise ConfigError(
            f"{path}: frame {pages.index(None)}: its page is missing: it belongs to another file",
            "put all files of the set into one folder",
        )
    return None, [PagePlane(p, k) for p in pages for k in range(p.keyframe.samplesperpixel)]


def _plain_offsets(part: Any, tiff: tifffile.TiffFile) -> npt.NDArray[np.int64] | None:  # noqa: ANN401
    """Return the byte offset of every frame of a series; None if some must be decoded."""
    key = part.keyframe
    frame_bytes = key.imagelength * key.imagewidth * (key.bitspersample // 8)
    if part.parent is not tiff or not key.is_final:
        return None
    if part.dataoffset is not None:
        n_planes = prod(part.get_shape(squeeze=False)) // (key.imagelength * key.imagewidth)
        return _every(frame_bytes, n_planes) + int(part.dataoffset)
    pages = list(part)
    if not all(page is not None and page.parent is tiff and _is_joined(page) for page in pages):
        return None
    first = np.array([page.dataoffsets[0] for page in pages], np.int64)
    return (first[:, None] + _every(frame_bytes, key.samplesperpixel)).reshape(-1)


def _every(frame_bytes: int, count: int) -> npt.NDArray[np.int64]:
    return np.arange(count, dtype=np.int64) * frame_bytes


def _is_joined(page: Any) -> bool:  # noqa: ANN401
    """Return whether a page's strips follow each other; tifffile only looks at the first page."""
    ends = [a + n for a, n in zip(page.dataoffsets, page.databytecounts, strict=True)]
    return list(page.dataoffsets[1:]) == ends[:-1]


def _axes(series: list[Any], n_frames: int) -> tuple[tuple[str, ...], bool]:
    """Return a note if several axes were flattened, and whether the only one may be time."""
    if len(series) > 1:
        alike = all(len(part) == 1 for part in series)
        return (() if alike else (f"{len(series)} series joined in file order",)), alike
    sizes = zip(series[0].get_axes(squeeze=False), series[0].get_shape(squeeze=False), strict=True)
    axes = [(name, size) for name, size in sizes if name not in "YX" and size > 1]
    if len(axes) <= 1:
        return (), all(name in "TIQR" for name, _ in axes)
    text = ", ".join(f"{name} {size}" for name, size in axes)
    return (f"axes {text} flattened to {n_frames} frames in file order",), False
