"""The end of a run in a few lines: what was captured, lost and denoised, how fast, where it is."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from livedenoise.core.metrics import LatencySummary

_HOP_TEXT = {
    "camera_to_ring": "camera to ring",
    "ring_to_engine": "ring to engine",
    "inference": "inference",
    "publish": "publish",
    "camera_to_denoised": "camera to denoised",
}


def render_latency(hops: dict[str, LatencySummary]) -> RenderableType:
    """Return the table of latencies, one row a hop."""
    table = Table(title="latency, ms", title_justify="left", title_style="dim", box=None)
    table.add_column("hop", style="dim")
    for name in ("p50", "p99", "p99.9", "max"):
        table.add_column(name, justify="right")
    for hop, text in _HOP_TEXT.items():
        found = hops.get(hop)
        if found is not None and found.count:
            values = (found.p50, found.p99, found.p999, found.max)
            table.add_row(text, *(f"{value:.2f}" for value in values))
    return table


def render_lines(lines: list[tuple[str, str]], warnings: list[str]) -> RenderableType:
    """Return labelled lines and, below them, warnings."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim")
    grid.add_column()
    for label, text in lines:
        grid.add_row(label, text)
    return Group(grid, *(Text(f"- {warning}", style="yellow") for warning in warnings))
