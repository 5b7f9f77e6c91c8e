"""Our sequence numbers: a gap wherever a frame was lost, an epoch wherever the mode changed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from livedenoise.acquire.numbering import CAMERA, Numbering, Predecessor
from livedenoise.core.camera import Captured
from livedenoise.core.losses import CAMERA_RESTARTED


def captured(camera_seq: int, **changes: object) -> Captured:
    values: dict[str, object] = {
        "camera_seq": camera_seq,
        "t_host_ns": 10 * camera_seq + 1,
        "shape": (4, 4),
        "exposure_us": 10,
    }
    return Captured(**(values | changes))  # type: ignore[arg-type]


@given(st.lists(st.integers(1, 5), max_size=30))
def test_seq_follows_the_camera_and_losses_add_up(steps: list[int]) -> None:
    numbering, camera_seq, lost_total = Numbering(), -1, 0
    for step in steps:
        camera_seq += step
        seq, lost = numbering.number(captured(camera_seq))
        lost_total += lost
        assert seq == camera_seq
        assert lost == step - 1
    assert lost_total == camera_seq + 1 - len(steps)


def test_frames_lost_before_the_first_are_counted() -> None:
    assert Numbering().number(captured(3)) == (3, 3)


@pytest.mark.parametrize("again", [5, 2])
def test_a_repeated_or_backward_number_is_a_frame_of_its_own(again: int) -> None:
    numbering = Numbering()
    for camera_seq in range(6):
        numbering.number(captured(camera_seq))
    assert numbering.number(captured(again)) == (6, 0)
    assert numbering.repeated


def test_a_camera_without_numbers_is_numbered_by_us() -> None:
    numbering = Numbering()
    assert [numbering.number(captured(-1))[0] for _ in range(4)] == [0, 1, 2, 3]


@pytest.mark.parametrize(
    "change",
    [{"shape": (4, 5)}, {"dtype": "|u1"}, {"exposure_us": 11}, {"roi_x": 1}, {"binning": 2}],
)
def test_a_change_of_mode_is_an_epoch(change: dict[str, object]) -> None:
    numbering = Numbering()
    numbering.number(captured(0))
    assert numbering.epoch == 0
    numbering.number(captured(1, **change))
    numbering.number(captured(2, **change))
    assert numbering.epoch == 1


def test_commanded_exposures_of_events_are_one_epoch() -> None:
    numbering = Numbering()
    for camera_seq, exposure_us in enumerate([5, 50, 5, 50]):
        numbering.number(captured(camera_seq, event=camera_seq, exposure_us=exposure_us))
    assert numbering.epoch == 0


def after_a_kill(**changes: int) -> Numbering:
    facts = {"next_seq": 100, "last_host_ns": 1_000_000_000, "period_ns": 10_000_000}
    return Numbering(Predecessor(**(facts | changes)))


def test_a_successor_counts_what_was_exposed_meanwhile() -> None:
    numbering = after_a_kill()
    # 1 s after the predecessor's last frame: 99 frames of 10 ms lie between.
    first = captured(0, t_host_ns=2_000_000_000)
    assert numbering.number(first) == (199, 99)
    assert numbering.reason == CAMERA_RESTARTED
    assert numbering.number(captured(1, t_host_ns=2_010_000_000)) == (200, 0)
    assert numbering.number(captured(3, t_host_ns=2_030_000_000)) == (202, 1)
    assert numbering.reason == CAMERA


def test_a_successor_of_unknown_rate_claims_no_losses() -> None:
    assert after_a_kill(period_ns=0).number(captured(0, t_host_ns=9 * 10**9)) == (100, 0)
    assert after_a_kill(last_host_ns=0).number(captured(0, t_host_ns=9 * 10**9)) == (100, 0)


def test_numbers_never_go_back_after_a_kill() -> None:
    assert after_a_kill().number(captured(0, t_host_ns=999_000_000)) == (100, 0)
