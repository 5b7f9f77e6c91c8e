"""A recording served as a camera: every frame at the slowest reader's pace, or in real time.

Knows: the life cycle of ``core.camera.Camera``, which recording is meant, and how one estimate of
the camera constants is made where nobody knows them. Must not know: file formats, pacing, rings.

Pace ``lossless`` waits for slots and loses nothing; ``recorded`` keeps the times of the recording;
``rate`` serves ``rate_hz``. The latter two behave as a real camera does: see ``replay_stream``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import msgspec
import numpy as np

from livedenoise.acquire.pacing import Schedule, do_nothing
from livedenoise.acquire.replay_stream import RecordedTimes, ReplayStream, Timetable
from livedenoise.acquire.source_base import RecordedFrames
from livedenoise.acquire.sources import open_source
from livedenoise.core.camera import CameraInfo, Captured, GetSlot, Prepared, StreamRequest
from livedenoise.core.camera_config import ReplayCameraConfig
from livedenoise.core.clock import Clock, MonotonicClock
from livedenoise.core.constants import CameraConstants
from livedenoise.core.errors import CameraError, ConfigError

ESTIMATE_FRAMES = 16
_ESTIMATE_BYTES = 128 * 2**20
_FIRST_PART = 64
"""Frames from the beginning of a recording that the estimate is spread over."""


class ReplayCamera:
    """A recording as a camera (``core.camera.Camera``).

    Parameters
    ----------
    config : ReplayCameraConfig
        Which recording, at which pace, how often.
    clock : Clock, optional
        Source of time; tests inject one.
    """

    def __init__(self, config: ReplayCameraConfig, clock: Clock | None = None) -> None:
        self._config = config
        self._clock: Clock = clock or MonotonicClock()
        self.on_idle: Callable[[], None] = do_nothing
        self._source: RecordedFrames | None = None
        self._prepared: Prepared | None = None
        self._times_ns = np.zeros(0, np.int64)
        self._stream: ReplayStream | None = None

    def open(self) -> CameraInfo:
        """Open the recording.

        Raises
        ------
        ConfigError
            If none is named, it cannot be read, or ``bit_depth`` does not fit it.
        CameraError
            If the camera is open already.
        """
        config = self._config
        if self._source is not None:
            raise CameraError(f"camera {config.name} is open already", "close it first")
        if config.input is None:
            raise ConfigError(
                f"camera {config.name}: no recording to replay: the key 'input' is not set",
                "--input FILE, or input = '...' in the configuration",
            )
        source = open_source(config.input)
        try:
            bit_depth = _bit_depth(config, source)
        except ConfigError:
            source.close()
            raise
        self._source = source
        return CameraInfo(
            name=config.name,
            kind=config.kind,
            sensor=source.sensor,
            dtype=source.dtype,
            bit_depth=bit_depth,
            constants=source.constants,
            notes=(f"replay of {config.input}, {source.n_frames} frames", *source.notes),
        )

    def prepare(self, request: StreamRequest) -> Prepared:
        """Work out the pace and, where nobody knows them, the camera constants.

        Raises
        ------
        ConfigError
            If the recording has no times and its pace is asked for, or is damaged.
        CameraError
            If the camera is not open, or asked for what a recording cannot do: another region,
            binning, or a list of events.
        """
        source = self._need_source("prepare")
        self.stop()
        self._prepared, self._stream = None, None
        self._check(request, source)
        period_ns = self._period_ns(request, source)
        constants, notes = self._constants(source)
        config = self._config
        self._prepared = Prepared(
            shape=source.shape,
            max_shape=source.shape,
            dtype=source.dtype,
            bit_depth=_bit_depth(config, source),
            period_ns=period_ns,
            exposure_us=request.exposure_us or config.exposure_us or source.exposure_us,
            roi=source.roi,
            binning=source.binning,
            buffer_frames=0 if config.pace == "lossless" else config.buffer_frames,
            n_frames=_total_frames(config, source, request),
            lossless=config.pace == "lossless",
            constants=constants,
            notes=notes,
        )
        return self._prepared

    def start(self) -> None:
        """Begin at the first frame.

        Raises
        ------
        CameraError
            If the camera is not prepared.
        """
        if self._prepared is None:
            raise self._out_of_order("start", "prepare")
        self.stop()
        self._stream = ReplayStream(
            source=self._need_source("start"),
            prepared=self._prepared,
            timetable=self._timetable(self._prepared.period_ns),
            clock=self._clock,
            on_idle=self.on_idle,
        )

    def frames(self, get_slot: GetSlot) -> Iterator[Captured]:
        """Return the iterator over every frame delivered, in order, until stopped or exhausted.

        Raises
        ------
        CameraError
            At once if the camera is not started; while iterating if the recording is damaged.
        """
        if self._stream is None:
            raise self._out_of_order("frames", "start")
        return self._stream.frames(get_slot)

    def stop(self) -> None:
        """End the stream: idempotent, from any thread; ``frames`` then ends within 0.1 s."""
        stream = self._stream
        if stream is not None:
            stream.stop()

    def close(self) -> None:
        """Stop and close the recording. Idempotent."""
        self.stop()
        source, self._source = self._source, None
        self._prepared, self._stream = None, None
        if source is not None:
            source.close()

    def _timetable(self, period_ns: int) -> Timetable | None:
        match self._config.pace:
            case "lossless":
                return None
            case "recorded":
                return RecordedTimes(
                    start_ns=self._clock.now_ns(), times_ns=self._times_ns, period_ns=period_ns
                )
            case "rate":
                return Schedule(start_ns=self._clock.now_ns(), period_ns=period_ns)

    def _period_ns(self, request: StreamRequest, source: RecordedFrames) -> int:
        match self._config.pace:
            case "lossless":
                return 0
            case "recorded":
                return self._read_times(source)
            case "rate":
                rate_hz = request.rate_hz or self._config.rate_hz or 0.0
                return max(1, round(1e9 / rate_hz))

    def _read_times(self, source: RecordedFrames) -> int:
        if source.period_ns <= 0:
            raise ConfigError(
                f"{source.path}: the recording has no frame times, pace = 'recorded' needs them",
                "pace = 'rate' and rate_hz = ..., or pace = 'lossless'",
            )
        times = np.array([source.time_ns(index) for index in range(source.n_frames)], np.int64)
        # Times of a damaged clock or of several positions may go back: a replay cannot.
        self._times_ns = np.maximum.accumulate(times)
        return source.period_ns

    def _check(self, request: StreamRequest, source: RecordedFrames) -> None:
        name = self._config.name
        if request.events:
            raise CameraError(
                f"camera {name}: a recording takes no list of {len(request.events)} events",
                "replay it without",
            )
        if request.roi is not None and request.roi != source.roi:
            raise CameraError(
                f"camera {name}: region {request.roi} was asked for, the recording has "
                f"{source.roi}",
                "remove the key 'roi'",
            )
        if request.binning not in {1, source.binning}:
            raise CameraError(
                f"camera {name}: binning {request.binning} was asked for, the recording has "
                f"{source.binning}",
                "remove the key 'binning'",
            )

    def _constants(self, source: RecordedFrames) -> tuple[CameraConstants | None, tuple[str, ...]]:
        """Return the recording's constants, else ONE estimate, unless others are configured."""
        config = self._config
        given = config.calibration is not None or config.constants is not None
        if given or config.estimate_constants:
            return None, ()
        if source.constants is not None:
            note = f"camera constants of the recording ({source.constants.source})"
            return source.constants, (note,)
        constants = estimate_constants(source, _bit_depth(config, source))
        return constants, (constants.note,)

    def _need_source(self, step: str) -> RecordedFrames:
        if self._source is None:
            raise self._out_of_order(step, "open")
        return self._source

    def _out_of_order(self, step: str, missing: str) -> CameraError:
        return CameraError(
            f"camera {self._config.name}: {step} before {missing}",
            "the order is open, prepare, start, frames, stop, close",
        )


