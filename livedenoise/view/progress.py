"""Progress of long work on a terminal: bar, rate and time left, one row for each task."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rich.console import Console
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


class _RateColumn(ProgressColumn):
    """Units a second."""

    def render(self, task: Task) -> Text:
        """Return the rate, or dashes before there is one."""
        speed = task.finished_speed or task.speed
        unit = task.fields.get("unit", "")
        return Text("-- /s" if speed is None else f"{speed:.1f} {unit}/s", style="dim")


class ProgressView:
    """Shows ``core.progress`` steps; a context manager. Does nothing when not on a terminal."""

    def __init__(self, console: Console | None = None) -> None:
        console = console or Console(stderr=True)
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            _RateColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}", style="dim"),
            console=console,
            disable=not console.is_terminal,
        )
        self._tasks: dict[str, TaskID] = {}

    def __call__(self, progress: Step) -> None:
        """Take one step of progress."""
        step = progress
        task = self._tasks.get(step.task)
        total = step.total or None
        if task is None:
            task = self._progress.add_task(step.task, total=total, unit=step.unit, note=step.note)
            self._tasks[step.task] = task
        self._progress.update(task, completed=step.done, total=total, note=step.note)

    def __enter__(self) -> Self:
        """Take over the lines below the cursor."""
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leave the last state on the screen."""
        self._progress.stop()
