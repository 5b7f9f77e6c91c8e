"""The summary adds up what stages said, and never fills in a number to make it fit."""

from __future__ import annotations

from typing import Any

import pytest

from livedenoise.core.metrics import LatencyHistogram
from livedenoise.daemon.summary import StreamResult, run_summary, stream_summary, summary_lines


def denoiser(denoised: int, passthrough: int = 0, **dropped: int) -> dict[str, Any]:
    counts = {"denoised": denoised, "passthrough": passthrough}
    return {"counts": counts, "dropped": dropped}


def result(**changes: Any) -> StreamResult:
    hop = LatencyHistogram()
    for ms in (1, 2, 3):
        hop.add(ms * 1_000_000)
    values: dict[str, Any] = {
        "camera": "sim",
        "acquire": {
            "captured": 102,
            "published": 100,
            "dropped_full": 2,
            "first_host_ns": 0,
            "last_host_ns": 1_010_000_000,
            "bytes": 5_000_000,
        },
        "acquire_metrics": {
            "counts": {"lost_at_camera": 4},
            "dropped": {"ring_full": 2},
            "hops": {"camera_to_ring": hop.to_wire()},
        },
        "denoise": {"serving": {"engine": {"engine": "identity"}}},
        "denoise_metrics": denoiser(90, 3, backlog=7),
        "record_metrics": {"counts": {"recorded": 100}},
        "recording": True,
        "denoising": True,
    }
    return StreamResult(**(values | changes))


def test_identities_hold() -> None:
    stream = stream_summary(result(), seconds=2.0)
    assert stream.conserved
    assert stream.dropped == {"acquire": {"ring_full": 2}, "denoise": {"backlog": 7}}
    assert (stream.denoised, stream.passthrough, stream.skipped) == (90, 3, 7)
    assert stream.lost_at_camera == 4
    assert stream.fps_in == pytest.approx(100.0)
    assert stream.latency_ms["camera_to_ring"].max == pytest.approx(3.0)


@pytest.mark.parametrize(
    "changes",
    [
        {"record_metrics": {"counts": {"recorded": 99}}},
        {"denoise_metrics": denoiser(89, 3, backlog=7)},
        {"denoise_metrics": denoiser(90, 3, backlog=6)},
        {"denoise_metrics": denoiser(91, 3, backlog=7), "restarts": {"denoise": 1}},
        {"record_metrics": {"counts": {"recorded": 101}}, "restarts": {"record": 1}},
        {"record_metrics": {"counts": {"recorded": 99}}, "restarts": {"acquire": 1, "record": 1}},
        {"record_metrics": {"counts": {"recorded": 101}}, "record_failed": "recorder_failed"},
        {"acquire": {}},
    ],
)
def test_a_missing_frame_is_never_explained_away(changes: dict[str, Any]) -> None:
    assert not stream_summary(result(**changes), seconds=2.0).conserved


def test_a_failed_recorder_explains_what_it_did_not_write() -> None:
    changed = result(record_metrics={"counts": {"recorded": 60}}, record_failed="recorder_failed")
    stream = stream_summary(changed, seconds=2.0)
    assert stream.conserved
    assert stream.dropped["record"] == {"recorder_failed": 40}


def test_a_denoiser_that_was_given_up_explains_what_it_did_not_take() -> None:
    changed = result(
        denoise_metrics=denoiser(90, 3, backlog=2, aborted=1), denoise_failed="aborted"
    )
    stream = stream_summary(changed, seconds=2.0)
    assert stream.conserved
    assert stream.dropped["denoise"] == {"backlog": 2, "aborted": 5}


@pytest.mark.parametrize(
    ("changes", "stage", "dropped"),
    [
        (
            {"denoise_metrics": denoiser(80, 3, backlog=7), "restarts": {"denoise": 2}},
            "denoise",
            {"backlog": 7, "denoiser_restarted": 10},
        ),
        (
            {"denoise_metrics": denoiser(92, backlog=7), "restarts": {"acquire": 1}},
            "denoise",
            {"backlog": 7, "camera_restarted": 1},
        ),
    ],
)
def test_replaced_processes_explain_what_nobody_was_told(
    changes: dict[str, Any], stage: str, dropped: dict[str, int]
) -> None:
    stream = stream_summary(result(**changes), seconds=2.0)
    assert stream.conserved
    assert stream.dropped[stage] == dropped


def test_every_number_is_counted_once_and_is_in_the_file() -> None:
    facts = result().acquire | {"lost_at_camera": 4, "numbers": 106}
    assert stream_summary(result(acquire=facts, file_numbers=106), seconds=2.0).conserved
    assert not stream_summary(result(acquire=facts, file_numbers=105), seconds=2.0).conserved
    short = stream_summary(result(acquire=facts, file_numbers=105, acquire_died=True), seconds=2.0)
    assert short.conserved, "the file of a recording that was cut short is told elsewhere"
    off = facts | {"lost_at_camera": 3}
    assert not stream_summary(result(acquire=off, file_numbers=106), seconds=2.0).conserved


def test_frames_a_killed_camera_process_dropped_after_its_last_report_are_counted() -> None:
    facts = result().acquire | {"captured": 105, "dropped_full": 5}
    stream = stream_summary(result(acquire=facts), seconds=2.0)
    assert stream.dropped["acquire"] == {"ring_full": 5}
    assert stream.conserved


def test_headers_that_found_a_full_socket_are_undelivered_only_as_far_as_counted() -> None:
    facts = result().acquire | {"undelivered": {"denoise": 4}}
    told = stream_summary(
        result(acquire=facts, denoise_metrics=denoiser(86, 3, backlog=7)), seconds=2.0
    )
    assert told.dropped["denoise"] == {"backlog": 7, "undelivered": 4}
    more = stream_summary(
        result(acquire=facts, denoise_metrics=denoiser(85, 3, backlog=7)), seconds=2.0
    )
    assert not more.conserved


def test_output_rate_counts_until_the_last_clean_frame() -> None:
    late = {"counts": {"denoised": 93}, "gauges": {"last_publish_ns": 9.3e9}}
    stream = stream_summary(result(denoise_metrics=late), seconds=2.0)
    assert stream.fps_out == pytest.approx(10.0)


def test_streams_add_up() -> None:
    summary = run_summary(
        [result(), result(camera="second")],
        seconds=2.0,
        run_dir="runs/x",
        exit_code=0,
        errors=[],
        notes=[],
        first_denoised_s=1.0,
        first_denoised_ns=5,
    )
    assert summary.captured == 204
    assert summary.dropped == {"acquire": {"ring_full": 4}, "denoise": {"backlog": 14}}
    assert summary.latency_ms["camera_to_ring"].count == 6
    assert summary.conserved
    lines = dict(summary_lines(summary))
    assert lines["run folder"] == "runs/x"
    assert "14 denoise: backlog" in lines["dropped"]


def test_no_stage_spoke() -> None:
    summary = run_summary(
        [StreamResult(camera="sim", recording=True, denoising=True)],
        seconds=0.0,
        run_dir="runs/x",
        exit_code=3,
        errors=["no camera"],
        notes=[],
        first_denoised_s=-1,
        first_denoised_ns=-1,
    )
    assert summary.captured == 0
    assert not summary.conserved
