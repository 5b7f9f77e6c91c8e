"""The BigTIFF appender: whole at every moment, readable by others, exact under every fault."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st

from livedenoise.core.errors import RecordError
from livedenoise.record.bigtiff import BigTiffAppender
from livedenoise.testing.faults import (
    FailingWrite,
    Fault,
    FaultyFile,
    FullDisk,
    ShortWrites,
    TornWrite,
)

DTYPES = ("|u1", "<u2", "<f4")


def frame(number: int, shape: tuple[int, int] = (5, 7), dtype: str = "<u2") -> np.ndarray:
    pixels = np.arange(shape[0] * shape[1], dtype=np.float64).reshape(shape) * 3 + number * 17
    return (pixels % 251).astype(dtype)


def read_pages(path: Path) -> list[np.ndarray]:
    with tifffile.TiffFile(path) as tiff:
        return [page.asarray() for page in tiff.pages]


def assert_pages(path: Path, expected: list[np.ndarray]) -> None:
    pages = read_pages(path)
    assert len(pages) == len(expected)
    for page, pixels in zip(pages, expected, strict=True):
        assert page.dtype == pixels.dtype
        np.testing.assert_array_equal(page, pixels)


def test_imread_gives_a_stack_of_the_frames(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    frames = [frame(k) for k in range(4)]
    with BigTiffAppender(path) as tiff:
        for number, pixels in enumerate(frames):
            page = tiff.append(pixels)
            assert page.number == number
            with path.open("rb") as file:
                file.seek(page.offset)
                assert file.read(pixels.nbytes) == pixels.tobytes()
    stack = tifffile.imread(path)
    assert stack.shape == (4, 5, 7)
    np.testing.assert_array_equal(stack, np.stack(frames))


@pytest.mark.parametrize("dtype", DTYPES)
def test_libtiff_reads_it_too(tmp_path: Path, dtype: str) -> None:
    path = tmp_path / "a.tif"
    frames = [frame(k, (9, 11), dtype) for k in range(3)]
    with BigTiffAppender(path) as tiff:
        for pixels in frames:
            tiff.append(pixels)
    content = path.read_bytes()
    for number, pixels in enumerate(frames):
        decoded = imagecodecs.tiff_decode(content, index=number)
        assert decoded.dtype == pixels.dtype
        np.testing.assert_array_equal(decoded, pixels)


def test_tags_say_what_other_programs_need(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    with BigTiffAppender(path, description={"camera": "Zürich", "bit_depth": 12}) as tiff:
        tiff.append(frame(0, dtype="<f4"))
        tiff.append(frame(1, dtype="<f4"))
    assert path.read_bytes()[:4] == b"II\x2b\x00"
    with tifffile.TiffFile(path) as opened:
        first, second = opened.pages[0].tags, opened.pages[1].tags
        description = first["ImageDescription"].value
        assert description.isascii()
        assert json.loads(description) == {"camera": "Zürich", "bit_depth": 12}
        assert first["Software"].value.startswith("livedenoise ")
        assert "ImageDescription" not in second
        for tags in (first, second):
            assert tags["PhotometricInterpretation"].value == 1
            assert tags["SampleFormat"].value == 3
            assert tags["BitsPerSample"].value == 32
            assert tags["RowsPerStrip"].value == 5
            assert tags["StripByteCounts"].dtype == tags["StripOffsets"].dtype == 16  # LONG8
            assert list(tags.keys()) == sorted(tags.keys())


def test_every_next_pointer_lies_in_one_aligned_cell(tmp_path: Path) -> None:
    """Else a kill could tear the one write that commits a page."""
    path = tmp_path / "a.tif"
    with BigTiffAppender(path, description={"x": "y" * 13}) as tiff:
        for k in range(6):
            tiff.append(frame(k, (3, 2 * k + 1), "|u1"))
    content = path.read_bytes()
    offset = struct.unpack_from("<Q", content, 8)[0]
    while offset:
        n_entries = struct.unpack_from("<Q", content, offset)[0]
        pointer = offset + 8 + 20 * n_entries
        assert offset % 8 == 0
        assert pointer % 8 == 0
        offset = struct.unpack_from("<Q", content, pointer)[0]


FRAMES = st.lists(
    st.tuples(
        st.integers(1, 9), st.integers(1, 9), st.sampled_from(DTYPES), st.integers(0, 10_000)
    ),
    min_size=1,
    max_size=8,
)


@settings(max_examples=25, deadline=None)
@given(frames=FRAMES, description=st.dictionaries(st.text(max_size=3), st.integers(), max_size=2))
def test_any_frames_come_back_exactly(
    tmp_path_factory: pytest.TempPathFactory,
    frames: list[tuple[int, int, str, int]],
    description: dict[str, int],
) -> None:
    path = tmp_path_factory.mktemp("tiff") / "a.tif"
    expected = [frame(seed, (height, width), dtype) for height, width, dtype, seed in frames]
    with BigTiffAppender(path, description=description) as tiff:
        for k, pixels in enumerate(expected):
            tiff.append(pixels)
            # Whole after every append, not only after close.
            assert_pages(path, expected[: k + 1])
        assert tiff.size_bytes == path.stat().st_size


def append_until_failure(path: Path, disk: Fault, frames: list[np.ndarray]) -> list[np.ndarray]:
    """Append frames until one is refused; return those acknowledged."""
    try:
        tiff = BigTiffAppender(path, disk)
    except RecordError:
        return []
    done: list[np.ndarray] = []
    with tiff:
        for pixels in frames:
            try:
                tiff.append(pixels)
            except RecordError:
                break
            done.append(pixels)
    return done


class KilledAfterAnyByte(Fault):
    """Reads the file back after every single byte, as it would be found after a kill there."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path
        self.seen: list[list[np.ndarray]] = []

    def write(self, file: FaultyFile, data: memoryview) -> int:
        # The 8-byte pointer is one write that no kill can tear: see the module's docstring.
        written = file.really_write(data if data.nbytes == 8 else data[:1])
        if self._path.stat().st_size > 16:
            self.seen.append(read_pages(self._path))
        return written


