"""The record stage: lossless across its own death and across new writers of the stream."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import tifffile
from stream_kit import FOR_EVER_NS, SHAPE, Stream, make_spec, open_stream, pixels_of, read_frame

from livedenoise.bus import wire
from livedenoise.bus.endpoints import Endpoints
from livedenoise.bus.ring import Ring
from livedenoise.bus.writer import FrameWriter
from livedenoise.core.errors import LiveDenoiseError
from livedenoise.record import writer as record_writer
from livedenoise.record.recorder import Recorder
from livedenoise.record.sidecar import Sidecar, read_sidecar
from livedenoise.record.writer import RecordStage


class Running:
    """A record stage in a thread of its own, driven as ``run_stage`` does."""

    def __init__(self, stream: Stream, folder: Path, **changes: Any) -> None:
        self.folder = folder
        self.stage = RecordStage({})
        self.orders: deque[wire.AnyMessage] = deque()
        self.longest_step_s = 0.0
        self.error: LiveDenoiseError | None = None
        self.metrics: dict[str, Any] = {}
        self.started = threading.Event()
        settings = {
            "ring": msgspec.to_builtins(stream.ring.spec),
            "endpoint": stream.writer.endpoint,
            "reader": "record",
            "stream": "raw",
            "folder": str(folder),
            "part_size_bytes": 1 << 20,
            "fsync_every": 0,
        }
        self.thread = threading.Thread(target=self._run, args=(settings | changes,), name="record")
        self.thread.start()

    def count(self, name: str) -> int:
        counts: dict[str, int] = self.metrics.get("counts", {})
        return counts.get(name, 0)

    @property
    def over(self) -> bool:
        return not self.thread.is_alive()

    @property
    def switching(self) -> bool:
        stream = self.stage._stream
        return stream is not None and stream.switching

    @property
    def facts(self) -> dict[str, Any]:
        return self.stage.facts()

    def sidecar(self) -> Sidecar:
        return read_sidecar(self.folder / "frames.jsonl")

    def _run(self, settings: dict[str, Any]) -> None:
        try:
            self.stage.configure(settings)
            self.stage.start(self._pulse)
            self.started.set()
            while self._timed_step():
                self._pulse()
        except LiveDenoiseError as error:
            self.error = error
        finally:
            self.started.set()
            self.stage.close()
            self.metrics = self.stage.metrics()

    def _timed_step(self) -> bool:
        began = time.monotonic()
        more = self.stage.step()
        self.longest_step_s = max(self.longest_step_s, time.monotonic() - began)
        return more

    def _pulse(self, busy_s: float = 0.0) -> None:  # noqa: ARG002
        self.metrics = self.stage.metrics()
        while self.orders:
            self.stage.on_order(self.orders.popleft())


@contextmanager
def running(stream: Stream, folder: Path, **changes: Any) -> Iterator[Running]:
    run = Running(stream, folder, **changes)
    try:
        stream.serve_until(run.started.is_set)
        yield run
    finally:
        run.stage.request_stop(drain=False)
        run.thread.join(10.0)
        assert run.over


class Successor:
    """A new writer of the stream: another ring, another endpoint, owing frames from the first."""

    def __init__(self, stream: Stream, endpoints: Endpoints, epoch: int = 1) -> None:
        self._stream = stream
        self.ring = Ring.create(make_spec(8, ring_epoch=epoch))
        self.writer = FrameWriter(
            self.ring,
            stream.context,
            endpoints.bind_to(f"raw{epoch}"),
            lease_timeout_ns=FOR_EVER_NS,
            expect=("record",),
        )

    def publish(self, *seqs: int) -> None:
        for seq in seqs:
            slot = self.writer.begin(SHAPE, "<u2", 5.0)
            assert slot is not None
            grant, pixels = slot
            pixels[...] = pixels_of(seq)
            header = self._stream.header(grant, seq=seq, ring_epoch=self.ring.spec.ring_epoch)
            self.writer.publish(grant, header)

    def order(self, reason: str = "camera_restarted", stream: str = "raw") -> wire.Reattach:
        return wire.Reattach(
            stream=stream,
            ring=msgspec.to_builtins(self.ring.spec),
            endpoint=self.writer.endpoint,
            reason=reason,
        )

    def serve_until(self, condition: Callable[[], bool], timeout_s: float = 5.0) -> None:
        deadline = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < deadline, f"not true within {timeout_s} s"
            self.writer.service(1)

    def close(self) -> None:
        self.writer.close()
        self.ring.close()


@contextmanager
def successor(stream: Stream, epoch: int = 1) -> Iterator[Successor]:
    with Endpoints() as endpoints:
        heir = Successor(stream, endpoints, epoch)
        try:
            yield heir
        finally:
            heir.close()


def assert_frames(run: Running, seqs: list[int]) -> None:
    content = run.sidecar()
    assert [line.seq for line in content.frames] == seqs
    for line in content.frames:
        page = tifffile.imread(run.folder / f"part-{line.part:04d}.tif", key=line.page)
        np.testing.assert_array_equal(page, pixels_of(line.seq))


def test_records_every_frame_and_gap_and_says_so(tmp_path: Path) -> None:
    with open_stream(n_slots=8) as stream, running(stream, tmp_path / "raw") as run:
        stream.publish(3)
        stream.writer.note_gap(3, 4, "ring_full")
        stream.seq = 5
        stream.publish(1)
        stream.writer.end()
        stream.serve_until(lambda: run.over and not stream.writer.table.owed)
        assert run.error is None
        assert_frames(run, [0, 1, 2, 5])
        assert run.facts["missing"] == {"ring_full": 2}
        nbytes = 4 * SHAPE[0] * SHAPE[1] * 2
        assert (run.count("recorded"), run.count("bytes")) == (4, nbytes)
        assert run.metrics["gauges"]["last_seq"] == 5
        assert run.metrics["gauges"]["backlog"] == 0


def test_successor_of_a_killed_recorder_takes_over(tmp_path: Path) -> None:
    """The predecessor acknowledged 0, 1 and 2, released only 0, and never took 3."""
    folder = tmp_path / "raw"
    with open_stream(n_slots=8) as stream:
        reader = stream.reader("record")
        recorder = Recorder(folder, "raw", part_size_bytes=1 << 20)
        stream.publish(4)
        for seq in range(3):
            frame = read_frame(reader)
            recorder.append(frame.header, frame.pixels)
            if seq == 0:
                reader.release(frame)
        assert recorder._part is not None
        recorder._part.tiff.close()
        recorder._sidecar.close()
        stream.serve_until(lambda: stream.writer.table.owed == 3)
        with running(stream, folder, resume=True) as run:
            stream.publish(1)
            stream.writer.end()
            stream.serve_until(lambda: run.over and not stream.writer.table.owed)
            assert run.error is None
            assert_frames(run, [0, 1, 2, 3, 4])
            assert (run.count("recorded"), run.count("already_recorded")) == (2, 2)
            assert run.facts["frames"] == 5
            assert run.facts["resumed"] == 1
            assert run.facts["complete"]


def test_new_writer_is_followed_without_loss(tmp_path: Path) -> None:
    with open_stream(n_slots=8) as stream, running(stream, tmp_path / "raw") as run:
        stream.publish(2)
        # Killed: no end, no more messages; frames 2 and 3 were captured and are gone.
        stream.writer.close()
        with successor(stream) as heir:
            heir.publish(4, 5)  # before anybody attached
            run.orders.append(heir.order())
            heir.serve_until(lambda: run.count("reattached") == 1)
            heir.publish(6)
            heir.writer.end()
            heir.serve_until(lambda: run.over and not heir.writer.table.owed)
        assert run.error is None
        assert_frames(run, [0, 1, 4, 5, 6])
        [gap] = run.sidecar().gaps
        assert (gap.first, gap.last, gap.reason) == (2, 3, "camera_restarted")
        assert run.facts["complete"]
        assert run.longest_step_s < 0.5


def test_gap_told_by_the_new_writer_keeps_its_reason(tmp_path: Path) -> None:
    with open_stream(n_slots=8) as stream, running(stream, tmp_path / "raw") as run:
        stream.publish(1)
        stream.writer.close()
        with successor(stream) as heir:
            heir.writer.note_gap(3, 4, "ring_full")
            heir.publish(5, 8)
            run.orders.append(heir.order())
            heir.serve_until(lambda: run.count("recorded") == 3)
            heir.writer.end()
            heir.serve_until(lambda: run.over)
        assert [(g.first, g.last, g.reason) for g in run.sidecar().gaps] == [
            (1, 2, "camera_restarted"),
            (3, 4, "ring_full"),
            (6, 7, "missing"),
        ]


def test_silence_of_a_killed_writer_is_not_the_end(tmp_path: Path) -> None:
    with open_stream() as stream, running(stream, tmp_path / "raw") as run:
        stream.publish(1)
        stream.serve_until(lambda: run.count("recorded") == 1)
        stream.writer.close()
        run.thread.join(0.3)
        assert not run.over
        assert run.facts == {}


def test_later_order_wins_when_the_new_writer_is_killed_too(tmp_path: Path) -> None:
    with open_stream(n_slots=8) as stream, running(stream, tmp_path / "raw") as run:
        stream.publish(1)
        stream.writer.close()
        with successor(stream, 1) as dead:
            order = dead.order("first")
        # Neither its ring nor its endpoint is there any more.
        run.orders.append(order)
        time.sleep(0.25)
        assert run.count("reattached") == 0
        with successor(stream, 2) as heir:
            run.orders.append(heir.order("second"))
            heir.publish(2)
            heir.writer.end()
            heir.serve_until(lambda: run.over)
        assert run.error is None
        assert_frames(run, [0, 2])
        assert [g.reason for g in run.sidecar().gaps] == ["second"]
        assert run.longest_step_s < 0.5


def test_stop_during_the_switch_finishes_what_can_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(record_writer, "_DRAIN_SWITCH_NS", 200_000_000)
    with open_stream(n_slots=8) as stream, running(stream, tmp_path / "raw") as run:
        with successor(stream) as dead:
            order = dead.order()
        run.orders.append(order)
        stream.serve_until(lambda: run.switching)
        stream.publish(3)
        run.stage.request_stop(drain=True)
        stream.serve_until(lambda: run.over)
        assert run.error is None
        assert_frames(run, [0, 1, 2])
        assert run.facts["complete"]


def test_stop_during_the_switch_reads_the_new_ring_when_it_answers(tmp_path: Path) -> None:
    with open_stream(n_slots=8) as stream, running(stream, tmp_path / "raw") as run:
        stream.publish(1)
        stream.writer.close()
        with successor(stream) as heir:
            heir.publish(1, 2)
            run.orders.append(heir.order())
            heir.serve_until(lambda: run.switching)
            run.stage.request_stop(drain=True)
            heir.serve_until(lambda: run.over)
        assert_frames(run, [0, 1, 2])


def test_order_for_another_stream_is_not_ours(tmp_path: Path) -> None:
    with open_stream() as stream, running(stream, tmp_path / "raw") as run:
        with successor(stream) as heir:
            run.orders.append(heir.order(stream="clean"))
            stream.publish(2)
            stream.writer.end()
            stream.serve_until(lambda: run.over)
        assert run.count("reattached") == 0
        assert_frames(run, [0, 1])


def test_refused_frame_ends_the_recording(tmp_path: Path) -> None:
    folder = tmp_path / "raw"
    with open_stream() as stream, running(stream, folder) as run:
        stream.publish(1)
        stream.serve_until(lambda: run.count("recorded") == 1)
        (folder / "part-0001.tif").write_bytes(b"in the way")
        # Another binning: a new part, whose name is taken.
        slot = stream.begin()
        assert slot is not None
        stream.writer.publish(slot[0], stream.header(slot[0], binning=2))
        stream.serve_until(lambda: run.over)
        assert run.error is not None
        assert run.error.exit_code == 5
        assert "part-0001.tif" in run.error.message
        assert (run.count("failed"), run.count("recorded")) == (1, 1)
        assert (run.facts["frames"], run.facts["complete"]) == (1, False)


def test_new_writer_that_answers_late_loses_nothing(tmp_path: Path) -> None:
    with open_stream(n_slots=8) as stream, running(stream, tmp_path / "raw") as run:
        stream.publish(2)
        stream.serve_until(lambda: run.count("recorded") == 2)
        stream.writer.close()
        with successor(stream) as heir:
            heir.publish(2, 3)
            run.orders.append(heir.order())
            time.sleep(0.3)  # it opens its camera meanwhile
            heir.serve_until(lambda: run.count("reattached") == 1)
            heir.publish(4)
            heir.writer.end()
            heir.serve_until(lambda: run.over)
        assert run.error is None
        assert_frames(run, [0, 1, 2, 3, 4])
