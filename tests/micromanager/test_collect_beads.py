"""An unattended 5x5 grid on a real MMCore: beads that follow the XY stage, killed and resumed."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import numpy as np
from collect_kit import start_collect

from livedenoise.collect.dataset_reader import open_dataset, verify_dataset
from livedenoise.imaging.registration import measure_shift

PLAN = """
order = "bracket"
[sequence]
grid_plan = { rows = 5, columns = 5, overlap = 20 }
[high]
exposure_us = 20000
[low]
exposure_us = 4000
[dark]
frames = 6
"""
OVERLAP = 0.2


def collect(folder: Path, *more: str) -> subprocess.Popen[bytes]:
    return start_collect(folder, "micromanager_beads", *more)


def test_a_grid_of_beads_killed_and_resumed(tmp_path: Path) -> None:
    (tmp_path / "plan.toml").write_text(PLAN)
    manifest = tmp_path / "set" / "manifest.jsonl"
    process = collect(tmp_path)
    deadline = time.monotonic() + 60.0
    while not manifest.exists() or manifest.read_bytes().count(b"\n") < 9:
        assert process.poll() is None, process.communicate()[1].decode()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.kill()
    process.communicate(timeout=30)
    before = list(open_dataset(tmp_path / "set").records())
    again = collect(tmp_path, "--resume")
    _, said = again.communicate(timeout=90)
    assert again.returncode == 0, said.decode()

    dataset = open_dataset(tmp_path / "set")
    records = list(dataset.records())
    assert records[: len(before)] == before
    assert sorted(one.field for one in records) == list(range(25))
    assert all(one.status == "done" for one in records)
    assert dataset.header.simulated
    assert not verify_dataset(tmp_path / "set").problems
    _expect_one_specimen(dataset)


def _expect_one_specimen(dataset: object) -> None:
    """Neighbours show the same beads where they overlap: the stage went where it was sent."""
    pairs = {pair.field: pair for pair in dataset.pairs()}  # type: ignore[attr-defined]
    first = pairs[0]
    right = min(
        (one for one in pairs.values() if one.site.y_um == first.site.y_um and one.field),
        key=lambda one: abs(one.site.x_um - first.site.x_um),
    )
    size = first.high.shape[1]
    strip = round(OVERLAP * size)
    left_part, right_part = (
        (first.high[:, -strip:], right.high[:, :strip])
        if right.site.x_um > first.site.x_um
        else (first.high[:, :strip], right.high[:, -strip:])
    )
    shift = measure_shift(*(part.astype(np.float32) - 100.0 for part in (left_part, right_part)))
    assert shift.found
    assert max(abs(value) for value in shift.shift_px) < 1.0
