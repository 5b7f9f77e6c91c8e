"""What tests of data sets share: a header, fields full of pixels that no other field has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from livedenoise.collect.dataset import DatasetWriter
from livedenoise.collect.dataset_images import SiteTaken
from livedenoise.collect.records import DatasetHeader, FieldRecord
from livedenoise.collect.shots import Shot, Site, Taken, make_pairs
from livedenoise.collect.verdict import Check, PairVerdict

SHAPE = (12, 20)
PLAN = 'name = "kit"\n'
LOW = {"role": "low", "exposure_us": 1000}
HIGH = {"role": "high", "exposure_us": 20_000}
LADDER = (LOW, LOW | {"level": 1, "exposure_us": 500, "light": 0.5}, HIGH)
BRACKET = (LOW, HIGH, LOW | {"part": "after"})


def make_header(**changes: Any) -> DatasetHeader:
    facts: dict[str, Any] = {
        "plan_name": "kit",
        "plan_hash": "abc",
        "program_hash": "def",
        "n_fields": 8,
    }
    facts |= {"camera": "cam", "shape": SHAPE, "roi": (0, 0, 20, 12), "bit_depth": 12}
    facts |= {"pixel_size_um": 0.11, "offset_adu": 100.0, "gain_e_per_adu": 0.5}
    return DatasetHeader(**(facts | changes))


def make_pixels(seed: int, dtype: str = "<u2", shape: tuple[int, int] = SHAPE) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 4096, shape).astype(dtype)


def make_taken(seed: int, **shot: Any) -> Taken:
    """Return a shot with pixels of its own; averages are float32."""
    commanded = Shot(**shot)
    dtype = "<f4" if commanded.frames > 1 else "<u2"
    return Taken(
        shot=commanded,
        image=make_pixels(seed, dtype),
        exposure_us=commanded.exposure_us,
        started_ns=seed * 1_000_000,
        ended_ns=seed * 1_000_000 + commanded.exposure_us * 1000,
        z_um=3.5,
    )


def make_verdict(*reasons: Any, **changes: Any) -> PairVerdict:
    checks = [
        Check(name=reason, value=1.0, limit=0.5, passed=False, text=f"bad {reason}")
        for reason in reasons
    ]
    facts: dict[str, Any] = {"ratio": 0.05, "expected_ratio": 0.05, "dose_ratio": 20.0}
    facts |= {"psnr_db": 20.0, "low_electrons": 5.0, "high_electrons": 100.0}
    return PairVerdict(
        accepted=not reasons, reasons=reasons, checks=tuple(checks), **(facts | changes)
    )


def make_site(
    field: int,
    shots: tuple[dict[str, Any], ...] = (LOW, HIGH),
    verdicts: tuple[PairVerdict, ...] = (),
    **site: Any,
) -> SiteTaken:
    """Return a site with one verdict for each of its pairs, accepted where none is given."""
    base = 1000 * field + 100 * site.get("index", 0)
    taken = tuple(make_taken(base + n, **shot) for n, shot in enumerate(shots))
    pairs = make_pairs(list(taken))
    given = (*verdicts, *(make_verdict() for _ in pairs))
    where = Site(field=field, x_um=10.0 * field, y_um=-2.0, **site)
    return SiteTaken(site=where, taken=taken, pairs=tuple(zip(pairs, given, strict=False)))


def add_field(writer: DatasetWriter, field: int, attempt: int = 0, **changes: Any) -> FieldRecord:
    """Store a field of one site and one accepted pair, unless told otherwise."""
    facts: dict[str, Any] = {"status": "done", "split": "train", "dose_us": 21_000.0}
    facts |= {"taken_at": "2026-01-01T00:00:00+00:00"} | changes
    if "sites" not in facts:
        facts["sites"] = [make_site(field)]
    return writer.add_field(field, attempt, **facts)


def make_dataset(folder: Path, n_fields: int = 3, **header: Any) -> list[FieldRecord]:
    """Write a whole data set; the last field is val, the others train."""
    with DatasetWriter.create(folder, make_header(n_fields=n_fields, **header), PLAN) as writer:
        splits = ["train"] * (n_fields - 1) + ["val"]
        return [add_field(writer, field, split=split) for field, split in enumerate(splits)]
