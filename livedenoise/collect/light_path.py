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
        self._off_value = light.off_value if light is not None and not self._has_shutter else ""
        self._stopwatch = stopwatch
        self._asked = ""
        self._level = ""
        self._is_open: bool | None = None

    def ready(self, shot: Shot) -> None:
        """Set the level of a shot in the dark.

        Without a shutter the level itself is the light: it is set by ``on``, or at once where the
        light is on.
        """
        if self._light is None or not shot.light_value:
            return
        self._asked = shot.light_value
        if not self._off_value or self._is_open is True:
            self._set(self._light, self._asked)

    def on(self) -> None:
        """Let light through, at the level asked for last."""
        if self._is_open is True:
            return
        # Unknown until the device has answered: a failed order may have opened it.
        self._is_open = None
        if self._has_shutter:
            with self._stopwatch.device():
                self._scope.set_shutter(is_open=True)
        elif self._light is not None and self._off_value and self._asked:
            self._set(self._light, self._asked)
        self._is_open = True

    def off(self) -> None:
        """Let no light through: by the shutter, or by the light's off value without one."""
        if self._is_open is False:
            return
        self._is_open = None
        if self._has_shutter:
            with self._stopwatch.device():
                self._scope.set_shutter(is_open=False)
        elif self._light is not None and self._off_value:
            self._set(self._light, self._off_value)
        self._is_open = False

    def forget(self) -> None:
        """Command everything anew: somebody else may have changed it. Off at once."""
        self._level, self._is_open = "", None
        self.off()

    @property
    def can_be_dark(self) -> bool:
        """Return whether ``off`` makes the sample dark."""
        return self._has_shutter or bool(self._off_value)

    def _set(self, light: LightControl, value: str) -> None:
        """Set the property, where it is another one, and wait until the light has followed."""
        if value == self._level:
            return
        self._level = ""
        with self._stopwatch.device():
            self._scope.set_properties([Setting(light.device, light.property, value)])
        self._level = value
        self._stopwatch.wait_ms(light.settle_ms)
