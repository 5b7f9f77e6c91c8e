"""A network camera keeps the camera contract, with and without keys, 8 and 16 bits."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from network_kit import network_config, numbered, server_folder

from livedenoise.acquire.network import NetworkCamera
from livedenoise.client import FrameSender
from livedenoise.core.camera import StreamRequest
from livedenoise.core.camera_config import NetworkCameraConfig
from livedenoise.testing.camera_kit import CAMERA_CHECKS, CameraCase

CASES: dict[str, dict[str, Any]] = {
    "16_bit": {},
    "8_bit_at_a_rate": {"bit_depth": 8, "rate_hz": 500.0, "buffer_frames": 4},
}


class FedCamera(NetworkCamera):
    """A network camera whose sender starts and ends with it."""

    def __init__(self, config: NetworkCameraConfig, client: Path | None) -> None:
        super().__init__(config)
        self._client = client
        self._dtype = "|u1" if config.bit_depth == 8 else "<u2"
        self._ended = threading.Event()
        self._feeder: threading.Thread | None = None

    def start(self) -> None:
        super().start()
        self._end_feeder()
        self._ended.clear()
        self._feeder = threading.Thread(target=self._feed, args=(self.endpoint,), name="feeder")
        self._feeder.start()

    def close(self) -> None:
        self._end_feeder()
        super().close()

    def _end_feeder(self) -> None:
        self._ended.set()
        if self._feeder is not None:
            self._feeder.join()

    def _feed(self, endpoint: str) -> None:
        number = 0
        sender = FrameSender(endpoint, keys=self._client, max_queue=2)
        while not self._ended.is_set():
            number += 1
            sender.send(numbered(number, dtype=self._dtype), timeout_s=0.02)
        sender.close(linger_s=0)


def check_case(check: Callable[[CameraCase], None], client: Path | None, **changes: Any) -> None:
    config = network_config(**changes)
    check(CameraCase(make=lambda: FedCamera(config, client), request=StreamRequest(exposure_us=0)))


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("check", CAMERA_CHECKS, ids=lambda check: check.__name__)
def test_contract(check: Callable[[CameraCase], None], name: str) -> None:
    check_case(check, None, **CASES[name])


@pytest.mark.parametrize("check", CAMERA_CHECKS, ids=lambda check: check.__name__)
def test_contract_with_keys(check: Callable[[CameraCase], None], tmp_path: Path) -> None:
    folder = server_folder(tmp_path / "keys", "one")
    check_case(check, folder / "for-one", keys=folder)
