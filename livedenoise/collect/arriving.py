"""Go to a field and to each of its sites: stage, focus, channel, autofocus, settling.

Knows: what to command in which order, and what need not be commanded again. Must not know:
exposures, pairs.

The sample is dark while anything moves, and has the light of the high shot while it is focused. The
stage is commanded at every arrival, also when the target is where it stands: a field that is tried
again starts from a fresh position.

The autofocus works at the z about which a stack is planned. Where it finds another one, the planned
z of that site and of what follows is shifted by as much. A field that is planned under the
autofocus of an earlier one is taken under it also when another one came in between, or none in this
run: that place is gone back to and focused anew.
"""

from __future__ import annotations

from livedenoise.collect.light_path import LightPath
from livedenoise.collect.program import Program
from livedenoise.collect.shots import Shot, Site
from livedenoise.collect.stopwatch import Stopwatch
from livedenoise.core.microscope import Microscope, MicroscopeInfo, Position

_SAME_UM = 1e-3
"""Nearer than this no focus drive is sent: to command z would let go of a focus lock."""


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
    program : Program
        Its fields, the z about which they are planned, the light to focus with.
    """

    def __init__(
        self,
        scope: Microscope,
        info: MicroscopeInfo,
        light: LightPath,
        stopwatch: Stopwatch,
        program: Program,
    ) -> None:
        self._scope = scope
        self._has_z = "z" in info.capabilities
        self._light = light
        self._stopwatch = stopwatch
        self._program = program
        self._sources = focus_sources(program)
        self._channel: tuple[str, str] | None = None
        self._here: Site | None = None
        self._z_um: float | None = None
        self._focused: Site | None = None
        self._focus_shift_um = 0.0

    def field(self, number: int) -> None:
        """Go to a field: to its first site, or to where it has to be focused before."""
        self._light.off()
        self._here = None
        first = self._program.fields[number][0]
        self._go(self._missing_focus(first) or first)

    def site(self, site: Site) -> float | None:
        """Go to a site, set its channel, focus; return where the focus drive stands.

        Raises
        ------
        CameraError
            If a device does not get there, or the autofocus does not lock.
        """
        source = self._missing_focus(site)
        if source is not None:
            self._stand_at(source)
        self._stand_at(site)
        return self._z_um

    def leave(self) -> None:
        """Leave a field: dark."""
        self._light.off()

    def _missing_focus(self, site: Site) -> Site | None:
        """Return where must be focused before a field is begun, None where that is done."""
        source = self._sources[site.field] if site.index == 0 else None
        return None if source is self._focused else source

    def _stand_at(self, site: Site) -> None:
        if site is not self._here:
            self._light.off()
            self._go(site)
        self._set_channel(site)
        if site.autofocus:
            self._focus(site)

    def _go(self, site: Site) -> None:
        """Go to a site; to one with an autofocus, at the z about which it is planned."""
        home_um = self._home_um(site) if site.autofocus else None
        z_um = site.z_um if home_um is None else home_um
        if z_um is not None:
            z_um += self._focus_shift_um
        self._move(Position(x_um=site.x_um, y_um=site.y_um, z_um=z_um))
        self._here = site

    def _move(self, target: Position) -> None:
        if target != Position():
            with self._stopwatch.device():
                self._scope.move(target)
            self._stopwatch.wait_ms(self._program.settle_ms)
        self._z_um = self._scope.position().z_um if self._has_z else None

    def _home_um(self, site: Site) -> float | None:
        homes = self._program.homes_z_um
        return homes[site.field] if homes else None

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
        self._focused = None
        self._light.ready(self._high(site))
        self._light.on()
        with self._stopwatch.device():
            found_um = self._scope.autofocus(site.autofocus_device, site.autofocus_offset_um)
        self._light.off()
        self._stopwatch.wait_ms(self._program.settle_ms)
        home_um = self._home_um(site)
        self._focus_shift_um = 0.0 if home_um is None else found_um - home_um
        self._focused, self._z_um = site, found_um
        if site.z_um is None or home_um is None:
            return
        slice_um = site.z_um + self._focus_shift_um
        if abs(slice_um - found_um) > _SAME_UM:
            self._move(Position(z_um=slice_um))

    def _high(self, site: Site) -> Shot:
        shots = self._program.sequences[site.channel]
        return next(shot for shot in shots if shot.role == "high")


def focus_sources(program: Program) -> tuple[Site | None, ...]:
    """Return the site whose autofocus each field begins under.

    None where its first site has one of its own, and where none came before.
    """
    sources: list[Site | None] = []
    last: Site | None = None
    for sites in program.fields:
        sources.append(None if sites[0].autofocus else last)
        last = next((site for site in reversed(sites) if site.autofocus), last)
    return tuple(sources)
