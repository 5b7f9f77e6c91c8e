"""What a collection will cost, before any light: time, disk, light dose, field by field. Pure.

Knows: a program, what the microscope says of itself, and how long devices usually take. Must not
know: devices, how a forecast is shown.

Exposures, settling and dose are sums of what will be commanded. Readout comes from the camera's
highest rate where it tells; stage, autofocus and commands are assumptions, named in the forecast.
Retries are not foreseen: each takes the time and the light of its field again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec
import numpy as np

from livedenoise.collect.forecast_time import (
    DeviceTimes,
    TimeForecast,
    estimate_time,
    every_shot,
    find_readout,
)
from livedenoise.collect.program import Program
from livedenoise.collect.records import Split
from livedenoise.collect.shots import Role, Shot
from livedenoise.core.microscope import MicroscopeInfo, Position

_MS = 1e-3


class LevelForecast(msgspec.Struct, frozen=True, kw_only=True):
    """One kind of image at a site.

    Attributes
    ----------
    images : int
        How many of them are taken at a site.
    dose_ms : float
        Light of all of them at a site, milliseconds at full light, discarded frames included.
    electron_ratio : float
        Expected electrons of a frame over those of a frame of the high image: exposure x light.
    dose_ratio : float
        Light of the frames of the high image over that of this one: 16 for a mean of 16 like it.
    """

    channel: str
    role: Role
    level: int
    exposure_us: int
    light: float
    light_value: str
    frames: int
    images: int
    dose_ms: float
    electron_ratio: float
    dose_ratio: float


class FieldForecast(msgspec.Struct, frozen=True, kw_only=True):
    """One field: where it is, where its pairs go, and the light it gets."""

    field: int
    name: str
    x_um: float | None
    y_um: float | None
    z_um: float | None
    sites: int
    split: Split
    low_dose_ms: float
    high_dose_ms: float

    @property
    def dose_ms(self) -> float:
        """Return all light of one attempt."""
        return self.low_dose_ms + self.high_dose_ms


class Forecast(msgspec.Struct, frozen=True, kw_only=True):
    """Everything a dry run tells. Doses are milliseconds at full light."""

    plan: str
    plan_hash: str
    camera: str
    simulated: bool
    shape: tuple[int, int]
    start: Position
    fields: tuple[FieldForecast, ...]
    levels: tuple[LevelForecast, ...]
    n_pairs: int
    n_frames: int
    time: TimeForecast
    total_s: float
    disk_bytes: int
    disk_free_bytes: int
    low_dose_ms: float
    high_dose_ms: float
    total_dose_ms: float
    attempts: int
    assumptions: tuple[str, ...]
    notes: tuple[str, ...]


def make_forecast(
    program: Program,
    info: MicroscopeInfo,
    disk_free_bytes: int,
    times: DeviceTimes | None = None,
) -> Forecast:
    """Return what a program will cost at a microscope.

    Parameters
    ----------
    program : Program
        As ``collect.plan.make_program`` returns it.
    info : MicroscopeInfo
        Of the microscope it was made for.
    disk_free_bytes : int
        Where the data set will lie.
    times : DeviceTimes, optional
        How long devices take.
    """
    times = times or DeviceTimes()
    readout_s, assumptions = find_readout(info, times)
    fields = tuple(_fields(program))
    spent = estimate_time(program, times, readout_s, has_shutter="shutter" in info.capabilities)
    low, high = sum(one.low_dose_ms for one in fields), sum(one.high_dose_ms for one in fields)
    disk = disk_bytes(program, info)
    return Forecast(
        plan=program.name,
        plan_hash=program.plan_hash,
        camera=info.camera.name,
        simulated=info.simulated,
        shape=info.shape,
        start=program.start,
        fields=fields,
        levels=tuple(_levels(program)),
        n_pairs=sum(shot.role == "low" and not shot.part for shot in every_shot(program)),
        n_frames=sum(shot.frames + shot.discard for shot in every_shot(program)),
        time=spent,
        total_s=spent.total_s,
        disk_bytes=disk,
        disk_free_bytes=disk_free_bytes,
        low_dose_ms=low,
        high_dose_ms=high,
        total_dose_ms=low + high,
        attempts=program.attempts,
        assumptions=assumptions,
        notes=(
            *program.notes,
            *_focus_notes(program),
            *_disk_notes(disk, disk_free_bytes),
        ),
    )


def disk_bytes(program: Program, info: MicroscopeInfo) -> int:
    """Return the bytes of all images, uncompressed: one attempt at each field, and darks.

    A single frame is stored as the camera delivers it, a mean as float32; dark frames are stored
    as their mean and variance.
    """
    pixels = info.shape[0] * info.shape[1]
    item = np.dtype(info.camera.dtype).itemsize
    per_pixel = sum(_stored(shot, item, keep=program.keep_frames) for shot in every_shot(program))
    return pixels * (per_pixel + len(program.darks) * 2 * 4)


def _stored(shot: Shot, item: int, *, keep: bool) -> int:
    if shot.frames == 1:
        return item
    return 4 + (shot.frames * item if keep else 0)


def _focus_notes(program: Program) -> Iterator[str]:
    count = sum(site.autofocus for field in program.fields for site in field)
    if count:
        yield f"it is focused {count} times in the light of the high image: that is in no dose"


def _disk_notes(needed: int, free: int) -> Iterator[str]:
    if needed > free:
        yield f"not enough disk: {needed / 1e9:.1f} GB needed, {free / 1e9:.1f} GB free"


def _fields(program: Program) -> Iterator[FieldForecast]:
    for sites, split in zip(program.fields, program.splits, strict=True):
        shots = [shot for site in sites for shot in program.sequences[site.channel]]
        first = sites[0]
        yield FieldForecast(
            field=first.field,
            name=first.name,
            x_um=first.x_um,
            y_um=first.y_um,
            z_um=first.z_um,
            sites=len(sites),
            split=split,
            low_dose_ms=_dose_ms(shots, "low"),
            high_dose_ms=_dose_ms(shots, "high"),
        )


def _dose_ms(shots: Iterable[Shot], role: Role) -> float:
    return sum(shot.dose_us for shot in shots if shot.role == role) * _MS


def _levels(program: Program) -> Iterator[LevelForecast]:
    """Yield each kind of image once: high first, then the ladder from its brightest level."""
    for channel, shots in program.sequences.items():
        high = next(shot for shot in shots if shot.role == "high")
        kinds = {(shot.role, shot.level): shot for shot in shots}
        for (role, level), shot in sorted(kinds.items()):
            same = [one for one in shots if (one.role, one.level) == (role, level)]
            yield LevelForecast(
                channel=channel,
                role=role,
                level=level,
                exposure_us=shot.exposure_us,
                light=shot.light,
                light_value=shot.light_value,
                frames=shot.frames,
                images=len(same),
                dose_ms=_dose_ms(same, role),
                electron_ratio=shot.frame_dose_us / high.frame_dose_us,
                dose_ratio=(high.frame_dose_us * high.frames) / (shot.frame_dose_us * shot.frames),
            )
