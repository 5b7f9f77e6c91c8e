"""Calls over the bridge that do not end, in threads of their own, and how long they took."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from bridge.client import BridgeProcess

from livedenoise.core.errors import CameraError
from livedenoise.micromanager.java_core import JavaCore, connect_java

HOST = "127.0.0.1"
SHORT_S = 0.3
SOON_S = 1.0
"""For what takes no time at all, on a machine that others use too."""


@contextmanager
def attached(port: int, timeout_s: float = 5.0) -> Iterator[JavaCore]:
    core = connect_java(HOST, port, timeout_s)
    try:
        yield core
    finally:
        core.close()


def timed(call: Callable[[], object], error: type[CameraError]) -> tuple[CameraError, float]:
    """Return the error of a call and how long it took, in s."""
    began = time.perf_counter()
    with pytest.raises(error) as caught:
        call()
    return caught.value, time.perf_counter() - began


class Waiting:
    """A call in a thread of its own, and when and how it ended."""

    def __init__(self, call: Callable[[], object]) -> None:
        self.error: CameraError | None = None
        self.began_s, self.ended_s = time.perf_counter(), 0.0
        self._call = call
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._call()
        except CameraError as error:
            self.error = error
        self.ended_s = time.perf_counter()

    @property
    def alive(self) -> bool:
        """Return whether the call has not ended."""
        return self._thread.is_alive()

    def join(self) -> None:
        self._thread.join(10)
        assert not self._thread.is_alive()


def hanging_in(bridge: BridgeProcess, call: Callable[[], object], eventually: Any) -> Waiting:
    waiting = Waiting(call)
    eventually(lambda: bridge.traffic()["hanging"])
    return waiting
