"""A data set being written: one field after another, each on disk before the next begins.

Knows: the order in which files, names and manifest lines reach the disk, and how to go on after a
kill. Must not know: microscopes, how pairs are judged, how the data are used.

A field is written like this: files under temporary names, fsync, rename, fsync of the folder, then
one manifest line, fsync. What has no line never counted: ``resume`` removes it. So a SIGKILL or a
power loss costs at most the field in progress, and nothing is taken twice.

Example
-------
>>> with DatasetWriter.create(folder, header, plan_text) as writer:  # doctest: +SKIP
...     writer.add_field(0, 0, sites, status="done", split="train")
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Literal, Self

import msgspec
import numpy as np
import numpy.typing as npt

from livedenoise import __version__
from livedenoise.collect.dataset_images import Arranged, SiteTaken, arrange
from livedenoise.collect.dataset_layout import (
    DARK_FOLDER,
    FIELDS_FOLDER,
    PLAN_NAME,
    README,
    README_NAME,
    REJECTED_FOLDER,
    REPORT_FOLDER,
    dark_path,
    field_path,
    rejected_path,
)
from livedenoise.collect.dataset_lock import DatasetLock
from livedenoise.collect.dataset_resume import (
    Found,
    require_new,
    require_same,
    take_stock,
)
from livedenoise.collect.field_file import (
    Written,
    file_sha256,
    write_field_file,
    write_pages,
)
from livedenoise.collect.manifest import (
    ManifestAppender,
    create_manifest,
    encode_record,
    read_header,
)
from livedenoise.collect.records import MANIFEST_NAME, DatasetHeader, FieldRecord, Split
from livedenoise.core.clock import wall_time_text
from livedenoise.core.closing import Closing
from livedenoise.core.errors import RecordError
from livedenoise.record.raw_file import (
    OpenFile,
    open_existing,
    open_new,
    replace_file,
    sync_folder,
)

Status = Literal["done", "retry", "failed"]


class Dark(msgspec.Struct, frozen=True, kw_only=True):
    """Dark frames at one exposure: mean (counts) and variance (counts squared), float32 (Y, X)."""

    exposure_us: int
    frames: int
    mean_adu: npt.NDArray[np.float32]
    variance_adu2: npt.NDArray[np.float32]


class DatasetWriter(Closing):
    """Writes a data set. Made by ``create`` or ``resume``; a context manager.

    One at a time for each data set, whichever process; one thread at a time. Memory does not grow
    with the fields written.

    Attributes
    ----------
    folder : Path
        The data set.
    header : DatasetHeader
        As it stands in the manifest.
    found : Found
        What was there when it was opened: settled fields, attempts at others, what was mended.
    """

    def __init__(
        self,
        folder: Path,
        header: DatasetHeader,
        *,
        manifest: ManifestAppender,
        found: Found,
        open_file: OpenFile,
        at_end: ExitStack,
    ) -> None:
        self.folder = folder
        self.header = header
        self.found = found
        self._at_end = at_end
        self._manifest = manifest
        self._open_file = open_file
        self._settled = bytearray(header.n_fields)
        for field in found.settled:
            self._settled[field] = 1

    @classmethod
    def create(
        cls,
        folder: Path,
        header: DatasetHeader,
        plan_text: str,
        darks: Sequence[Dark] = (),
        *,
        lock: DatasetLock | None = None,
        open_file: OpenFile = open_new,
        open_manifest: OpenFile = open_existing,
    ) -> Self:
        """Begin a data set in a folder that is not there yet, or empty.

        The manifest comes last: without it the folder is no data set, and can be begun again.

        Parameters
        ----------
        header : DatasetHeader
            What all fields share; ``darks``, ``sha256`` and ``sizes`` are filled in here, and
            ``livedenoise`` and ``created_at`` where they are empty.
        plan_text : str
            The plan file as it was written.
        darks : sequence of Dark
            Dark frames.
        lock : DatasetLock, optional
            Of the folder, held by the caller, who lets it go; else it is taken here.
        open_file, open_manifest : callable
            Open a new file; open the manifest. Tests put fault files here.

        Raises
        ------
        ConfigError
            If the folder holds something, or another process writes there.
        RecordError
            If it cannot be written; there is no data set then.
        """
        require_new(folder)
        with ExitStack() as undo:
            if lock is None:
                undo.callback(DatasetLock(folder).release)
            require_new(folder)
            with _beginning(folder):
                header = _lay_out(folder, header, plan_text, darks, open_file)
                create_manifest(folder, header, open_file)
                _sync(folder)
                manifest = ManifestAppender(folder, open_file=open_manifest)
            undo.callback(manifest.close)
            found, at_end = Found(), undo.pop_all()
        return cls(
            folder, header, manifest=manifest, found=found, open_file=open_file, at_end=at_end
        )

    @classmethod
    def resume(
        cls,
        folder: Path,
        header: DatasetHeader,
        *,
        lock: DatasetLock | None = None,
        open_file: OpenFile = open_new,
        open_manifest: OpenFile = open_existing,
    ) -> Self:
        """Go on with a data set: cut off a torn line, remove files that have none.

        Parameters
        ----------
        header : DatasetHeader
            What the fields to come would have: it must be what the data set has.
        lock : DatasetLock, optional
            Of the folder, held by the caller, who lets it go; else it is taken here.

        Raises
        ------
        ConfigError
            If there is no data set, its manifest is damaged, another process writes there, or plan,
            camera, region or calibration are not the same (both values named).
        RecordError
            If it cannot be written.
        """
        require_same(folder, read_header(folder), header)
        with ExitStack() as undo:
            if lock is None:
                undo.callback(DatasetLock(folder).release)
            stored = read_header(folder)
            found = take_stock(folder, stored)
            manifest = ManifestAppender(folder, end=found.end, open_file=open_manifest)
            undo.callback(manifest.close)
            at_end = undo.pop_all()
        return cls(
            folder, stored, manifest=manifest, found=found, open_file=open_file, at_end=at_end
        )

    def add_field(
        self,
        field: int,
        attempt: int,
        sites: Sequence[SiteTaken],
        *,
        status: Status,
        split: Split,
        dose_us: float = 0.0,
        taken_at: str = "",
        elapsed_s: float = 0.0,
        overhead_s: float = 0.0,
    ) -> FieldRecord:
        """Store one attempt at a field; on return it survives a power loss.

        Parameters
        ----------
        sites : sequence of SiteTaken
            Images and verdicts.
        status : str
            ``done`` needs an accepted pair; of ``retry`` and ``failed`` all is kept as rejected.

        Raises
        ------
        RecordError
            If the disk takes no more, naming the file, or an image does not fit the data set; all
            earlier fields are intact.
        ValueError
            If the field is settled already or not in the plan, ``done`` without an accepted pair,
            or a value in its record is not finite.
        """
        self._require_open(field)
        arranged = arrange(sites, self.header, is_done=status == "done")
        written = self._write(field, attempt, arranged)
        try:
            record = FieldRecord(
                field=field,
                attempt=attempt,
                status=status,
                split=split,
                file=field_path(field) if arranged.accepted else "",
                rejected_file=rejected_path(field, attempt) if arranged.rejected else "",
                sha256={self._name(one): one.sha256 for one in written},
                sites=tuple(arranged.sites),
                rejected_series=arranged.rejected_series,
                dose_us=dose_us,
                taken_at=taken_at or wall_time_text(),
                elapsed_s=elapsed_s,
                overhead_s=overhead_s,
                sizes={self._name(one): one.size for one in written},
            )
            self._commit(written, encode_record(record))
        except BaseException:
            for one in written:
                one.discard()
            raise
        if status != "retry":
            self._settled[field] = 1
        return record

    def close(self) -> None:
        """Close the manifest; let the lock go where it was taken here. Idempotent."""
        self._at_end.close()

    def _require_open(self, field: int) -> None:
        if not 0 <= field < len(self._settled):
            raise ValueError(f"field {field} is not one of the {len(self._settled)} of the plan")
        if self._settled[field]:
            raise ValueError(f"field {field} is in the data set already")

    def _write(self, field: int, attempt: int, arranged: Arranged) -> list[Written]:
        wanted = (
            (field_path(field), arranged.accepted),
            (rejected_path(field, attempt), arranged.rejected),
        )
        written: list[Written] = []
        try:
            for path, images in wanted:
                if images:
                    one = write_field_file(self.folder / path, images, self._open_file)
                    written.append(one)
        except BaseException:
            for one in written:
                one.discard()
            raise
        return written

    def _commit(self, written: list[Written], line: bytes) -> None:
        for one in written:
            one.commit()
        for folder in {one.path.parent for one in written}:
            _sync(folder)
        self._manifest.append(line)

    def _name(self, written: Written) -> str:
        return written.path.relative_to(self.folder).as_posix()


@contextmanager
def _beginning(folder: Path) -> Iterator[None]:
    """Say of an error that there is no data set yet: nothing to go on with."""
    try:
        yield
    except RecordError as error:
        if not (folder / MANIFEST_NAME).exists():
            error.hint = "mend that (make room?), then start again: there is no data set yet"
        raise


def _lay_out(
    folder: Path,
    header: DatasetHeader,
    plan_text: str,
    darks: Sequence[Dark],
    open_file: OpenFile,
) -> DatasetHeader:
    """Make folders and the files that do not change any more; return the header with them."""
    path = folder
    try:
        for name in (FIELDS_FOLDER, REJECTED_FOLDER, DARK_FOLDER, REPORT_FOLDER):
            path = folder / name
            path.mkdir(exist_ok=True)
        for name, text in ((README_NAME, README), (PLAN_NAME, plan_text)):
            path = folder / name
            replace_file(path, text.encode("utf-8"), open_file)
        plan = folder / PLAN_NAME
        sha256, sizes = {PLAN_NAME: file_sha256(plan)}, {PLAN_NAME: plan.stat().st_size}
    except OSError as error:
        raise RecordError(f"{path}: cannot be written: {error}") from error
    names = {}
    for dark in darks:
        name = dark_path(dark.exposure_us)
        written = _write_dark(folder / name, dark, open_file)
        names[str(dark.exposure_us)] = name
        sha256[name], sizes[name] = written.sha256, written.size
    _sync(folder / DARK_FOLDER)
    return msgspec.structs.replace(
        header,
        livedenoise=header.livedenoise or __version__,
        created_at=header.created_at or wall_time_text(),
        darks=names,
        sha256=sha256,
        sizes=sizes,
    )


def _write_dark(path: Path, dark: Dark, open_file: OpenFile) -> Written:
    facts = {"exposure_us": dark.exposure_us, "frames": dark.frames}
    pages = {"mean_adu": dark.mean_adu, "variance_adu2": dark.variance_adu2}
    description = json.dumps({"livedenoise": "dark", **facts, "pages": list(pages)})
    arrays = [np.ascontiguousarray(page, dtype="<f4") for page in pages.values()]
    written = write_pages(path, arrays, description.encode("ascii"), open_file)
    written.commit()
    return written


def _sync(folder: Path) -> None:
    try:
        sync_folder(folder)
    except OSError as error:
        raise RecordError(f"{folder}: fsync failed: {error}") from error
