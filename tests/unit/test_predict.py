"""Predict: what is written where, from which constants, and what is never overwritten."""

from __future__ import annotations

import gc
import json
import weakref
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
import tifffile

from livedenoise.acquire.sources import open_source
from livedenoise.batch.predict import PredictResult, predict
from livedenoise.batch.writers import open_output, read_provenance
from livedenoise.core.calibration import write_calibration
from livedenoise.core.config import parse_config
from livedenoise.core.constants import CameraConstants, CameraMaps
from livedenoise.core.errors import CalibrationError, ConfigError, DenoiseError, RecordError
from livedenoise.core.frame import Frame, FrameHeader
from livedenoise.core.progress import Progress
from livedenoise.imaging.noise_fit import fit_constants
from livedenoise.record.recorder import Recorder
from livedenoise.record.run_folder import CameraRecord, create_run_folder
from livedenoise.testing.tiny_package import LIMIT_U, write_tiny_package

SHAPE = (40, 52)
MANUAL = CameraConstants(gain_e_per_adu=0.5, offset_adu=100.0, read_noise_e=1.5)


def make_stack(n: int, dtype: str = "<u2", seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    level = 30 + 40 * np.hypot(*np.mgrid[-1 : 1 : SHAPE[0] * 1j, -1 : 1 : SHAPE[1] * 1j])
    counts = rng.poisson(level, (n, *SHAPE)) + 100
    return counts.astype(np.dtype(dtype))


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_tiny_package(tmp_path / "model")


def write_tiff(path: Path, stack: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    tifffile.imwrite(path, stack, photometric="minisblack", metadata=None)
    return path


def run(input_path: Path, output_path: Path, model: Path, **options: Any) -> list[PredictResult]:
    options = {"constants": MANUAL} | options
    return predict(input_path, output_path, model=model, **options)


@pytest.mark.parametrize("dtype", ["|u1", "<u2", "<f4"])
@pytest.mark.parametrize("n", [1, 5])
def test_a_tiff_becomes_a_tiff_of_its_stem_type_and_units(
    tmp_path: Path, model: Path, dtype: str, n: int
) -> None:
    stack = make_stack(n, dtype)
    source = write_tiff(tmp_path / "in" / "cells.v2.tif", stack)
    (result,) = run(source, tmp_path / "out", model)
    assert result.output == tmp_path / "out" / "cells.v2.tif"
    assert (result.status, result.n_frames, result.constants) == ("written", n, MANUAL)
    out = tifffile.imread(result.output).reshape(stack.shape)
    assert out.dtype == stack.dtype
    assert 0.5 < np.abs(out.astype(float) - stack).max() < 60
    assert abs(out.mean() / stack.mean() - 1) < 0.05
    with open_source(result.output) as again:
        assert (again.n_frames, again.shape, again.dtype) == (n, SHAPE, dtype)


def test_float32_keeps_the_fractions_of_the_same_counts(tmp_path: Path, model: Path) -> None:
    source = write_tiff(tmp_path / "stack.tif", make_stack(3))
    (same,) = run(source, tmp_path / "same", model)
    (exact,) = run(source, tmp_path / "float", model, dtype="float32")
    as_float, as_counts = tifffile.imread(exact.output), tifffile.imread(same.output)
    assert as_float.dtype == np.float32
    np.testing.assert_array_equal(np.rint(as_float), as_counts)
    assert (as_float != as_counts).mean() > 0.5


def test_provenance_says_how_it_was_made(tmp_path: Path, model: Path) -> None:
    source = write_tiff(tmp_path / "stack.tif", make_stack(2))
    (result,) = run(source, tmp_path / "out.tif", model)
    assert result.output == tmp_path / "out.tif"
    found = read_provenance(result.output)
    assert found is not None
    assert found["input"] == "stack.tif"
    assert found["model"] == model.name
    assert found["model_sha256"].startswith(found["model_hash"])
    assert found["engine"] == "openvino"
    assert found["precision"] == "fp32"
    assert found["constants"]["source"] == "manual"
    assert found["constants"]["gain_e_per_adu"] == 0.5
    assert found["version"]
    with tifffile.TiffFile(result.output) as tiff:
        assert len(tiff.pages) == 2
        assert len(tiff.series) == 1


@pytest.mark.parametrize("dtype", ["|u1", "<u2"])
def test_a_png_becomes_a_png_with_its_provenance_beside_it(
    tmp_path: Path, model: Path, dtype: str
) -> None:
    image = make_stack(1, dtype)[0]
    source = tmp_path / "field.png"
    source.write_bytes(imagecodecs.png_encode(image))
    (result,) = run(source, tmp_path / "out", model)
    assert result.output == tmp_path / "out" / "field.png"
    out = imagecodecs.png_decode(result.output.read_bytes())
    assert out.dtype == image.dtype
    assert out.shape == image.shape
    assert (out != image).any()
    beside = json.loads((tmp_path / "out" / "field.json").read_text())
    assert beside["livedenoise"]["input"] == "field.png"
    assert run(source, tmp_path / "out", model)[0].status == "skipped"
    (as_float,) = run(source, tmp_path / "out", model, dtype="float32")
    assert as_float.output == tmp_path / "out" / "field.tif"
    np.testing.assert_array_equal(np.rint(tifffile.imread(as_float.output)), out)


def make_folder(folder: Path) -> list[Path]:
    folder.mkdir()
    (folder / "notes.txt").write_text("not an image")
    (folder / "deeper").mkdir()
    write_tiff(folder / "deeper" / "other.tif", make_stack(1))
    paths = [write_tiff(folder / f"{k}.tif", make_stack(2, seed=k)) for k in range(3)]
    (folder / "3.png").write_bytes(imagecodecs.png_encode(make_stack(1, seed=3)[0]))
    return [*paths, folder / "3.png"]


def test_a_folder_is_done_file_by_file_and_gone_on_with(tmp_path: Path, model: Path) -> None:
    inputs = make_folder(tmp_path / "in")
    first = run(tmp_path / "in", tmp_path / "out", model)
    assert [r.input for r in first] == inputs
    assert [r.output.name for r in first] == ["0.tif", "1.tif", "2.tif", "3.png"]
    content = {r.output: r.output.read_bytes() for r in first}
    first[1].output.unlink()
    notes: list[str] = []
    second = run(
        tmp_path / "in", tmp_path / "out", model, on_progress=lambda p: notes.append(p.note)
    )
    assert [r.status for r in second] == ["skipped", "written", "skipped", "skipped"]
    assert sum("finished before" in note for note in notes) == 3
    for path in (first[0].output, first[3].output):
        assert path.read_bytes() == content[path]
    np.testing.assert_array_equal(
        tifffile.imread(first[1].output), _pixels(content[first[1].output], tmp_path)
    )


def _pixels(content: bytes, folder: Path) -> np.ndarray:
    (folder / "again.tif").write_bytes(content)
    return tifffile.imread(folder / "again.tif")


@pytest.mark.parametrize("stop_at", [1, 3, 4])
def test_ctrl_c_leaves_finished_outputs_and_nothing_half_done(
    tmp_path: Path, model: Path, stop_at: int
) -> None:
    make_folder(tmp_path / "in")
    frames = 0

    def interrupt(progress: Progress) -> None:
        nonlocal frames
        frames += not progress.note
        if frames == stop_at:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "in", tmp_path / "out", model, on_progress=interrupt)
    done = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert done == [f"{k}.tif" for k in range((stop_at - 1) // 2)]
    results = run(tmp_path / "in", tmp_path / "out", model)
    assert [r.status for r in results].count("skipped") == len(done)


def test_a_frame_the_engine_fails_on_is_named_and_its_file_not_written(tmp_path: Path) -> None:
    model = write_tiny_package(tmp_path / "nan", "nan")
    good, bad = make_stack(4), make_stack(4)
    bad[2, 7, 7] = 65535
    constants = CameraConstants(gain_e_per_adu=1.0, offset_adu=0.0, read_noise_e=0.0)
    assert bad.max() > LIMIT_U > good.max()
    write_tiff(tmp_path / "in" / "a.tif", good)
    write_tiff(tmp_path / "in" / "b.tif", bad)
    with pytest.raises(DenoiseError, match=r"b\.tif: frame 2: .*NaN"):
        run(tmp_path / "in", tmp_path / "out", model, constants=constants)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a.tif"]


def test_the_input_is_never_overwritten(tmp_path: Path, model: Path) -> None:
    source = write_tiff(tmp_path / "in" / "stack.tif", make_stack(2))
    before = source.read_bytes()
    for target in (source, tmp_path / "in", tmp_path / "in" / ".." / "in" / "stack.tif"):
        with pytest.raises(ConfigError, match="overwrite its input"):
            run(source, target, model)
    with pytest.raises(ConfigError, match="is the input folder"):
        run(tmp_path / "in", tmp_path / "in", model)
    assert source.read_bytes() == before


def test_foreign_files_are_refused_and_left_alone(tmp_path: Path, model: Path) -> None:
    source = write_tiff(tmp_path / "a.tif", make_stack(2))
    (tmp_path / "out").mkdir()
    for content in (b"", b"II*\0 broken", source.read_bytes()):
        target = tmp_path / "out" / "a.tif"
        target.write_bytes(content)
        with pytest.raises(ConfigError, match="not made by livedenoise"):
            run(source, tmp_path / "out", model)
        assert target.read_bytes() == content
    (tmp_path / "field.png").write_bytes(imagecodecs.png_encode(make_stack(1)[0]))
    (tmp_path / "out" / "field.json").write_text('{"mine": 1}')
    with pytest.raises(ConfigError, match=r"field\.json: exists and is not ours"):
        run(tmp_path / "field.png", tmp_path / "out", model)


def test_a_result_of_something_else_is_refused_with_the_difference(
    tmp_path: Path, model: Path
) -> None:
    source = write_tiff(tmp_path / "a.tif", make_stack(3))
    run(source, tmp_path / "out", model)
    other = CameraConstants(gain_e_per_adu=0.7, offset_adu=100.0, read_noise_e=1.5)
    with pytest.raises(ConfigError, match=r"constants is .*0\.5.*0\.7"):
        run(source, tmp_path / "out", model, constants=other)
    with pytest.raises(ConfigError, match="model_sha256"):
        run(source, tmp_path / "out", write_tiny_package(tmp_path / "other", "mean"))
    with pytest.raises(ConfigError, match="out_dtype"):
        run(source, tmp_path / "out", model, dtype="float32")
    write_tiff(source, make_stack(3, seed=1))
    with pytest.raises(ConfigError, match="input_sample_sha256"):
        run(source, tmp_path / "out", model)


def test_without_constants_there_is_one_estimate_and_it_says_so(
    tmp_path: Path, model: Path
) -> None:
    stack = make_stack(20)
    source = write_tiff(tmp_path / "a.tif", stack)
    notes: list[str] = []
    (result,) = run(
        source, tmp_path / "out", model, constants=None, on_progress=lambda p: notes.append(p.note)
    )
    expected = fit_constants(stack[:16], bit_depth=16)
    assert result.constants == expected
    assert expected.source == "estimated"
    assert any("estimating camera constants from 16 frames" in note for note in notes)
    assert any("camera constants (estimated): gain" in note for note in notes)
    found = read_provenance(result.output)
    assert found is not None
    assert found["constants"]["source"] == "estimated"
    assert run(source, tmp_path / "out", model, constants=None)[0].status == "skipped"


def test_single_images_of_a_folder_share_one_estimate(tmp_path: Path, model: Path) -> None:
    stack = make_stack(20)
    for k, image in enumerate(stack):
        write_tiff(tmp_path / "in" / f"{k:03}.tif", image)
    write_tiff(tmp_path / "in" / "movie.tif", make_stack(6, seed=5))
    results = run(tmp_path / "in", tmp_path / "out", model, constants=None)
    shared = {str(r.constants) for r in results[:-1]}
    assert len(shared) == 1
    assert str(results[-1].constants) not in shared
    expected = fit_constants(list(stack[:16]), bit_depth=16)
    found = results[0].constants
    assert found is not None
    assert found.gain_e_per_adu == expected.gain_e_per_adu
    assert "shared by 20 images" in found.note


def test_stored_constants_serve_before_an_estimate(tmp_path: Path, model: Path) -> None:
    path = _record_run(tmp_path, ["cam"], constants=MANUAL)
    (result,) = run(path, tmp_path / "out", model, constants=None)
    assert result.output == tmp_path / "out" / f"{path.name}.tif"
    assert result.constants == MANUAL
    other = CameraConstants(gain_e_per_adu=0.7, offset_adu=100.0, read_noise_e=1.5)
    (result,) = run(path, tmp_path / "by hand", model, constants=other)
    assert result.constants == other


def test_every_camera_of_a_run_has_its_output(tmp_path: Path, model: Path) -> None:
    path = _record_run(tmp_path, ["left", "right"], constants=MANUAL)
    results = run(path, tmp_path / "out", model)
    names = [f"{path.name}-{camera}.tif" for camera in ("left", "right")]
    assert [r.output.name for r in results] == names
    assert all(tifffile.imread(r.output).shape == (4, *SHAPE) for r in results)


def _record_run(base: Path, cameras: list[str], constants: CameraConstants) -> Path:
    config = parse_config({"camera": [{"kind": "simulated"}]}, "test")
    folder = create_run_folder(base, "test", config=config, argv=[])
    for camera in cameras:
        recorder = Recorder(folder.stream_folder("raw", camera), "raw", part_size_bytes=1 << 20)
        for seq, frame in enumerate(make_stack(4)):
            recorder.append(_header(seq, camera), frame)
        recorder.finalise()
        folder.note_camera(camera, CameraRecord(constants=constants))
    return folder.path


def _header(seq: int, camera: str) -> FrameHeader:
    facts: dict[str, Any] = dict.fromkeys(FrameHeader.__struct_fields__, 0)
    facts |= {"run_id": "run", "camera": camera, "stream": "raw", "calibration": "", "model": ""}
    facts |= {"seq": seq, "height": SHAPE[0], "width": SHAPE[1], "dtype": "<u2", "role": ""}
    return FrameHeader(**(facts | {"bit_depth": 12, "t_host_ns": 900 + 50_000 * seq}))


def test_a_calibration_comes_first_with_its_maps(tmp_path: Path, model: Path) -> None:
    rng = np.random.default_rng(2)
    maps = CameraMaps(
        offset_adu=(100 + 8 * rng.standard_normal(SHAPE)).astype(np.float32),
        gain_e_per_adu=np.full(SHAPE, 0.5, np.float32),
        variance_adu2=np.ones(SHAPE, np.float32),
    )
    folder = tmp_path / "calibration"
    write_calibration(folder, MANUAL, camera="c", sensor=SHAPE, bit_depth=16, maps=maps)
    stack = (make_stack(2) + maps.offset_adu - 100).astype(np.uint16)
    source = write_tiff(tmp_path / "a.tif", stack)
    (result,) = run(source, tmp_path / "out", model, constants=None, calibration=folder)
    assert result.constants is not None
    assert result.constants.source == "calibration"
    found = read_provenance(result.output)
    assert found is not None
    assert found["constants"]["calibration_hash"] == result.constants.calibration_hash != ""
    (plain,) = run(source, tmp_path / "plain", model)
    assert tifffile.imread(result.output).std() < 0.97 * tifffile.imread(plain.output).std()
    with pytest.raises(ConfigError, match="both a calibration"):
        run(source, tmp_path / "both", model, calibration=folder)
    with pytest.raises(CalibrationError):
        run(source, tmp_path / "none", model, constants=None, calibration=tmp_path / "absent")


def test_maps_of_another_size_are_left_out_with_a_note(tmp_path: Path, model: Path) -> None:
    plane = np.ones((8, 8), np.float32)
    maps = CameraMaps(offset_adu=plane, gain_e_per_adu=plane, variance_adu2=plane)
    folder = tmp_path / "calibration"
    write_calibration(folder, MANUAL, camera="c", sensor=(8, 8), bit_depth=16, maps=maps)
    source = write_tiff(tmp_path / "a.tif", make_stack(2))
    (result,) = run(source, tmp_path / "out", model, constants=None, calibration=folder)
    assert any("its maps are not used" in note for note in result.notes)
    found = read_provenance(result.output)
    assert found is not None
    assert any("its maps are not used" in note for note in found["notes"])


def test_the_identity_engine_copies_and_needs_no_model_or_constants(tmp_path: Path) -> None:
    stack = make_stack(3)
    source = write_tiff(tmp_path / "a.tif", stack)
    (result,) = predict(source, tmp_path / "out", model="no-such-model", engine="identity")
    np.testing.assert_array_equal(tifffile.imread(result.output), stack)
    assert result.constants is None


def test_every_input_that_cannot_be_used_is_named_before_anything_is_written(
    tmp_path: Path, model: Path
) -> None:
    write_tiff(tmp_path / "in" / "a.tif", make_stack(2))
    write_tiff(tmp_path / "in" / "b.tif", make_stack(2).astype(np.uint32))
    (tmp_path / "in" / "c.png").write_bytes(b"not a PNG")
    with pytest.raises(ConfigError) as caught:
        run(tmp_path / "in", tmp_path / "out", model)
    assert "b.tif" in str(caught.value)
    assert "c.png" in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_inputs_without_an_image_and_colliding_outputs_are_refused(
    tmp_path: Path, model: Path
) -> None:
    (tmp_path / "in").mkdir()
    with pytest.raises(ConfigError, match="no such file"):
        run(tmp_path / "absent.tif", tmp_path / "out", model)
    with pytest.raises(ConfigError, match="holds no TIFF or PNG"):
        run(tmp_path / "in", tmp_path / "out", model)
    image = make_stack(1)[0]
    write_tiff(tmp_path / "in" / "a.tif", image)
    (tmp_path / "in" / "a.png").write_bytes(imagecodecs.png_encode(image))
    with pytest.raises(ConfigError, match="same output"):
        run(tmp_path / "in", tmp_path / "out", model, dtype="float32")
    with pytest.raises(ConfigError, match=r"cannot become a \.png"):
        run(tmp_path / "in" / "a.tif", tmp_path / "out.png", model)
    assert len(run(tmp_path / "in", tmp_path / "out", model)) == 2


def test_large_outputs_are_bigtiff(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("livedenoise.batch.writers.BIGTIFF_BYTES", 100)
    for n, expected in ((1, False), (2, True)):
        path = tmp_path / f"{n}.tif"
        with open_output(path, shape=(10, 10), dtype="|u1", n_frames=n, provenance={}) as output:
            for k in range(n):
                output.append(np.full((10, 10), k, np.uint8))
            output.finish()
        with tifffile.TiffFile(path) as tiff:
            assert tiff.is_bigtiff == expected


def test_a_full_disk_is_an_error_and_leaves_nothing(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, calls = tifffile.TiffWriter.write, 0

    def full(self: tifffile.TiffWriter, *arguments: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise OSError(28, "No space left on device")
        return write(self, *arguments, **options)

    monkeypatch.setattr(tifffile.TiffWriter, "write", full)
    source = write_tiff(tmp_path / "a.tif", make_stack(5))
    calls = 0
    with pytest.raises(RecordError, match="No space left"):
        run(source, tmp_path / "out", model)
    assert list((tmp_path / "out").iterdir()) == []


def test_what_a_killed_run_left_is_removed(tmp_path: Path, model: Path) -> None:
    source = write_tiff(tmp_path / "a.tif", make_stack(2))
    from livedenoise.batch.writers import _HOST

    (tmp_path / "out").mkdir()
    left = tmp_path / "out" / f".a.tif.{_HOST}-99999999.partial"
    alive = tmp_path / "out" / f".a.tif.{_HOST}-1.partial"
    for path in (left, alive):
        path.write_bytes(b"half")
    run(source, tmp_path / "out", model)
    assert not left.exists()
    assert alive.exists()


def test_memory_does_not_grow_with_the_recording(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from livedenoise.acquire.source_base import RecordedFrames

    source = write_tiff(tmp_path / "a.tif", make_stack(60))
    alive = most = 0
    read = RecordedFrames.read

    def forget() -> None:
        nonlocal alive
        alive -= 1

    def watched(self: RecordedFrames, index: int) -> Frame:
        nonlocal alive, most
        frame = read(self, index)
        weakref.finalize(frame, forget)
        alive += 1
        most = max(most, alive)
        return frame

    monkeypatch.setattr(RecordedFrames, "read", watched)
    run(source, tmp_path / "out", model)
    gc.collect()
    assert 3 <= most <= 8
    assert alive == 0


def test_pixels_that_are_not_numbers_are_one_clear_error(tmp_path: Path) -> None:
    source = tmp_path / "nan.tif"
    tifffile.imwrite(source, np.full((4, 64, 64), np.nan, np.float32), photometric="minisblack")
    package = write_tiny_package(tmp_path / "package")
    with pytest.raises(ConfigError, match=r"nan\.tif: no camera constants"):
        predict(source, tmp_path / "out.tif", model=package)
