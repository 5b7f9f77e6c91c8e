"""Lines of a character screen: styled pieces, cut and padded to a width. Pure.

A line is a list of rich segments; everything shown is made of them, because they are cheap (a
whole screen several times a second) and their width is known exactly. Must not know: snapshots,
terminals.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec
from rich.cells import cell_len, set_cell_size
from rich.segment import Segment
from rich.style import Style

Line = list[Segment]
Part = str | tuple[str, str]
"""Text, or text and the name of its style."""

STYLES = {
    "": Style.null(),
    "label": Style(dim=True),
    "value": Style(bold=True),
    "name": Style(bold=True, color="cyan"),
    "good": Style(color="green"),
    "warn": Style(color="yellow"),
    "bad": Style(color="red", bold=True),
    "alert": Style(color="white", bgcolor="red", bold=True),
    "grey": Style(dim=True, italic=True),
    "curve": Style(color="cyan"),
    "title": Style(bold=True),
    "rule": Style(dim=True, color="cyan"),
}
STATE_STYLES = {"running": "good", "finished": "label", "dead": "bad"}
"""Styles of the states of a stage and of a run; all others are yellow."""
GAP = 2
"""Columns between two cells of a flow, and between panels side by side."""


class Look(msgspec.Struct, frozen=True, kw_only=True):
    """What the terminal can show.

    ``blocks`` is False where only ASCII can be written. ``pictures``: "segments" (half blocks in
    rich segments), "ansi" (half blocks as ready escape codes, only for a screen that is written
    without measuring it), "ramp" (characters by brightness) or "blank" (room left empty).
    """

    blocks: bool = True
    pictures: str = "segments"


def line(*parts: Part) -> Line:
    """Return a line of plain and styled pieces."""
    pieces = ((part, "") if isinstance(part, str) else part for part in parts)
    return [Segment(text, STYLES[style]) for text, style in pieces if text]


def width_of(content: Line) -> int:
    """Return the columns a line takes."""
    return sum(cell_len(segment.text) for segment in content)


def fit(content: Line, width: int) -> Line:
    """Return a line cut or padded to ``width`` columns."""
    return Segment.adjust_line_length(content, max(0, width))


def printable(text: str) -> str:
    """Return text on one line without control characters: names and errors come from outside."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else " " for char in text)


def clipped(text: str, width: int, *, blocks: bool = True) -> str:
    """Return ``text`` within ``width`` columns; a mark at its end says that some is missing."""
    if cell_len(text) <= width:
        return text
    mark = "…" if blocks else "~"
    return set_cell_size(text, max(0, width - 1)).rstrip() + mark if width > 0 else ""


def left(text: str, width: int, *, blocks: bool = True) -> str:
    """Return ``text`` clipped and padded on the right."""
    return set_cell_size(clipped(text, width, blocks=blocks), max(0, width))


def right(text: str, width: int) -> str:
    """Return ``text`` padded on the left; numbers are never cut, they push."""
    return " " * max(0, width - cell_len(text)) + text


def flow(cells: Sequence[Line], width: int) -> list[Line]:
    """Return cells one after the other, as many on each line as fit."""
    lines: list[Line] = []
    used = 0
    for cell in cells:
        needed = width_of(cell)
        if not lines or used + GAP + needed > width:
            lines.append(list(cell))
            used = needed
        else:
            lines[-1] += [Segment(" " * GAP), *cell]
            used += GAP + needed
    return lines


def wrapped(text: str, width: int, style: str, most: int) -> list[Line]:
    """Return words in at most ``most`` lines, the last one clipped; later ones are indented."""
    lines: list[str] = []
    rest = printable(text).strip()
    while rest and len(lines) < most:
        indent = "  " if lines else ""
        room = max(1, width - len(indent))
        head = rest if len(lines) == most - 1 else _head(rest, room)
        lines.append(indent + clipped(head, room))
        rest = rest[len(head) :].lstrip()
    return [line((text, style)) for text in lines]


def _head(text: str, width: int) -> str:
    """Return as many whole words as fit (at least a part of the first)."""
    if cell_len(text) <= width:
        return text
    cut = text[: len(set_cell_size(text, width).rstrip()) or 1]
    space = cut.rfind(" ")
    return cut[:space] if space > width // 2 else cut


def rule(title: Line, width: int, *, blocks: bool = True) -> Line:
    """Return a horizontal line with a title in it."""
    dash = "─" if blocks else "-"
    head = [*line((dash * 2 + " ", "rule")), *title, Segment(" ")]
    return fit([*head, *line((dash * max(0, width - width_of(head)), "rule"))], width)


def bar(fraction: float, width: int, *, blocks: bool = True) -> str:
    """Return a horizontal bar of ``width`` columns; anything above nothing shows."""
    full, empty = ("━", "─") if blocks else ("=", ".")
    # Also for what is not a number.
    share = min(1.0, fraction) if fraction > 0 else 0.0
    filled = min(max(round(share * width), 1 if share else 0), width)
    return full * filled + empty * (width - filled)


def beside(columns: Sequence[tuple[Sequence[Line], int]]) -> list[Line]:
    """Return blocks of lines side by side, each padded to its width, with a gap between."""
    height = max((len(lines) for lines, _ in columns), default=0)
    joined: list[Line] = []
    for row in range(height):
        whole: Line = []
        for index, (lines, width) in enumerate(columns):
            whole += [Segment(" " * GAP)] if index else []
            whole += fit(list(lines[row]) if row < len(lines) else [], width)
        joined.append(whole)
    return joined


def plain(lines: Iterable[Line]) -> list[str]:
    """Return the text of lines without styles."""
    return ["".join(segment.text for segment in content) for content in lines]
