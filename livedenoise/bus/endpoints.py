"""Where the processes of one run meet: private ipc sockets, or loopback ports.

An ipc endpoint lives in a folder only this user can enter. Loopback ports serve where ipc is
missing, or the temporary folder's path is too long for a socket. They can be reached by every user
of the machine, so the control plane also checks unguessable identities.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

import zmq

from livedenoise.bus.ring import PREFIX, process_is_alive

from livedenoise.core.errors import BusError

_MAX_SOCKET_PATH = 103
"""Bytes of a socket's path on every platform (macOS 104 with its final zero, Linux 108)."""

_MAX_NAME = 64


class Endpoints:
    """Endpoints of one run; a context manager that removes its folder."""

    def __init__(self) -> None:
        self._folder: Path | None = None
        room = _MAX_SOCKET_PATH - len(os.fsencode(tempfile.gettempdir())) - len("/ldn-xxxxxxxx/")
        if zmq.has("ipc") and room >= _MAX_NAME:
            # mkdtemp makes it 0700.
            self._folder = Path(tempfile.mkdtemp(prefix=f"{PREFIX}-{os.getpid()}-"))

    def bind_to(self, name: str) -> str:
        """Return an endpoint to bind for the stream or service ``name``.

        Raises
        ------
        BusError
            If the name is too long for a socket's path.
        """
        if self._folder is None:
            return "tcp://127.0.0.1:*"
        if len(os.fsencode(name)) > _MAX_NAME:
            raise BusError(f"endpoint name {name!r} is longer than {_MAX_NAME} bytes")
        return f"ipc://{self._folder / name}"

    def close(self) -> None:
        """Remove the folder. Idempotent."""
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Remove the folder."""
        self.close()


def remove_stale_endpoints() -> list[str]:
    """Remove the socket folders of killed daemons and return their names."""
    removed = []
    for path in Path(tempfile.gettempdir()).glob(f"{PREFIX}-*-*"):
        pid = path.name.split("-")[1]
        if pid.isdigit() and path.is_dir() and not process_is_alive(int(pid)):
            shutil.rmtree(path, ignore_errors=True)
            removed.append(path.name)
    return removed
