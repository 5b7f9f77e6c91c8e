"""The report of a collection: one HTML page with its pictures, made from the data set alone.

Knows: what people want to know of a data set before they train on it. Must not know: HTML,
microscopes. Made anew at the end of every run, also of one that was stopped.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from livedenoise.collect.dataset_reader import Dataset, open_dataset
from livedenoise.collect.program import Limits
from livedenoise.collect.records import DatasetHeader, FieldRecord, SiteRecord
from livedenoise.collect.report_numbers import CollectNumbers, gather
from livedenoise.collect.report_pictures import PairThumbs, pair_thumbs, sheet
from livedenoise.collect.report_plots import (
    ladder_plot,
    ratio_plot,
    shift_plot,
    signal_plot,
    time_plot,
)
from livedenoise.core.progress import OnProgress, Progress
from livedenoise.report.page import Page, Section, Table, Verdict
from livedenoise.report.provenance import provenance_rows

REPORT_NAME = "report.html"
_ABOUT_PAIRS = (
    "Low exposure left, high exposure right, the middle of each field, each with its own contrast. "
    "Fields are picked evenly over the collection."
)
_ABOUT_LADDER = (
    "PSNR of the low frame, scaled to the high one and aligned with it, against the high frame. A "
    "model that does not beat this is worth nothing; noise left in the high frame bounds it from "
    "above."
)

MOST_SHOWN = 24
MOST_ROWS = 200


def write_report(
    folder: Path, limits: Limits, on_progress: OnProgress, command: tuple[str, ...] | None = None
) -> Path:
    """Write ``report.html`` and its pictures into a data set; return its path.

    Raises
    ------
    ConfigError
        If there is no data set, or the report cannot be written.
    RecordError
        If an image of the data set is missing or damaged.
    """
    dataset = open_dataset(folder)
    on_progress(Progress(task="report", done=0, total=2, unit="parts"))
    numbers = gather(dataset.records())
    page = Page(
        title=f"Pairs: {dataset.header.plan_name}",
        subtitle=_subtitle(dataset.header),
        verdict=_verdict(dataset.header, numbers),
        warnings=tuple(_warnings(dataset.header, numbers)),
        summary_rows=_summary(dataset.header, numbers),
        sections=tuple(_sections(dataset, numbers, limits)),
        provenance=provenance_rows(command),
    )
    on_progress(Progress(task="report", done=1, total=2, unit="parts"))
    path = folder / REPORT_NAME
    page.write(path)
    on_progress(Progress(task="report", done=2, total=2, unit="parts"))
    return path


def _subtitle(header: DatasetHeader) -> str:
    kind = "SIMULATED microscope" if header.simulated else "microscope"
    return f"{kind} {header.camera}, {header.shape[1]} x {header.shape[0]} px, begun " + (
        header.created_at
    )


def _verdict(header: DatasetHeader, numbers: CollectNumbers) -> Verdict:
    done, failed = numbers.status.get("done", 0), numbers.status.get("failed", 0)
    pairs = int(numbers.kept.sum())
    text = f"{pairs} pairs of {done} fields may be trained on"
    left = header.n_fields - done - failed
    if left:
        return Verdict(
            f"{text}; {left} of {header.n_fields} fields are still to be taken", "warning"
        )
    if not pairs:
        return Verdict(f"not one pair may be trained on: all {failed} fields failed", "bad")
    if failed:
        return Verdict(f"{text}; {failed} of {header.n_fields} fields failed", "warning")
    return Verdict(f"{text}; every field was taken", "good")


def _warnings(header: DatasetHeader, numbers: CollectNumbers) -> Iterator[str]:
    if header.simulated:
        yield "Simulated data: say so wherever a figure from it is shown."
    if header.constants_source == "estimated":
        yield (
            "The camera's gain was estimated from a few frames, not calibrated: electrons are "
            "approximate (livedenoise calibrate)."
        )
    if header.constants_model == "gaussian":
        yield "The noise does not follow the signal: nothing in electrons is meant literally."
    if not header.darks:
        yield "No dark frames: offsets are those of the camera's constants."
    rejected = len(numbers.rejected)
    if rejected > len(numbers.pairs) / 4:
        yield f"{rejected} of {len(numbers.pairs)} pairs were rejected: see below for the reasons."
    yield from header.notes


def _summary(header: DatasetHeader, numbers: CollectNumbers) -> list[tuple[str, str]]:
    done, failed = numbers.status.get("done", 0), numbers.status.get("failed", 0)
    attempts = numbers.attempts
    rows = [
        ("fields", f"{done} done, {failed} failed, of {header.n_fields} planned"),
        (
            "pairs",
            (
                f"{int(numbers.kept.sum())} accepted, {len(numbers.rejected)} rejected, "
                f"{numbers.status.get('retry', 0)} attempts repeated"
            ),
        ),
        ("split", ", ".join(f"{name} {count}" for name, count in sorted(numbers.splits.items()))),
        (
            "camera constants",
            (
                f"{header.gain_e_per_adu:.4g} e/count, offset {header.offset_adu:.2f} counts, read "
                f"noise {header.read_noise_e:.2f} e ({header.constants_source})"
            ),
        ),
        ("light dose", _dose(header, numbers)),
        ("light not counted", _not_counted(numbers)),
    ]
    if len(attempts):
        rows += [
            ("light dose per field", _dose_per_field(attempts)),
            (
                "time",
                f"{attempts[:, 2].sum():.1f} s in fields; overhead {_percentile_ms(attempts)}",
            ),
        ]
    return rows


def _dose(header: DatasetHeader, numbers: CollectNumbers) -> str:
    """Return the dose that is known, and whether the frames a gain was estimated from are in it."""
    scout_us = header.scout_dose_us
    text = (
        f"{(numbers.dose_us + scout_us) * 1e-6:.3g} s at full light in {len(numbers.attempts)} "
        "attempts"
    )
    if scout_us:
        text += f", {scout_us * 1e-3:.3g} ms of it for the gain, on the first field"
    return text


def _not_counted(numbers: CollectNumbers) -> str:
    text = "attempts that an error or a kill broke off: they have no record"
    if numbers.autofocus:
        text += f"; and what {numbers.autofocus} autofocus searches took"
    return text


def _dose_per_field(attempts: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> str:
    """Return mean and range over the fields, attempts at one field added up."""
    fields, place = np.unique(attempts[:, 0], return_inverse=True)
    dose_ms = np.bincount(place, weights=attempts[:, 1], minlength=len(fields)) * 1e-3
    return (
        f"{dose_ms.mean():.4g} ms at full light, from {dose_ms.min():.4g} to {dose_ms.max():.4g} ms"
    )


def _percentile_ms(attempts: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> str:
    median, high = np.percentile(attempts[:, 3], (50, 95)) * 1e3
    return f"{median:.1f} ms a field (median), {high:.1f} ms (95 %)"


def _sections(dataset: Dataset, numbers: CollectNumbers, limits: Limits) -> Iterator[Section]:
    if not len(numbers.pairs):
        yield Section(heading="Nothing taken yet", text=("No field is finished.",))
        return
    shown = list(_accepted_thumbs(dataset))
    if shown:
        yield Section(
            heading="Pairs",
            text=(_ABOUT_PAIRS,),
            figures=(sheet("pairs", shown, "Accepted pairs."),),
        )
    yield Section(
        heading="Does the light follow the dose?",
        figures=(ratio_plot(numbers, limits.ratio_tolerance),),
    )
    yield Section(
        heading="Did it stand still?", figures=(shift_plot(numbers, limits.max_shift_px),)
    )
    if numbers.rungs:
        yield _ladder_section(numbers)
    yield Section(heading="Time and light", figures=(time_plot(numbers),))
    if numbers.rejected:
        yield _rejected_section(dataset, numbers)


def _ladder_section(numbers: CollectNumbers) -> Section:
    rows = tuple(
        (
            str(rung.level),
            f"{rung.exposure_us / 1000:g}",
            f"{rung.light:g}",
            f"{rung.dose_ratio:.4g}",
            f"{rung.electrons:.3g}",
            f"{rung.psnr_db:.2f} ± {rung.psnr_sd_db:.2f}",
            str(rung.pairs),
        )
        for rung in numbers.rungs
    )
    columns = (
        "level",
        "exposure [ms]",
        "light",
        "dose of high over low",
        "signal [e]",
        "PSNR [dB]",
        "pairs",
    )
    return Section(
        heading="What the low exposure reaches by itself",
        text=(_ABOUT_LADDER,),
        tables=(Table(columns=columns, rows=rows),),
        figures=(ladder_plot(numbers), signal_plot(numbers)),
    )


def _rejected_section(dataset: Dataset, numbers: CollectNumbers) -> Section:
    rows = tuple(
        (
            str(one.field),
            str(one.attempt + 1),
            one.pair,
            ", ".join(one.reasons),
            one.text + (" (field taken again)" if one.tried_again else ""),
        )
        for one in numbers.rejected[:MOST_ROWS]
    )
    more = len(numbers.rejected) - len(rows)
    counts = ", ".join(f"{reason} {count}" for reason, count in sorted(numbers.reasons.items()))
    text = [f"By first reason: {counts}."]
    if more:
        text.append(f"{more} more are in the manifest.")
    thumbs = list(_rejected_thumbs(dataset))
    return Section(
        heading="Rejected pairs",
        text=tuple(text),
        tables=(
            Table(
                columns=("field", "attempt", "pair", "reasons", "what was found"),
                rows=rows,
                wide_columns=(4,),
            ),
        ),
        figures=(sheet("rejected", thumbs, "Rejected pairs: low left, high right."),)
        if thumbs
        else (),
    )


def _accepted_thumbs(dataset: Dataset) -> Iterator[PairThumbs]:
    """Yield thumbnails of up to ``MOST_SHOWN`` fields, spread evenly, the dimmest low of each."""
    done = sum(1 for _ in dataset.done())
    wanted = set(np.unique(np.linspace(0, done - 1, min(MOST_SHOWN, done)).astype(int)))
    for number, record in enumerate(dataset.done()):
        if number not in wanted:
            continue
        pairs = list(dataset.pairs_of(record))
        pair = max(pairs, key=lambda one: one.low_shot.shot.level)
        text = (
            f"field {pair.field}, level {pair.low_shot.shot.level}, {pair.verdict.psnr_db:.1f} dB"
        )
        yield pair_thumbs(pair.low, pair.high, text)


def _rejected_thumbs(dataset: Dataset) -> Iterator[PairThumbs]:
    """Yield thumbnails of the first ``MOST_SHOWN`` rejected pairs."""
    shown = 0
    for record, index, site in _sites(dataset):
        for pair in site.pairs:
            if pair.verdict.accepted:
                continue
            if shown == MOST_SHOWN:
                return
            shown += 1
            low, high = (
                dataset.rejected_image(record, index, shot) for shot in (pair.low, pair.high)
            )
            text = f"field {record.field}, attempt {record.attempt + 1}: {pair.verdict.reasons[0]}"
            yield pair_thumbs(low, high, text)


def _sites(dataset: Dataset) -> Iterator[tuple[FieldRecord, int, SiteRecord]]:
    for record in dataset.records():
        for index, site in enumerate(record.sites):
            yield record, index, site
