"""The recorder: what is acknowledged is on disk, what is missing is written down."""

from __future__ import annotations

import json
import os
from pathlib import Path

import msgspec
import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st

from livedenoise.core.errors import DataLossError, RecordError
from livedenoise.core.frame import FrameHeader
from livedenoise.record import bigtiff
from livedenoise.record.recorder import Recorder, RecordSummary
from livedenoise.record.sidecar import GapLine, Sidecar, read_sidecar

HUGE = 1 << 40


def make_header(seq: int, shape: tuple[int, int] = (4, 6), **changes: object) -> FrameHeader:
    facts: dict[str, object] = dict.fromkeys(FrameHeader.__struct_fields__, 0)
    facts |= {"run_id": "run", "camera": "cam", "stream": "raw", "calibration": "", "model": ""}
    facts |= {"seq": seq, "camera_seq": seq, "height": shape[0], "width": shape[1]}
    facts |= {"dtype": "<u2", "bit_depth": 16, "exposure_us": 1000, "role": "", "event": -1}
    facts |= {"t_host_ns": 1_000_000 * seq + 5, "binning": 1}
    return FrameHeader(**(facts | changes))  # type: ignore[arg-type]


def make_pixels(seq: int, shape: tuple[int, int] = (4, 6), dtype: str = "<u2") -> np.ndarray:
    return (np.arange(shape[0] * shape[1]).reshape(shape) + seq).astype(dtype)


def record(folder: Path, seqs: list[int], **options: int) -> RecordSummary:
    recorder = Recorder(folder, "raw", **({"part_size_bytes": HUGE} | options))
    for seq in seqs:
        recorder.append(make_header(seq), make_pixels(seq))
    return recorder.finalise()


def read_frames(folder: Path, content: Sidecar) -> dict[int, np.ndarray]:
    """Read every frame as its sidecar line says, checking that TIFF page and offset agree."""
    frames = {}
    epochs = {line.epoch: line for line in content.epochs}
    for line in content.frames:
        path, epoch = folder / f"part-{line.part:04d}.tif", epochs[line.epoch]
        page = tifffile.imread(path, key=line.page)
        shape = (epoch.height, epoch.width)
        count = shape[0] * shape[1]
        raw = np.fromfile(path, epoch.dtype, count, offset=line.offset).reshape(shape)
        np.testing.assert_array_equal(page, raw)
        frames[line.seq] = raw
    return frames


def test_frames_index_and_sidecar_agree(tmp_path: Path) -> None:
    summary = record(tmp_path / "raw" / "cam", list(range(5)))
    folder = tmp_path / "raw" / "cam"
    content = read_sidecar(folder / "frames.jsonl")
    frames = read_frames(folder, content)
    for seq in range(5):
        np.testing.assert_array_equal(frames[seq], make_pixels(seq))
    assert [line.t_host_ns for line in content.frames] == [5 + 1_000_000 * k for k in range(5)]
    assert (summary.frames, summary.bytes, summary.gaps) == (5, 5 * 48, 0)
    assert summary.complete
    assert not summary.error
    [part] = summary.parts
    assert (part.file, part.pages, part.first_seq, part.last_seq) == ("part-0000.tif", 5, 0, 4)
    assert part.bytes == (folder / part.file).stat().st_size
    assert json.loads((folder / "index.json").read_text()) == json.loads(
        msgspec.json.encode(summary)
    )
    assert sorted(file.name for file in folder.iterdir()) == [
        "frames.jsonl",
        "index.json",
        "part-0000.tif",
    ]


def test_first_page_says_where_it_comes_from(tmp_path: Path) -> None:
    record(tmp_path, [0])
    with tifffile.TiffFile(tmp_path / "part-0000.tif") as tiff:
        facts = json.loads(tiff.pages[0].tags["ImageDescription"].value)
    assert facts["run_id"] == "run"
    assert facts["camera"] == "cam"
    assert facts["bit_depth"] == 16
    assert facts["exposure_us"] == 1000
    assert facts["software"] == bigtiff.SOFTWARE


