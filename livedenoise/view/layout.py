"""Which panels are shown together, and where, on a screen of a given size. Pure.

Wide screens get two columns above pictures and curves; narrow ones a stack. What does not fit goes
in a fixed order, what matters most stays: never more lines than the screen has.
"""

from __future__ import annotations

import msgspec
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.segment import Segment

from livedenoise.core.status import Preview, StatusSnapshot, StreamStatus
from livedenoise.view import panels
from livedenoise.view.help import help_pages
from livedenoise.view.lines import GAP, Line, Look, beside, fit, left, line, width_of
from livedenoise.view.picture import cells_of, grey_picture, picture_lines
from livedenoise.view.quality_panel import CELL, quality_lines
from livedenoise.view.stage_table import stage_rows

Size = tuple[int, int]
"""(columns, rows)."""
_WIDE = 132
_MIN_PICTURE_ROWS = 8
_CURVES_WIDTH = 52
_PICTURE_RANK = 30
_TALLEST = 5


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """What the user chose to see.

    ``camera`` is an index, taken modulo the number of cameras. ``help_page`` 0 is no help.
    ``picture`` None shows it where there is room, True makes room for it. ``keys`` says that keys
    are read, so that they are named; ``quit_key`` that q is one of them.
    """

    camera: int = 0
    help_page: int = 0
    picture: bool | None = None
    keys: bool = False
    quit_key: bool = False


class _Block(msgspec.Struct):
    """Lines shown together; those of the lowest ``rank`` go first where there is no room."""

    rank: int
    lines: list[Line]


def render(snapshot: StatusSnapshot, size: Size, choice: Choice | None = None) -> RenderableType:
    """Return a run's state as a screen of at most ``size`` (columns, rows) cells.

    The same snapshot, size and choice always give the same lines; only what the console can show
    (colours, block characters) is asked of it while it is drawn.
    """
    return Screen(snapshot, size, choice or Choice())


