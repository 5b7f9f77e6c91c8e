"""What is known of the camera before the first pair: constants, darks, and where they came from.

Knows: the order in which constants are looked for, how darks are taken and read back, the few
frames a gain is estimated from. Must not know: pairs, fields beyond the first.

Order of constants: the calibration of the configuration; constants given by hand; what the camera
says of itself; else ONE estimate from the darks and from a few frames of the first field. From then
on those of the data set hold: what is judged after ``--resume`` is judged as before it.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Generator, Mapping
from contextlib import closing
from pathlib import Path

import msgspec
import numpy as np

from livedenoise.collect.check_camera import (
    DarkStatistics,
    PairCamera,
    camera_from_darks,
    estimate_constants,
)
from livedenoise.collect.dataset import Dark
from livedenoise.collect.program import DarkShots, Program
from livedenoise.collect.records import MANIFEST_NAME, DatasetHeader
from livedenoise.collect.shots import Shot
from livedenoise.collect.taking import ShotTaker
from livedenoise.core.calibration import Calibration, read_calibration
from livedenoise.core.config import CameraConfig
from livedenoise.core.constants import CameraConstants
from livedenoise.core.errors import CalibrationError, ConfigError, RecordError
from livedenoise.core.frame import Frame
from livedenoise.core.microscope import Exposed, MicroscopeInfo
from livedenoise.core.progress import OnProgress, Progress

SCOUT_FRAMES = 8
"""Frames of the first field that a gain is estimated from."""

_COMPARED = ("gain_e_per_adu", "offset_adu", "read_noise_e", "excess_noise_factor", "model")
"""Constants that may not change within a data set."""


class StoppedError(Exception):
    """Asked to stop before the data set was begun.

    Parameters
    ----------
    n_fields : int
        Fields of the program, all of them still to be taken.
    """

    def __init__(self, n_fields: int) -> None:
        super().__init__("stopped before the first field")
        self.n_fields = n_fields


class Known(msgspec.Struct, frozen=True, kw_only=True):
    """Constants that need no light: None where they must be estimated."""

    constants: CameraConstants | None
    calibration: Calibration | None = None


def known_constants(camera: CameraConfig, info: MicroscopeInfo) -> Known:
    """Return the constants that configuration, calibration or camera give.

    Raises
    ------
    CalibrationError
        If the calibration is of another sensor size; both are named.
    """
    if camera.calibration is not None:
        calibration = read_calibration(camera.calibration)
        if calibration.sensor != info.camera.sensor:
            raise CalibrationError(
                f"{camera.calibration}: made for a sensor of {calibration.sensor} (Y, X), camera "
                f"{camera.name} has {info.camera.sensor}",
                "calibrate this camera, or remove the key 'calibration'",
            )
        return Known(constants=calibration.constants, calibration=calibration)
    if camera.constants is not None:
        constants = CameraConstants(**camera.constants.model_dump(), source="manual")
        return Known(constants=constants)
    return Known(constants=None if camera.estimate_constants else info.camera.constants)


def take_darks(
    program: Program, taker: ShotTaker, on_progress: OnProgress, stop: threading.Event
) -> dict[int, DarkStatistics]:
    """Take the plan's dark frames: exposure in microseconds to what they say.

    After a change of the exposure as many frames are thrown away as the plan says for pairs.

    Raises
    ------
    CameraError
        If a frame does not come.
    StoppedError
        If ``stop`` is set before the last frame.
    """
    darks = {}
    total, done = sum(dark.frames for dark in program.darks), 0
    if stop.is_set() and total:
        raise StoppedError(len(program.fields))
    for dark in program.darks:
        statistics = DarkStatistics()
        with closing(_dark_frames(program, taker, dark)) as frames:
            for exposed in frames:
                statistics.add(exposed.pixels)
                done += 1
                note = f"{dark.exposure_us} us"
                on_progress(Progress(task="dark frames", done=done, total=total, note=note))
                if stop.is_set() and done < total:
                    raise StoppedError(len(program.fields))
        darks[dark.exposure_us] = statistics
    return darks


def _dark_frames(
    program: Program, taker: ShotTaker, dark: DarkShots
) -> Generator[Exposed, None, None]:
    """Yield the frames of one exposure; closed early, it stops the camera."""
    if not dark.frames:
        return
    shot = Shot(
        role="dark",
        exposure_us=dark.exposure_us,
        light=0.0,
        frames=dark.frames,
        discard=max(shot.discard for shots in program.sequences.values() for shot in shots),
    )
    yield from taker.frames(shot)


def scout(program: Program, taker: ShotTaker) -> tuple[list[Frame], float]:
    """Take a few frames at the place the stage stands, at the brightest low level.

    Returns
    -------
    frames : list of ndarray
        Counts (Y, X).
    dose_us : float
        What they cost, microseconds at full light.
    """
    shots = program.sequences[program.fields[0][0].channel]
    shot = max((one for one in shots if one.role == "low"), key=lambda one: one.frame_dose_us)
    shot = msgspec.structs.replace(shot, frames=SCOUT_FRAMES)
    return [exposed.pixels for exposed in taker.frames(shot)], shot.dose_us


def make_camera(
    known: Known,
    info: MicroscopeInfo,
    darks: Mapping[int, DarkStatistics],
    scouted: list[Frame],
) -> PairCamera:
    """Return the camera of the checks for a new data set, from what was found."""
    constants, bit_depth = known.constants, info.camera.bit_depth
    if constants is None:
        without = camera_from_darks(darks, None, [scouted], bit_depth=bit_depth)
        constants = _estimated(without, scouted, bit_depth)
    return _camera(constants, darks, known.calibration, info)


def stored_camera(
    folder: Path, header: DatasetHeader, known: Known, info: MicroscopeInfo
) -> PairCamera:
    """Return the camera of the checks as a data set has it, for ``--resume``.

    Constants and darks are those of the data set, also where it estimated them; the maps are those
    of the calibration, which must be the one it was begun with.

    Raises
    ------
    RecordError
        If a dark file is missing or damaged.
    """
    darks = {int(us): _read_dark(folder / name) for us, name in header.darks.items()}
    return _camera(stored_constants(header), darks, known.calibration, info)


def _camera(
    constants: CameraConstants,
    darks: Mapping[int, DarkStatistics],
    calibration: Calibration | None,
    info: MicroscopeInfo,
) -> PairCamera:
    """Make the camera of the checks: one way, so that a field is judged alike before and after."""
    bit_depth = info.camera.bit_depth
    measured = any(one.frames for one in darks.values())
    if measured or calibration is None or calibration.maps is None or info.binning != 1:
        return camera_from_darks(darks, constants, bit_depth=bit_depth)
    maps = calibration.maps.crop(*info.roi)
    return PairCamera(
        constants=constants,
        bit_depth=bit_depth,
        offsets_adu={1: maps.offset_adu},
        dark_variance_adu2=maps.variance_adu2,
    )


def _estimated(camera: PairCamera, scouted: list[Frame], bit_depth: int) -> CameraConstants:
    if not camera.offsets_adu:
        return camera.constants
    offset = camera.mean_offset_adu(min(camera.offsets_adu))
    return estimate_constants([scouted], offset, camera.read_variance_adu2, bit_depth=bit_depth)


def as_darks(darks: Mapping[int, DarkStatistics]) -> list[Dark]:
    """Return dark statistics as the data set stores them."""
    return [
        Dark(
            exposure_us=exposure_us,
            frames=one.frames,
            mean_adu=one.mean_adu,
            variance_adu2=_variance(one),
        )
        for exposure_us, one in darks.items()
        if one.frames
    ]


def require_same_constants(folder: Path, header: DatasetHeader, known: Known) -> list[str]:
    """Refuse to go on with other constants than a data set was begun with; return notes.

    Where it estimated them, or nobody knows them now, its own go on to hold.

    Raises
    ------
    ConfigError
        Naming every constant that differs, with both values.
    """
    stored, now = stored_constants(header), known.constants
    if now is None:
        return []
    if stored.source == "estimated":
        return ["pairs are judged by the constants that this data set estimated, not by those now"]
    differing = [key for key in _COMPARED if getattr(stored, key) != getattr(now, key)]
    if differing:
        lines = (
            f"{key} is {getattr(stored, key)!r} in the data set ({stored.source}), "
            f"{getattr(now, key)!r} now ({now.source})"
            for key in differing
        )
        raise ConfigError(
            f"{folder / MANIFEST_NAME}: cannot go on: constants: " + "; ".join(lines),
            "go on with the constants it was begun with, or begin another data set with another "
            "--out",
        )
    return []


def stored_constants(header: DatasetHeader) -> CameraConstants:
    """Return the constants of a data set's header."""
    return CameraConstants(
        gain_e_per_adu=header.gain_e_per_adu,
        offset_adu=header.offset_adu,
        read_noise_e=header.read_noise_e,
        excess_noise_factor=header.excess_noise_factor,
        source=header.constants_source,
        model=header.constants_model,
        calibration_hash=header.calibration,
    )


def _variance(dark: DarkStatistics) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    variance = dark.variance_adu2
    return np.zeros_like(dark.mean_adu) if variance is None else variance


def _read_dark(path: Path) -> DarkStatistics:
    import tifffile

    try:
        with tifffile.TiffFile(path) as tiff:
            mean, variance = (page.asarray() for page in tiff.pages[:2])
            frames = int(json.loads(tiff.pages.first.description)["frames"])
    except Exception as error:
        # A damaged file can fail in any way inside the TIFF reader.
        raise RecordError(
            f"{path}: the dark frames cannot be read: {error}",
            "bring the file back from a copy of the data set",
        ) from error
    return DarkStatistics.known(mean, variance, frames)