def test_kill_after_any_byte_leaves_only_whole_pages(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    disk = KilledAfterAnyByte(path)
    frames = [frame(k, (2, 3)) for k in range(3)]
    with BigTiffAppender(path, disk) as tiff:
        for pixels in frames:
            tiff.append(pixels)
    for pages in disk.seen:
        for page, pixels in zip(pages, frames, strict=False):
            np.testing.assert_array_equal(page, pixels)
    assert {len(pages) for pages in disk.seen} == {0, 1, 2, 3}


FIVE = [frame(k, (6, 5), "|u1") for k in range(5)]
WRITES = 1 + 3 * len(FIVE)


@pytest.mark.parametrize("at", range(1, WRITES + 1))
@pytest.mark.parametrize("fault", [FailingWrite, TornWrite])
def test_refused_write_leaves_the_acknowledged_pages(
    tmp_path: Path, at: int, fault: type[FailingWrite | TornWrite]
) -> None:
    path = tmp_path / "a.tif"
    done = append_until_failure(path, fault(at), FIVE)
    assert len(done) == max(0, (at - 2) // 3)
    if at == 1:
        assert not path.exists()
    elif not done:
        assert path.stat().st_size == 16
    else:
        assert_pages(path, done)


def test_disk_full_at_any_byte_leaves_the_acknowledged_pages(tmp_path: Path) -> None:
    whole = tmp_path / "whole.tif"
    assert len(append_until_failure(whole, Fault(), FIVE[:2])) == 2
    size = whole.stat().st_size
    counts = set()
    for capacity in range(16, size):
        path = tmp_path / f"{capacity}.tif"
        done = append_until_failure(path, FullDisk(capacity), FIVE[:2])
        counts.add(len(done))
        if done:
            assert_pages(path, done)
            assert path.stat().st_size <= capacity
        else:
            assert path.stat().st_size == 16
    assert counts == {0, 1}


def test_goes_on_after_room_was_made(tmp_path: Path) -> None:
    path, disk = tmp_path / "a.tif", FullDisk(600)
    with BigTiffAppender(path, disk) as tiff:
        tiff.append(FIVE[0])
        with pytest.raises(RecordError, match=r"a\.tif: page 1 not written.*No space left"):
            tiff.append(FIVE[1])
        disk.free_bytes += 10_000
        tiff.append(FIVE[2])
    assert_pages(path, [FIVE[0], FIVE[2]])


def test_short_writes_are_completed(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    assert append_until_failure(path, ShortWrites(7), FIVE) == FIVE
    assert_pages(path, FIVE)


def test_withdraw_last_takes_back_exactly_one_page(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    with BigTiffAppender(path) as tiff:
        tiff.append(FIVE[0])
        size = path.stat().st_size
        tiff.append(FIVE[1])
        tiff.withdraw_last()
        assert path.stat().st_size == size
        assert_pages(path, FIVE[:1])
        with pytest.raises(RecordError, match="no page to withdraw"):
            tiff.withdraw_last()
        tiff.append(FIVE[2])
    assert_pages(path, [FIVE[0], FIVE[2]])


def test_existing_file_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    path.write_bytes(b"precious")
    with pytest.raises(RecordError, match="exists already"):
        BigTiffAppender(path)
    assert path.read_bytes() == b"precious"


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((2, 3), np.int16),
        np.zeros((2, 3), ">u2"),
        np.zeros((2, 3, 1), np.uint8),
        np.zeros((0, 3), np.uint8),
        np.zeros((4, 6), np.uint16)[:, ::2],
    ],
)
def test_array_that_cannot_be_a_page_is_refused(tmp_path: Path, pixels: np.ndarray) -> None:
    with (
        BigTiffAppender(tmp_path / "a.tif") as tiff,
        pytest.raises(RecordError, match=r"a page is a \(Y, X\)|C-contiguous"),
    ):
        tiff.append(pixels)
