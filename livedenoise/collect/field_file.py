"""OME-TIFF of one field: every stored image a named series of its own, whole or not there at all.

Knows: OME-XML, the order of pages, how bytes reach the disk. Must not know: the manifest, pairs.

Series n is page n: a reader needs no OME. Pixels are stored as they came, uncompressed: zlib
(level 1) took ten times as long as writing and made raw camera noise 1.9 times smaller
(docs/dataset.md has the figures). The layout and the XML are tifffile's; pixels go to the file
without a copy, and every short or refused write is an error.

Source: OME-TIFF specification 6 and schema 2016-06 (Goldberg et al., Genome Biology 6:R47, 2005).
"""

from __future__ import annotations

import hashlib
import io
import os
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast

import msgspec
import numpy as np
import numpy.typing as npt

from livedenoise import __version__
from livedenoise.collect.dataset_layout import TEMPORARY_SUFFIX
from livedenoise.collect.shots import Image
from livedenoise.core.errors import RecordError
from livedenoise.core.frame import SUPPORTED_DTYPES
from livedenoise.record.raw_file import OpenFile, RawFile, open_new, write_all

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

SOFTWARE = f"livedenoise {__version__}"
BIGTIFF_BYTES = 3_500_000_000
"""Above this size of all images BigTIFF is written: classic TIFF ends at 4 GiB."""

SIDE_BY_SIDE_BYTES = 4_000_000
"""From here on hashing takes longer than starting a thread for it."""

_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class StoredImage(msgspec.Struct, frozen=True, kw_only=True):
    """One image and what OME-XML says of it.

    Attributes
    ----------
    name : str
        Of the series.
    image : ndarray
        (Y, X) uint8, uint16 or float32.
    description : str
        One line for people.
    channel : str
        Name of the channel, "" for none.
    exposure_us : int
        Of each frame.
    x_um, y_um, z_um : float or None
        Stage position.
    pixel_size_um : float
        In the sample; 0 when unknown.
    significant_bits : int
        Of the counts; 0 for an average.
    """

    name: str
    image: Image
    description: str = ""
    channel: str = ""
    exposure_us: int = 0
    x_um: float | None = None
    y_um: float | None = None
    z_um: float | None = None
    pixel_size_um: float = 0.0
    significant_bits: int = 0


class Written(msgspec.Struct, frozen=True, kw_only=True):
    """A file on disk under its temporary name: fsynced, hashed, not renamed yet."""

    path: Path
    temporary: Path
    sha256: str
    size: int

    def commit(self) -> None:
        """Give the file its name.

        Raises
        ------
        RecordError
            If the system refuses.
        """
        try:
            self.temporary.replace(self.path)
        except OSError as error:
            raise RecordError(f"{self.path}: cannot be completed: {error}") from error

    def discard(self) -> None:
        """Remove the temporary file."""
        self.temporary.unlink(missing_ok=True)


def write_field_file(
    path: Path, images: Sequence[StoredImage], open_file: OpenFile = open_new
) -> Written:
    """Write the images of a field under a temporary name and fsync them.

    Raises
    ------
    RecordError
        If it cannot be written; nothing is left of it then.
    ValueError
        If an image is not (Y, X) of a supported pixel type.
    """
    arrays = [_as_stored(one) for one in images]
    xml = ome_xml(images, arrays)
    return write_pages(path, arrays, xml.encode("utf-8"), open_file)


def write_pages(
    path: Path, arrays: Sequence[Image], description: bytes, open_file: OpenFile = open_new
) -> Written:
    """Write one page for each array under a temporary name, fsync and hash the file.

    Parameters
    ----------
    arrays : sequence of ndarray
        C-contiguous (Y, X), little-endian.
    description : bytes
        Of the first page, UTF-8.

    Raises
    ------
    RecordError
        If it cannot be written; nothing is left of it then.
    """
    temporary = path.with_name(f".{path.name}{TEMPORARY_SUFFIX}")
    try:
        temporary.unlink(missing_ok=True)
        file = open_file(temporary)
        try:
            _write(file, arrays, description)
            sha256 = _sync_and_hash(file, temporary)
        finally:
            file.close()
        size = temporary.stat().st_size
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise RecordError(
            f"{path}: not written: {error}",
            "make room or mend the disk, and go on with --resume: all earlier fields are intact",
        ) from error
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return Written(path=path, temporary=temporary, sha256=sha256, size=size)


