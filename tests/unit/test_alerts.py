"""Alerts: each holds while its cause does, names its mend, and goes away."""

from __future__ import annotations

from typing import Any

import pytest
from snapshot_kit import VALUES, latency, quality, snapshot, stage, stages, stream

from livedenoise.core.status import Figure, StatusSnapshot
from livedenoise.daemon.alerts import alerts


def run(**changes: Any) -> StatusSnapshot:
    return snapshot(streams=(stream(**changes),))


def figures(**changes: float) -> Any:
    values = VALUES | changes
    return quality(figures={key: Figure(value=value, n=50) for key, value in values.items()})


HEALTHY = run()


def test_a_healthy_run_has_none() -> None:
    assert alerts(HEALTHY, None) == ()
    assert alerts(HEALTHY, HEALTHY) == ()


CASES: list[tuple[StatusSnapshot, str, str]] = [
    (run(stages=(stage("record", state="dead", restarts=5),)), "record is dead after 5", "NOT"),
    (run(stages=(stage("denoise", state="dead"),)), "denoise is dead", "raw recording goes on"),
    (run(stages=(stage("view", state="restarting", restarts=1),)), "view is being replaced", "log"),
    (run(dropped={"ring_full": 7}), "7 frames lost in the last 10 s (ring_full)", "disk"),
    (run(lost_at_camera=1), "1 frame lost in the last 10 s (camera)", "cable"),
    (run(ring_fill=0.81), "raw ring 81% full", "recorder"),
    (run(skipped=134, denoised=1300), "denoiser skips 50%", "smaller ROI"),
    (run(recent=latency(p99=40.5)), "late: p99 latency 40.5 ms", "2 periods are 40.0 ms"),
    (
        run(saturated=50, captured=2484, quality=None),
        "saturated pixels in 4% of the frames",
        "less light",
    ),
    (run(quality=figures(saturated_fraction=0.02)), "2.0% of the pixels are saturated", "light"),
    (run(quality=figures(noise_ratio=1.3)), "measured noise is 1.30 x", "calibrate"),
    (run(quality=figures(noise_ratio=0.7)), "measured noise is 0.70 x", "constants"),
    (run(quality=figures(residual_corr=0.2)), "residual correlation 0.20", "signal"),
    (snapshot(recording_left_s=17.0), "disk full in 0.3 min", "free space"),
    (snapshot(recording_left_s=599.0, total_s=0.0), "disk full in 10.0 min", "free space"),
]


@pytest.mark.parametrize(("wrong", "said", "mend"), CASES)
def test_each_is_said_once_with_its_mend(wrong: StatusSnapshot, said: str, mend: str) -> None:
    (text,) = alerts(wrong, HEALTHY)
    assert said in text
    assert mend in text


@pytest.mark.parametrize("wrong", [case[0] for case in CASES])
def test_each_goes_away_when_mended(wrong: StatusSnapshot) -> None:
    counted = {
        name: getattr(wrong.streams[0], name)
        for name in ("dropped", "lost_at_camera", "skipped", "denoised", "saturated", "captured")
    }
    assert alerts(run(**counted), wrong) == ()


@pytest.mark.parametrize(
    "well",
    [
        run(ring_fill=0.79),
        run(skipped=34 + 5, denoised=1200 + 100, captured=1234 + 105),
        run(saturated=1, captured=1234 + 100),
        run(recent=latency(p99=39.9)),
        run(recent=latency(p99=500.0, count=19)),
        run(quality=figures(noise_ratio=1.24, residual_corr=0.04)),
        run(quality=quality(figures=figures(noise_ratio=3.0).figures, motion=True)),
        run(quality=quality(figures={"noise_ratio": Figure(value=None, n=11)})),
        snapshot(recording_left_s=601.0, total_s=0.0),
        snapshot(recording_left_s=30.0, total_s=30.0),
        snapshot(recording=False, recording_left_s=1.0),
    ],
)
def test_just_inside_the_limits_nothing_is_said(well: StatusSnapshot) -> None:
    assert alerts(well, HEALTHY) == ()


def test_lateness_at_the_end_of_a_run_is_no_alert() -> None:
    late = stream(recent=latency(p99=900.0))
    assert alerts(snapshot(state="draining", streams=(late,)), HEALTHY) == ()


def test_what_is_planned_in_frames_is_compared_with_the_disk_too() -> None:
    # 5004 frames are left at 50.04 fps: 100 s.
    planned: dict[str, Any] = {"total_s": 0.0, "total_frames": 1234 + 5004}
    assert alerts(snapshot(recording_left_s=101.0, **planned), HEALTHY) == ()
    (text,) = alerts(snapshot(recording_left_s=99.0, **planned), HEALTHY)
    assert "1.7 min are planned" in text


def test_in_the_first_seconds_everything_so_far_is_recent() -> None:
    assert len(alerts(run(dropped={"ring_full": 7}), None)) == 1


def test_each_camera_is_judged_by_itself() -> None:
    bad = stream(camera="bad", ring_fill=0.9)
    texts = alerts(snapshot(streams=(stream(camera="good"), bad)), None)
    assert [text.split(":")[0] for text in texts] == ["bad"]


def test_a_camera_that_was_not_there_before_counts_from_zero() -> None:
    texts = alerts(snapshot(streams=(stream(camera="new", lost_at_camera=2),)), HEALTHY)
    assert "2 frames lost" in texts[0]


def test_stages_that_end_well_are_no_alert() -> None:
    over = tuple(stage(one.kind, state="finished") for one in stages())
    assert alerts(run(stages=over), HEALTHY) == ()


def test_a_few_stuck_pixels_are_no_alarm_where_their_share_is_known() -> None:
    stuck = run(saturated=1234, captured=2468, quality=figures(saturated_fraction=2e-7))
    assert not [text for text in alerts(stuck, HEALTHY) if "saturated" in text]
    unknown = run(saturated=1234, captured=2468, quality=None)
    assert [text for text in alerts(unknown, HEALTHY) if "saturated" in text]


def test_frames_lost_to_a_replaced_camera_process_do_not_blame_the_cable() -> None:
    old, new = ((stage("acquire", restarts=count),) for count in (0, 1))
    (text,) = (
        text
        for text in alerts(run(lost_at_camera=89, stages=new), run(stages=old))
        if "lost" in text
    )
    assert "replaced" in text
    assert "cable" not in text
