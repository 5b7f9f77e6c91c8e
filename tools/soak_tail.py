"""Follows a sidecar that is being written, as any other program could.

Knows: lines, and which of them are whole. Must not know: what makes a recording whole.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
from soak_check import Seen

from livedenoise.core.clock import now_ns
from livedenoise.core.frame import FrameFlags


class Tail:
    """Follows a sidecar that is being written."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._content = bytearray()
        self._whole = 0
        self.resumed_ns: list[int] = []
        self.denoised_host_ns = 0
        self.denoised = 0

    def follow(self) -> None:
        """Take what was appended."""
        try:
            with self._path.open("rb") as file:
                file.seek(len(self._content))
                new = file.read()
        except FileNotFoundError:
            return
        self._content += new
        end = self._content.rfind(b"\n") + 1
        for line in self._content[self._whole : end].splitlines():
            self._take(bytes(line))
        # A killed writer's half line is cut off by its successor: it is read again.
        self._whole = end
        del self._content[end:]

    def seen(self) -> Seen:
        """Return what was acknowledged so far."""
        return Seen(acknowledged=bytes(self._content), resumed_ns=self.resumed_ns)

    def _take(self, line: bytes) -> None:
        if line.startswith(b'{"kind":"stream"') and b'"resumed":true' in line:
            self.resumed_ns.append(now_ns())
        elif line.startswith(b'{"kind":"frame"') and b'"flags":' in line:
            found: dict[str, Any] = msgspec.json.decode(line)
            if found["flags"] & FrameFlags.DENOISED:
                self.denoised_host_ns = found["t_host_ns"]
                self.denoised += 1
