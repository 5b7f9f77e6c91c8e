"""``diagnose``: what kind of noise is this, and which ways of training fit it."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from livedenoise.verbs.common import Verbs, print_json

if TYPE_CHECKING:
    from rich.table import Table

    from livedenoise.diagnose.facts import Diagnosis

_ROWS = (
    ("gain", "gain"),
    ("offset", "offset"),
    ("read noise", "read_noise"),
    ("noise of a pixel", "noise"),
    ("variance over the calibration's", "noise_factor"),
    ("noise power of areas, of a pixel's", "grain_factor"),
    ("contrast without noise", "structure"),
    ("correlation, next pixel in x", "lag1_x"),
    ("correlation, next pixel in y", "lag1_y"),
    ("correlation, diagonal", "lag1_diagonal"),
    ("correlation, two pixels in x", "lag2_x"),
    ("correlation, two pixels in y", "lag2_y"),
    ("correlation in fine detail, x", "fine_lag1_x"),
    ("correlation in fine detail, y", "fine_lag1_y"),
    ("correlation, next frame", "lag1_time"),
    ("noise shared by rows, of a pixel's", "row_noise"),
    ("noise shared by columns, of a pixel's", "column_noise"),
    ("signal lost over the recording", "bleaching"),
    ("the same in counts", "bleaching_adu"),
    ("flicker", "flicker"),
    ("drift", "drift"),
    ("field in which something moves", "moving"),
    ("frames read that repeat the one before", "repeated"),
    ("field that never changes", "constant"),
    ("pixels at 0", "zero_fraction"),
    ("pixels at the highest count", "saturated_fraction"),
)
_MARKS = {
    "fits": "[green]fits[/]",
    "with care": "[yellow]with care[/]",
    "does not fit": "[red]does not fit[/]",
    "unknown": "unknown",
}


def register(verbs: Verbs) -> None:
    """Add ``diagnose``."""
    parser = verbs.add_parser(
        "diagnose", help="what kind of noise is this, and which training fits it"
    )
    add = parser.add_argument
    add("frames", type=Path, metavar="FRAMES", help="stack of repeats or movie; run folder")
    add("--offset", type=float, metavar="ADU", help="counts without light, where known")
    add(
        "--calibration",
        type=Path,
        metavar="C",
        help="calibration folder of the camera: compares the noise with it",
    )
    add("--json", action="store_true", help="print one JSON object and nothing else on stdout")
    parser.set_defaults(verb=diagnose)


def diagnose(arguments: argparse.Namespace) -> int:
    """``livedenoise diagnose FRAMES``."""
    from functools import partial

    from livedenoise.diagnose.run import diagnose as run_diagnose

    run = partial(
        run_diagnose,
        arguments.frames,
        offset_adu=arguments.offset,
        calibration=arguments.calibration,
    )
    if arguments.json:
        found = run()
        print_json({"exit_code": 0, **msgspec.to_builtins(found)})
        return 0
    from livedenoise.view.progress import ProgressView

    with ProgressView() as on_progress:
        found = run(on_progress)
    _show(found)
    return 0


def _show(found: Diagnosis) -> None:
    from rich.console import Console
    from rich.markup import escape

    console = Console()
    size = f"{found.shape[1]} x {found.shape[0]} px"
    console.print(
        f"[bold]{escape(found.path)}[/]: {found.n_frames} frames of {size}, {found.bit_depth} bit; "
        f"{found.n_used} read"
    )
    for line in found.summary:
        console.print(f"- {escape(line)}")
    for line in found.suspicions:
        console.print(f"[yellow]- suspected: {escape(line)}[/]")
    console.print(_numbers(found))
    console.print(_methods(found))


def _numbers(found: Diagnosis) -> Table:
    from rich.table import Table

    from livedenoise.diagnose.words import shown

    table = Table("measured", "value", box=None)
    for title, name in _ROWS:
        if name != "noise_factor" or found.noise_factor.value is not None:
            table.add_row(title, shown(getattr(found, name)))
    return table


def _methods(found: Diagnosis) -> Table:
    from rich.markup import escape
    from rich.table import Table

    table = Table("training", "verdict", "why", box=None)
    for method in found.methods:
        table.add_row(f"{method.title} ({method.name})", _MARKS[method.fit], escape(method.why))
    return table
