"""SIGKILL at any moment of a collection loses the field in progress, and ``--resume`` goes on."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from collect_kit import start_collect

from livedenoise.collect.dataset_reader import open_dataset, verify_dataset

CONFIG = """
[[camera]]
kind = "simulated"
name = "sim"
sensor = { width_px = 96, height_px = 96 }
scene = { kind = "granules", photons_per_s = 60000.0, motion_px_per_s = 0.0 }
[camera.microscope]
pixel_size_um = 0.1
stage_speed_um_per_s = 1e6
"""
PLAN = """
order = "bracket"
settle_ms = 5
[sequence]
grid_plan = { rows = 4, columns = 4, overlap = -10 }
[high]
exposure_us = 10000
[low]
exposure_us = 2000
[dark]
frames = 6
"""
FIELDS = 16


def collect(folder: Path, *more: str) -> subprocess.Popen[bytes]:
    return start_collect(folder, "rig.toml", *more)


def lines(folder: Path) -> int:
    manifest = folder / "set" / "manifest.jsonl"
    return manifest.read_bytes().count(b"\n") if manifest.exists() else 0


def kill_after(folder: Path, fields: int, wait_s: float, *more: str) -> None:
    """Start, wait until so many fields are stored, and a bit; kill without a word."""
    process = collect(folder, *more)
    deadline = time.monotonic() + 60.0
    while lines(folder) < 1 + fields and process.poll() is None:
        assert time.monotonic() < deadline, "no field was stored"
        time.sleep(0.002)
    time.sleep(wait_s)
    process.kill()
    _, said = process.communicate(timeout=30)
    assert process.returncode in {-signal.SIGKILL, 0}, said.decode()


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL")
def test_killed_again_and_again_every_field_is_there_once(tmp_path: Path) -> None:
    (tmp_path / "rig.toml").write_text(CONFIG)
    (tmp_path / "plan.toml").write_text(PLAN)
    rng = np.random.default_rng(5)
    kill_after(tmp_path, 2, 0.0)
    counts = [lines(tmp_path)]
    for fields in (5, 9):
        kill_after(tmp_path, fields, float(rng.uniform(0.0, 0.03)), "--resume")
        counts.append(lines(tmp_path))
    # Each time it went on where it was: nothing was taken twice, nothing stored was lost.
    assert counts == sorted(counts)
    last = collect(tmp_path, "--resume", "--json")
    _, said = last.communicate(timeout=90)
    assert last.returncode == 0, said.decode()
    records = list(open_dataset(tmp_path / "set").records())
    assert sorted(one.field for one in records) == list(range(FIELDS))
    assert all(one.status == "done" for one in records)
    verified = verify_dataset(tmp_path / "set")
    assert not verified.problems
    assert len(list((tmp_path / "set" / "fields").iterdir())) == FIELDS
    assert len({one.sha256[one.file] for one in records}) == FIELDS
    assert (tmp_path / "set" / "report.html").is_file()


def test_ctrl_c_finishes_the_field_and_can_be_resumed(tmp_path: Path) -> None:
    (tmp_path / "rig.toml").write_text(CONFIG)
    (tmp_path / "plan.toml").write_text(PLAN)
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "livedenoise", "collect", "rig.toml"),
            *("--plan", "plan.toml", "--out", "set", "--json"),
        ],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    deadline = time.monotonic() + 60.0
    while lines(tmp_path) < 4 and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(signal.SIGINT)
    said, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors.decode()
    summary = json.loads(said)
    assert 0 < summary["left"] < FIELDS
    assert summary["fields_done"] + summary["left"] == FIELDS
    assert not verify_dataset(tmp_path / "set").problems


@pytest.mark.skipif(sys.platform == "win32", reason="SIGINT to one process")
def test_ctrl_c_during_the_darks_begins_nothing(tmp_path: Path) -> None:
    (tmp_path / "rig.toml").write_text(CONFIG)
    (tmp_path / "plan.toml").write_text(PLAN.replace("frames = 6", "frames = 4000"))
    words = ["collect", "rig.toml", "--plan", "plan.toml", "--out", "new/set"]
    process = subprocess.Popen(
        [sys.executable, "-m", "livedenoise", *words],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    # From here on only the microscope is opened before the darks, and signals are listened to.
    deadline = time.monotonic() + 60.0
    while not (tmp_path / "new" / "set" / ".lock").exists() and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(signal.SIGINT)
    # All of them would take 48 s.
    said, errors = process.communicate(timeout=30)
    assert process.returncode == 0, errors
    assert "there is no data set" in said
    assert not (tmp_path / "new").exists()
