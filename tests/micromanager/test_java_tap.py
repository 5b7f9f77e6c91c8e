"""A live view of Micro-Manager's window, watched over the bridge and left as it is."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest
from bridge.client import BridgeProcess
from java_bridge_kit import bridge, shared_bridge
from java_tap_kit import ASK, change, live, tap, watching

from livedenoise.core.camera import WAITS
from livedenoise.core.clock import now_ns
from livedenoise.core.errors import CameraError
from livedenoise.core.frame import FrameFlags

__all__ = ["bridge", "live", "shared_bridge"]

READING = (
    "get", "is", "has", "connect", "constructor", "destructor", "run-method", "pix", "tags",
    "x", "y", "width", "height", "size",
)  # fmt: skip


def settings(bridge: BridgeProcess) -> dict[str, Any]:
    """Return the state without what a live view changes by itself."""
    moving = ("remaining", "live_frames_read", "calls", "hanging")
    return {key: value for key, value in bridge.state().items() if key not in moving}


def test_a_tap_changes_nothing(live: BridgeProcess, eventually: Any) -> None:
    before = settings(live)
    with watching(live) as watched:
        watched.take(20)
    after = live.state()
    assert settings(live) == before
    assert {call for call in after["calls"] if not call.startswith(READING)} == set()
    read = after["live_frames_read"]
    assert eventually(lambda: live.state()["live_frames_read"] > read + 2)


def test_every_frame_of_a_moderate_rate_is_seen_or_counted(live: BridgeProcess) -> None:
    live.order("live", on=False)
    live.user("setExposure", 25.0)
    live.order("live", on=True)
    with watching(live) as watched:
        frames = watched.take(30)
        lost = watched.camera.counters()["lost"]
    # On a slow host some may be lost: never unnoticed. test_watch_pace.py: none where it keeps up.
    seqs = [frame.camera_seq for frame in frames]
    assert seqs == sorted(set(seqs))
    assert (seqs[0], seqs[-1]) == (0, 29 + lost)
    steps_ms = np.diff([frame.t_camera_ns for frame in frames]) * 1e-6 / np.diff(seqs)
    assert np.median(steps_ms) > 24.0, "no more frames than were exposed"


def test_frames_are_what_the_camera_is_set_to(live: BridgeProcess) -> None:
    with watching(live) as watched:
        assert WAITS in watched.info.capabilities
        assert "live view of Camera" in watched.info.notes[0]
        assert watched.prepared.shape == watched.prepared.max_shape == (512, 512)
        assert (watched.prepared.period_ns, watched.prepared.exposure_us) == (0, 10_000)
        (frame,) = watched.take(1)
    assert (frame.shape, frame.dtype, frame.exposure_us) == ((512, 512), "<u2", 10_000)
    assert (frame.roi_x, frame.roi_y, frame.binning, frame.flags) == (0, 0, 1, 0)


def test_the_rate_is_as_configured(live: BridgeProcess) -> None:
    with watching(live, rate_hz=40.0) as watched:
        assert watched.prepared.period_ns == 25_000_000


def test_it_waits_for_a_live_view_and_for_the_next_one(bridge: BridgeProcess) -> None:
    bridge.user("setExposure", 5.0)
    idle: list[int] = []

    def switch_on_late() -> None:
        idle.append(now_ns())
        if len(idle) == 5:
            bridge.order("live", on=True)

    with watching(bridge) as watched:
        watched.camera.on_idle = switch_on_late
        first = watched.take(3)
        waits_ms = np.diff(idle[:5]) * 1e-6
        assert (waits_ms > 45).all()
        idle.clear()
        bridge.order("live", on=False)
        # What the first live view exposed until then comes before the second one's frames.
        next_view = watched.until(lambda _: len(idle) >= 5)
        counters = watched.camera.counters()
    seqs = [frame.camera_seq for frame in (*first, next_view)]
    assert seqs[0] == 0
    assert seqs == sorted(set(seqs))
    assert next_view.t_camera_ns < 1_000_000_000
    assert counters["restarts"] == 1
    assert bool(next_view.flags & FrameFlags.AFTER_GAP) == bool(counters["loss_unknown"])


def test_what_an_ended_live_view_left_behind_is_not_seen_now(
    live: BridgeProcess, eventually: Any
) -> None:
    eventually(lambda: live.state()["remaining"] > 5)
    live.order("live", on=False)
    with watching(live) as watched:
        began_ns = now_ns()
        watched.camera.on_idle = lambda: live.order("live", on=True)
        (frame,) = watched.take(1)
    assert frame.camera_seq == 0
    assert frame.t_host_ns > began_ns


def test_frames_missed_are_counted(start_bridge: Any, eventually: Any) -> None:
    """The reader comes back when the buffer was cleared twice."""
    bridge = start_bridge(buffer_mb=16)
    bridge.user("setProperty", "Camera", "FastImage", "1")
    bridge.user("setExposure", 2.0)
    bridge.order("live", on=True)
    with watching(bridge) as watched:
        (first,) = watched.take(1)
        counts = [bridge.state()["remaining"]]

        def cleared() -> bool:
            counts.append(bridge.state()["remaining"])
            return sum(np.diff(counts) < 0) >= 2

        eventually(cleared)
        frames = [first, *watched.take(20)]
        lost = watched.camera.counters()["lost"]
    seqs = [frame.camera_seq for frame in frames]
    assert seqs == sorted(set(seqs))
    assert lost == seqs[-1] - seqs[0] - 20 > 16
    elapsed_ms = (frames[-1].t_camera_ns - first.t_camera_ns) * 1e-6
    assert elapsed_ms / (seqs[-1] - seqs[0]) > 2.0, "no more frames than were exposed"


def test_image_numbers_that_start_again_do_not_repeat_ours(live: BridgeProcess) -> None:
    live.order("numbering", period=7)
    with watching(live) as watched:
        frames = watched.take(30)
    seqs = [frame.camera_seq for frame in frames]
    assert seqs == sorted(set(seqs))
    assert [frame.t_camera_ns for frame in frames] == sorted({f.t_camera_ns for f in frames})


def test_a_new_region_is_a_new_format(live: BridgeProcess) -> None:
    with watching(live) as watched:
        watched.take(3)
        change(live, ("setROI", 32, 48, 200, 100))
        frame = watched.until(lambda frame: frame.shape != (512, 512))
        assert frame.shape == watched.slot.shape == (100, 200)
        assert (frame.roi_x, frame.roi_y, frame.exposure_us) == (32, 48, 10_000)
        change(live, ("clearROI",))
        assert watched.until(lambda frame: frame.shape == (512, 512)).roi_x == 0


def test_a_new_binning_is_a_new_format(live: BridgeProcess) -> None:
    with watching(live) as watched:
        watched.take(3)
        change(live, ("setProperty", "Camera", "Binning", "4"), ("setROI", 8, 4, 64, 32))
        frame = watched.until(lambda frame: frame.shape != (512, 512))
        assert (frame.shape, frame.binning) == ((32, 64), 4)
        assert (frame.roi_x, frame.roi_y) == (32, 16), "the corner is in unbinned pixels"


def test_a_new_exposure_is_known_when_it_is_asked_for_next(live: BridgeProcess) -> None:
    with watching(live) as watched:
        watched.take(3)
        live.user("setExposure", 17.0)
        asked = live.state()["calls"]["getExposure"]
        watched.until(lambda frame: frame.exposure_us == 17_000)
        assert live.state()["calls"]["getExposure"] <= asked + 2


def test_the_exposure_is_not_asked_for_with_every_frame(live: BridgeProcess) -> None:
    with watching(live) as watched:
        watched.take(1)
        before = live.state()["calls"]["getExposure"]
        began = time.perf_counter()
        watched.take(40)
        most = (time.perf_counter() - began) / 0.5 + 1
        assert live.state()["calls"]["getExposure"] - before <= most


def test_eight_bits_among_sixteen(live: BridgeProcess) -> None:
    with watching(live) as watched:
        watched.take(2)
        change(live, ("setProperty", "Camera", "PixelType", "8bit"))
        assert watched.until(lambda frame: frame.dtype == "|u1").shape == (512, 512)
        assert watched.slot.dtype == np.uint8


def test_sixteen_bits_where_eight_were_prepared_end_the_run(bridge: BridgeProcess) -> None:
    bridge.user("setProperty", "Camera", "PixelType", "8bit")
    bridge.order("live", on=True)
    with watching(bridge) as watched:
        watched.take(2)
        change(bridge, ("setProperty", "Camera", "PixelType", "16bit"))
        with pytest.raises(CameraError, match=r"512x512 16-bit pixels.*512x512 8-bit"):
            watched.until(lambda frame: frame.dtype == "<u2")


def test_a_frame_beyond_those_prepared_ends_the_run_with_the_mend(live: BridgeProcess) -> None:
    change(live, ("setROI", 0, 0, 128, 64))
    with watching(live) as watched:
        assert watched.prepared.max_shape == (64, 128)
        watched.take(2)
        change(live, ("clearROI",))
        with pytest.raises(CameraError, match="512x512") as caught:
            watched.until(lambda frame: frame.shape == (512, 512))
    assert "sensor_px = [512, 512]" in caught.value.hint
    assert caught.value.exit_code == 3


def test_with_the_sensor_configured_a_larger_frame_is_welcome(live: BridgeProcess) -> None:
    change(live, ("setROI", 0, 0, 128, 64))
    with watching(live, sensor_px=(512, 512)) as watched:
        assert watched.prepared.max_shape == watched.info.sensor == (512, 512)
        watched.take(2)
        change(live, ("clearROI",))
        watched.until(lambda frame: frame.shape == (512, 512))


def test_a_sensor_configured_too_small_is_refused_at_once(live: BridgeProcess) -> None:
    camera = tap(live.port, sensor_px=(400, 300))
    camera.open()
    with pytest.raises(CameraError, match="at most 400x300"):
        camera.prepare(ASK)
    camera.close()


def test_the_time_of_a_frame_is_when_the_core_had_it(live: BridgeProcess) -> None:
    with watching(live) as watched:
        watched.take(3)
        live.fault("delay", "pix", times=-1, delay_ms=60)
        # Those exposed from now on are looked at with the delay.
        ordered_ns = now_ns()
        watched.until(lambda frame: frame.t_host_ns > ordered_ns)
        for _ in range(3):
            (frame,) = watched.take(1)
            assert now_ns() - frame.t_host_ns > 60_000_000


def test_a_saturated_frame_says_so(live: BridgeProcess) -> None:
    change(
        live,
        ("setProperty", "Camera", "FastImage", "0"),
        ("setProperty", "Camera", "BitDepth", "8"),
        ("setProperty", "Camera", "PixelType", "8bit"),
        ("setProperty", "Camera", "SaturatePixels", "1"),
        ("setProperty", "Camera", "FractionOfPixelsToDropOrSaturate", "0.1"),
    )
    with watching(live) as watched:
        watched.until(lambda frame: bool(frame.flags & FrameFlags.SATURATED))
        assert watched.slot.max() == 255
