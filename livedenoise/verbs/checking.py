"""``check``: the preflight before an experiment."""

from __future__ import annotations

import argparse
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from livedenoise.verbs.common import ENGINES, Verbs, positive, print_json

if TYPE_CHECKING:
    from livedenoise.core.check_facts import CheckReport


def check(arguments: argparse.Namespace) -> int:
    """``livedenoise check CONFIG``: what would go wrong, and which stage will limit."""
    report = _checked(arguments)
    if arguments.json:
        import msgspec

        print_json(msgspec.to_builtins(report))
        return report.exit_code
    from rich.console import Console

    from livedenoise.view.check_report import render_report

    Console().print(render_report(report), highlight=False)
    return report.exit_code


def _checked(arguments: argparse.Namespace) -> CheckReport:
    from livedenoise.core.config import load_config
    from livedenoise.core.progress import OnProgress, ignore_progress
    from livedenoise.daemon.options import RunOptions, with_options
    from livedenoise.daemon.preflight.check import Preflight
    from livedenoise.hardware import find_config

    options = RunOptions(
        seconds=arguments.seconds,
        out=arguments.out,
        input=arguments.input,
        model=arguments.model,
        engine=arguments.engine,
    )
    config = with_options(load_config(find_config(arguments.config)), options)
    on_progress: OnProgress = ignore_progress
    with ExitStack() as stack:
        if not arguments.json:
            from livedenoise.view.progress import ProgressView

            on_progress = stack.enter_context(ProgressView())
        return Preflight(config, options, quick=arguments.quick, on_progress=on_progress).run()


def register(verbs: Verbs) -> None:
    """Add ``check``."""
    parser = verbs.add_parser("check", help="find out what would go wrong before an experiment")
    parser.set_defaults(verb=check)
    add = parser.add_argument
    add("config", metavar="CONFIG", help="TOML file, or the name of a shipped configuration")
    add("--quick", action="store_true", help="measure nothing: no ceilings, a few seconds")
    add("--seconds", type=positive(float), metavar="S", help="planned duration")
    add("--out", type=Path, default=Path("runs"), metavar="DIR", help="where runs would be made")
    add("--input", type=Path, metavar="FILE", help="recording to replay (cameras of kind replay)")
    add("--model", metavar="M", help="shipped model or package folder")
    add("--engine", choices=ENGINES, help="which engine serves the model")
    add("--json", action="store_true", help="print one JSON object and nothing else on stdout")
