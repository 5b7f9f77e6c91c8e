"""The status display is a pure function of a snapshot."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from livedenoise.core.metrics import LatencySummary
from livedenoise.core.status import StatusSnapshot, StreamStatus
from livedenoise.view.status import LiveStatus, render


def stream(**changes: object) -> StreamStatus:
    values: dict[str, object] = {
        "camera": "sim",
        "shape": (480, 640),
        "dtype": "<u2",
        "period_ms": 20.0,
        "engine": "openvino fp32 realtime-m",
        "captured": 1234,
        "recorded": 1230,
        "denoised": 1200,
        "passthrough": 0,
        "skipped": 34,
        "lost_at_camera": 0,
        "dropped": {},
        "fps_in": 50.04,
        "fps_out": 48.7,
        "mb_per_s": 30.7,
        "ring_fill": 0.25,
        "latency": LatencySummary(p50=14.2, p99=31.5, p999=40.0, max=41.0, count=1200),
    }
    return StreamStatus(**(values | changes))  # type: ignore[arg-type]


def shown(width: int = 80, **changes: object) -> str:
    values: dict[str, object] = {
        "name": "rig",
        "state": "running",
        "elapsed_s": 12.34,
        "total_s": 30.0,
        "total_frames": 0,
        "run_dir": "runs/x",
        "streams": (stream(),),
    }
    console = Console(width=width, file=io.StringIO(), force_terminal=False)
    console.print(render(StatusSnapshot(**(values | changes))))  # type: ignore[arg-type]
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.mark.parametrize(
    "word",
    [
        "640x480 uint16",
        "1234",
        "1230",
        "1200",
        "34",
        "50.0 fps",
        "48.7 fps",
        "14.2 ms",
        "31.5 ms",
        "12.3 s of 30 s",
        "openvino fp32 realtime-m",
        "runs/x",
        "rig",
        "running",
        "25%",
    ],
)
def test_every_figure_is_shown(word: str) -> None:
    assert word in shown()


def test_fits_80_columns() -> None:
    lines = shown(streams=(stream(), stream(camera="second"))).splitlines()
    assert max(map(len, lines)) <= 80
    assert len(lines) <= 24


def test_losses_of_the_camera_and_of_the_ring_are_added() -> None:
    text = shown(streams=(stream(lost_at_camera=3, dropped={"ring_full": 4}),))
    assert "lost  7" in " ".join(text.split()).replace("lost 7", "lost  7")


def test_frames_left_are_estimated_from_the_rate() -> None:
    text = shown(total_s=0.0, total_frames=2000)
    assert "1234 of 2000 frames, 15 s left" in text


def test_errors_and_notes_are_shown() -> None:
    text = shown(errors=("disk full",), notes=("estimated",))
    assert "! disk full" in text
    assert "- estimated" in text


def test_live_status_leaves_the_last_state() -> None:
    console = Console(width=80, file=io.StringIO(), force_terminal=True)
    with LiveStatus(console) as status:
        status.show(
            StatusSnapshot(
                name="rig",
                state="draining",
                elapsed_s=1.0,
                total_s=0.0,
                total_frames=0,
                run_dir="runs/x",
                streams=(),
            )
        )
    assert isinstance(console.file, io.StringIO)
    assert "draining" in console.file.getvalue()
