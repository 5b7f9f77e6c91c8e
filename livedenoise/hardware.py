"""Where the shipped hardware configurations are: in the wheel, or beside the package in a clone."""

from __future__ import annotations

from pathlib import Path

from livedenoise.core.errors import ConfigError

_PACKAGE = Path(__file__).resolve().parent


def config_folder() -> Path:
    """Return the folder of the shipped configurations."""
    installed = _PACKAGE / "hardware_configs"
    return installed if installed.is_dir() else _PACKAGE.parent / "hardware_configs"


def shipped_configs() -> dict[str, Path]:
    """Return the shipped configurations by name."""
    return {path.stem: path for path in sorted(config_folder().glob("*.toml"))}


def find_config(name: str) -> Path:
    """Return the file a user means: a path, or the name of a shipped configuration.

    ``hardware_configs/NAME.toml`` is found wherever the program is started from.

    Raises
    ------
    ConfigError
        If there is neither; the shipped names are listed.
    """
    path = Path(name)
    if path.is_file():
        return path
    shipped = shipped_configs()
    wanted = path.stem if path.suffix == ".toml" else name
    if wanted in shipped and path.parent.name in ("", "hardware_configs"):
        return shipped[wanted]
    raise ConfigError(
        f"{name}: no such configuration file", f"shipped configurations: {', '.join(shipped)}"
    )
