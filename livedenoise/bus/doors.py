"""Every socket a configuration opens to others, checked before anything starts.

Knows: the keys of the configuration that listen, and what they need. Must not know: sockets. The
same checks are made again where each socket is bound.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from livedenoise.bus.exposure import safe_endpoint
from livedenoise.bus.keys import server_keys
from livedenoise.core.config import Config, NetworkCameraConfig
from livedenoise.core.errors import ConfigError


class Door(msgspec.Struct, frozen=True, kw_only=True):
    """A place where others may connect; ``key`` and ``keys_key`` name the settings."""

    endpoint: str
    keys: Path | None
    key: str
    keys_key: str


def share_endpoint(config: Config, index: int = -1) -> str:
    """Return where metrics (``index`` -1) or the frames of camera ``index`` are published."""
    host = f"[{config.share.host}]" if ":" in config.share.host else config.share.host
    return f"tcp://{host}:{config.share.port + 1 + index}"


def doors(config: Config) -> list[Door]:
    """Return the sockets others may connect to, in the order of the configuration."""
    found = [
        Door(
            endpoint=camera.listen,
            keys=camera.keys,
            key=f"camera {camera.name}: listen",
            keys_key="keys",
        )
        for camera in config.camera
        if isinstance(camera, NetworkCameraConfig)
    ]
    if config.share.enabled:
        frames = 0 if config.share.frames == "none" else len(config.camera)
        found += [
            Door(
                endpoint=share_endpoint(config, index),
                keys=config.share.keys,
                key="share.host and share.port",
                keys_key="share.keys",
            )
            for index in range(-1, frames)
        ]
    return found


def check_doors(config: Config) -> None:
    """Refuse a configuration that would open a socket it must not, all problems at once.

    Raises
    ------
    ConfigError
        If a socket could be reached from other machines and has no keys, its keys cannot be used,
        or two sockets want the same port.
    """
    problems: dict[str, str] = {}
    seen: dict[str, str] = {}
    for door in doors(config):
        try:
            safe_endpoint(door.endpoint, door.keys, key=door.key, keys_key=door.keys_key)
            if door.keys is not None:
                server_keys(door.keys)
        except ConfigError as error:
            problems[error.message] = error.hint
        port = door.endpoint.rpartition(":")[2]
        if port != "*" and port in seen:
            text = f"port {port} is wanted twice: by {seen[port]} and by {door.key}"
            problems[text] = "give each its own port"
        seen[port] = door.key
    if problems:
        raise ConfigError("\n".join(problems), "; ".join(dict.fromkeys(problems.values())))
