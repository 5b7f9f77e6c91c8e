"""The preflight on the terminal: problems first with their mend, then every group, then ceilings.

Pure: a report in, something rich can print out. Good at 80 columns.
"""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from livedenoise.core.check_facts import Ceiling, CheckReport, Finding, Level, Verdict

_MARK: dict[Level, str] = {"ok": "ok", "warning": "!", "problem": "X"}
_STYLE: dict[Level, str] = {"ok": "green", "warning": "yellow", "problem": "bold red"}
_GROUPS = ("cameras", "engine", "memory", "disk", "network", "machine")
_FASTER_THAN = 9999.5
"""Frame rates above this are shown in thousands: their digits mean nothing."""


def render_report(report: CheckReport) -> RenderableType:
    """Return the whole report."""
    parts: list[RenderableType] = []
    for level, title in (("problem", "problems"), ("warning", "warnings")):
        found = [finding for finding in report.findings if finding.ok == level]
        if found:
            parts += [_title(title), _findings(found, with_mend=True), Text()]
    parts += [_title(f"checked: {report.config}"), _grouped(report.findings), Text()]
    if report.ceilings:
        parts += [_title("ceilings of this machine"), render_ceilings(report.ceilings)]
        parts += [_methods(report.ceilings), Text()]
    parts += [_verdict(verdict) for verdict in report.verdicts]
    parts.append(_last_line(report))
    return Group(*parts)


def render_ceilings(rows: Sequence[Ceiling]) -> Table:
    """Return the table of ceilings; the row that limits each camera is marked."""
    several = len({row.camera for row in rows}) > 1
    table = Table(box=None, padding=(0, 2, 0, 0))
    if several:
        table.add_column("camera", style="dim")
    table.add_column("stage")
    for name in ("fps", "MB/s", "needs fps"):
        table.add_column(name, justify="right")
    table.add_column("")
    for row in rows:
        moved = f"{row.mb_per_s:.0f}" if row.mb_per_s else "-"
        cells = [row.stage, rate_text(row.fps), moved, _needs(row)]
        style = _row_style(row)
        mark = "<- limits" if row.limits else ""
        table.add_row(*([row.camera] if several else []), *cells, mark, style=style)
    return table


def rate_text(fps: float) -> str:
    """Return a frame rate for people: three digits, thousands as k."""
    if fps > _FASTER_THAN:
        return f"{fps / 1000:.0f}k"
    return f"{fps:.0f}" if fps >= 100 else f"{fps:.3g}"


def _needs(row: Ceiling) -> str:
    return rate_text(row.needs_fps) if row.needs_fps else "any"


def _row_style(row: Ceiling) -> str:
    if row.needs_fps and row.fps < row.needs_fps:
        return "bold yellow"
    return "bold" if row.limits else ""


def _methods(rows: Sequence[Ceiling]) -> Table:
    """Return how each stage was measured, once for each way."""
    grid = Table.grid(padding=(0, 2, 0, 0))
    for stage, method in dict.fromkeys((row.stage, row.method) for row in rows):
        grid.add_row(Text(stage, style="dim"), Text(method, style="dim"))
    return grid


def _grouped(findings: Sequence[Finding]) -> Table:
    grid = _grid()
    for group in _GROUPS:
        for finding in (f for f in findings if f.group == group):
            _add(grid, finding)
    return grid


def _findings(findings: Sequence[Finding], *, with_mend: bool) -> Table:
    grid = _grid()
    for finding in findings:
        _add(grid, finding, with_mend=with_mend)
    return grid


def _grid() -> Table:
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(width=2)
    grid.add_column(max_width=26)
    grid.add_column(overflow="fold")
    return grid


def _add(grid: Table, finding: Finding, *, with_mend: bool = False) -> None:
    mark = Text(_MARK[finding.ok], style=_STYLE[finding.ok])
    text = Text(finding.text)
    if with_mend and finding.mend:
        text.append(f"\n-> {finding.mend}", style="cyan")
    grid.add_row(mark, Text(finding.name), text)


def _verdict(verdict: Verdict) -> RenderableType:
    text = Text(f"{verdict.camera}: {verdict.text}", style=_STYLE[verdict.ok])
    if verdict.mend:
        text.append(f"\n-> {verdict.mend}", style="cyan")
    return text


def _last_line(report: CheckReport) -> Text:
    levels = [found.ok for found in report.findings] + [one.ok for one in report.verdicts]
    problems, warnings = levels.count("problem"), levels.count("warning")
    text = f"{_count(problems, 'problem')}, {_count(warnings, 'warning')}"
    if report.quick:
        text += "; nothing was measured (--quick)"
    return Text(text, style="bold red" if problems else "bold")


def _count(number: int, what: str) -> str:
    return f"{number or 'no'} {what}{'' if number == 1 else 's'}"


def _title(text: str) -> Text:
    return Text(text, style="bold underline")
