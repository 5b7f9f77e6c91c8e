"""``collect``: paired low and high exposures of a fixed sample, field by field, unattended.

Stop signals: the first Ctrl-C or SIGTERM finishes the field in progress, the second aborts; both
leave a data set that ``--resume`` goes on with. During the dark frames the first one ends them, and
no data set is begun.
"""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from livedenoise.verbs.common import Verbs, print_json

if TYPE_CHECKING:
    from livedenoise.collect.run import PairShown
    from livedenoise.collect.session import CollectSummary
    from livedenoise.view.collect_screen import CollectView

_STOPPING = "stopping: the field in progress is finished (dark frames are not); Ctrl-C again aborts"


def collect(arguments: argparse.Namespace) -> int:
    """``livedenoise collect CONFIG --plan PLAN --out DATASET``: take pairs, check, store."""
    from livedenoise.collect.plan import find_plan
    from livedenoise.hardware import find_config

    config, plan = find_config(arguments.config), find_plan(arguments.plan)
    if arguments.dry_run:
        return _dry(config, plan, arguments)
    return _collect(config, plan, arguments)


def _dry(config: Path, plan: Path, arguments: argparse.Namespace) -> int:
    """Say what it would cost: nothing is exposed, moved or written."""
    from livedenoise.collect.dry_run import run_dry

    forecast = run_dry(config, plan, arguments.out, resume=arguments.resume)
    if arguments.json:
        import msgspec

        print_json({"exit_code": 0, **msgspec.to_builtins(forecast)})
        return 0
    from rich.console import Console

    from livedenoise.verbs.forecast_tables import print_forecast

    print_forecast(forecast, Console())
    return 0


def _collect(config: Path, plan: Path, arguments: argparse.Namespace) -> int:
    from livedenoise.collect.session import run_collect

    stop = threading.Event()
    with _view(quiet=arguments.json) as view, _stopping(stop, view.say), _notes_said():
        summary = run_collect(
            config,
            plan,
            arguments.out,
            resume=arguments.resume,
            on_progress=view.on_progress,
            on_pair=None if arguments.json else _shower(view),
            stop=stop,
        )
    _report(summary, as_json=arguments.json)
    return summary.exit_code


def _view(*, quiet: bool) -> CollectView:
    """Return what shows the collection: a screen on a terminal, else lines; no lines when quiet."""
    from rich.console import Console

    from livedenoise.view.collect_screen import CollectLines, CollectScreen

    console = Console(stderr=True)
    if quiet:
        return CollectLines(lambda _: None)
    if console.is_terminal:
        return CollectScreen(console)
    return CollectLines(_write_line)


def _write_line(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _shower(view: CollectView) -> Callable[[PairShown], None]:
    def show(shown: PairShown) -> None:
        pair = shown.pair
        accepted = shown.verdict.accepted
        view.show_pair(pair.low.image, pair.high.image, verdict_text(shown), accepted=accepted)

    return show


def verdict_text(shown: PairShown) -> str:
    """Return a pair's verdict in one line: the figures of a good one, the reasons of a bad one."""
    verdict = shown.verdict
    attempt = f", attempt {shown.attempt + 1}" if shown.attempt else ""
    where = f"field {shown.field}{attempt}, {shown.pair.name}"
    if not verdict.accepted:
        failed = [check.text for check in verdict.checks if not check.passed]
        return f"{where}: REJECTED: {'; '.join(failed) or ', '.join(verdict.reasons)}"
    shift = (verdict.shift_px[0] ** 2 + verdict.shift_px[1] ** 2) ** 0.5
    return (
        f"{where}: accepted, ratio {verdict.ratio:.4g} (planned {verdict.expected_ratio:.4g}), "
        f"shift {shift:.2f} px, PSNR {verdict.psnr_db:.1f} dB"
    )


@contextmanager
def _stopping(stop: threading.Event, say: Callable[[str], None]) -> Iterator[None]:
    """Turn the first signal into ``stop``, the second into an interruption, until left."""
    from livedenoise.verbs.running import StopOrders

    def request() -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()
        say(_STOPPING)

    names = [getattr(signal, name, None) for name in ("SIGINT", "SIGTERM", "SIGHUP")]
    before = {name: signal.getsignal(name) for name in names if name is not None}
    StopOrders(request).listen()
    try:
        yield
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)


@contextmanager
def _notes_said() -> Iterator[None]:
    """Write what else went wrong beside an error: the microscope was not put back, say."""
    try:
        yield
    except BaseException as error:
        for note in getattr(error, "__notes__", ()):
            sys.stderr.write(f"livedenoise: {note}\n")
        raise


def _report(summary: CollectSummary, *, as_json: bool) -> None:
    import msgspec

    for error in summary.errors:
        sys.stderr.write(f"livedenoise: {error}\n")
    if as_json:
        print_json(msgspec.to_builtins(summary))
        return
    from rich.console import Console

    from livedenoise.collect.forecast_text import seconds_text
    from livedenoise.view.summary import render_lines

    lines = [
        ("fields", _fields_text(summary)),
        ("pairs", f"{summary.pairs_accepted} accepted, {summary.pairs_rejected} rejected"),
        ("light dose", f"{summary.dose_us / 1e3:.4g} ms at full light in what was stored"),
        ("time", seconds_text(summary.elapsed_s)),
        ("report", summary.report),
    ]
    Console().print(render_lines(lines, summary.notes), highlight=False)


def _fields_text(summary: CollectSummary) -> str:
    text = f"{summary.fields_done} of {summary.fields} done, {summary.fields_failed} failed"
    return f"{text}, {summary.left} left for --resume" if summary.left else text


def register(verbs: Verbs) -> None:
    """Add ``collect``."""
    parser = verbs.add_parser("collect", help="take paired low and high exposures of a sample")
    parser.set_defaults(verb=collect)
    add = parser.add_argument
    add("config", metavar="CONFIG", help="TOML file, or the name of a shipped configuration")
    add("--plan", required=True, metavar="PLAN", help="TOML file, or the name of a shipped plan")
    add("--out", type=Path, required=True, metavar="DATASET", help="folder of the data set")
    add("--resume", action="store_true", help="go on with a data set; nothing is taken twice")
    add("--dry-run", action="store_true", help="say what it costs: no light, no move, no file")
    add("--json", action="store_true", help="print one JSON object and nothing else on stdout")
