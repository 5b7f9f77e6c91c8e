"""The simulated camera: frames with the noise of a real sensor, at the pace of a real camera.

Knows: the life cycle of ``core.camera.Camera``, and which request makes which pool of frames.
Must not know: rings, sequence numbers of the run, how scenes and noise are made.

Pacing. Frame k is complete at ``start + (k + 1) * period`` (``acquire.pacing``), and that
deadline is its ``t_host_ns``, whenever the simulator gets round to serving it: a late simulator
cannot flatter a latency. What is late waits in the camera's own buffer (``paced_stream``).

What repeats: see ``docs/simulated-camera.md``.

Example
-------
>>> from livedenoise.core.camera import StreamRequest
>>> from livedenoise.core.camera_config import SensorConfig
>>> camera = SimulatedCamera(
...     SimulatedCameraConfig(
...         kind="simulated", pool_frames=2, sensor=SensorConfig(width_px=32, height_px=16)
...     )
... )
>>> camera.open().sensor
(16, 32)
>>> camera.prepare(StreamRequest(exposure_us=10000)).period_ns
10000000
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from livedenoise.acquire.camera_faults import FaultPlan
from livedenoise.acquire.frame_pool import FramePool, FrameRenderer
from livedenoise.acquire.paced_stream import PacedStream
from livedenoise.acquire.pacing import Schedule, do_nothing
from livedenoise.acquire.scene_field import SceneField
from livedenoise.acquire.stream_limits import check_request, resized_roi, stream_period_ns
from livedenoise.core.camera import CameraInfo, Captured, GetSlot, Prepared, StreamRequest
from livedenoise.core.camera_config import SimulatedCameraConfig
from livedenoise.core.clock import Clock, MonotonicClock
from livedenoise.core.errors import CameraError
from livedenoise.imaging.sensor import counts_dtype, draw_maps, readout_ns, sensor_constants

FloatImage = npt.NDArray[np.float32]
Roi = tuple[int, int, int, int]


class SimulatedCamera:
    """A camera with the noise of a real sensor (``core.camera.Camera``).

    Parameters
    ----------
    config : SimulatedCameraConfig
        Sensor, scene, faults, pool and seed. Exposure, rate, region and binning come with the
        request.
    clock : Clock, optional
        Source of time; tests inject one.
    """

    def __init__(self, config: SimulatedCameraConfig, clock: Clock | None = None) -> None:
        self._config = config
        self._clock: Clock = clock or MonotonicClock()
        self.on_idle: Callable[[], None] = do_nothing
        self._faults = FaultPlan(config.faults, config.seed, config.name)
        self._is_open = False
        self._field: SceneField | None = None
        self._prepared: Prepared | None = None
        self._pools: tuple[FramePool, ...] = ()
        self._stream: PacedStream | None = None

    def open(self) -> CameraInfo:
        """Describe the camera.

        Raises
        ------
        CameraError
            If it is open already.
        """
        config, sensor = self._config, self._config.sensor
        if self._is_open:
            raise CameraError(f"camera {config.name} is open already", "close it first")
        self._is_open = True
        full_ns = readout_ns(sensor, sensor.height_px)
        return CameraInfo(
            name=config.name,
            kind=config.kind,
            sensor=(sensor.height_px, sensor.width_px),
            dtype=counts_dtype(sensor.bit_depth).str,
            bit_depth=sensor.bit_depth,
            constants=sensor_constants(sensor),
            quantum_efficiency=sensor.quantum_efficiency,
            max_rate_hz=1e9 / full_ns if full_ns else 0.0,
            capabilities=("roi", "binning", "truth"),
        )

    def prepare(self, request: StreamRequest) -> Prepared:
        """Check the request and render the frames.

        Raises
        ------
        CameraError
            If exposure, rate, region or binning are beyond the sensor, or a frame beyond
            ``pool_mb``; the message names both values.
        """
        if not self._is_open:
            raise self._out_of_order("prepare", "open")
        self.stop()
        # The old frames go first: two pools at a time would break the bound of ``pool_mb``.
        self._prepared, self._pools, self._stream = None, (), None
        config = self._config
        roi = check_request(config, request)
        period_ns = stream_period_ns(config, request, roi[3])
        regions = [roi]
        if self._faults.resizes:
            regions.append(resized_roi(config, roi, request.binning))
        loop_frames = _pool_frames(config, regions, request.binning)
        frames = min(loop_frames, request.n_frames or loop_frames)
        self._pools = tuple(
            FramePool(self._renderer(request, region, period_ns, loop_frames), frames)
            for region in regions
        )
        self._prepared = self._describe(request, roi, period_ns)
        return self._prepared

    def start(self) -> None:
        """Begin the first exposure.

        Raises
        ------
        CameraError
            If the camera is not prepared.
        """
        prepared, faults = self._need_prepared("start"), self._config.faults
        self.stop()
        schedule = Schedule(
            start_ns=self._clock.now_ns(),
            period_ns=prepared.period_ns,
            stall_at=faults.stall_at_frame,
            stall_ns=round(faults.stall_s * 1e9),
            burst_at=faults.burst_at_frame,
            burst_frames=faults.burst_frames,
        )
        self._stream = PacedStream(
            prepared=prepared,
            pools=self._pools,
            schedule=schedule,
            faults=self._faults,
            clock=self._clock,
            on_idle=self.on_idle,
            channel=self._config.channel,
        )

    def frames(self, get_slot: GetSlot) -> Iterator[Captured]:
        """Return the iterator over every frame delivered, in order, until stopped or exhausted.

        Raises
        ------
        CameraError
            At once if the camera is not started; while iterating if it loses its connection.
        """
        if self._stream is None:
            raise self._out_of_order("frames", "start")
        return self._stream.frames(get_slot)

    def stop(self) -> None:
        """End the stream: idempotent, from any thread; ``frames`` then ends within 0.3 s."""
        stream = self._stream
        if stream is not None:
            stream.stop()

    def close(self) -> None:
        """Stop and forget the frames. Idempotent."""
        self.stop()
        self._prepared, self._pools, self._stream, self._field = None, (), None, None
        self._is_open = False

    def truth(self, camera_seq: int) -> FloatImage:
        """Return what a perfect denoiser would find in the frame with this ``camera_seq``.

        Parameters
        ----------
        camera_seq : int
            The camera's own number of the frame.

        Returns
        -------
        ndarray
            float32 (Y, X): mean electrons after quantum efficiency, thermal electrons
            included, before EM gain, not clipped at the full well.

        Raises
        ------
        CameraError
            If the camera is not prepared.
        """
        self._need_prepared("truth")
        return self._pools[1 if self._faults.resized(camera_seq) else 0].truth(camera_seq)

    def save_truth(self, path: Path) -> None:
        """Write the true electrons of the pool: one float32 TIFF page for each pool frame.

        The page of a frame is ``camera_seq % pages``. After a resize fault there is no page.

        Raises
        ------
        CameraError
            If there is no pool, or the file cannot be written.
        """
        self._need_prepared("save_truth")
        pool = self._pools[0]
        if not len(pool):
            raise CameraError(
                f"camera {self._config.name}: the truth needs pool_frames > 0, got 0",
                "set pool_frames, or save_truth = false",
            )
        import tifffile

        note = f"mean electrons per pixel; page = camera_seq % {len(pool)}"
        try:
            with tifffile.TiffWriter(path, bigtiff=True) as tiff:
                for truth in pool.truths():
                    tiff.write(truth, contiguous=False, description=note, metadata=None)
        except OSError as error:
            raise CameraError(
                f"{path}: the truth cannot be written: {error}", "check space and permissions"
            ) from error

    def _describe(self, request: StreamRequest, roi: Roi, period_ns: int) -> Prepared:
        sensor, pool = self._config.sensor, self._pools[0]
        repeats = f"every {len(pool)} frames repeat" if len(pool) else "no frame repeats"
        return Prepared(
            shape=pool.shape,
            max_shape=pool.shape,
            dtype=counts_dtype(sensor.bit_depth).str,
            bit_depth=sensor.bit_depth,
            period_ns=period_ns,
            exposure_us=request.exposure_us,
            roi=roi,
            binning=request.binning,
            buffer_frames=sensor.buffer_frames,
            n_frames=request.n_frames,
            constants=sensor_constants(sensor, request.binning),
            notes=(repeats,),
        )

    def _renderer(
        self, request: StreamRequest, roi: Roi, period_ns: int, loop_frames: int
    ) -> FrameRenderer:
        config, sensor = self._config, self._config.sensor
        if self._field is None:
            size = (sensor.height_px, sensor.width_px)
            self._field = SceneField(config.scene, size, config.seed)
        # A resize fault may go beyond the sensor: the maps then go on where the sensor ends.
        reach = {
            "width_px": max(sensor.width_px, roi[0] + roi[2]),
            "height_px": max(sensor.height_px, roi[1] + roi[3]),
        }
        maps = draw_maps(sensor.model_copy(update=reach), config.seed, roi, request.binning)
        return FrameRenderer(
            field=self._field,
            sensor=sensor,
            maps=maps,
            roi=roi,
            binning=request.binning,
            exposure_us=request.exposure_us,
            period_ns=period_ns,
            seed=config.seed,
            loop_frames=loop_frames,
        )

    def _need_prepared(self, step: str) -> Prepared:
        if self._prepared is None:
            raise self._out_of_order(step, "prepare")
        return self._prepared

    def _out_of_order(self, step: str, missing: str) -> CameraError:
        return CameraError(
            f"camera {self._config.name}: {step} before {missing}",
            "the order is open, prepare, start, frames, stop, close",
        )


def _pool_frames(config: SimulatedCameraConfig, regions: list[Roi], binning: int) -> int:
    """Return how many frames of every region are kept: as many as ``pool_mb`` holds."""
    if not config.pool_frames:
        return 0
    itemsize = counts_dtype(config.sensor.bit_depth).itemsize
    nbytes = sum(width * height * itemsize // binning**2 for _, _, width, height in regions)
    fitting = config.pool_mb * 2**20 // nbytes
    if not fitting:
        raise CameraError(
            f"camera {config.name}: one frame needs {nbytes / 2**20:.1f} MiB, pool_mb is "
            f"{config.pool_mb}",
            "raise pool_mb, or set pool_frames = 0 to render every frame",
        )
    return min(config.pool_frames, fitting)
