"""A network camera for tests, taking frames in a thread; strangers that speak to its socket."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import numpy as np
import pytest
import zmq

from livedenoise.acquire.network import NetworkCamera
from livedenoise.bus import frames_wire as spoken
from livedenoise.bus.context import Context, new_context
from livedenoise.bus.curve import Gate, open_client
from livedenoise.bus.keys import make_client_keys, make_server_keys
from livedenoise.core.camera import Captured, StreamRequest
from livedenoise.core.camera_config import NetworkCameraConfig
from livedenoise.core.frame import Frame

SHAPE = (48, 64)


def network_config(**changes: Any) -> NetworkCameraConfig:
    """Return a 64x48 network camera at a port of its own choice."""
    facts = {
        "kind": "network",
        "name": "net",
        "listen": "tcp://127.0.0.1:*",
        "width_px": SHAPE[1],
        "height_px": SHAPE[0],
    }
    return NetworkCameraConfig.model_validate(facts | changes)


def numbered(number: int, shape: tuple[int, int] = SHAPE, dtype: str = "<u2") -> Frame:
    """Return a frame that no other number has: its number, then a pattern made from it."""
    rng = np.random.default_rng(number)
    pixels: Frame = rng.integers(0, 255, shape, dtype=np.uint8).astype(np.dtype(dtype))
    pixels[0, 0] = number % 256
    return pixels


class Taking:
    """A running camera: ``frames`` and ``pixels`` grow while it takes them."""

    def __init__(self, config: NetworkCameraConfig, n_frames: int | None = None) -> None:
        self.camera = NetworkCamera(config)
        self.camera.open()
        self.camera.prepare(StreamRequest(exposure_us=0, n_frames=n_frames))
        self.camera.start()
        self.endpoint = self.camera.endpoint
        self.full = False
        self.idle = 0
        self.frames: list[Captured] = []
        self.pixels: list[Frame] = []
        self.error: BaseException | None = None
        self.camera.on_idle = self._count_idle
        self._slot: Frame | None = None
        self._thread = threading.Thread(target=self._run, name="taking")
        self._thread.start()

    def counter(self, name: str) -> int:
        """Return one of the camera's counters."""
        return self.camera.counters().get(name, 0)

    def end(self) -> None:
        """Stop and close."""
        self.camera.stop()
        self._thread.join(5)
        self.camera.close()

    def join(self, timeout_s: float = 5.0) -> None:
        """Wait for the stream to end by itself."""
        self._thread.join(timeout_s)
        assert not self._thread.is_alive(), "the stream does not end"

    def _count_idle(self) -> None:
        self.idle += 1

    def _get_slot(self, shape: tuple[int, int], dtype: str, timeout_s: float) -> Frame | None:
        if self.full:
            threading.Event().wait(min(timeout_s, 0.01))
            return None
        self._slot = np.zeros(shape, np.dtype(dtype))
        return self._slot

    def _run(self) -> None:
        try:
            for captured in self.camera.frames(self._get_slot):
                if not captured.discarded:
                    assert self._slot is not None
                    self.pixels.append(self._slot)
                self.frames.append(captured)
        except BaseException as error:  # noqa: BLE001  (looked at by the test)
            self.error = error


@contextmanager
def taking(*, n_frames: int | None = None, **changes: Any) -> Iterator[Taking]:
    """Run a network camera for the length of a block."""
    running = Taking(network_config(**changes), n_frames)
    try:
        yield running
    finally:
        running.end()


class Stranger:
    """A socket that says what it likes to a network camera."""

    def __init__(self, endpoint: str, keys: Path | None = None) -> None:
        self._context = new_context()
        self.socket = open_client(self._context, zmq.DEALER, keys)
        self.socket.connect(endpoint)
        self.session = secrets.token_hex(16)

    def say(self, *parts: bytes) -> None:
        """Send one message."""
        self.socket.send_multipart(parts)

    def hear(self, timeout_s: float = 5.0) -> spoken.Spoken:
        """Return the next answer."""
        assert self.socket.poll(int(timeout_s * 1e3)), "no answer"
        return spoken.decode(self.socket.recv())

    def greet(self) -> spoken.Spoken:
        """Say hello and return the answer."""
        self.say(spoken.encode(spoken.Hello(session=self.session)))
        return self.hear()

    def facts(self, number: int = 0, **changes: Any) -> bytes:
        """Return the facts of a frame as they travel."""
        values: dict[str, Any] = {
            "session": self.session,
            "number": number,
            "camera_seq": number,
            "height": SHAPE[0],
            "width": SHAPE[1],
            "dtype": "<u2",
        }
        return spoken.encode(spoken.SentFrame(**(values | changes)))

    def close(self) -> None:
        """Leave without a word."""
        self.socket.close(linger=0)
        self._context.term()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def server_folder(folder: Path, *clients: str) -> Path:
    """Make a server's keys with some clients in ``folder``."""
    make_server_keys(folder)
    for name in clients:
        make_client_keys(folder, name)
    return folder


@contextmanager
def context_of_gates(monkeypatch: pytest.MonkeyPatch) -> Iterator[Context]:
    """Return a context whose gates are closed at the end, also when a test failed before it did."""
    made: list[Gate] = []
    original = Gate.__init__

    def remembered(self: Gate, *arguments: Any, **options: Any) -> None:
        original(self, *arguments, **options)
        made.append(self)

    monkeypatch.setattr(Gate, "__init__", remembered)
    context = new_context()
    yield context
    for gate in made:
        gate.close()
    context.term()
