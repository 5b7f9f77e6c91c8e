"""What a data set adds up to: fields, pairs by split and level, dose, reasons of rejection.

Knows: how records are counted, one after the other. Must not know: pixels.

Memory is bounded by splits, levels, reasons and the fields that are open, not by fields taken.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from livedenoise.collect.manifest import read_header, scan
from livedenoise.collect.records import DatasetHeader, FieldRecord, PairRecord, SiteRecord


class LevelSummary(msgspec.Struct, kw_only=True):
    """Accepted pairs of one level of the ladder; ``exposure_us`` and ``light`` of the low shot."""

    exposure_us: int
    light: float
    pairs: int = 0
    dose_ratio: float = 0.0
    psnr_db: float = 0.0


class DatasetSummary(msgspec.Struct, kw_only=True):
    """Counts of a data set.

    Attributes
    ----------
    fields_planned, fields_done, fields_failed, fields_open : int
        ``open``: tried and to be tried again. The rest was not reached.
    attempts : int
        At all fields.
    pairs : dict
        Accepted pairs by split, then by level.
    pairs_accepted, pairs_rejected : int
        Rejected pairs are counted over all attempts.
    rejected_by : dict
        Rejected pairs by their first reason; ``attempt`` for pairs that passed themselves, in an
        attempt that was given up.
    levels : dict
        Low exposure, and means over the accepted pairs, by level.
    dose_us, dose_per_field_us : float
        Exposure x light x frames over all attempts, the frames a gain was estimated from
        included; and over the settled fields. Autofocus, and attempts that an error or a kill broke
        off, are not counted.
    bytes_stored : int
        Of all images.
    overhead_s, elapsed_s : float
        Sums over all attempts.
    torn : bool
        The last line is torn: a writer was killed, or is at it.
    """

    fields_planned: int = 0
    fields_done: int = 0
    fields_failed: int = 0
    fields_open: int = 0
    attempts: int = 0
    pairs: dict[str, dict[str, int]] = {}
    pairs_accepted: int = 0
    pairs_rejected: int = 0
    rejected_by: dict[str, int] = {}
    levels: dict[str, LevelSummary] = {}
    dose_us: float = 0.0
    dose_per_field_us: float = 0.0
    bytes_stored: int = 0
    elapsed_s: float = 0.0
    overhead_s: float = 0.0
    torn: bool = False

    def add(self, record: FieldRecord) -> None:
        """Count one attempt."""
        self.attempts += 1
        self.fields_done += record.status == "done"
        self.fields_failed += record.status == "failed"
        self.dose_us += record.dose_us
        self.elapsed_s += record.elapsed_s
        self.overhead_s += record.overhead_s
        self.bytes_stored += sum(record.sizes.values())
        for site in record.sites:
            for pair in site.pairs:
                if record.status == "done" and pair.verdict.accepted:
                    self._accept(record.split, site, pair)
                else:
                    self._reject(pair)

    def _accept(self, split: str, site: SiteRecord, pair: PairRecord) -> None:
        self.pairs_accepted += 1
        shot = site.shots[pair.low].shot
        level = str(shot.level)
        by_level = self.pairs.setdefault(split, {})
        by_level[level] = by_level.get(level, 0) + 1
        found = self.levels.setdefault(
            level, LevelSummary(exposure_us=shot.exposure_us, light=shot.light)
        )
        found.pairs += 1
        found.dose_ratio += (pair.verdict.dose_ratio - found.dose_ratio) / found.pairs
        found.psnr_db += (pair.verdict.psnr_db - found.psnr_db) / found.pairs

    def _reject(self, pair: PairRecord) -> None:
        self.pairs_rejected += 1
        reason = pair.verdict.reasons[0] if pair.verdict.reasons else "attempt"
        self.rejected_by[reason] = self.rejected_by.get(reason, 0) + 1


def summarise_dataset(folder: Path) -> tuple[DatasetHeader, DatasetSummary]:
    """Count a data set in one pass over its manifest.

    Raises
    ------
    ConfigError
        If there is none, or its manifest is damaged.
    """
    header = read_header(folder)
    summary = DatasetSummary(fields_planned=header.n_fields, dose_us=header.scout_dose_us)
    still_open: set[int] = set()
    for line in scan(folder):
        if line.record is None:
            summary.torn = True
            continue
        summary.add(line.record)
        if line.record.status == "retry":
            still_open.add(line.record.field)
        else:
            still_open.discard(line.record.field)
    summary.fields_open = len(still_open)
    settled = summary.fields_done + summary.fields_failed
    summary.dose_per_field_us = summary.dose_us / settled if settled else 0.0
    summary.levels = dict(sorted(summary.levels.items(), key=lambda item: int(item[0])))
    return header, summary
