"""What a run will ask of the machine, worked out from the configuration and its cameras. Pure.

Knows: frames, rates and streams of each camera. Must not know: what the machine has.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from livedenoise.core.camera import CameraInfo, Prepared
from livedenoise.core.config import Config, NetworkCameraConfig
from livedenoise.core.frame import frame_nbytes
from livedenoise.daemon.plan import CameraFacts

DAEMON_PROCESSES = 1


class Demand(msgspec.Struct, frozen=True, kw_only=True):
    """What one camera's frames ask for.

    Attributes
    ----------
    shape : tuple of int
        (Y, X), pixels.
    fps : float
        Frames a second the camera delivers; 0 when it waits for its readers or does not say.
    waits : bool
        Whether the source waits for its readers, so that nothing can be lost.
    denoise : str
        ``off``, ``latest`` (skips when behind) or ``lossless``.
    raw, clean : bool
        Which streams are recorded.
    n_frames : int or None
        Frames in all, where the source ends by itself.
    """

    camera: str
    shape: tuple[int, int]
    dtype: str
    fps: float
    waits: bool
    denoise: str
    raw: bool
    clean: bool
    n_frames: int | None = None

    @property
    def frame_bytes(self) -> int:
        """Return the bytes of one frame's pixels."""
        return frame_nbytes(self.shape, self.dtype)

    @property
    def mb_per_s(self) -> float:
        """Return 1e6 bytes of raw pixels a second."""
        return self.fps * self.frame_bytes * 1e-6

    @property
    def recorded_streams(self) -> int:
        """Return how many streams of this size are written."""
        return int(self.raw) + int(self.clean)


def demand_of(config: Config, facts: CameraFacts) -> Demand:
    """Return what a camera that said ``facts`` asks for."""
    prepared, denoise = facts.prepared, config.denoise
    policy = denoise.policy
    if policy == "auto":
        policy = "lossless" if prepared.lossless else "latest"
    return Demand(
        camera=facts.info.name,
        shape=prepared.shape,
        dtype=prepared.dtype,
        fps=1e9 / prepared.period_ns if prepared.period_ns else 0.0,
        waits=prepared.lossless,
        denoise=policy if denoise.enabled else "off",
        raw=config.record.raw,
        clean=config.record.clean and denoise.enabled,
        n_frames=prepared.n_frames,
    )


def network_facts(camera: NetworkCameraConfig) -> CameraFacts:
    """Return what a network camera will be: its configuration says it, before anyone sends."""
    shape = (camera.height_px, camera.width_px)
    dtype = "|u1" if camera.bit_depth == 8 else "<u2"
    info = CameraInfo(
        name=camera.name, kind=camera.kind, sensor=shape, dtype=dtype, bit_depth=camera.bit_depth
    )
    prepared = Prepared(
        shape=shape,
        max_shape=shape,
        dtype=dtype,
        bit_depth=camera.bit_depth,
        period_ns=round(1e9 / camera.rate_hz) if camera.rate_hz else 0,
        exposure_us=camera.exposure_us,
        roi=(0, 0, camera.width_px, camera.height_px),
        buffer_frames=camera.buffer_frames,
    )
    return CameraFacts(info=info, prepared=prepared)


def recording_bytes_per_s(demands: Sequence[Demand]) -> float:
    """Return the bytes a second all recorders of the run write together."""
    return sum(d.fps * d.frame_bytes * d.recorded_streams for d in demands)


def recording_bytes(demands: Sequence[Demand]) -> int | None:
    """Return the bytes of the whole recording, None when some source does not end by itself."""
    total = 0
    for demand in demands:
        if demand.n_frames is None:
            return None
        total += demand.n_frames * demand.frame_bytes * demand.recorded_streams
    return total


def process_count(config: Config) -> int:
    """Return the processes of a run: the stages of each camera, and the daemon."""
    denoise, record = config.denoise.enabled, config.record
    stages = 1 + int(record.raw) + int(denoise) + int(denoise and record.clean)
    stages += int(config.view.enabled or config.share.enabled)
    return stages * len(config.camera) + DAEMON_PROCESSES
