"""Replay: bit for bit, at the pace asked for, with the losses a real camera would have."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st

from livedenoise.acquire.cameras import make_camera
from livedenoise.acquire.replay import ReplayCamera, estimate_indices
from livedenoise.acquire.replay_stream import RecordedTimes
from livedenoise.core.camera import CameraInfo, Captured, Event, StreamRequest
from livedenoise.core.camera_config import ReplayCameraConfig
from livedenoise.core.clock import ManualClock
from livedenoise.core.config import load_config, parse_config
from livedenoise.core.constants import CameraConstants
from livedenoise.core.errors import CameraError, ConfigError
from livedenoise.core.frame import FrameFlags, FrameHeader
from livedenoise.record.recorder import Recorder
from livedenoise.record.run_folder import CameraRecord, create_run_folder

ROOT = Path(__file__).resolve().parents[2]
SHAPE = (16, 20)
REQUEST = StreamRequest(exposure_us=0)


def make_stack(n: int = 6, mean: float = 200.0) -> np.ndarray:
    return np.random.default_rng(3).poisson(mean, (n, *SHAPE)).astype(np.uint16)


def write_stack(path: Path, stack: np.ndarray, period_s: float = 0.0) -> Path:
    metadata: dict[str, Any] = {"axes": "TYX"} | ({"finterval": period_s} if period_s else {})
    tifffile.imwrite(path, stack, imagej=True, metadata=metadata)
    return path


class Slots:
    """A ring that is full for ``full_ns()`` more nanoseconds, and keeps every slot it hands out."""

    def __init__(self, clock: ManualClock | None = None) -> None:
        self.slots: list[np.ndarray] = []
        self.full_ns: Callable[[], int] = int
        self._clock = clock or ManualClock()

    def __call__(self, shape: tuple[int, int], dtype: str, timeout_s: float) -> Any:
        timeout_ns = round(timeout_s * 1e9)
        full_ns = self.full_ns()
        self._clock.advance_ns(min(full_ns, timeout_ns))
        if full_ns > timeout_ns:
            return None
        self.slots.append(np.empty(shape, dtype))
        return self.slots[-1]


def started(
    config: dict[str, Any], clock: ManualClock | None = None, request: StreamRequest = REQUEST
) -> ReplayCamera:
    camera = ReplayCamera(ReplayCameraConfig(kind="replay", **config), clock)
    camera.open()
    camera.prepare(request)
    camera.start()
    return camera


def test_lossless_delivers_every_frame_of_every_loop(tmp_path: Path) -> None:
    stack = make_stack()
    path = write_stack(tmp_path / "stack.tif", stack)
    camera = started({"input": path, "loops": 2})
    slots = Slots()
    frames = list(camera.frames(slots))
    camera.close()
    np.testing.assert_array_equal(np.stack(slots.slots), np.concatenate([stack, stack]))
    assert [frame.camera_seq for frame in frames] == list(range(12))
    assert not any(frame.discarded for frame in frames)


def test_loops_without_end_stop_at_the_request(tmp_path: Path) -> None:
    path = write_stack(tmp_path / "stack.tif", make_stack(3))
    camera = ReplayCamera(ReplayCameraConfig(kind="replay", input=path, loops=0))
    camera.open()
    assert camera.prepare(REQUEST).n_frames is None
    assert camera.prepare(StreamRequest(exposure_us=0, n_frames=8)).n_frames == 8
    camera.start()
    assert len(list(camera.frames(Slots()))) == 8
    camera.close()


def test_lossless_waits_for_a_slot_until_stopped(tmp_path: Path) -> None:
    camera = started({"input": write_stack(tmp_path / "stack.tif", make_stack())})
    slots = Slots()
    tries = iter(range(10))
    slots.full_ns = lambda: 0 if next(tries, None) is None else 10**12
    frames = camera.frames(slots)
    assert not next(frames).discarded
    slots.full_ns = lambda: 10**12
    timer = threading.Timer(0.05, camera.stop)
    timer.start()
    began_s = time.perf_counter()
    assert list(frames) == []
    assert time.perf_counter() - began_s < 1.0
    timer.join()
    camera.close()


def test_rate_keeps_the_schedule_and_stamps_it(tmp_path: Path) -> None:
    path = write_stack(tmp_path / "stack.tif", make_stack())
    clock = ManualClock(1000)
    camera = started({"input": path, "pace": "rate", "rate_hz": 100.0}, clock)
    frames = []
    for frame in camera.frames(Slots(clock)):
        assert clock.now_ns() == frame.t_host_ns
        frames.append(frame)
        clock.advance_ns(3_000_000)
    assert [f.t_host_ns for f in frames] == [1000 + 10_000_000 * (k + 1) for k in range(6)]
    camera.close()


def test_recorded_times_are_kept_over_loops(tmp_path: Path) -> None:
    stack = make_stack(4)
    path = tmp_path / "stack.tif"
    planes = {"DeltaT": [0.0, 0.01, 0.05, 0.06]}
    tifffile.imwrite(path, stack, ome=True, metadata={"axes": "TYX", "Plane": planes})
    clock = ManualClock()
    camera = started({"input": path, "pace": "recorded", "loops": 2}, clock)
    frames = list(camera.frames(Slots(clock)))
    times_ms = [frame.t_host_ns // 1_000_000 for frame in frames]
    assert times_ms == [10, 20, 60, 70, 80, 90, 130, 140]
    camera.close()


def test_recorded_pace_without_times_names_the_way_out(tmp_path: Path) -> None:
    path = write_stack(tmp_path / "stack.tif", make_stack())
    camera = ReplayCamera(ReplayCameraConfig(kind="replay", input=path, pace="recorded"))
    camera.open()
    with pytest.raises(ConfigError, match="no frame times") as caught:
        camera.prepare(REQUEST)
    assert "rate_hz" in caught.value.hint
    camera.close()


IN_REAL_TIME = ({"pace": "rate", "rate_hz": 100.0}, {"pace": "recorded"})


def run_in_real_time(
    path: Path, pace: dict[str, Any], blocked_ns: list[tuple[int, int]], *, full: bool
) -> tuple[list[Captured], list[np.ndarray]]:
    """Replay 20 frames at 10 ms with a buffer of 4, while the consumer is away or the ring full.

    ``blocked_ns`` are spans of time.
    """
    clock = ManualClock()
    camera = started({"input": path, "buffer_frames": 4, **pace}, clock)
    slots = Slots(clock)

    def left_of_block() -> int:
        now = clock.now_ns()
        return max((end - now for start, end in blocked_ns if start <= now < end), default=0)

    if full:
        slots.full_ns = left_of_block
    frames = []
    for frame in camera.frames(slots):
        frames.append(frame)
        if not full:
            clock.advance_ns(left_of_block())
    camera.close()
    return frames, slots.slots


@pytest.mark.parametrize("pace", IN_REAL_TIME)
def test_consumer_that_is_away_loses_what_the_buffer_cannot_hold(
    tmp_path: Path, pace: dict[str, Any]
) -> None:
    stack = make_stack(20)
    path = write_stack(tmp_path / "stack.tif", stack, 0.01)
    # Away from frame 4 (50 ms) to 125 ms: frames up to 11 came, 8 to 11 are held.
    frames, slots = run_in_real_time(path, pace, [(45_000_000, 125_000_000)], full=False)
    numbers = [frame.camera_seq for frame in frames]
    assert numbers == [*range(5), *range(8, 20)]
    assert not any(frame.discarded for frame in frames)
    np.testing.assert_array_equal(np.stack(slots), stack[numbers])


@pytest.mark.parametrize("pace", IN_REAL_TIME)
def test_ring_that_stays_full_discards_with_a_reason(tmp_path: Path, pace: dict[str, Any]) -> None:
    stack = make_stack(20)
    path = write_stack(tmp_path / "stack.tif", stack, 0.01)
    # Full from 45 to 125 ms: frame 4 (50 ms) is overwritten at 90 ms, 5 at 100, 6 at 110 ...
    frames, slots = run_in_real_time(path, pace, [(45_000_000, 125_000_000)], full=True)
    assert [frame.camera_seq for frame in frames] == list(range(20))
    lost = [frame.camera_seq for frame in frames if frame.discarded]
    assert lost == [4, 5, 6, 7]
    assert {frame.discarded for frame in frames} == {"", "ring_full"}
    kept = [number for number in range(20) if number not in lost]
    np.testing.assert_array_equal(np.stack(slots), stack[kept])


@pytest.mark.parametrize("pace", IN_REAL_TIME)
def test_frames_within_the_buffer_are_never_lost(tmp_path: Path, pace: dict[str, Any]) -> None:
    path = write_stack(tmp_path / "stack.tif", make_stack(20), 0.01)
    for full in (False, True):
        frames, _ = run_in_real_time(path, pace, [(45_000_000, 85_000_000)], full=full)
        assert [frame.camera_seq for frame in frames] == list(range(20))
        assert not any(frame.discarded for frame in frames)


@settings(max_examples=100, deadline=None)
@given(
    steps=st.lists(st.integers(0, 50), min_size=0, max_size=8),
    period=st.integers(1, 50),
    start=st.integers(-100, 100),
    now=st.integers(-200, 2000),
)
def test_newest_recorded_frame_is_the_last_that_arrived(
    steps: list[int], period: int, start: int, now: int
) -> None:
    times = np.cumsum([0, *steps])
    table = RecordedTimes(start_ns=start, times_ns=times, period_ns=period)
    newest = table.newest(now)
    arrivals = [table.arrival_ns(number) for number in range(newest + 3)]
    assert arrivals == sorted(arrivals)
    assert newest == sum(arrival <= now for arrival in arrivals) - 1 or newest == -1
    assert table.arrival_ns(newest + 1) > now
    assert newest < 0 or table.arrival_ns(newest) <= now


def test_saturated_frames_are_flagged_at_the_bit_depth(tmp_path: Path) -> None:
    stack = make_stack(3)
    stack[1, 2, 2] = 4095
    path = write_stack(tmp_path / "stack.tif", stack)
    for bit_depth, expected in ((12, [0, FrameFlags.SATURATED, 0]), (16, [0, 0, 0])):
        camera = started({"input": path, "bit_depth": bit_depth})
        assert [frame.flags for frame in camera.frames(Slots())] == expected
        camera.close()


def test_damaged_frame_ends_the_stream_with_its_number(tmp_path: Path) -> None:
    path = write_stack(tmp_path / "stack.tif", make_stack(40))
    camera = started({"input": path, "constants": {"gain_e_per_adu": 1.0}})
    with path.open("r+b") as file:
        file.truncate(file.seek(0, 2) // 2)
    frames = camera.frames(Slots())
    seen: list[Captured] = []
    with pytest.raises(CameraError, match=r"stack\.tif: frame \d+: the file ends"):
        seen.extend(frames)
    assert 10 < len(seen) < 25
    camera.close()


def test_no_input_says_what_to_add() -> None:
    with pytest.raises(ConfigError, match="no recording to replay") as caught:
        ReplayCamera(ReplayCameraConfig(kind="replay")).open()
    assert "--input FILE" in caught.value.hint


def test_bit_depth_beyond_the_pixels_is_refused_with_both(tmp_path: Path) -> None:
    path = tmp_path / "stack.tif"
    tifffile.imwrite(path, make_stack().astype(np.uint8), photometric="minisblack")
    with pytest.raises(ConfigError, match=r"bit_depth = 12, but pixels of .* have 8 bits"):
        ReplayCamera(ReplayCameraConfig(kind="replay", input=path, bit_depth=12)).open()


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (StreamRequest(exposure_us=0, roi=(0, 0, 8, 8)), r"region \(0, 0, 8, 8\)"),
        (StreamRequest(exposure_us=0, binning=2), "binning 2"),
        (StreamRequest(exposure_us=0, events=(Event(index=0, exposure_us=1),)), "1 events"),
    ],
)
def test_what_a_recording_cannot_do_is_refused(
    tmp_path: Path, request_: StreamRequest, message: str
) -> None:
    path = write_stack(tmp_path / "stack.tif", make_stack())
    camera = ReplayCamera(ReplayCameraConfig(kind="replay", input=path))
    camera.open()
    with pytest.raises(CameraError, match=message):
        camera.prepare(request_)
    camera.close()


def test_constants_are_estimated_once_and_said(tmp_path: Path) -> None:
    scene = np.linspace(50, 2000, 96 * 96).reshape(96, 96)
    electrons = np.random.default_rng(0).poisson(scene, (20, 96, 96))
    stack = np.round(electrons / 2.0 + 100).astype(np.uint16)
    path = write_stack(tmp_path / "stack.tif", stack)
    camera = ReplayCamera(ReplayCameraConfig(kind="replay", input=path))
    assert camera.open().constants is None
    prepared = camera.prepare(REQUEST)
    camera.close()
    assert prepared.constants is not None
    assert prepared.constants.source == "estimated"
    assert prepared.constants.gain_e_per_adu == pytest.approx(2.0, rel=0.1)
    assert prepared.notes == (prepared.constants.note,)


@pytest.mark.parametrize(
    "options", [{"constants": {"gain_e_per_adu": 3.0}}, {"estimate_constants": True}]
)
def test_nothing_is_estimated_where_something_is_configured(
    tmp_path: Path, options: dict[str, Any]
) -> None:
    path = write_stack(tmp_path / "stack.tif", make_stack())
    camera = ReplayCamera(ReplayCameraConfig(kind="replay", input=path, **options))
    camera.open()
    assert camera.prepare(REQUEST).constants is None
    camera.close()


def test_frames_that_allow_no_estimate_are_refused_with_the_way_out(tmp_path: Path) -> None:
    path = tmp_path / "stack.tif"
    tifffile.imwrite(path, np.full((3, *SHAPE), np.nan, np.float32), photometric="minisblack")
    camera = ReplayCamera(ReplayCameraConfig(kind="replay", input=path))
    camera.open()
    with pytest.raises(ConfigError, match="cannot be estimated") as caught:
        camera.prepare(REQUEST)
    assert "gain_e_per_adu" in caught.value.hint
    camera.close()


@pytest.mark.parametrize(
    ("n_frames", "most"), [(1, 16), (2, 16), (15, 16), (31, 99), (50, 99), (9999, 99), (500, 3)]
)
def test_estimate_reads_few_frames_in_pairs_of_the_first_part(n_frames: int, most: int) -> None:
    indices = estimate_indices(n_frames, most)
    assert indices == sorted(set(indices))
    assert 1 <= len(indices) <= min(16, most, n_frames)
    assert max(indices) < min(64, n_frames)
    if n_frames > 32 and most >= 16:
        assert len(indices) == 16
        assert max(indices) > 40
        assert all(b == a + 1 for a, b in zip(indices[::2], indices[1::2], strict=True))


def test_run_is_replayed_with_its_region_constants_and_times(tmp_path: Path) -> None:
    config = parse_config({"camera": [{"kind": "simulated"}]}, "test")
    run = create_run_folder(tmp_path, "test", config=config, argv=[])
    constants = CameraConstants(gain_e_per_adu=0.5, offset_adu=100.0, read_noise_e=1.5)
    info = CameraInfo(name="cam", kind="simulated", sensor=(512, 640), dtype="<u2", bit_depth=12)
    run.note_camera("cam", CameraRecord(info=info, constants=constants))
    recorder = Recorder(run.stream_folder("raw", "cam"), "raw", part_size_bytes=1 << 20)
    stack = make_stack(4)
    for seq, pixels in enumerate(stack):
        facts: dict[str, Any] = dict.fromkeys(FrameHeader.__struct_fields__, 0)
        facts |= {"run_id": "r", "camera": "cam", "stream": "raw", "role": "", "model": ""}
        facts |= {"height": SHAPE[0], "width": SHAPE[1], "dtype": "<u2", "bit_depth": 12}
        facts |= {"roi_x": 32, "roi_y": 64, "binning": 2, "exposure_us": 4000, "calibration": ""}
        recorder.append(FrameHeader(**facts | {"seq": seq, "t_host_ns": 7 * 10**6 * seq}), pixels)
    recorder.finalise()
    clock = ManualClock()
    camera = ReplayCamera(ReplayCameraConfig(kind="replay", input=run.path, pace="recorded"), clock)
    assert camera.open().sensor == (512, 640)
    prepared = camera.prepare(REQUEST)
    assert prepared.roi == (32, 64, 40, 32)
    assert (prepared.binning, prepared.bit_depth, prepared.exposure_us) == (2, 12, 4000)
    assert prepared.constants == constants
    assert prepared.period_ns == 7 * 10**6
    camera.start()
    frames = list(camera.frames(slots := Slots(clock)))
    assert [f.t_host_ns for f in frames] == [7 * 10**6 * k for k in (1, 2, 3, 4)]
    assert (frames[0].roi_x, frames[0].roi_y, frames[0].exposure_us) == (32, 64, 4000)
    np.testing.assert_array_equal(np.stack(slots.slots), stack)
    camera.close()


def test_shipped_configuration_replays(tmp_path: Path) -> None:
    config = load_config(ROOT / "hardware_configs" / "replay.toml")
    [camera_config] = config.camera
    assert isinstance(camera_config, ReplayCameraConfig)
    assert camera_config.pace == "lossless"
    assert config.record.raw
    assert config.record.clean
    path = write_stack(tmp_path / "stack.tif", make_stack())
    camera = make_camera(camera_config.model_copy(update={"input": path}))
    camera.open()
    assert camera.prepare(REQUEST).lossless
    camera.close()
