"""Our own recordings come back: joined, killed, damaged, with constants and times."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from source_kit import SHAPE, assert_source, make_stack

from livedenoise.acquire.sources import open_source
from livedenoise.core.camera import CameraInfo
from livedenoise.core.config import parse_config
from livedenoise.core.constants import CameraConstants
from livedenoise.core.errors import ConfigError
from livedenoise.core.frame import FrameHeader
from livedenoise.record.recorder import Recorder
from livedenoise.record.run_folder import CameraRecord, RunFolder, create_run_folder


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