def test_unannounced_gap_is_noticed(tmp_path: Path) -> None:
    summary = record(tmp_path, [2, 3, 7])
    content = read_sidecar(tmp_path / "frames.jsonl")
    assert content.gaps == [
        GapLine(first=0, last=1, count=2, reason="missing"),
        GapLine(first=4, last=6, count=3, reason="missing"),
    ]
    assert summary.missing == {"missing": 5}
    assert summary.complete


def test_announced_gap_keeps_its_reason_and_the_rest_is_missing(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, "raw", part_size_bytes=HUGE)
    recorder.append(make_header(0), make_pixels(0))
    recorder.note_gap(2, 3, "ring_full")
    recorder.note_gap(3, 4, "camera")
    recorder.append(make_header(6), make_pixels(6))
    recorder.note_gap(7, 7, "camera")
    summary = recorder.finalise()
    gaps = [(g.first, g.last, g.reason) for g in read_sidecar(tmp_path / "frames.jsonl").gaps]
    assert gaps == [
        (1, 1, "missing"),
        (2, 3, "ring_full"),
        (4, 4, "camera"),
        (5, 5, "missing"),
        (7, 7, "camera"),
    ]
    assert summary.missing == {"missing": 2, "ring_full": 2, "camera": 2}
    assert summary.gaps == 5


def test_repeated_and_backward_numbers_are_recorded_and_counted(tmp_path: Path) -> None:
    summary = record(tmp_path, [0, 1, 1, 0, 2])
    assert (summary.frames, summary.out_of_order, summary.gaps) == (5, 2, 0)


@settings(max_examples=25, deadline=None)
@given(
    steps=st.lists(st.sampled_from(["frame", "lost", "announced"]), min_size=1, max_size=20),
    part_pages=st.integers(1, 4),
)
def test_every_number_is_a_frame_or_in_exactly_one_gap(
    tmp_path_factory: pytest.TempPathFactory, steps: list[str], part_pages: int
) -> None:
    folder = tmp_path_factory.mktemp("run")
    page_bytes = 48 + 296
    recorder = Recorder(folder, "raw", part_size_bytes=16 + 400 + part_pages * page_bytes)
    for seq, step in enumerate(steps):
        if step == "frame":
            recorder.append(make_header(seq), make_pixels(seq))
        elif step == "announced":
            recorder.note_gap(seq, seq, "camera")
    recorder.note_gap(len(steps), len(steps), "end")
    summary = recorder.finalise()
    content = read_sidecar(folder / "frames.jsonl")
    frames = read_frames(folder, content)
    lost = [n for g in content.gaps for n in range(g.first, g.last + 1)]
    assert sorted([*frames, *lost]) == list(range(len(steps) + 1))
    assert summary.missing.get("camera", 0) == steps.count("announced")
    assert summary.missing.get("missing", 0) == steps.count("lost")
    assert sum(part.pages for part in summary.parts) == summary.frames == len(frames)


def test_rolls_over_by_size(tmp_path: Path) -> None:
    record(tmp_path / "one", [0, 1, 2])
    limit = (tmp_path / "one" / "part-0000.tif").stat().st_size
    summary = record(tmp_path / "many", list(range(8)), part_size_bytes=limit)
    assert [part.pages for part in summary.parts] == [3, 3, 2]
    assert [(p.first_seq, p.last_seq) for p in summary.parts] == [(0, 2), (3, 5), (6, 7)]
    assert all(part.bytes <= limit for part in summary.parts)
    content = read_sidecar(tmp_path / "many" / "frames.jsonl")
    assert len(content.epochs) == 1
    assert len(read_frames(tmp_path / "many", content)) == 8


