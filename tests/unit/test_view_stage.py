"""The view stage on real streams, writers in this process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import msgspec
import numpy as np
import pytest
from stream_kit import Stream, open_stream

from livedenoise.bus import wire
from livedenoise.client.subscriber import FrameSubscriber
from livedenoise.core.clock import now_ns
from livedenoise.core.constants import CameraConstants
from livedenoise.core.frame import FrameFlags
from livedenoise.core.metrics import metrics_from_wire
from livedenoise.core.status import Preview, QualityStatus
from livedenoise.supervise.stage import no_pulse
from livedenoise.view.stage import ViewStage

SHAPE = (40, 48)
DENOISED = int(FrameFlags.DENOISED)
PASSTHROUGH = int(FrameFlags.PASSTHROUGH)
CAMERA = CameraConstants(
    gain_e_per_adu=0.5, offset_adu=100.0, read_noise_e=1.0, source="calibration"
)
LEVEL_E = 50.0


class Rig:
    """A configured stage and the streams it reads."""

    def __init__(self, raw: Stream, clean: Stream | None, **changes: Any) -> None:
        self.raw, self.clean = raw, clean
        self.rng = np.random.default_rng(0)
        self.stage = ViewStage({})
        wiring: dict[str, Any] = {
            "camera": "cam",
            "raw_ring": msgspec.to_builtins(raw.ring.spec),
            "raw_endpoint": raw.writer.endpoint,
            "clean_ring": None if clean is None else msgspec.to_builtins(clean.ring.spec),
            "clean_endpoint": "" if clean is None else clean.writer.endpoint,
            "constants": msgspec.to_builtins(CAMERA),
            "quantum_efficiency": 0.5,
            "bit_depth": 16,
            "period_ns": 1_000_000,
            "sample_hz": 1e6,
            "window": 20,
            "preview_px": 16,
        }
        assert self.stage.open() == {}
        self.ready = self.stage.configure(wiring | changes)
        self.stage.start(no_pulse)
        self.attached(raw, "view")
        if clean is not None:
            self.attached(clean, "view")

    def attached(self, stream: Stream, reader: str) -> None:
        stream.serve_until(lambda: reader in stream.writer.readers())

    def publish(self, flags: int | None = DENOISED) -> None:
        """Publish the next raw frame and, unless ``flags`` is None, its clean one."""
        clean = self.clean if flags is not None else None
        for stream in (self.raw, clean):
            if stream is None:
                continue
            stream.seq = self.raw.seq
            slot = stream.begin()
            assert slot is not None, "a view must never fill a ring"
            grant, pixels = slot
            pixels[...] = 200 if stream is clean else self.noisy()
            name = "clean" if stream is clean else "raw"
            header = stream.header(grant, stream=name, flags=flags if stream is clean else 0)
            stream.writer.publish(grant, header)
        self.raw.seq += 1

    def noisy(self) -> np.ndarray:
        return np.rint(self.rng.poisson(LEVEL_E, SHAPE) / 0.5 + 100)

    def sample(self, n: int = 1, flags: int | None = DENOISED) -> None:
        """Publish frames until ``n`` more samples were taken."""
        wanted = self.samples + n
        deadline_ns = now_ns() + 10_000_000_000
        while self.samples < wanted:
            assert now_ns() < deadline_ns, f"no sample: {self.stage.metrics()['counts']}"
            self.publish(flags)
            assert self.stage.step()

    @property
    def samples(self) -> int:
        return int(self.stage.metrics()["counts"].get("samples", 0))

    @property
    def quality(self) -> QualityStatus:
        return msgspec.convert(self.over_the_wire()["quality"], QualityStatus)

    @property
    def preview(self) -> Preview:
        return msgspec.convert(self.over_the_wire()["preview"], Preview)

    def over_the_wire(self) -> dict[str, Any]:
        beat = wire.Beat(t_step_ns=0, busy_until_ns=0, metrics=self.stage.metrics())
        found = wire.expect(wire.decode(wire.encode(beat)), wire.Beat).metrics
        metrics_from_wire(found)
        return found


@contextmanager
def rig(*, clean: bool = True, n_slots: int = 16, **changes: Any) -> Iterator[Rig]:
    with (
        open_stream(n_slots=n_slots, shape=SHAPE) as raw_stream,
        open_stream(n_slots=n_slots, shape=SHAPE) as clean_stream,
    ):
        made = Rig(raw_stream, clean_stream if clean else None, **changes)
        try:
            yield made
        finally:
            made.stage.close()


def test_figures_and_pictures_of_both_streams() -> None:
    with rig() as view:
        view.sample(20)
        figures = view.quality.figures
        assert figures["signal_e"].value == pytest.approx(LEVEL_E, rel=0.01)
        assert figures["photons"].value == pytest.approx(2 * LEVEL_E, rel=0.01)
        assert figures["gain_db"].n == 20
        assert figures["variance_ratio"].value == pytest.approx(1.0, abs=0.05)
        assert view.quality.constants == "calibration"
        preview = view.preview
        assert (preview.height, preview.width) == (16, 16)
        assert len(preview.raw) == len(preview.clean) == 256
        assert np.ptp(np.frombuffer(preview.raw, np.uint8)) > 0
        assert np.ptp(np.frombuffer(preview.clean, np.uint8)) == 0
        assert view.stage.facts() == {"samples": 20}


def test_without_a_clean_stream_the_raw_figures_go_on() -> None:
    with rig(clean=False) as view:
        view.sample(20)
        assert view.quality.figures["signal_e"].n == 20
        assert view.quality.figures["gain_db"].n == 0
        assert view.preview.clean == b""


def test_frames_that_passed_through_are_not_denoised() -> None:
    with rig() as view:
        view.sample(3, flags=PASSTHROUGH)
        assert view.quality.figures["gain_db"].n == 0
        view.sample(2)
        assert view.quality.figures["gain_db"].n == 2


def test_a_clean_stream_that_stops_does_not_stop_the_samples() -> None:
    with rig() as view:
        view.sample(1)
        view.sample(3, flags=None)
        assert view.quality.figures["gain_db"].n == 1
        assert view.stage.metrics()["counts"]["unmatched"] >= 3
        # The first clean frames may come a little after their raw ones.
        for _ in range(5):
            view.sample(1)
            if view.quality.figures["gain_db"].n > 1:
                return
        pytest.fail("the clean stream goes on, and no sample is matched")


def test_a_view_that_never_reads_holds_nobody_up() -> None:
    with rig(n_slots=4) as view:
        for _ in range(300):
            view.publish()
        assert view.raw.writer.table.dropped_full == 0
        assert view.raw.writer.table.owed == 0
        assert view.raw.seq == 300
        view.sample(2)


def test_a_replaced_writer_is_followed_at_once() -> None:
    with open_stream(n_slots=16, shape=SHAPE) as successor, rig() as view:
        view.sample(2)
        order = wire.Reattach(
            stream="raw",
            ring=msgspec.to_builtins(successor.ring.spec),
            endpoint=successor.writer.endpoint,
            reason="acquire_restarted",
        )
        view.stage.on_order(order)
        view.attached(successor, "view")
        view.raw.serve_until(lambda: "view" not in view.raw.writer.readers())
        successor.seq, view.raw = view.raw.seq, successor
        view.sample(2)
        assert view.quality.figures["gain_db"].n == 4


def test_a_clean_stream_may_come_later() -> None:
    with open_stream(n_slots=16, shape=SHAPE) as clean, rig(clean=False) as view:
        view.sample(1)
        ring = msgspec.to_builtins(clean.ring.spec)
        view.stage.on_order(
            wire.Reattach(stream="clean", ring=ring, endpoint=clean.writer.endpoint, reason="r")
        )
        view.clean = clean
        view.attached(clean, "view")
        view.sample(2)
        assert view.quality.figures["gain_db"].n >= 1


def test_constants_learnt_while_running_are_used() -> None:
    with rig(constants=None) as view:
        view.sample(2)
        assert view.quality.constants == ""
        view.stage.on_order(wire.Learnt(facts={"other": 1}))
        assert view.quality.figures["gain_db"].n == 2
        view.stage.on_order(wire.Learnt(facts={"constants": msgspec.to_builtins(CAMERA)}))
        assert view.quality.figures["gain_db"].n == 0
        view.sample(20)
        assert view.quality.constants == "calibration"
        assert view.quality.figures["signal_e"].value == pytest.approx(LEVEL_E, rel=0.01)


def test_the_end_of_the_raw_stream_ends_it() -> None:
    with rig() as view:
        view.sample(1)
        view.raw.writer.end()
        deadline_ns = now_ns() + 5_000_000_000
        while view.stage.step():
            assert now_ns() < deadline_ns, "it does not end"


def test_a_stream_without_an_end_is_ended_by_a_stop() -> None:
    with rig() as view:
        view.sample(1)
        assert all(view.stage.step() for _ in range(5))
        view.stage.request_stop(drain=True)
        assert not view.stage.step()


def test_between_samples_it_sleeps_and_frames_are_given_back() -> None:
    with rig(sample_hz=0.001) as view:
        view.sample(1)
        for _ in range(50):
            view.publish()
        started_ns = now_ns()
        assert view.stage.step()
        assert now_ns() - started_ns > 10_000_000
        assert view.samples == 1
        assert not view.raw.ring.leases()


def test_samples_may_be_off() -> None:
    with rig(sample_hz=0) as view:
        view.publish()
        assert view.stage.step()
        assert view.samples == 0


def test_before_it_is_configured_it_has_nothing_to_say() -> None:
    stage = ViewStage({})
    assert stage.facts() == {}
    assert stage.metrics()["quality"] is None
    stage.close()


@pytest.mark.parametrize("share_frames", ["both", "clean", "raw"])
def test_frames_are_shared_no_faster_than_asked(share_frames: str) -> None:
    sharing = {"share_frames": share_frames, "share_max_hz": 20.0}
    shared = {"both": {"raw", "clean"}}.get(share_frames, {share_frames})
    with rig(share_endpoint="tcp://127.0.0.1:*", **sharing) as view, ExitStack() as stack:
        streams = {"raw": view.raw, "clean": view.clean}
        subscribers = {
            name: stack.enter_context(FrameSubscriber(view.ready["share"], stream=name))
            for name in streams
        }
        for name in shared:
            view.attached(streams[name], "share")
        got, first_ns = [], now_ns()
        while sum(name == header.stream for header, _ in got for name in shared) < 6 or (
            {header.stream for header, _ in got} != shared
        ):
            assert now_ns() - first_ns < 10_000_000_000, "nothing was shared"
            view.publish()
            assert view.stage.step()
            found = [subscriber.receive(0.001) for subscriber in subscribers.values()]
            got += [one for one in found if one is not None]
        elapsed_s = (now_ns() - first_ns) * 1e-9
        for header, pixels in got:
            assert pixels.shape == SHAPE
            assert (pixels == 200).all() == (header.stream == "clean")
        counts = view.stage.metrics()["counts"]
        assert 6 <= counts["shared"] <= len(shared) * (elapsed_s * 20 + 1)
        assert counts["share_refused"] == counts["shared_torn"] == 0
        assert view.samples > 0