class Screen:
    """A renderable; ``lines`` are those of a terminal with a given look."""

    def __init__(self, snapshot: StatusSnapshot, size: Size, choice: Choice) -> None:
        self._snapshot = snapshot
        self._size = size
        self._choice = choice

    def lines(self, look: Look) -> list[Line]:
        """Return the lines, each exactly as wide as the screen."""
        return compose(self._snapshot, self._size, self._choice, look)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield the segments."""
        for content in self.lines(look_of(console, options)):
            yield from content
            yield Segment.line()


def look_of(console: Console, options: ConsoleOptions) -> Look:
    """Return what a console can show."""
    blocks = not options.ascii_only
    colours = console.color_system in ("truecolor", "256")
    return Look(blocks=blocks, pictures="segments" if blocks and colours else "ramp")


def compose(snapshot: StatusSnapshot, size: Size, choice: Choice, look: Look) -> list[Line]:
    """Return at most ``size[1]`` lines of exactly ``size[0]`` columns."""
    width, height = max(1, size[0]), max(1, size[1])
    if choice.help_page:
        pages = help_pages(width, height, leave=choice.quit_key)
        return pages[(choice.help_page - 1) % len(pages)][:height]
    blocks = _Arrangement(snapshot, width, height, choice, look).blocks()
    _shrink(blocks, height)
    return [fit(content, width) for block in blocks for content in block.lines]


def picture_shown(snapshot: StatusSnapshot, size: Size, choice: Choice) -> bool:
    """Return whether a picture is on the screen: the key p turns that round."""
    return _Arrangement(snapshot, *size, choice, Look()).has_picture()


def _shrink(blocks: list[_Block], height: int) -> None:
    """Take lines from the ends of the least important blocks until the rest fits."""
    excess = sum(len(block.lines) for block in blocks) - height
    for block in sorted(blocks, key=lambda block: block.rank):
        if excess <= 0:
            return
        keep = max(0, len(block.lines) - excess)
        excess -= len(block.lines) - keep
        del block.lines[keep:]


class _Arrangement:
    """One screen."""

    def __init__(
        self, snapshot: StatusSnapshot, width: int, height: int, choice: Choice, look: Look
    ) -> None:
        self._snapshot = snapshot
        self._width, self._height = width, height
        self._choice, self._look = choice, look
        self._selected = choice.camera % max(1, len(snapshot.streams))
        self._drawn = False
        self._stream: StreamStatus | None = None
        if snapshot.streams:
            self._stream = snapshot.streams[self._selected]

    def blocks(self) -> list[_Block]:
        """Return the blocks from top to bottom."""
        top, bottom = self._top(), self._bottom()
        if self._stream is None:
            return [*top, _Block(50, [line(("waiting for the cameras", "label"))]), *bottom]
        found = self._body(self._stream, top, bottom)
        if self._choice.picture and not self._drawn:
            # Asked for where there is no room: the figures it would have replaced stay.
            self._choice = msgspec.structs.replace(self._choice, picture=False)
            found = self._body(self._stream, top, bottom)
        return found

    def _body(self, stream: StreamStatus, top: list[_Block], bottom: list[_Block]) -> list[_Block]:
        wide = self._width >= _WIDE
        body = self._wide(stream) if wide else self._narrow(stream)
        room = self._height - sum(len(block.lines) for block in [*top, *body, *bottom])
        return [*top, *body, self._rest(stream, room), *bottom]

    def has_picture(self) -> bool:
        """Return whether the pictures are among the blocks."""
        self.blocks()
        return self._drawn

    def _top(self) -> list[_Block]:
        snapshot, width, look = self._snapshot, self._width, self._look
        most = max(1, self._height // 6)
        blocks = [
            _Block(100, [panels.header(snapshot, width, look)]),
            _Block(72, panels.recording_lines(snapshot, width)),
            _Block(95, panels.alert_lines(snapshot, width, most)),
        ]
        if len(snapshot.streams) > 1:
            rows = panels.camera_rows(snapshot, self._selected, look)
            blocks.append(_Block(90, rows))
        if self._stream is not None:
            blocks.append(_Block(70, [panels.stream_rule(self._stream, width, look)]))
        return blocks

    def _bottom(self) -> list[_Block]:
        most = max(2, self._height // 8)
        messages = panels.message_lines(self._snapshot, self._width, most)
        keys = self._keys()
        return [
            _Block(88, messages),
            _Block(68, [panels.footer(self._snapshot, self._width, keys)]),
        ]

    def _keys(self) -> str:
        if not self._choice.keys:
            return ""
        tab = "   tab camera" if len(self._snapshot.streams) > 1 else ""
        leave = "   q leave" if self._choice.quit_key else ""
        return f"? help   p picture{tab}{leave}"

    def _narrow(self, stream: StreamStatus) -> list[_Block]:
        width, look = self._width, self._look
        blocks = [
            _Block(80, stage_rows(stream, width, look)),
            _Block(75, panels.latency_lines(stream, width)),
            _Block(67, panels.totals_lines(stream, width)),
        ]
        if self._choice.picture is not True:
            blocks.append(_Block(65, quality_lines(stream.quality, width)))
            blocks.append(_Block(35, panels.curve_lines(stream, width, look)))
            if stream.preview is None or self._choice.picture is False:
                # Else pictures take the room below.
                blocks.append(_Block(20, panels.hop_lines(stream, width)))
        return blocks

    def _wide(self, stream: StreamStatus) -> list[_Block]:
        look = self._look
        width = max(84, min(self._width - CELL - GAP, self._width * 11 // 20))
        other = self._width - width - GAP
        figures = [
            *stage_rows(stream, width, look),
            *panels.latency_lines(stream, width),
            *panels.totals_lines(stream, width),
            *panels.hop_lines(stream, width),
        ]
        return [
            _Block(80, beside([(figures, width), (quality_lines(stream.quality, other), other)]))
        ]

    def _rest(self, stream: StreamStatus, room: int) -> _Block:
        """Return what fills the room left: pictures and, on a wide screen, curves beside them."""
        look, width = self._look, self._width
        wide = width >= _WIDE
        picture_width = width - (_CURVES_WIDTH + GAP if wide else 0)
        lines = self._pictures(stream.preview, picture_width, room - 1)
        self._drawn = bool(lines)
        if wide:
            used = width_of(lines[0]) + GAP if lines else 0
            other = min(width - used, 2 * _CURVES_WIDTH)
            tall = min(_TALLEST, (room - 1) // max(1, len(stream.history)) - 1)
            curves = panels.curve_lines(stream, other, look, max(1, tall))
            lines = beside([(lines, used - GAP), (curves, other)]) if lines else curves
        return _Block(_PICTURE_RANK, [[], *lines] if lines else [])

    def _pictures(self, preview: Preview | None, width: int, room: int) -> list[Line]:
        """Return raw and denoised side by side, nothing where they do not fit."""
        if preview is None or self._choice.picture is False or room <= _MIN_PICTURE_ROWS:
            return []
        raw = grey_picture(preview.raw, preview.height, preview.width)
        if raw is None or width < 2 * _MIN_PICTURE_ROWS + GAP:
            return []
        columns, rows = cells_of(raw.shape[:2], (width - GAP) // 2, room - 1)
        clean = grey_picture(preview.clean, preview.height, preview.width)
        lines = [picture_lines(raw, columns, rows, self._look.pictures)]
        titles = [f"raw, frame {preview.seq}", "not denoised"]
        if clean is not None:
            lines.append(picture_lines(clean, columns, rows, self._look.pictures))
            titles[1] = f"denoised, {preview.low_adu:.0f} to {preview.high_adu:.0f} counts"
        heads = [line((left(title, columns), "label")) for title in titles]
        blocks = [([head, *body], columns) for head, body in zip(heads, [*lines, []], strict=False)]
        return beside(blocks)
