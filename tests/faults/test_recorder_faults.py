"""Full disk, killed recorder, slow disk: what was acknowledged is there, and says so truthfully."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile

from livedenoise.core.errors import DataLossError, RecordError
from livedenoise.core.frame import FrameHeader
from livedenoise.record.raw_file import OpenFile
from livedenoise.record.recorder import Recorder, RecordSummary
from livedenoise.record.sidecar import read_sidecar
from livedenoise.testing.faults import FailingWrite, Fault, FullDisk, SlowDisk, TornWrite

SHAPE = (8, 12)
PART_BYTES = 1600
"""Two or three frames a part."""
N_FRAMES = 7


def make_header(seq: int, shape: tuple[int, int] = SHAPE) -> FrameHeader:
    facts: dict[str, object] = dict.fromkeys(FrameHeader.__struct_fields__, 0)
    facts |= {"run_id": "run", "camera": "cam", "stream": "raw", "calibration": "", "model": ""}
    facts |= {"seq": seq, "height": shape[0], "width": shape[1], "dtype": "<u2", "role": ""}
    return FrameHeader(**facts)  # type: ignore[arg-type]


def make_pixels(seq: int, shape: tuple[int, int] = SHAPE) -> np.ndarray:
    return np.random.default_rng(seq).integers(0, 65536, shape, dtype=np.uint16)


def record_until_refused(
    folder: Path, open_file: OpenFile
) -> tuple[list[int], RecordSummary | None, str]:
    """Record N_FRAMES, with frame 4 lost; return the seqs acknowledged, summary and error."""
    try:
        recorder = Recorder(folder, "raw", part_size_bytes=PART_BYTES, open_file=open_file)
    except RecordError as error:
        return [], None, str(error)
    done: list[int] = []
    error_text = ""
    for seq in (0, 1, 2, 3, 5, 6, 7)[:N_FRAMES]:
        try:
            recorder.append(make_header(seq), make_pixels(seq))
        except RecordError as error:
            error_text = str(error)
            with pytest.raises(DataLossError, match="recording ended with"):
                recorder.append(make_header(seq), make_pixels(seq))
            break
        done.append(seq)
        assert recorder.acknowledged == len(done)
    return done, recorder.finalise(), error_text


def assert_on_disk(folder: Path, seqs: list[int], summary: RecordSummary) -> None:
    """Pages, sidecar and summary hold exactly the frames acknowledged, bit for bit."""
    content = read_sidecar(folder / "frames.jsonl")
    assert not content.torn
    assert [line.seq for line in content.frames] == seqs
    parts = sorted(folder.glob("part-*.tif"))
    assert [part.name for part in parts] == [part.file for part in summary.parts]
    pages = []
    for path, part in zip(parts, summary.parts, strict=True):
        with tifffile.TiffFile(path) as tiff:
            assert len(tiff.pages) == part.pages
            pages += [page.asarray() for page in tiff.pages]
    assert len(pages) == summary.frames == len(seqs)
    for seq, page in zip(seqs, pages, strict=True):
        np.testing.assert_array_equal(page, make_pixels(seq))


def count_writes(folder: Path) -> int:
    disk = Fault()
    done, summary, error = record_until_refused(folder, disk)
    assert summary is not None
    assert summary.complete
    assert len(done) == N_FRAMES
    assert not error
    return disk.n_writes


FULL: dict[str, Callable[[int], Fault]] = {
    "full_once": FailingWrite,
    "full_for_good": lambda k: FailingWrite(k, count=10**6),
    "torn": lambda k: TornWrite(k, keep_bytes=5),
}


@pytest.mark.parametrize("kind", FULL)
def test_disk_full_at_every_write(tmp_path: Path, kind: str) -> None:
    n_writes = count_writes(tmp_path / "whole")
    refused_at = set()
    for k in range(1, n_writes + 1):
        folder = tmp_path / str(k)
        done, summary, error = record_until_refused(folder, FULL[kind](k))
        refused_at.add(len(done))
        if summary is None:
            assert "frames.jsonl" in error
            continue
        assert not summary.complete
        assert summary.error.startswith(error)
        assert_on_disk(folder, done, summary)
        if kind == "full_for_good":
            assert not (folder / "index.json").exists()
        elif len(done) < N_FRAMES:
            index = json.loads((folder / "index.json").read_text())
            assert sum(part["pages"] for part in index["parts"]) == len(done)
            assert index["complete"] is False
    assert refused_at == set(range(N_FRAMES + 1))


def test_disk_full_at_any_size(tmp_path: Path) -> None:
    seen = set()
    for capacity in range(0, 6000, 61):
        folder = tmp_path / str(capacity)
        done, summary, error = record_until_refused(folder, FullDisk(capacity))
        if summary is None:
            assert "No space left" in error
            continue
        seen.add(len(done))
        assert_on_disk(folder, done, summary)
        assert summary.complete == (not summary.error)
        if len(done) < N_FRAMES:
            assert "No space left" in error
            assert not summary.complete
    assert seen == set(range(N_FRAMES + 1))


CHILD = """
import os, sys
from pathlib import Path
from livedenoise.record.recorder import Recorder
sys.path.insert(0, {tests!r})
from test_recorder_faults import make_header, make_pixels
shape = (256, 256)
pool = [make_pixels(seq, shape) for seq in range(16)]
recorder = Recorder(Path({folder!r}), "raw", part_size_bytes=1 << 20)
for seq in range(10**6):
    recorder.append(make_header(seq, shape), pool[seq % 16])
    os.write(1, b"%d\\n" % seq)
