"""What a data set adds up to, in words.

Knows: a summary and what was verified. Must not know: files, terminals.
"""

from __future__ import annotations

from collections.abc import Iterator

from livedenoise.collect.dataset_reader import Verified
from livedenoise.collect.dataset_summary import DatasetSummary
from livedenoise.collect.records import DatasetHeader

Labelled = tuple[str, str]


def dataset_lines(
    header: DatasetHeader, summary: DatasetSummary, verified: Verified | None
) -> list[Labelled]:
    """Return what is in a data set, labelled lines."""
    kind = " (simulated)" if header.simulated else ""
    rows, columns = header.shape
    size = f"{columns} x {rows} px, {header.bit_depth} bits"
    lines = [
        ("camera", f"{header.camera}{kind}, {size}"),
        ("plan", f"{header.plan_name}, begun {header.created_at}"),
        ("fields", _fields(summary)),
        *_pairs(summary),
        ("rejected", _rejected(summary)),
        ("dose", _dose(summary)),
        ("images", f"{summary.bytes_stored / 1e6:.1f} MB"),
    ]
    if verified is not None:
        intact = verified.files - len(verified.problems)
        lines.append(("intact", f"{intact} of {verified.files} files"))
    return lines


def dataset_warnings(summary: DatasetSummary, verified: Verified | None) -> list[str]:
    """Return what is wrong with it."""
    warnings = list(verified.problems.values()) if verified is not None else []
    if summary.torn:
        warnings.append("the last line of the manifest is torn: --resume cuts it off")
    return warnings


def _fields(summary: DatasetSummary) -> str:
    reached = summary.fields_done + summary.fields_failed + summary.fields_open
    return (
        f"{summary.fields_done} of {summary.fields_planned} done, {summary.fields_failed} failed, "
        f"{summary.fields_open} to be tried again, {summary.fields_planned - reached} not reached; "
        f"{summary.attempts} attempts"
    )


def _pairs(summary: DatasetSummary) -> Iterator[Labelled]:
    for split, levels in sorted(summary.pairs.items()):
        counts = (f"level {level}: {n}" for level, n in sorted(levels.items()))
        yield f"pairs {split}", ", ".join(counts)
    for level, one in summary.levels.items():
        exposure = f"{one.exposure_us} us, light {one.light:g}"
        dose = f"1/{one.dose_ratio:.3g} of the dose of high"
        yield f"level {level}", f"{exposure}, {dose}, {one.psnr_db:.1f} dB against it"


def _rejected(summary: DatasetSummary) -> str:
    reasons = ", ".join(f"{count} {reason}" for reason, count in summary.rejected_by.items())
    return f"{summary.pairs_rejected} pairs" + (f": {reasons}" if reasons else "")


def _dose(summary: DatasetSummary) -> str:
    each = f"{summary.dose_per_field_us / 1e3:.3g} ms a field"
    return f"{summary.dose_us / 1e6:.3g} s at full light, {each}"
