"""Every kind of recording comes back bit for bit; every kind of damage is named."""

from __future__ import annotations

import builtins
import json
import shutil
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
import tifffile
from ndstorage import NDTiffDataset

from livedenoise.acquire.sources import open_source
from livedenoise.core.camera import CameraInfo
from livedenoise.core.config import parse_config
from livedenoise.core.constants import CameraConstants
from livedenoise.core.errors import ConfigError
from livedenoise.core.frame import FrameHeader
from livedenoise.core.source import FrameSource
from livedenoise.record.recorder import Recorder
from livedenoise.record.run_folder import CameraRecord, RunFolder, create_run_folder

SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "data"
SHAPE = (8, 10)


def make_stack(n: int, dtype: str = "<u2", shape: tuple[int, int] = SHAPE) -> np.ndarray:
    values = np.arange(n * shape[0] * shape[1]).reshape(n, *shape) * 7 + 3
    return (values % 251).astype(dtype)


def read_all(source: FrameSource) -> np.ndarray:
    return np.stack([source.read(index) for index in range(source.n_frames)])


def assert_source(path: Path, expected: np.ndarray, **options: Any) -> tuple[str, ...]:
    """Check every frame and the facts; return the notes."""
    with open_source(path, **options) as source:
        assert source.shape == expected.shape[1:]
        assert source.n_frames == len(expected)
        frames = read_all(source)
        assert frames.dtype.str == source.dtype
        assert source.read(0).flags.c_contiguous
        np.testing.assert_array_equal(frames, expected)
        # In any order, and into an array that is given.
        out = np.empty(source.shape, source.dtype)
        source.read_into(len(expected) - 1, out)
        np.testing.assert_array_equal(out, expected[-1])
        with pytest.raises(ConfigError, match=f"frame {len(expected)} of {len(expected)} does not"):
            source.read(len(expected))
        return source.notes


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


def write_ndtiff(folder: Path, axes: list[dict[str, Any]], stack: np.ndarray) -> None:
    """Write a data set, and cut its file: ndstorage allocates 4 GiB for it."""
    dataset = NDTiffDataset(str(folder), summary_metadata={}, writable=True)
    for k, coordinates in enumerate(axes):
        facts = {"ElapsedTime-ms": 20.0 * k + 7, "Exposure": 15.0, "BitDepth": 12}
        dataset.put_image(coordinates, stack[k], facts)
    # ndstorage itself leaves this one open.
    dataset.current_writer.reader.close()
    dataset.finish()
    dataset.close()


def test_ndtiff_in_file_order(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stack = make_stack(5)
    write_ndtiff(tmp_path / "set", [{"time": k} for k in range(5)], stack)
    assert assert_source(tmp_path / "set", stack) == ()
    with open_source(tmp_path / "set") as source:
        assert (source.bit_depth, source.exposure_us) == (12, 15_000)
        assert (source.period_ns, source.time_ns(4)) == (20_000_000, 80_000_000)
    # Standard output belongs to --json.
    assert capsys.readouterr().out == ""


def test_ndtiff_of_several_axes_is_flattened_and_says_so(tmp_path: Path) -> None:
    stack = make_stack(4)
    axes = [{"time": t, "channel": c} for t in range(2) for c in ("red", "green")]
    write_ndtiff(tmp_path / "set", axes, stack)
    [note] = assert_source(tmp_path / "set", stack)
    assert note == "axes channel 2, time 2 flattened to 4 frames in file order"


def test_truncated_ndtiff_is_named_with_the_frame(tmp_path: Path) -> None:
    stack = make_stack(66)
    folder = tmp_path / "set"
    write_ndtiff(folder, [{"time": k} for k in range(66)], stack)
    [file] = folder.glob("*.tif")
    with open_source(folder) as source:
        place = source._places[65].offset  # type: ignore[attr-defined]
    with file.open("r+b") as opened:
        opened.truncate(place + 30)
    with open_source(folder) as source:
        np.testing.assert_array_equal(source.read(64), stack[64])
        with pytest.raises(ConfigError, match=r"NDTiffStack\.tif: frame 65: the file ends 130"):
            source.read(65)
        with pytest.raises(ConfigError, match=r"set: frame 65: its metadata cannot be read"):
            source.time_ns(65)
    index = folder / "NDTiff.index"
    index.write_bytes(index.read_bytes()[:-7])
    with pytest.raises(ConfigError, match=r"set: cannot be read as NDTiff"):
        open_source(folder)


def test_ndtiff_without_its_package_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "NDTiff.index").touch()
    real = builtins.__import__

    def absent(name: str, *args: Any, **options: Any) -> Any:
        if name.startswith("ndstorage"):
            raise ImportError("No module named 'ndstorage'")
        return real(name, *args, **options)

    monkeypatch.setattr(builtins, "__import__", absent)
    with pytest.raises(ConfigError, match="not installed") as caught:
        open_source(tmp_path)
    assert caught.value.hint == 'pip install "livedenoise[ndtiff]"'


def make_header(seq: int, **changes: Any) -> FrameHeader:
    facts: dict[str, Any] = dict.fromkeys(FrameHeader.__struct_fields__, 0)
    facts |= {"run_id": "run", "camera": "cam", "stream": "raw", "calibration": "", "model": ""}
    facts |= {"seq": seq, "height": SHAPE[0], "width": SHAPE[1], "dtype": "<u2", "role": ""}
    facts |= {"bit_depth": 12, "exposure_us": 3000, "t_host_ns": 900 + 50_000 * seq}
    return FrameHeader(**(facts | changes))