def estimate_constants(source: RecordedFrames, bit_depth: int) -> CameraConstants:
    """Estimate camera constants once, from at most 16 frames of a recording.

    Raises
    ------
    ConfigError
        If the recording is damaged at one of the frames, or nothing can be estimated from them.
    """
    from livedenoise.imaging.noise_fit import fit_constants

    indices = estimate_indices(source.n_frames, max(2, _ESTIMATE_BYTES // source.frame_nbytes))
    frames = [source.read(index) for index in indices]
    try:
        constants = fit_constants(frames, bit_depth=bit_depth)
    except ValueError as error:
        raise ConfigError(
            f"{source.path}: camera constants cannot be estimated: {error}",
            "constants = { gain_e_per_adu = ..., offset_adu = ..., read_noise_e = ... }",
        ) from error
    return msgspec.structs.replace(constants, source="estimated")


def estimate_indices(n_frames: int, most: int) -> list[int]:
    """Return which frames to estimate from: pairs of neighbours spread over the first part.

    The noise is measured between neighbours, so that motion and bleaching hardly enter; spreading
    the pairs averages over the scene.
    """
    count = min(n_frames, most, ESTIMATE_FRAMES)
    if n_frames <= 2 * count or count < 2:
        return list(range(count))
    starts = np.linspace(0, min(n_frames, _FIRST_PART) // 2 - 1, count // 2).round().astype(int)
    return [int(index) for start in starts for index in (2 * start, 2 * start + 1)]


def _bit_depth(config: ReplayCameraConfig, source: RecordedFrames) -> int:
    if config.bit_depth is None:
        return source.bit_depth
    if config.bit_depth > source.pixels.bits:
        raise ConfigError(
            f"camera {config.name}: bit_depth = {config.bit_depth}, but pixels of {source.path} "
            f"have {source.pixels.bits} bits",
            "remove the key 'bit_depth'",
        )
    return config.bit_depth


def _total_frames(
    config: ReplayCameraConfig, source: RecordedFrames, request: StreamRequest
) -> int | None:
    total = config.loops * source.n_frames if config.loops else None
    if request.n_frames is None:
        return total
    return request.n_frames if total is None else min(total, request.n_frames)
