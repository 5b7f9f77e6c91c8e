"""Kill anything, again and again, and check that nothing acknowledged is lost.

    python tools/soak.py --minutes 15 --seed 1 --out /tmp/soak --json soak.json
    python tools/soak.py --kills 200 --kinds denoise,record

Runs ``livedenoise run`` on a simulated camera, recording raw and denoised frames, and at random
moments kills a stage (SIGKILL), freezes one (SIGSTOP: a hang), hits two at once, or kills the
daemon. Every run folder is checked (``soak_check``), then removed; a new run begins every few
minutes. The seed settles whom it hits, how, and after which time; not what that process is doing at
that moment. Ctrl-C ends the soak in order, with its report. Exit code 1 when a promise was broken:
the run folder is then kept.
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import soak_report
from bench_common import machine_facts, write_json
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from soak_facts import KINDS, Options, Setup
from soak_session import Soak


def run_soak(options: Options, show: Callable[[str, float], None]) -> dict[str, Any]:
    """Soak and return the report: figures, broken promises, every blow.

    Parameters
    ----------
    show : callable
        Called with what there is to say and the part of the goal that is reached.
    """
    machine = machine_facts()
    soak = Soak(options, lambda text: show(text, soak.done))
    previous = signal.signal(signal.SIGINT, lambda *_: _on_ctrl_c(soak))
    try:
        soak.run()
    finally:
        signal.signal(signal.SIGINT, previous)
    return {
        "machine": machine,
        "options": msgspec.to_builtins(options, enc_hook=str),
        "figures": soak_report.figures(soak.records),
        "problems": soak.problems,
        "runs": [soak_report.run_row(record) for record in soak.records],
        "blows": [
            {"run": record.number, **msgspec.to_builtins(blow)}
            for record in soak.records
            for blow in record.blows
        ],
    }


def _on_ctrl_c(soak: Soak) -> None:
    if soak.stopping:
        raise KeyboardInterrupt
    soak.stopping = True


def main() -> int:
    """Soak as the command line says."""
    options, json_path = _parse()
    console = Console(stderr=True)
    columns = (
        TextColumn("soak"),
        BarColumn(20),
        TextColumn("{task.percentage:3.0f} %"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.description}"),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task("", total=1.0)
        report = run_soak(
            options,
            lambda text, done: progress.update(task, description=text, completed=done),
        )
    write_json(json_path, report)
    soak_report.show(report, Console())
    for problem in report["problems"]:
        console.print(f"BROKEN {problem}", style="bold red", markup=False)
    if report["problems"]:
        console.print(f"seed {options.seed}; run folders kept in {options.out}", markup=False)
    return 1 if report["problems"] else 0


def _parse() -> tuple[Options, Path]:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    goal = parser.add_mutually_exclusive_group(required=True)
    goal.add_argument("--minutes", type=float, metavar="M", help="soak this long")
    goal.add_argument("--kills", type=int, metavar="N", help="until N processes got a SIGKILL")
    add("--seed", type=int, default=0, metavar="S")
    add("--interval", type=float, default=3.0, metavar="S", help="mean seconds between blows")
    add("--hang-fraction", type=float, default=0.2, metavar="P", help="blows that freeze")
    add("--pair-fraction", type=float, default=0.1, metavar="P", help="blows on two stages at once")
    add("--daemon-kills", type=float, default=0.03, metavar="P", help="blows on the daemon")
    add("--kinds", default=",".join(KINDS), help="stages to hit, default all")
    add("--engine", choices=("identity", "openvino", "auto"), default="identity")
    add("--size", type=int, default=128, metavar="PX", help="width and height of a frame")
    add("--fps", type=float, default=100.0, metavar="HZ")
    add("--run-minutes", type=float, default=5.0, metavar="M", help="begin a new run after M")
    add("--disk-mb", type=float, default=2000.0, metavar="MB", help="or after so much was written")
    add("--out", type=Path, default=Path("soak"), metavar="DIR", help="where run folders are made")
    add("--json", type=Path, default=Path("soak.json"), metavar="FILE")
    given = parser.parse_args()
    kinds = tuple(given.kinds.split(","))
    if unknown := set(kinds) - set(KINDS):
        parser.error(f"--kinds: {', '.join(sorted(unknown))}: known are {', '.join(KINDS)}")
    if given.out.is_dir() and any(given.out.iterdir()):
        parser.error(f"--out {given.out}: is not empty: run folders of another soak?")
    setup = Setup(
        engine=given.engine, size_px=given.size, rate_hz=given.fps, kinds=kinds, seed=given.seed
    )
    options = Options(
        setup=setup,
        out=given.out,
        seed=given.seed,
        minutes=given.minutes,
        kills=given.kills,
        interval_s=given.interval,
        hang_fraction=given.hang_fraction,
        pair_fraction=given.pair_fraction,
        daemon_kills=given.daemon_kills,
        run_minutes=given.run_minutes,
        disk_mb=given.disk_mb,
    )
    return options, given.json


if __name__ == "__main__":
    sys.exit(main())
