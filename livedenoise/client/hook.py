"""``livedenoise.hook()``: one more argument, and a user's own acquisition is denoised live.

The user's data set is as it is without the hook, unless ``denoised="beside"`` asks for more.

Knows: the options. Must not know: how images are taken (``hooking.call``).

Example
-------
>>> import livedenoise                                              # doctest: +SKIP
>>> with Acquisition(image_process_fn=livedenoise.hook()) as acq:   # doctest: +SKIP
...     acq.acquire(events)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from livedenoise.client.hooking.axes import ByAxes, Lookup, check_option
from livedenoise.client.hooking.call import Hook
from livedenoise.core.errors import BusError
from livedenoise.micromanager.tags import Placing

DEFAULT_ENDPOINT = "tcp://127.0.0.1:5570"
DEFAULT_CLEAN_ENDPOINT = "tcp://127.0.0.1:5581"


def hook(
    endpoint: str | Mapping[str | int, str] = DEFAULT_ENDPOINT,
    *,
    keys: Path | str | None = None,
    events: object = None,
    exposure_ms: ByAxes = None,
    role: ByAxes = None,
    channel: ByAxes = None,
    binning: int | None = None,
    roi: Sequence[int] | None = None,
    denoised: Literal["", "beside"] = "",
    clean_endpoint: str = DEFAULT_CLEAN_ENDPOINT,
    copy: bool = True,
    buffer_mb: int = 128,
    wait_s: float = 1.0,
) -> Hook:
    """Return a callable for ``Acquisition(image_process_fn=...)`` or ``(image_saved_fn=...)``.

    Parameters
    ----------
    endpoint : str or dict
        ``listen`` of the daemon's network camera. For a multi-camera device a dict from the
        camera's label, its channel number or the value of the axis ``camera`` or ``channel`` to
        endpoints.
    keys : Path or str, optional
        This client's folder of CURVE keys, for a daemon on another machine.
    events : list of dict, optional
        The very events that are given to ``acq.acquire``: each image then travels with its index in
        them and its commanded exposure. More of them later: ``Hook.expect``.
    exposure_ms : float, dict or callable, optional
        Commanded exposure, for events that do not say it: a number, a dict from the value of the
        axis ``channel``, or a function of the axes. The camera's tag is not used: it is wrong for
        hardware-sequenced images. Without either the daemon's configuration holds.
    role : str, dict or callable, optional
        ``"low"`` or ``"high"``, for pairs of exposures.
    channel : int, dict or callable, optional
        Channel number in the header. Default: the axis ``channel``; names are numbered in their
        order in ``events``, or as they come.
    binning, roi : int, sequence of int, optional
        For cameras whose images do not tell them, which is then said once: binning, and the corner
        (x, y) of the region in unbinned pixels.
    denoised : str
        ``"beside"`` puts the denoised image beside the raw one, where the backend can.
    clean_endpoint : str
        Where the daemon shares denoised frames (``[share]``), for ``denoised="beside"``.
    copy : bool
        False keeps pycromanager's own array instead of a copy until it is sent: only for scripts
        in which nothing changes images in place.
    buffer_mb : int
        Most memory for images that wait to be sent; of hooks that share an endpoint the largest.
    wait_s : float
        Longest wait here, before any acquisition, for the daemon to answer.

    Raises
    ------
    BusError
        If an endpoint, the events or an option cannot be used.
    ConfigError
        If the keys cannot be used.
    """
    _check(endpoint, denoised=denoised, buffer_mb=buffer_mb)
    check_option("exposure_ms", exposure_ms, (int, float))
    check_option("role", role, str)
    check_option("channel", channel, int)
    lookup = Lookup(exposure_ms, role, channel)
    if events is not None:
        lookup.expect(events)
    return Hook(
        {"": endpoint} if isinstance(endpoint, str) else {str(k): v for k, v in endpoint.items()},
        keys=None if keys is None else Path(keys),
        lookup=lookup,
        place=_place(binning, roi),
        beside=clean_endpoint if denoised else "",
        copy=copy,
        buffer_mb=buffer_mb,
        wait_s=wait_s,
    )


def _place(binning: int | None, roi: Sequence[int] | None) -> Placing | None:
    """Return where images lie that do not say it, None where that is not known."""
    if binning is None and roi is None:
        return None
    if binning is not None and not 1 <= binning <= 64:
        raise BusError(f"binning is {binning}, it can be 1 to 64", "leave it out")
    corner = (0, 0) if roi is None else tuple(roi)
    if len(corner) != 2 or min(corner) < 0:
        raise BusError(f"roi is {roi}", "give its corner (x, y), in unbinned pixels")
    return Placing(corner[0], corner[1], binning or 1)


def _check(endpoint: str | Mapping[str | int, str], *, denoised: str, buffer_mb: int) -> None:
    if denoised not in ("", "beside"):
        raise BusError(f"denoised is {denoised!r}", 'leave it out, or denoised="beside"')
    if not 1 <= buffer_mb <= 65536:
        raise BusError(f"buffer_mb is {buffer_mb}, it can be 1 to 65536", "leave the default")
    if not isinstance(endpoint, str) and (not endpoint or denoised):
        raise BusError(
            f"endpoint is {dict(endpoint)}"
            + (f" and denoised is {denoised!r}" if denoised else ""),
            "name at least one endpoint; denoised images come from one endpoint only",
        )
