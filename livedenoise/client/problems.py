"""What is wrong in a background thread, said once. No sockets, no cores.

Knows: texts by their source, a logger, a user's callback. Must not know: what they are about.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

_MOST = 50
"""Texts said in all: a fault that comes and goes must not fill a notebook."""


class Problems:
    """Says each problem when it begins, not while it lasts.

    Parameters
    ----------
    log : logging.Logger
        Where it is said, as a warning.
    who : str
        Begins each message.
    on_problem : callable, optional
        Also called with the text. What it raises is logged and goes no further.
    """

    def __init__(
        self, log: logging.Logger, who: str, on_problem: Callable[[str], object] | None
    ) -> None:
        self._log = log
        self._who = who
        self._on_problem = on_problem
        self._now: dict[str, str] = {}
        self._said = 0

    @property
    def current(self) -> str:
        """Return what is wrong now, empty when nothing is."""
        return "; ".join(dict(self._now).values())

    def say(self, source: str, text: str) -> None:
        """Say that something is wrong, unless this source has just said so."""
        if self._now.get(source) == text:
            return
        self._now[source] = text
        self._said += 1
        if self._said > _MOST:
            return
        if self._said == _MOST:
            text += " (the last one that is said here)"
        self._log.warning("%s: %s", self._who, text)
        if self._on_problem is not None:
            try:
                self._on_problem(text)
            except Exception:  # noqa: BLE001  the user's mistake must not end what it was told of
                self._log.exception("%s: on_problem failed", self._who)

    def clear(self, source: str) -> None:
        """Take note that this source is well again."""
        if self._now.pop(source, None) is not None:
            self._log.info("%s: well again", self._who)