"""


@pytest.mark.parametrize("seed", range(3))
def test_sigkill_of_the_recorder_at_a_random_frame(tmp_path: Path, seed: int) -> None:
    folder = tmp_path / "raw"
    code = CHILD.format(tests=str(Path(__file__).parent), folder=str(folder))
    kill_after = random.Random(seed).randrange(1, 60)
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        acknowledged = [int(child.stdout.readline()) for _ in range(kill_after)]
        time.sleep(random.Random(seed + 100).random() * 0.005)  # into the middle of a write
        child.send_signal(signal.SIGKILL)
        acknowledged += [int(line) for line in child.stdout.read().splitlines() if line]
    assert acknowledged == list(range(len(acknowledged)))
    content = read_sidecar(folder / "frames.jsonl")
    lines = content.frames
    # At most the one frame whose line was written and whose number was not yet printed is more.
    assert [line.seq for line in lines[: len(acknowledged)]] == acknowledged
    assert len(lines) - len(acknowledged) in {0, 1}
    pages_of = {}
    for number in {line.part for line in lines}:
        with tifffile.TiffFile(folder / f"part-{number:04d}.tif") as tiff:
            pages_of[number] = [page.asarray() for page in tiff.pages]
    expected = [make_pixels(seq, (256, 256)) for seq in range(16)]
    for line in lines:
        np.testing.assert_array_equal(pages_of[line.part][line.page], expected[line.seq % 16])
        raw = np.fromfile(
            folder / f"part-{line.part:04d}.tif", "<u2", 256 * 256, offset=line.offset
        )
        np.testing.assert_array_equal(raw.reshape(256, 256), expected[line.seq % 16])


def test_slow_disk_slows_the_caller_and_queues_nothing(tmp_path: Path) -> None:
    disk = SlowDisk(0.002)
    recorder = Recorder(tmp_path, "raw", part_size_bytes=1 << 20, open_file=disk)
    threads = threading.active_count()
    started = time.perf_counter()
    before = disk.n_writes
    for seq in range(10):
        recorder.append(make_header(seq), make_pixels(seq))
        # On disk now, not in a queue.
        assert len(read_sidecar(tmp_path / "frames.jsonl").frames) == seq + 1
    assert time.perf_counter() - started >= 0.002 * (disk.n_writes - before)
    assert threading.active_count() == threads
    assert recorder.finalise().complete
