"""Pairs as folders of equal file names: ``train/low/NAME.tif`` and ``train/GT/NAME.tif``.

Knows: what CARE and CAREamics users have, how high is laid onto low, how a folder appears whole.
Must not know: how pairs are taken or judged, terminals.

Low is never interpolated. High is moved onto it where the shift measured is larger than twice its
standard error, and both are cropped to what the moved one covers.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast, get_args

import msgspec
import numpy as np

from livedenoise.collect.dataset_reader import Dataset, DatasetPair, open_dataset
from livedenoise.collect.dataset_summary import summarise_dataset
from livedenoise.collect.export_dark import Darks
from livedenoise.collect.export_table import PairsTable
from livedenoise.collect.field_file import SOFTWARE
from livedenoise.collect.records import Split
from livedenoise.collect.shots import Image
from livedenoise.core.errors import ConfigError, RecordError
from livedenoise.core.progress import OnProgress, Progress, ignore_progress

Dtype = Literal["same", "float32"]
Scale = Literal["none", "match"]
SplitChoice = Literal["train", "val", "test", "all"]

LOW_FOLDER, HIGH_FOLDER, TABLE_NAME = "low", "GT", "pairs.csv"
SHIFT_SIGNIFICANCE = 2.0
"""Standard errors from which on a shift is corrected: interpolation smooths, so not for less."""

LEAST_PX = 16
"""A pair whose common region is smaller is an error: nobody can train on it."""


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """How pairs are exported.

    Attributes
    ----------
    split : str
        ``train``, ``val``, ``test`` or ``all``.
    aligned : bool
        Move high onto low; else both as taken.
    dtype : str
        ``same`` as stored (a moved single frame is rounded to counts again), or ``float32``.
    scale : str
        ``match`` brings high to the intensity of low by the ratio measured, each above the dark
        image of its exposure (float32 only).
    """

    split: SplitChoice = "all"
    aligned: bool = True
    dtype: Dtype = "same"
    scale: Scale = "none"


class Exported(msgspec.Struct, frozen=True, kw_only=True):
    """What was written: pairs by split, how many were moved, bytes."""

    folder: str
    pairs: dict[str, int]
    moved: int
    n_bytes: int


class Laid(NamedTuple):
    """A pair as it is exported; ``region`` (Y, X) of the images as taken, ``scale`` of high."""

    low: Image
    high: Image
    region: tuple[slice, slice]
    moved: bool
    scale: float


def export_pairs(
    dataset: Path,
    out: Path,
    options: Options | None = None,
    on_progress: OnProgress = ignore_progress,
) -> Exported:
    """Write the accepted pairs of a data set as folders of TIFF and a table.

    Every file is compared with its hash before it is read. The folder appears under its name when
    all of it is on disk.

    Parameters
    ----------
    dataset : Path
        The data set.
    out : Path
        Folder to make; it must not exist.
    options : Options, optional
        Default: all pairs, aligned, as stored.

    Raises
    ------
    ConfigError
        If there is no data set, no pair in the split, ``out`` exists, or the options do not fit.
    RecordError
        If a file is damaged or nothing more can be written; nothing is left of the export then.
    """
    options = options or Options()
    data = open_dataset(dataset)
    total = _require_possible(data, out, options)
    temporary = out.with_name(f".{out.name}.{os.getpid()}.partial")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        temporary.mkdir()
        try:
            done = _write_all(data, temporary, options, total, on_progress)
            temporary.rename(out)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
    except OSError as error:
        raise RecordError(f"{out}: cannot be written: {error}") from error
    return msgspec.structs.replace(done, folder=str(out))


def lay(pair: DatasetPair, darks: Darks, options: Options) -> Laid:
    """Return a pair as it is exported.

    To match, light alone is scaled: what each exposure has without light is taken off high, and
    that of low is put under it.

    Raises
    ------
    RecordError
        If the common region of low and high is too small.
    """
    from livedenoise.imaging.registration import align_high

    scale = _scale(pair) if options.scale == "match" else 1.0
    high: Image = pair.high if scale == 1.0 else _light_of_high(pair, darks)
    rows, columns = pair.low.shape
    region = (slice(0, rows), slice(0, columns))
    moved = options.aligned and _has_shift(pair)
    if moved:
        high, region = align_high(high, pair.shift_px)
        _require_enough(pair, region)
    low, high = pair.low[region], high[region]
    if scale != 1.0:
        dark = darks.at(pair.low_shot.shot.exposure_us)
        high = high * np.float32(scale) + (dark[region] if dark.ndim else dark)
    if options.dtype == "float32":
        return Laid(low.astype(np.float32), high.astype(np.float32), region, moved, scale)
    return Laid(low, _as_counts(high, pair.high.dtype), region, moved, scale)


def _light_of_high(pair: DatasetPair, darks: Darks) -> Image:
    """Return high above its own dark image, before it is moved: that stays with the camera."""
    dark = darks.at(pair.high_shot.shot.exposure_us)
    return np.asarray(pair.high.astype(np.float32) - dark, np.float32)


def _has_shift(pair: DatasetPair) -> bool:
    least = SHIFT_SIGNIFICANCE * pair.shift_error_px
    return any(abs(shift) > least for shift in pair.shift_px)


def _scale(pair: DatasetPair) -> float:
    """Return low over high: as measured, or as commanded where it was not measured."""
    verdict = pair.verdict
    return verdict.ratio if verdict.ratio > 0 else verdict.expected_ratio


def _as_counts(image: Image, dtype: np.dtype[Any]) -> Image:
    if image.dtype == dtype:
        return image
    limits = np.iinfo(dtype)
    return cast("Image", np.clip(np.rint(image), limits.min, limits.max).astype(dtype))


def _require_enough(pair: DatasetPair, region: tuple[slice, slice]) -> None:
    rows, columns = (part.stop - part.start for part in region)
    least = min(LEAST_PX, *pair.low.shape)
    if min(rows, columns) < least:
        raise RecordError(
            f"{pair.name}: a shift of {pair.shift_px} px leaves {rows} x {columns} px in common",
            "export --as-taken, or collect with a smaller max_shift_px",
        )


def _require_possible(data: Dataset, out: Path, options: Options) -> int:
    """Return the number of pairs to come."""
    if options.scale == "match" and options.dtype == "same":
        raise ConfigError(
            "--scale match with --dtype same: scaled counts, rounded, would lose grey values",
            "use --dtype float32",
        )
    if out.exists():
        raise ConfigError(f"{out}: exists already", "choose another folder with --out")
    _, summary = summarise_dataset(data.folder)
    counts = {split: sum(levels.values()) for split, levels in summary.pairs.items()}
    total = sum(counts.get(split, 0) for split in _splits(options))
    if not total:
        found = ", ".join(f"{n} in {split}" for split, n in counts.items()) or "none at all"
        raise ConfigError(
            f"{data.folder}: no accepted pair in {options.split} ({found})",
            "choose another --split, or see the rejected pairs: livedenoise dataset FOLDER",
        )
    return total


def _splits(options: Options) -> tuple[Split, ...]:
    return get_args(Split) if options.split == "all" else (options.split,)


def _chosen(data: Dataset, options: Options) -> Iterator[DatasetPair]:
    split = None if options.split == "all" else options.split
    return data.pairs(split, verify=True)


def _write_all(
    data: Dataset, folder: Path, options: Options, total: int, on_progress: OnProgress
) -> Exported:
    pairs: dict[str, int] = {}
    moved = n_bytes = 0
    darks = Darks.read(data.folder, data.header)
    with PairsTable(folder / TABLE_NAME, data.header) as table:
        for done, pair in enumerate(_chosen(data, options), start=1):
            laid = lay(pair, darks, options)
            name = f"{pair.name}.tif"
            n_bytes += _write_image(folder / pair.split / LOW_FOLDER / name, laid.low)
            n_bytes += _write_image(folder / pair.split / HIGH_FOLDER / name, laid.high)
            table.add(name, pair, laid.region, moved=laid.moved, scale=laid.scale)
            pairs[pair.split] = pairs.get(pair.split, 0) + 1
            moved += laid.moved
            on_progress(Progress(task="export", done=done, total=max(done, total), unit="pairs"))
    return Exported(folder=str(folder), pairs=pairs, moved=moved, n_bytes=n_bytes)


def _write_image(path: Path, image: Image) -> int:
    import tifffile

    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("xb") as file:
        tifffile.imwrite(
            file, np.ascontiguousarray(image), photometric="minisblack", software=SOFTWARE
        )
        file.flush()
    return int(image.nbytes)
