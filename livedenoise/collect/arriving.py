"""Go to a field and to each of its sites: stage, focus, channel, autofocus, settling.

Knows: what to command in which order, and what need not be commanded again. Must not know:
exposures, pairs.

The sample is dark while anything moves. The stage is commanded at every arrival, also when the
target is where it stands: a field that is tried again starts from a fresh position. Where the
autofocus found another z than planned, the planned z of what follows is shifted by as much.
"""

from __future__ import annotations

from collections.abc import Sequence

from livedenoise.collect.light_path import LightPath
from livedenoise.collect.shots import Site
from livedenoise.collect.stopwatch import Stopwatch
from livedenoise.core.microscope import Microscope, MicroscopeInfo, Position


class Arrival:
    """Moves one microscope from site to site.

    Parameters
    ----------
    scope, info : Microscope, MicroscopeInfo
        Open, and what it said of itself.
    light : LightPath
        Off while moving.
    stopwatch : Stopwatch
        Counts moves and settling.
    settle_ms : float
        Wait after a move.
    """

    def __init__(
        self,
        scope: Microscope,
        info: MicroscopeInfo,
        light: LightPath,
        stopwatch: Stopwatch,
        settle_ms: float,
    ) -> None:
        self._scope = scope
        self._has_z = "z" in info.capabilities
        self._light = light
        self._stopwatch = stopwatch
        self._settle_ms = settle_ms
        self._channel: tuple[str, str] | None = None
        self._here: Site | None = None
        self._z_um: float | None = None
        self._focus_shift_um = 0.0
        self._home_z_um: float | None = None

    def field(self, sites: Sequence[Site], home_z_um: float | None = None) -> None:
        """Go to the first site of a field.

        ``home_z_um`` is the z about which its sites are planned, None where no autofocus moves it.
        """
        self._light.off()
        self._here, self._home_z_um = None, home_z_um
        self._go(sites[0])

    def site(self, site: Site) -> float | None:
        """Go to a site, set its channel, focus; return where the focus drive stands.

        Raises
        ------
        CameraError
            If a device does not get there, or the autofocus does not lock.
        """
        if site is not self._here:
            self._light.off()
            self._go(site)
        self._set_channel(site)
        if site.autofocus:
            self._focus(site)
        return self._z_um

    def leave(self) -> None:
        """Leave a field: dark."""
        self._light.off()

    def _go(self, site: Site) -> None:
        z_um = None if site.z_um is None else site.z_um + self._focus_shift_um
        target = Position(x_um=site.x_um, y_um=site.y_um, z_um=z_um)
        if target != Position():
            with self._stopwatch.device():
                self._scope.move(target)
            self._stopwatch.wait_ms(self._settle_ms)
        self._z_um = self._scope.position().z_um if self._has_z else None
        self._here = site

    def _set_channel(self, site: Site) -> None:
        channel = (site.channel_group, site.channel)
        if not site.channel or channel == self._channel:
            return
        with self._stopwatch.device():
            self._scope.set_preset(site.channel_group, site.channel)
        self._channel = channel
        # A preset may set the shutter, the light, anything: command them anew.
        self._light.forget()

    def _focus(self, site: Site) -> None:
        self._light.on()
        with self._stopwatch.device():
            found_um = self._scope.autofocus(site.autofocus_device, site.autofocus_offset_um)
        self._z_um = found_um
        if self._home_z_um is not None:
            self._focus_shift_um = found_um - self._home_z_um
        self._light.off()
        self._stopwatch.wait_ms(self._settle_ms)
