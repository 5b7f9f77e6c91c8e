"""The help pages: keys, and what every figure means. Pure."""

from __future__ import annotations

import textwrap

from livedenoise.quality.definitions import FIGURES, FigureDefinition
from livedenoise.view.lines import Line, fit, line

_KEYS = (
    ("?", "next page of this help, then back"),
    ("tab, 1 to 9", "another camera"),
    ("p", "picture on or off"),
)
_STOP = ("Ctrl-C", "finish the frames under way and stop; twice: give up")
_LEAVE = ("q, Ctrl-C", "leave; the run goes on")
_REMARKS = (
    """Colours: red, frames lost or a stage dead; yellow, look at it; grey with the word motion, not
    to be trusted while the scene moves. -- is what nobody measured, (n of 20) a moving average
    without enough samples yet.""",
    """Latency is from the pixels complete on the host to the denoised frame published; its p99 is
    yellow beyond two frame periods. Curves: the last two minutes, the lowest rate and the highest
    latency of each column, beside them the range.""",
)
_INDENT = "    "


def help_pages(width: int, height: int, *, leave: bool = False) -> list[list[Line]]:
    """Return the pages of the help for a screen of ``width`` x ``height`` cells, at least one.

    ``leave`` says that the viewer can leave without stopping the run.
    """
    room = max(1, height - 2)
    pages: list[list[Line]] = [[]]
    for block in _blocks(width, _LEAVE if leave else _STOP):
        if pages[-1] and len(pages[-1]) + len(block) > room:
            pages.append([])
        pages[-1] += block
    return [_page(lines[:room], index, len(pages), width) for index, lines in enumerate(pages)]


def _page(lines: list[Line], index: int, count: int, width: int) -> list[Line]:
    more = "? next page" if index + 1 < count else "? back"
    head = line(("help ", "title"), (f"page {index + 1} of {count}, {more}", "label"))
    return [fit(head, width), fit([], width), *(fit(content, width) for content in lines)]


def _blocks(width: int, end: tuple[str, str]) -> list[list[Line]]:
    """Return what must not be torn apart: the keys, each figure, each remark."""
    keys = [line((f"{key:14}", "name"), text) for key, text in (*_KEYS, end)]
    remarks = [_paragraph(text, width, "") for text in _REMARKS]
    return [[*keys, []], *(_figure(d, width) for d in FIGURES.values()), *remarks]


def _figure(definition: FigureDefinition, width: int) -> list[Line]:
    unit = f", {definition.unit}" if definition.unit else ""
    compares = "  (compares frames)" if definition.compares_frames else ""
    head = line((definition.label, "name"), (unit, "label"), (compares, "label"))
    texts = (definition.definition, f"Reading: {definition.reading}")
    return [head, *(part for text in texts for part in _paragraph(text, width, _INDENT))]


def _paragraph(text: str, width: int, indent: str) -> list[Line]:
    room = max(len(indent) + 1, width)
    lines = textwrap.wrap(
        " ".join(text.split()), room, initial_indent=indent, subsequent_indent=indent
    )
    return [line(part) for part in lines]
