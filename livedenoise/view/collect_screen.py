"""A collection in the terminal: bar, rate, time left, the last pair; in a pipe: plain lines.

Knows: progress steps and pictures. Must not know: microscopes, plans, verdicts.

A collection runs for hours without anybody watching: a terminal that goes away must not end it.
What cannot be written is dropped, and ``lost`` says why.
"""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Any, Protocol, Self

import numpy.typing as npt
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from livedenoise.core.progress import Progress as Step
from livedenoise.view.pair_preview import render_pair

_PREVIEW_COLUMNS = 96
_COUNTED = "fields"


class CollectView(Protocol):
    """Shows a collection while it runs; a context manager."""

    lost: str

    def on_progress(self, progress: Step) -> None:
        """Take one step of progress."""

    def show_pair(
        self, low: npt.NDArray[Any], high: npt.NDArray[Any], text: str, *, accepted: bool
    ) -> None:
        """Show a pair (Y, X) with the line of its verdict."""

    def say(self, text: str) -> None:
        """Show a line."""

    def __enter__(self) -> Self:
        """Begin."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End."""


class _RateColumn(ProgressColumn):
    """Units a minute: a field takes seconds, not milliseconds."""

    def render(self, task: Task) -> Text:
        """Return the rate, or dashes before there is one."""
        speed = task.finished_speed or task.speed
        unit = task.fields.get("unit", "")
        return Text("-- /min" if speed is None else f"{speed * 60:.1f} {unit}/min", style="dim")


class _Drawing:
    """Draws until the terminal goes away."""

    def __init__(self) -> None:
        self.lost = ""

    def _draw(self, draw: Callable[[], object]) -> None:
        if self.lost:
            return
        try:
            draw()
        except OSError as error:
            self.lost = f"the terminal cannot be written: {error}"


class CollectScreen(_Drawing):
    """Bar and last pair on a terminal, redrawn when something happens."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            _RateColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}", style="dim"),
            console=console,
            auto_refresh=False,
        )
        self._tasks: dict[str, TaskID] = {}
        self._pair: RenderableType = ""
        self._line = ""
        self._live = Live(console=console, auto_refresh=False, get_renderable=self._rendered)

    def _rendered(self) -> RenderableType:
        line = Text(self._line, style="yellow")
        return Group(self._pair, self._progress, *([line] if self._line else []))

    def on_progress(self, progress: Step) -> None:
        """Move the bar of a task."""
        task = self._tasks.get(progress.task)
        total = progress.total or None
        if task is None:
            task = self._progress.add_task(
                progress.task, total=total, unit=progress.unit, note=progress.note
            )
            self._tasks[progress.task] = task
        self._progress.update(
            task,
            completed=progress.done,
            total=total,
            note=progress.note,
            visible=progress.unit == _COUNTED or progress.done != progress.total,
        )
        self._draw(self._live.refresh)

    def show_pair(
        self, low: npt.NDArray[Any], high: npt.NDArray[Any], text: str, *, accepted: bool
    ) -> None:
        """Show a pair in place of the last one."""
        self._pair = render_pair(low, high, text, _PREVIEW_COLUMNS, accepted=accepted)
        self._draw(self._live.refresh)

    def say(self, text: str) -> None:
        """Show a line below the bar."""
        self._line = text
        self._draw(self._live.refresh)

    def __enter__(self) -> Self:
        """Take over the lines below the cursor."""
        self._draw(self._live.start)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leave the last state on the screen."""
        self._draw(self._live.stop)


class CollectLines(_Drawing):
    """One line for each field and each rejected pair, for pipes and log files.

    Other tasks (dark frames, the report) have a line when they are done.

    Parameters
    ----------
    write : callable
        Takes a line, without its end.
    """

    def __init__(self, write: Callable[[str], object]) -> None:
        super().__init__()
        self._write = write

    def on_progress(self, progress: Step) -> None:
        """Write the step, unless it is one of many that nobody counts."""
        step = progress
        if step.unit != _COUNTED and step.done != step.total:
            return
        of_total = f"{step.done}/{step.total}" if step.total else f"{step.done}"
        note = f": {step.note}" if step.note else ""
        self.say(f"{step.task} {of_total} {step.unit}{note}")

    def show_pair(
        self,
        low: npt.NDArray[Any],  # noqa: ARG002  (no pictures in a pipe)
        high: npt.NDArray[Any],  # noqa: ARG002
        text: str,
        *,
        accepted: bool,
    ) -> None:
        """Write what became of a rejected pair; accepted ones are in the counts."""
        if not accepted:
            self.say(text)

    def say(self, text: str) -> None:
        """Write a line."""
        self._draw(lambda: self._write(text))

    def __enter__(self) -> Self:
        """Begin."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End."""
