"""What tests of killed recorders share: frames, a disk that kills at any byte, what must hold."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from livedenoise.acquire.sources import open_source
from livedenoise.core.config import parse_config
from livedenoise.core.frame import FrameHeader
from livedenoise.core.progress import ignore_progress
from livedenoise.record.mend import StreamReport, mend_stream
from livedenoise.record.raw_file import RawFile, open_existing, open_new
from livedenoise.record.recorder import Recorder
from livedenoise.record.recover import RecoveryReport, recover_run
from livedenoise.record.run_folder import create_run_folder
from livedenoise.record.sidecar import Sidecar, read_sidecar
from livedenoise.testing.faults import Fault, FaultyFile

SHAPE = (4, 6)
FRAME_BYTES = 48
PERIOD_NS = 1_000_000
PART_BYTES = 1500
"""Two or three frames a part."""


def make_header(seq: int, shape: tuple[int, int] = SHAPE, **changes: Any) -> FrameHeader:
    facts: dict[str, Any] = dict.fromkeys(FrameHeader.__struct_fields__, 0)
    facts |= {"run_id": "run", "camera": "cam", "stream": "raw", "calibration": "", "model": ""}
    facts |= {"seq": seq, "camera_seq": seq, "height": shape[0], "width": shape[1]}
    facts |= {"dtype": "<u2", "bit_depth": 12, "exposure_us": 1000, "role": "", "event": -1}
    facts |= {"t_host_ns": PERIOD_NS * (seq + 5), "binning": 1}
    return FrameHeader(**(facts | changes))


def make_pixels(seq: int, shape: tuple[int, int] = SHAPE) -> np.ndarray:
    """Return pixels that no other frame has."""
    return (np.arange(shape[0] * shape[1]).reshape(shape) * 3 + seq * 101 + 1).astype("<u2")


class Killed(BaseException):
    """The process is gone: nothing may catch this."""


class KillingDisk(Fault):
    """Kills in the middle of a write: the bytes of its budget are written, not one more.

    Making, cutting and opening a file cost one byte each, so that the moments between are hit too.
    """

    def __init__(self, budget: int) -> None:
        super().__init__()
        self._budget = budget
        self._files: list[RawFile] = []

    def __call__(self, path: Path) -> RawFile:
        self._pay()
        return self._opened(open_new(path))

    def reopen(self, path: Path) -> RawFile:
        self._pay()
        return self._opened(open_existing(path))

    def write(self, file: FaultyFile, data: memoryview) -> int:
        if data.nbytes > self._budget:
            kept, self._budget = self._budget, -1
            if kept > 0:
                file.really_write(data[:kept])
            raise Killed
        self._budget -= data.nbytes
        return file.really_write(data)

    def truncate(self, file: FaultyFile, size: int) -> int:
        self._pay()
        return file.really_truncate(size)

    def close(self) -> None:
        """Close what the killed process had open, as the system does."""
        for file in self._files:
            file.close()

    def _opened(self, file: RawFile) -> RawFile:
        self._files.append(file)
        return FaultyFile(file, self)

    def _pay(self) -> None:
        if self._budget <= 0:
            raise Killed
        self._budget -= 1


def live(folder: Path, seqs: Sequence[int], budget: int, **options: Any) -> tuple[list[int], bool]:
    """Record ``seqs`` as a successor until killed; return the acknowledged ones and survival."""
    disk = KillingDisk(budget)
    done: list[int] = []
    try:
        recorder = Recorder.resume(folder, "raw", open_file=disk, reopen=disk.reopen, **options)
        for seq in seqs:
            recorder.append(make_header(seq), make_pixels(seq))
            done.append(seq)
        recorder.finalise()
    except Killed:
        return done, False
    finally:
        disk.close()
    return done, True


@contextmanager
def abandoned(folder: Path, **options: Any) -> Iterator[Recorder]:
    """Give a recorder that is killed at the end: files closed, nothing finalised."""
    recorder = Recorder(folder, "raw", **({"part_size_bytes": 1 << 30} | options))
    yield recorder
    if recorder._part is not None:
        recorder._part.tiff.close()
    recorder._sidecar.close()


def pages_of(path: Path) -> list[np.ndarray]:
    with tifffile.TiffFile(path) as tiff:
        return [page.asarray() for page in tiff.pages]


def assert_readable(folder: Path, *, pages_exact: bool = True) -> Sidecar:
    """Check every frame of the sidecar, by page and by offset, and each number's uniqueness.

    With ``pages_exact`` a TIFF reader sees exactly the frames of the sidecar in every part.
    """
    content = read_sidecar(folder / "frames.jsonl")
    assert not content.torn
    numbers = [line.seq for line in content.frames]
    lost = [n for gap in content.gaps for n in range(gap.first, gap.last + 1)]
    assert sorted([*numbers, *lost]) == list(range(len(numbers) + len(lost)))
    for name in {f"part-{line.part:04d}.tif" for line in content.frames}:
        lines = [line for line in content.frames if f"part-{line.part:04d}.tif" == name]
        pages = pages_of(folder / name)
        if pages_exact:
            assert len(pages) == len(lines)
        for line in lines:
            expected = make_pixels(line.seq)
            np.testing.assert_array_equal(pages[line.page], expected)
            raw = np.fromfile(folder / name, "<u2", expected.size, offset=line.offset)
            np.testing.assert_array_equal(raw.reshape(SHAPE), expected)
    return content


def contents(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Return every file below a folder: its bytes and when it was changed."""
    return {
        str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def make_run(base: Path, **facts: Any) -> Path:
    """Return a run folder whose process is dead: its number belongs to another one now."""
    config = parse_config({"camera": [{"kind": "simulated"}]}, "test")
    path = create_run_folder(base, "test", config=config, argv=[]).path
    file = path / "run.json"
    content = json.loads(file.read_text()) | {"born": "another boot:1", "created_ns": 0} | facts
    file.write_text(json.dumps(content))
    return path


def killed_run(base: Path, seqs: tuple[int, ...] = (0, 1, 2, 3, 5, 6), **facts: Any) -> Path:
    path = make_run(base, **facts)
    with abandoned(path / "raw" / "cam", part_size_bytes=PART_BYTES) as recorder:
        for seq in seqs:
            recorder.append(make_header(seq), make_pixels(seq))
    return path


def assert_source(path: Path, seqs: tuple[int, ...]) -> None:
    """Check that the recovered run is an input like any other."""
    with open_source(path) as source:
        assert source.n_frames == len(seqs)
        for index, seq in enumerate(seqs):
            np.testing.assert_array_equal(source.read(index), make_pixels(seq))


def mend(folder: Path, *, check_only: bool = False) -> StreamReport:
    return mend_stream(folder, "raw", check_only=check_only, on_progress=ignore_progress)


def again(path: Path) -> RecoveryReport:
    """Recover once more; check that not a byte and not a date changed."""
    before = contents(path)
    report = recover_run(path)
    assert contents(path) == before
    assert report.changes == ()
    assert all(stream.changes == () for stream in report.streams)
    return report
