"""Which engine serves the current epoch, with which camera constants.

Knows: the model package, the camera's constants and maps, when an engine must be opened anew (a new
shape) and when the constants have still to be learnt from the first frames. Must not know: rings,
sockets, policies.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from livedenoise.bus.reader import Received
from livedenoise.core.calibration import read_calibration
from livedenoise.core.constants import CameraConstants, CameraMaps
from livedenoise.core.engine import Done, Engine, EngineInfo, FrameView, ServeRequest
from livedenoise.core.errors import EngineDeadError
from livedenoise.core.frame import Frame, FrameHeader
from livedenoise.engines.cache import default_cache_dir
from livedenoise.engines.select import choose_engine

_ANY_CONSTANTS = CameraConstants(gain_e_per_adu=1.0, offset_adu=0.0, read_noise_e=1.0)
_ATTEMPTS = 4
"""Batches of first frames looked at before an estimate is taken as it is."""

Mode = tuple[tuple[int, int], str, int, int, int]


class ServingSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What to serve. ``constants`` None means: estimate once from the first frames."""

    engine: str
    package: str
    precision: str
    threads: int
    shape: tuple[int, int]
    dtype: str
    bit_depth: int
    roi_x: int
    roi_y: int
    binning: int
    constants: CameraConstants | None
    calibration: str
    estimate_frames: int


class Serving:
    """The engine in use; opened at once when the constants are known."""

    def __init__(self, settings: ServingSettings) -> None:
        self._settings = settings
        self._constants = settings.constants
        self._maps: CameraMaps | None = None
        if settings.calibration:
            self._maps = read_calibration(Path(settings.calibration)).maps
        self._mode: Mode = (
            settings.shape,
            settings.dtype,
            settings.roi_x,
            settings.roi_y,
            settings.binning,
        )
        self._engine: Engine | None = None
        self._info: EngineInfo | None = None
        self._learnt: list[Frame] = []
        self._attempts = 0
        self._open()

    @property
    def ready(self) -> bool:
        """Return whether an engine is open."""
        return self._engine is not None

    @property
    def in_flight(self) -> int:
        """Return how many frames to give the engine at once.

        Where frames in flight do not overlap, a second one would only wait inside the engine, where
        the policy can no longer skip it, and add its waiting to the latency.
        """
        if self._info is None or not self._info.overlaps:
            return 1
        return self._info.in_flight

    @property
    def model_hash(self) -> str:
        """Return the hash prefix of the model in use."""
        return "" if self._info is None else self._info.model_hash

    def facts(self) -> dict[str, Any]:
        """Return what the summary says about engine and constants."""
        return {
            "engine": None if self._info is None else msgspec.to_builtins(self._info),
            "constants": None if self._constants is None else msgspec.to_builtins(self._constants),
            "engine_asked": self._settings.engine,
        }

    def needs_change(self, header: FrameHeader) -> bool:
        """Return whether a frame belongs to another mode than the engine was opened for."""
        return _mode_of(header) != self._mode

    def change(self, header: FrameHeader) -> None:
        """Follow a new epoch: the constants stay, the engine is opened for the new shape."""
        self._mode = _mode_of(header)
        self._learnt.clear()
        self.close()
        self._open()

    def learn(self, frame: Received) -> None:
        """Take one of the first frames; after the last of them estimate the constants, once.

        Frames whose noise does not follow the signal (a closed shutter, an empty field) say little
        about the camera: a few more are waited for before such an estimate is taken.
        """
        from livedenoise.imaging.noise_fit import fit_constants

        self._learnt.append(frame.pixels.copy())
        if len(self._learnt) < self._settings.estimate_frames:
            return
        found = fit_constants(np.stack(self._learnt), bit_depth=self._settings.bit_depth)
        self._learnt.clear()
        self._attempts += 1
        if found.model == "gaussian" and self._attempts < _ATTEMPTS:
            return
        self._constants = found
        self._open()

    def submit(self, frame: FrameView, out: Frame, *, reset: bool) -> None:
        """Start on a frame.

        Raises
        ------
        DenoiseError
            If the engine does not take it.
        """
        self._live.submit(frame, out, reset=reset)

    def poll(self, timeout_s: float) -> Done | None:
        """Return the oldest frame once finished."""
        return self._live.poll(timeout_s)

    def close(self) -> None:
        """Close the engine. Idempotent."""
        if self._engine is not None:
            self._engine.close()
            self._engine = None

    @property
    def _live(self) -> Engine:
        if self._engine is None:
            raise EngineDeadError("no engine is open")
        return self._engine

    def _open(self) -> None:
        if self._constants is None:
            # What cannot be served is refused now, not when the constants are known.
            choose_engine(self._settings.engine, self._request(_ANY_CONSTANTS))
            return
        request = self._request(self._constants)
        engine = choose_engine(self._settings.engine, request)
        self._info = engine.open(request)
        self._engine = engine

    def _request(self, constants: CameraConstants) -> ServeRequest:
        settings = self._settings
        shape, dtype, _, _, _ = self._mode
        return ServeRequest(
            shape=shape,
            dtype=dtype,
            out_dtype=dtype,
            bit_depth=settings.bit_depth,
            constants=constants,
            package=Path(settings.package) if settings.package else None,
            maps=self._cropped_maps(),
            precision="fp32" if settings.precision == "fp32" else "auto",
            threads=settings.threads,
            cache_dir=default_cache_dir(),
        )

    def _cropped_maps(self) -> CameraMaps | None:
        # Maps are per sensor pixel: a binned frame has none, its scalar constants serve.
        shape, _, roi_x, roi_y, binning = self._mode
        if self._maps is None or binning != 1:
            return None
        return self._maps.crop(roi_x, roi_y, shape[1], shape[0])


def _mode_of(header: FrameHeader) -> Mode:
    return (header.shape, header.dtype, header.roi_x, header.roi_y, header.binning)
