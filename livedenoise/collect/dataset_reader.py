"""A data set being read: its facts and its pairs as arrays, one field in memory at a time.

Knows: manifest and field files. Must not know: how they are written, what pairs are used for.

Only what was acknowledged is read: a data set can be read while it is being written.

Example
-------
>>> for pair in open_dataset(folder).pairs(split="train"):  # doctest: +SKIP
...     train_on(pair.low, pair.high, pair.shift_px)
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from livedenoise.collect.dataset_layout import site_labels
from livedenoise.collect.dataset_resume import wrong_sizes
from livedenoise.collect.field_file import file_sha256
from livedenoise.collect.manifest import read_header, read_records
from livedenoise.collect.records import (
    DatasetHeader,
    FieldRecord,
    PairRecord,
    ShotRecord,
    SiteRecord,
    Split,
)
from livedenoise.collect.shots import Image, Site
from livedenoise.collect.verdict import PairVerdict
from livedenoise.core.errors import RecordError
from livedenoise.core.progress import OnProgress, Progress, ignore_progress

if TYPE_CHECKING:
    import tifffile


class DatasetPair(msgspec.Struct, frozen=True, kw_only=True):
    """One accepted pair.

    Attributes
    ----------
    name : str
        Unique in the data set, fit for a file name: ``field_0007-c0z0-level1-repeat0``.
    low, high : ndarray
        (Y, X) as stored, high as it was taken (not shifted): counts, or a mean in float32.
    after : ndarray or None
        The low shot after the high one, of a bracket.
    shift_px : tuple of float
        (Y, X) as in ``PairVerdict``: ``high[y + dy, x + dx]`` shows what ``low[y, x]`` does.
    shift_error_px : float
        Standard error of it.
    dose_ratio : float
        Dose of high over low.
    low_shot, high_shot : ShotRecord
        What was commanded and measured.
    """

    name: str
    field: int
    attempt: int
    split: Split
    site: Site
    low: Image
    high: Image
    after: Image | None
    low_shot: ShotRecord
    high_shot: ShotRecord
    verdict: PairVerdict
    file: str

    @property
    def shift_px(self) -> tuple[float, float]:
        """Return the shift of high against low, (Y, X) pixels."""
        return self.verdict.shift_px

    @property
    def shift_error_px(self) -> float:
        """Return its standard error."""
        return self.verdict.shift_error_px

    @property
    def dose_ratio(self) -> float:
        """Return the dose of high over that of low."""
        return self.verdict.dose_ratio

    @property
    def exposures_us(self) -> tuple[int, int]:
        """Return the commanded exposures of low and high, of each frame."""
        return self.low_shot.shot.exposure_us, self.high_shot.shot.exposure_us


class Dataset(msgspec.Struct, frozen=True, kw_only=True):
    """A data set on disk. Made by ``open_dataset``."""

    folder: Path
    header: DatasetHeader

    def records(self) -> Iterator[FieldRecord]:
        """Yield every attempt at a field, in the order taken.

        Raises
        ------
        ConfigError
            If the manifest is damaged.
        """
        return read_records(self.folder)

    def done(self, split: Split | None = None) -> Iterator[FieldRecord]:
        """Yield the fields that are in the data set (of one split)."""
        for record in self.records():
            if record.status == "done" and split in {None, record.split}:
                yield record

    def pairs(self, split: Split | None = None, *, verify: bool = False) -> Iterator[DatasetPair]:
        """Yield the accepted pairs (of one split); images are read when their site is reached.

        Parameters
        ----------
        verify : bool
            Compare the hash of each file before it is read.

        Raises
        ------
        RecordError
            If a file is missing, damaged, or not what was written.
        """
        for record in self.done(split):
            if verify:
                self._require_intact(record)
            yield from self.pairs_of(record)

    def pairs_of(self, record: FieldRecord) -> Iterator[DatasetPair]:
        """Yield the accepted pairs of a field.

        Raises
        ------
        RecordError
            If its file is missing or damaged.
        """
        if record.status != "done":
            return
        labels = site_labels([one.site for one in record.sites])
        with _open(self.folder / record.file) as tiff:
            for one, label in zip(record.sites, labels, strict=True):
                images: dict[int, Image] = {}
                for pair in one.pairs:
                    if pair.verdict.accepted:
                        _load(tiff, one, pair, images)
                        yield _pair(record, one, label, pair, images)

    def rejected_image(self, record: FieldRecord, site: int, shot: int) -> Image:
        """Return the image of a shot that a rejected pair uses, (Y, X).

        Raises
        ------
        RecordError
            If there is none, or its file is missing or damaged.
        """
        series = record.rejected_series.get(f"{site}/{shot}")
        if series is None:
            raise RecordError(
                f"{self.folder}: field {record.field} attempt {record.attempt} has no rejected "
                f"image of site {site}, shot {shot}"
            )
        with _open(self.folder / record.rejected_file) as tiff:
            return _page(tiff, series)

    def _require_intact(self, record: FieldRecord) -> None:
        problems = _altered(self.folder, {record.file: record.sha256[record.file]}, record.sizes)
        if problems:
            raise RecordError(
                "; ".join(problems.values()), "bring the file back from a copy of the data set"
            )


class Verified(msgspec.Struct, frozen=True, kw_only=True):
    """What ``verify_dataset`` found: files and bytes looked at, problems in words by file."""

    files: int
    bytes_read: int
    problems: dict[str, str]


def open_dataset(folder: Path) -> Dataset:
    """Open a data set.

    Raises
    ------
    ConfigError
        If there is none.
    """
    return Dataset(folder=folder, header=read_header(folder))


def verify_dataset(folder: Path, on_progress: OnProgress = ignore_progress) -> Verified:
    """Read every file that has a line, and compare its size and its hash with what was written.

    Raises
    ------
    ConfigError
        If there is no data set, or its manifest is damaged.
    """
    header = read_header(folder)
    problems = _altered(folder, header.sha256, header.sizes)
    files, size = len(header.sha256), sum(header.sizes.values())
    for number, record in enumerate(read_records(folder), start=1):
        problems |= _altered(folder, record.sha256, record.sizes)
        files += len(record.sha256)
        size += sum(record.sizes.values())
        on_progress(Progress(task="verify", done=number, total=0, unit="fields"))
    return Verified(files=files, bytes_read=size, problems=problems)


def _altered(folder: Path, sha256: dict[str, str], sizes: dict[str, int]) -> dict[str, str]:
    problems = wrong_sizes(folder, {name: sizes[name] for name in sha256 if name in sizes})
    for name, expected in sha256.items():
        if name in problems:
            continue
        path = folder / name
        try:
            actual = file_sha256(path)
        except OSError as error:
            problems[name] = f"{path}: cannot be read: {error}"
            continue
        if actual != expected:
            problems[name] = f"{path}: was altered: its hash is {actual[:12]}, not {expected[:12]}"
    return problems


def _load(
    tiff: tifffile.TiffFile, site: SiteRecord, pair: PairRecord, images: dict[int, Image]
) -> None:
    """Read the images of a pair that were not read before; levels share the high one."""
    for shot in (pair.low, pair.high, pair.after):
        if shot >= 0 and shot not in images:
            images[shot] = _page(tiff, site.shots[shot].series)


def _pair(
    record: FieldRecord, site: SiteRecord, label: str, pair: PairRecord, images: dict[int, Image]
) -> DatasetPair:
    return DatasetPair(
        name=f"field_{record.field:04d}-{label}-{pair.name}",
        field=record.field,
        attempt=record.attempt,
        split=record.split,
        site=site.site,
        low=images[pair.low],
        high=images[pair.high],
        after=images.get(pair.after),
        low_shot=site.shots[pair.low],
        high_shot=site.shots[pair.high],
        verdict=pair.verdict,
        file=record.file,
    )


def _open(path: Path) -> tifffile.TiffFile:
    import tifffile

    try:
        return tifffile.TiffFile(path)
    except (OSError, ValueError) as error:
        raise RecordError(
            f"{path}: cannot be read: {error}", "livedenoise dataset FOLDER --verify lists damage"
        ) from error


def _page(tiff: tifffile.TiffFile, series: int) -> Image:
    try:
        image: Image = tiff.pages[series].asarray()
    except Exception as error:
        # A damaged file can fail in any way inside the TIFF reader.
        raise RecordError(
            f"{tiff.filehandle.path}: image {series} cannot be read: {error}",
            "livedenoise dataset FOLDER --verify lists damage",
        ) from error
    return image
