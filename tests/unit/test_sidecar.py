"""The sidecar: every line whole, every fact back, a torn end tolerated and reported."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from livedenoise.core.errors import ConfigError, RecordError
from livedenoise.core.frame import FrameHeader
from livedenoise.record.bigtiff import Page
from livedenoise.record.sidecar import (
    EpochLine,
    FrameLine,
    GapLine,
    Line,
    SidecarReader,
    SidecarWriter,
    StreamLine,
    encode,
    frame_line,
    read_sidecar,
)
from livedenoise.testing.faults import FailingWrite, FullDisk, ShortWrites, TornWrite

NUMBER = st.integers(-(2**62), 2**62)
TEXT = st.text(max_size=8)
LINES: st.SearchStrategy[Line] = st.one_of(
    st.builds(StreamLine, version=NUMBER, stream=TEXT, software=TEXT),
    st.builds(
        EpochLine,
        **dict.fromkeys(("epoch", "part", "height", "width", "bit_depth", "roi_x"), NUMBER),
        **dict.fromkeys(("run_id", "camera", "dtype", "calibration"), TEXT),
    ),
    st.builds(
        FrameLine,
        **dict.fromkeys(("seq", "epoch", "part", "page", "offset", "exposure_us"), NUMBER),
        **dict.fromkeys(("t_host_ns", "camera_seq", "t_publish_ns", "event", "flags"), NUMBER),
        role=TEXT,
        model=TEXT,
    ),
    st.builds(GapLine, first=NUMBER, last=NUMBER, count=NUMBER, reason=TEXT),
)


def gap(number: int) -> GapLine:
    return GapLine(first=number, last=number + 1, count=2, reason="ring_full")


def write(path: Path, lines: list[Line]) -> None:
    writer = SidecarWriter(path)
    for line in lines:
        writer.write(line)
    writer.close()


@settings(max_examples=50, deadline=None)
@given(lines=st.lists(LINES, max_size=6))
def test_lines_come_back_in_order(
    tmp_path_factory: pytest.TempPathFactory, lines: list[Line]
) -> None:
    path = tmp_path_factory.mktemp("sidecar") / "frames.jsonl"
    write(path, lines)
    reader = SidecarReader(path)
    assert list(reader) == lines
    assert not reader.torn
    for content in path.read_bytes().splitlines():
        assert json.loads(content)["kind"] in {"stream", "epoch", "frame", "gap"}


def test_frame_line_holds_every_header_fact_not_in_the_epoch() -> None:
    names = FrameHeader.__struct_fields__
    texts = {"run_id", "camera", "stream", "dtype", "calibration", "model", "role"}
    values = {name: name if name in texts else 1000 + k for k, name in enumerate(names)}
    header = FrameHeader(**values)
    line = msgspec.json.decode(encode(frame_line(header, 3, Page(5, 4096))))
    of_epoch = {"run_id", "camera", "height", "width", "dtype", "bit_depth", "roi_x", "roi_y"}
    of_epoch |= {"binning", "calibration", "stream"}
    of_the_ring = {"slot", "generation", "ring_epoch"}
    expected = {k: v for k, v in values.items() if k not in of_epoch | of_the_ring}
    assert line == expected | {"kind": "frame", "part": 3, "page": 5, "offset": 4096}


@pytest.mark.parametrize("kept", range(1, len(encode(gap(2)))))
def test_torn_last_line_is_left_out_and_reported(tmp_path: Path, kept: int) -> None:
    path = tmp_path / "frames.jsonl"
    write(path, [gap(0), gap(1)])
    with path.open("ab") as file:
        file.write(encode(gap(2))[:kept])
    content = read_sidecar(path)
    assert content.gaps == [gap(0), gap(1)]
    assert content.torn.startswith("3: not a line of a sidecar")


@pytest.mark.parametrize(
    "end", [b"\0" * 50, b"\0" * 50 + b"\n", b"\xff\xfe\n", b'{"kind":"frame"}\n']
)
def test_last_line_of_rubbish_is_reported(tmp_path: Path, end: bytes) -> None:
    path = tmp_path / "frames.jsonl"
    path.write_bytes(encode(gap(0)) + end)
    content = read_sidecar(path)
    assert content.gaps == [gap(0)]
    assert content.torn


def test_damage_before_the_last_line_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "frames.jsonl"
    path.write_bytes(encode(gap(0)) + b"{rubbish\n" + encode(gap(1)))
    with pytest.raises(ConfigError, match=r"frames\.jsonl:2: not a line of a sidecar"):
        read_sidecar(path)


def test_absent_sidecar_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"frames\.jsonl: cannot be read"):
        read_sidecar(tmp_path / "frames.jsonl")


def test_unknown_keys_of_a_newer_writer_are_ignored(tmp_path: Path) -> None:
    path = tmp_path / "frames.jsonl"
    path.write_bytes(encode(gap(0)).replace(b"}", b',"colour":"red"}'))
    assert read_sidecar(path).gaps == [gap(0)]


@pytest.mark.parametrize("capacity", range(0, 4 * len(encode(gap(0))), 5))
def test_full_disk_leaves_only_whole_lines(tmp_path: Path, capacity: int) -> None:
    path = tmp_path / "frames.jsonl"
    writer = SidecarWriter(path, FullDisk(capacity))
    whole = capacity // len(encode(gap(0)))
    for number in range(whole):
        writer.write(gap(number))
    with pytest.raises(RecordError, match=r"line not written.*No space left"):
        writer.write(gap(whole))
    writer.close()
    content = read_sidecar(path)
    assert content.gaps == [gap(number) for number in range(whole)]
    assert not content.torn


@pytest.mark.parametrize("fault", [FailingWrite(2), TornWrite(2, keep_bytes=9)])
def test_line_after_a_refused_one_is_whole(tmp_path: Path, fault: FailingWrite | TornWrite) -> None:
    path = tmp_path / "frames.jsonl"
    writer = SidecarWriter(path, fault)
    writer.write(gap(0))
    with pytest.raises(RecordError, match="injected fault"):
        writer.write(gap(1))
    writer.write(gap(2))
    writer.close()
    assert read_sidecar(path).gaps == [gap(0), gap(2)]


def test_short_writes_are_completed(tmp_path: Path) -> None:
    path = tmp_path / "frames.jsonl"
    writer = SidecarWriter(path, ShortWrites(3))
    writer.write(gap(0))
    writer.close()
    assert read_sidecar(path).gaps == [gap(0)]


def test_existing_sidecar_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "frames.jsonl"
    path.write_bytes(b"precious")
    with pytest.raises(RecordError, match="exists already"):
        SidecarWriter(path)
    assert path.read_bytes() == b"precious"
