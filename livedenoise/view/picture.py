"""A small grey picture in characters: two pixels a cell, one above the other. Pure.

Pixels are picked, never averaged: averaging would hide the noise a user wants to see. Must not
know: snapshots, layout.
"""

from __future__ import annotations

from functools import cache
from itertools import groupby
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.color import Color
from rich.segment import ControlType, Segment
from rich.style import Style

from livedenoise.view.lines import Line

Grey = npt.NDArray[np.uint8]
_HALF = "▀"
_RAMP = " .:-=+*#%@"
_LEVELS = 64
"""Greys shown: codes for every pair of them are kept, and the eye sees no difference."""
_STEP = 256 // _LEVELS
_RESET = "\x1b[0m"


def grey_picture(data: bytes, height: int, width: int) -> Grey | None:
    """Return pixels as (Y, X) uint8, None where the bytes are no picture of that size."""
    if height < 1 or width < 1 or len(data) != height * width:
        return None
    return np.frombuffer(data, np.uint8).reshape(height, width)


def cells_of(shape: tuple[int, int], columns: int, rows: int) -> tuple[int, int]:
    """Return the (columns, rows) of cells a (Y, X) picture takes within those given.

    A cell is two pixels high and one wide, which is about square; small pictures are enlarged at
    most four times.
    """
    height, width = shape
    scale = min(columns / width, 2 * rows / height, 4.0)
    return max(1, int(width * scale)), max(1, int(height * scale / 2))


def resampled(picture: Grey, height: int, width: int) -> Grey:
    """Return (height, width) pixels picked from a (Y, X) picture at even distances."""
    rows = (2 * np.arange(height) + 1) * picture.shape[0] // (2 * height)
    columns = (2 * np.arange(width) + 1) * picture.shape[1] // (2 * width)
    picked: Grey = picture[rows][:, columns]
    return picked


def picture_lines(picture: Grey, columns: int, rows: int, mode: str) -> list[Line]:
    """Return ``rows`` lines of ``columns`` cells; ``mode`` as ``lines.Look.pictures``."""
    if mode == "blank":
        return [[Segment(" " * columns)] for _ in range(rows)]
    pixels = resampled(picture, 2 * rows, columns) // _STEP
    if mode == "ramp":
        return [[Segment(_ramp(pair))] for pair in pixels.reshape(rows, 2, columns)]
    cells = pixels[::2].astype(np.int32) * _LEVELS + pixels[1::2]
    draw = _ansi_line if mode == "ansi" else _segment_line
    return [draw(row) for row in cells.tolist()]


def _ramp(pair: npt.NDArray[Any]) -> str:
    """Return one line of characters from two rows of greys: here a cell can only be their mean."""
    levels = pair.mean(axis=0) * (_STEP * len(_RAMP) / 256)
    return "".join(_RAMP[int(level)] for level in levels)


def _segment_line(cells: list[int]) -> Line:
    """Return one line from upper grey x ``_LEVELS`` + lower grey of each cell."""
    groups = groupby(cells)
    return [Segment(_HALF * len(list(group)), _style(cell)) for cell, group in groups]


def _ansi_line(cells: list[int]) -> Line:
    """Return the line as spaces, then codes that go back and draw over them.

    Whoever measures or pads the line sees spaces of its true width; the codes count as nothing.
    """
    width = len(cells)
    codes = f"\x1b[{width}D{''.join(map(_code, cells))}{_RESET}"
    return [Segment(" " * width), Segment(codes, None, [(ControlType.CURSOR_BACKWARD, width)])]


@cache
def _style(cell: int) -> Style:
    upper, lower = divmod(cell, _LEVELS)
    return Style(color=_color(upper), bgcolor=_color(lower))


@cache
def _color(level: int) -> Color:
    grey = _grey(level)
    return Color.from_rgb(grey, grey, grey)


@cache
def _code(cell: int) -> str:
    upper, lower = map(_grey, divmod(cell, _LEVELS))
    return f"\x1b[38;2;{upper};{upper};{upper};48;2;{lower};{lower};{lower}m{_HALF}"


def _grey(level: int) -> int:
    return level * 255 // (_LEVELS - 1)
