"""Denoised frames of a daemon in Micro-Manager's own preview window. Experimental.

Knows: a subscription to a daemon, the window's few frames per second. Must not know: how either
works. Not verified with a Micro-Manager window: see ``micromanager.preview``.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

import msgspec

from livedenoise.client.subscriber import FrameSubscriber
from livedenoise.core.clock import now_ns
from livedenoise.micromanager.java_core import JavaCore
from livedenoise.micromanager.preview import PreviewPusher

_SLICE_S = 0.1
_SILENT_S = 3.0
"""Time without a picture after which it is said why."""


class PreviewCounts(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the frames that were received.

    Attributes
    ----------
    shown : int
        Handed to the window.
    left_out : int
        More than ``max_hz`` per second.
    unfit : int
        Of another size or pixel type than the camera has now.
    """

    shown: int
    left_out: int
    unfit: int


def push_forever(
    subscriber: FrameSubscriber,
    core: JavaCore,
    max_hz: float,
    stop: threading.Event,
    *,
    on_silence: Callable[[str], object] | None = None,
) -> PreviewCounts:
    """Show what a daemon publishes in Micro-Manager's window, until ``stop`` is set.

    Parameters
    ----------
    subscriber : FrameSubscriber
        Frames of one camera; it stays open.
    core : JavaCore
        A bridge to the Micro-Manager whose window is meant; it stays open.
    max_hz : float
        Frames shown per second at most.
    stop : threading.Event
        Ends it, within 0.1 s and what a call over the bridge takes.
    on_silence : callable, optional
        Called once, with the reason, when 3 s have passed and nothing was shown.

    Raises
    ------
    CameraError
        If Micro-Manager has no window, refuses a frame or does not answer.
    """
    begun_ns = now_ns()
    with PreviewPusher(core, max_hz) as pusher:
        while not stop.is_set():
            found = subscriber.receive(_SLICE_S)
            if found is not None:
                pusher.show(found[1])
            if on_silence is not None and now_ns() - begun_ns > _SILENT_S * 1e9:
                if not pusher.shown:
                    on_silence(_why_silent(subscriber, pusher))
                on_silence = None
        return PreviewCounts(shown=pusher.shown, left_out=pusher.left_out, unfit=pusher.unfit)


def _why_silent(subscriber: FrameSubscriber, pusher: PreviewPusher) -> str:
    """Return why nothing was shown so far, as far as it can be told from here, and the mend."""
    if pusher.unfit:
        return (
            "nothing is shown: what comes has another size or pixel type than the camera in "
            f"Micro-Manager has now ({pusher.unfit} left out); share the frames of that camera, "
            "with its region"
        )
    if subscriber.refused:
        reasons = ", ".join(f"{count} {reason}" for reason, count in subscriber.refused.items())
        return f"nothing is shown: what comes are no frames of livedenoise ({reasons})"
    why = f" ({subscriber.problem})" if subscriber.problem else ""
    return (
        f"nothing is shown: no frame came{why}; is livedenoise running, with [share] enabled = "
        "true on this endpoint, and does it denoise? It is waited for"
    )
