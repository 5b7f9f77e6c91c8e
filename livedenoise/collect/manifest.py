"""The manifest on disk: a header, then lines appended whole, and how a torn one is read.

Knows: JSON Lines of ``records``, what a killed writer leaves. Must not know: images, microscopes.

The file appears at once with its header (temporary name, fsync, rename). A line is acknowledged
when ``append`` returned: written and fsynced. Only the last line can be torn, by a kill or a power
loss, and it was never acknowledged then: readers leave it out, the next writer cuts it off.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec

from livedenoise.collect.records import (
    FORMAT,
    FORMAT_VERSION,
    MANIFEST_NAME,
    DatasetHeader,
    FieldRecord,
)
from livedenoise.core.errors import ConfigError, RecordError
from livedenoise.record.raw_file import (
    OpenFile,
    open_existing,
    open_new,
    replace_file,
    write_all,
)

_ENCODER = msgspec.json.Encoder()
_HEADER: msgspec.json.Decoder[DatasetHeader] = msgspec.json.Decoder(DatasetHeader)
_RECORD: msgspec.json.Decoder[FieldRecord] = msgspec.json.Decoder(FieldRecord)


class Line(NamedTuple):
    """One line as found: the byte after it, and its record, or None when it is torn."""

    end: int
    record: FieldRecord | None


def encode_record(record: FieldRecord) -> bytes:
    """Return the bytes of a line, newline included.

    Raises
    ------
    ValueError
        If it could not be read back: JSON has no number for infinity and NaN.
    """
    content = _ENCODER.encode(record)
    try:
        _RECORD.decode(content)
    except msgspec.ValidationError as error:
        raise ValueError(
            f"field {record.field}: a value in its record is not finite: {error}"
        ) from error
    return content + b"\n"


def create_manifest(folder: Path, header: DatasetHeader, open_file: OpenFile = open_new) -> None:
    """Write a manifest that has its header only.

    Raises
    ------
    RecordError
        If it cannot be written; there is no manifest then.
    """
    path = folder / MANIFEST_NAME
    try:
        replace_file(path, _ENCODER.encode(header) + b"\n", open_file)
    except OSError as error:
        raise RecordError(f"{path}: cannot be written: {error}") from error


def read_header(folder: Path) -> DatasetHeader:
    """Read the first line.

    Raises
    ------
    ConfigError
        If there is none, or it is not ours, or of a later version.
    """
    path = folder / MANIFEST_NAME
    try:
        with path.open("rb") as file:
            line = file.readline()
    except (FileNotFoundError, NotADirectoryError):
        raise ConfigError(f"{folder}: not a data set: {MANIFEST_NAME} is missing") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from error
    try:
        if not line.endswith(b"\n"):
            raise msgspec.DecodeError("the line has no end")  # noqa: TRY301
        header = _HEADER.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}:1: not the header of a data set: {error}") from error
    if header.format != FORMAT or header.version > FORMAT_VERSION:
        raise ConfigError(
            f"{path}:1: format {header.format!r} version {header.version}, this program reads "
            f"{FORMAT!r} up to version {FORMAT_VERSION}",
            "use the version of livedenoise that wrote it, or a later one",
        )
    return header


def scan(folder: Path) -> Iterator[Line]:
    """Yield every line after the header; a torn one is the last.

    Raises
    ------
    ConfigError
        If the file cannot be read, or a line that is not the last is damaged.
    """
    path = folder / MANIFEST_NAME
    damage = ""
    try:
        with path.open("rb") as file:
            end = len(file.readline())
            for number, content in enumerate(file, start=2):
                if damage:
                    raise ConfigError(
                        f"{path}:{damage}", "bring the manifest back from a copy of the data set"
                    )
                end += len(content)
                record, damage = _decode(number, content)
                yield Line(end, record)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from error


def read_records(folder: Path) -> Iterator[FieldRecord]:
    """Yield every acknowledged record, in the order written.

    Raises
    ------
    ConfigError
        As ``scan``.
    """
    for line in scan(folder):
        if line.record is not None:
            yield line.record


def _decode(number: int, content: bytes) -> tuple[FieldRecord | None, str]:
    try:
        if not content.endswith(b"\n"):
            raise msgspec.DecodeError("the line has no end")  # noqa: TRY301
        return _RECORD.decode(content), ""
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return None, f"{number}: not a line of a manifest: {error}"


class ManifestAppender:
    """Appends lines to a manifest, each on disk when ``append`` returns.

    Parameters
    ----------
    end : int or None
        Bytes of whole lines; what follows is cut off. None: the file is whole.

    Raises
    ------
    RecordError
        If it cannot be opened or cut.
    """

    def __init__(
        self, folder: Path, *, end: int | None = None, open_file: OpenFile = open_existing
    ) -> None:
        self.path = folder / MANIFEST_NAME
        self._closed = False
        try:
            size = self.path.stat().st_size
            self._end = size if end is None else end
            self._file = open_file(self.path)
        except OSError as error:
            raise RecordError(f"{self.path}: cannot be opened: {error}") from error
        if self._end < size:
            self._cut_torn()

    def append(self, line: bytes) -> None:
        """Write one line; on return it survives a power loss.

        Raises
        ------
        RecordError
            If it cannot be written. Earlier lines stay, what was torn is cut off.
        """
        try:
            self._file.seek(self._end)
            write_all(self._file, memoryview(line))
            os.fsync(self._file.fileno())
        except OSError as error:
            left = self._cut()
            raise RecordError(f"{self.path}: line not written: {error}{left}") from error
        self._end += len(line)

    def close(self) -> None:
        """Close the file. Idempotent."""
        if not self._closed:
            self._closed = True
            self._file.close()

    def _cut_torn(self) -> None:
        failed = self._cut()
        if failed:
            self.close()
            raise RecordError(f"{self.path}: cannot go on{failed}")

    def _cut(self) -> str:
        try:
            self._file.truncate(self._end)
            os.fsync(self._file.fileno())
        except OSError as error:
            return f" (the torn line could not be cut off: {error})"
        return ""
