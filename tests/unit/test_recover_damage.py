"""``recover`` of damaged files: what is whole stays, the rest is told, and that only once."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from record_kit import (
    FRAME_BYTES,
    SHAPE,
    abandoned,
    again,
    assert_readable,
    assert_source,
    contents,
    killed_run,
    make_header,
    make_pixels,
    make_run,
    mend,
    pages_of,
)

from livedenoise.core.errors import ConfigError
from livedenoise.record import recover
from livedenoise.record.recover import recover_run
from livedenoise.record.run_folder import open_run
from livedenoise.record.sidecar import read_sidecar


@pytest.fixture(autouse=True)
def stages_end_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recover, "_STAGES_END_S", 0.0)


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_files_cut_anywhere_lose_only_what_was_cut(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """After a power loss files end anywhere: what is whole stays, the rest is told."""
    base = tmp_path_factory.mktemp("run")
    folder = killed_run(base, tuple(range(7))) / "raw" / "cam"
    sidecar = folder / "frames.jsonl"
    last = max(folder.glob("part-*.tif"))
    lines = read_sidecar(sidecar).frames
    part_size = data.draw(st.sampled_from(range(last.stat().st_size + 1)), label="part")
    n_bytes = sidecar.stat().st_size
    sidecar_sizes = st.just(n_bytes) | st.sampled_from(range(n_bytes + 1))
    sidecar_size = data.draw(sidecar_sizes, label="sidecar")
    os.truncate(last, part_size)
    os.truncate(sidecar, sidecar_size)
    told = read_sidecar(sidecar).frames
    whole = [
        line.seq
        for line in told
        if folder / f"part-{line.part:04d}.tif" != last or line.offset + FRAME_BYTES <= part_size
    ]
    report = mend(folder)
    content = read_sidecar(sidecar)
    assert [line.seq for line in content.frames] == whole
    assert report.frames == len(whole)
    assert report.lost == len(told) - len(whole)
    if whole:
        assert_source(folder, tuple(whole))
    missing = [n for gap in content.gaps for n in range(gap.first, gap.last + 1)]
    assert missing == [line.seq for line in told if line.seq not in whole]
    assert len(lines) >= len(told)
    before = contents(folder)
    mend(folder)
    assert contents(folder) == before


def test_lost_part_becomes_a_gap_and_the_old_sidecar_is_kept(tmp_path: Path) -> None:
    path = killed_run(tmp_path, tuple(range(7)))
    folder = path / "raw/cam"
    old = (folder / "frames.jsonl").read_bytes()
    in_part = [line.seq for line in read_sidecar(folder / "frames.jsonl").frames if line.part == 1]
    (folder / "part-0001.tif").unlink()
    report = recover_run(path)
    assert (report.lost, report.exit_code) == (len(in_part), 5)
    assert any("part-0001.tif is missing" in text for text in report.streams[0].found)
    assert (folder / "frames.jsonl.damaged-1").read_bytes() == old
    [gap] = assert_readable(folder).gaps
    assert (gap.first, gap.last, gap.reason) == (in_part[0], in_part[-1], "pixels_lost")
    kept = tuple(seq for seq in range(7) if seq not in in_part)
    assert_source(path, kept)
    second = again(path)
    # Mended, but what is lost stays lost.
    assert (second.complete, second.exit_code) == (True, 5)


@pytest.mark.parametrize(("cut", "lost"), [(0, 0), (1, 1)])
def test_frame_that_lacks_one_byte_is_lost(tmp_path: Path, cut: int, lost: int) -> None:
    path = killed_run(tmp_path, tuple(range(6)))
    folder = path / "raw/cam"
    line = read_sidecar(folder / "frames.jsonl").frames[-1]
    os.truncate(folder / f"part-{line.part:04d}.tif", line.offset + FRAME_BYTES - cut)
    assert recover_run(path).lost == lost
    assert_source(path, tuple(range(6 - lost)))


def test_damaged_line_in_the_middle_costs_its_frame_only(tmp_path: Path) -> None:
    path = killed_run(tmp_path, tuple(range(5)))
    sidecar = path / "raw/cam/frames.jsonl"
    lines = sidecar.read_bytes().splitlines(keepends=True)
    lines[4] = b"\0" * (len(lines[4]) - 1) + b"\n"
    sidecar.write_bytes(b"".join(lines))
    with pytest.raises(ConfigError, match="not a line of a sidecar") as caught:
        read_sidecar(sidecar)
    assert "recover" in caught.value.hint
    report = recover_run(path)
    assert any("1 damaged lines" in text for text in report.streams[0].found)
    content = assert_readable(path / "raw/cam", pages_exact=False)
    assert [(gap.first, gap.last, gap.reason) for gap in content.gaps] == [(2, 2, "line_damaged")]
    assert_source(path, (0, 1, 3, 4))
    again(path)


def test_sidecar_is_made_from_the_pages(tmp_path: Path) -> None:
    path = killed_run(tmp_path, tuple(range(6)))
    folder = path / "raw/cam"
    (folder / "frames.jsonl").unlink()
    checked = recover_run(path, check_only=True)
    assert not (folder / "frames.jsonl").exists()
    report = recover_run(path)
    assert checked.streams[0].frames == report.streams[0].frames == 6
    assert not report.streams[0].numbered
    content = read_sidecar(folder / "frames.jsonl")
    assert content.stream is not None
    assert content.stream.rebuilt
    assert [line.seq for line in content.frames] == list(range(6))
    assert {line.t_host_ns for line in content.frames} == {0}
    [epoch] = content.epochs
    assert (epoch.camera, epoch.run_id, epoch.bit_depth) == ("cam", "run", 12)
    assert (epoch.height, epoch.width, epoch.dtype) == (*SHAPE, "<u2")
    assert_source(path, tuple(range(6)))
    summary = open_run(path).summary
    assert summary is not None
    assert summary["recorded"] == 6
    assert not {"first_time", "seconds", "fps"} & summary.keys()
    again(path)


def test_page_never_acknowledged_is_told_and_stays(tmp_path: Path) -> None:
    path = make_run(tmp_path)
    folder = path / "raw/cam"
    with abandoned(folder) as recorder:
        recorder.append(make_header(0), make_pixels(0))
        part = recorder._part
        assert part is not None
        page = part.tiff.append(make_pixels(1))
    report = recover_run(path)
    assert len(pages_of(folder / "part-0000.tif")) == 1
    text = f"part-0000.tif: the page whose pixels are at byte {page.offset}"
    assert report.streams[0].unacknowledged == (text,)
    pixels = np.fromfile(folder / "part-0000.tif", "<u2", 24, offset=page.offset)
    np.testing.assert_array_equal(pixels.reshape(SHAPE), make_pixels(1))
    assert again(path).streams[0].unacknowledged == (text,)


@pytest.mark.parametrize("content", [b"{", b'{"frames": 1}', b""])
def test_damaged_index_is_made_anew(tmp_path: Path, content: bytes) -> None:
    path = killed_run(tmp_path)
    (path / "raw/cam/index.json").write_bytes(content)
    report = recover_run(path)
    assert any("index.json: damaged" in text for text in report.streams[0].found)
    assert again(path).complete


def test_index_that_lies_is_made_anew(tmp_path: Path) -> None:
    path = killed_run(tmp_path)
    recover_run(path)
    index = path / "raw/cam/index.json"
    index.write_text(index.read_text().replace('"frames": 6', '"frames": 7'))
    report = recover_run(path)
    assert report.streams[0].found == ("index.json: does not say what is there",)
    assert '"frames": 6' in index.read_text()
    assert again(path).complete


def test_broken_chain_is_told_once_and_for_all(tmp_path: Path) -> None:
    path = make_run(tmp_path)
    with abandoned(path / "raw/cam") as recorder:
        for seq in range(3):
            recorder.append(make_header(seq), make_pixels(seq))
    with (path / "raw/cam/part-0000.tif").open("r+b") as file:
        file.seek(8)
        file.write(b"\0" * 8)
    report = recover_run(path)
    assert any("TIFF readers see only 0 of 3 pages" in text for text in report.streams[0].found)
    assert_source(path, (0, 1, 2))
    assert not again(path).complete
