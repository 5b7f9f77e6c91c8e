"""Writing denoised frames: whole under their final name, or not there at all.

Knows: TIFF and PNG outputs, their provenance, temporary names. Must not know: engines, sources.

A file is written frame by frame under a temporary name beside its place and renamed when complete.
Provenance is JSON in the ImageDescription of a TIFF's first page, or in ``<stem>.json`` beside a
PNG (written first: a PNG without it is never ours).
"""

from __future__ import annotations

import json
import os
import platform
import re
import sys
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

import numpy as np

from livedenoise import __version__
from livedenoise.core.errors import ConfigError, RecordError
from livedenoise.core.frame import Frame, frame_nbytes
from livedenoise.record.raw_file import replace_file

BIGTIFF_BYTES = 3_500_000_000
"""Above this size of all frames BigTIFF is written: classic TIFF ends at 4 GiB."""

PNG_SUFFIX = ".png"
_KEY = "livedenoise"
_HOST = re.sub(r"[^A-Za-z0-9]", "_", platform.node()) or "host"


class FrameOutput(Protocol):
    """A file being written; leaving the ``with`` block by an error leaves no file behind."""

    def __enter__(self) -> Self:
        """Return itself."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Give up the file unless it was finished."""

    def append(self, frame: Frame) -> None:
        """Write the next frame (Y, X).

        Raises
        ------
        RecordError
            If it cannot be written.
        """

    def finish(self) -> None:
        """Give the file its final name.

        Raises
        ------
        RecordError
            If it cannot be completed.
        """


def open_output(
    path: Path, *, shape: tuple[int, int], dtype: str, n_frames: int, provenance: dict[str, Any]
) -> FrameOutput:
    """Return the output for ``path``: PNG by its suffix, else TIFF.

    Parameters
    ----------
    path : Path
        Final name; its folder is made if need be.
    shape : tuple of int
        (Y, X) of every frame.
    dtype : str
        ``"|u1"``, ``"<u2"`` or ``"<f4"``.
    n_frames : int
        Number of frames to come.
    provenance : dict
        What goes into the metadata.

    Raises
    ------
    RecordError
        If it cannot be created.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(path)
        if path.suffix.lower() == PNG_SUFFIX:
            return PngOutput(path, provenance)
        n_bytes = n_frames * frame_nbytes(shape, dtype)
        return TiffOutput(path, provenance, bigtiff=n_bytes > BIGTIFF_BYTES)
    except OSError as error:
        raise RecordError(f"{path}: cannot be written: {error}") from error


class TiffOutput:
    """A TIFF with one page per frame, uncompressed."""

    def __init__(self, path: Path, provenance: dict[str, Any], *, bigtiff: bool) -> None:
        import tifffile

        self._path = path
        self._temporary = _temporary(path)
        self._description: str | None = _to_json(provenance)
        self._writer = tifffile.TiffWriter(self._temporary, bigtiff=bigtiff)
        self._finished = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if not self._finished:
            with suppress(OSError):  # what led here is the error to show
                self._writer.close()
            self._temporary.unlink(missing_ok=True)

    def append(self, frame: Frame) -> None:
        """Write the next frame (Y, X)."""
        try:
            self._writer.write(
                frame,
                photometric="minisblack",
                description=self._description,
                software=f"livedenoise {__version__}",
                metadata=None,
                contiguous=False,
            )
        except OSError as error:
            raise RecordError(f"{self._path}: cannot be written: {error}") from error
        self._description = None

    def finish(self) -> None:
        """Close the file and give it its final name."""
        try:
            self._writer.close()
            self._temporary.replace(self._path)
        except OSError as error:
            raise RecordError(f"{self._path}: cannot be completed: {error}") from error
        self._finished = True


class PngOutput:
    """One grey PNG and its provenance beside it."""

    def __init__(self, path: Path, provenance: dict[str, Any]) -> None:
        self._path = path
        self._provenance = provenance
        self._frame: Frame | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._frame = None

    def append(self, frame: Frame) -> None:
        """Take the only frame (Y, X)."""
        if self._frame is not None:
            raise RecordError(f"{self._path}: a PNG holds one frame")
        self._frame = frame.copy()

    def finish(self) -> None:
        """Write both files, the provenance first."""
        import imagecodecs

        if self._frame is None:
            raise RecordError(f"{self._path}: no frame was written")
        content = bytes(imagecodecs.png_encode(np.ascontiguousarray(self._frame)))
        try:
            replace_file(sidecar_of(self._path), _to_json(self._provenance).encode())
            replace_file(self._path, content)
        except OSError as error:
            raise RecordError(f"{self._path}: cannot be written: {error}") from error


def sidecar_of(path: Path) -> Path:
    """Return where the provenance of a PNG stands."""
    return path.with_suffix(".json")


def read_provenance(path: Path) -> dict[str, Any] | None:
    """Return the provenance of an existing output, or None when it is none of ours."""
    text = _stored_text(path)
    try:
        content = json.loads(text or "")
    except json.JSONDecodeError:
        return None
    found = content.get(_KEY) if isinstance(content, dict) else None
    return found if isinstance(found, dict) else None


def _stored_text(path: Path) -> str | None:
    if path.suffix.lower() == PNG_SUFFIX:
        sidecar = sidecar_of(path)
        return sidecar.read_text(encoding="utf-8", errors="replace") if sidecar.is_file() else None
    import tifffile

    try:
        with tifffile.TiffFile(path) as tiff:
            return str(tiff.pages.first.description)
    except (tifffile.TiffFileError, OSError, ValueError, LookupError):
        return None  # whatever it is, it is not a finished output of ours


def check_place(path: Path, source: Path) -> None:
    """Refuse an output that would overwrite its own input, or someone's sidecar.

    Raises
    ------
    ConfigError
        If so.
    """
    if path.exists() and path.samefile(source):
        raise ConfigError(f"{path}: the output would overwrite its input", "name another output")
    if path.suffix.lower() != PNG_SUFFIX:
        return
    sidecar = sidecar_of(path)
    if sidecar.exists() and read_provenance(path) is None:
        raise ConfigError(
            f"{sidecar}: exists and is not ours, but the provenance of {path.name} goes there",
            "name another output folder",
        )


def _to_json(provenance: dict[str, Any]) -> str:
    return json.dumps({"software": f"livedenoise {__version__}", _KEY: provenance}, indent=1)


def _temporary(path: Path) -> Path:
    return path.with_name(f".{path.name}.{_HOST}-{os.getpid()}.partial")


def _remove_abandoned(path: Path) -> None:
    """Remove what dead processes of this machine left half-written for ``path``."""
    pattern = re.compile(rf"\.{re.escape(path.name)}\.{_HOST}-([0-9]+)\.partial")
    for found in path.parent.glob(".*.partial"):
        match = pattern.fullmatch(found.name)
        if match and not _is_running(int(match[1])):
            found.unlink(missing_ok=True)


def _is_running(pid: int) -> bool:
    """Return whether a process of this number exists (where it cannot be told: True)."""
    if sys.platform == "win32":
        return True
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True
