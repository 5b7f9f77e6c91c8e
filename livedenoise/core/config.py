"""The configuration of a run: strict models of the TOML file.

Every key carries its unit. Unknown keys are refused. All problems of a file are reported at once,
one a line, as ``file:dotted.key: problem``.

Example
-------
>>> config = parse_config({"camera": [{"kind": "simulated", "name": "sim"}]}, "example")
>>> config.camera[0].exposure_us
10000
"""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails

from livedenoise.core.camera_config import (
    CameraBase,
    ReplayCameraConfig,
    SceneConfig,
    SensorConfig,
    SimulatedCameraConfig,
)
from livedenoise.core.errors import ConfigError

__all__ = [
    "CameraConfig",
    "Config",
    "DenoiseConfig",
    "RecordConfig",
    "ReplayCameraConfig",
    "RingConfig",
    "SceneConfig",
    "SensorConfig",
    "SimulatedCameraConfig",
    "StatusConfig",
    "load_config",
    "parse_config",
]

CameraConfig = Annotated[
    SimulatedCameraConfig | ReplayCameraConfig,
    Field(discriminator="kind"),
]


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


class Config(Strict):
    """One rig: cameras, and what to do with their frames."""

    name: str = Field(
        default="run", pattern=r"^[A-Za-z0-9._-]+$", description="part of the run folder's name"
    )
    description: str = Field(default="", description="one line for people")
    camera: list[CameraConfig] = Field(min_length=1)
    ring: RingConfig = RingConfig()
    denoise: DenoiseConfig = DenoiseConfig()
    record: RecordConfig = RecordConfig()
    status: StatusConfig = StatusConfig()

    @model_validator(mode="after")
    def _camera_names_differ(self) -> Self:
        names = [camera.name for camera in self.camera]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"camera names must differ, used twice: {', '.join(twice)}")
        return self


def load_config(path: Path) -> Config:
    """Read and check a TOML file.

    Raises
    ------
    ConfigError
        If the file is missing, is not TOML, or any key is wrong: all problems at once.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such configuration file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from error
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: not valid TOML: {error}") from error
    return parse_config(data, str(path), base=path.resolve().parent)


def parse_config(data: dict[str, Any], name: str, base: Path | None = None) -> Config:
    """Check a configuration already read; ``name`` is the file that messages name.

    Relative paths in the configuration are taken from ``base``, the file's own folder.

    Raises
    ------
    ConfigError
        One line for every problem: ``name:dotted.key: problem (got value)``.
    """
    try:
        # JSON mode is strict (no true for 1, no "5" for 5) and still takes text as a path.
        config = Config.model_validate_json(json.dumps(data, default=str), strict=True)
    except ValidationError as error:
        lines = [_describe(name, problem) for problem in error.errors(include_url=False)]
        raise ConfigError("\n".join(lines), "mend the keys named above") from None
    if base is None:
        return config
    cameras = [_anchored(camera, base) for camera in config.camera]
    denoise = config.denoise.anchored(base)
    return config.model_copy(update={"camera": cameras, "denoise": denoise})


def _anchored(camera: CameraBase, base: Path) -> CameraBase:
    return camera.anchored(base)


def _describe(name: str, problem: ErrorDetails) -> str:
    keys = [str(part) for part in problem["loc"]]
    text = problem["msg"].removeprefix("Value error, ")
    if keys[:1] == ["camera"]:
        # camera.0.simulated.seed: the third part is the kind of the camera, not a key.
        del keys[2:3]
    value = problem.get("input")
    if problem["type"] == "union_tag_not_found":
        keys, text = [*keys, "kind"], "Field required"
    elif problem["type"] == "union_tag_invalid":
        keys, value = [*keys, "kind"], problem["ctx"]["tag"]
        text = f"Input should be one of {problem['ctx']['expected_tags']}"
    shown = (
        ""
        if isinstance(value, dict | list) or problem["type"] == "missing"
        else f" (got {value!r})"
    )
    return f"{name}:{'.'.join(keys) or '(file)'}: {text}{shown}"
