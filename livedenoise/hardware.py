"""Where the shipped hardware configurations are: in the wheel, or beside the package in a clone."""

from __future__ import annotations

import tomllib
from difflib import get_close_matches
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
        If there is neither, or it is a folder: the names that are nearest are given, and all.
    """
    path = Path(name)
    if path.is_file():
        return path
    shipped = shipped_configs()
    wanted = path.stem if path.suffix == ".toml" else name
    if wanted in shipped and path.parent.name in ("", "hardware_configs"):
        return shipped[wanted]
    if path.is_dir():
        raise ConfigError(f"{name}: a folder, not a configuration file", _in_folder(path))
    raise ConfigError(f"{name}: no such configuration file", _nearest(path, shipped))


def files_beside(path: Path) -> list[Path]:
    """Return the files beside a configuration that its cameras load (``config_file``, ``input``).

    Without them a copy of it in another folder does not work. Names with a folder, and names of
    files that are not there (Micro-Manager has them), are the user's own affair.

    Raises
    ------
    ConfigError
        If it is not TOML.
    """
    try:
        cameras = tomllib.loads(path.read_text(encoding="utf-8")).get("camera", [])
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from error
    sections = [camera for camera in cameras if isinstance(camera, dict)]
    named = [camera.get(key) for camera in sections for key in ("config_file", "input")]
    plain = dict.fromkeys(n for n in named if isinstance(n, str) and n and Path(n).name == n)
    return [path.parent / name for name in plain if (path.parent / name).is_file()]


def _in_folder(folder: Path) -> str:
    """Return what a user who named a folder may have meant."""
    files = sorted(path.name for path in folder.glob("*.toml"))
    if not files:
        return f"there is no .toml file in it; shipped: {', '.join(shipped_configs())}"
    return f"name one of its files: {', '.join(files)}"


def _nearest(path: Path, shipped: dict[str, Path]) -> str:
    """Return the files beside ``path`` and shipped names most like it, then every shipped name."""
    stem = path.stem if path.suffix == ".toml" else path.name
    beside = {file.stem: str(file) for file in sorted(path.parent.glob("*.toml"))}
    choices = {name: name for name in shipped} | beside
    # Names of runs are written with hyphens, those of files with underscores.
    lowered = {name.lower().replace("-", "_"): name for name in choices}
    near = get_close_matches(stem.lower().replace("-", "_"), lowered, n=3, cutoff=0.6)
    meant = " or ".join(choices[lowered[match]] for match in near)
    every = f"shipped configurations: {', '.join(shipped)}"
    return f"did you mean {meant}? {every}" if meant else every
