"""Fixtures of the Micro-Manager tests: the test bridge in place of a running Micro-Manager."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from bridge.client import BridgeProcess, PrivateSockets
from pyjavaz import JavaObject

_HANGS_S = 60.0
"""Then pyjavaz's sockets are taken away. pytest's own limit would not end a test that hangs in an
acquisition of pycromanager: what it raises there meets a ``finally`` that waits again, for ever."""

StartBridge = Callable[..., BridgeProcess]


@pytest.fixture
def pyjavaz_sockets(leak_guard: None) -> Iterator[PrivateSockets]:
    """Let pyjavaz start fresh in this test, and end with it whatever hangs."""
    del leak_guard  # only named so that it looks after this fixture has cleaned up
    sockets = PrivateSockets()
    watchdog = threading.Timer(_HANGS_S, sockets.close)
    watchdog.name = "watchdog of pyjavaz"
    watchdog.start()
    yield sockets
    watchdog.cancel()
    watchdog.join()
    sockets.close()


@pytest.fixture
def start_bridge(pyjavaz_sockets: PrivateSockets) -> Iterator[StartBridge]:
    """Start test bridges: ``start_bridge(port=0, configuration=..., buffer_mb=64)``."""
    del pyjavaz_sockets
    started: list[BridgeProcess] = []

    def start(**options: Any) -> BridgeProcess:
        started.append(BridgeProcess(**options))
        return started[-1]

    yield start
    for process in started:
        process.kill()


@pytest.fixture
def bridge(start_bridge: StartBridge) -> BridgeProcess:
    """Return a running test bridge: ``.port``, ``.order(...)``, ``.fault(...)``, ``.state()``."""
    return start_bridge()


@pytest.fixture(scope="module")
def module_bridge() -> Iterator[BridgeProcess]:
    """Run one test bridge for a module; tests take it by ``calm_bridge``."""
    process = BridgeProcess()
    yield process
    process.kill()


@pytest.fixture
def calm_bridge(module_bridge: BridgeProcess, pyjavaz_sockets: PrivateSockets) -> BridgeProcess:
    """Return the module's test bridge as new; for tests that do not kill or silence it: faster."""
    del pyjavaz_sockets
    module_bridge.order("reset")
    return module_bridge


@pytest.fixture
def acquisition_bridge(bridge: BridgeProcess, monkeypatch: pytest.MonkeyPatch) -> BridgeProcess:
    """Return a test bridge for ``pycromanager.Acquisition(port=...)`` with images kept in memory.

    pycromanager 1.0.2 reads such images over the default port, whatever port it was given: here
    the default is the port of this bridge.
    """
    defaults = JavaObject.__new__.__defaults__
    assert defaults is not None
    assert defaults[1] == 4827, "pyjavaz has changed: the second default was the port"
    changed = (defaults[0], bridge.port, *defaults[2:])
    monkeypatch.setattr(JavaObject.__new__, "__defaults__", changed)
    return bridge
