"""The simulated camera: pacing, buffer, limits, faults, truth. Time is injected or bounded."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st

from livedenoise.acquire.pacing import Schedule
from livedenoise.acquire.simulated import SimulatedCamera
from livedenoise.core.camera import Captured, Prepared, StreamRequest
from livedenoise.core.camera_config import SimulatedCameraConfig
from livedenoise.core.clock import Clock, ManualClock
from livedenoise.core.errors import CameraError
from livedenoise.core.frame import Frame, FrameFlags

SENSOR = {"width_px": 48, "height_px": 40}
MS = 1_000_000


def _config(**changes: Any) -> SimulatedCameraConfig:
    data = {"kind": "simulated", "pool_frames": 4, "scene": {"kind": "granules"}, **changes}
    data["sensor"] = {**SENSOR, **changes.get("sensor", {})}
    return SimulatedCameraConfig.model_validate(data)


def _request(**changes: Any) -> StreamRequest:
    return StreamRequest(**{"exposure_us": 10_000, **changes})


class Slots:
    """Hands out fresh slots; ``before`` runs first, to move time or to refuse."""

    def __init__(self, before: Callable[[float], bool] | None = None) -> None:
        self.before = before
        self.pixels: list[Frame] = []

    def __call__(self, shape: tuple[int, int], dtype: str, timeout_s: float) -> Frame | None:
        if self.before is not None and not self.before(timeout_s):
            return None
        self.pixels.append(np.zeros(shape, np.dtype(dtype)))
        return self.pixels[-1]


@contextmanager
def _started(
    config: SimulatedCameraConfig, request: StreamRequest, clock: Clock | None = None
) -> Iterator[tuple[SimulatedCamera, Prepared]]:
    camera = SimulatedCamera(config, clock)
    camera.open()
    try:
        prepared = camera.prepare(request)
        camera.start()
        yield camera, prepared
    finally:
        camera.stop()
        camera.close()


def _run(
    config: SimulatedCameraConfig,
    slots: Slots | None = None,
    clock: Clock | None = None,
    **req: Any,
) -> list[Captured]:
    with _started(config, _request(**req), clock or ManualClock(5 * MS)) as (camera, _):
        return list(camera.frames(slots or Slots()))


def _seqs(frames: list[Captured]) -> list[int]:
    return [captured.camera_seq for captured in frames]


# Pacing -----------------------------------------------------------------------------------------


def test_every_frame_is_stamped_with_its_computed_deadline() -> None:
    clock = ManualClock(7 * MS)
    frames = _run(_config(), clock=clock, rate_hz=60.0, n_frames=1000)
    period_ns = round(1e9 / 60.0)
    assert _seqs(frames) == list(range(1000))
    assert [c.t_host_ns for c in frames] == [7 * MS + (k + 1) * period_ns for k in range(1000)]
    assert [c.t_camera_ns for c in frames] == [(k + 1) * period_ns for k in range(1000)]
    mean_rate_hz = 1000 / ((frames[-1].t_host_ns - 7 * MS) * 1e-9)
    assert mean_rate_hz == pytest.approx(60.0, rel=1e-3)


def test_a_jittering_clock_neither_delays_stamps_nor_drifts() -> None:
    class LateClock(ManualClock):
        def sleep_until_ns(self, deadline_ns: int) -> None:
            super().sleep_until_ns(deadline_ns + 3 * MS)

    frames = _run(_config(), clock=LateClock(), n_frames=500)
    assert [c.t_host_ns for c in frames] == [(k + 1) * 10 * MS for k in range(500)]


def test_the_real_clock_holds_the_rate_and_serves_after_the_deadline() -> None:
    with _started(_config(), _request(exposure_us=2000, n_frames=150)) as (camera, _):
        late_ns = [
            time.perf_counter_ns() - captured.t_host_ns for captured in camera.frames(Slots())
        ]
    assert len(late_ns) == 150
    assert min(late_ns) >= 0
    assert np.median(late_ns) < 5 * MS


@settings(deadline=None, max_examples=200)
@given(
    period=st.integers(1, 50), stall_at=st.integers(-1, 12), stall=st.integers(0, 200),
    burst_at=st.integers(-1, 12), burst=st.integers(0, 6), now=st.integers(0, 1500),
)  # fmt: skip
def test_newest_is_the_inverse_of_arrival(
    *, period: int, stall_at: int, stall: int, burst_at: int, burst: int, now: int
) -> None:
    schedule = Schedule(
        start_ns=0, period_ns=period, stall_at=stall_at, stall_ns=stall,
        burst_at=burst_at, burst_frames=burst,
    )  # fmt: skip
    newest = schedule.newest(now)
    assert newest == -1 or schedule.arrival_ns(newest) <= now
    assert schedule.arrival_ns(newest + 1) > now
    arrivals = [schedule.arrival_ns(k) for k in range(30)]
    assert arrivals == sorted(arrivals)


# Limits -----------------------------------------------------------------------------------------


def _prepared(config: SimulatedCameraConfig, **req: Any) -> Prepared:
    with _started(config, _request(**req), ManualClock()) as (_, prepared):
        return prepared


def test_fewer_rows_are_faster_and_fewer_columns_are_not() -> None:
    config = _config(sensor={"line_time_us": 100.0})
    full = _prepared(config, exposure_us=100)
    rows = _prepared(config, exposure_us=100, roi=(0, 0, 48, 10))
    columns = _prepared(config, exposure_us=100, roi=(0, 0, 12, 40))
    assert full.period_ns == 40 * 100_000
    assert rows.period_ns == 10 * 100_000
    assert columns.period_ns == full.period_ns


def test_exposure_bounds_the_rate_and_the_refusal_names_both() -> None:
    assert _prepared(_config(), exposure_us=20_000).period_ns == 20 * MS
    with pytest.raises(CameraError, match=r"rate_hz = 60 .* exposure_us = 20000 allows 50 Hz"):
        _prepared(_config(), exposure_us=20_000, rate_hz=60.0)


def test_readout_bounds_the_rate_and_the_refusal_names_both() -> None:
    config = _config(sensor={"line_time_us": 100.0})
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
        _prepared(_config(), **request_)
    assert refused.value.hint


def test_the_pool_stays_within_its_memory() -> None:
    big = {"width_px": 1024, "height_px": 256}
    prepared = _prepared(_config(pool_frames=64, pool_mb=1, sensor=big, scene={"kind": "flat"}))
    assert prepared.notes == ("simulated: every 2 frames repeat",)
    with pytest.raises(CameraError, match=r"needs 2\.0 MiB, pool_mb is 1"):
        _prepared(
            _config(pool_mb=1, sensor={"width_px": 1024, "height_px": 1024}), exposure_us=20_000
        )


# Pixels -----------------------------------------------------------------------------------------


def test_pool_frames_are_served_in_turn_with_the_same_pixels() -> None:
    slots = Slots()
    _run(_config(), slots, n_frames=9)
    np.testing.assert_array_equal(slots.pixels[0], slots.pixels[4])
    np.testing.assert_array_equal(slots.pixels[3], slots.pixels[7])
    assert not np.array_equal(slots.pixels[0], slots.pixels[1])


def test_without_a_pool_no_frame_repeats_and_seeds_reproduce() -> None:
    runs = [Slots(), Slots(), Slots()]
    for slots, seed in zip(runs, (1, 1, 2), strict=True):
        _run(_config(pool_frames=0, seed=seed), slots, n_frames=5)
    first, again, other = (np.stack(slots.pixels) for slots in runs)
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    assert len({frame.tobytes() for frame in first}) == 5


def test_a_shorter_run_shows_the_same_frames() -> None:
    short, long = Slots(), Slots()
    _run(_config(), short, n_frames=2)
    _run(_config(), long, n_frames=4)
    np.testing.assert_array_equal(short.pixels[1], long.pixels[1])


def test_region_and_binning_show_the_same_scene_and_sensor() -> None:
    config = _config(pool_frames=2, scene={"kind": "cells", "motion_px_per_s": 30.0})
    roi = (8, 12, 24, 20)
    with _started(config, _request(), ManualClock()) as (camera, _):
        full = camera.truth(1)
    with _started(config, _request(roi=roi), ManualClock()) as (camera, _):
        part = camera.truth(1)
    with _started(config, _request(roi=roi, binning=4), ManualClock()) as (camera, prepared):
        binned = camera.truth(1)
    np.testing.assert_allclose(part, full[12:32, 8:32], rtol=1e-5)
    assert prepared.shape == binned.shape == (5, 6)
    summed = part.reshape(5, 4, 6, 4).sum(axis=(1, 3))
    np.testing.assert_allclose(binned, summed, rtol=1e-4)


def test_truth_is_the_mean_of_the_frames() -> None:
    scene = {"kind": "cells", "photons_per_s": 20_000.0, "motion_px_per_s": 0.0}
    config = _config(pool_frames=400, scene=scene, sensor={"dark_current_e_per_s": 50.0})
    slots = Slots()
    with _started(config, _request(n_frames=400), ManualClock()) as (camera, prepared):
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
    config = _config(pool_frames=16, scene=scene)
    with _started(config, _request(), ManualClock()) as (camera, _):
        truths = [camera.truth(k) for k in range(17)]
    np.testing.assert_array_equal(truths[0], truths[16])
    steps = [float(np.abs(b - a).mean()) for a, b in pairwise(truths)]
    # 0.4 px a frame: every step differs, and closing the loop is a step like any other.
    assert min(steps) > 0
    assert steps[15] < 2.0 * np.mean(steps[:15])


def test_bleaching_follows_time_without_a_pool() -> None:
    scene = {"kind": "flat", "photons_per_s": 1e5, "bleaching_per_s": 2.0}
    config = _config(pool_frames=0, scene=scene, sensor={"dark_current_e_per_s": 0.0})
    with _started(config, _request(), ManualClock()) as (camera, _):
        ratio = camera.truth(50).mean() / camera.truth(0).mean()
    assert ratio == pytest.approx(np.exp(-2.0 * 0.5), rel=1e-4)


def test_brightest_pixels_and_background_have_their_flux() -> None:
    scene = {"kind": "granules", "photons_per_s": 1e6, "background_photons_per_s": 1e4}
    sensor = {"width_px": 256, "height_px": 256, "quantum_efficiency": 0.5}
    with _started(_config(scene=scene, sensor=sensor), _request(), ManualClock()) as (camera, _):
        truth = np.sort(camera.truth(0), axis=None)
    brightest = truth[-truth.size // 100 :].mean()
    assert brightest == pytest.approx(0.5 * 1e6 * 0.01, rel=0.05)
    assert truth.min() > 0.2 * 0.5 * 1e4 * 0.01


def test_saturated_frames_are_flagged_and_others_are_not() -> None:
    dim = {"kind": "flat", "photons_per_s": 1000.0}
    bright = {"kind": "flat", "photons_per_s": 1e9}
    assert not _run(_config(scene=dim), n_frames=1)[0].flags
    sensor = {"full_well_e": 1e6}
    assert _run(_config(scene=bright, sensor=sensor), n_frames=1)[0].flags == FrameFlags.SATURATED


def test_save_truth_writes_one_page_for_each_pool_frame(tmp_path: Path) -> None:
    path = tmp_path / "truth.tif"
    with _started(_config(), _request(), ManualClock()) as (camera, _):
        camera.save_truth(path)
        expected = np.stack([camera.truth(k) for k in range(4)])
        with pytest.raises(CameraError, match="cannot be written"):
            camera.save_truth(tmp_path / "no" / "folder.tif")
    with tifffile.TiffFile(path) as tiff:
        pages = np.stack([page.asarray() for page in tiff.pages])
        assert "camera_seq % 4" in tiff.pages[0].description
    np.testing.assert_array_equal(pages, expected)
    with (
        _started(_config(pool_frames=0), _request(), ManualClock()) as (camera, _),
        pytest.raises(CameraError, match="pool_frames > 0"),
    ):
        camera.save_truth(path)


# A user's image as the scene --------------------------------------------------------------------


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
    with _started(_config(scene=scene, sensor=sensor), _request(), ManualClock()) as (camera, _):
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
        config = _config(scene={"kind": "file", "file": str(path)})
        with pytest.raises(CameraError, match=message) as refused:
            _prepared(config)
        assert str(path) in refused.value.message


# The camera's own buffer ------------------------------------------------------------------------


def test_a_late_consumer_gets_what_the_buffer_holds_and_the_rest_is_lost() -> None:
    clock = ManualClock()
    with _started(_config(sensor={"buffer_frames": 5}), _request(), clock) as (camera, _):
        frames = camera.frames(Slots())
        assert next(frames).camera_seq == 0
        clock.advance_ns(205 * MS - clock.now_ns())  # frames 0 to 19 have arrived
        seqs = [next(frames).camera_seq for _ in range(7)]
    assert seqs == [15, 16, 17, 18, 19, 20, 21]


def test_a_consumer_late_by_less_than_the_buffer_loses_nothing() -> None:
    clock = ManualClock()
    with _started(_config(sensor={"buffer_frames": 5}), _request(), clock) as (camera, _):
        frames = camera.frames(Slots())
        next(frames)
        clock.advance_ns(50 * MS)  # frames 1 to 5 wait: exactly the buffer
        late = [next(frames) for _ in range(6)]
    assert _seqs(late) == [1, 2, 3, 4, 5, 6]
    assert [c.t_host_ns for c in late] == [k * 10 * MS for k in range(2, 8)]


@settings(deadline=None, max_examples=60)
@given(pauses_ms=st.lists(st.integers(0, 200), min_size=3, max_size=12), held=st.integers(1, 8))
def test_buffer_arithmetic_for_any_pauses(pauses_ms: list[int], held: int) -> None:
    clock, expected, got = ManualClock(), [], []
    with _started(_config(sensor={"buffer_frames": held}), _request(), clock) as (camera, _):
        frames, number = camera.frames(Slots()), 0
        for pause_ms in pauses_ms:
            clock.advance_ns(pause_ms * MS)
            arrived = clock.now_ns() // (10 * MS)  # frames complete so far
            number = max(number, arrived - held)
            expected.append(number)
            got.append(next(frames).camera_seq)
            number += 1
    assert got == expected


def test_the_last_frames_of_a_request_stay_in_the_buffer() -> None:
    clock = ManualClock()
    config = _config(sensor={"buffer_frames": 3})
    with _started(config, _request(n_frames=8), clock) as (camera, _):
        clock.advance_ns(10_000 * MS)
        assert _seqs(list(camera.frames(Slots()))) == [5, 6, 7]


def test_a_full_ring_is_waited_for_as_long_as_the_buffer_holds() -> None:
    clock, waited = ManualClock(), []

    def full(timeout_s: float) -> bool:
        waited.append(timeout_s)
        clock.advance_ns(round(timeout_s * 1e9))
        return len(waited) > 3

    config = _config(sensor={"buffer_frames": 4})
    frames = _run(config, Slots(full), clock, n_frames=6)
    assert _seqs(frames) == list(range(6))
    assert [c.discarded for c in frames] == ["ring_full"] * 3 + [""] * 3
    # The first frame waits for all the buffer; while the ring stays full each next one period.
    assert waited[:3] == pytest.approx([0.04, 0.01, 0.01])


def test_a_long_wait_for_a_slot_ends_on_stop() -> None:
    with _started(_config(sensor={"buffer_frames": 1000}), _request()) as (camera, _):

        def full(timeout_s: float) -> bool:
            time.sleep(min(timeout_s, 0.01))
            camera.stop()
            return False

        began_s = time.perf_counter()
        assert not list(camera.frames(Slots(full)))
    assert time.perf_counter() - began_s < 2.0


# Faults -----------------------------------------------------------------------------------------


def test_dropped_numbers_are_missing_seeded_and_at_their_rate() -> None:
    config = _config(faults={"drop_probability": 0.2}, seed=3)
    seqs, again = (_seqs(_run(config, n_frames=2000)) for _ in range(2))
    assert seqs == again == sorted(set(seqs))
    assert len(seqs) / 2000 == pytest.approx(0.8, abs=0.03)
    other = _config(faults={"drop_probability": 0.2}, seed=4)
    assert _seqs(_run(other, n_frames=2000)) != seqs


def test_a_camera_that_drops_everything_still_ends() -> None:
    assert _run(_config(faults={"drop_probability": 1.0}), n_frames=50) == []


def test_duplicates_repeat_number_time_and_pixels() -> None:
    slots = Slots()
    frames = _run(_config(faults={"duplicate_probability": 0.3}, seed=1), slots, n_frames=300)
    pairs = [k for k in range(1, len(frames)) if _seqs(frames)[k] == _seqs(frames)[k - 1]]
    assert len(pairs) / 300 == pytest.approx(0.3, abs=0.08)
    for k in pairs:
        assert frames[k] == frames[k - 1]
        np.testing.assert_array_equal(slots.pixels[k], slots.pixels[k - 1])
    assert sorted(set(_seqs(frames))) == list(range(300))


def test_a_stall_delays_the_frame_and_all_after_it() -> None:
    frames = _run(_config(faults={"stall_at_frame": 3, "stall_s": 1.5}), n_frames=6)
    host_ms = [(c.t_host_ns - 5 * MS) // MS for c in frames]
    assert host_ms == [10, 20, 30, 1540, 1550, 1560]
    assert _seqs(frames) == list(range(6))


def test_a_disconnect_is_an_error_after_the_frames_before_it() -> None:
    config = _config(name="scope", faults={"disconnect_at_frame": 3})
    with _started(config, _request(), ManualClock()) as (camera, _):
        frames = camera.frames(Slots())
        assert [next(frames).camera_seq for _ in range(3)] == [0, 1, 2]
        with pytest.raises(CameraError, match="scope: connection lost at frame 3") as lost:
            next(frames)
    assert lost.value.hint
    assert lost.value.exit_code == 3


def test_a_burst_arrives_together_with_its_last_frame() -> None:
    frames = _run(_config(faults={"burst_at_frame": 2, "burst_frames": 3}), n_frames=6)
    assert [(c.t_host_ns - 5 * MS) // MS for c in frames] == [10, 20, 50, 50, 50, 60]
    assert [c.t_camera_ns // MS for c in frames] == [10, 20, 30, 40, 50, 60]


def test_a_burst_beyond_the_buffer_loses_its_oldest_frames() -> None:
    faults = {"burst_at_frame": 2, "burst_frames": 6}
    config = _config(faults=faults, sensor={"buffer_frames": 4})
    assert _seqs(_run(config, n_frames=10)) == [0, 1, 4, 5, 6, 7, 8, 9]


def test_a_resize_changes_shape_region_and_truth_from_its_frame() -> None:
    faults = {"resize_at_frame": 2, "resize_to": (24, 16)}
    config = _config(faults=faults)
    slots = Slots()
    with _started(config, _request(n_frames=4, roi=(30, 4, 16, 32)), ManualClock()) as (
        camera,
        prepared,
    ):
        frames = list(camera.frames(slots))
        truths = [camera.truth(k).shape for k in (1, 2)]
    assert prepared.max_shape == (32, 16)
    assert [c.shape for c in frames] == [(32, 16), (32, 16), (16, 24), (16, 24)]
    assert [p.shape for p in slots.pixels] == [c.shape for c in frames]
    assert [(c.roi_x, c.roi_y) for c in frames][1:3] == [(30, 4), (24, 4)]
    assert truths == [(32, 16), (16, 24)]


def test_a_resize_beyond_the_sensor_is_delivered_and_a_bad_one_refused() -> None:
    frames = _run(_config(faults={"resize_at_frame": 1, "resize_to": (64, 60)}), n_frames=2)
    assert frames[1].shape == (60, 64)
    with pytest.raises(CameraError, match=r"resize_to is \(0, 0\)"):
        _prepared(_config(faults={"resize_at_frame": 1}))


# Stopping ---------------------------------------------------------------------------------------


def test_stop_ends_a_ten_second_exposure_within_two_seconds() -> None:
    ended: list[int] = []
    with _started(_config(), _request(exposure_us=10_000_000)) as (camera, _):
        thread = threading.Thread(target=lambda: ended.append(len(list(camera.frames(Slots())))))
        thread.start()
        began_s = time.perf_counter()
        camera.stop()
        assert time.perf_counter() - began_s < 0.5
        thread.join(2.0)
        assert not thread.is_alive()
    assert ended == [0]


def test_a_new_start_ends_the_old_stream_and_begins_at_zero() -> None:
    with _started(_config(), _request(), ManualClock()) as (camera, _):
        old = camera.frames(Slots())
        assert [next(old).camera_seq for _ in range(2)] == [0, 1]
        camera.start()
        assert list(old) == []
        assert next(camera.frames(Slots())).camera_seq == 0
