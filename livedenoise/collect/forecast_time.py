"""How long a collection takes, before any light. Pure.

Knows: a program, the camera's highest rate, and how long devices usually take. Must not know: how
a forecast is shown.

Exposures and settling are sums of what will be commanded. Readout comes from the camera's highest
rate where it tells; stage, autofocus and commands are assumptions, and called so.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import hypot

import msgspec

from livedenoise.collect.program import Program
from livedenoise.collect.shots import Shot, Site
from livedenoise.core.microscope import MicroscopeInfo, Position

_MS = 1e-3
_US = 1e-6


class DeviceTimes(msgspec.Struct, frozen=True, kw_only=True):
    """How long devices take; assumptions, on the slow side of usual ones."""

    readout_s: float = 0.02
    command_s: float = 0.01
    stage_s: float = 0.1
    stage_speed_um_per_s: float = 5000.0
    focus_s: float = 0.05
    autofocus_s: float = 2.0
    channel_s: float = 0.5


class TimeForecast(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds by what they are spent on."""

    exposures_s: float
    readout_s: float
    stage_s: float
    settling_s: float
    autofocus_s: float
    commands_s: float
    darks_s: float

    @property
    def total_s(self) -> float:
        """Return the sum."""
        return float(sum(msgspec.structs.astuple(self)))


def every_shot(program: Program) -> Iterator[Shot]:
    """Yield every shot of every site, in the order taken."""
    for field in program.fields:
        for site in field:
            yield from program.sequences[site.channel]


def find_readout(info: MicroscopeInfo, times: DeviceTimes) -> tuple[float, tuple[str, ...]]:
    """Return the readout of a frame in seconds, and lines on what is assumed."""
    told = info.camera.max_rate_hz > 0
    readout_s = 1.0 / info.camera.max_rate_hz if told else times.readout_s
    source = "the camera's highest rate" if told else "assumed"
    return readout_s, (
        f"readout {readout_s * 1e3:.3g} ms a frame ({source})",
        (
            f"stage {times.stage_s:g} s a move and {times.stage_speed_um_per_s / 1e3:g} mm/s, "
            f"focus {times.focus_s:g} s, autofocus {times.autofocus_s:g} s, change of channel "
            f"{times.channel_s:g} s, each image {times.command_s * 1e3:g} ms of commands (assumed)"
        ),
    )


def estimate_time(
    program: Program, times: DeviceTimes, readout_s: float, *, has_shutter: bool = True
) -> TimeForecast:
    """Return how long a program takes, one attempt at each field.

    Without a shutter the light goes off by its property, and is waited for each time.
    """
    shots = list(every_shot(program))
    frames = sum(shot.frames + shot.discard for shot in shots)
    dark_us = sum(dark.exposure_us * dark.frames for dark in program.darks)
    dark_frames = sum(dark.frames for dark in program.darks)
    sites = [site for field in program.fields for site in field]
    moves = sum((site.x_um, site.y_um, site.z_um) != (None, None, None) for site in sites)
    focused = sum(site.autofocus for site in sites)
    settling_ms = program.settle_ms * (moves + focused)
    if program.light is not None:
        by_property = bool(program.light.off_value) and not has_shutter
        changes = _switchings(program) if by_property else _light_changes(program)
        settling_ms += program.light.settle_ms * changes
    return TimeForecast(
        exposures_s=sum(shot.exposure_us * (shot.frames + shot.discard) for shot in shots) * _US,
        readout_s=frames * readout_s,
        stage_s=_moving_s(sites, program.start, times),
        settling_s=settling_ms * _MS,
        autofocus_s=focused * times.autofocus_s,
        commands_s=len(shots) * times.command_s + _channel_changes(sites) * times.channel_s,
        darks_s=dark_us * _US + dark_frames * readout_s,
    )


def _moving_s(sites: list[Site], start: Position, times: DeviceTimes) -> float:
    """Return how long stage and focus drive move; axes move together, the slower one counts."""
    total, x, y, z = 0.0, start.x_um, start.y_um, start.z_um
    for site in sites:
        here = (site.x_um, site.y_um, site.z_um)
        if site.x_um is not None and site.y_um is not None and (site.x_um, site.y_um) != (x, y):
            way_um = hypot(site.x_um - (x or 0.0), site.y_um - (y or 0.0))
            total += times.stage_s + way_um / times.stage_speed_um_per_s
        elif site.z_um is not None and site.z_um != z:
            total += times.focus_s
        x, y, z = (
            new if new is not None else old for new, old in zip(here, (x, y, z), strict=True)
        )
    return total


def _light_changes(program: Program) -> int:
    values = [shot.light_value for shot in every_shot(program)]
    return sum(one != other for one, other in zip(["", *values], values, strict=False))


def _switchings(program: Program) -> int:
    """Return how often the light goes on or off: with each shot, or with each site."""
    sites = [site for field in program.fields for site in field]
    between = program.close_shutter_between
    lit = sum(len(program.sequences[site.channel]) if between else 1 for site in sites)
    return 2 * (lit + sum(site.autofocus for site in sites))


def _channel_changes(sites: list[Site]) -> int:
    names = [site.channel for site in sites]
    return sum(one != other for one, other in zip(["", *names], names, strict=False))
