"""What ``predict`` has to do: which recordings are read, and which file each becomes.

Knows: how inputs are found and outputs are named. Must not know: engines, pixels.

- A TIFF or PNG file, an NDTiff data set, or the raw stream of one camera of a run folder is one
  recording: one output.
- Any other folder stands for the TIFF and PNG files in it (not in its sub-folders), sorted by name:
  one output each, of the same stem.
- A PNG becomes a PNG, unless float32 is asked for; everything else becomes a TIFF.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import msgspec

from livedenoise.acquire.sources import open_source
from livedenoise.core.constants import CameraConstants
from livedenoise.core.errors import ConfigError
from livedenoise.record.run_folder import is_run_folder, open_run
from livedenoise.record.sidecar import SIDECAR_NAME

TIFF_SUFFIXES = (".tif", ".tiff", ".btf", ".tf2", ".tf8")
PNG_SUFFIX = ".png"
_RECORDING_MARKS = (SIDECAR_NAME, "NDTiff.index", "Full resolution")


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """One recording to denoise; facts as its source gives them (``core.source``)."""

    input: Path
    output: Path
    shape: tuple[int, int]
    dtype: str
    bit_depth: int
    n_frames: int
    out_dtype: str
    constants: CameraConstants | None
    notes: tuple[str, ...] = ()


def plan_jobs(input_path: Path, output_path: Path, *, as_float: bool) -> tuple[Job, ...]:
    """Return the jobs for an input and an output.

    Parameters
    ----------
    input_path : Path
        File or folder.
    output_path : Path
        For a folder of files: a folder. For one recording: a file, or a folder (one that exists,
        or a name without suffix), in which the output takes the input's stem.
    as_float : bool
        Write float32.

    Raises
    ------
    ConfigError
        If there is nothing to read, outputs would collide or overwrite inputs, or recordings
        cannot be used: every one of them is named at once.
    """
    if not input_path.exists():
        raise ConfigError(f"{input_path}: no such file or folder")
    if is_run_folder(input_path):
        pairs = _streams_of(input_path, output_path)
    elif is_folder_of_files(input_path):
        pairs = _files_of(input_path, output_path, as_float=as_float)
    else:
        pairs = [(input_path, _single_output(input_path, output_path, as_float=as_float))]
    return _described(pairs, as_float=as_float)


def is_folder_of_files(path: Path) -> bool:
    """Return whether a path is a folder that is no recording itself."""
    if not path.is_dir() or is_run_folder(path):
        return False
    return not any((path / mark).exists() for mark in _RECORDING_MARKS)


Pairs = list[tuple[Path, Path]]
"""Inputs and the outputs they become."""


def _streams_of(run: Path, output_path: Path) -> Pairs:
    cameras = open_run(run).cameras("raw")
    if len(cameras) < 2:
        return [(run, _single_output(run, output_path, as_float=False))]
    name = run.resolve().name
    return [(run / "raw" / c, output_path / f"{name}-{c}.tif") for c in cameras]


def _files_of(folder: Path, output_path: Path, *, as_float: bool) -> Pairs:
    if output_path.exists() and output_path.samefile(folder):
        raise ConfigError(f"{output_path}: is the input folder", "name another output folder")
    if output_path.is_file():
        raise ConfigError(f"{output_path}: is a file, but {folder} is a folder of files")
    pairs = [(p, output_path / _name_for(p, as_float=as_float)) for p in _files_in(folder)]
    _refuse_collisions(pairs)
    return pairs


def _files_in(folder: Path) -> list[Path]:
    wanted = (*TIFF_SUFFIXES, PNG_SUFFIX)
    found = [
        path
        for path in sorted(folder.iterdir())
        if path.suffix.lower() in wanted and path.is_file() and not path.name.startswith(".")
    ]
    if not found:
        raise ConfigError(f"{folder}: holds no TIFF or PNG file", "name a file, or another folder")
    return found


def _name_for(path: Path, *, as_float: bool) -> str:
    if path.is_dir():
        return f"{path.resolve().name}.tif"
    suffix = path.suffix.lower()
    if suffix == PNG_SUFFIX:
        return path.stem + (".tif" if as_float else PNG_SUFFIX)
    return path.stem + (suffix if suffix in TIFF_SUFFIXES else ".tif")


def _single_output(input_path: Path, output_path: Path, *, as_float: bool) -> Path:
    name = _name_for(input_path, as_float=as_float)
    if output_path.is_dir() or not output_path.suffix:
        return output_path / name
    suffix = output_path.suffix.lower()
    if suffix not in TIFF_SUFFIXES and suffix != Path(name).suffix:
        raise ConfigError(
            f"{output_path}: {input_path.name} cannot become a {suffix} file",
            f"name the output {output_path.stem}{Path(name).suffix}",
        )
    return output_path


def _refuse_collisions(pairs: Pairs) -> None:
    counts = Counter(output.name.lower() for _, output in pairs)
    twice = [f"{i.name} -> {o.name}" for i, o in pairs if counts[o.name.lower()] > 1]
    if twice:
        raise ConfigError(
            f"several inputs would become the same output: {', '.join(twice)}",
            "rename one, or run them into different folders",
        )


def _described(pairs: Pairs, *, as_float: bool) -> tuple[Job, ...]:
    jobs: list[Job] = []
    problems: list[str] = []
    for input_path, output in pairs:
        try:
            jobs.append(_describe(input_path, output, as_float=as_float))
        except ConfigError as error:
            problems.append(str(error))
    if problems:
        raise ConfigError("\n".join(problems))
    return tuple(jobs)


def _describe(input_path: Path, output: Path, *, as_float: bool) -> Job:
    with open_source(input_path) as source:
        return Job(
            input=input_path,
            output=output,
            shape=source.shape,
            dtype=source.dtype,
            bit_depth=source.bit_depth,
            n_frames=source.n_frames,
            out_dtype="<f4" if as_float else source.dtype,
            constants=source.constants,
            notes=source.notes,
        )
