"""What the simulated camera shows, and the requests it refuses."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from livedenoise.core.camera import Prepared
from livedenoise.core.camera_config import SimulatedCameraConfig
from livedenoise.core.errors import CameraError
from livedenoise.core.frame import FrameFlags
from livedenoise.testing.simulated_runs import Slots, run_camera, small_camera, started

MS = 1_000_000


def _prepared(config: SimulatedCameraConfig, **request: Any) -> Prepared:
    with started(config, **request) as (_, prepared):
        return prepared


def test_fewer_rows_are_faster_and_fewer_columns_are_not() -> None:
    config = small_camera(sensor={"line_time_us": 100.0})
    full = _prepared(config, exposure_us=100)
    rows = _prepared(config, exposure_us=100, roi=(0, 0, 48, 10))
    columns = _prepared(config, exposure_us=100, roi=(0, 0, 12, 40))
    assert full.period_ns == 40 * 100_000
    assert rows.period_ns == 10 * 100_000
    assert columns.period_ns == full.period_ns


def test_exposure_bounds_the_rate_and_the_refusal_names_both() -> None:
    assert _prepared(small_camera(), exposure_us=20_000).period_ns == 20 * MS
    with pytest.raises(CameraError, match=r"rate_hz = 60 .* exposure_us = 20000 allows 50 Hz"):
        _prepared(small_camera(), exposure_us=20_000, rate_hz=60.0)


def test_readout_bounds_the_rate_and_the_refusal_names_both() -> None:
    config = small_camera(sensor={"line_time_us": 100.0})
    with pytest.raises(CameraError, match=r"rate_hz = 300 .* 40 rows in 4000 us allows 250 Hz"):
        _prepared(config, exposure_us=100, rate_hz=300.0)
    assert _prepared(config, exposure_us=100, rate_hz=250.0).period_ns == 4 * MS


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ({"roi": (0, 0, 49, 40)}, "49x40 at .0, 0. lies outside the sensor of 48x40"),
        ({"roi": (-1, 0, 10, 10)}, "lies outside"),
        ({"roi": (0, 0, 0, 10)}, "lies outside"),
        ({"binning": 3}, "binning 3 is not one of"),
        ({"roi": (0, 0, 30, 40), "binning": 4}, "30x40 does not divide by binning 4"),
        ({"exposure_us": 0}, "exposure_us is 0"),
        ({"n_frames": 0}, "0 frames were asked"),
    ],
)
def test_impossible_requests_are_refused_with_values(
    request_: dict[str, Any], message: str
) -> None:
    with pytest.raises(CameraError, match=message) as refused:
        _prepared(small_camera(), **request_)
    assert refused.value.hint


def test_the_pool_stays_within_its_memory() -> None:
    big = {"width_px": 1024, "height_px": 256}
    prepared = _prepared(
        small_camera(pool_frames=64, pool_mb=1, sensor=big, scene={"kind": "flat"})
    )
    assert prepared.notes == ("every 2 frames repeat",)
    with pytest.raises(CameraError, match=r"needs 2\.0 MiB, pool_mb is 1"):
        _prepared(
            small_camera(pool_mb=1, sensor={"width_px": 1024, "height_px": 1024}),
            exposure_us=20_000,
        )


def test_pool_frames_are_served_in_turn_with_the_same_pixels() -> None:
    slots = Slots()
    run_camera(small_camera(), slots, n_frames=9)
    np.testing.assert_array_equal(slots.pixels[0], slots.pixels[4])
    np.testing.assert_array_equal(slots.pixels[3], slots.pixels[7])
    assert not np.array_equal(slots.pixels[0], slots.pixels[1])


def test_without_a_pool_no_frame_repeats_and_seeds_reproduce() -> None:
    runs = [Slots(), Slots(), Slots()]
    for slots, seed in zip(runs, (1, 1, 2), strict=True):
        run_camera(small_camera(pool_frames=0, seed=seed), slots, n_frames=5)
    first, again, other = (np.stack(slots.pixels) for slots in runs)
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    assert len({frame.tobytes() for frame in first}) == 5


def test_a_shorter_run_shows_the_same_frames() -> None:
    short, long = Slots(), Slots()
    run_camera(small_camera(), short, n_frames=2)
    run_camera(small_camera(), long, n_frames=4)
    np.testing.assert_array_equal(short.pixels[1], long.pixels[1])
    # It does not wait for frames it will not show.
    assert _prepared(small_camera(), n_frames=2).notes == ("every 2 frames repeat",)


def test_region_and_binning_show_the_same_scene_and_sensor() -> None:
    config = small_camera(pool_frames=2, scene={"kind": "cells", "motion_px_per_s": 30.0})
    roi = (8, 12, 24, 20)
    with started(config) as (camera, _):
        full = camera.truth(1)
    with started(config, roi=roi) as (camera, _):
        part = camera.truth(1)
    with started(config, roi=roi, binning=4) as (camera, prepared):
        binned = camera.truth(1)
    np.testing.assert_allclose(part, full[12:32, 8:32], rtol=1e-5)
    assert prepared.shape == binned.shape == (5, 6)
    summed = part.reshape(5, 4, 6, 4).sum(axis=(1, 3))
    np.testing.assert_allclose(binned, summed, rtol=1e-4)


def test_truth_is_the_mean_of_the_frames() -> None:
    scene = {"kind": "cells", "photons_per_s": 20_000.0, "motion_px_per_s": 0.0}
    config = small_camera(pool_frames=400, scene=scene, sensor={"dark_current_e_per_s": 50.0})
    slots = Slots()
    with started(config, n_frames=400) as (camera, prepared):
        list(camera.frames(slots))
        truth = camera.truth(0)
    constants = prepared.constants
    assert constants is not None
    mean = np.stack(slots.pixels).mean(axis=0, dtype=float)
    found = (mean - constants.offset_adu) * constants.gain_e_per_adu
    assert found.mean() == pytest.approx(truth.mean(), rel=0.005)
    assert np.corrcoef(found.ravel(), truth.ravel())[0, 1] > 0.999
    assert truth.max() > 3 * truth.min()


def test_the_scene_moves_on_a_closed_circle_at_its_speed() -> None:
    scene = {"kind": "granules", "motion_px_per_s": 40.0}
    config = small_camera(pool_frames=16, scene=scene)
    with started(config) as (camera, _):
        truths = [camera.truth(k) for k in range(17)]
    np.testing.assert_array_equal(truths[0], truths[16])
    steps = [float(np.abs(b - a).mean()) for a, b in pairwise(truths)]
    # 0.4 px a frame: every step differs, and closing the loop is a step like any other.
    assert min(steps) > 0
    assert steps[15] == pytest.approx(np.mean(steps[:15]), rel=0.3)


def test_bleaching_follows_time_without_a_pool() -> None:
    scene = {"kind": "flat", "photons_per_s": 1e5, "bleaching_per_s": 2.0}
    config = small_camera(pool_frames=0, scene=scene, sensor={"dark_current_e_per_s": 0.0})
    with started(config) as (camera, _):
        ratio = camera.truth(50).mean() / camera.truth(0).mean()
    assert ratio == pytest.approx(np.exp(-2.0 * 0.5), rel=1e-4)


def test_brightest_pixels_and_background_have_their_flux() -> None:
    scene = {"kind": "granules", "photons_per_s": 1e6, "background_photons_per_s": 1e4}
    sensor = {"width_px": 256, "height_px": 256, "quantum_efficiency": 0.5}
    with started(small_camera(scene=scene, sensor=sensor)) as (camera, _):
        truth = np.sort(camera.truth(0), axis=None)
    brightest = truth[-truth.size // 100 :].mean()
    assert brightest == pytest.approx(0.5 * 1e6 * 0.01, rel=0.05)
    assert truth.min() > 0.2 * 0.5 * 1e4 * 0.01


def test_saturated_frames_are_flagged_and_others_are_not() -> None:
    dim = {"kind": "flat", "photons_per_s": 1000.0}
    bright = {"kind": "flat", "photons_per_s": 1e9}
    assert not run_camera(small_camera(scene=dim), n_frames=1)[0].flags
    sensor = {"full_well_e": 1e6}
    assert (
        run_camera(small_camera(scene=bright, sensor=sensor), n_frames=1)[0].flags
        == FrameFlags.SATURATED
    )


def test_save_truth_writes_one_page_for_each_pool_frame(tmp_path: Path) -> None:
    path = tmp_path / "truth.tif"
    with started(small_camera()) as (camera, _):
        camera.save_truth(path)
        expected = np.stack([camera.truth(k) for k in range(4)])
        with pytest.raises(CameraError, match="cannot be written"):
            camera.save_truth(tmp_path / "no" / "folder.tif")
    with tifffile.TiffFile(path) as tiff:
        pages = np.stack([page.asarray() for page in tiff.pages])
        assert "camera_seq % 4" in tiff.pages[0].description
    np.testing.assert_array_equal(pages, expected)
    with (
        started(small_camera(pool_frames=0)) as (camera, _),
        pytest.raises(CameraError, match="pool_frames > 0"),
    ):
        camera.save_truth(path)


@pytest.mark.parametrize("size", [(20, 30), (200, 100)])
def test_a_tiff_is_a_scene_at_the_photon_levels(tmp_path: Path, size: tuple[int, int]) -> None:
    path = tmp_path / "scene.tif"
    ramp = np.arange(size[0] * size[1]).reshape(size) % 977 + 100
    tifffile.imwrite(path, ramp.astype(np.uint16))
    scene = {
        "kind": "file", "file": str(path), "photons_per_s": 1e6,
        "background_photons_per_s": 1e4, "motion_px_per_s": 0.0,
    }  # fmt: skip
    sensor = {"width_px": 100, "height_px": 90, "quantum_efficiency": 1.0}
    with started(small_camera(scene=scene, sensor=sensor)) as (camera, _):
        truth = camera.truth(0)
    assert np.percentile(truth, 99) == pytest.approx(1e4, rel=0.03)
    assert truth.min() == pytest.approx(100.0, rel=0.02)


def test_unusable_scene_files_are_refused_by_name(tmp_path: Path) -> None:
    colour, even, text = (tmp_path / name for name in ("rgb.tif", "even.tif", "no.tif"))
    tifffile.imwrite(colour, np.zeros((8, 8, 3), np.uint8), photometric="rgb")
    tifffile.imwrite(even, np.full((8, 8), 7, np.uint8))
    text.write_text("not a tiff")
    cases = [(colour, "greyscale"), (even, "are both 7"), (text, "cannot be read")]
    for path, message in [*cases, (tmp_path / "missing.tif", "cannot be read")]:
        config = small_camera(scene={"kind": "file", "file": str(path)})
        with pytest.raises(CameraError, match=message) as refused:
            _prepared(config)
        assert str(path) in refused.value.message
