"""How long a call of MMCore may rightly take, by its name. Pure.

Knows: which calls wait for a device, and for about how long. Must not know: a connection.

Java answers one question after the other and says nothing meanwhile: a call that is given up too
early costs the connection, one that is given up too late only the time of whoever waits for it.
"""

from __future__ import annotations

EXPOSING = frozenset(
    {"snapImage", "getImage", "getTaggedImage", "stopSequenceAcquisition"},
)
"""Return when the exposure in progress has ended."""

MOVING = frozenset(
    {
        "setProperty",
        "setConfig",
        "waitForDevice",
        "waitForDeviceType",
        "waitForConfig",
        "waitForSystem",
        "startSequenceAcquisition",
        "startContinuousSequenceAcquisition",
        "prepareSequenceAcquisition",
        "setROI",
        "clearROI",
        "setCameraDevice",
        "setCircularBufferMemoryFootprint",
        "setShutterOpen",
        "setAutoShutter",
        "setXYPosition",
        "setPosition",
        "setAutoFocusDevice",
        "setAutoFocusOffset",
        "enableContinuousFocus",
        "fullFocus",
    }
)
"""Move a turret, a wheel, a stage or a shutter, set a camera up anew, or wait for one of them."""

MOVING_S = 30.0
LOADING = frozenset({"loadSystemConfiguration", "initializeAllDevices", "initializeDevice"})
"""Start devices one after the other: cooled cameras, stages that look for their home."""

LOADING_S = 300.0


def longest_wait_s(name: str, usual_s: float) -> float:
    """Return the longest wait for a call, in s, without the exposure that ``EXPOSING`` wait for.

    Parameters
    ----------
    name : str
        Of MMCore's method.
    usual_s : float
        For a call that only asks or stores; the least for every other.
    """
    if name in LOADING:
        return max(usual_s, LOADING_S)
    return max(usual_s, MOVING_S) if name in MOVING else usual_s
