"""Full disk, killed recorder, slow disk: what was acknowledged is there, and says so truthfully."""

from __future__ import annotations

import json
import os
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
from livedenoise.record.raw_file import OpenFile, RawFile, open_existing
from livedenoise.record.recorder import Recorder, RecordSummary
from livedenoise.record.sidecar import read_sidecar
from livedenoise.testing.faults import (
    FailingWrite,
    Fault,
    FaultyFile,
    FullDisk,
    SlowDisk,
    TornWrite,
)

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


def fail_on(disk: Fault) -> dict[str, OpenFile]:
    """Return the options that put a successor on a faulty disk."""

    def reopen(path: Path) -> RawFile:
        file = FaultyFile(open_existing(path), disk)
        file.size = path.stat().st_size
        return file

    return {"open_file": disk, "reopen": reopen}


def resume_until_refused(folder: Path, disk: Fault) -> tuple[list[int], RecordSummary | None]:
    """Go on with frames 3 to 6, the first of which was acknowledged already."""
    try:
        recorder = Recorder.resume(folder, "raw", part_size_bytes=PART_BYTES, **fail_on(disk))
    except RecordError:
        return [], None
    done: list[int] = []
    for seq in range(3, 7):
        try:
            recorder.append(make_header(seq), make_pixels(seq))
        except RecordError:
            break
        done.append(seq)
    return done, recorder.finalise()


@pytest.mark.parametrize("kind", FULL)
def test_disk_full_at_every_write_of_a_successor(tmp_path: Path, kind: str) -> None:
    refused_at, k = set(), 0
    while True:
        k += 1
        folder, disk = tmp_path / str(k), FULL[kind](k)
        first = Recorder(folder, "raw", part_size_bytes=PART_BYTES)
        for seq in range(4):
            first.append(make_header(seq), make_pixels(seq))
        assert first._part is not None
        first._part.tiff.close()
        first._sidecar.close()
        done, summary = resume_until_refused(folder, disk)
        on_disk = [0, 1, 2, 3, *done[1:]]
        if summary is not None:
            assert_on_disk(folder, on_disk, summary)
        if disk.n_writes < k:
            assert summary is not None
            assert summary.complete
            break
        assert summary is None or not summary.complete
        refused_at.add(len(done))
        # Whoever comes next finds everything acknowledged, and room.
        last = Recorder.resume(folder, "raw", part_size_bytes=PART_BYTES)
        for seq in range(on_disk[-1], 8):
            last.append(make_header(seq), make_pixels(seq))
        whole = last.finalise()
        assert whole.complete
        assert_on_disk(folder, list(range(8)), whole)
    assert refused_at == set(range(5))


ZYGOTE = """
import os, sys
from pathlib import Path
from livedenoise.record.recorder import Recorder
sys.path.insert(0, {tests!r})
from test_recorder_faults import make_header, make_pixels
pool = [make_pixels(seq, {shape}) for seq in range(16)]
for line in sys.stdin:
    child = os.fork()
    if child == 0:
        recorder = Recorder.resume(Path({folder!r}), "raw", part_size_bytes={part_bytes})
        for seq in range(int(line), 10**6):
            recorder.append(make_header(seq, {shape}), pool[seq % 16])
            os.write(1, b"%d\\n" % seq)
    os.write(1, b"pid %d\\n" % child)
    os.waitpid(child, 0)
    os.write(1, b"dead\\n")
"""
BIG = (64, 128)


class Lives:
    """Recorder processes, one after the other, forked from one that has everything imported."""

    def __init__(self, folder: Path, seed: int) -> None:
        self._random = random.Random(seed)
        code = ZYGOTE.format(
            tests=str(Path(__file__).parent), folder=str(folder), shape=BIG, part_bytes=200_000
        )
        self._process = subprocess.Popen(
            [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def live_and_die(self, first_seq: int) -> list[int]:
        """Record from ``first_seq`` on, be killed at a random moment; return what was reported."""
        assert self._process.stdin is not None
        self._process.stdin.write(b"%d\n" % first_seq)
        self._process.stdin.flush()
        kill_after = self._random.randrange(-3, 20)
        reported: list[int] = []
        pid = 0
        while not pid or len(reported) < kill_after:
            line = self._line()
            if line.startswith(b"pid"):
                pid = int(line.split()[1])
            else:
                reported.append(int(line))
        time.sleep(self._random.random() * 0.002)  # into the middle of a write
        os.kill(pid, signal.SIGKILL)
        while (line := self._line()) != b"dead\n":
            reported.append(int(line))
        return reported

    def _line(self) -> bytes:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the recorder process ended by itself"
        return line

    def close(self) -> None:
        self._process.communicate()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks recorders to be quick")
@pytest.mark.parametrize("seed", range(3))
def test_recorder_killed_again_and_again_loses_no_acknowledged_frame(
    tmp_path: Path, seed: int
) -> None:
    folder = tmp_path / "raw"
    lives, choose = Lives(folder, seed), random.Random(seed + 1000)
    reported: list[int] = []
    try:
        for _ in range(30):
            # The ring gives again what was acknowledged and not released.
            again = min(len(reported), choose.randrange(4))
            first = len(reported) - again
            seen = lives.live_and_die(first)
            assert seen == list(range(first, first + len(seen)))
            reported += seen[again:]
    finally:
        lives.close()
    last = Recorder.resume(folder, "raw", part_size_bytes=200_000)
    for seq in range(len(reported), len(reported) + 3):
        last.append(make_header(seq, BIG), make_pixels(seq % 16, BIG))
    summary = last.finalise()
    assert summary.complete, summary.error
    content = read_sidecar(folder / "frames.jsonl")
    # No acknowledged frame is missing, none is there twice.
    assert [line.seq for line in content.frames] == list(range(len(reported) + 3))
    assert summary.frames == len(reported) + 3
    pool = [make_pixels(seq, BIG) for seq in range(16)]
    pages = {}
    for path, part in zip(sorted(folder.glob("part-*.tif")), summary.parts, strict=True):
        with tifffile.TiffFile(path) as tiff:
            assert (path.name, len(tiff.pages)) == (part.file, part.pages)
            for number, page in enumerate(tiff.pages):
                pages[int(path.stem[5:]), number] = page.asarray()
    for line in content.frames:
        np.testing.assert_array_equal(pages[line.part, line.page], pool[line.seq % 16])
        path = folder / f"part-{line.part:04d}.tif"
        raw = np.fromfile(path, "<u2", BIG[0] * BIG[1], offset=line.offset)
        np.testing.assert_array_equal(raw.reshape(BIG), pool[line.seq % 16])


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
