"""How often good pairs are kept and bad ones caught, and what the checks of a pair cost.

    python tools/measure_checks.py [--pairs 1000] [--faulty 200] [--fmd FOLDER] [--output FILE]

Simulated: good pairs drawn over scenes, cameras, what is known of the camera, light, exposure
ratios, averages, small drifts and bleaching within the limits; then one fault at a time, at
several strengths. Real: ``raw.tif`` and ``avg16.tif`` of a folder of the FMD set (running means of
16 of 50 repeats): raw[i] as low, avg16[(i + 16) % 50] as high. The two are reported apart.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from bench_common import ROOT, machine_facts, write_json

from livedenoise.collect.check_pair import check_pair
from livedenoise.collect.program import Limits
from livedenoise.collect.verdict import PairVerdict

sys.path.insert(0, str(ROOT / "tests"))

from check_kit import Case, fmd_pairs, good_case, make_case, with_fault

LIMITS = Limits()
SCENES = ("tubules", "granules", "cells", "mixed")
Fault = Callable[[Case, np.random.Generator], Case]


def main() -> int:
    """Measure, print, and write the figures where asked."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--pairs", type=int, default=1000, help="good pairs")
    parser.add_argument("--faulty", type=int, default=200, help="pairs of each fault and strength")
    parser.add_argument("--seed", type=int, default=0, help="of the first pair")
    parser.add_argument("--fmd", type=Path, help="folder with raw.tif and avg16.tif")
    parser.add_argument("--output", type=Path, help="JSON file")
    options = parser.parse_args()
    figures: dict[str, Any] = {"machine": machine_facts(), "limits": LIMITS.model_dump()}
    figures["simulated"] = {
        "good": measure_good(options.pairs, options.seed),
        "faults": measure_faults(options.faulty, options.seed),
        "speed": [measure_speed(size) for size in (512, 2048)],
    }
    if options.fmd is not None:
        figures["real"] = {"fmd": measure_fmd(options.fmd)}
    if options.output is not None:
        write_json(options.output, figures)
    return 0


def measure_good(pairs: int, first_seed: int) -> dict[str, Any]:
    """Count the good pairs that are rejected, and what could not be told."""
    verdicts = list(_verdicts(good_case(first_seed + k) for k in range(pairs)))
    rejected = [k for k, verdict in enumerate(verdicts) if not verdict.accepted]
    untold = Counter(c.name for v in verdicts for c in v.checks if c.value is None)
    found = {
        "pairs": pairs,
        "first_seed": first_seed,
        "rejected": len(rejected),
        "rejected_seeds": [first_seed + k for k in rejected],
        "reasons": dict(Counter(verdicts[k].reasons[0] for k in rejected)),
        "could_not_tell": dict(untold),
    }
    print("good", found)
    return found


def measure_faults(pairs: int, first_seed: int) -> list[dict[str, Any]]:
    """Count for each fault the pairs caught, and by which check first."""
    rows = []
    for name, strength, expected, fault in faults():
        verdicts = list(_verdicts(_faulty(first_seed + k, fault) for k in range(pairs)))
        caught = [v for v in verdicts if not v.accepted]
        named = sum(expected in v.reasons for v in caught)
        rows.append(
            {
                "fault": name,
                "strength": strength,
                "pairs": pairs,
                "caught": len(caught),
                "caught_share": round(len(caught) / pairs, 4),
                "named": named,
                "first_reasons": dict(Counter(v.reasons[0] for v in caught)),
            }
        )
        print(rows[-1])
    return rows


def _verdicts(cases: Iterable[Case]) -> Iterable[PairVerdict]:
    return (check_pair(*make_case(case), LIMITS) for case in cases)


def _faulty(seed: int, fault: Fault) -> Case:
    """Return a pair of moderate light (10 to 100 electrons in low) with a fault."""
    rng = np.random.default_rng([seed, 5])
    sensor = str(rng.choice(["scmos", "scmos", "emccd"]))
    case = Case(
        seed=seed,
        kind=str(rng.choice(SCENES)),
        sensor=sensor,
        low_e=float(np.exp(rng.uniform(np.log(10), np.log(100)))),
        ratio=float(np.exp(rng.uniform(np.log(2), np.log(10 if sensor == "emccd" else 50)))),
        known=str(rng.choice(["darks", "estimated"])),
    )
    return fault(case, rng)


