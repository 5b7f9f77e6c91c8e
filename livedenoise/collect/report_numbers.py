"""The figures of a collection, gathered from its manifest: a few numbers a pair, no pixels.

Knows: what a report tells. Must not know: how it is drawn.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import msgspec
import numpy as np
import numpy.typing as npt

from livedenoise.collect.records import FieldRecord, PairRecord, SiteRecord, Split

Numbers = npt.NDArray[np.float64]
_PAIR_FIELDS = (
    "order",
    "accepted",
    "kept",
    "level",
    "exposure_us",
    "frame_dose_us",
    "ratio",
    "expected",
    "ratio_error",
    "dose_ratio",
    "dy_px",
    "dx_px",
    "low_e",
    "high_e",
    "psnr_db",
)


class RejectedPair(msgspec.Struct, frozen=True, kw_only=True):
    """One rejected pair, in words."""

    field: int
    attempt: int
    site: int
    pair: str
    reasons: tuple[str, ...]
    text: str
    tried_again: bool


class Rung(msgspec.Struct, frozen=True, kw_only=True):
    """One low level of the ladder over all accepted pairs: means and standard deviations."""

    level: int
    exposure_us: int
    light: float
    pairs: int
    electrons: float
    psnr_db: float
    psnr_sd_db: float
    dose_ratio: float


class CollectNumbers(msgspec.Struct, kw_only=True):
    """What a manifest says, added up.

    ``pairs`` has one row a pair and the columns of ``PAIR_FIELDS``; ``attempts`` one row an
    attempt: field, dose in microseconds at full light, elapsed and overhead seconds. ``autofocus``
    counts the searches in them, whose light is in no dose.
    """

    pairs: Numbers
    attempts: Numbers
    rejected: tuple[RejectedPair, ...]
    reasons: dict[str, int]
    splits: dict[Split, int]
    status: dict[str, int]
    rungs: tuple[Rung, ...]
    autofocus: int = 0

    def column(self, name: str) -> Numbers:
        """Return one column of ``pairs``."""
        found: Numbers = self.pairs[:, _PAIR_FIELDS.index(name)]
        return found

    @property
    def accepted(self) -> npt.NDArray[np.bool_]:
        """Return which pairs were accepted."""
        return self.column("accepted") > 0

    @property
    def kept(self) -> npt.NDArray[np.bool_]:
        """Return which pairs are in the data set: not those of an attempt that was repeated."""
        return self.column("kept") > 0

    @property
    def dose_us(self) -> float:
        """Return the light dose of all attempts that have a record, microseconds at full light."""
        return float(self.attempts[:, 1].sum())


def gather(records: Iterable[FieldRecord]) -> CollectNumbers:
    """Read the numbers out of records, in the order they were taken."""
    rows: list[tuple[float, ...]] = []
    attempts: list[tuple[float, ...]] = []
    rejected: list[RejectedPair] = []
    splits: Counter[Split] = Counter()
    status: Counter[str] = Counter()
    lights: dict[int, float] = {}
    autofocus = 0
    for order, record in enumerate(records):
        status[record.status] += 1
        attempts.append((record.field, record.dose_us, record.elapsed_s, record.overhead_s))
        for site in record.sites:
            autofocus += site.site.autofocus
            for pair in site.pairs:
                rows.append(_row(order, record, site, pair))
                shot = site.shots[pair.low].shot
                lights.setdefault(shot.level, shot.light)
                if not pair.verdict.accepted:
                    rejected.append(_rejected(record, site, pair))
                elif record.status == "done":
                    splits[record.split] += 1
    pairs = np.array(rows, np.float64).reshape(-1, len(_PAIR_FIELDS))
    return CollectNumbers(
        pairs=pairs,
        attempts=np.array(attempts, np.float64).reshape(-1, 4),
        rejected=tuple(rejected),
        reasons=dict(Counter(one.reasons[0] for one in rejected)),
        splits=dict(splits),
        status=dict(status),
        rungs=_rungs(pairs, lights),
        autofocus=autofocus,
    )


def _row(order: int, record: FieldRecord, site: SiteRecord, pair: PairRecord) -> tuple[float, ...]:
    verdict, low = pair.verdict, site.shots[pair.low]
    error = next((c.error for c in verdict.checks if c.name == "ratio"), None)
    return (
        order,
        verdict.accepted,
        record.status == "done" and verdict.accepted,
        low.shot.level,
        low.shot.exposure_us,
        low.shot.frame_dose_us,
        verdict.ratio,
        verdict.expected_ratio,
        np.nan if error is None else error,
        verdict.dose_ratio,
        *verdict.shift_px,
        verdict.low_electrons,
        verdict.high_electrons,
        verdict.psnr_db,
    )


def _rejected(record: FieldRecord, site: SiteRecord, pair: PairRecord) -> RejectedPair:
    reasons = pair.verdict.reasons
    texts = [c.text for c in pair.verdict.checks if not c.passed]
    return RejectedPair(
        field=record.field,
        attempt=record.attempt,
        site=site.site.index,
        pair=pair.name,
        reasons=reasons,
        text="; ".join(texts),
        tried_again=record.status == "retry",
    )


def _rungs(pairs: Numbers, lights: dict[int, float]) -> tuple[Rung, ...]:
    def column(name: str, chosen: npt.NDArray[np.bool_]) -> Numbers:
        found: Numbers = pairs[chosen, _PAIR_FIELDS.index(name)]
        return found

    rungs = []
    for level in sorted(lights):
        chosen = (pairs[:, _PAIR_FIELDS.index("level")] == level) & (
            pairs[:, _PAIR_FIELDS.index("kept")] > 0
        )
        if not chosen.any():
            continue
        psnr = column("psnr_db", chosen)
        rungs.append(
            Rung(
                level=level,
                exposure_us=int(column("exposure_us", chosen)[0]),
                light=lights[level],
                pairs=int(chosen.sum()),
                electrons=float(column("low_e", chosen).mean()),
                psnr_db=float(psnr.mean()),
                psnr_sd_db=float(psnr.std()),
                dose_ratio=float(column("dose_ratio", chosen).mean()),
            )
        )
    return tuple(rungs)
