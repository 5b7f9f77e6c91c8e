"""Single keys from the terminal, without waiting for them and without a thread.

A context manager: the terminal gives keys one by one inside and is as before outside, whatever
happened. Ctrl-C stays a signal. Where the input is no terminal, or belongs to another process
(started in the background), there are no keys. Must not know: what a key does.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Self, TextIO

_MOST = 64
"""Characters taken at once: a pasted text must not keep the drawing thread."""


class Keys:
    """Keys typed so far.

    Parameters
    ----------
    stream : text stream or None
        Where they come from; None is the standard input.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = sys.stdin if stream is None else stream
        self._read: Callable[[], str] | None = None
        self._restore: Callable[[], None] = _nothing

    @property
    def live(self) -> bool:
        """Return whether keys can be read."""
        return self._read is not None

    def poll(self) -> str:
        """Return the keys typed since the last call, at once; empty for none.

        Raises
        ------
        OSError
            If the terminal went away.
        """
        if self._read is None:
            return ""
        return self._read()

    def __enter__(self) -> Self:
        """Take the terminal's keys one by one."""
        if self._stream is not None and not self._stream.closed and self._stream.isatty():
            opened = _open(self._stream)
            if opened is not None:
                self._read, self._restore = opened
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Give the terminal back as it was."""
        self._read = None
        restore, self._restore = self._restore, _nothing
        restore()


def _nothing() -> None:
    """Restore nothing: nothing was changed."""


if sys.platform == "win32":

    def _open(_: TextIO) -> tuple[Callable[[], str], Callable[[], None]] | None:
        import msvcrt

        def read() -> str:
            typed = ""
            while len(typed) < _MOST and msvcrt.kbhit():
                typed += msvcrt.getwch()
            return typed

        return read, _nothing

else:

    def _open(stream: TextIO) -> tuple[Callable[[], str], Callable[[], None]] | None:
        import select
        import termios
        import tty

        descriptor = stream.fileno()
        if _in_background(descriptor):
            return None
        try:
            before = termios.tcgetattr(descriptor)
            tty.setcbreak(descriptor)
        except (OSError, termios.error):
            return None

        def read() -> str:
            """Return what waits.

            Raises
            ------
            OSError
                If the terminal went away.
            """
            if not select.select([descriptor], [], [], 0)[0]:
                return ""
            return os.read(descriptor, _MOST).decode("ascii", "replace")

        def restore() -> None:
            # A terminal that went away takes its settings with it.
            with suppress(termios.error):
                termios.tcsetattr(descriptor, termios.TCSANOW, before)

        return read, restore

    def _in_background(descriptor: int) -> bool:
        """Return whether another job has the terminal: changing it would stop this process."""
        try:
            return os.tcgetpgrp(descriptor) != os.getpgrp()
        except OSError:
            # Not the terminal this process belongs to: it stops nobody.
            return False