def faults() -> Iterable[tuple[str, str, str, Fault]]:
    """Yield name, strength, the check expected, and how the fault is put in."""
    for px in (3.0, 5.0, 30.0):
        yield "drift", f"{px:g} px", "shift", _shifted(px)
    for px in (1.5, 2.0, 3.0):
        yield "defocus", f"blur sd {px:g} px", "focus", _with(blur_px=px)
    for share in (0.15, 0.2):
        yield "bleaching", f"{share:.0%}", "bleaching", _with(bleaching=share, bracket=True)
    yield "swapped exposures", "", "ratio", _with(swapped=True)
    yield "swapped exposures", "low 0.3 e", "ratio", _with(swapped=True, low_e=0.3, ratio=10.0)
    yield "stale frame", "high", "ratio", _with(stale="high")
    yield "stale frame", "low", "ratio", _with(stale="low")
    yield "stale frame in average", "1 of 8", "ratio", _odd_frame
    yield "flicker", "1.3 times", "ratio", _with(flicker=1.3)
    yield "no light in high", "", "dark", _with(dark=True)
    for peak in (0.5, 1.0, 2.0):
        strength = f"peak {peak:g} of the brightest 1 %, sd 3 px, 12 px"
        yield "moving object", strength, "motion", _with(object_peak=peak)
    yield "saturation", "brightest 0.5 %", "saturated", _with(saturate=True)
    drift = _with(drift_in_average_px=4.0, ratio=1.0, high_frames=8)
    yield "drift in average", "4 px", "shift", drift


def _with(**changes: object) -> Fault:
    return lambda case, _rng: with_fault(case, **changes)


def _shifted(length_px: float) -> Fault:
    def fault(case: Case, rng: np.random.Generator) -> Case:
        angle = rng.uniform(0, 2 * np.pi)
        shift = (length_px * np.sin(angle), length_px * np.cos(angle))
        return with_fault(case, shift_px=shift)

    return fault


def _odd_frame(case: Case, rng: np.random.Generator) -> Case:
    return with_fault(case, ratio=1.0, high_frames=8, odd_frame=int(rng.integers(8)))


def measure_speed(size: int) -> dict[str, Any]:
    """Time one check of a pair with a small shift (it is interpolated), one thread."""
    pair, camera = make_case(Case(seed=1, size=size, shift_px=(0.4, -0.3)))
    check_pair(pair, camera, LIMITS)
    wall, cpu = [], []
    for _ in range(30 if size <= 512 else 6):
        start, ticks = time.perf_counter(), time.process_time()
        check_pair(pair, camera, LIMITS)
        wall.append(time.perf_counter() - start)
        cpu.append(time.process_time() - ticks)
    found = {
        "size_px": size,
        "wall_median_ms": round(1e3 * float(np.median(wall)), 1),
        "wall_least_ms": round(1e3 * min(wall), 1),
        "cpu_median_ms": round(1e3 * float(np.median(cpu)), 1),
    }
    print(found)
    return found


def measure_fmd(folder: Path) -> dict[str, Any]:
    """Check all 50 real pairs; say what 8 bits allow."""
    camera, pairs = fmd_pairs(folder)
    verdicts = [check_pair(pair, camera, LIMITS) for pair in pairs]
    checks = {c.name: [v.checks[k] for v in verdicts] for k, c in enumerate(verdicts[0].checks)}
    found = {
        "pairs": len(verdicts),
        "accepted": sum(v.accepted for v in verdicts),
        "constants": camera.constants.note,
        "gain_e_per_adu": round(camera.constants.gain_e_per_adu, 4),
        "offset_adu": round(camera.constants.offset_adu, 3),
        "bits": "8 bits, no darks: gain, offset and read noise are estimated once from 8 repeats; "
        "the offset is known to its estimate only, so ratio and bleaching carry that error; no "
        "zero clipping seen (least count 2)",
        "checks": {name: _range_of([c.value for c in each]) for name, each in checks.items()},
        "failed": {name: sum(not c.passed for c in each) for name, each in checks.items()},
        "shift_y_px": [round(v.shift_px[0], 3) for v in verdicts],
        "shift_x_px": [round(v.shift_px[1], 3) for v in verdicts],
        "shift_error_px": _range_of([v.shift_error_px for v in verdicts]),
        "psnr_db": _range_of([v.psnr_db for v in verdicts]),
    }
    print(found)
    return found


def _range_of(values: list[float | None]) -> dict[str, Any]:
    told = [v for v in values if v is not None]
    if not told:
        return {"told": 0}
    return {
        "told": len(told),
        "least": round(min(told), 4),
        "median": round(float(np.median(told)), 4),
        "largest": round(max(told), 4),
    }


if __name__ == "__main__":
    raise SystemExit(main())