def test_frame_larger_than_a_part_gets_a_part_of_its_own(tmp_path: Path) -> None:
    summary = record(tmp_path, [0, 1], part_size_bytes=1)
    assert [part.pages for part in summary.parts] == [1, 1]


@pytest.mark.parametrize(
    "changes",
    [
        {"epoch": 1},
        {"height": 6, "width": 4},
        {"dtype": "|u1"},
        {"roi_x": 8},
        {"bit_depth": 12},
        {"calibration": "abc"},
    ],
)
def test_new_format_begins_a_new_part(tmp_path: Path, changes: dict[str, object]) -> None:
    recorder = Recorder(tmp_path, "raw", part_size_bytes=HUGE)
    recorder.append(make_header(0), make_pixels(0))
    header = make_header(1, **changes)
    recorder.append(header, make_pixels(1, header.shape, header.dtype))
    summary = recorder.finalise()
    assert [part.pages for part in summary.parts] == [1, 1]
    content = read_sidecar(tmp_path / "frames.jsonl")
    assert [line.part for line in content.epochs] == [0, 1]
    assert (content.epochs[1].height, content.epochs[1].width) == header.shape


def test_wrong_pixels_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, "raw", part_size_bytes=HUGE)
    recorder.append(make_header(0), make_pixels(0))
    with pytest.raises(RecordError, match=r"frame 1: its header says \(4, 6\)"):
        recorder.append(make_header(1), make_pixels(1, (6, 4)))
    with pytest.raises(DataLossError, match="the recording ended with"):
        recorder.append(make_header(2), make_pixels(2))
    summary = recorder.finalise()
    assert (summary.frames, summary.complete) == (1, False)


def test_nothing_is_taken_after_finalise(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, "raw", part_size_bytes=HUGE)
    recorder.append(make_header(0), make_pixels(0))
    summary = recorder.finalise()
    assert recorder.finalise() is summary
    with pytest.raises(DataLossError, match="finalised"):
        recorder.append(make_header(1), make_pixels(1))
    with pytest.raises(DataLossError, match="finalised"):
        recorder.note_gap(1, 1, "camera")


def test_recording_of_nothing_is_complete(tmp_path: Path) -> None:
    summary = record(tmp_path, [])
    assert (summary.frames, summary.parts, summary.complete) == (0, (), True)
    assert read_sidecar(tmp_path / "frames.jsonl").stream is not None


def test_second_recording_in_a_folder_is_refused(tmp_path: Path) -> None:
    record(tmp_path, [0])
    before = (tmp_path / "frames.jsonl").read_bytes()
    with pytest.raises(RecordError, match="exists already"):
        Recorder(tmp_path, "raw", part_size_bytes=HUGE)
    assert (tmp_path / "frames.jsonl").read_bytes() == before


def test_fsync_after_every_so_many_frames(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    real = os.fsync

    def spy(descriptor: int) -> None:
        synced.append(Path(f"/proc/self/fd/{descriptor}").readlink().name)
        real(descriptor)

    monkeypatch.setattr(os, "fsync", spy)
    recorder = Recorder(tmp_path, "raw", part_size_bytes=HUGE, fsync_every=2)
    for seq in range(4):
        recorder.append(make_header(seq), make_pixels(seq))
    assert synced == [tmp_path.name, *["part-0000.tif", "frames.jsonl"] * 2]
    recorder.finalise()
    assert synced[5:7] == ["part-0000.tif", "frames.jsonl"]


def test_failed_fsync_is_an_error_but_the_frames_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = Recorder(tmp_path, "raw", part_size_bytes=HUGE, fsync_every=2)
    recorder.append(make_header(0), make_pixels(0))

    def fail(descriptor: int) -> None:
        raise OSError(5, "injected fault")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(RecordError, match="fsync failed after frame 1"):
        recorder.append(make_header(1), make_pixels(1))
    monkeypatch.undo()
    summary = recorder.finalise()
    assert (summary.frames, summary.complete, summary.parts[0].pages) == (2, False, 2)
