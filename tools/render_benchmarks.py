"""Write the tables of docs/benchmarks/README.md from the JSON files beside it.

python tools/render_benchmarks.py
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "benchmarks"
BEGIN, END = "<!-- tables -->", "<!-- end of tables -->"
TITLES = {
    "transport": "Transport, 2048x2048 uint16, two processes",
    "engines": "Engines, one frame, each alone in its turn",
    "recorder": "Recorder, appends to a RAM disk against plain writes",
    "end_to_end": "End to end",
    "start": "Start to first denoised frame, engine cached",
    "memory": "Memory, 128x128 at 500 fps, recording, realtime-m",
}
PLAIN = {
    "soak.json": "Kill anything: tools/soak.py",
    "supervision.json": "Cost of supervision and metrics",
    "view.json": "Cost of the view stage",
    "network.json": "Frames over the network path, loopback",
    "micromanager.json": "Micro-Manager's core against a bare loop",
    "micromanager-60s.json": "The same, one minute",
    "tap.json": "A live view tapped in its own process",
    "hook.json": "A user's own acquisition with the hook",
    "calibration.json": "Calibration against simulated truth",
    "checks.json": "Checks of pairs, one by one",
    "collection_proof.json": "Whole collections with faults, simulated",
    "collect.json": "What a field costs beyond exposures, stage and settling",
}
"""Files shown as they are: one row for each figure."""

HIDDEN = ("first_denoised_s", "precision", "model_hash", "wall_s", "frames")


def main() -> None:
    """Rewrite the part between the markers."""
    page = FOLDER / "README.md"
    text = page.read_text(encoding="utf-8")
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    parts = [BEGIN, ""]
    for name in ("benchmark.json", "memory.json"):
        if (FOLDER / name).is_file():
            parts += _tables(name, json.loads((FOLDER / name).read_text(encoding="utf-8")))
    for name, title in PLAIN.items():
        if (FOLDER / name).is_file():
            parts += _plain(name, title, json.loads((FOLDER / name).read_text(encoding="utf-8")))
    page.write_text(before + "\n".join([*parts, END]) + after, encoding="utf-8")


def _tables(name: str, results: dict[str, Any]) -> list[str]:
    lines = [_machine_line(name, results["machine"]), ""]
    for phase, rows in results["phases"].items():
        lines += [f"### {TITLES.get(phase, phase)}", "", *_table(rows), ""]
    return lines


def _machine_line(name: str, machine: dict[str, Any]) -> str:
    facts = ", ".join(
        f"{key} {machine[key]}" for key in machine if not isinstance(machine[key], dict)
    )
    return f"`{name}`: {facts}."


def _plain(name: str, title: str, results: dict[str, Any]) -> list[str]:
    lines = [f"### {title}", "", _machine_line(name, results["machine"]), ""]
    lines += ["| figure | value |", "| --- | --- |"]
    lines += [f"| {key} | {_text(value)} |" for key, value in _leaves(results)]
    return [*lines, ""]


def _leaves(value: dict[str, Any], path: str = "") -> Iterator[tuple[str, object]]:
    """Yield the figures of nested tables; series are left to the JSON file."""
    for key, one in value.items():
        whole = f"{path}: {key}" if path else key
        if isinstance(one, dict) and key != "machine":
            yield from _leaves(one, whole)
        elif isinstance(one, list) and one and isinstance(one[0], dict):
            for row in one:
                label = next((str(row[k]) for k in ("name", "shape", "variant") if k in row), "")
                label += " with CURVE" if label and row.get("curve") else ""
                if "fault" in row:
                    label = f"{row['fault']} {row['strength']}".strip()
                if label:
                    # Rows without a name are series: too long for a page.
                    yield from _leaves(row, f"{whole} {label}")
        elif not isinstance(one, list | dict):
            yield whole, one


def _table(rows: list[dict[str, Any]]) -> list[str]:
    flat = [_flat(row) for row in rows]
    keys = list(dict.fromkeys(key for row in flat for key in row))
    lines = ["| " + " | ".join(keys) + " |", "|" + " --- |" * len(keys)]
    lines += ["| " + " | ".join(_text(row.get(key)) for key in keys) + " |" for row in flat]
    return lines


def _flat(row: dict[str, Any]) -> dict[str, Any]:
    """Leave out what is nested, except the whole latency."""
    shown = {k: v for k, v in row.items() if not isinstance(v, dict | list) and k not in HIDDEN}
    whole = row.get("latency_ms", {}).get("camera_to_denoised")
    if whole:
        shown |= {f"{key} ms": whole[key] for key in ("p50", "p99", "p999", "max")}
    return shown


def _text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    main()
