"""Micro-Manager microscopes for tests: the demonstration devices, over both backends."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from demo_kit import FAST, demo_config

from livedenoise.core.config import MicroManagerCameraConfig, load_config
from livedenoise.core.microscope import MicroscopeInfo
from livedenoise.micromanager.core import Core
from livedenoise.microscope.micromanager import MicroManagerMicroscope

BEADS = Path(__file__).resolve().parents[2] / "hardware_configs" / "micromanager_beads.toml"


def demo_scope(**changes: Any) -> MicroManagerMicroscope:
    """Return the demonstration microscope of our own core, not yet open."""
    return MicroManagerMicroscope(demo_config(**changes))


def java_config(port: int, **changes: Any) -> MicroManagerCameraConfig:
    """Return the configuration of the microscope behind a (test) bridge."""
    facts = {
        "kind": "micromanager",
        "name": "scope",
        "backend": "java",
        "port": port,
        "call_timeout_s": 2.0,
        "properties": {"Camera": FAST},
    }
    return MicroManagerCameraConfig.model_validate(facts | changes)


def beads_config(**microscope: Any) -> MicroManagerCameraConfig:
    """Return the shipped beads, with some keys of ``[camera.microscope]`` changed."""
    camera = load_config(BEADS).camera[0]
    assert isinstance(camera, MicroManagerCameraConfig)
    return camera.model_copy(update={"microscope": camera.microscope.model_copy(update=microscope)})


@contextmanager
def opened(
    scope: MicroManagerMicroscope,
) -> Iterator[tuple[MicroManagerMicroscope, MicroscopeInfo]]:
    """Open a microscope, and close it in the end."""
    try:
        yield scope, scope.open()
    finally:
        scope.close()


def core_behind(scope: MicroManagerMicroscope) -> Core:
    """Return the core of an open microscope, to do to it what a user or fate would."""
    assert scope._core is not None
    return scope._core
