"""A tap whose Micro-Manager is slow, hangs, dies or is not there, or that is asked too much."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from bridge.client import BridgeProcess
from java_bridge_kit import bridge, shared_bridge
from java_tap_kit import live, show, tap, watching
from tap_kit import free_endpoint

from livedenoise.core.camera import Captured, Event, StreamRequest
from livedenoise.core.clock import now_ns
from livedenoise.core.errors import CameraError

__all__ = ["bridge", "live", "shared_bridge"]

AT_ONCE_S = 5.0
"""Much less than what would be waited for otherwise, also on a slow host."""


# What a tap makes of slow looks, with a clock of its own: test_watch_pace.py.


def test_where_looks_are_slower_than_frames_every_look_is_a_frame(live: BridgeProcess) -> None:
    with watching(live) as watched:
        live.fault("delay", "pix", times=-1, delay_ms=25)
        watched.take(20)
        looks = live.state()["calls"]["getNBeforeLastTaggedImage"]
        watched.take(20)
        assert live.state()["calls"]["getNBeforeLastTaggedImage"] - looks < 25
        assert watched.camera.counters()["lost"] > 20


def test_what_a_long_look_keeps_from_being_seen_is_counted(
    live: BridgeProcess, eventually: Any
) -> None:
    """One look is held until some frames have come, and the live view is switched off."""
    with watching(live) as watched:
        frames = watched.take(10)
        live.fault("hang", "pix")
        thread = threading.Thread(target=lambda: frames.extend(watched.frames))
        thread.start()
        eventually(lambda: live.traffic()["hanging"])
        held_ns, remaining = now_ns(), live.state()["remaining"]
        eventually(lambda: abs(live.state()["remaining"] - remaining) > 10)  # or it was cleared
        live.order("live", on=False)
        live.order("release")
        eventually(lambda: frames[-1].t_host_ns > held_ns)
        watched.camera.stop()
        thread.join(10)
        counters = watched.camera.counters()
    seqs = [frame.camera_seq for frame in frames]
    assert seqs == sorted(set(seqs))
    assert counters["lost"] == seqs[-1] + 1 - len(seqs)


def test_java_dying_ends_the_run_at_once(start_bridge: Callable[..., BridgeProcess]) -> None:
    doomed = start_bridge()
    show(doomed)
    with watching(doomed, call_timeout_s=60.0) as watched:
        watched.take(2)
        doomed.kill()
        began = time.perf_counter()
        with pytest.raises(CameraError, match="went away") as caught:
            watched.until(lambda _: False)
        assert time.perf_counter() - began < AT_ONCE_S
    assert caught.value.exit_code == 3


def test_java_not_answering_ends_the_run_within_the_limit(live: BridgeProcess) -> None:
    with watching(live, call_timeout_s=0.4) as watched:
        watched.take(2)
        live.fault("hang", "*", times=-1)
        began = time.perf_counter()
        with pytest.raises(CameraError, match=r"within 0\.4 s"):
            watched.until(lambda _: False)
        assert time.perf_counter() - began < 0.4 + AT_ONCE_S


def test_a_stop_does_not_wait_for_an_answer_that_never_comes(
    live: BridgeProcess, eventually: Any
) -> None:
    with watching(live, call_timeout_s=60.0) as watched:
        watched.take(2)
        live.fault("hang", "*", times=-1)
        rest: list[list[Captured]] = []
        thread = threading.Thread(target=lambda: rest.append(list(watched.frames)))
        thread.start()
        eventually(lambda: live.state()["hanging"])
        began = time.perf_counter()
        watched.camera.stop()
        stopped_s = time.perf_counter() - began
        thread.join(2)
        watched.camera.close()
        closed_s = time.perf_counter() - began
    assert stopped_s < 1.5, "as long as it waits at most"
    assert closed_s < AT_ONCE_S
    assert len(rest) == 1


def test_nothing_listens() -> None:
    port = int(free_endpoint().rpartition(":")[2])
    with pytest.raises(CameraError, match="nothing listens") as caught:
        tap(port).open()
    assert f"Run server on port {port}" in caught.value.hint


@pytest.mark.parametrize(
    ("what", "values"),
    [("roi", {"roi": (0, 0, 8, 8)}), ("exposure_us", {"exposure_us": 5}),
     ("binning", {"binning": 2}), ("events", {"events": (Event(index=0, exposure_us=5),)})],
)  # fmt: skip
def test_what_only_the_owner_can_do_is_refused(
    bridge: BridgeProcess, what: str, values: dict[str, Any]
) -> None:
    camera = tap(bridge.port)
    camera.open()
    request = StreamRequest(**({"exposure_us": 0, "binning": 0} | values))
    with pytest.raises(CameraError, match=f"{what} = .* a tap changes nothing") as caught:
        camera.prepare(request)
    assert 'mode = "own"' in caught.value.hint
    camera.close()


@pytest.mark.parametrize(
    ("values", "message"),
    [({"device": "Other"}, "camera is Camera, device is Other"), ({"channel": 1}, "1 channel")],
)
def test_another_camera_than_the_live_views_is_refused(
    bridge: BridgeProcess, values: dict[str, Any], message: str
) -> None:
    camera = tap(bridge.port, **values)
    with pytest.raises(CameraError, match=message):
        camera.open()
    camera.close()
