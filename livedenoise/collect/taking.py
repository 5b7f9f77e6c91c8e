"""Take a shot: light, discarded frames, frames, and their mean.

Knows: how a ``Shot`` becomes a ``Taken``. Must not know: which shots make a pair, checks, files.

A mean is exact: counts are added as whole numbers and divided once, in float32.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import closing

import numpy as np
import numpy.typing as npt

from livedenoise.collect.light_path import LightPath
from livedenoise.collect.shots import Shot, Taken
from livedenoise.collect.stopwatch import Stopwatch
from livedenoise.core.errors import CameraError
from livedenoise.core.frame import max_count
from livedenoise.core.microscope import Exposed, Microscope, MicroscopeInfo, Pixels

Mask = npt.NDArray[np.bool_]


class ShotTaker:
    """Takes shots at one microscope.

    Parameters
    ----------
    scope, info : Microscope, MicroscopeInfo
        Open, and what it said of itself.
    light : LightPath
        Its light.
    stopwatch : Stopwatch
        Counts exposures.
    close_between : bool
        Whether the light goes off after every shot.
    keep_frames : bool
        Whether single frames of an average are kept.
    """

    def __init__(
        self,
        scope: Microscope,
        info: MicroscopeInfo,
        light: LightPath,
        stopwatch: Stopwatch,
        *,
        close_between: bool,
        keep_frames: bool,
    ) -> None:
        self._scope = scope
        self._info = info
        self._light = light
        self._stopwatch = stopwatch
        self._close_between = close_between
        self._keep_frames = keep_frames
        self._z_um: float | None = None

    def at(self, z_um: float | None) -> None:
        """Say where the focus drive stands for the shots that follow."""
        self._z_um = z_um

    def take(self, shot: Shot) -> Taken:
        """Take one shot.

        Raises
        ------
        CameraError
            If the camera brings fewer frames than asked for, or frames of another size.
        """
        started_ns = self._stopwatch.clock.now_ns()
        gathered = _Gathered(self._info, keep=self._keep_frames and shot.frames > 1)
        for exposed in self.frames(shot):
            gathered.add(exposed)
        return gathered.taken(
            shot,
            started_ns=started_ns,
            ended_ns=self._stopwatch.clock.now_ns(),
            z_um=self._z_um,
        )

    def frames(self, shot: Shot) -> Iterator[Exposed]:
        """Yield the frames of a shot, without those to be discarded; light off when it says so.

        Raises
        ------
        CameraError
            If the camera brings fewer frames than asked for.
        """
        wanted = shot.discard + shot.frames
        if shot.role == "dark":
            self._light.off()
        else:
            self._light.ready(shot)
            self._light.on()
        done = 0
        with closing(_generator(self._scope.expose(shot.exposure_us, wanted))) as frames:
            for exposed in frames:
                done += 1
                if done > shot.discard:
                    yield exposed
        self._stopwatch.exposed(shot.exposure_us, done)
        if self._close_between:
            self._light.off()
        if done != wanted:
            raise CameraError(
                f"camera {self._info.camera.name}: {done} of {wanted} frames came at "
                f"{shot.exposure_us} us",
                "see what the camera lost them to; the field is taken again with --resume",
            )


def _generator(frames: Iterator[Exposed]) -> Generator[Exposed, None, None]:
    """Return the frames as a generator, which can be closed whatever the microscope returned."""
    yield from frames


class _Gathered:
    """The frames of one shot, added up as they come."""

    def __init__(self, info: MicroscopeInfo, *, keep: bool) -> None:
        self._info = info
        self._keep = keep
        self._full = max_count(info.camera.bit_depth)
        self._first: Pixels | None = None
        self._last: Pixels | None = None
        self._sum: npt.NDArray[np.uint32] | None = None
        self._frames: list[Pixels] = []
        self._means: list[float] = []
        self._saturated: Mask | None = None
        self._zero: Mask | None = None
        self._exposure_us = 0

    def add(self, exposed: Exposed) -> None:
        pixels = exposed.pixels
        if pixels.shape != self._info.shape:
            raise CameraError(
                f"camera {self._info.camera.name}: a frame is {pixels.shape}, {self._info.shape} "
                "(Y, X) was agreed on",
                "somebody changed region or binning: leave both alone during a collection",
            )
        self._exposure_us = exposed.exposure_us
        # Whole numbers add up faster than floating ones, and exactly.
        self._means.append(int(pixels.sum(dtype=np.uint64)) / pixels.size)
        if int(pixels.max()) >= self._full:
            self._saturated = _joined(self._saturated, pixels >= self._full)
        if int(pixels.min()) == 0:
            self._zero = _joined(self._zero, pixels == 0)
        if self._first is None:
            self._first = pixels
        else:
            if self._sum is None:
                self._sum = self._first.astype(np.uint32)
            self._sum += pixels
        self._last = pixels
        if self._keep:
            self._frames.append(pixels)

    def taken(self, shot: Shot, *, started_ns: int, ended_ns: int, z_um: float | None) -> Taken:
        if self._first is None:
            raise CameraError(f"camera {self._info.camera.name}: no frame came")
        averaged = self._sum is not None
        return Taken(
            shot=shot,
            image=self._mean(),
            first=self._first if averaged else None,
            last=self._last if averaged else None,
            frame_means_adu=tuple(self._means),
            saturated_fraction=_fraction(self._saturated),
            zero_fraction=_fraction(self._zero),
            exposure_us=self._exposure_us,
            started_ns=started_ns,
            ended_ns=ended_ns,
            z_um=z_um,
            frames=tuple(self._frames),
        )

    def _mean(self) -> Pixels | npt.NDArray[np.float32]:
        if self._sum is None:
            assert self._first is not None  # noqa: S101 - `taken` looked
            return self._first
        mean: npt.NDArray[np.float32] = (self._sum / len(self._means)).astype(np.float32)
        return mean


def _joined(before: Mask | None, now: Mask) -> Mask:
    return now if before is None else before | now


def _fraction(mask: Mask | None) -> float:
    return 0.0 if mask is None else float(mask.mean())
