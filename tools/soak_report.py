"""Figures of a soak from what its runs left: pure, and one table.

Knows: blows, counts and samples of memory. Must not know: processes, files, when to hit whom.
Slopes of memory are least squares over all runs together, each with a level of its own, because a
new run is a new daemon; the first minute of each run is left out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from soak_facts import Blow, Record, Sample

WARM_UP_S = 60.0
LEAK_BLOWS = 10
STARTING_S = 3.0
"""Age below which a process may still have been starting."""

LEAK_PER_BLOW = 0.5
"""Growth per blow from which descriptors count as leaking: a replacement opens several."""


def figures(records: Sequence[Record]) -> dict[str, Any]:
    """Return every figure of a soak, plain data."""
    blows = [blow for record in records for blow in record.blows]
    frozen = [blow for blow in blows if blow.sort == "SIGSTOP"]
    return {
        "runs": len(records),
        "seconds": sum(record.seconds for record in records),
        "blows": _counted(blows),
        "frames": _frames(records),
        "to_next_denoised_ms": _recoveries(blows),
        "hang_until_killed_ms": {
            "at work": _spread(b.gone_ms for b in frozen if b.youngest_s >= STARTING_S),
            "still starting": _spread(b.gone_ms for b in frozen if b.youngest_s < STARTING_S),
        },
        "daemon_killed_until_no_child_ms": _spread(
            b.gone_ms for b in blows if b.kinds == ("daemon",)
        ),
        "memory": _memory(records),
        "status": {
            "asked": sum(record.asked for record in records),
            "unanswered": sum(record.unanswered for record in records),
        },
    }


def run_row(record: Record) -> dict[str, Any]:
    """Return one run as plain data: memory every 10 s is enough for a picture."""
    return {
        "run": record.number,
        "seconds": round(record.seconds, 1),
        "ended": record.ended,
        "blows": len(record.blows),
        "streams": {
            name: {key: value for key, value in stream.items() if key != "denoised_ns"}
            for name, stream in record.streams.items()
        },
        "samples": [
            {name: round(getattr(sample, name), 2) for name in sample.__struct_fields__}
            for sample in record.samples[::10]
        ],
        "problems": record.problems,
    }


def leak_problems(samples: Sequence[Sample]) -> list[str]:
    """Return what grew with the blows in one run: descriptors of the daemon, segments."""
    if len(samples) < 2 or samples[-1].blows < LEAK_BLOWS:
        return []
    first, last = samples[0], samples[-1]
    problems = []
    for name in ("daemon_fds", "segments"):
        before, after = getattr(first, name), getattr(last, name)
        if after - before > LEAK_PER_BLOW * (last.blows - first.blows):
            problems.append(f"{name} grew from {before} to {after} over {last.blows} blows")
    return problems


def show(report: dict[str, Any], console: Console) -> None:
    """Print the report as one table."""
    table = Table("figure", "value", title="soak", show_lines=False)
    for name, value in _rows(report["figures"]):
        table.add_row(name, value)
    table.add_row("promises broken", str(len(report["problems"]) or "none"))
    console.print(table)


def _counted(blows: Sequence[Blow]) -> dict[str, Any]:
    by_kind: dict[str, Counter[str]] = {}
    for blow in blows:
        by_kind.setdefault(_whom(blow), Counter())[blow.sort] += 1
    return {
        "blows": len(blows),
        "processes_killed": sum(len(b.pids) for b in blows if b.sort == "SIGKILL"),
        "processes_frozen": sum(len(b.pids) for b in blows if b.sort == "SIGSTOP"),
        "by_kind": {kind: dict(sorts) for kind, sorts in sorted(by_kind.items())},
    }


def _frames(records: Sequence[Record]) -> dict[str, Any]:
    raw = [record.streams["raw"] for record in records if "raw" in record.streams]
    clean = [record.streams["clean"] for record in records if "clean" in record.streams]
    missing, missing_clean = Counter[str](), Counter[str]()
    for stream in raw:
        missing.update(stream["missing"])
    for stream in clean:
        missing_clean.update(stream["missing"])
    restarted = sum(n for reason, n in missing.items() if "restarted" in reason)
    return {
        # A killed daemon's captured frames are known by their files alone.
        "captured": sum(r.summary.get("captured", r.summary.get("recorded", 0)) for r in records),
        "recorded": sum(stream["frames"] for stream in raw),
        "denoised_and_recorded": sum(stream["frames"] for stream in clean),
        "lost_while_the_camera_restarted": restarted,
        "lost_otherwise": {k: n for k, n in missing.items() if "restarted" not in k},
        "published_and_not_recorded": sum(_untold(record) for record in records),
        "missing_from_clean": dict(missing_clean),
        "written_by_successors": sum(stream["by_successors"] for stream in raw),
        "rescued_from_the_ring": sum(stream["rescued"] for stream in raw),
        "acknowledged_seen": sum(stream["acknowledged"] for stream in raw),
        "acknowledged_lost": sum(stream["acknowledged_lost"] for stream in raw),
        "acknowledged_clean_lost": sum(stream["acknowledged_lost"] for stream in clean),
    }


def _untold(record: Record) -> int:
    """Return how many frames were published and never reached a recorder."""
    return int(sum(record.summary.get("dropped", {}).get("record", {}).values()))


def _recoveries(blows: Sequence[Blow]) -> dict[str, Any]:
    """Return the times to the next denoised frame; blows that overlap stand apart."""
    groups: dict[str, list[float | None]] = {}
    for blow in blows:
        if blow.kinds == ("daemon",):
            continue
        names = ["every blow"]
        if not blow.alone:
            names.append("not alone")
        else:
            names += [f"every {blow.sort}", f"{_whom(blow)} {blow.sort}"]
        for name in names:
            groups.setdefault(name, []).append(blow.denoised_ms)
    return {name: _spread(times) for name, times in sorted(groups.items())}


def _whom(blow: Blow) -> str:
    return blow.kinds[0] if len(blow.kinds) == 1 else "two at once"


def _spread(values: Iterable[float | None]) -> dict[str, Any]:
    """Return n, p50, p90 and max of what happened; ``never`` counts what did not."""
    every = list(values)
    known = np.array([value for value in every if value is not None], float)
    if not known.size:
        return {"n": 0, "never": len(every)}
    return {
        "n": int(known.size),
        "never": len(every) - int(known.size),
        "p50": float(np.percentile(known, 50)),
        "p90": float(np.percentile(known, 90)),
        "max": float(known.max()),
    }


def _memory(records: Sequence[Record]) -> dict[str, Any]:
    runs = [record.samples for record in records if record.samples]
    if not runs:
        return {}
    found: dict[str, Any] = {}
    for name in ("daemon_mb", "private_mb", "shm_mb", "daemon_fds"):
        values = [getattr(sample, name) for samples in runs for sample in samples]
        slope = slope_per_hour(runs, name)
        found[name] = {"max": max(values), "slope_per_hour": slope}
    found["daemon_fds"]["first_and_last_of_each_run"] = [
        (samples[0].daemon_fds, samples[-1].daemon_fds) for samples in runs
    ]
    return found


def slope_per_hour(runs: Sequence[Sequence[Sample]], name: str) -> float | None:
    """Return the common slope of a figure over time within the runs, per hour.

    None when no run has half a minute of samples after its first minute.
    """
    times, values = [], []
    for samples in runs:
        warm = [sample for sample in samples if sample.t_s >= WARM_UP_S]
        if len(warm) < 3 or warm[-1].t_s - warm[0].t_s < WARM_UP_S / 2:
            continue
        t_h = np.array([sample.t_s for sample in warm]) / 3600
        value = np.array([getattr(sample, name) for sample in warm], float)
        times.append(t_h - t_h.mean())
        values.append(value - value.mean())
    if not times:
        return None
    t, v = np.concatenate(times), np.concatenate(values)
    return float((t * v).sum() / (t * t).sum())


def _rows(found: dict[str, Any], prefix: str = "") -> Iterable[tuple[str, str]]:
    for key, value in found.items():
        name = f"{prefix}{key.replace('_', ' ')}"
        if isinstance(value, dict) and "p50" in value:
            yield name, _spread_text(value)
        elif isinstance(value, dict):
            yield from _rows(value, f"{name}: ") if value else [(name, "none")]
        elif not isinstance(value, list):
            yield name, f"{value:.1f}" if isinstance(value, float) else str(value)


def _spread_text(spread: dict[str, Any]) -> str:
    text = "n {n}, p50 {p50:.0f}, p90 {p90:.0f}, max {max:.0f}".format(**spread)
    return f"{text}, never {spread['never']}" if spread["never"] else text
