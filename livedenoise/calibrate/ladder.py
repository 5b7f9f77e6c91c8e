"""Which exposures a calibration takes: found from how bright the scene is.

Knows: how to search the exposure that fills the range, how to spread levels over it.
Must not know: cameras, files.

The scene is described by the brightest part of it that is not a few stray pixels: the 99.9
percentile of a frame above the offset.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import numpy as np
import numpy.typing as npt

from livedenoise.core.frame import max_count

LOWEST, HIGHEST, BEYOND = 0.05, 0.9, 3.0
"""Of the range above offset: the first and the last level, and one that shows where it ends."""

PERCENTILE = 99.9
_CLOSE = 0.05
_CLIPPED = 0.98
_TRIES = 16
_FAINT = 0.02


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """The exposure of the brightest level, and what fraction of the range it fills."""

    exposure_us: int
    fraction: float


class ExposureLimits(msgspec.Struct, frozen=True):
    """Shortest and longest exposure a calibration may use."""

    lowest_us: int
    highest_us: int

    def clip(self, exposure_us: float) -> int:
        """Return the nearest exposure within the limits."""
        return int(min(max(round(exposure_us), self.lowest_us), self.highest_us))


def filled_fraction(pixels: npt.NDArray[np.integer], offset_adu: float, bit_depth: int) -> float:
    """Return how much of the range above offset the brightest part of a frame (Y, X) fills."""
    bright = float(np.percentile(pixels, PERCENTILE))
    return (bright - offset_adu) / (max_count(bit_depth) - offset_adu)


def find_brightest(
    measure: Callable[[int], float], limits: ExposureLimits, start_us: int, target: float = HIGHEST
) -> Found:
    """Search the exposure at which the scene fills ``target`` of the range.

    Parameters
    ----------
    measure : callable
        Takes an exposure and returns the fraction filled (``filled_fraction``).
    limits : ExposureLimits
        Where the search ends; a scene that stays below ``target`` gets the longest exposure, one
        that is above it everywhere the shortest.
    start_us : int
        First exposure tried.

    Returns
    -------
    Found
        The last exposure tried that was not clipped, else the shortest.
    """
    exposure_us = limits.clip(start_us)
    best: Found | None = None
    for _ in range(_TRIES):
        fraction = measure(exposure_us)
        if fraction < _CLIPPED:
            best = Found(exposure_us=exposure_us, fraction=fraction)
            if abs(fraction / target - 1) < _CLOSE:
                break
        wanted = limits.clip(exposure_us * _step(fraction, target))
        if wanted == exposure_us:
            break
        exposure_us = wanted
    return best or Found(exposure_us=exposure_us, fraction=1.0)


def _step(fraction: float, target: float) -> float:
    """Return the factor on the exposure: guesses where the frame says little, else the ratio."""
    if fraction >= _CLIPPED:
        return 0.25
    if fraction < _FAINT:
        return 8.0
    return target / fraction


def spread_exposures(brightest: Found, limits: ExposureLimits, levels: int) -> list[int]:
    """Return exposures spread evenly in the logarithm, the brightest last.

    They run from ``LOWEST`` to ``HIGHEST`` of the range; where the brightest one fills less, over
    the same factor below it. Exposures that the limits make equal are one.
    """
    lowest_us = limits.clip(brightest.exposure_us * LOWEST / HIGHEST)
    spread = np.geomspace(lowest_us, brightest.exposure_us, levels)
    return sorted({limits.clip(float(value)) for value in spread})


def visiting_order(count: int) -> list[int]:
    """Return the order in which levels are taken: every second one up, the others down.

    A light that drifts steadily then bends no line: it shows as two lines.
    """
    up = list(range(0, count, 2))
    down = list(range(1, count, 2))
    return up + down[::-1]
