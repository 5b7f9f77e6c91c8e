"""Frames of ours in Micro-Manager's preview, as far as a stand-in without a window can tell."""

from __future__ import annotations

import threading
import zlib
from typing import Any, cast

import numpy as np
import pytest
from bridge.client import BridgeProcess
from java_bridge_kit import bridge, core, shared_bridge

from livedenoise.client import FrameSubscriber, mm_preview
from livedenoise.client.mm_preview import PreviewCounts, push_forever
from livedenoise.core.errors import CameraError
from livedenoise.micromanager.java_core import JavaCore
from livedenoise.micromanager.preview import PreviewPusher

__all__ = ["bridge", "core", "shared_bridge"]


def picture(dtype: str = "<u2") -> np.ndarray[Any, Any]:
    pixels = np.arange(512 * 512).reshape(512, 512)
    return (pixels * 7 % (1 << 8 * np.dtype(dtype).itemsize)).astype(dtype)


@pytest.mark.parametrize(("dtype", "nbytes"), [("<u2", 2), ("|u1", 1)])
def test_a_frame_arrives_as_it_is(
    bridge: BridgeProcess, core: JavaCore, dtype: str, nbytes: int
) -> None:
    core.set_property("Camera", "PixelType", "8bit" if nbytes == 1 else "16bit")
    with PreviewPusher(core) as pusher:
        assert pusher.show(picture(dtype))
    shown = bridge.state()["displayed"][-1]
    assert (shown["shape"], shown["bytes_per_pixel"]) == ([512, 512], nbytes)
    assert shown["crc32"] == zlib.crc32(picture(dtype).tobytes())
    assert shown["metadata"] == {}, "an image number seen before would not be drawn"


def test_a_frame_costs_three_questions_and_leaves_nothing_in_java(
    bridge: BridgeProcess, core: JavaCore
) -> None:
    core.exposure_ms()
    objects = bridge.state()["objects"]
    with PreviewPusher(core, max_hz=1e6) as pusher:
        pusher.show(picture())
        core.exposure_ms()
        before = core.questions
        assert pusher.show(picture())
        core.exposure_ms()
        assert core.questions - before == 3 + 1
    core.exposure_ms()
    assert bridge.state()["objects"] == objects


def test_no_more_than_asked_for_are_shown(bridge: BridgeProcess, core: JavaCore) -> None:
    before = bridge.state()["display_count"]
    with PreviewPusher(core, max_hz=0.01) as pusher:
        assert [pusher.show(picture()) for _ in range(4)] == [True, False, False, False]
        assert (pusher.shown, pusher.left_out) == (1, 3)
    assert bridge.state()["display_count"] - before == 1


@pytest.mark.parametrize("pixels", [picture()[:256], picture("|u1"), picture().astype("<f4")])
def test_a_frame_that_would_make_the_window_anew_is_not_shown(
    bridge: BridgeProcess, core: JavaCore, pixels: np.ndarray[Any, Any]
) -> None:
    core.set_property("Camera", "PixelType", "16bit")
    before = bridge.state()["display_count"]
    with PreviewPusher(core, max_hz=1e6) as pusher:
        assert not pusher.show(pixels)
        assert (pusher.shown, pusher.unfit) == (0, 1)
    assert bridge.state()["display_count"] == before


def test_what_micro_manager_refuses_is_told(bridge: BridgeProcess, core: JavaCore) -> None:
    with PreviewPusher(core) as pusher:
        core.set_property("Camera", "PixelType", "16bit")
        bridge.fault("throw", "displayImage", message="no display")
        with pytest.raises(CameraError, match="no display"):
            pusher.show(picture())
        assert pusher.shown == 0


def test_without_a_window_it_says_so(bridge: BridgeProcess, core: JavaCore) -> None:
    bridge.fault("throw", "get-constructors", message="org.micromanager.Studio")
    with pytest.raises(CameraError, match=r"org\.micromanager\.Studio"):
        PreviewPusher(core)
    with pytest.raises(CameraError, match="max_hz is 0"):
        PreviewPusher(core, max_hz=0)


class Frames:
    """A subscriber with a few frames, who then asks to stop."""

    def __init__(self, count: int, stop: threading.Event) -> None:
        self._left, self._stop = count, stop

    def receive(self, timeout_s: float) -> tuple[None, np.ndarray[Any, Any]] | None:
        del timeout_s
        self._left -= 1
        if self._left >= 0:
            return None, picture()
        self._stop.set()
        return None


def test_a_subscription_is_shown_until_stopped(bridge: BridgeProcess, core: JavaCore) -> None:
    core.set_property("Camera", "PixelType", "16bit")
    stop, before = threading.Event(), bridge.state()["display_count"]
    counts = push_forever(cast("Any", Frames(5, stop)), core, 1e6, stop)
    assert counts == PreviewCounts(shown=5, left_out=0, unfit=0)
    assert bridge.state()["display_count"] - before == 5


def why_silent(
    core: JavaCore, frames: list[np.ndarray[Any, Any]], refused: dict[str, int], problem: str = ""
) -> list[str]:
    """Return what is said when these frames came, over and over, for longer than it is silent."""
    stop, said = threading.Event(), []
    rounds = 0

    class Subscriber:
        def receive(self, timeout_s: float) -> tuple[None, np.ndarray[Any, Any]] | None:
            assert timeout_s > 0
            nonlocal rounds
            rounds += 1
            if rounds > 20:
                stop.set()
            return (None, frames[rounds % len(frames)]) if frames else None

    stand_in = Subscriber()
    stand_in.refused, stand_in.problem = refused, problem  # type: ignore[attr-defined]
    subscriber = cast("FrameSubscriber", stand_in)
    push_forever(subscriber, core, 1e6, stop, on_silence=said.append)
    return said


def test_why_nothing_is_shown_is_said_once(core: JavaCore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mm_preview, "_SILENT_S", 0.0)
    (text,) = why_silent(core, [picture()[:256]], {})
    assert "what comes has another size" in text
    (text,) = why_silent(core, [], {"parts": 3})
    assert "no frames of livedenoise (3 parts)" in text
    (text,) = why_silent(core, [], {}, "a wrong key")
    assert "no frame came (a wrong key); is livedenoise running" in text
    assert why_silent(core, [picture()], {}) == []
