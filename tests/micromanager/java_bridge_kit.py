"""One test bridge for all tests of a module, as new for each of them: a start takes long."""

from __future__ import annotations

from collections.abc import Iterator

import mm_test_adapters
import pytest
from bridge.client import BridgeProcess

from livedenoise.micromanager.java_core import JavaCore, connect_java


@pytest.fixture(scope="module")
def shared_bridge() -> Iterator[BridgeProcess]:
    """Start a bridge that must not be killed by a test."""
    process = BridgeProcess()
    yield process
    process.kill()


@pytest.fixture
def bridge(shared_bridge: BridgeProcess) -> BridgeProcess:
    """Return the module's bridge, which behaves, with its configuration loaded anew."""
    shared_bridge.order("release")
    shared_bridge.order("version", text="5.1.0")
    shared_bridge.order("numbering", period=0)
    shared_bridge.order("live", on=False, reader="peek")
    if shared_bridge.user("isSequenceRunning"):
        shared_bridge.user("stopSequenceAcquisition")
    folder = mm_test_adapters.device_adapter_path()
    shared_bridge.user("loadSystemConfiguration", f"{folder}/MMConfig_demo.cfg")
    shared_bridge.user("updateSystemStateCache")
    shared_bridge.user("clearCircularBuffer")
    return shared_bridge


@pytest.fixture
def core(bridge: BridgeProcess) -> Iterator[JavaCore]:
    """Return a core behind the module's bridge."""
    core = connect_java("127.0.0.1", bridge.port, 5.0)
    yield core
    core.close()
