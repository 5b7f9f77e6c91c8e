"""Every seeded fault of the simulated camera."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from livedenoise.core.camera import Captured, Prepared
from livedenoise.core.camera_config import SimulatedCameraConfig
from livedenoise.core.errors import CameraError
from livedenoise.testing.simulated_runs import Slots, run_camera, small_camera, started

MS = 1_000_000


def _seqs(frames: list[Captured]) -> list[int]:
    return [captured.camera_seq for captured in frames]


def _prepared(config: SimulatedCameraConfig, **request: Any) -> Prepared:
    with started(config, **request) as (_, prepared):
        return prepared


def test_dropped_numbers_are_missing_seeded_and_at_their_rate() -> None:
    config = small_camera(faults={"drop_probability": 0.2}, seed=3)
    seqs, again = (_seqs(run_camera(config, n_frames=2000)) for _ in range(2))
    assert seqs == again == sorted(set(seqs))
    assert len(seqs) / 2000 == pytest.approx(0.8, abs=0.03)
    other = small_camera(faults={"drop_probability": 0.2}, seed=4)
    assert _seqs(run_camera(other, n_frames=2000)) != seqs


def test_a_camera_that_drops_everything_still_ends() -> None:
    assert run_camera(small_camera(faults={"drop_probability": 1.0}), n_frames=50) == []


def test_duplicates_repeat_number_time_and_pixels() -> None:
    slots = Slots()
    frames = run_camera(
        small_camera(faults={"duplicate_probability": 0.3}, seed=1), slots, n_frames=300
    )
    pairs = [k for k in range(1, len(frames)) if _seqs(frames)[k] == _seqs(frames)[k - 1]]
    assert len(pairs) / 300 == pytest.approx(0.3, abs=0.08)
    for k in pairs:
        assert frames[k] == frames[k - 1]
        np.testing.assert_array_equal(slots.pixels[k], slots.pixels[k - 1])
    assert sorted(set(_seqs(frames))) == list(range(300))


def test_drops_and_duplicates_are_independent() -> None:
    faults = {"drop_probability": 0.5, "duplicate_probability": 0.5}
    seqs = _seqs(run_camera(small_camera(faults=faults), n_frames=1000))
    kept = len(set(seqs))
    assert kept / 1000 == pytest.approx(0.5, abs=0.06)
    assert (len(seqs) - kept) / kept == pytest.approx(0.5, abs=0.08)


def test_a_stall_delays_the_frame_and_all_after_it() -> None:
    frames = run_camera(small_camera(faults={"stall_at_frame": 3, "stall_s": 1.5}), n_frames=6)
    host_ms = [(c.t_host_ns - 5 * MS) // MS for c in frames]
    assert host_ms == [10, 20, 30, 1540, 1550, 1560]
    assert _seqs(frames) == list(range(6))


def test_a_disconnect_is_an_error_after_the_frames_before_it() -> None:
    config = small_camera(name="scope", faults={"disconnect_at_frame": 3})
    with started(config) as (camera, _):
        frames = camera.frames(Slots())
        assert [next(frames).camera_seq for _ in range(3)] == [0, 1, 2]
        with pytest.raises(CameraError, match="scope: connection lost at frame 3") as lost:
            next(frames)
    assert lost.value.hint
    assert lost.value.exit_code == 3


def test_a_burst_arrives_together_with_its_last_frame() -> None:
    frames = run_camera(small_camera(faults={"burst_at_frame": 2, "burst_frames": 3}), n_frames=6)
    assert [(c.t_host_ns - 5 * MS) // MS for c in frames] == [10, 20, 50, 50, 50, 60]
    assert [c.t_camera_ns // MS for c in frames] == [10, 20, 30, 40, 50, 60]


def test_a_burst_beyond_the_buffer_loses_its_oldest_frames() -> None:
    faults = {"burst_at_frame": 2, "burst_frames": 6}
    config = small_camera(faults=faults, sensor={"buffer_frames": 4})
    assert _seqs(run_camera(config, n_frames=10)) == [0, 1, 4, 5, 6, 7, 8, 9]


def test_a_resize_changes_shape_region_and_truth_from_its_frame() -> None:
    faults = {"resize_at_frame": 2, "resize_to": (24, 16)}
    config = small_camera(faults=faults)
    slots = Slots()
    with started(config, n_frames=4, roi=(30, 4, 16, 32)) as (
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
    frames = run_camera(
        small_camera(faults={"resize_at_frame": 1, "resize_to": (64, 60)}), n_frames=2
    )
    assert frames[1].shape == (60, 64)
    with pytest.raises(CameraError, match=r"resize_to is \(0, 0\)"):
        _prepared(small_camera(faults={"resize_at_frame": 1}))
