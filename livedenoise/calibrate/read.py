"""Calibration frames from files: TIFF, OME-TIFF, NDTiff, run folders, read one frame at a time.

Knows: summing the groups of ``finding`` up, by the exposure of each frame. Must not know: formats
(``acquire.sources``), cameras, measuring.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import msgspec

from livedenoise.acquire.source_base import RecordedFrames
from livedenoise.acquire.sources import open_source
from livedenoise.calibrate.data import CalibrationData, Series, taken_as
from livedenoise.calibrate.finding import Group, find_groups
from livedenoise.calibrate.merging import DarkFile, require_one_level
from livedenoise.core.errors import ConfigError
from livedenoise.core.frame import max_count
from livedenoise.core.progress import OnProgress, Progress, ignore_progress
from livedenoise.imaging.ptc_moments import PixelMoments, PixelSummary

_LADDER = 3
_FRAMES_HINT = "frames of one camera in one mode belong together: leave the others out"


class _Kind(msgspec.Struct, frozen=True):
    """What must be the same for every recording."""

    path: Path
    shape: tuple[int, int]
    dtype: str
    bit_depth: int


class _Sum(msgspec.Struct, kw_only=True):
    """One series being summed up; ``moments`` is let go of when the ``summary`` is made."""

    name: str
    is_dark: bool
    exposure_us: int
    moments: PixelMoments | None
    summary: PixelSummary | None = None
    files: list[DarkFile] = []

    def finish(self) -> None:
        """Make the summary; a single frame has none. Dark files of different levels are refused."""
        if self.moments is not None and self.moments.n_frames > 1:
            self.summary = self.moments.summary()
            if self.is_dark:
                require_one_level(self.files, self.summary)
        self.moments = None


def read_frames(
    inputs: Sequence[Path],
    *,
    darks: Sequence[Path] = (),
    lights: Sequence[Path] = (),
    bit_depth: int | None = None,
    camera: str = "",
    say: Callable[[str], None] | None = None,
    on_progress: OnProgress = ignore_progress,
) -> CalibrationData:
    """Read and sum up every series among files and folders.

    Parameters
    ----------
    inputs, darks, lights : sequence of Path
        As ``finding.find_groups`` takes them.
    bit_depth : int, optional
        Valid bits where the files do not say.
    camera : str
        Name of the camera; default the name of the first input.
    say : callable, optional
        Told what is taken as dark and as lit, and what is left out, before anything is read.

    Raises
    ------
    ConfigError
        If nothing can be read, frames differ in size, type or bit depth, are not counts or above
        the bit depth, dark files of one exposure differ in level, or a series has fewer than two
        frames.
    """
    found_groups = find_groups(inputs, darks=darks, lights=lights, is_single=_is_single)
    groups = found_groups.groups
    recordings = [path for group in groups for path in group.paths]
    dark_files = tuple(group.told() for group in groups if group.is_dark)
    lit_files = tuple(group.told() for group in groups if not group.is_dark)
    if say is not None:
        for line in (*taken_as(dark_files, lit_files), *found_groups.left_out):
            say(line)
    kind, total = _one_kind(recordings, bit_depth)
    reader = _Reader(kind, on_progress, total)
    for group in groups:
        reader.add(group)
    found = reader.finished()
    alone = tuple(f"{i.name}: one frame only: left out" for i in found if i.summary is None)
    if not any(item.summary is not None and not item.is_dark for item in found):
        told = (*alone, *found_groups.left_out, *taken_as(dark_files, lit_files))
        raise ConfigError(
            "\n  ".join((f"{recordings[0]}: every series is dark, or has one frame only", *told)),
            "give repeats of a lit static scene too (--lit PATH); measured maps: --maps",
        )
    first = (*inputs, *lights, *darks)[0]
    light, assumed = _light_of([item for item in found if not item.is_dark])
    return CalibrationData(
        camera=camera or first.resolve().name.partition(".")[0] or "camera",
        source=", ".join(str(path) for path in (*inputs, *darks, *lights)),
        sensor=kind.shape,
        roi=(0, 0, kind.shape[1], kind.shape[0]),
        bit_depth=kind.bit_depth,
        series=_series(found, light),
        settings={"files": len(recordings)},
        warnings=alone,
        notes=(*found_groups.left_out, *reader.notes, *assumed),
        dark_files=dark_files,
        lit_files=lit_files,
    )


def _series(found: Sequence[_Sum], light: float | None) -> tuple[Series, ...]:
    return tuple(
        Series(
            name=item.name,
            exposure_us=float(item.exposure_us),
            light=0.0 if item.is_dark else light,
            is_dark=item.is_dark,
            summary=item.summary,
        )
        for item in found
        if item.summary is not None
    )


def _is_single(path: Path) -> bool:
    with open_source(path) as source:
        return source.n_frames == 1


def _one_kind(recordings: Iterable[Path], bit_depth: int | None) -> tuple[_Kind, int]:
    """Return what all recordings are, and the number of their frames."""
    first: _Kind | None = None
    total = 0
    for path in recordings:
        with open_source(path) as source:
            kind = _kind_of(source, bit_depth)
            total += source.n_frames
        first = first or kind
        _require_same(first, kind)
    if first is None:
        raise ConfigError("no recording is given", "give a folder or files")
    return first, total


def _kind_of(source: RecordedFrames, bit_depth: int | None) -> _Kind:
    if source.dtype not in ("|u1", "<u2"):
        raise ConfigError(
            f"{source.path}: frames are {source.dtype}: a calibration needs the camera's counts",
            "give the frames as the camera delivered them, 8 or 16 bits, neither scaled nor "
            "averaged; for measured maps use --maps",
        )
    return _Kind(source.path, source.shape, source.dtype, bit_depth or source.bit_depth)


def _require_same(first: _Kind, kind: _Kind) -> None:
    for what in ("shape", "dtype", "bit_depth"):
        was, now = getattr(first, what), getattr(kind, what)
        if was != now:
            unit = " (Y, X)" if what == "shape" else ""
            raise ConfigError(
                f"{kind.path}: {what} is {now}{unit}, but {first.path} has {was}", _FRAMES_HINT
            )


def _require_within(source: RecordedFrames, index: int, peak: int, bit_depth: int) -> None:
    if peak > max_count(bit_depth):
        raise ConfigError(
            f"{source.path}: frame {index} has {peak} counts, and {bit_depth} bits hold "
            f"{max_count(bit_depth)} only",
            f"--bit-depth {peak.bit_length()} at least: it is that of the camera's converter",
        )


def _light_of(lit: Sequence[_Sum]) -> tuple[float | None, tuple[str, ...]]:
    """Return the light of lit series: alike where only the exposure differs, else unknown."""
    exposures = {item.exposure_us for item in lit}
    if len(exposures) < _LADDER or len(exposures) < len(lit) or 0 in exposures:
        return None, ()
    told = "the light is taken to be the same for all exposures (linearity rests on it)"
    return 1.0, (told,)


class _Reader:
    """Sums up one group after another."""

    def __init__(self, kind: _Kind, on_progress: OnProgress, total: int) -> None:
        self._kind, self._on_progress, self._total = kind, on_progress, total
        self._done = 0
        self._notes: dict[str, None] = {}
        self._sums: list[_Sum] = []

    @property
    def notes(self) -> tuple[str, ...]:
        """Return what the recordings said about themselves, each line once."""
        return tuple(self._notes)

    def finished(self) -> list[_Sum]:
        """Return every series."""
        for item in self._sums:
            item.finish()
        return self._sums

    def add(self, group: Group) -> None:
        """Read every frame of a group into the sum of its exposure."""
        own: dict[int, _Sum] = {}
        for path in group.paths:
            with open_source(path) as source:
                self._notes |= dict.fromkeys(source.notes)
                self._read(source, group, own)
        several = len(own) > 1
        for exposure_us, item in own.items():
            if several:
                item.name = f"{group.name} ({exposure_us / 1000:g} ms)"
            self._keep(item)

    def _read(self, source: RecordedFrames, group: Group, own: dict[int, _Sum]) -> None:
        frame = source.read(0)
        means: dict[int, list[float]] = {}
        for index in range(source.n_frames):
            if index:
                source.read_into(index, frame)
            _require_within(source, index, int(frame.max()), self._kind.bit_depth)
            exposure_us = source.frame_exposure_us(index) or group.exposure_us
            moments = (own.get(exposure_us) or self._begun(group, exposure_us, own)).moments
            if moments is not None:
                moments.add(frame)
            if group.is_dark:
                means.setdefault(exposure_us, []).append(float(frame.mean()))
            self._step(group)
        for exposure_us, values in means.items():
            file = DarkFile(path=source.path, mean_adu=sum(values) / len(values))
            own[exposure_us].files.append(file)

    def _begun(self, group: Group, exposure_us: int, own: dict[int, _Sum]) -> _Sum:
        kind = self._kind
        moments = PixelMoments(kind.shape, bit_depth=kind.bit_depth, fourth=group.is_dark)
        own[exposure_us] = _Sum(
            name=group.name, is_dark=group.is_dark, exposure_us=exposure_us, moments=moments
        )
        return own[exposure_us]

    def _keep(self, item: _Sum) -> None:
        """Keep a series; dark ones of one exposure become one, lit ones are finished at once."""
        if not item.is_dark:
            item.finish()
        for other in self._sums:
            same = item.is_dark and other.is_dark and item.exposure_us == other.exposure_us
            if same and other.moments is not None and item.moments is not None:
                other.moments.merge(item.moments)
                other.files += item.files
                return
        self._sums.append(item)

    def _step(self, group: Group) -> None:
        self._done += 1
        step = Progress(task="reading", done=self._done, total=self._total, note=group.name)
        self._on_progress(step)
