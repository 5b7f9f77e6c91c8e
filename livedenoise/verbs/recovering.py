"""``recover``: make a finished run folder of what a killed or damaged run left."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from livedenoise.verbs.common import Verbs, print_json

if TYPE_CHECKING:
    from livedenoise.record.mend import StreamReport
    from livedenoise.record.recover import RecoveryReport


def recover(arguments: argparse.Namespace) -> int:
    """``livedenoise recover RUN``: say what is missing and why, and mend what can be mended."""
    import msgspec

    from livedenoise.record.recover import recover_run
    from livedenoise.view.progress import ProgressView

    options = {"check_only": arguments.check_only, "force": arguments.force}
    if arguments.json:
        report = recover_run(arguments.run, **options)
        print_json({**msgspec.to_builtins(report), "exit_code": report.exit_code})
        return report.exit_code
    with ProgressView() as progress:
        report = recover_run(arguments.run, progress, **options)
    _show(report)
    return report.exit_code


def register(verbs: Verbs) -> None:
    """Add ``recover``."""
    parser = verbs.add_parser("recover", help="mend what a killed or damaged run left")
    add = parser.add_argument
    add("run", type=Path, metavar="RUN", help="run folder: the one with run.json")
    add("--check-only", action="store_true", help="say what is wrong and change nothing")
    add("--force", action="store_true", help="even if the run may still be under way")
    add("--json", action="store_true", help="print one JSON object and nothing else on stdout")
    parser.set_defaults(verb=recover)


def _show(report: RecoveryReport) -> None:
    from rich.console import Console

    from livedenoise.view.summary import render_lines

    lines = [("run", report.path), ("state", _state(report))]
    warnings = [*report.found, *report.left]
    for stream in report.streams:
        lines += _stream_lines(stream)
        name = f"{stream.stream}/{stream.camera}"
        warnings += [f"{name}: {text}" for text in stream.found]
        lines += [(name, text) for text in stream.changes]
    lines += [("run", text) for text in report.changes]
    Console().print(render_lines(lines, warnings))


def _state(report: RecoveryReport) -> str:
    if report.complete:
        return "complete: nothing had to be changed"
    if report.check_only:
        return "not complete: livedenoise recover mends what is named below"
    if not (report.changes or any(stream.changes for stream in report.streams)):
        return "nothing more can be mended: what is named below stays as it is"
    return "recovered: what is named below was found and mended"


def _stream_lines(stream: StreamReport) -> list[tuple[str, str]]:
    name = f"{stream.stream}/{stream.camera}"
    text = f"{stream.frames} frames in {stream.parts} parts, {stream.bytes / 1e6:.1f} MB"
    if not stream.numbered:
        text += "; numbers count the pages, times are unknown"
    lines = [(name, text)]
    missing = "; ".join(f"{count} {reason}" for reason, count in stream.missing.items())
    if missing:
        lines.append(("missing", missing))
    if stream.lost:
        lines.append(("LOST", f"{stream.lost} frames that were acknowledged"))
    if stream.error:
        lines.append(("ended with", stream.error))
    return lines + [("not acknowledged", text) for text in stream.unacknowledged]
