"""The simulated camera in time: pacing, its buffer, stopping. Time is injected or bounded."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from livedenoise.acquire.pacing import Schedule
from livedenoise.core.camera import Captured
from livedenoise.core.clock import ManualClock, MonotonicClock
from livedenoise.testing.simulated_runs import Slots, run_camera, small_camera, started

MS = 1_000_000


def _seqs(frames: list[Captured]) -> list[int]:
    return [captured.camera_seq for captured in frames]


def test_every_frame_is_stamped_with_its_computed_deadline() -> None:
    clock = ManualClock(7 * MS)
    frames = run_camera(small_camera(), clock=clock, rate_hz=60.0, n_frames=1000)
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

    frames = run_camera(small_camera(), clock=LateClock(), n_frames=500)
    assert [c.t_host_ns for c in frames] == [(k + 1) * 10 * MS for k in range(500)]


def test_the_real_clock_holds_the_rate_and_serves_after_the_deadline() -> None:
    with started(small_camera(), MonotonicClock(), exposure_us=2000, n_frames=150) as (camera, _):
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


def test_a_late_consumer_gets_what_the_buffer_holds_and_the_rest_is_lost() -> None:
    clock = ManualClock()
    with started(small_camera(sensor={"buffer_frames": 5}), clock) as (camera, _):
        frames = camera.frames(Slots())
        assert next(frames).camera_seq == 0
        clock.advance_ns(205 * MS - clock.now_ns())  # frames 0 to 19 have arrived
        seqs = [next(frames).camera_seq for _ in range(7)]
    assert seqs == [15, 16, 17, 18, 19, 20, 21]


def test_a_consumer_late_by_less_than_the_buffer_loses_nothing() -> None:
    clock = ManualClock()
    with started(small_camera(sensor={"buffer_frames": 5}), clock) as (camera, _):
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
    with started(small_camera(sensor={"buffer_frames": held}), clock) as (camera, _):
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
    config = small_camera(sensor={"buffer_frames": 3})
    with started(config, clock, n_frames=8) as (camera, _):
        clock.advance_ns(10_000 * MS)
        assert _seqs(list(camera.frames(Slots()))) == [5, 6, 7]


def test_a_full_ring_is_waited_for_as_long_as_the_buffer_holds() -> None:
    clock, waited = ManualClock(), []

    def full(timeout_s: float) -> bool:
        waited.append(timeout_s)
        clock.advance_ns(round(timeout_s * 1e9))
        return len(waited) > 3

    config = small_camera(sensor={"buffer_frames": 4})
    frames = run_camera(config, Slots(full), clock, n_frames=6)
    assert _seqs(frames) == list(range(6))
    assert [c.discarded for c in frames] == ["ring_full"] * 3 + [""] * 3
    # The first frame waits for all the buffer; while the ring stays full each next one period.
    assert waited[:3] == pytest.approx([0.04, 0.01, 0.01])


def test_a_long_wait_for_a_slot_ends_on_stop() -> None:
    calls = []
    with started(small_camera(sensor={"buffer_frames": 1000})) as (camera, _):

        def full(timeout_s: float) -> bool:
            calls.append(timeout_s)
            if len(calls) == 3:
                camera.stop()
            return False

        assert not list(camera.frames(Slots(full)))
    # The buffer holds the frame for 10 s; it is waited for in slices short enough to stop.
    assert len(calls) == 3
    assert max(calls) <= 0.5


def test_stop_ends_a_ten_second_exposure_within_two_seconds() -> None:
    ended: list[int] = []
    with started(small_camera(), MonotonicClock(), exposure_us=10_000_000) as (camera, _):
        thread = threading.Thread(target=lambda: ended.append(len(list(camera.frames(Slots())))))
        thread.start()
        began_s = time.perf_counter()
        camera.stop()
        assert time.perf_counter() - began_s < 0.5
        thread.join(2.0)
        assert not thread.is_alive()
    assert ended == [0]


def test_a_new_start_ends_the_old_stream_and_begins_at_zero() -> None:
    with started(small_camera()) as (camera, _):
        old = camera.frames(Slots())
        assert [next(old).camera_seq for _ in range(2)] == [0, 1]
        camera.start()
        assert list(old) == []
        assert next(camera.frames(Slots())).camera_seq == 0
