"""The dashboard as a picture: lines of segments to SVG. Pure.

Text is text, in whatever monospaced font there is, stretched to the cell grid. Block characters are
drawn as rectangles and half-block pictures as one image of pixels, because fonts leave gaps between
lines. Must not know: what the lines say.
"""

from __future__ import annotations

import base64
import re
import struct
import zlib
from collections.abc import Iterator
from html import escape
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style

from livedenoise.core.status import StatusSnapshot
from livedenoise.view.layout import Choice, compose
from livedenoise.view.lines import Line, Look

_CELL_W, _CELL_H = 8, 18
_BASELINE, _FONT = 13.5, 13.2
_MARGIN = 12
_BACK, _FORE = "#0d1117", "#d0d7de"
_COLOURS = {
    "red": "#ff7b72",
    "green": "#56d364",
    "yellow": "#e3b341",
    "cyan": "#58c4dc",
    "white": "#ffffff",
}
_LOWER = "▁▂▃▄▅▆▇█"
_HALF = "▀"
_BARS = {"━": 6.0, "─": 1.5}
"""Height of horizontal bars, in the middle of the line."""
_PIECES = re.compile(f"[{_LOWER}]+|━+|─+|{_HALF}+|[^{_LOWER}━─{_HALF}]+")
_TYPE = (
    f'font-size="{_FONT}" '
    "font-family=\"ui-monospace,'SF Mono',Menlo,'DejaVu Sans Mono',Consolas,monospace\""
)
_DIM = 0.62
"""Share of its colour that dim text keeps before the background."""

Canvas = npt.NDArray[np.uint8]


def export_svg(
    snapshot: StatusSnapshot, width: int, height: int, choice: Choice | None = None
) -> str:
    """Return the dashboard of ``width`` x ``height`` cells as an SVG document."""
    return lines_svg(compose(snapshot, (width, height), choice or Choice(), Look()), width)


def lines_svg(lines: list[Line], width: int) -> str:
    """Return lines of at most ``width`` cells as an SVG document on a dark background."""
    canvas: Canvas = np.zeros((2 * len(lines), width, 2), np.uint8)
    parts = [
        part
        for row, content in enumerate(lines)
        for column, segment in _placed(content, width)
        for part in _segment(segment, column, row, canvas)
    ]
    full_w, full_h = width * _CELL_W, len(lines) * _CELL_H
    box = f"{full_w + 2 * _MARGIN} {full_h + 2 * _MARGIN}"
    return "\n".join(
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {box}">',
            f'<rect width="100%" height="100%" rx="8" fill="{_BACK}"/>',
            f'<g transform="translate({_MARGIN} {_MARGIN})" {_TYPE}>',
            *parts,
            *_image(canvas, full_w, full_h),
            "</g>",
            "</svg>",
            "",
        )
    )


def _placed(content: Line, width: int) -> Iterator[tuple[int, Segment]]:
    column = 0
    for segment in Segment.simplify(content):
        if column < width:
            yield column, segment
        column += cell_len(segment.text)


def _segment(segment: Segment, column: int, row: int, canvas: Canvas) -> Iterator[str]:
    style = segment.style or Style.null()
    if style.bgcolor is not None and _HALF not in segment.text:
        yield _rect(column, row * _CELL_H, cell_len(segment.text), _CELL_H, _hex(style, back=True))
    for match in _PIECES.finditer(segment.text):
        text, start = match[0], column + cell_len(segment.text[: match.start()])
        if text[0] == _HALF:
            shades = [_level(style, back=False), _level(style, back=True)]
            canvas[2 * row, start : start + len(text)] = (shades[0], 255)
            canvas[2 * row + 1, start : start + len(text)] = (shades[1], 255)
        elif text[0] in _LOWER:
            yield from _blocks(text, start, row, _hex(style))
        elif text[0] in _BARS:
            height = _BARS[text[0]]
            y = row * _CELL_H + (_CELL_H - height) / 2
            yield _rect(start, y, len(text), height, _hex(style))
        elif text.strip():
            yield _text(text, start, row, style)


def _blocks(text: str, column: int, row: int, colour: str) -> Iterator[str]:
    """Yield a rectangle for every run of equal blocks."""
    for match in re.finditer(r"(.)\1*", text):
        run, start = match[0], column + match.start()
        height = _CELL_H * (_LOWER.index(run[0]) + 1) / 8
        yield _rect(start, (row + 1) * _CELL_H - height, len(run), height, colour)


def _rect(column: int, y: float, cells: int, height: float, colour: str) -> str:
    return (
        f'<rect x="{column * _CELL_W}" y="{y:g}" width="{cells * _CELL_W}" height="{height:g}" '
        f'fill="{colour}" shape-rendering="crispEdges"/>'
    )


def _text(text: str, column: int, row: int, style: Style) -> str:
    column += len(text) - len(text.lstrip())
    text = text.strip()
    extra = ' font-weight="bold"' if style.bold else ""
    extra += ' font-style="italic"' if style.italic else ""
    return (
        f'<text x="{column * _CELL_W}" y="{row * _CELL_H + _BASELINE:g}" fill="{_hex(style)}" '
        f'textLength="{cell_len(text) * _CELL_W}" xml:space="preserve"{extra}>'
        f"{escape(text, quote=False)}</text>"
    )


def _hex(style: Style, *, back: bool = False) -> str:
    color = style.bgcolor if back else style.color
    if color is None or color.is_default:
        found = _FORE
    else:
        found = _COLOURS.get(color.name, color.get_truecolor().hex)
    return _mixed(found, _DIM) if style.dim and not back else found


def _mixed(colour: str, share: float) -> str:
    """Return a colour with the background shining through."""
    pairs = zip(bytes.fromhex(colour[1:]), bytes.fromhex(_BACK[1:]), strict=True)
    return "#" + bytes(round(share * a + (1 - share) * b) for a, b in pairs).hex()


def _level(style: Style, *, back: bool) -> int:
    color = style.bgcolor if back else style.color
    return 0 if color is None else color.get_truecolor().green


def _image(canvas: Canvas, width: int, height: int) -> Iterator[str]:
    """Yield the pictures as one image over all cells, its pixels as large as half cells."""
    if not canvas[..., 1].any():
        return
    large = canvas.repeat(_CELL_H // 2, axis=0).repeat(_CELL_W, axis=1)
    data = base64.b64encode(_png(large)).decode("ascii")
    yield (
        f'<image width="{width}" height="{height}" preserveAspectRatio="none" '
        f'href="data:image/png;base64,{data}"/>'
    )


def _png(pixels: npt.NDArray[Any]) -> bytes:
    """Return (Y, X, 2) grey and alpha as a PNG file (ISO/IEC 15948, colour type 4)."""
    height, width, _ = pixels.shape
    rows = np.zeros((height, 1 + 2 * width), np.uint8)
    rows[:, 1:] = pixels.reshape(height, -1)
    head = struct.pack(">IIBBBBB", width, height, 8, 4, 0, 0, 0)
    chunks = ((b"IHDR", head), (b"IDAT", zlib.compress(rows.tobytes(), 9)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, data) for kind, data in chunks)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