def ome_xml(images: Sequence[StoredImage], arrays: Sequence[Image]) -> str:
    """Return OME-XML (schema 2016-06) with one Image of one plane for each array."""
    import tifffile

    xml = tifffile.OmeXml(Creator=SOFTWARE)
    for one, array in zip(images, arrays, strict=True):
        stored = (1, 1, 1, array.shape[0], array.shape[1], 1)
        xml.addimage(array.dtype, array.shape, stored, axes="YX", **_metadata(one))
    return xml.tostring(declaration=True)


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _metadata(one: StoredImage) -> dict[str, Any]:
    plane: dict[str, Any] = {"ExposureTime": one.exposure_us * 1e-6, "ExposureTimeUnit": "s"}
    for axis, value in (("X", one.x_um), ("Y", one.y_um), ("Z", one.z_um)):
        if value is not None:
            plane |= {f"Position{axis}": value, f"Position{axis}Unit": "µm"}
    found: dict[str, Any] = {"Name": _xml_text(one.name), "Plane": plane}
    if one.description:
        found["Description"] = _xml_text(one.description)
    if one.channel:
        found["Channel"] = {"Name": _xml_text(one.channel)}
    if one.significant_bits:
        found["SignificantBits"] = one.significant_bits
    if one.pixel_size_um > 0:
        for axis in "XY":
            found |= {f"PhysicalSize{axis}": one.pixel_size_um, f"PhysicalSize{axis}Unit": "µm"}
    return found


def _xml_text(text: str) -> str:
    """Return text with the characters replaced that XML 1.0 cannot hold."""
    return _NOT_XML.sub("\ufffd", text)


def _as_stored(one: StoredImage) -> Image:
    image = one.image
    dtype = image.dtype.newbyteorder("<")
    if image.ndim != 2 or image.size == 0 or dtype.str not in SUPPORTED_DTYPES:
        raise ValueError(
            f"{one.name}: an image is a (Y, X) array of {', '.join(SUPPORTED_DTYPES)}, got "
            f"{image.shape} of {image.dtype.str}"
        )
    return cast("Image", np.ascontiguousarray(image, dtype=dtype))


def _write(file: RawFile, arrays: Sequence[Image], description: bytes) -> None:
    """Let tifffile lay the file out, then fill in the pixels."""
    import tifffile

    stream = cast("IO[bytes]", _Stream(file))
    bigtiff = sum(array.nbytes for array in arrays) > BIGTIFF_BYTES
    places: list[tuple[int, Image]] = []
    with tifffile.TiffWriter(stream, bigtiff=bigtiff, byteorder="<") as tiff:
        for number, array in enumerate(arrays):
            place = tiff.write(
                None,
                shape=array.shape,
                dtype=array.dtype,
                photometric="minisblack",
                description=None if number else description,
                metadata=None,
                software=SOFTWARE,
                contiguous=False,
                returnoffset=True,
            )
            assert place is not None  # noqa: S101 - uncompressed pages are contiguous
            places.append((place[0], array))
    for offset, array in places:
        file.seek(offset)
        write_all(file, _bytes_of(array))


def _bytes_of(array: npt.NDArray[Any]) -> memoryview:
    return array.reshape(-1).view(np.uint8).data


def _sync_and_hash(file: RawFile, path: Path) -> str:
    """Fsync and hash; large files side by side: one waits for the disk, the other computes."""
    if path.stat().st_size < SIDE_BY_SIDE_BYTES:
        os.fsync(file.fileno())
        return file_sha256(path)
    with ThreadPoolExecutor(1, thread_name_prefix="field-hash") as worker:
        digest = worker.submit(file_sha256, path)
        os.fsync(file.fileno())
        return digest.result()


class _Stream(io.RawIOBase):
    """What tifffile wants of a file, on a ``RawFile``: writes whole, knows where it stands."""

    def __init__(self, file: RawFile) -> None:
        self._file = file
        self._position = 0

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        if whence == os.SEEK_END:
            raise io.UnsupportedOperation("seek from the end")
        self._position = offset + (self._position if whence == os.SEEK_CUR else 0)
        return self._file.seek(self._position)

    def write(self, data: ReadableBuffer, /) -> int:
        view = memoryview(data).cast("B")
        write_all(self._file, view)
        self._position += view.nbytes
        return view.nbytes
