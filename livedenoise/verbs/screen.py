"""The terminal of a verb that shows a run: drawing that may fail.

Knows: that a terminal can go away. Must not know: what is drawn, what keys mean.

The screen is a viewer like any other: when its terminal goes away the run goes on.
"""

from __future__ import annotations

import os
import sys
from types import TracebackType
from typing import Protocol, Self

from livedenoise.core.status import StatusSnapshot


class View(Protocol):
    """What draws snapshots (``view.dashboard.Dashboard``)."""

    def show(self, snapshot: StatusSnapshot) -> None:
        """Redraw."""

    def press(self, key: str) -> None:
        """Follow a key."""

    def __enter__(self) -> Self:
        """Take over the terminal."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Give it back."""


class Screen:
    """Draws with a view until the terminal goes away; a context manager.

    Attributes
    ----------
    lost : str
        Why nothing is drawn any more; empty while the terminal takes it.
    """

    def __init__(self, view: View) -> None:
        self._view = view
        self.lost = ""

    def show(self, snapshot: StatusSnapshot) -> None:
        """Redraw, unless the terminal went away."""
        if self.lost:
            return
        try:
            self._view.show(snapshot)
        except OSError as error:
            self.lost = f"the terminal cannot be written: {error}"

    def press(self, key: str) -> None:
        """Follow a key, unless the terminal went away."""
        if self.lost:
            return
        try:
            self._view.press(key)
        except OSError as error:
            self.lost = f"the terminal cannot be written: {error}"

    def __enter__(self) -> Self:
        """Take over the terminal."""
        self._view.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Give it back, when it is still there."""
        try:
            self._view.__exit__(kind, error, trace)
        except OSError as gone:
            self.lost = self.lost or f"the terminal cannot be written: {gone}"


def drop_output() -> None:
    """Send what is still printed to nowhere: else the end of the program fails on it."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        os.dup2(nowhere, stream.fileno())
    os.close(nowhere)
