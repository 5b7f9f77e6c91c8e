"""Sections of the configuration besides the cameras: rings, denoiser, recording, daemon, views."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field


class Strict(BaseModel):
    """Base of every section: unknown keys refused, values never changed after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class RingConfig(Strict):
    """Shared-memory rings: as many slots as fit the memory, within the two bounds."""

    memory_mb: int = Field(default=1024, ge=1, description="upper bound of one ring, MiB")
    max_slots: int = Field(
        default=256, ge=8, le=65536, description="upper bound of one ring, frames"
    )
    lease_timeout_ms: int = Field(
        default=2000, ge=10, description="age at which a viewer no longer protects its frame"
    )


class DenoiseConfig(Strict):
    """The live denoiser. ``policy`` ``latest`` skips frames when behind; ``lossless`` waits."""

    enabled: bool = Field(default=True, description="no records raw frames only")
    engine: Literal["auto", "identity", "openvino", "onnxruntime"] = Field(
        default="auto", description="auto: OpenVINO, else ONNX Runtime; identity copies"
    )
    model: str = Field(
        default="realtime-m", description="name of a shipped model, or a folder (with a slash)"
    )
    precision: Literal["auto", "fp32"] = Field(default="auto", description="auto is fp32 on a CPU")
    policy: Literal["auto", "latest", "lossless"] = Field(
        default="auto", description="auto: latest, but lossless for a replay that waits"
    )
    max_backlog: int = Field(
        default=3, ge=1, description="frames that may wait before latest jumps to the newest"
    )
    max_age_periods: float = Field(
        default=2.0, gt=0, description="age of the oldest, in frame periods, that makes it jump"
    )
    max_failures: int = Field(default=3, ge=1, description="failures in a row that kill the engine")
    threads: int = Field(default=0, ge=0, description="0 lets the engine choose")
    estimate_frames: int = Field(
        default=16, ge=4, le=256, description="first frames the camera constants are estimated from"
    )

    def anchored(self, base: Path) -> Self:
        """Return a copy whose model, when it is a relative folder, starts at ``base``."""
        if "/" not in self.model or Path(self.model).is_absolute():
            return self
        return self.model_copy(update={"model": str(base / self.model)})


class RecordConfig(Strict):
    """What is written. Raw is always lossless; clean is a second stream in a second file."""

    raw: bool = Field(default=True, description="record the raw frames")
    clean: bool = Field(default=False, description="record the denoised frames too")
    part_size_mb: int = Field(default=4096, ge=1, description="roll over to the next part file")
    fsync_every: int = Field(
        default=0, ge=0, description="frames between fsync; 0 leaves it to the system"
    )


class StatusConfig(Strict):
    """How often the stages report and the screen is redrawn."""

    report_ms: int = Field(default=200, ge=20, description="time between the stages' reports")
    refresh_hz: float = Field(default=5.0, gt=0, le=30, description="redraws of the screen")
    drain_timeout_s: float = Field(
        default=30.0, gt=0, description="time without progress after which draining is given up"
    )
    stall_timeout_s: float = Field(
        default=5.0, gt=0, description="silence after which a camera or a denoiser counts as hung"
    )


class SuperviseConfig(Strict):
    """When a stage process is replaced, and how often.

    A stage that died, or that says nothing for ``silence_s``, or a denoiser whose loop does not
    move for as long, is replaced at most ``restarts`` times within ``window_s``; after that it
    stays dead, and the run goes on without it as far as it can.
    """

    restarts: int = Field(default=5, ge=0, description="replacements of one stage in the window")
    window_s: float = Field(default=60.0, gt=0, description="the window, seconds")
    silence_s: float = Field(
        default=1.5, ge=0.2, description="silence after which a process counts as hung"
    )


class ViewConfig(Strict):
    """Live quality figures and the small picture, made beside the denoiser from some frames."""

    enabled: bool = Field(default=True, description="measure and show; no saves 5 % of a core")
    sample_hz: float = Field(default=3.0, gt=0, le=50, description="samples of quality a second")
    window: int = Field(
        default=50, ge=20, le=1000, description="samples in the moving average of each figure"
    )
    preview_px: int = Field(
        default=96, ge=16, le=256, description="longer edge of the small pictures"
    )


class ShareConfig(Strict):
    """Frames and metrics for subscribers (``livedenoise.client``).

    Metrics are published on ``port``, the frames of the first camera on ``port + 1``, of the
    second on ``port + 2`` and so on. A ``host`` beyond loopback needs ``keys``, a folder made by
    ``livedenoise keys``.
    """

    enabled: bool = Field(default=False, description="publish frames and metrics")
    host: str = Field(
        default="127.0.0.1", pattern=r"^[A-Za-z0-9.:_-]+$", description="address to bind"
    )
    port: int = Field(default=5580, ge=1024, le=65000, description="first port")
    frames: Literal["clean", "raw", "both", "none"] = Field(
        default="clean", description="which frames are published"
    )
    max_hz: float = Field(
        default=30.0, gt=0, le=1000, description="frames a second of each stream; others are left"
    )
    keys: Path | None = Field(default=None, description="folder of CURVE keys (server)")

    def anchored(self, base: Path) -> Self:
        """Return a copy whose relative paths start at ``base``."""
        if self.keys is None or self.keys.is_absolute():
            return self
        return self.model_copy(update={"keys": base / self.keys})
