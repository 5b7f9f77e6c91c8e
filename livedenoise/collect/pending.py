"""Fields that were exposed and are not yet judged: on disk before the next field is exposed.

Knows: how a ``FieldTaken`` becomes a file and comes back. Must not know: checks, manifest, stages.

Checking a field takes longer than moving on to the next. It is done while the next one is exposed;
what a kill would cost then is already here, and ``--resume`` judges it before anything else. Each
file is complete or not there: written under another name, fsynced, renamed.
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, cast

import msgspec
import numpy as np

from livedenoise.collect.shots import Shot, Taken
from livedenoise.core.errors import RecordError
from livedenoise.record.raw_file import OpenFile, RawFile, open_new, sync_folder, write_all

FOLDER = "pending"
_FACTS = "facts"


class FieldTaken(msgspec.Struct, frozen=True, kw_only=True):
    """Everything exposed at one field in one attempt: the shots of each of its sites."""

    field: int
    attempt: int
    taken: tuple[tuple[Taken, ...], ...]
    dose_us: float
    elapsed_s: float
    overhead_s: float


class _ShotFacts(msgspec.Struct, kw_only=True):
    """A ``Taken`` without its pixels; arrays by their names in the file, "" for none."""

    shot: Shot
    image: str
    first: str = ""
    last: str = ""
    frames: tuple[str, ...] = ()
    frame_means_adu: tuple[float, ...] = ()
    saturated_fraction: float = 0.0
    zero_fraction: float = 0.0
    exposure_us: int = 0
    started_ns: int = 0
    ended_ns: int = 0
    z_um: float | None = None


class _FieldFacts(msgspec.Struct, kw_only=True):
    field: int
    attempt: int
    sites: list[list[_ShotFacts]]
    dose_us: float
    elapsed_s: float
    overhead_s: float


class PendingFields:
    """The fields of one data set that wait to be judged.

    Parameters
    ----------
    folder : Path
        The data set.
    open_file : callable
        Opens a new file; tests put fault files here.
    """

    def __init__(self, folder: Path, open_file: OpenFile = open_new) -> None:
        self._folder = folder / FOLDER
        self._open_file = open_file

    def keep(self, taken: FieldTaken) -> None:
        """Write a field; on return it survives a power loss. No copy of its pixels is made.

        Raises
        ------
        RecordError
            If the disk takes no more.
        """
        arrays: dict[str, Any] = {}
        sites = [[_pack(one, arrays) for one in site] for site in taken.taken]
        facts = _FieldFacts(
            field=taken.field,
            attempt=taken.attempt,
            sites=sites,
            dose_us=taken.dose_us,
            elapsed_s=taken.elapsed_s,
            overhead_s=taken.overhead_s,
        )
        arrays[_FACTS] = np.frombuffer(msgspec.json.encode(facts), np.uint8)
        path = self.path_of(taken.field, taken.attempt)
        try:
            self._folder.mkdir(exist_ok=True)
            _write(path, arrays, self._open_file)
        except OSError as error:
            raise RecordError(
                f"{path}: cannot be written: {error}", "make room, then go on with --resume"
            ) from error

    def drop(self, field: int, attempt: int) -> None:
        """Remove a field that is in the manifest by now."""
        self.path_of(field, attempt).unlink(missing_ok=True)

    def left(self, is_recorded: Callable[[int, int], bool]) -> Iterator[FieldTaken]:
        """Yield the fields a kill left unjudged, one in memory at a time; remove what is recorded.

        Parameters
        ----------
        is_recorded : callable
            Whether an attempt at a field (both numbers) is in the manifest.

        Raises
        ------
        RecordError
            If a file is damaged.
        """
        if not self._folder.is_dir():
            return
        for path in sorted(self._folder.iterdir()):
            if path.suffix != ".npz":
                path.unlink()
                continue
            taken = _read(path)
            if is_recorded(taken.field, taken.attempt):
                path.unlink()
            else:
                yield taken

    def close(self) -> None:
        """Remove the folder when nothing waits in it."""
        if self._folder.is_dir() and not any(self._folder.iterdir()):
            self._folder.rmdir()

    def path_of(self, field: int, attempt: int) -> Path:
        """Return where an attempt at a field waits."""
        return self._folder / f"field_{field:04d}_attempt{attempt}.npz"


class _Stream:
    """A file as ``zipfile`` needs it to write from beginning to end: every byte, or an error."""

    def __init__(self, file: RawFile) -> None:
        self._file = file

    def write(self, data: Any) -> int:  # noqa: ANN401 - any buffer
        view = memoryview(data).cast("B")
        write_all(self._file, view)
        return view.nbytes

    def flush(self) -> None:
        """Nothing is held back."""


def _write(path: Path, arrays: dict[str, Any], open_file: OpenFile) -> None:
    """Write the arrays one after the other under a temporary name; rename when on disk."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.unlink(missing_ok=True)
    file = open_file(temporary)
    try:
        try:
            # As ``np.savez`` does, which does not take a file it cannot seek in.
            with zipfile.ZipFile(cast("IO[bytes]", _Stream(file)), "w") as archive:
                for name, array in arrays.items():
                    with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                        np.lib.format.write_array(member, np.asarray(array), allow_pickle=False)
            os.fsync(file.fileno())
        finally:
            file.close()
        temporary.replace(path)
        sync_folder(path.parent)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def _pack(taken: Taken, arrays: dict[str, Any]) -> _ShotFacts:
    def name(image: Any) -> str:  # noqa: ANN401 - any array
        if image is None:
            return ""
        found = f"a{len(arrays)}"
        arrays[found] = image
        return found

    return _ShotFacts(
        shot=taken.shot,
        image=name(taken.image),
        first=name(taken.first),
        last=name(taken.last),
        frames=tuple(name(frame) for frame in taken.frames),
        frame_means_adu=taken.frame_means_adu,
        saturated_fraction=taken.saturated_fraction,
        zero_fraction=taken.zero_fraction,
        exposure_us=taken.exposure_us,
        started_ns=taken.started_ns,
        ended_ns=taken.ended_ns,
        z_um=taken.z_um,
    )


def _read(path: Path) -> FieldTaken:
    try:
        with np.load(path, allow_pickle=False) as stored:
            facts = msgspec.json.decode(stored[_FACTS].tobytes(), type=_FieldFacts)
            sites = tuple(
                tuple(_unpack(one, stored.__getitem__) for one in site) for site in facts.sites
            )
    except Exception as error:
        # A damaged file can fail in any way inside the zip reader.
        raise RecordError(
            f"{path}: a field that waits to be judged cannot be read: {error}",
            "remove the file: the field is then taken again",
        ) from error
    return FieldTaken(
        field=facts.field,
        attempt=facts.attempt,
        taken=sites,
        dose_us=facts.dose_us,
        elapsed_s=facts.elapsed_s,
        overhead_s=facts.overhead_s,
    )


def _unpack(facts: _ShotFacts, read: Callable[[str], Any]) -> Taken:
    return Taken(
        shot=facts.shot,
        image=read(facts.image),
        first=read(facts.first) if facts.first else None,
        last=read(facts.last) if facts.last else None,
        frames=tuple(read(name) for name in facts.frames),
        frame_means_adu=facts.frame_means_adu,
        saturated_fraction=facts.saturated_fraction,
        zero_fraction=facts.zero_fraction,
        exposure_us=facts.exposure_us,
        started_ns=facts.started_ns,
        ended_ns=facts.ended_ns,
        z_um=facts.z_um,
    )