def make_run(base: Path) -> RunFolder:
    config = parse_config({"camera": [{"kind": "simulated"}]}, "test")
    return create_run_folder(base, "test", config=config, argv=[])


def record(folder: Path, seqs: list[int], *, finalise: bool = True) -> np.ndarray:
    """Record frames in parts of two; return them."""
    recorder = Recorder(folder, "raw", part_size_bytes=1200)
    stack = make_stack(10)
    for seq in seqs:
        recorder.append(make_header(seq), stack[seq])
    if finalise:
        assert len(recorder.finalise().parts) > 1
    else:
        # As a killed process leaves it: files closed, nothing finalised.
        assert recorder._part is not None
        recorder._part.tiff.close()
        recorder._sidecar.close()
    return stack[seqs]


def test_run_folder_joins_its_parts(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    stack = record(run.stream_folder("raw", "cam"), list(range(5)))
    assert assert_source(run.path, stack) == ()
    with open_source(run.path) as source:
        assert (source.bit_depth, source.exposure_us, source.period_ns) == (12, 3000, 50_000)
        assert [source.time_ns(k) for k in (0, 1, 4)] == [0, 50_000, 200_000]
        assert source.constants is None
    assert_source(run.path / "raw" / "cam", stack)


def test_run_folder_brings_its_constants(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    record(run.stream_folder("raw", "cam"), [0, 1, 2])
    constants = CameraConstants(gain_e_per_adu=0.5, offset_adu=100.0, read_noise_e=1.5)
    info = CameraInfo(name="cam", kind="simulated", sensor=SHAPE, dtype="<u2", bit_depth=12)
    run.note_camera("cam", CameraRecord(info=info, constants=constants))
    for path in (run.path, run.path / "raw" / "cam"):
        with open_source(path) as source:
            assert source.constants == constants


def test_killed_run_is_read_up_to_its_last_acknowledged_frame(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    folder = run.stream_folder("raw", "cam")
    stack = record(folder, [0, 1, 2, 3, 4], finalise=False)
    with (folder / "frames.jsonl").open("ab") as file:
        file.write(b'{"kind":"frame","seq":5,"ep')
    with (folder / "part-0002.tif").open("ab") as file:
        file.write(b"half a frame")
    notes = assert_source(run.path, stack)
    assert "was not finished" in notes[0]
    assert "last line torn" in notes[1]


def test_missing_frames_are_noted(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    stack = record(run.stream_folder("raw", "cam"), [0, 1, 4, 6])
    assert assert_source(run.path, stack) == ("3 frames are missing in the recording",)


def test_run_of_several_cameras_wants_one_named(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    record(run.stream_folder("raw", "a"), [0, 1, 2])
    stack = record(run.stream_folder("raw", "b"), [3, 4, 5])
    with pytest.raises(ConfigError, match="2 cameras: a, b"):
        open_source(run.path)
    assert_source(run.path, stack, camera="b")
    with pytest.raises(ConfigError, match="no camera 'c'; recorded: a, b"):
        open_source(run.path, camera="c")
    with pytest.raises(ConfigError, match="no stream 'clean' was recorded; recorded: raw"):
        open_source(run.path, stream="clean")


def test_truth_of_a_run(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    with pytest.raises(ConfigError, match="found: none"):
        open_source(run.path, stream="truth")
    stack = make_stack(3, "<f4")
    tifffile.imwrite(run.truth_file("cam"), stack, photometric="minisblack")
    assert_source(run.path, stack, stream="truth")


def test_run_that_changes_size_is_refused_with_the_place(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    recorder = Recorder(run.stream_folder("raw", "cam"), "raw", part_size_bytes=1 << 20)
    recorder.append(make_header(0), make_stack(1)[0])
    recorder.append(make_header(1, epoch=1, height=4), make_stack(1, "<u2", (4, 10))[0])
    recorder.finalise()
    with pytest.raises(ConfigError, match=r"from frame 1 on, of \(4, 10") as caught:
        open_source(run.path)
    assert "part-0001.tif" in caught.value.hint
    # The mend works.
    with open_source(run.path / "raw" / "cam" / "part-0001.tif") as source:
        assert (source.shape, source.bit_depth, source.exposure_us) == ((4, 10), 12, 3000)


def test_damaged_run_is_named(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    folder = run.stream_folder("raw", "cam")
    record(folder, [0, 1, 2])
    shutil.copy(folder / "part-0001.tif", tmp_path / "part")
    (folder / "part-0001.tif").write_bytes((tmp_path / "part").read_bytes()[:100])
    with open_source(run.path) as source:
        source.read(0)
        with pytest.raises(ConfigError, match=r"part-0001\.tif: frame 2: the file ends"):
            source.read(2)
    (folder / "part-0001.tif").unlink()
    with open_source(run.path) as source, pytest.raises(ConfigError, match=r"part-0001\.tif"):
        source.read(2)


def test_recording_without_a_frame_is_refused(tmp_path: Path) -> None:
    Recorder(tmp_path / "raw", "raw", part_size_bytes=1).finalise()
    with pytest.raises(ConfigError, match="holds no frame"):
        open_source(tmp_path / "raw")


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
