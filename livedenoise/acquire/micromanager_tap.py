"""A camera that Micro-Manager drives. (Contract only: being written.)"""

from __future__ import annotations

from collections.abc import Iterator

from livedenoise.core.camera import CameraInfo, Captured, GetSlot, Prepared, StreamRequest
from livedenoise.core.errors import CameraError
from livedenoise.core.micromanager_config import MicroManagerCameraConfig


class MicroManagerTap:
    """Placeholder while it is written."""

    def __init__(self, config: MicroManagerCameraConfig) -> None:
        self._config = config

    def open(self) -> CameraInfo:
        """See ``Camera.open``."""
        raise CameraError("not written yet")

    def prepare(self, request: StreamRequest) -> Prepared:
        """See ``Camera.prepare``."""
        raise CameraError("not written yet")

    def start(self) -> None:
        """See ``Camera.start``."""

    def frames(self, get_slot: GetSlot) -> Iterator[Captured]:
        """See ``Camera.frames``."""
        raise CameraError("not written yet")

    def stop(self) -> None:
        """See ``Camera.stop``."""

    def close(self) -> None:
        """See ``Camera.close``."""
