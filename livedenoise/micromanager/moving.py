"""Sending a stage or a focus drive somewhere, and making sure that it is there.

Knows: which calls move one, how far from its target counts as there. Must not know: why it is sent,
configurations.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from livedenoise.core.clock import now_ns
from livedenoise.core.errors import CameraError
from livedenoise.micromanager.core import Core, CoreGoneError
from livedenoise.micromanager.devices import wait_ready

_LATE_S = 0.25
"""Some adapters say that they are done, and tell the new position a little later."""
_AGAIN_S = 0.01


class MoveLimits(NamedTuple):
    """How long a move may take, and how far from its target it may end."""

    timeout_s: float = 60.0
    xy_tolerance_um: float = 5.0
    z_tolerance_um: float = 5.0


BACK = MoveLimits()
"""For putting a stage back: whoever does that knows no configuration."""


def xy_of(core: Core, label: str) -> tuple[float, float]:
    """Return where an XY stage says it is, in micrometres; 2 calls."""
    return core.number("getXPosition", label), core.number("getYPosition", label)


def z_of(core: Core, label: str) -> float:
    """Return where a focus drive says it is, in micrometres."""
    return core.number("getPosition", label)


def go_xy(
    core: Core,
    label: str,
    target: tuple[float, float],
    limits: MoveLimits = BACK,
    aborted: threading.Event | None = None,
) -> None:
    """Send an XY stage to ``target`` (x, y in micrometres) and wait until it is there.

    Raises
    ------
    CameraError
        Naming device and target: if that is no finite number, if it refuses, is busy for too
        long, or says that it is done and is somewhere else (both positions are named).
    """
    x_um, y_um = target
    _require_finite(label, target)
    with _told(f"{label} was sent to x = {x_um:g}, y = {y_um:g} um"):
        core.long_call("setXYPosition", label, float(x_um), float(y_um), limit_s=limits.timeout_s)
        wait_ready(core, label, limits.timeout_s, aborted)
        _expect_there(
            lambda: xy_of(core, label),
            target,
            limits.xy_tolerance_um,
            lambda: wait_ready(core, label, limits.timeout_s, aborted),
        )


def go_z(
    core: Core,
    label: str,
    target_um: float,
    limits: MoveLimits = BACK,
    aborted: threading.Event | None = None,
) -> None:
    """Send a focus drive to ``target_um`` and wait until it is there.

    Raises
    ------
    CameraError
        As ``go_xy``.
    """
    _require_finite(label, (target_um,))
    with _told(f"{label} was sent to z = {target_um:g} um"):
        core.long_call("setPosition", label, float(target_um), limit_s=limits.timeout_s)
        wait_ready(core, label, limits.timeout_s, aborted)
        _expect_there(
            lambda: (z_of(core, label),),
            (target_um,),
            limits.z_tolerance_um,
            lambda: wait_ready(core, label, limits.timeout_s, aborted),
        )


def _require_finite(label: str, target: tuple[float, ...]) -> None:
    if not all(math.isfinite(value) for value in target):
        told = ", ".join(f"{value:g}" for value in target)
        raise CameraError(
            f"{label} cannot be sent to {told}", "give finite coordinates in micrometres"
        )


@contextmanager
def _told(what: str) -> Iterator[None]:
    """Put device and target into the error of a move."""
    try:
        yield
    except CoreGoneError as error:
        raise CoreGoneError(f"{what}: {error.message}", error.hint) from error
    except CameraError as error:
        raise CameraError(f"{what}: {error.message}", error.hint) from error


def _expect_there(
    where: Callable[[], tuple[float, ...]],
    target: tuple[float, ...],
    tolerance_um: float,
    wait: Callable[[], None],
) -> None:
    deadline_ns = now_ns() + int(_LATE_S * 1e9)
    # Written so that a position that is no number is not there.
    while not math.dist(found := where(), target) <= tolerance_um:
        if now_ns() > deadline_ns:
            raise CameraError(
                f"it says that it is there, at {', '.join(f'{value:g}' for value in found)} um, "
                f"{math.dist(found, target):g} um from where it should be "
                f"({tolerance_um:g} um are allowed)",
                "a limit of its travel, a slipping drive or a joystick that is touched do that; "
                "camera.microscope.xy_tolerance_um and z_tolerance_um are the limits",
            )
        time.sleep(_AGAIN_S)
        wait()
