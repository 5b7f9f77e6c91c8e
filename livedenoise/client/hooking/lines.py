"""The lines of this process: one for each endpoint, shared by the hooks that use it.

A network camera takes one sender at a time. A script that makes a hook for each of its acquisitions
must not be refused because the one before is still connected: hooks of the same endpoint and keys
therefore share a line. It ends when its last hook is closed, or with the program.

Knows: lines. Must not know: images.
"""

from __future__ import annotations

import atexit
import threading
from pathlib import Path

from livedenoise.client.hooking.line import Line
from livedenoise.client.hooking.words import Words
from livedenoise.core.clock import now_ns

_EXIT_LINGER_S = 2.0
_Key = tuple[str, Path | None]

_lock = threading.Lock()
_stamp_lock = threading.Lock()
_lines: dict[_Key, tuple[Line, int]] = {}
_last_stamp_ns = 0


def unique_now_ns() -> int:
    """Return the time by ``core.clock``, never the same twice in this process."""
    global _last_stamp_ns  # noqa: PLW0603  (one clock for all hooks)
    now = now_ns()
    with _stamp_lock:
        _last_stamp_ns = max(now, _last_stamp_ns + 1)
        return _last_stamp_ns


def borrow(endpoint: str, *, keys: Path | None, buffer_mb: int, words: Words) -> Line:
    """Return the line to an endpoint, made if there is none; give it back with ``give_back``.

    Hooks that share a line share its memory: the largest ``buffer_mb`` holds.

    Raises
    ------
    BusError
        If the endpoint is not one.
    ConfigError
        If the keys cannot be used.
    """
    with _lock:
        found = _lines.get((endpoint, keys))
        if found is None:
            found = Line(endpoint, keys=keys), 0
        found[0].join(words, buffer_mb)
        _lines[endpoint, keys] = found[0], found[1] + 1
        return found[0]


def give_back(line: Line, *, keys: Path | None, words: Words, linger_s: float) -> None:
    """End the line if nobody else uses it."""
    with _lock:
        key = (line.endpoint, keys)
        _, users = _lines.get(key, (line, 1))
        if users > 1:
            _lines[key] = line, users - 1
            line.leave(words)
            return
        _lines.pop(key, None)
    line.close(linger_s)


def _close_all() -> None:
    with _lock:
        left = [line for line, _ in _lines.values()]
        _lines.clear()
    for line in left:
        line.close(_EXIT_LINGER_S)


atexit.register(_close_all)
