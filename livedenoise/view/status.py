"""The live status on a terminal: ``render(snapshot)`` is pure; ``LiveStatus`` redraws it."""

from __future__ import annotations

from types import TracebackType
from typing import Self

import numpy as np
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from livedenoise.core.status import StatusSnapshot, StreamStatus

_GOOD, _WARN, _BAD = "green", "yellow", "bold red"


def render(snapshot: StatusSnapshot) -> RenderableType:
    """Return the status of a run: one block for each camera, losses coloured."""
    parts: list[RenderableType] = [_progress_line(snapshot)]
    for stream in snapshot.streams:
        parts.append(Text())
        parts.append(_stream_table(stream))
    parts.append(Text())
    parts += [Text(f"! {error}", style=_BAD) for error in snapshot.errors[-3:]]
    parts += [Text(f"- {note}", style="dim") for note in snapshot.notes[-4:]]
    parts.append(Text(f"run folder {snapshot.run_dir}", style="dim"))
    title = f"livedenoise  {snapshot.name}  [{snapshot.state}]"
    return Panel(Group(*parts), title=Text(title), title_align="left", width=80)


class LiveStatus:
    """Draws snapshots in place on a console; a context manager."""

    def __init__(self, console: Console) -> None:
        self._live = Live(console=console, auto_refresh=False, transient=False)

    def show(self, snapshot: StatusSnapshot) -> None:
        """Redraw."""
        self._live.update(render(snapshot), refresh=True)

    def __enter__(self) -> Self:
        """Take over the lines below the cursor."""
        self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leave the last state on the screen."""
        self._live.stop()


def _progress_line(snapshot: StatusSnapshot) -> RenderableType:
    done, total, text = _progress(snapshot)
    line = Table.grid(padding=(0, 1), expand=True)
    line.add_column(ratio=1)
    line.add_column(justify="right")
    bar: RenderableType = Text("until Ctrl-C", style="dim")
    if total:
        bar = ProgressBar(total=total, completed=min(done, total))
    line.add_row(bar, Text(text))
    return line


def _progress(snapshot: StatusSnapshot) -> tuple[float, float, str]:
    elapsed = f"{snapshot.elapsed_s:.1f} s"
    if snapshot.total_s:
        return snapshot.elapsed_s, snapshot.total_s, f"{elapsed} of {snapshot.total_s:g} s"
    if snapshot.total_frames and snapshot.streams:
        done = min(stream.captured for stream in snapshot.streams)
        rate = snapshot.streams[0].fps_in
        left = (snapshot.total_frames - done) / rate if rate else 0.0
        text = f"{done} of {snapshot.total_frames} frames, {left:.0f} s left"
        return done, snapshot.total_frames, text
    return 0, 0, elapsed


def _stream_table(stream: StreamStatus) -> RenderableType:
    head = Text.assemble(
        (stream.camera, "bold cyan"),
        f"  {stream.shape[1]}x{stream.shape[0]} {np.dtype(stream.dtype).name}",
        ("   engine ", "dim"),
        stream.engine,
    )
    table = Table.grid(padding=(0, 2))
    for _ in range(4):
        table.add_column(justify="right")
        table.add_column(justify="left")
    table.add_row(
        *_cell("captured", f"{stream.captured}"),
        *_cell("recorded", f"{stream.recorded}"),
        *_cell("denoised", f"{stream.denoised}"),
        *_cell("skipped", f"{stream.skipped}", _WARN if stream.skipped else ""),
    )
    lost = stream.lost_at_camera + sum(stream.dropped.values())
    table.add_row(
        *_cell("in", f"{stream.fps_in:.1f} fps"),
        *_cell("out", f"{stream.fps_out:.1f} fps"),
        *_cell("data", f"{stream.mb_per_s:.1f} MB/s"),
        *_cell("lost", f"{lost}", _BAD if lost else _GOOD),
    )
    latency = stream.latency
    late = stream.period_ms and latency.p99 > 2 * stream.period_ms
    table.add_row(
        *_cell("latency p50", f"{latency.p50:.1f} ms"),
        *_cell("p99", f"{latency.p99:.1f} ms", _WARN if late else ""),
        *_cell("period", f"{stream.period_ms:.1f} ms"),
        *_cell("ring", f"{stream.ring_fill:.0%}", _WARN if stream.ring_fill > 0.5 else ""),
    )
    return Group(head, table)


def _cell(label: str, value: str, style: str = "") -> tuple[Text, Text]:
    return Text(label, style="dim"), Text(value, style=style or "bold")
