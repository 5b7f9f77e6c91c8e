"""Send a live view that runs in this process to the daemon, without disturbing it.

    import livedenoise
    tap = livedenoise.tap(core)       # in a script, a notebook, napari-micromanager

Knows: which taps there are. Must not know: how they work (``tapping``).
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from pathlib import Path

from livedenoise.client.sender import FrameSender
from livedenoise.client.tapping import Tap
from livedenoise.core.errors import CameraError, LiveDenoiseError
from livedenoise.micromanager.borrowed import BorrowedCore

_ENDPOINT = "tcp://127.0.0.1:5570"

_taps: weakref.WeakValueDictionary[int, Tap] = weakref.WeakValueDictionary()
_taps_lock = threading.Lock()


def tap(
    core: object,
    endpoint: str = _ENDPOINT,
    *,
    name: str = "live view",
    channel: int = 0,
    poll_ms: float = 5.0,
    max_queue: int = 8,
    keys: Path | str | None = None,
    exposure_refresh_s: float = 0.5,
    on_problem: Callable[[str], object] | None = None,
) -> Tap:
    """Send every frame of this core's live view to a daemon, from now on, whenever it runs.

    The daemon runs a configuration whose camera is of kind "network"; it may be started later. The
    core is held weakly and only read.

    A program that takes its frames out of the core itself (``popNextImage``) leaves those for the
    tap that it has not taken yet; the others are counted as lost. For an acquisition use
    ``livedenoise.hook``.

    Parameters
    ----------
    core : pymmcore.CMMCore
        Also pycromanager's ``Core()`` of the python backend and ``pymmcore_plus.CMMCorePlus``.
    endpoint : str
        ``tcp://ADDRESS:PORT``, the camera's key ``listen``.
    name : str
        For messages.
    channel : int
        Of a multi-camera device; 0 for a camera used alone.
    poll_ms : float
        Time between two looks. Frames that came meanwhile are found all the same.
    max_queue : int
        Frames that may be on their way to the daemon.
    keys : Path or str, optional
        This client's folder of CURVE keys; for another machine.
    exposure_refresh_s : float
        The exposure is read from the core again after this time, and with each new format; so
        are region and binning of a camera whose frames do not tell them.
    on_problem : callable, optional
        Called with a text, in the tap's thread, once for each problem.

    Returns
    -------
    Tap
        ``stop()``, ``counts()``, ``problem``; also a context manager.

    Raises
    ------
    CameraError
        If it is not a core of this process, or it is tapped already.
    BusError
        If the endpoint is not one.
    ConfigError
        If the keys cannot be used.
    """
    _check(poll_ms, channel, exposure_refresh_s)
    borrowed = BorrowedCore(core)
    with _taps_lock:
        _refuse_a_second(core)
        sender = FrameSender(endpoint, keys=keys, max_queue=max_queue)
        try:
            made = Tap(
                borrowed,
                sender,
                name=name,
                endpoint=endpoint,
                channel=channel,
                poll_s=poll_ms * 1e-3,
                exposure_refresh_s=exposure_refresh_s,
                on_problem=on_problem,
            )
        except LiveDenoiseError:
            sender.close(0.0)
            raise
        _taps[id(core)] = made.begin()
    return made


def _check(poll_ms: float, channel: int, exposure_refresh_s: float) -> None:
    if not (poll_ms > 0 and channel >= 0 and exposure_refresh_s >= 0):
        raise CameraError(
            f"poll_ms is {poll_ms}, channel {channel}, exposure_refresh_s {exposure_refresh_s}",
            "the least are: poll_ms above 0, the others 0",
        )


def _refuse_a_second(core: object) -> None:
    other = _taps.get(id(core))
    if other is not None and other.watches(core):
        raise CameraError(
            f"this core is tapped already: {other!r}",
            "stop that tap first; livedenoise.client.tap.tap_of(core).stop() does, too",
        )


def tap_of(core: object) -> Tap | None:
    """Return the tap that watches a core, None when there is none."""
    with _taps_lock:
        found = _taps.get(id(core))
    return found if found is not None and found.watches(core) else None
