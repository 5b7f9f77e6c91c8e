"""The table of stages: state, rates, queue, frames, losses by reason, restarts. Pure.

Its columns depend on the width. Must not know: the other panels, the height of the screen.
"""

from __future__ import annotations

import msgspec

from livedenoise.core.status import StageStatus, StreamStatus
from livedenoise.view.lines import STATE_STYLES, Line, Look, bar, flow, left, line, printable, right
from livedenoise.view.numbers_text import MISSING

_FULL = 0.5
_VERY_FULL = 0.8


class _Columns(msgspec.Struct, frozen=True):
    """Widths of the columns of the stage table; 0 leaves one out."""

    name: int
    state: int
    fps: int
    mb: int
    queue: int
    count: int


def _columns(width: int) -> _Columns:
    if width >= 100:
        return _Columns(14, 11, 9, 9, 27, 11)
    if width >= 76:
        return _Columns(13, 10, 7, 8, 18, 8)
    if width >= 56:
        return _Columns(13, 11, 7, 0, 13, 8)
    return _Columns(13, 0 if width < 40 else 11, 7, 0, 0, 8)


def stage_rows(stream: StreamStatus, width: int, look: Look) -> list[Line]:
    """One row a stage: state, rates, queue, frames, losses by reason, restarts."""
    columns = _columns(width)
    titles = [
        left("stage", columns.name),
        left("state", columns.state),
        right("fps", columns.fps),
        right("MB/s" if columns.mb else "", columns.mb),
        left("  queue" if columns.queue else "", columns.queue + 2 if columns.queue else 0),
        right("frames", columns.count),
        "  losses",
    ]
    rows = [line(("".join(titles), "label"))]
    table = sum(msgspec.structs.astuple(columns)) + (2 if columns.queue else 0)
    room = width - table - 2
    rows += [_stage_row(stage, columns, room, look) for stage in stream.stages]
    # Reasons that the last column cuts are told in full below.
    cut = [s for s in stream.stages if len(_losses(s)) > room]
    rows += flow([line((f"{s.kind}: {_losses(s)}", _loss_style(s))) for s in cut], width)
    return rows


def _stage_row(stage: StageStatus, columns: _Columns, room: int, look: Look) -> Line:
    state = STATE_STYLES.get(stage.state, "warn")
    row = line(
        (left(printable(stage.kind), columns.name, blocks=look.blocks), "name"),
        (left(printable(stage.state), columns.state, blocks=look.blocks), state),
        right(f"{stage.fps:.1f}", columns.fps),
    )
    if columns.mb:
        row += line(right(f"{stage.mb_per_s:.1f}" if stage.mb_per_s else MISSING, columns.mb))
    if columns.queue:
        row += line("  ", *_queue(stage, columns.queue, look))
    losses = _losses(stage)
    if len(losses) > room:
        losses = f"{sum(stage.dropped.values())} below"
    return [
        *row,
        *line((right(str(stage.count), columns.count), "value"), "  "),
        *line((losses or MISSING, _loss_style(stage) if losses else "label")),
    ]


def _queue(stage: StageStatus, width: int, look: Look) -> list[tuple[str, str]]:
    if not stage.queue:
        return [(left(MISSING, width), "label")]
    percent = right(f"{stage.fill:.0%}" if stage.fill == stage.fill else MISSING, 5)
    label = left(printable(stage.queue), 8) if width >= 18 else ""
    room = width - len(label) - 5
    style = "bad" if stage.fill > _VERY_FULL else "warn" if stage.fill > _FULL else "good"
    return [(label, "label"), (bar(stage.fill, room, blocks=look.blocks), style), (percent, "")]


def _losses(stage: StageStatus) -> str:
    parts = [f"{count} {printable(reason)}" for reason, count in stage.dropped.items() if count]
    if stage.restarts:
        parts.append(f"{stage.restarts} restart" + "s" * (stage.restarts > 1))
    return ", ".join(parts)


def _loss_style(stage: StageStatus) -> str:
    return "bad" if stage.kind == "acquire" and any(stage.dropped.values()) else "warn"
