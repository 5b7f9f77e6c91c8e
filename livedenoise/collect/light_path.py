"""The light of a collection: on for an exposure, off between, at the level a shot asks for.

Knows: shutter, light property, what waiting each needs. Must not know: cameras, pairs, plans.
"""

from __future__ import annotations

from livedenoise.collect.program import LightControl
from livedenoise.collect.shots import Shot
from livedenoise.collect.stopwatch import Stopwatch
from livedenoise.core.microscope import Microscope, MicroscopeInfo, Setting


class LightPath:
    """Shutter and light source of one microscope.

    Parameters
    ----------
    scope : Microscope
        Open.
    info : MicroscopeInfo
        What it can do.
    light : LightControl or None
        The property that sets the level, None where the plan commands none.
    stopwatch : Stopwatch
        Counts the waiting.
    """

    def __init__(
        self,
        scope: Microscope,
        info: MicroscopeInfo,
        light: LightControl | None,
        stopwatch: Stopwatch,
    ) -> None:
        self._scope = scope
        self._has_shutter = "shutter" in info.capabilities
        self._light = light
        self._stopwatch = stopwatch
        self._level = ""
        self._is_open: bool | None = None

    def ready(self, shot: Shot) -> None:
        """Set the level of a shot while no light falls on the sample, or as little as can be."""
        light = self._light
        if light is None or not shot.light_value or shot.light_value == self._level:
            return
        self._set(light, shot.light_value)
        self._stopwatch.wait_ms(light.settle_ms)

    def on(self) -> None:
        """Let light through."""
        if self._is_open is True:
            return
        # Unknown until the device has answered: a failed order may have opened it.
        self._is_open = None
        if self._has_shutter:
            with self._stopwatch.device():
                self._scope.set_shutter(is_open=True)
        self._is_open = True

    def off(self) -> None:
        """Let no light through: by the shutter, or by the light's off value without one."""
        if self._is_open is False:
            return
        self._is_open = None
        if self._has_shutter:
            with self._stopwatch.device():
                self._scope.set_shutter(is_open=False)
        elif self._light is not None and self._light.off_value:
            self._set(self._light, self._light.off_value)
        self._is_open = False

    def forget(self) -> None:
        """Command everything anew: somebody else may have changed it. Off at once."""
        self._level, self._is_open = "", None
        self.off()

    @property
    def can_be_dark(self) -> bool:
        """Return whether ``off`` makes the sample dark."""
        return self._has_shutter or bool(self._light and self._light.off_value)

    def _set(self, light: LightControl, value: str) -> None:
        self._level = ""
        with self._stopwatch.device():
            self._scope.set_properties([Setting(light.device, light.property, value)])
        self._level = value
