"""Denoised frames of a daemon in Micro-Manager's own preview window. Experimental.

Knows: a subscription to a daemon, the window's few frames per second. Must not know: how either
works. Not verified with a Micro-Manager window: see ``micromanager.preview``.
"""

from __future__ import annotations

import threading

import msgspec

from livedenoise.client.subscriber import FrameSubscriber
from livedenoise.micromanager.java_core import JavaCore
from livedenoise.micromanager.preview import PreviewPusher

_SLICE_S = 0.1


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
    subscriber: FrameSubscriber, core: JavaCore, max_hz: float, stop: threading.Event
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

    Raises
    ------
    CameraError
        If Micro-Manager has no window, refuses a frame or does not answer.
    """
    with PreviewPusher(core, max_hz) as pusher:
        while not stop.is_set():
            found = subscriber.receive(_SLICE_S)
            if found is not None:
                pusher.show(found[1])
        return PreviewCounts(shown=pusher.shown, left_out=pusher.left_out, unfit=pusher.unfit)
