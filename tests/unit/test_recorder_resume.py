"""The successor of a killed recorder: every acknowledged frame once, none lost, totals of all."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from record_kit import (
    FRAME_BYTES,
    abandoned,
    assert_readable,
    live,
    make_header,
    make_pixels,
    pages_of,
)

from livedenoise.core.errors import RecordError
from livedenoise.record.index import RecordSummary, read_index
from livedenoise.record.mend import mend_stream
from livedenoise.record.recorder import Recorder
from livedenoise.record.sidecar import GapLine, read_sidecar

HUGE = 1 << 40
PART_BYTES = 1500
"""Two or three frames a part."""

FRAMES = (0, 1, 2, 3, 5, 6, 7, 10, 11, 12)
LOST = {4, 8, 9}


def resume(folder: Path, **options: int) -> Recorder:
    return Recorder.resume(folder, "raw", **({"part_size_bytes": HUGE} | options))


def append(recorder: Recorder, *seqs: int) -> list[bool]:
    return [recorder.append(make_header(seq), make_pixels(seq)) for seq in seqs]


@settings(max_examples=50, deadline=None)
@given(
    budgets=st.lists(st.sampled_from(range(6000)), min_size=1, max_size=5),
    again=st.integers(0, 3),
    part_bytes=st.sampled_from([1, PART_BYTES, HUGE]),
)
@example(budgets=[0], again=0, part_bytes=HUGE)
@example(budgets=[1, 1, 1], again=0, part_bytes=HUGE)
def test_killed_at_any_byte_any_number_of_times(
    tmp_path_factory: pytest.TempPathFactory, budgets: list[int], again: int, part_bytes: int
) -> None:
    folder = tmp_path_factory.mktemp("run") / "raw" / "cam"
    n_done, kills = 0, 0
    for budget in [*budgets, HUGE]:
        # What the predecessor acknowledged and had not yet released comes again.
        due = FRAMES[max(0, n_done - again) :]
        before = frames_in(folder)
        done, survived = live(folder, due, budget, part_size_bytes=part_bytes)
        kills += not survived
        n_done = max(n_done, FRAMES.index(done[-1]) + 1 if done else 0)
        acknowledged = frames_in(folder)
        # Nothing acknowledged is ever lost, and at most one frame is more than was reported.
        assert acknowledged[: len(before)] == before
        assert list(FRAMES[:n_done]) == acknowledged[:n_done]
        assert len(acknowledged) - n_done <= 1
    content = assert_readable(folder)
    assert tuple(line.seq for line in content.frames) == FRAMES
    assert {n for gap in content.gaps for n in range(gap.first, gap.last + 1)} == LOST
    index = read_index(folder)
    assert index is not None
    assert (index.frames, index.bytes) == (len(FRAMES), len(FRAMES) * FRAME_BYTES)
    assert (index.complete, index.error, index.missing) == (True, "", {"missing": 3})
    assert sum(part.pages for part in index.parts) == len(FRAMES)
    assert sorted(folder.glob("part-*.tif")) == sorted(folder / part.file for part in index.parts)
    report = mend_stream(folder, "raw", check_only=True, on_progress=lambda _: None)
    assert report.complete, report.found


def frames_in(folder: Path) -> list[int]:
    path = folder / "frames.jsonl"
    return [line.seq for line in read_sidecar(path).frames] if path.exists() else []


def test_successor_goes_on_in_a_new_part_and_counts_all(tmp_path: Path) -> None:
    with abandoned(tmp_path) as first:
        append(first, 0, 1)
        first.note_gap(2, 3, "ring_full")
        append(first, 4)
    second = resume(tmp_path)
    assert (second.next_seq, second.acknowledged, second.resumed) == (5, 0, True)
    # The frame was acknowledged; its release was not sent any more.
    assert append(second, 4, 5, 7) == [False, True, True]
    assert second.already_recorded == 1
    summary = second.finalise()
    content = assert_readable(tmp_path)
    assert [(line.seq, line.part) for line in content.frames] == [
        (0, 0),
        (1, 0),
        (4, 0),
        (5, 1),
        (7, 1),
    ]
    assert summary.missing == {"ring_full": 2, "missing": 1}
    assert (summary.frames, summary.gaps, summary.resumed) == (5, 2, 1)
    assert (summary.run_id, summary.camera, summary.complete) == ("run", "cam", True)
    assert [(p.file, p.pages, p.first_seq, p.last_seq) for p in summary.parts] == [
        ("part-0000.tif", 3, 0, 4),
        ("part-0001.tif", 2, 5, 7),
    ]
    for part in summary.parts:
        assert part.bytes == (tmp_path / part.file).stat().st_size
    assert json.loads((tmp_path / "index.json").read_text()) == json.loads(
        msgspec.json.encode(summary)
    )


def test_gap_told_again_is_written_once(tmp_path: Path) -> None:
    with abandoned(tmp_path) as first:
        append(first, 0)
        first.note_gap(1, 2, "camera")
    second = resume(tmp_path)
    second.note_gap(1, 2, "camera")
    append(second, 3)
    second.finalise()
    [gap] = assert_readable(tmp_path).gaps
    assert gap == GapLine(first=1, last=2, count=2, reason="camera")


def test_page_without_its_line_leaves_the_chain_and_comes_again(tmp_path: Path) -> None:
    with abandoned(tmp_path) as first:
        append(first, 0, 1)
        part = first._part
        assert part is not None
        page = part.tiff.append(make_pixels(2))
    path = tmp_path / "part-0000.tif"
    assert len(pages_of(path)) == 3
    size = path.stat().st_size
    second = resume(tmp_path)
    assert "never acknowledged" in second.notes[0]
    assert f"byte {page.offset}" in second.notes[0]
    assert len(pages_of(path)) == 2
    assert path.stat().st_size == size
    append(second, 2)
    second.finalise()
    assert [line.seq for line in assert_readable(tmp_path).frames] == [0, 1, 2]


def test_torn_line_is_cut_and_said(tmp_path: Path) -> None:
    with abandoned(tmp_path) as first:
        append(first, 0)
    with (tmp_path / "frames.jsonl").open("ab") as file:
        file.write(b'{"kind":"fra')
    second = resume(tmp_path)
    assert any("torn last line of 12 bytes" in note for note in second.notes)
    append(second, 1)
    summary = second.finalise()
    assert (summary.torn_bytes, summary.complete) == (12, True)
    assert_readable(tmp_path)


@pytest.mark.parametrize("left", ["nothing", "folder", "empty", "torn"])
def test_predecessor_that_wrote_nothing(tmp_path: Path, left: str) -> None:
    folder = tmp_path / "raw"
    if left != "nothing":
        folder.mkdir()
    if left == "empty":
        (folder / "frames.jsonl").touch()
    if left == "torn":
        (folder / "frames.jsonl").write_bytes(b'{"kind":"stre')
    recorder = resume(folder)
    append(recorder, 0, 1)
    summary = recorder.finalise()
    assert (summary.frames, summary.complete, len(summary.parts)) == (2, True, 1)
    assert read_sidecar(folder / "frames.jsonl").stream is not None
    assert_readable(folder)


def test_finalised_recording_goes_on_too(tmp_path: Path) -> None:
    first = Recorder(tmp_path, "raw", part_size_bytes=HUGE)
    append(first, 0)
    first.finalise()
    second = resume(tmp_path)
    assert not (tmp_path / "index.json").exists()
    append(second, 1)
    assert second.finalise().frames == 2
    assert_readable(tmp_path)


def test_lost_pixels_are_told_and_do_not_stop_the_recording(tmp_path: Path) -> None:
    with abandoned(tmp_path, part_size_bytes=PART_BYTES) as first:
        append(first, *range(6))
    (tmp_path / "part-0000.tif").unlink()
    second = resume(tmp_path)
    append(second, 6)
    summary = second.finalise()
    assert not summary.complete
    assert summary.error.startswith("part-0000.tif is missing: ")
    assert "frames are lost (0.." in summary.error


def test_other_streams_and_damage_are_refused(tmp_path: Path) -> None:
    with abandoned(tmp_path) as first:
        append(first, 0, 1)
    with pytest.raises(RecordError, match="holds the stream 'raw', not 'clean'"):
        Recorder.resume(tmp_path, "clean", part_size_bytes=HUGE)
    path = tmp_path / "frames.jsonl"
    before = path.read_bytes()
    lines = before.splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:2], b"garbage\n", *lines[2:]]))
    with pytest.raises(RecordError, match="damaged"):
        resume(tmp_path)
    path.write_bytes(before.replace(b'"version":1', b'"version":999', 1))
    with pytest.raises(RecordError, match="version 1 or older"):
        resume(tmp_path)
    path.unlink()
    with pytest.raises(RecordError, match="missing, but there are part files"):
        resume(tmp_path)


def test_only_the_end_of_a_long_sidecar_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from livedenoise.record import leftover

    with abandoned(tmp_path, part_size_bytes=PART_BYTES) as first:
        append(first, *range(20))
        first.note_gap(20, 29, "camera")
    monkeypatch.setattr(leftover, "_TAIL_BYTES", 300)
    # The window holds no frame at first: it grows until it does.
    (left,) = [leftover.take_over(tmp_path, "raw")]
    assert left is not None
    assert (left.next_seq, 19 in left.recent, 0 in left.recent) == (30, True, False)
    second = resume(tmp_path)
    append(second, 30)
    summary: RecordSummary = second.finalise()
    assert (summary.frames, summary.missing, summary.complete) == (21, {"camera": 10}, True)
    assert_readable(tmp_path)
