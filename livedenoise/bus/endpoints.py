"""Where the processes of one run meet: private ipc sockets, or loopback ports where ipc is missing.

An ipc endpoint lives in a folder only this user can enter. A loopback port can be reached by every
user of the machine, so the control plane also checks unguessable identities.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

import zmq


class Endpoints:
    """Endpoints of one run; a context manager that removes its folder."""

    def __init__(self) -> None:
        self._folder: Path | None = None
        if zmq.has("ipc"):
            # mkdtemp makes it 0700. Short, because a socket path is at most 107 bytes.
            self._folder = Path(tempfile.mkdtemp(prefix="ldn-"))

    def bind_to(self, name: str) -> str:
        """Return an endpoint to bind for the stream or service ``name``."""
        if self._folder is None:
            return "tcp://127.0.0.1:*"
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
