"""What is in a folder before a writer begins: nothing, or a data set and what a kill left in it.

Knows: which fields are settled, which files have a line, what must be equal to go on. Must not
know: how fields are taken or written.
"""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import msgspec

from livedenoise.collect.dataset_layout import (
    DARK_FOLDER,
    FIELDS_FOLDER,
    PLAN_NAME,
    README_NAME,
    REJECTED_FOLDER,
    REPORT_FOLDER,
    is_ours,
)
from livedenoise.collect.dataset_lock import LOCK_NAME
from livedenoise.collect.manifest import scan
from livedenoise.collect.program import Program
from livedenoise.collect.records import MANIFEST_NAME, DatasetHeader, FieldRecord
from livedenoise.core.errors import ConfigError, RecordError

COMPARED = (
    "plan_hash",
    "n_fields",
    "camera",
    "simulated",
    "shape",
    "roi",
    "binning",
    "dtype",
    "bit_depth",
    "pixel_size_um",
    "calibration",
    "program_hash",
)
"""What two halves of a data set must share, header keys in the order they are named."""

_HASH_DIGITS = 16

_IMAGE_FOLDERS = (FIELDS_FOLDER, REJECTED_FOLDER)
_MADE_FIRST = {LOCK_NAME, README_NAME, PLAN_NAME, DARK_FOLDER, REPORT_FOLDER, *_IMAGE_FOLDERS}


class Found(msgspec.Struct, kw_only=True):
    """What ``resume`` found and mended.

    Attributes
    ----------
    settled : set of int
        Fields that are done or failed: not taken again.
    attempts : dict
        Attempts already made at fields that are not settled.
    torn_bytes : int
        Of a torn last line that was cut off; 0 for none.
    removed : list of str
        Files without a line, removed: what the field in progress had written.
    damaged : list of str
        Files with a line that are missing or have another size, in words. Left as they are.
    end : int or None
        Byte of the manifest after the last whole line; None for a new data set.
    """

    settled: set[int] = set()
    attempts: dict[int, int] = {}
    torn_bytes: int = 0
    removed: list[str] = []
    damaged: list[str] = []
    end: int | None = None

    def left(self, n_fields: int) -> dict[int, int]:
        """Return the fields still to be taken, in order, with the attempts made before."""
        numbers = (field for field in range(n_fields) if field not in self.settled)
        return {field: self.attempts.get(field, 0) for field in numbers}

    def notes(self) -> list[str]:
        """Return what people should know of it, one line each."""
        lines = []
        if self.torn_bytes:
            lines.append(f"a torn last line of the manifest ({self.torn_bytes} bytes) was cut off")
        if self.removed:
            names = ", ".join(self.removed)
            lines.append(f"removed what the field in progress had left: {names}")
        return lines + self.damaged


def require_new(folder: Path) -> None:
    """Refuse a folder that holds anything but what a killed ``create`` leaves.

    Raises
    ------
    ConfigError
        If so.
    """
    if not folder.exists():
        return
    if (folder / MANIFEST_NAME).exists():
        raise ConfigError(
            f"{folder}: holds a data set already", "go on with --resume, or choose another --out"
        )
    try:
        foreign = [path.name for path in folder.iterdir() if not _made_first(path)]
    except OSError as error:
        raise ConfigError(f"{folder}: cannot be used: {error}") from error
    if foreign:
        raise ConfigError(
            f"{folder}: is not empty: {min(foreign)}", "choose another folder with --out"
        )


def program_hash(program: Program) -> str:
    """Return 16 hexadecimal digits of SHA-256 over what a plan comes to at one microscope.

    Places, exposures, dark frames, splits and limits: with another pixel size or another region,
    one and the same plan lays its fields elsewhere.
    """
    meaning = (
        program.fields,
        program.sequences,
        program.darks,
        program.splits,
        program.limits.model_dump(mode="json"),
    )
    return sha256(msgspec.json.encode(meaning, order="sorted")).hexdigest()[:_HASH_DIGITS]


def require_same(folder: Path, stored: DatasetHeader, header: DatasetHeader) -> None:
    """Refuse to go on with another plan, program, camera, region, pixel size or calibration.

    A data set without a ``program_hash`` is of an earlier version: that key is not compared then.

    Raises
    ------
    ConfigError
        Naming every key that differs, with both values.
    """
    keys = [key for key in COMPARED if key != "program_hash" or stored.program_hash]
    differing = [key for key in keys if getattr(stored, key) != getattr(header, key)]
    if differing:
        lines = (
            f"{key} is {getattr(stored, key)!r} in the data set, {getattr(header, key)!r} now"
            for key in differing
        )
        raise ConfigError(
            f"{folder / MANIFEST_NAME}: cannot go on: " + "; ".join(lines),
            "go on with the same plan and settings, or begin another data set with another --out",
        )


def take_stock(folder: Path, header: DatasetHeader) -> Found:
    """Read the manifest, look for its files, and remove files that have no line.

    Sizes are compared, hashes are not: that would read the whole data set.

    Raises
    ------
    ConfigError
        If the manifest is damaged before its last line.
    RecordError
        If a file that has no line cannot be removed.
    """
    found = Found()
    known: set[str] = set(header.darks.values())
    damaged = dict(wrong_sizes(folder, header.sizes))
    size = 0
    for line in scan(folder):
        size = line.end
        if line.record is None:
            # Not the end of the loop: a line after it means damage, and that is an error.
            continue
        found.end = line.end
        known |= set(line.record.sizes)
        damaged |= wrong_sizes(folder, line.record.sizes)
        _settle(found, line.record)
    if found.end is None:
        with (folder / MANIFEST_NAME).open("rb") as file:
            found.end = len(file.readline())
    found.torn_bytes = max(0, size - found.end)
    found.damaged = list(damaged.values())
    found.removed = _remove_unknown(folder, known)
    return found


def wrong_sizes(folder: Path, sizes: dict[str, int]) -> dict[str, str]:
    """Return file to problem for those that are missing or have another size."""
    problems = {}
    for name, size in sizes.items():
        path = folder / name
        try:
            actual = path.stat().st_size
        except OSError as error:
            problems[name] = f"{path}: is missing: {error.strerror}"
            continue
        if actual != size:
            problems[name] = f"{path}: has {actual} bytes, {size} were written"
    return problems


def _settle(found: Found, record: FieldRecord) -> None:
    if record.status == "retry":
        found.attempts[record.field] = record.attempt + 1
        return
    found.attempts.pop(record.field, None)
    found.settled.add(record.field)


def _remove_unknown(folder: Path, known: set[str]) -> list[str]:
    removed = []
    for name in (*_IMAGE_FOLDERS, DARK_FOLDER):
        place = folder / name
        try:
            place.mkdir(exist_ok=True)
            for path in sorted(place.iterdir()):
                relative = f"{name}/{path.name}"
                if relative not in known and is_ours(path.name):
                    path.unlink()
                    removed.append(relative)
        except OSError as error:
            raise RecordError(f"{place}: cannot be tidied up: {error}") from error
    return removed


def _made_first(path: Path) -> bool:
    if path.name in _IMAGE_FOLDERS:
        return path.is_dir() and not any(path.iterdir())
    is_temporary = path.name.startswith(".") and path.name.endswith(".tmp")
    return path.name in _MADE_FIRST or is_temporary
