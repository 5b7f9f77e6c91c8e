"""Benchmark livedenoise, phases apart: transport, engines, recorder, end to end.

    python tools/benchmark.py                       # everything, about 5 minutes
    python tools/benchmark.py --phases engines      # one phase
    python tools/benchmark.py --quick               # seconds only: does it run at all

Prints one table a phase and writes ``docs/benchmarks/benchmark.json`` with the machine, the
versions and the commit. Run it on a quiet machine; compared figures come from the same run.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench_common import machine_facts, write_json
from bench_end_to_end import CASES, measure_memory, measure_start, run_case
from bench_engines import measure_engines
from bench_recorder import measure_recorder
from bench_transport import measure_transport
from rich.console import Console
from rich.table import Table

DEFAULT_OUT = Path(__file__).resolve().parents[1] / "docs" / "benchmarks" / "benchmark.json"
Rows = list[dict[str, Any]]


def main() -> None:
    """Run the phases asked for and write the figures."""
    arguments = _arguments()
    console = Console()
    if not console.is_terminal:
        console.width = 220
    results: dict[str, Any] = {"machine": machine_facts(), "phases": {}}
    for name in arguments.phases:
        console.rule(name)
        rows = PHASES[name](arguments.quick)
        results["phases"][name] = rows
        console.print(_table(rows))
        # After every phase: an interrupted benchmark keeps what it measured.
        write_json(arguments.out, results)
    console.print(f"written to {arguments.out}")


def transport(quick: bool) -> Rows:
    """Measure the ring hop, paced and free-running, against ZeroMQ in the same run."""
    return measure_transport(seconds=2.0 if quick else 10.0)


def engines(quick: bool) -> Rows:
    """Time each engine alone, and in one run with the others."""
    return measure_engines(frames=20 if quick else 200)


def recorder(quick: bool) -> Rows:
    """Time appends of the recorder against plain writes of the same bytes."""
    return measure_recorder(frames=30 if quick else 300)


def end_to_end(quick: bool) -> Rows:
    """Run whole live runs at the rates they must hold."""
    return [run_case(case, seconds=3.0 if quick else None) for case in CASES]


def start(quick: bool) -> Rows:
    """Measure the time from the command to the first denoised frame, compiled engine cached."""
    return measure_start(repeats=1 if quick else 5)


def memory(quick: bool) -> Rows:
    """Watch the memory of a long run at 128x128 and 500 fps with recording."""
    return measure_memory(seconds=10.0 if quick else 600.0)


PHASES: dict[str, Callable[[bool], Rows]] = {
    "transport": transport,
    "engines": engines,
    "recorder": recorder,
    "end_to_end": end_to_end,
    "start": start,
    "memory": memory,
}
_USUAL = [name for name in PHASES if name != "memory"]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--phases",
        nargs="+",
        choices=list(PHASES),
        default=_USUAL,
        help="default: all but memory, which takes 10 minutes",
    )
    parser.add_argument("--quick", action="store_true", help="a few seconds for each phase")
    parser.add_argument("--out", type=Path, default=DEFAULT_OUT, metavar="FILE")
    return parser.parse_args()


def _table(rows: Rows) -> Table:
    table = Table()
    keys = list(dict.fromkeys(key for row in rows for key in _flat(row)))
    for key in keys:
        table.add_column(key, overflow="fold")
    for row in rows:
        flat = _flat(row)
        table.add_row(*(_text(flat.get(key, "")) for key in keys))
    return table


def _flat(row: dict[str, Any]) -> dict[str, Any]:
    """Leave out nested figures except the latency people ask for first."""
    flat = {key: value for key, value in row.items() if not isinstance(value, dict | list)}
    total = row.get("latency_ms", {}).get("camera_to_denoised")
    if total:
        flat["p50 ms"], flat["p99 ms"] = total["p50"], total["p99"]
    return flat


def _text(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    main()
