"""Does a collection catch what goes wrong, and keep what is good? Counted over many fields.

    python tools/prove_collection.py --out docs/benchmarks/collection_proof.json

A simulated microscope (its clock jumps, so no exposure is waited for) with a little of everything
that is normal: stage error, slow drift, slight bleaching. On chosen fields one fault each. Nothing
is tried again, so that each field counts once. The data are simulated; nothing here speaks of real
samples.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import threading
from collections import Counter
from pathlib import Path
from typing import Any

from bench_common import machine_facts

from livedenoise.collect.plan import load_plan
from livedenoise.collect.run import PairShown
from livedenoise.collect.session import collect_at
from livedenoise.core.clock import ManualClock
from livedenoise.core.config import SimulatedCameraConfig, parse_config
from livedenoise.core.progress import Progress
from livedenoise.microscope.simulated import SimulatedMicroscope

FAULTS: dict[str, float] = {
    "drift": 60.0,
    "defocus": 25.0,
    "bleaching": 2.5,
    "stage_error": 0.5,
    "swapped_exposure": 0.0,
    "stale_frames": 3.0,
    "moving_object": 12.0,
    "saturation": 40.0,
    "light_flicker": 1.4,
    "stuck_shutter": 0.0,
}
"""Amounts: see ``[[camera.microscope.fault]]``; well beyond the limits, far from absurd."""

PLAN = """
name = "proof"
order = "bracket"
discard = 1
[sequence]
grid_plan = {{ rows = {rows}, columns = {columns}, overlap = -10 }}
[high]
exposure_us = 50000
[low]
exposure_us = 5000
[dark]
frames = 32
[retry]
attempts = 1
stop_after = 1000000
[split]
train = 0.8
val = 0.1
test = 0.1
"""


def camera(seed: int, size_px: int, faults: list[dict[str, Any]]) -> SimulatedCameraConfig:
    """Return the rig: an sCMOS in front of a mixed specimen, with its ordinary imperfections."""
    section = {
        "kind": "simulated",
        "name": "sim",
        "seed": seed,
        "sensor": {"width_px": size_px, "height_px": size_px},
        "scene": {"kind": "mixed", "photons_per_s": 20000.0, "motion_px_per_s": 0.0},
        "microscope": {
            "pixel_size_um": 0.1,
            "stage_error_um": 0.05,
            "drift_um_per_s": 0.01,
            "bleaching_per_s": 0.1,
            "fault": faults,
        },
    }
    config = parse_config({"camera": [section]}, "proof").camera[0]
    assert isinstance(config, SimulatedCameraConfig)  # noqa: S101 - it was written just above
    return config


def schedule(fields: int, each: int) -> dict[int, str]:
    """Return which field has which fault: ``each`` fields a kind, spread, the rest good."""
    kinds = [kind for kind in FAULTS for _ in range(each)]
    step = fields / len(kinds)
    return {int(index * step): kinds[(index * 7) % len(kinds)] for index in range(len(kinds))}


def as_config(faulty: dict[int, str]) -> list[dict[str, Any]]:
    """Return the fault tables of a schedule."""
    tables = []
    for kind, amount in FAULTS.items():
        visits = [field for field, one in faulty.items() if one == kind]
        if visits:
            extra = {"amount": amount} if amount else {}
            tables.append({"kind": kind, "visits": visits, **extra})
    return tables


def run(seed: int, rows: int, columns: int, each: int, size_px: int) -> dict[str, Any]:
    """Collect once and count."""
    faulty = schedule(rows * columns, each)
    config = camera(seed, size_px, as_config(faulty))
    clock = ManualClock(1)
    scope = SimulatedMicroscope(config, clock)
    shown: list[tuple[int, bool, str, str]] = []

    def note(one: PairShown) -> None:
        verdict = one.verdict
        first = verdict.reasons[0] if verdict.reasons else ""
        text = next((c.text for c in verdict.checks if not c.passed), "")
        shown.append((one.field, verdict.accepted, first, text))

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "plan.toml"
        path.write_text(PLAN.format(rows=rows, columns=columns), encoding="utf-8")
        collect_at(
            scope,
            config,
            load_plan(path),
            Path(folder) / "set",
            on_progress=show,
            on_pair=note,
            stop=threading.Event(),
            clock=clock,
            with_report=False,
        )
    return count(seed, faulty, shown)


def show(progress: Progress) -> None:
    """Say how far it is, on one line."""
    if progress.unit == "fields":
        sys.stderr.write(f"\r{progress.done}/{progress.total} fields ")


def count(
    seed: int, faulty: dict[int, str], shown: list[tuple[int, bool, str, str]]
) -> dict[str, Any]:
    """Return good pairs kept and faulty ones caught, by kind."""
    good = [one for one in shown if one[0] not in faulty]
    table: dict[str, dict[str, Any]] = {}
    for kind, amount in FAULTS.items():
        mine = [one for one in shown if faulty.get(one[0]) == kind]
        table[kind] = {
            "amount": amount,
            "injected": len(mine),
            "caught": sum(not accepted for _, accepted, _, _ in mine),
            "reasons": dict(Counter(reason for _, accepted, reason, _ in mine if not accepted)),
            "missed_fields": [field for field, accepted, _, _ in mine if accepted],
        }
    wrong = [{"field": one[0], "why": one[3]} for one in good if not one[1]]
    return {
        "seed": seed,
        "fields": len(shown),
        "good": len(good),
        "good_rejected": len(wrong),
        "wrongly": wrong,
        "faults": table,
    }


def main() -> int:
    """Run, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rows", type=int, default=16)
    parser.add_argument("--columns", type=int, default=15)
    parser.add_argument("--each", type=int, default=8, help="fields with each kind of fault")
    parser.add_argument("--size", type=int, default=256, help="edge of the frames, px")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    facts = machine_facts()
    runs = [
        run(seed, arguments.rows, arguments.columns, arguments.each, arguments.size)
        for seed in range(1, arguments.seeds + 1)
    ]
    sys.stderr.write("\n")
    for kind in FAULTS:
        rows = [one["faults"][kind] for one in runs]
        injected, caught = (sum(row[key] for row in rows) for key in ("injected", "caught"))
        reasons = dict(sum((Counter(row["reasons"]) for row in rows), Counter()))
        print(f"{kind:18} {caught:4} of {injected:4} caught   {reasons}")
    good, wrong = (sum(one[key] for one in runs) for key in ("good", "good_rejected"))
    print(f"{'good pairs':18} {wrong:4} of {good:4} rejected")
    if arguments.out is not None:
        total = {
            "good pairs": good,
            "good pairs rejected": wrong,
            "faults": {
                kind: {
                    key: sum(one["faults"][kind][key] for one in runs)
                    for key in ("injected", "caught")
                }
                for kind in FAULTS
            },
        }
        data = {
            "simulated": True,
            "machine": facts,
            "size_px": arguments.size,
            "total": total,
            "runs": runs,
        }
        arguments.out.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
