"""TIFF and PNG files come back bit for bit; what cannot be read is named with its frame."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
import tifffile
from source_kit import SHAPE, assert_source, make_stack, read_all

from livedenoise.acquire.sources import open_source
from livedenoise.core.errors import ConfigError

SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "data"


TIFFS: dict[str, dict[str, Any]] = {
    "tifffile": {},
    "one_ifd_per_frame": {"metadata": None},
    "strips": {"rowsperstrip": 3, "metadata": None},
    "bigtiff": {"bigtiff": True},
    "imagej": {"imagej": True, "metadata": {"axes": "TYX"}},
    "ome": {"ome": True, "metadata": {"axes": "TYX"}},
    "big_endian": {"byteorder": ">"},
    "deflate": {"compression": "zlib"},
    "deflate_predictor": {"compression": "zlib", "predictor": True},
    "lzw_big_endian": {"compression": "lzw", "byteorder": ">"},
    "zstd": {"compression": "zstd"},
    "tiled": {"tile": (16, 16), "photometric": "minisblack", "metadata": None},
    "planar": {"planarconfig": "separate", "photometric": "minisblack"},
    "planar_deflate": {
        "planarconfig": "separate",
        "photometric": "minisblack",
        "compression": "zlib",
    },
}


@pytest.mark.parametrize("dtype", ["u1", "u2", "f4"])
@pytest.mark.parametrize("kind", TIFFS)
def test_tiff_stacks_come_back_bit_for_bit(tmp_path: Path, kind: str, dtype: str) -> None:
    options = {"photometric": "minisblack"} | TIFFS[kind]
    stack = make_stack(5, dtype)
    path = tmp_path / "stack.tif"
    tifffile.imwrite(path, stack, **options)
    assert assert_source(path, stack) == ()


def test_pages_written_one_by_one_are_one_stack(tmp_path: Path) -> None:
    stack = make_stack(4)
    path = tmp_path / "stack.tif"
    with tifffile.TiffWriter(path) as tiff:
        for frame in stack:
            tiff.write(frame, contiguous=False)
    assert assert_source(path, stack) == ()


def test_single_images(tmp_path: Path) -> None:
    for shape in ((8, 10), (1, 10), (8, 1), (1, 1)):
        frame = make_stack(1, "u2", shape)
        path = tmp_path / f"{shape}.tif"
        tifffile.imwrite(path, frame[0])
        assert_source(path, frame)


@pytest.mark.parametrize(
    "options",
    [
        {"imagej": True, "metadata": {"axes": "TCYX"}},
        {"ome": True, "metadata": {"axes": "TCYX"}},
        {"ome": True, "compression": "zlib", "metadata": {"axes": "TCYX"}},
    ],
)
def test_hyperstack_is_flattened_in_file_order_and_says_so(
    tmp_path: Path, options: dict[str, Any]
) -> None:
    stack = make_stack(6)
    path = tmp_path / "stack.tif"
    tifffile.imwrite(path, stack.reshape(3, 2, *SHAPE), photometric="minisblack", **options)
    [note] = assert_source(path, stack)
    assert note == "axes T 3, C 2 flattened to 6 frames in file order"


def test_signed_pixels_that_fit_are_served_and_said(tmp_path: Path) -> None:
    stack = make_stack(3, "<i2")
    for name, options in (("a", {}), ("b", {"byteorder": ">"}), ("c", {"compression": "zlib"})):
        path = tmp_path / f"{name}.tif"
        tifffile.imwrite(path, stack, photometric="minisblack", **options)
        [note] = assert_source(path, stack.astype("<u2"))
        assert "signed 16-bit" in note
        with open_source(path) as source:
            assert (source.dtype, source.bit_depth) == ("<u2", 15)


@pytest.mark.parametrize("options", [{}, {"byteorder": ">"}, {"compression": "zlib"}])
def test_negative_pixels_are_refused_with_the_frame(
    tmp_path: Path, options: dict[str, Any]
) -> None:
    stack = make_stack(3, "<i2")
    stack[2, 4, 4] = -5
    path = tmp_path / "stack.tif"
    tifffile.imwrite(path, stack, photometric="minisblack", **options)
    with open_source(path) as source:
        source.read(1)
        with pytest.raises(ConfigError, match=r"stack\.tif: frame 2: .* down to -5"):
            source.read(2)


@pytest.mark.parametrize("dtype", ["u4", "i4", "f8", "f2", "i1", "?", "c8"])
def test_other_pixel_types_are_refused_with_the_mend(tmp_path: Path, dtype: str) -> None:
    path = tmp_path / "stack.tif"
    tifffile.imwrite(path, np.zeros(SHAPE, dtype))
    with pytest.raises(ConfigError, match=str(np.dtype(dtype))) as caught:
        open_source(path)
    assert "save" in caught.value.hint


@pytest.mark.parametrize(
    ("pixels", "options"),
    [
        (np.zeros((4, *SHAPE, 3), "u1"), {"photometric": "rgb"}),
        (np.zeros((3, *SHAPE), "u1"), {"photometric": "rgb", "planarconfig": "separate"}),
        (np.zeros(SHAPE, "u1"), {"photometric": "palette", "colormap": np.zeros((3, 256), "u2")}),
        (np.zeros((*SHAPE, 2), "u1"), {"photometric": "minisblack", "planarconfig": "contig"}),
    ],
)
def test_colour_is_refused(tmp_path: Path, pixels: np.ndarray, options: dict[str, Any]) -> None:
    path = tmp_path / "colour.tif"
    tifffile.imwrite(path, pixels, **options)
    with pytest.raises(ConfigError, match=r"colour\.tif: pages are .*not grey frames") as caught:
        open_source(path)
    assert "split the channels" in caught.value.hint


def test_frames_of_several_sizes_are_refused_with_both(tmp_path: Path) -> None:
    path = tmp_path / "mixed.tif"
    with tifffile.TiffWriter(path) as tiff:
        tiff.write(np.zeros((8, 10), "u2"), contiguous=False)
        tiff.write(np.zeros((4, 10), "u2"), contiguous=False)
    with pytest.raises(ConfigError, match=r"frames of \(8, 10\) uint16 and of \(4, 10\)"):
        open_source(path)


def test_bits_and_times_of_tiff_metadata(tmp_path: Path) -> None:
    stack = make_stack(4)
    imagej = tmp_path / "imagej.tif"
    tifffile.imwrite(imagej, stack, imagej=True, metadata={"axes": "TYX", "finterval": 0.05})
    with open_source(imagej) as source:
        assert (source.period_ns, source.time_ns(3)) == (50_000_000, 150_000_000)
        assert (source.bit_depth, source.exposure_us, source.constants) == (16, 0, None)
    ome = tmp_path / "ome.tif"
    planes = {"DeltaT": [0.5, 0.6, 0.75, 0.8], "ExposureTime": [0.02] * 4}
    metadata = {"axes": "TYX", "SignificantBits": 12, "Plane": planes}
    tifffile.imwrite(ome, stack, ome=True, metadata=metadata)
    with open_source(ome) as source:
        assert (source.bit_depth, source.exposure_us) == (12, 20_000)
        assert source.period_ns == 100_000_000
        assert [source.time_ns(k) for k in range(4)] == [0, 10**8, 25 * 10**7, 3 * 10**8]
    plain = tmp_path / "plain.tif"
    tifffile.imwrite(plain, stack, photometric="minisblack")
    with open_source(plain) as source:
        assert (source.period_ns, source.time_ns(3), source.exposure_us) == (0, 0, 0)


def test_micromanager_tags(tmp_path: Path) -> None:
    path = tmp_path / "mm.tif"
    stack = make_stack(3)
    with tifffile.TiffWriter(path) as tiff:
        for k, frame in enumerate(stack):
            facts = {"ElapsedTime-ms": 10.0 * k + 4, "Exposure-ms": 8, "BitDepth": 11}
            tag = (51123, 2, None, json.dumps(facts), True)
            tiff.write(frame, contiguous=False, metadata=None, extratags=[tag])
    assert_source(path, stack)
    with open_source(path) as source:
        assert (source.bit_depth, source.exposure_us, source.period_ns) == (11, 8000, 10_000_000)
        assert source.time_ns(2) == 20_000_000


TRUNCATED: dict[str, dict[str, Any]] = {
    "contiguous": {},
    "imagej": {"imagej": True, "metadata": {"axes": "TYX"}},
    "ifds_between": {"contiguous": False},
    "deflate": {"compression": "zlib"},
    "tiled": {"tile": (16, 16), "metadata": None},
}


@pytest.mark.parametrize("kind", TRUNCATED)
def test_truncated_tiff_is_named_with_the_frame_and_never_padded(tmp_path: Path, kind: str) -> None:
    stack = np.random.default_rng(0).integers(0, 65536, (6, 32, 32), dtype=np.uint16)
    whole = tmp_path / "whole.tif"
    options = {"photometric": "minisblack"} | TRUNCATED[kind]
    if options.pop("contiguous", True):
        tifffile.imwrite(whole, stack, **options)
    else:
        with tifffile.TiffWriter(whole) as tiff:
            for frame in stack:
                tiff.write(frame, contiguous=False, metadata=None)
    content = whole.read_bytes()
    path = tmp_path / "cut.tif"
    n_refused = 0
    for cut in range(10, len(content) - 2, 701):
        path.write_bytes(content[:cut])
        error = refusal(path, stack)
        if error is not None:
            n_refused += 1
            assert "cut.tif" in error
            assert "frame" in error or "damaged" in error or cut < 400
    # Only what follows the last pixel may be cut off unnoticed.
    assert n_refused >= len(range(10, len(content) - 600, 701)) - 2


def refusal(path: Path, stack: np.ndarray) -> str | None:
    """Return why a file is refused; None if every frame is read, and then it must be right."""
    try:
        with open_source(path) as source:
            frames = read_all(source)
    except ConfigError as error:
        return error.message
    np.testing.assert_array_equal(frames, stack)
    return None


def test_damaged_compressed_frame_is_named(tmp_path: Path) -> None:
    path = tmp_path / "stack.tif"
    stack = np.random.default_rng(0).integers(0, 65536, (4, 32, 32), dtype=np.uint16)
    tifffile.imwrite(path, stack, compression="zlib", photometric="minisblack")
    with tifffile.TiffFile(path) as tiff:
        offset = tiff.pages[2].dataoffsets[0]
    content = bytearray(path.read_bytes())
    content[offset : offset + 40] = bytes(40)
    path.write_bytes(content)
    with open_source(path) as source:
        np.testing.assert_array_equal(source.read(1), stack[1])
        with pytest.raises(ConfigError, match=r"stack\.tif: frame 2: cannot be decoded"):
            source.read(2)


@pytest.mark.parametrize("count", [0, 10**6])
def test_frame_whose_bytes_are_not_there_is_named_and_never_filled_in(
    tmp_path: Path, count: int
) -> None:
    path = tmp_path / "stack.tif"
    stack = make_stack(4)
    tifffile.imwrite(path, stack, compression="zlib", photometric="minisblack")
    with tifffile.TiffFile(path, mode="r+") as tiff:
        tiff.pages[2].tags["StripByteCounts"].overwrite(count)
    with open_source(path) as source:
        np.testing.assert_array_equal(source.read(3), stack[3])
        with pytest.raises(ConfigError, match=r"stack\.tif: frame 2: (the file ends|a part of)"):
            source.read(2)


def test_file_that_shrinks_while_open_is_an_error_not_a_crash(tmp_path: Path) -> None:
    path = tmp_path / "stack.tif"
    tifffile.imwrite(path, make_stack(4), photometric="minisblack")
    with open_source(path) as source, path.open("r+b") as file:
        file.truncate(300)
        with pytest.raises(ConfigError, match=r"stack\.tif: frame 3: the file ends 160 bytes"):
            source.read(3)


@pytest.mark.parametrize("dtype", ["u1", "u2"])
def test_grey_png(tmp_path: Path, dtype: str) -> None:
    frame = make_stack(1, dtype)
    path = tmp_path / "image.png"
    path.write_bytes(imagecodecs.png_encode(frame[0]))
    assert_source(path, frame)
    with open_source(path) as source:
        assert source.bit_depth == frame.itemsize * 8


def test_colour_and_damaged_png(tmp_path: Path) -> None:
    path = tmp_path / "image.png"
    path.write_bytes(imagecodecs.png_encode(np.zeros((*SHAPE, 3), "u1")))
    with pytest.raises(ConfigError, match=r"image\.png: is RGB, not grey"):
        open_source(path)
    content = imagecodecs.png_encode(make_stack(1, "u2", (64, 64))[0])
    for cut in (10, 20, len(content) // 2):
        path.write_bytes(content[:cut])
        with (
            pytest.raises(ConfigError, match=r"image\.png: frame 0: "),
            open_source(path) as source,
        ):
            source.read(0)


def test_what_is_no_recording_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        open_source(tmp_path / "absent.tif")
    with pytest.raises(ConfigError, match=r"without run\.json"):
        open_source(tmp_path)
    for content, what in (
        (b"", "is empty"),
        (b"hello", "begins with b'hello'"),
        (b"II*\0", "TIFF"),
    ):
        path = tmp_path / "file.tif"
        path.write_bytes(content)
        with pytest.raises(ConfigError, match=what):
            open_source(path)


@pytest.mark.skipif(not SHARED.exists(), reason="needs the shared microscopy data")
@pytest.mark.parametrize("name", ["lysosome_confocal/1.tif", "fmd_confocal_bpae_b_fov1/raw.tif"])
def test_real_recordings(name: str) -> None:
    assert assert_source(SHARED / name, tifffile.imread(SHARED / name)) == ()
