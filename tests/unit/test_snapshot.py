"""The snapshot of a run: from what stages said, over time, to what views get."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from snapshot_kit import preview, quality

from livedenoise.core.camera import CameraInfo, Prepared
from livedenoise.core.clock import ManualClock
from livedenoise.core.config import Config, parse_config
from livedenoise.core.metrics import LatencyHistogram, MetricsView, metrics_from_wire
from livedenoise.core.status import StatusSnapshot, StreamStatus
from livedenoise.daemon.history import HISTORY_S
from livedenoise.daemon.options import RunOptions
from livedenoise.daemon.plan import CameraFacts
from livedenoise.daemon.snapshot import SnapshotMemory, status_snapshot

SECOND = 1_000_000_000
FRAME_BYTES = 640 * 480 * 2
ENGINE = {"engine": {"engine": "openvino", "precision": "fp32", "model": "realtime-m"}}


class FakeStages:
    """Stages that said what a test wants."""

    def __init__(self) -> None:
        self.handles: dict[str, SimpleNamespace] = {}

    def say(self, kind: str, state: str = "running", **metrics: Any) -> SimpleNamespace:
        handle = SimpleNamespace(
            metrics=metrics,
            ready={},
            state=state,
            restarts=0,
            process=SimpleNamespace(pid=4711),
        )
        self.handles[f"{kind}.sim"] = handle
        return handle

    def get(self, kind: str, camera: str) -> Any:
        return self.handles.get(f"{kind}.{camera}")

    def totals(self, kind: str, camera: str) -> MetricsView:
        return metrics_from_wire(self.handles[f"{kind}.{camera}"].metrics)


class Run:
    """A simulated run of one camera at 50 fps: ``at(seconds)`` gives the snapshot."""

    def __init__(self, *, free: int = 10**12, denoising: bool = True) -> None:
        self.stages = FakeStages()
        self.clock = ManualClock(7 * SECOND)
        self.asked: list[str] = []
        self.free = free
        self.memory = SnapshotMemory(self.clock, self._disk)
        self.config: Config = parse_config({"camera": [{"kind": "simulated", "name": "sim"}]}, "t")
        self.options = RunOptions()
        self.denoising = denoising
        self.latency = LatencyHistogram()
        self.elapsed_s = 0.0
        self.skipped = 0
        self.quality: Any = msgspec.to_builtins(quality())
        self.frames = 0

    def _disk(self, folder: str) -> int:
        self.asked.append(folder)
        if self.free < 0:
            raise FileNotFoundError(2, "gone", folder)
        return self.free

    def step(self, seconds: float = 0.2, *, frames: int = 10, ms: float = 14.0) -> StatusSnapshot:
        self.clock.advance_ns(int(seconds * SECOND))
        self.elapsed_s += seconds
        self.frames += frames
        for _ in range(frames):
            self.latency.add(int(ms * 1e6))
        self.report()
        return self.look()

    def report(self) -> None:
        counts = {"captured": self.frames, "bytes": self.frames * FRAME_BYTES}
        self.stages.say("acquire", counts=counts, gauges={"ring_fill": 0.25})
        recorded = {"recorded": self.frames, "bytes": self.frames * FRAME_BYTES}
        self.stages.say("record", counts=recorded, gauges={"backlog": 13})
        if self.denoising:
            self.stages.say(
                "denoise",
                counts={"denoised": self.frames, "clipped_pixels": 5},
                dropped={"backlog": self.skipped} if self.skipped else {},
                gauges={"backlog": 1},
                hops={"camera_to_denoised": self.latency.to_wire()},
                serving=ENGINE,
            )
        view = {"quality": self.quality, "preview": preview(16)}
        self.stages.say("view", counts={"samples": 3}, **view)

    def look(self) -> StatusSnapshot:
        prepared = Prepared(
            shape=(480, 640),
            max_shape=(480, 640),
            dtype="<u2",
            bit_depth=16,
            period_ns=20_000_000,
            exposure_us=20_000,
            roi=(0, 0, 640, 480),
        )
        info = CameraInfo(name="sim", kind="x", sensor=(480, 640), dtype="<u2", bit_depth=16)
        return status_snapshot(
            self.config,
            self.options,
            self.stages,
            {"sim": CameraFacts(info=info, prepared=prepared)},
            self.memory,
            run_dir="runs/x",
            elapsed_s=self.elapsed_s,
            state="running",
            errors=(),
            notes=(),
        )

    def at(self, seconds: float) -> StatusSnapshot:
        shown = self.look()
        while self.elapsed_s < seconds - 1e-6:
            shown = self.step()
        return shown


def only(shown: StatusSnapshot) -> StreamStatus:
    (stream,) = shown.streams
    return stream


def test_rates_counts_and_queues_of_every_stage() -> None:
    stream = only(Run().at(4.0))
    rows = {row.kind: row for row in stream.stages}
    assert list(rows) == ["acquire", "denoise", "record", "view"]
    assert rows["acquire"].fps == pytest.approx(50.0, rel=0.01)
    assert rows["acquire"].mb_per_s == pytest.approx(50 * FRAME_BYTES * 1e-6, rel=0.01)
    assert (rows["acquire"].queue, rows["acquire"].fill) == ("ring", 0.25)
    assert (rows["denoise"].queue, rows["denoise"].fill) == ("backlog", pytest.approx(1 / 3))
    assert (rows["record"].queue, rows["record"].fill) == ("backlog", pytest.approx(13 / 256))
    assert rows["denoise"].mb_per_s == pytest.approx(rows["acquire"].mb_per_s, rel=0.01)
    assert rows["record"].count == 200
    assert rows["view"].count == 3
    assert rows["view"].pid == 4711
    assert stream.engine == "openvino fp32 realtime-m"
    assert (stream.captured, stream.denoised, stream.recorded) == (200, 200, 200)
    assert stream.clipped_pixels == 5


def test_a_backlog_that_waits_is_measured_against_the_ring() -> None:
    run = Run()
    data = run.config.model_dump(mode="json")
    data["denoise"]["policy"] = "lossless"
    run.config = parse_config(data, "t")
    rows = {row.kind: row for row in only(run.at(1.0)).stages}
    assert rows["denoise"].fill == pytest.approx(1 / 256)


def test_a_snapshot_without_a_new_report_shows_no_dip() -> None:
    run = Run()
    run.at(2.0)
    run.clock.advance_ns(SECOND // 10)
    assert only(run.look()).fps_in == pytest.approx(50.0, rel=0.01)


def test_a_stage_that_stands_still_falls_to_zero() -> None:
    run = Run()
    run.at(2.0)
    run.clock.advance_ns(3 * SECOND // 2)
    assert only(run.look()).fps_in == 0.0


def test_recent_latency_forgets_what_is_older_than_ten_seconds() -> None:
    run = Run()
    for _ in range(20):
        run.step(ms=90.0)
    slow = only(run.look()).recent
    assert slow is not None
    assert slow.p50 == pytest.approx(90.0, rel=0.02)
    for _ in range(60):
        run.step(ms=10.0)
    stream = only(run.look())
    assert stream.recent is not None
    assert stream.recent.p99 == pytest.approx(10.0, rel=0.03)
    assert stream.recent.max == pytest.approx(10.0, rel=0.03)
    assert 450 <= stream.recent.count <= 560
    assert stream.latency.p99 == pytest.approx(90.0, rel=0.02)
    assert stream.hops["camera_to_denoised"] == stream.latency


def test_history_has_one_value_a_second_and_gaps_where_nothing_came() -> None:
    run = Run()
    run.at(5.0)
    run.clock.advance_ns(3 * SECOND)
    run.look()
    history = only(run.look()).history
    lengths = {len(curve) for curve in history.values()}
    assert lengths == {9}
    signal = history["signal_e"]
    assert [value is None for value in signal] == [True] + [False] * 5 + [True] * 2 + [False]
    assert history["fps_in"][0] is None
    assert history["fps_in"][5] == pytest.approx(50, rel=0.02)
    assert history["latency_p50_ms"][5] == pytest.approx(14, rel=0.03)
    assert history["ring_fill"][5] == 0.25
    # No frame was denoised in the second that ended with the pause.
    assert history["latency_p50_ms"][8] is None


def test_skips_of_the_last_ten_seconds_are_an_alert_and_older_ones_are_not() -> None:
    run = Run()
    run.at(15.0)
    run.skipped = 100
    assert "denoiser skips" in " ".join(run.step().alerts)
    assert only(run.look()).skips == {"backlog": 100}
    for _ in range(40):
        run.step()
    assert "denoiser skips" in " ".join(run.look().alerts)
    for _ in range(20):
        run.step()
    assert run.look().alerts == ()


def test_the_disk_is_asked_once_a_second_and_lasts_by_the_recorded_rate() -> None:
    run = Run(free=50 * FRAME_BYTES * 1000)
    assert run.at(1.0).recording_left_s is None
    shown = run.at(4.0)
    assert shown.recording
    assert shown.recording_left_s == pytest.approx(1000, rel=0.02)
    assert shown.disk_free_bytes == run.free
    assert 4 <= len(run.asked) <= 5
    assert set(run.asked) == {"runs/x"}


def test_a_disk_that_cannot_be_asked_is_an_alert_not_an_error() -> None:
    run = Run(free=-1)
    shown = run.at(4.0)
    assert shown.recording_left_s is None
    assert shown.disk_free_bytes is None
    assert "not known" in shown.alerts[0]


def test_without_a_recorder_nothing_is_said_of_the_disk() -> None:
    run = Run()
    run.at(3.0)
    run.stages.handles["record.sim"].state = "dead"
    shown = run.look()
    assert not shown.recording
    assert shown.recording_left_s is None
    assert "record is dead" in shown.alerts[0]


def test_a_recorder_that_finished_is_no_alarm() -> None:
    run = Run()
    run.at(3.0)
    run.stages.handles["record.sim"].state = "finished"
    assert run.look().recording
    assert run.look().alerts == ()


def test_what_a_dead_view_said_last_is_not_shown() -> None:
    run = Run()
    stream = only(run.at(1.0))
    assert stream.quality is not None
    assert stream.preview is not None
    run.stages.handles["view.sim"].state = "dead"
    stream = only(run.look())
    assert (stream.quality, stream.preview) == (None, None)


def test_figures_that_cannot_be_read_are_said_and_do_not_end_the_run() -> None:
    run = Run()
    run.quality = {"figures": 7}
    stream = only(run.step())
    assert stream.quality is None
    assert "cannot be read" in stream.note


@pytest.mark.parametrize(
    ("change", "engine"),
    [
        ({"state": "dead"}, "dead"),
        ({"state": "restarting", "metrics": {}}, "starting"),
        ({"metrics": {}}, "waiting for the first frames"),
    ],
)
def test_what_stands_for_an_engine_that_is_not_there(change: dict[str, Any], engine: str) -> None:
    run = Run()
    run.step()
    vars(run.stages.handles["denoise.sim"]).update(change)
    assert only(run.look()).engine == engine
    assert only(Run(denoising=False).step()).engine == "off"


def test_a_denoiser_that_has_frames_and_no_engine_learns_the_constants() -> None:
    run = Run()
    run.step()
    run.stages.handles["denoise.sim"].metrics = {}
    run.stages.handles["acquire.sim"].metrics = {"counts": {"captured": 5, "published": 5}}
    assert only(run.look()).engine == "learning the camera's constants"


def test_a_snapshot_travels_as_msgpack_and_as_json() -> None:
    run = Run()
    run.at(3.0)
    shown = run.look()
    data = msgspec.msgpack.encode(shown)
    again = msgspec.msgpack.decode(data, type=StatusSnapshot)
    assert msgspec.msgpack.encode(again) == data
    assert b"NaN" not in msgspec.json.encode(shown)


def test_memory_stays_bounded_however_long_the_run() -> None:
    run = Run()
    run.at(2.0)
    for _ in range(300):
        run.step(1.0, frames=1)
    stream = only(run.look())
    assert {len(curve) for curve in stream.history.values()} == {HISTORY_S}
    assert len(run.memory._past) <= 11
    assert all(s.preview is None for _, old in run.memory._past for s in old.streams)
