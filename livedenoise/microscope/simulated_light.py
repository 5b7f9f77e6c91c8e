"""The light of a simulated microscope: a lamp that follows its setting slowly, and a shutter.

Knows: power, shutter, first-order lag, how much light reaches the specimen in a stretch of time.
Must not know: specimens, cameras, clocks: every time is given.
"""

from __future__ import annotations

from math import exp


class LightPath:
    """Lamp and shutter.

    Parameters
    ----------
    lag_s : float
        Time constant with which the lamp follows its setting; 0 follows at once.
    """

    def __init__(self, lag_s: float) -> None:
        self._lag_s = lag_s
        self._target = 1.0
        self._start = 1.0
        self._set_ns = 0
        self.is_open = False
        self.factor = 1.0
        """What a fault makes of the light."""

    @property
    def level(self) -> float:
        """Return the level that is set: 1 for full light."""
        return self._target

    def set_level(self, level: float, now_ns: int) -> None:
        """Begin to follow another level."""
        self._start = self.level_at(now_ns)
        self._target = level
        self._set_ns = now_ns

    def level_at(self, now_ns: int) -> float:
        """Return the level of the lamp, whatever the shutter does."""
        if self._lag_s <= 0:
            return self._target
        passed_s = (now_ns - self._set_ns) * 1e-9
        return self._target + (self._start - self._target) * exp(-passed_s / self._lag_s)

    def dose_s(self, begin_ns: int, end_ns: int) -> float:
        """Return the light that reaches the specimen, in seconds of full light.

        The integral of ``target + (start - target) * exp(-t / lag)`` over the stretch, both ends
        after the last change of the setting.
        """
        if not self.is_open or end_ns <= begin_ns:
            return 0.0
        steady = self._target * (end_ns - begin_ns) * 1e-9
        following = self._lag_s * (self.level_at(begin_ns) - self.level_at(end_ns))
        return self.factor * (steady + following)
