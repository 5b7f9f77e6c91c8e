"""Free space where a run is recorded, asked at most once a second. Must not know: rates, views."""

from __future__ import annotations

import shutil
from collections.abc import Callable

_INTERVAL_NS = 1_000_000_000


class DiskGauge:
    """Free bytes of the file system a folder lies on.

    Parameters
    ----------
    ask : callable or None
        Returns the free bytes at a path, or raises OSError; None asks the operating system.

    Attributes
    ----------
    problem : str
        Why the space is not known; empty when it is.
    """

    def __init__(self, ask: Callable[[str], int] | None = None) -> None:
        self._ask = ask or _free_bytes
        self._asked_ns: int | None = None
        self._free: int | None = None
        self.problem = ""

    def free_bytes(self, folder: str, now_ns: int) -> int | None:
        """Return the free bytes; None with ``problem`` where they cannot be asked for."""
        if self._asked_ns is None or now_ns - self._asked_ns >= _INTERVAL_NS:
            self._asked_ns = now_ns
            try:
                self._free, self.problem = self._ask(folder), ""
            except OSError as error:
                self._free, self.problem = None, f"free disk space is not known: {error}"
        return self._free


def _free_bytes(folder: str) -> int:
    return shutil.disk_usage(folder).free
