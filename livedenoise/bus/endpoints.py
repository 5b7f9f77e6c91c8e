"""Where the processes of one run meet: private ipc sockets, or loopback ports.

An ipc endpoint lives in a folder only this user can enter. Loopback ports serve where ipc is
missing, or the path would be too long for a socket. They can be reached by every user of the
machine, so the control plane also checks unguessable identities.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from pathlib import Path

import zmq

from livedenoise.bus.segment import PREFIX, is_stale
from livedenoise.core.closing import Closing

_MAX_SOCKET_PATH = 103
"""Bytes of a socket's path on every platform (macOS 104 with its final zero, Linux 108)."""

_FOLDER = re.compile(rf"{PREFIX}-([0-9]{{1,10}})-\w+")


class Endpoints(Closing):
    """Endpoints of one run; a context manager that removes its folder."""

    def __init__(self) -> None:
        self._folder: Path | None = None
        if zmq.has("ipc"):
            # mkdtemp makes it 0700.
            self._folder = Path(tempfile.mkdtemp(prefix=f"{PREFIX}-{os.getpid()}-"))

    def bind_to(self, name: str) -> str:
        """Return an endpoint to bind for the stream or service ``name``."""
        if self._folder is None or len(os.fsencode(self._folder / name)) > _MAX_SOCKET_PATH:
            return "tcp://127.0.0.1:*"
        return f"ipc://{self._folder / name}"

    def close(self) -> None:
        """Remove the folder. Idempotent."""
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)


def remove_stale_endpoints() -> list[str]:
    """Remove the socket folders of this user's killed daemons (POSIX) and return their names."""
    removed = []
    for path in Path(tempfile.gettempdir()).glob(f"{PREFIX}-*"):
        if is_stale(path, _FOLDER):
            shutil.rmtree(path, ignore_errors=True)
            removed.append(path.name)
    return removed
