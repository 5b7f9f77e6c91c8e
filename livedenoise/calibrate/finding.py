"""Which files of a folder belong together, and which of them are dark: by folders and names.

Knows: how people name their calibration files. Must not know: what is in the files, measuring.

- A part of the name that begins with ``dark``, ``bias`` or ``offset`` makes a file, or everything
  in a folder, dark.
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
_DARK = re.compile(r"(?:^|[^a-z])(?:dark(?!field)|bias|offset)", re.IGNORECASE)
_EXPOSURE = re.compile(
    r"(?<![a-z0-9.])(\d+(?:[.p]\d+)?)[ _]?(us|µs|ms|s|sec)(?![a-z0-9])", re.IGNORECASE
)
_UNIT_US = {"us": 1.0, "µs": 1.0, "ms": 1e3, "s": 1e6, "sec": 1e6}
_DEPTH = 4


class Group(msgspec.Struct, frozen=True, kw_only=True):
    """Recordings of one series, or of one series for each exposure their metadata names.

    ``exposure_us`` is what the name says, 0 where it says none.
    """

    name: str
    is_dark: bool
    paths: tuple[Path, ...]
    exposure_us: int = 0


def find_groups(
    inputs: Sequence[Path],
    *,
    darks: Sequence[Path] = (),
    lights: Sequence[Path] = (),
    is_single: Callable[[Path], bool],
) -> list[Group]:
    """Return the series among files and folders.

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
    for paths, is_dark in ((inputs, None), (darks, True), (lights, False)):
        for path in paths:
            groups += _groups_of(path, is_dark, is_single)
    return groups


def named_dark(relative: Path) -> bool:
    """Return whether a name, or a folder it lies in, says dark."""
    return any(_DARK.search(part) for part in relative.parts)


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


def _groups_of(root: Path, is_dark: bool | None, is_single: Callable[[Path], bool]) -> list[Group]:
    if not root.exists():
        raise ConfigError(f"{root}: no such file or folder")
    if (root / "manifest.jsonl").is_file():
        raise ConfigError(
            f"{root}: a data set of pairs, not a series of repeats",
            "calibrate from its dark frames and stacks of repeats: --dark FILE --lit FILE",
        )
    found = _recordings(root, _DEPTH)
    if not found:
        raise ConfigError(f"{root}: no TIFF, PNG, NDTiff data set or run folder in it")
    singles: dict[tuple[Path, bool, int], list[Path]] = {}
    groups = []
    for path in found:
        relative = path.relative_to(root) if path != root else Path(root.name)
        dark = named_dark(relative) if is_dark is None else is_dark
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


def _recordings(path: Path, depth: int) -> list[Path]:
    """Return recordings below a path in the order of their names, numbers by value."""
    if path.is_file() or any((path / mark).is_file() for mark in _MARKS):
        return [path]
    found = []
    for child in sorted(path.iterdir(), key=_natural):
        if child.name.startswith("."):
            continue
        if child.is_dir() and depth:
            found += _recordings(child, depth - 1)
        elif child.suffix.lower() in SUFFIXES:
            found.append(child)
    return found


def _natural(path: Path) -> list[tuple[int, str]]:
    parts = re.split(r"(\d+)", path.name)
    return [(int(part), "") if part.isdigit() else (0, part) for part in parts]
