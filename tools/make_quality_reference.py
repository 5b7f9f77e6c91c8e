"""Write docs/quality-figures.md from the table of definitions in ``quality.definitions``.

    python tools/make_quality_reference.py

A test compares the file with what this writes, so the page cannot fall behind the code.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from livedenoise.quality.definitions import FIGURES, MOTION, SAMPLING, FigureDefinition

TARGET = Path(__file__).resolve().parents[1] / "docs" / "quality-figures.md"
HEAD = """# Live quality figures

What the dashboard, `livedenoise status` and the metrics say about the frames while they come in.
Measured beside the denoiser, in a process of its own, from some frames a second (`[view]` in the
configuration). A denoised image is never given a signal-to-noise ratio of its own: blurring would
raise it. Written by `tools/make_quality_reference.py`.
"""


def main() -> None:
    """Write the page."""
    TARGET.write_text(render(), encoding="utf-8")


def render() -> str:
    """Return the page."""
    parts = [HEAD, "## How they are measured\n", f"{SAMPLING}\n"]
    parts += ["## When the scene moves\n", f"{MOTION}\n", "## Overview\n", *_overview(), ""]
    for one in FIGURES.values():
        parts += _section(one)
    return "\n".join(parts).rstrip() + "\n"


def _overview() -> Iterator[str]:
    yield "| key | figure | unit | compares frames | needs |"
    yield "| --- | --- | --- | --- | --- |"
    for one in FIGURES.values():
        needs = ["constants"] * one.needs_constants + ["denoised frames"] * one.needs_denoised
        moving = "yes" if one.compares_frames else "no"
        cells = (f"[`{one.key}`](#{one.key})", one.label, one.unit, moving, ", ".join(needs))
        yield f"| {' | '.join(cells)} |"


def _section(one: FigureDefinition) -> Iterator[str]:
    yield f"## {one.key}\n"
    yield f"**{one.label}**{f' ({one.unit})' if one.unit else ''}. {one.definition}\n"
    yield f"- Source: {one.source}"
    yield f"- Not to be trusted: {one.invalid}"
    yield f"- Reading it: {one.reading}\n"


if __name__ == "__main__":
    main()
