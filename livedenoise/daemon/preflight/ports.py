"""Judging ports: who wants which, are they free, are they safe beyond this machine. Pure.

Knows: which sockets a configuration opens to others. Must not know: how a port is tried, what a
key looks like.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from livedenoise.core.check_facts import Finding, Level
from livedenoise.core.config import Config, NetworkCameraConfig


class PortUse(msgspec.Struct, frozen=True, kw_only=True):
    """One port a run will bind.

    ``port`` 0 means any free one; ``keys`` is the folder of CURVE keys, if any; ``key`` and
    ``keys_key`` are the configuration's names of endpoint and keys.
    """

    who: str
    host: str
    port: int
    keys: Path | None
    key: str
    keys_key: str

    @property
    def address(self) -> str:
        """Return ``host:port`` as ZeroMQ writes it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port or '*'}"


def ports_of(config: Config) -> list[PortUse]:
    """Return every port a configuration binds, metrics and frames of ``share`` included."""
    listening = [
        _listened(camera, index)
        for index, camera in enumerate(config.camera)
        if isinstance(camera, NetworkCameraConfig)
    ]
    return [*listening, *_shared(config)]


def _listened(camera: NetworkCameraConfig, index: int) -> PortUse:
    host, _, port = camera.listen.removeprefix("tcp://").rpartition(":")
    return PortUse(
        who=f"camera {camera.name}",
        host=host.strip("[]"),
        port=0 if port == "*" else int(port),
        keys=camera.keys,
        key=f"camera.{index}.listen",
        keys_key=f"camera.{index}.keys",
    )


def _shared(config: Config) -> list[PortUse]:
    share = config.share
    if not share.enabled:
        return []
    names = ["metrics"]
    if share.frames != "none":
        names += [f"frames of {camera.name}" for camera in config.camera]
    return [
        PortUse(
            who=f"share: {name}",
            host=share.host,
            port=share.port + offset,
            keys=share.keys,
            key="share.host",
            keys_key="share.keys",
        )
        for offset, name in enumerate(names)
    ]


def judge_port(use: PortUse, *, refused: str = "", mend: str = "", busy: str = "") -> Finding:
    """Judge one port.

    Parameters
    ----------
    use : PortUse
        Who wants which port.
    refused, mend : str
        Why it would not be bound whether free or not (exposed without keys, damaged keys) and
        what to do; empty for nothing.
    busy : str
        What the system said when it was tried, empty when it is free.
    """
    if use.port > 65535:
        return _network(use, "problem", f"{use.address} is no port", "ports end at 65535")
    if refused:
        return _network(use, "problem", refused, mend)
    if busy:
        mend = "end the program that has it, or choose another port"
        return _network(use, "problem", f"{use.address} cannot be bound: {busy}", mend)
    safety = "encrypted, known keys only" if use.keys else "this machine only"
    return _network(use, "ok", f"{use.address} is free ({safety})")


def judge_clashes(uses: list[PortUse]) -> list[Finding]:
    """Return a problem for each port that the configuration itself wants twice."""
    found = []
    for index, use in enumerate(uses):
        for other in uses[:index]:
            if use.port and use.port == other.port and _overlap(use.host, other.host):
                text = f"port {use.port} is also that of {other.who}"
                found.append(_network(use, "problem", text, "give one of them another port"))
    return found


def _overlap(first: str, second: str) -> bool:
    everywhere = ("*", "0.0.0.0", "::")  # noqa: S104  (compared, not bound)
    return first == second or first in everywhere or second in everywhere


def _network(use: PortUse, ok: Level, text: str, mend: str = "") -> Finding:
    return Finding(group="network", name=use.who, ok=ok, text=text, mend=mend)
