"""The dashboard on a terminal: draws snapshots in place and follows the keys.

All that decides what is shown is pure (``layout.render``); here are the screen, the keys and what
the user chose. It is called a few times a second, always by the same thread, and never waits.
A terminal that went away is an OSError for the caller, who goes on without it.
"""

from __future__ import annotations

from types import TracebackType
from typing import Self

import msgspec
from rich.console import Console
from rich.live import Live

from livedenoise.core.status import StatusSnapshot
from livedenoise.view.help import help_pages
from livedenoise.view.keys import Keys
from livedenoise.view.layout import Choice, Size, compose, look_of, picture_shown, render
from livedenoise.view.lines import fit

_FINAL_ROWS = 24


class Dashboard:
    """Draws snapshots on a console; a context manager.

    Parameters
    ----------
    console : Console
        Where to draw. On a terminal the alternate screen is used, so that the size may change.
    keys : Keys or None
        Read at every ``show``; None reads none (the caller may have keys of its own: ``press``).
    quit_key : bool
        Whether the caller takes the key q for leaving, so that it is named on the screen.
    """

    def __init__(
        self, console: Console, *, keys: Keys | None = None, quit_key: bool = False
    ) -> None:
        self._console = console
        self._keys = keys
        self._choice = Choice(keys=quit_key, quit_key=quit_key)
        self._last: StatusSnapshot | None = None
        self._live: Live | None = None

    def show(self, snapshot: StatusSnapshot) -> None:
        """Follow the keys typed since the last call, and redraw.

        Raises
        ------
        OSError
            If the terminal went away.
        """
        first, self._last = self._last is None, snapshot
        if first:
            self._take_screen()
        typed = "" if self._keys is None else self._keys.poll()
        for key in typed:
            self._choice = chosen(self._choice, key, snapshot, self._size())
        self._draw(snapshot)

    def press(self, key: str) -> None:
        """Follow one key and redraw at once; keys without a meaning change nothing.

        Raises
        ------
        OSError
            If the terminal went away.
        """
        if self._last is not None:
            self._choice = chosen(self._choice, key, self._last, self._size())
            self._draw(self._last)

    def __enter__(self) -> Self:
        """Take over the keys; the screen follows with the first snapshot."""
        if self._keys is not None:
            self._keys.__enter__()
            if self._keys.live:
                self._choice = msgspec.structs.replace(self._choice, keys=True)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Give keys and screen back, and leave the last state on the screen."""
        if self._keys is not None:
            # First: it must happen even when nothing can be written any more.
            self._keys.__exit__(kind, error, trace)
        if self._last is None:
            return
        self._console.show_cursor(True)
        if self._live is not None:
            self._live.stop()
            return
        self._console.set_alt_screen(False)
        width, height = self._size()
        size = (width, min(height, _FINAL_ROWS))
        choice = Choice(camera=self._choice.camera, picture=False)
        self._console.print(render(self._last, size, choice), end="")

    def _take_screen(self) -> None:
        if not self._console.set_alt_screen(True):
            # No terminal, or one without a second screen: redrawn in place instead.
            self._live = Live(console=self._console, auto_refresh=False)
            self._live.start()
        self._console.show_cursor(False)

    def _draw(self, snapshot: StatusSnapshot) -> None:
        size = self._size()
        if self._live is not None:
            self._live.update(render(snapshot, size, self._choice), refresh=True)
            return
        look = look_of(self._console, self._console.options)
        if self._console.color_system == "truecolor" and look.pictures == "segments":
            look = msgspec.structs.replace(look, pictures="ansi")
        lines = compose(snapshot, size, self._choice, look)
        # Every cell is written anew: whatever else wrote on the screen is gone with the next call.
        lines += [fit([], size[0])] * (size[1] - len(lines))
        self._console.update_screen_lines(lines)

    def _size(self) -> Size:
        width, height = self._console.size
        return width, height


def chosen(choice: Choice, key: str, snapshot: StatusSnapshot, size: Size) -> Choice:
    """Return what is shown after a key; keys without a meaning change nothing."""
    change = msgspec.structs.replace
    cameras = max(1, len(snapshot.streams))
    match key:
        case "?" | "h" | "H":
            pages = len(help_pages(*size))
            return change(choice, help_page=(choice.help_page + 1) % (pages + 1))
        case "\x1b":
            return change(choice, help_page=0)
        case "p" | "P":
            return change(choice, picture=not picture_shown(snapshot, size, choice))
        case "\t":
            return change(choice, camera=(choice.camera + 1) % cameras)
        case "1" | "2" | "3" | "4" | "5" | "6" | "7" | "8" | "9" if int(key) <= cameras:
            return change(choice, camera=int(key) - 1)
        case _:
            return choice
