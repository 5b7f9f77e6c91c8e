"""Options of one run that override the configuration file."""

from __future__ import annotations

from pathlib import Path

import msgspec

from livedenoise.core.config import Config, ReplayCameraConfig, parse_config
from livedenoise.core.errors import ConfigError


class RunOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What the command line adds to a configuration.

    ``seconds`` and ``frames`` None mean until the source ends or the user stops; ``frames`` is per
    camera. ``out`` is the folder run folders are made in.
    """

    seconds: float | None = None
    frames: int | None = None
    out: Path = Path("runs")
    input: Path | None = None
    model: str | None = None
    engine: str | None = None


def with_options(config: Config, options: RunOptions) -> Config:
    """Return the configuration with the options applied, checked again.

    Raises
    ------
    ConfigError
        If an option does not fit the configuration.
    """
    data = config.model_dump(mode="json")
    if options.model is not None:
        data["denoise"]["model"] = options.model
    if options.engine is not None:
        data["denoise"]["engine"] = options.engine
    if options.input is not None:
        replays = [c for c in config.camera if isinstance(c, ReplayCameraConfig)]
        if len(replays) != 1:
            raise ConfigError(
                f"--input needs exactly one camera of kind replay, {config.name} has "
                f"{len(replays)}",
                "use hardware_configs/replay.toml",
            )
        data["camera"][config.camera.index(replays[0])]["input"] = str(options.input.resolve())
    return parse_config(data, "options")
