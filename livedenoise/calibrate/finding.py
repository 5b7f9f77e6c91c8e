"""Which files of a folder belong together, and which of them are dark: by folders and names.

Knows: how people name their calibration files. Must not know: what is in the files, measuring.

- ``dark`` in the name of a file or folder (but not ``darkfield``, ``dark_room``,
  ``dark-subtracted``, ``dark-corrected``), or ``bias`` or ``offset`` as a word of its own, makes
  the file, or everything in the folder, dark.
- ``light``, ``flat``, ``bright`` at the beginning of a word (but not ``lightsheet``,
  ``brightfield``), and the word ``lit``, say lit: ``bias`` and ``offset`` beside them say nothing
  (``light_offset_20um.tif``). A file with ``dark`` in its name is dark all the same. A folder that
  says both (``darks_and_lights``) says nothing, and something in it must be named dark.
- The name of the folder that is given (of a file: of the folder it lies in) counts for what is not
  told by names inside it; where only some are, nothing is guessed: it is an error.
- A stack is a series; single images of one folder are one series, told apart by an exposure in
  their names (``light_10ms_003.tif``).
- ``10ms``, ``250us``, ``0.5s`` in a name is the exposure, where the metadata has none.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from livedenoise.core.errors import ConfigError

SUFFIXES = (".tif", ".tiff", ".png")
_MARKS = ("run.json", "NDTiff.index")
_DARK = re.compile(r"dark(?![ _-]?(?:field|room|sub|corr))", re.IGNORECASE)
_BIAS = re.compile(r"(?<![a-z])(?:bias(?:es)?|offsets?)(?![a-z])", re.IGNORECASE)
_LIT = re.compile(
    r"(?<![a-z])(?:light(?![ _-]?sheet)|lit(?![a-z])|flat|bright(?![ _-]?field))", re.IGNORECASE
)
_WHICH_HINT = "say which is which: --dark PATH... and --lit PATH..."
_NOT_OURS = (".report", ".partial")
"""Endings of folders that this program leaves beside a calibration."""
_EXPOSURE = re.compile(
    r"(?<![a-z0-9.])(\d+(?:[.p]\d+)?)[ _]?(us|µs|ms|s|sec)(?![a-z0-9])", re.IGNORECASE
)
_UNIT_US = {"us": 1.0, "µs": 1.0, "ms": 1e3, "s": 1e6, "sec": 1e6}
_DEPTH = 4


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """Series among files and folders, and folders that were left out with the reason."""

    groups: tuple[Group, ...]
    left_out: tuple[str, ...]


class Group(msgspec.Struct, frozen=True, kw_only=True):
    """Recordings of one series, or of one series for each exposure their metadata names.

    ``exposure_us`` is what the name says, 0 where it says none.
    """

    name: str
    is_dark: bool
    paths: tuple[Path, ...]
    exposure_us: int = 0

    def told(self) -> str:
        """Return which files these are, in words."""
        if len(self.paths) == 1:
            return str(self.paths[0])
        return f"{self.paths[0]} ... {self.paths[-1].name} ({len(self.paths)} files)"


def find_groups(
    inputs: Sequence[Path],
    *,
    darks: Sequence[Path] = (),
    lights: Sequence[Path] = (),
    is_single: Callable[[Path], bool],
) -> Found:
    """Return the series among files and folders.

    Calibration folders, and what this program leaves beside them, are not looked into.

    Parameters
    ----------
    inputs : sequence of Path
        Told apart by their names.
    darks, lights : sequence of Path
        Dark, or lit, whatever their names say.
    is_single : callable
        Whether a recording holds one frame only.

    Raises
    ------
    ConfigError
        If something does not exist or holds no image.
    """
    groups: list[Group] = []
    left_out: list[str] = []
    told = _files_told(inputs)
    for path in inputs:
        groups += _groups_of(path, told.get(path), is_single, left_out)
    for paths, is_dark in ((darks, True), (lights, False)):
        for path in paths:
            groups += _groups_of(path, is_dark, is_single, left_out)
    return Found(groups=tuple(groups), left_out=tuple(left_out))


def named_dark(relative: Path) -> bool:
    """Return whether a name, or a folder it lies in, says dark."""
    return _says(relative) is True


def _says(relative: Path) -> bool | None:
    """Return True where a path says dark, False where it says lit, None where it says nothing."""
    file, folders = relative.name, relative.parts[:-1]
    said = [_folder_says(part) for part in folders]
    is_lit = _LIT.search(file) is not None
    if _DARK.search(file) or (_BIAS.search(file) and not is_lit) or True in said:
        return True
    return False if is_lit or False in said else None


def _folder_says(name: str) -> bool | None:
    is_lit = _LIT.search(name) is not None
    if _DARK.search(name):
        return None if is_lit else True
    if is_lit:
        return False
    return True if _BIAS.search(name) else None


def _files_told(inputs: Sequence[Path]) -> dict[Path, bool]:
    """Return which of the files given are dark; those of one folder are judged together."""
    by_folder: dict[Path, list[Path]] = {}
    for path in inputs:
        if path.is_file():
            by_folder.setdefault(path.parent, []).append(path)
    return {
        path: dark
        for folder, files in by_folder.items()
        for path, dark in zip(
            files, _are_dark(folder, [Path(file.name) for file in files]), strict=True
        )
    }


def _says_both(folder: str) -> bool:
    return _LIT.search(folder) is not None and _DARK.search(folder) is not None


def _are_dark(folder: Path, relatives: Sequence[Path]) -> list[bool]:
    """Return which recordings are dark: by their names, else by that of the folder given.

    Raises
    ------
    ConfigError
        If a folder says dark, and only some names in it say anything; or it says dark and lit, and
        no name in it says dark.
    """
    said = [_says(relative) for relative in relatives]
    given = folder.resolve().name
    _require_told(given, folder, relatives, said)
    if _folder_says(given) is not True or None not in said:
        return [one is True for one in said]
    other = [i for i, one in enumerate(said) if one is not None]
    if other:
        raise ConfigError(
            f"{folder}: the folder's name says dark, and so it may be with "
            f"{relatives[said.index(None)]}; but {relatives[other[0]]} says what it is itself",
            _WHICH_HINT,
        )
    return [True] * len(said)


def _require_told(
    given: str, folder: Path, relatives: Sequence[Path], said: Sequence[bool | None]
) -> None:
    """Refuse recordings that say nothing, in a folder that says both and holds nothing dark."""
    placed = [(given, *relative.parts[:-1]) for relative in relatives]
    holding_dark = {
        folders[:depth]
        for folders, one in zip(placed, said, strict=True)
        if one is True
        for depth in range(1, len(folders) + 1)
    }
    for folders, one, relative in zip(placed, said, relatives, strict=True):
        for depth, name in enumerate(folders, start=1):
            if one is None and _says_both(name) and folders[:depth] not in holding_dark:
                raise ConfigError(
                    f"{folder}: {relative} lies in {name}, whose name says dark and lit, and no "
                    "name in there says dark",
                    _WHICH_HINT,
                )


def named_exposure_us(relative: Path) -> int:
    """Return the exposure a name says, the file's before its folders'; 0 for none."""
    for part in reversed(relative.parts):
        found = _EXPOSURE.findall(_bare(part))
        if found:
            number, unit = found[-1]
            return round(float(number.replace("p", ".")) * _UNIT_US[unit.lower()])
    return 0


def _bare(part: str) -> str:
    for suffix in SUFFIXES:
        part = part.removesuffix(suffix)
    return part.removesuffix(".ome").replace("_", " ").replace("-", " ")


def _groups_of(
    root: Path, is_dark: bool | None, is_single: Callable[[Path], bool], left_out: list[str]
) -> list[Group]:
    if not root.exists():
        raise ConfigError(f"{root}: no such file or folder")
    if (root / "manifest.jsonl").is_file():
        raise ConfigError(
            f"{root}: a data set of pairs, not a series of repeats",
            "calibrate from its dark frames and stacks of repeats: --dark FILE --lit FILE",
        )
    reason = _not_ours(root)
    if reason:
        raise ConfigError(f"{root}: {reason}", "give the frames that it was made from")
    found = _recordings(root, _DEPTH, left_out)
    if not found:
        raise ConfigError(f"{root}: no TIFF, PNG, NDTiff data set or run folder in it")
    singles: dict[tuple[Path, bool, int], list[Path]] = {}
    groups = []
    relatives = [path.relative_to(root) if path != root else Path(root.name) for path in found]
    are_dark = _are_dark(root, relatives) if is_dark is None else [is_dark] * len(found)
    for path, relative, dark in zip(found, relatives, are_dark, strict=True):
        exposure_us = named_exposure_us(relative)
        if path.is_file() and path != root and is_single(path):
            singles.setdefault((path.parent, dark, exposure_us), []).append(path)
            continue
        groups.append(
            Group(name=str(relative), is_dark=dark, paths=(path,), exposure_us=exposure_us)
        )
    for (folder, dark, exposure_us), paths in singles.items():
        name = str(folder.relative_to(root)) if folder != root else root.name
        groups.append(Group(name=name, is_dark=dark, paths=tuple(paths), exposure_us=exposure_us))
    return groups


def _not_ours(folder: Path) -> str:
    """Return why a folder holds no frames of a camera; empty where it may."""
    if not folder.is_dir():
        return ""
    if (folder / "camera.toml").is_file():
        return "a calibration (camera.toml), not frames"
    if folder.suffix in _NOT_OURS:
        return f"left by a calibration ({folder.suffix}), not frames"
    return ""


def _recordings(path: Path, depth: int, left_out: list[str]) -> list[Path]:
    """Return recordings below a path in the order of their names, numbers by value."""
    if path.is_file() or any((path / mark).is_file() for mark in _MARKS):
        return [path]
    found = []
    for child in sorted(path.iterdir(), key=_natural):
        if child.name.startswith("."):
            continue
        reason = _not_ours(child)
        if reason:
            left_out.append(f"{child}: left out: {reason}")
        elif child.is_dir() and depth:
            found += _recordings(child, depth - 1, left_out)
        elif child.suffix.lower() in SUFFIXES:
            found.append(child)
    return found


def _natural(path: Path) -> list[tuple[int, str]]:
    parts = re.split(r"(\d+)", path.name)
    return [(int(part), "") if part.isdigit() else (0, part) for part in parts]
