"""Take the frames of a calibration with a microscope: darks, then a ladder of light.

Knows: the order, how dark is made, how the ladder is found, what is watched meanwhile. Must not
know: measuring, files other than the finished series, the command line.

Nothing is kept in memory but the series summed up. Before and after each level a few frames of one
and the same reference level tell whether the light drifts; where it does beyond its error, the
light level of each series is what the references say. Levels are not taken in rising order
(``ladder``). A calibration that goes on compares a few dark frames with those it has
(``resuming``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
import numpy as np

from livedenoise.calibrate.darkness import bright_end_adu, leaks, require_unsaturated
from livedenoise.calibrate.data import CalibrationData, Series
from livedenoise.calibrate.drift import with_relative_light
from livedenoise.calibrate.ladder import (
    BEYOND,
    HIGHEST,
    ExposureLimits,
    Found,
    filled_fraction,
    find_brightest,
    spread_exposures,
    visiting_order,
)
from livedenoise.calibrate.partial import PartialStore
from livedenoise.calibrate.resuming import CHECK_FRAMES, require_same_darkness
from livedenoise.calibrate.settings import LEAST_FRAMES, AcquireSettings
from livedenoise.calibrate.taking import Taker
from livedenoise.core.clock import Clock, MonotonicClock
from livedenoise.core.errors import CalibrationError
from livedenoise.core.frame import max_count
from livedenoise.core.microscope import Microscope, MicroscopeInfo
from livedenoise.core.progress import OnProgress, ignore_progress

Say = Callable[[str], None]
Ask = Callable[[str], None]
"""Shows a line and returns when the user has done it."""

REFERENCE_FRAMES = 4
_START_US = 10_000
_FAINT = 0.05
_TAIL = 3.1
"""Standard deviations at which normal noise has its 99.9 percentile."""


def acquire(
    microscope: Microscope,
    info: MicroscopeInfo,
    settings: AcquireSettings,
    store: PartialStore,
    *,
    say: Say,
    ask: Ask | None = None,
    on_progress: OnProgress = ignore_progress,
    clock: Clock | None = None,
) -> CalibrationData:
    """Take every series that is not in ``store`` yet.

    Parameters
    ----------
    microscope : Microscope
        Open.
    ask : callable, optional
        Asks the user to cover the camera; None where there is nobody to ask.

    Raises
    ------
    CalibrationError
        If there is no way to darkness, or no light reaches the camera.
    CameraError
        As the microscope raises it.
    """
    taker = Taker(microscope, info, settings, on_progress, clock or MonotonicClock())
    return _Acquisition(taker, settings, store, say=say, ask=ask).run()


def require_dark(info: MicroscopeInfo, settings: AcquireSettings, *, can_ask: bool) -> None:
    """Raise where there is no way to take dark frames; before anything is exposed.

    Raises
    ------
    CalibrationError
        With the three ways there are.
    """
    if settings.dark_by_hand and not can_ask:
        raise CalibrationError(
            "--dark-by-hand asks you to cover the camera, and there is no terminal to ask on",
            "run it in a terminal without --json",
        )
    turned_off = settings.light is not None and settings.light.off
    if not (settings.dark_by_hand or turned_off or "shutter" in info.capabilities):
        raise CalibrationError(
            f"camera {info.camera.name}: no shutter is configured, so no dark frame can be taken",
            "configure the shutter ([camera.microscope]), or give --light with --light-off VALUE, "
            "or cover the camera yourself with --dark-by-hand",
        )


class _Acquisition:
    """One calibration under way."""

    def __init__(
        self,
        taker: Taker,
        settings: AcquireSettings,
        store: PartialStore,
        *,
        say: Say,
        ask: Ask | None,
    ) -> None:
        info = taker.info
        self._take, self._info, self._settings, self._store = taker, info, settings, store
        self._say, self._ask = say, ask
        self._finished = set(store.names())
        shortest = max(1, info.exposure_min_us)
        longest = settings.exposure_us or settings.max_exposure_us
        longest = min(longest, info.exposure_max_us or longest)
        self._limits = ExposureLimits(shortest, max(shortest, longest))
        self._warnings: list[str] = []
        self._is_covered = False

    def run(self) -> CalibrationData:
        """Take the darks, find the ladder, take it."""
        require_dark(self._info, self._settings, can_ask=self._ask is not None)
        darks = self._darks()
        offset_adu = _offset(darks)
        ladder, beyond = self._ladder(darks)
        lit = self._lit(ladder, beyond)
        lit, drifted = with_relative_light(lit, offset_adu)
        info = self._info
        return CalibrationData(
            camera=info.camera.name,
            source=f"camera {info.camera.name} ({info.camera.kind})",
            sensor=info.camera.sensor,
            roi=info.roi,
            bit_depth=info.camera.bit_depth,
            series=(*darks, *lit),
            binning=info.binning,
            simulated=info.simulated,
            settings=msgspec.to_builtins(self._settings),
            warnings=(*self._warnings, *drifted),
            notes=info.notes,
        )

    def _darks(self) -> list[Series]:
        exposures = self._dark_exposures_us()
        frames = [self._settings.frames_of_dark(number) for number in range(len(exposures))]
        names = [f"dark-{number:02d}" for number in range(len(exposures))]
        begun = "dark-00" in self._finished and not self._is_whole(names)
        if set(names) - self._finished or begun:
            self._make_dark()
        if begun:
            self._require_same_darkness()
        self._take.begin("dark frames", sum(frames))
        found = []
        for name, exposure_us, count in zip(names, exposures, frames, strict=True):
            if name in self._finished:
                found.append(self._loaded(name))
                continue
            series = self._take.series(name, exposure_us, count, light=0.0, is_dark=True)
            self._store.save(series)
            found.append(series)
        if self._is_covered and self._ask is not None:
            self._ask("Uncover the camera: the scene must be in front of it again.")
            self._is_covered = False
        return found

    def _is_whole(self, darks: list[str]) -> bool:
        """Return whether nothing is left to be taken."""
        ladder = self._store.kept("ladder")
        if ladder is None:
            return False
        lit = [f"light-{number:02d}" for number in range(len(ladder["exposures_us"]))]
        lit += ["light-beyond"] if ladder["beyond_us"] else []
        return self._finished.issuperset({*darks, *lit})

    def _require_same_darkness(self) -> None:
        """Refuse to go on with a camera whose dark frames are not those taken before."""
        before = self._store.load("dark-00")
        self._take.begin("comparing dark frames", CHECK_FRAMES)
        now = self._take.series(
            "check", round(before.exposure_us), CHECK_FRAMES, light=0.0, is_dark=True
        )
        require_same_darkness(before, now)

    def _dark_exposures_us(self) -> list[int]:
        limits = ExposureLimits(
            max(1, self._info.exposure_min_us),
            self._info.exposure_max_us or max(self._settings.dark_exposures_us),
        )
        return sorted({limits.clip(value) for value in self._settings.dark_exposures_us})

    def _make_dark(self) -> None:
        if self._settings.dark_by_hand and self._ask is not None:
            self._ask("Cover the camera: no light may reach it.")
            self._is_covered = True
        self._take.darken()

    def _ladder(self, darks: list[Series]) -> tuple[list[int], int]:
        """Return the exposures of the levels, and one beyond the range (0 for none)."""
        kept = self._store.kept("ladder")
        if kept is None:
            kept = self._searched(darks)
            self._store.keep("ladder", kept)
        self._warnings += kept["warnings"]
        return list(kept["exposures_us"]), int(kept["beyond_us"])

    def _searched(self, darks: list[Series]) -> dict[str, Any]:
        settings, bit_depth = self._settings, self._info.camera.bit_depth
        with self._useless(darks):
            require_unsaturated(darks, bit_depth)
        noise_adu = float(np.sqrt(np.median(darks[0].summary.variance_adu2)))
        darkness_adu = bright_end_adu(darks[0]) + _TAIL * noise_adu

        def measure(exposure_us: int) -> float:
            return filled_fraction(self._take.one(exposure_us), darkness_adu, bit_depth)

        light = settings.light
        self._take.lighten(None if light is None else light.values[-1])
        if settings.exposure_us:
            found = Found(exposure_us=settings.exposure_us, fraction=measure(settings.exposure_us))
        else:
            found = find_brightest(measure, self._limits, _START_US)
        self._take.darken()
        rise_adu = found.fraction * (max_count(bit_depth) - darkness_adu)
        if rise_adu < max(1.0, noise_adu):
            raise CalibrationError(
                f"no light reaches the camera: at {found.exposure_us / 1000:g} ms the scene is "
                f"{rise_adu:.2g} counts above the dark frames, whose noise is {noise_adu:.2g}",
                "put light and a static scene in front of the camera; is the shutter open?",
            )
        warnings = self._judged(found)
        with self._useless(darks):
            warnings += leaks(darks, rise_adu / found.exposure_us)
        if light is not None:
            exposures = [found.exposure_us] * len(light.values)
        else:
            exposures = spread_exposures(found, self._limits, settings.levels)
        beyond_us = round(found.exposure_us * BEYOND / HIGHEST)
        if light is not None or found.fraction < HIGHEST * 0.8 or beyond_us > self._longest_us():
            beyond_us = 0
        return {"exposures_us": exposures, "beyond_us": beyond_us, "warnings": warnings}

    @contextmanager
    def _useless(self, darks: list[Series]) -> Iterator[None]:
        """Forget dark frames that are refused: going on with them would be refused again."""
        try:
            yield
        except CalibrationError:
            for series in darks:
                self._store.discard(series.name)
            raise

    def _longest_us(self) -> int:
        return self._info.exposure_max_us or 2 * self._settings.max_exposure_us

    def _judged(self, found: Found) -> list[str]:
        """Say how bright the brightest level is; warn of too much or little light."""
        at = f"{found.exposure_us / 1000:g} ms"
        self._say(f"brightest level: {at} fills {100 * found.fraction:.0f} % of the range")
        if found.fraction >= 0.98:
            return [f"the scene saturates the camera at {at} already: use less light"]
        if found.fraction >= _FAINT:
            return []
        faint = (
            f"the brightest level ({at}) fills {100 * found.fraction:.1f} % of the range only: "
            "saturation and linearity above it are not measured; use more light, or a longer "
            "--max-exposure"
        )
        return [faint]

    def _lit(self, exposures_us: list[int], beyond_us: int) -> list[Series]:
        settings, light = self._settings, self._settings.light
        values: list[str | None] = [None] * len(exposures_us)
        if light is not None:
            values = list(light.values)
        reference = len(exposures_us) // 2
        extra = max(LEAST_FRAMES, settings.frames // 4) if beyond_us else 0
        self._take.begin("light frames", settings.frames * len(exposures_us) + extra)
        self._take.reference = (exposures_us[reference], values[reference])
        taken: list[Series] = []
        for number in visiting_order(len(exposures_us)):
            relative = 1.0
            value = values[number]
            if light is not None and value is not None:
                relative = light.relative(value)  # type: ignore[assignment]
            taken.append(
                self._level(
                    f"light-{number:02d}", exposures_us[number], value, relative, settings.frames
                )
            )
        if beyond_us:
            taken.append(self._level("light-beyond", beyond_us, None, 1.0, extra))
        self._take.darken()
        return taken

    def _level(
        self, name: str, exposure_us: int, value: str | None, light: float | None, frames: int
    ) -> Series:
        if name in self._finished:
            return self._loaded(name)
        series = self._take.between_references(
            name, exposure_us, value, frames, light=light, n_reference=REFERENCE_FRAMES
        )
        self._store.save(series)
        return series

    def _loaded(self, name: str) -> Series:
        series = self._store.load(name)
        self._take.skip(series)
        return series


def _offset(darks: list[Series]) -> float:
    return float(np.median(darks[0].summary.mean_adu))
