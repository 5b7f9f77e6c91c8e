"""A writer killed at any moment: nothing acknowledged is lost, nothing is there twice."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import dataset_kit as kit
import numpy as np
import pytest

from livedenoise.collect.dataset_reader import open_dataset, verify_dataset

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="the driver forks")
DRIVER = Path(kit.__file__).with_name("dataset_driver.py")


def drive(folder: Path, how: str, seed: int, n_fields: int) -> list[dict]:
    """Let the driver kill writers until the data set is whole; return what each child did."""
    command = [sys.executable, str(DRIVER), str(folder), how, str(seed), str(n_fields)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=90, check=False)
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout)["runs"]


@pytest.mark.parametrize(
    ("how", "seed", "n_fields"), [("random", 1, 24), ("steps", 2, 12), ("steps", 3, 12)]
)
def test_killed_writers_lose_and_repeat_nothing(
    tmp_path: Path, how: str, seed: int, n_fields: int
) -> None:
    folder = tmp_path / "data"
    runs = drive(folder, how, seed, n_fields)
    assert sum(run["code"] == -signal.SIGKILL for run in runs) >= 5

    acknowledged = Counter(field for run in runs for field in run["acknowledged"])
    assert set(acknowledged.values()) == {1}, "a field was taken twice"

    data = open_dataset(folder)
    records = list(data.records())
    attempts = Counter((record.field, record.attempt) for record in records)
    assert set(attempts.values()) == {1}
    assert sorted(r.field for r in records if r.status == "done") == list(range(n_fields))
    assert sorted(r.field for r in records if r.status == "retry") == list(range(1, n_fields, 3))

    assert verify_dataset(folder).problems == {}
    listed = {name for record in records for name in record.sha256}
    on_disk = {
        str(path.relative_to(folder))
        for name in ("fields", "rejected")
        for path in (folder / name).iterdir()
    }
    assert on_disk == listed, "files without a line are left"
    for pair in data.pairs():
        np.testing.assert_array_equal(pair.low, kit.make_pixels(1000 * pair.field + 1))
        np.testing.assert_array_equal(pair.high, kit.make_pixels(1000 * pair.field + 2))
