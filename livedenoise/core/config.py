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
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field, ValidationError, model_validator
from pydantic_core import ErrorDetails

from livedenoise.core.camera_config import (
    CameraBase,
    NetworkCameraConfig,
    ReplayCameraConfig,
    SceneConfig,
    SensorConfig,
    SimulatedCameraConfig,
)
from livedenoise.core.config_problems import describe, read_toml
from livedenoise.core.config_sections import (
    DenoiseConfig,
    RecordConfig,
    RingConfig,
    ShareConfig,
    StatusConfig,
    Strict,
    SuperviseConfig,
    ViewConfig,
)
from livedenoise.core.errors import ConfigError
from livedenoise.core.micromanager_config import MicroManagerCameraConfig
from livedenoise.core.rig_rules import forward_problems, owner_problems

__all__ = [
    "CameraConfig",
    "Config",
    "DenoiseConfig",
    "MicroManagerCameraConfig",
    "NetworkCameraConfig",
    "RecordConfig",
    "ReplayCameraConfig",
    "RingConfig",
    "SceneConfig",
    "SensorConfig",
    "ShareConfig",
    "SimulatedCameraConfig",
    "StatusConfig",
    "SuperviseConfig",
    "ViewConfig",
    "load_config",
    "parse_config",
]

_RIG_HINT = "several cameras of one core: docs/micromanager.md#several-cameras-of-one-core"

CameraConfig = Annotated[
    SimulatedCameraConfig | ReplayCameraConfig | NetworkCameraConfig | MicroManagerCameraConfig,
    Field(discriminator="kind"),
]


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
    supervise: SuperviseConfig = SuperviseConfig()
    view: ViewConfig = ViewConfig()
    share: ShareConfig = ShareConfig()

    @model_validator(mode="after")
    def _camera_names_differ(self) -> Self:
        names = [camera.name for camera in self.camera]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"camera names must differ, used twice: {', '.join(twice)}")
        return self

    @model_validator(mode="after")
    def _one_owner_each(self) -> Self:
        problems = owner_problems(self.camera)
        if problems:
            raise ValueError("; ".join(problems))
        return self


def load_config(path: Path) -> Config:
    """Read and check a TOML file.

    Raises
    ------
    ConfigError
        If the file is missing, is not TOML, or any key is wrong: all problems at once.
    """
    data = read_toml(path, "configuration file")
    return parse_config(data, str(path), base=path.resolve().parent)


def parse_config(data: dict[str, Any], name: str, base: Path | None = None) -> Config:
    """Check a configuration already read; ``name`` is the file that messages name.

    Relative paths in the configuration are taken from ``base``, the file's own folder. With it
    the file is whole: what one camera needs of another must be there too.

    Raises
    ------
    ConfigError
        One line for every problem: ``name:dotted.key: problem (got value)``.
    """
    try:
        # JSON mode is strict (no true for 1, no "5" for 5) and still takes text as a path.
        config = Config.model_validate_json(json.dumps(data, default=str), strict=True)
    except ValidationError as error:
        found = error.errors(include_url=False)
        lines = [describe(name, problem, _keys(problem)) for problem in found]
        raise ConfigError("\n".join(lines), "mend the keys named above") from None
    if base is None:
        return config
    cameras = [_anchored(camera, base) for camera in config.camera]
    problems = [*owner_problems(cameras), *forward_problems(cameras)]
    if problems:
        raise ConfigError("\n".join(f"{name}:{problem}" for problem in problems), _RIG_HINT)
    denoise, share = config.denoise.anchored(base), config.share.anchored(base)
    return config.model_copy(update={"camera": cameras, "denoise": denoise, "share": share})


def _anchored(camera: CameraBase, base: Path) -> CameraBase:
    return camera.anchored(base)


def _keys(problem: ErrorDetails) -> list[object]:
    keys: list[object] = list(problem["loc"])
    if keys[:1] == ["camera"]:
        # camera.0.simulated.seed: the third part is the kind of the camera, not a key.
        del keys[2:3]
    return keys
