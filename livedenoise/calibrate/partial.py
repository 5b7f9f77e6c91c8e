"""What is finished of a calibration under way: one file for each series, so that it can go on.

Knows: the folder ``OUT.partial`` beside the calibration that is being made. Must not know: cameras.

A file is there whole or not at all: it is written under another name and renamed. Nothing in it is
unpickled.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import msgspec
import numpy as np

from livedenoise.calibrate.data import Series
from livedenoise.core.errors import CalibrationError
from livedenoise.imaging.ptc_moments import PixelSummary

SETTINGS_NAME = "settings.json"
_DAMAGE = (OSError, ValueError, KeyError, TypeError, EOFError, AttributeError, BadZipFile)


def partial_folder(out: Path) -> Path:
    """Return the folder of what is finished."""
    return out.with_name(f"{out.name}.partial")


class PartialStore:
    """The finished series of one calibration.

    Parameters
    ----------
    folder : Path
        ``partial_folder(out)``.
    identity : dict
        Everything that must be the same to go on: settings and camera, as plain data.
    resume : bool
        Go on with what is there.

    Raises
    ------
    CalibrationError
        If something is there and ``resume`` was not asked for, nothing is there and it was, or
        what is there was begun otherwise: the first difference is named.
    """

    def __init__(self, folder: Path, identity: dict[str, Any], *, resume: bool) -> None:
        self.folder = folder
        self._identity = json.loads(json.dumps(identity))
        if resume:
            self._require_same()
        else:
            self._begin()

    def names(self) -> list[str]:
        """Return the names of the finished series."""
        return sorted(path.stem for path in self.folder.glob("*.npz"))

    def save(self, series: Series) -> None:
        """Store a finished series under its name.

        Raises
        ------
        CalibrationError
            If it cannot be written.
        """
        path = self.folder / f"{series.name}.npz"
        arrays, facts = _taken_apart(series)
        try:
            with path.with_suffix(".tmp").open("wb") as file:
                np.savez(file, **arrays, facts=np.frombuffer(facts, np.uint8))
            path.with_suffix(".tmp").replace(path)
        except OSError as error:
            raise CalibrationError(f"{path}: cannot be written: {error}") from error

    def load(self, name: str) -> Series:
        """Read a finished series.

        Raises
        ------
        CalibrationError
            If its file is damaged.
        """
        path = self.folder / f"{name}.npz"
        try:
            # Opened here: NumPy forgets to close a damaged archive.
            with path.open("rb") as file, np.load(file, allow_pickle=False) as content:
                arrays = {key: content[key] for key in content.files}
            return _put_together(arrays)
        except _DAMAGE as error:
            raise CalibrationError(
                f"{path}: cannot be read: {error}", f"delete {path}: it is taken again"
            ) from error

    def discard(self, name: str) -> None:
        """Delete a series that turned out to be of no use."""
        (self.folder / f"{name}.npz").unlink(missing_ok=True)

    def keep(self, name: str, facts: dict[str, Any]) -> None:
        """Store facts (what the search for the exposure found) as JSON."""
        path = self.folder / f"{name}.json"
        try:
            path.with_suffix(".tmp").write_text(json.dumps(facts, indent=1), encoding="utf-8")
            path.with_suffix(".tmp").replace(path)
        except OSError as error:
            raise CalibrationError(f"{path}: cannot be written: {error}") from error

    def kept(self, name: str) -> dict[str, Any] | None:
        """Return stored facts, None when there are none yet."""
        path = self.folder / f"{name}.json"
        return _read_json(path) if path.exists() else None

    def remove(self) -> None:
        """Delete the folder: the calibration is whole."""
        try:
            shutil.rmtree(self.folder)
        except OSError as error:
            raise CalibrationError(
                f"{self.folder}: cannot be deleted: {error}", "the calibration is whole; delete it"
            ) from error

    def remove_if_empty(self) -> None:
        """Delete the folder when no series is finished: there is nothing to go on with."""
        if self.folder.is_dir() and not self.names():
            self.remove()

    def _begin(self) -> None:
        if self.names():
            raise CalibrationError(
                f"{self.folder}: a calibration that was not finished is here",
                f"go on with --resume, or delete {self.folder}",
            )
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            for stale in self.folder.glob("*.json"):
                stale.unlink()
        except OSError as error:
            raise CalibrationError(f"{self.folder}: cannot be made: {error}") from error
        self.keep(SETTINGS_NAME.removesuffix(".json"), self._identity)

    def _require_same(self) -> None:
        path = self.folder / SETTINGS_NAME
        if not path.exists():
            raise CalibrationError(
                f"{self.folder}: nothing to resume: {SETTINGS_NAME} is not there",
                "start without --resume",
            )
        begun = _read_json(path)
        for key in sorted(self._identity.keys() | begun.keys()):
            was, now = begun.get(key), self._identity.get(key)
            if was != now:
                raise CalibrationError(
                    f"{self.folder}: begun with {key} {was!r}, now it is {now!r}",
                    f"give the same options and camera, or delete {self.folder}",
                )


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CalibrationError(f"{path}: cannot be read: {error}") from error
    if not isinstance(content, dict):
        raise CalibrationError(f"{path}: is not an object of JSON")
    return content


def _taken_apart(series: Series) -> tuple[dict[str, Any], bytes]:
    """Return the arrays of a series' summary, and everything else as JSON."""
    summary = msgspec.structs.asdict(series.summary)
    arrays = {key: value for key, value in summary.items() if isinstance(value, np.ndarray)}
    other = {key: value for key, value in summary.items() if key not in arrays}
    own = {key: value for key, value in msgspec.structs.asdict(series).items() if key != "summary"}
    return arrays, json.dumps({"summary": other, "series": own}).encode()


def _put_together(arrays: dict[str, Any]) -> Series:
    facts = json.loads(arrays.pop("facts").tobytes())
    other = {key: _frozen(value) for key, value in facts["summary"].items()}
    return Series(**facts["series"], summary=PixelSummary(**arrays, **other))


def _frozen(value: Any) -> Any:  # noqa: ANN401  (JSON)
    return tuple(_frozen(v) for v in value) if isinstance(value, list) else value
