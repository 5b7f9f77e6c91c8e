"""A recording of our own as a source of frames: one stream of a run folder, all its parts.

Knows: the sidecar says where each frame's pixels lie, so a run whose recorder was killed is read
like any other. Must not know: TIFF.
"""

from __future__ import annotations

from array import array
from pathlib import Path

import numpy as np
import numpy.typing as npt

from livedenoise.acquire.source_base import (
    PixelFile,
    RecordedFrames,
    RecordingFacts,
    median_period_ns,
    stored_pixels,
)
from livedenoise.core.errors import ConfigError
from livedenoise.core.frame import Frame
from livedenoise.record.part import part_name
from livedenoise.record.recorder import INDEX_NAME
from livedenoise.record.run_folder import Run, open_run
from livedenoise.record.sidecar import (
    SIDECAR_NAME,
    SIDECAR_VERSION,
    EpochLine,
    FrameLine,
    GapLine,
    SidecarReader,
    StreamLine,
)


class RunSource(RecordedFrames):
    """Frames of one recorded stream.

    Parameters
    ----------
    folder : Path
        Folder of the stream: the one with frames.jsonl.
    run : Run, optional
        The run it belongs to: where camera constants are noted.

    Raises
    ------
    ConfigError
        If the sidecar is damaged, holds no frame, or frames of several sizes or types.
    """

    def __init__(self, folder: Path, run: Run | None = None) -> None:
        places = _Places(folder / SIDECAR_NAME)
        epoch = places.epoch
        if epoch is None or not places.frames:
            raise ConfigError(f"{folder}: holds no frame")
        self._folder = folder
        self._parts = np.array(places.parts, np.int64)
        self._offsets = np.array(places.offsets, np.int64)
        self._times_ns: npt.NDArray[np.int64] = np.array(places.times_ns, np.int64)
        self.seqs: npt.NDArray[np.int64] = np.array(places.seqs, np.int64)
        self._file: PixelFile | None = None
        self._part = -1
        super().__init__(
            folder,
            shape=(epoch.height, epoch.width),
            pixels=stored_pixels(np.dtype(epoch.dtype), folder),
            n_frames=places.frames,
            facts=RecordingFacts(
                bit_depth=epoch.bit_depth,
                exposure_us=places.exposure_us,
                period_ns=median_period_ns(self._times_ns),
                sensor=_sensor(run, epoch.camera),
                roi_x=epoch.roi_x,
                roi_y=epoch.roi_y,
                binning=epoch.binning,
                constants=None if run is None else run.constants(epoch.camera),
                notes=_notes(folder, places),
            ),
        )

    def time_ns(self, index: int) -> int:
        """Return the recorded time of frame ``index`` since frame 0."""
        return int(self._times_ns[index] - self._times_ns[0])

    def close(self) -> None:
        """Release the file. Idempotent."""
        if self._file is not None:
            self._file.close()
            self._file, self._part = None, -1

    def _fill(self, index: int, out: Frame) -> None:
        part = int(self._parts[index])
        if self._file is None or part != self._part:
            self.close()
            self._file, self._part = PixelFile(self._folder / part_name(part)), part
        self._file.read_into(int(self._offsets[index]), out, index)
        self._settle(index, out)


def open_stream(path: Path, stream: str, camera: str | None) -> RunSource:
    """Open one stream of a run folder.

    Raises
    ------
    ConfigError
        If there is no such stream, or several cameras and none is named.
    """
    run = open_run(path)
    cameras = run.cameras(stream)
    if not cameras:
        found = ", ".join(sorted({f.stream for f in run.streams})) or "none"
        raise ConfigError(f"{path}: no stream {stream!r} was recorded; recorded: {found}")
    if camera is None and len(cameras) > 1:
        raise ConfigError(
            f"{path}: holds {len(cameras)} cameras: {', '.join(cameras)}",
            f"choose one by its folder: {path / stream / cameras[0]}",
        )
    chosen = camera or cameras[0]
    if chosen not in cameras:
        raise ConfigError(f"{path}: no camera {chosen!r}; recorded: {', '.join(cameras)}")
    return RunSource(path / stream / chosen, run)


class _Places:
    """What the sidecar says, in 32 bytes a frame, however long the recording."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.parts, self.offsets = array("q"), array("q")
        self.times_ns, self.seqs = array("q"), array("q")
        self.epoch: EpochLine | None = None
        self.exposure_us = 0
        self.missing = 0
        reader = SidecarReader(path)
        for line in reader:
            match line:
                case StreamLine():
                    self._check_version(line)
                case EpochLine():
                    self._take_epoch(line)
                case FrameLine():
                    self._take_frame(line)
                case GapLine():
                    self.missing += line.count
        self.torn = reader.torn

    @property
    def frames(self) -> int:
        """Return how many frames there are."""
        return len(self.parts)

    def _check_version(self, line: StreamLine) -> None:
        if line.version > SIDECAR_VERSION:
            raise ConfigError(
                f"{self.path}: version {line.version}, this program reads up to {SIDECAR_VERSION}",
                "update livedenoise",
            )

    def _take_epoch(self, line: EpochLine) -> None:
        first = self.epoch
        if first is not None and self.frames:
            formats = [(e.height, e.width, e.dtype, e.bit_depth) for e in (first, line)]
            if formats[0] != formats[1]:
                raise ConfigError(
                    f"{self.path}: frames of {formats[0]} and, from frame {self.frames} on, of "
                    f"{formats[1]} (Y, X, dtype, bits)",
                    f"open the parts one by one, from {part_name(line.part)} on",
                )
            return
        self.epoch = line

    def _take_frame(self, line: FrameLine) -> None:
        if not self.frames:
            self.exposure_us = line.exposure_us
        self.parts.append(line.part)
        self.offsets.append(line.offset)
        self.times_ns.append(line.t_host_ns)
        self.seqs.append(line.seq)


def _sensor(run: Run | None, camera: str) -> tuple[int, int]:
    record = None if run is None else run.facts.cameras.get(camera)
    return (0, 0) if record is None or record.info is None else record.info.sensor


def _notes(folder: Path, places: _Places) -> tuple[str, ...]:
    notes = []
    if not (folder / INDEX_NAME).exists():
        notes.append("the recording was not finished: every frame it acknowledged is here")
    if places.torn:
        notes.append(f"{SIDECAR_NAME}: last line torn: {places.torn}")
    if places.missing:
        notes.append(f"{places.missing} frames are missing in the recording")
    return tuple(notes)
