"""Which camera constants serve a recording: the first of an order, never a guess per image.

Order: a calibration; numbers given by hand; what is stored with the recording; ONE estimate. A
single recording is estimated from its first frames. Single images of a folder that have the same
size and type share one estimate over up to 16 of them: an estimate per image would flicker from
image to image, and a folder of images is mostly one camera, often one movie saved in pieces.

Knows: the order, and which frames an estimate reads. Must not know: engines, outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from livedenoise.acquire.sources import open_source
from livedenoise.batch.jobs import Job
from livedenoise.core.calibration import Calibration, read_calibration
from livedenoise.core.constants import CameraConstants, CameraMaps
from livedenoise.core.errors import ConfigError
from livedenoise.core.frame import Frame
from livedenoise.imaging.noise_fit import fit_constants

ESTIMATE_FRAMES = 16


class Resolved(msgspec.Struct, frozen=True, kw_only=True):
    """Constants of one recording, and per-pixel maps where a calibration has fitting ones."""

    constants: CameraConstants
    maps: CameraMaps | None = None
    notes: tuple[str, ...] = ()


class ConstantsFinder:
    """Finds the constants of each job.

    Parameters
    ----------
    jobs : sequence of Job
        All of them: single images share an estimate.
    calibration : Path or None
        Calibration folder.
    constants : CameraConstants or None
        Given by hand.
    on_estimate : callable
        Called with a line for people before anything is estimated.

    Raises
    ------
    ConfigError
        If both a calibration and constants are given.
    CalibrationError
        If the calibration cannot be read.
    """

    def __init__(
        self,
        jobs: Sequence[Job],
        *,
        calibration: Path | None,
        constants: CameraConstants | None,
        on_estimate: Callable[[str], None],
    ) -> None:
        if calibration is not None and constants is not None:
            raise ConfigError(
                f"both a calibration ({calibration}) and constants are given", "give one of them"
            )
        self._jobs = jobs
        self._calibration = None if calibration is None else read_calibration(calibration)
        self._constants = constants
        self._on_estimate = on_estimate
        self._estimates: dict[tuple[object, ...], CameraConstants] = {}

    def find(self, job: Job) -> Resolved:
        """Return the constants of a job.

        Raises
        ------
        ConfigError
            If frames for an estimate cannot be read.
        """
        if self._calibration is not None:
            return _calibrated(self._calibration, job)
        given = self._constants or job.constants
        if given is not None:
            return Resolved(constants=given)
        key = (job.input,) if job.n_frames > 1 else _kind(job)
        if key not in self._estimates:
            self._estimates[key] = self._estimate(self._alike(job), job)
        return Resolved(constants=self._estimates[key])

    def _alike(self, job: Job) -> list[Job]:
        """Return the jobs that share one estimate with this one."""
        if job.n_frames > 1:
            return [job]
        others = [other for other in self._jobs if other.n_frames == 1 and not other.constants]
        return [other for other in others if _kind(other) == _kind(job)]

    def _estimate(self, alike: Sequence[Job], job: Job) -> CameraConstants:
        frames = _first_frames(alike)
        of = f"{len(frames)} frames" if job.n_frames > 1 else f"{len(frames)} images"
        self._on_estimate(f"estimating camera constants from {of}")
        try:
            found = fit_constants(frames, bit_depth=job.bit_depth)
        except ValueError as error:
            raise ConfigError(
                f"{job.input}: no camera constants can be estimated: {error}",
                "replace the pixels that are not numbers",
            ) from error
        if job.n_frames > 1 or len(alike) == 1:
            return found
        note = f"{found.note}; shared by {len(alike)} images of the folder"
        return msgspec.structs.replace(found, note=note)


def _kind(job: Job) -> tuple[object, ...]:
    return (job.shape, job.dtype, job.bit_depth)


def _calibrated(calibration: Calibration, job: Job) -> Resolved:
    maps, notes = calibration.maps, list[str]()
    if maps is not None and job.shape != calibration.sensor:
        notes.append(
            f"frames are {job.shape} but the calibration is of {calibration.sensor} (Y, X): where "
            "they lie on the sensor is not known, so its maps are not used, its constants are"
        )
        maps = None
    return Resolved(constants=calibration.constants, maps=maps, notes=tuple(notes))


def _first_frames(jobs: Sequence[Job]) -> list[Frame]:
    frames: list[Frame] = []
    for job in jobs:
        with open_source(job.input) as source:
            wanted = min(source.n_frames, ESTIMATE_FRAMES - len(frames))
            frames += [source.read(index) for index in range(wanted)]
        if len(frames) == ESTIMATE_FRAMES:
            break
    return frames
