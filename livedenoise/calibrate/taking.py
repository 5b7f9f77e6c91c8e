"""One series after another from a microscope: light on or off, frames summed up, progress told.

Knows: commands of ``core.microscope`` and their order. Must not know: which series there are.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, cast

import msgspec
import numpy as np

from livedenoise.calibrate.data import Series
from livedenoise.calibrate.settings import AcquireSettings
from livedenoise.core.clock import Clock
from livedenoise.core.errors import CameraError
from livedenoise.core.microscope import Exposed, Microscope, MicroscopeInfo, Pixels
from livedenoise.core.progress import OnProgress, Progress
from livedenoise.imaging.ptc_moments import PixelMoments

if TYPE_CHECKING:
    from collections.abc import Generator


class _Reference(msgspec.Struct, frozen=True, kw_only=True):
    """Mean counts of the reference level with its standard error, and when it was taken."""

    mean_adu: float
    error_adu: float
    time_s: float


class Taker:
    """Takes series with one microscope.

    ``reference`` is the exposure and the light value (None for none) of the level that tells
    whether the light drifts.
    """

    def __init__(
        self,
        microscope: Microscope,
        info: MicroscopeInfo,
        settings: AcquireSettings,
        on_progress: OnProgress,
        clock: Clock,
    ) -> None:
        self._scope, self.info, self._settings = microscope, info, settings
        self._on_progress, self._clock = on_progress, clock
        self._start_ns, self._before_s = clock.now_ns(), 0.0
        self._task, self._total, self._done = "", 0, 0
        self.reference: tuple[int, str | None] = (0, None)

    def begin(self, task: str, total: int) -> None:
        """Begin a row of progress over ``total`` frames."""
        self._task, self._total, self._done = task, total, 0

    def skip(self, series: Series) -> None:
        """Count a series that was taken before; time goes on from there."""
        self._before_s = max(self._before_s, series.time_s - self._since_start_s())
        self._step(series.summary.n_frames, "taken before")

    def darken(self) -> None:
        """Close the shutter and turn the light off, as far as there is either."""
        light = self._settings.light
        if "shutter" in self.info.capabilities:
            self._scope.set_shutter(is_open=False)
        if light is not None and light.off:
            self._scope.set_properties([light.setting(light.off)])
        self._settle()

    def lighten(self, value: str | None) -> None:
        """Set the light level, where there is one, and open the shutter."""
        light = self._settings.light
        if light is not None and value is not None:
            self._scope.set_properties([light.setting(value)])
        if "shutter" in self.info.capabilities:
            self._scope.set_shutter(is_open=True)
        self._settle()

    def one(self, exposure_us: int) -> Pixels:
        """Return one frame (Y, X)."""
        with self._exposing(exposure_us, 1) as frames:
            return [exposed.pixels for exposed in frames][-1]

    def series(
        self, name: str, exposure_us: int, n_frames: int, *, light: float | None, is_dark: bool
    ) -> Series:
        """Take a series and sum it up.

        Raises
        ------
        CameraError
            If the camera changes its exposure within the series, or as the microscope raises it.
        """
        moments = PixelMoments(
            self.info.shape, bit_depth=self.info.camera.bit_depth, fourth=is_dark
        )
        note = f"{exposure_us / 1000:g} ms"
        told: set[int] = set()
        with self._exposing(exposure_us, n_frames) as frames:
            for exposed in frames:
                moments.add(exposed.pixels)
                told.add(exposed.exposure_us)
                self._step(1, note)
        if len(told) != 1:
            raise CameraError(
                f"{name}: the camera changed its exposure within a series: {sorted(told)} us",
                f"{exposure_us} us was asked for",
            )
        return Series(
            name=name,
            exposure_us=float(told.pop()),
            light=light,
            is_dark=is_dark,
            summary=moments.summary(),
            time_s=self._elapsed_s(),
        )

    def between_references(
        self,
        name: str,
        exposure_us: int,
        value: str | None,
        n_frames: int,
        *,
        light: float | None,
        n_reference: int,
    ) -> Series:
        """Take a lit series with the reference level before and after it; then make it dark.

        ``reference_adu`` of the series is the mean of the reference at the middle of the series,
        on the straight line between both: light that changes while the series is taken is right
        to first order.
        """
        before = self._reference(n_reference)
        self.lighten(value)
        start_s = self._elapsed_s()
        series = self.series(name, exposure_us, n_frames, light=light, is_dark=False)
        middle_s = (start_s + self._elapsed_s()) / 2
        after = self._reference(n_reference)
        self.darken()
        span_s = after.time_s - before.time_s
        weight = (middle_s - before.time_s) / span_s if span_s > 0 else 0.5
        return msgspec.structs.replace(
            series,
            reference_adu=(1 - weight) * before.mean_adu + weight * after.mean_adu,
            reference_error_adu=float(
                np.hypot((1 - weight) * before.error_adu, weight * after.error_adu)
            ),
            time_s=self._elapsed_s(),
        )

    def _reference(self, n_frames: int) -> _Reference:
        """Take the reference level, as it is at the middle of its frames."""
        exposure_us, value = self.reference
        self.lighten(value)
        start_s = self._elapsed_s()
        with self._exposing(exposure_us, n_frames) as frames:
            means = [float(exposed.pixels.mean()) for exposed in frames]
        return _Reference(
            mean_adu=float(np.mean(means)),
            error_adu=float(np.std(means, ddof=1)) / len(means) ** 0.5,
            time_s=(start_s + self._elapsed_s()) / 2,
        )

    @contextmanager
    def _exposing(self, exposure_us: int, n_frames: int) -> Iterator[Iterator[Exposed]]:
        """Expose behind the frames to discard; leaving early stops the camera."""
        stream = self._scope.expose(exposure_us, n_frames + self._settings.discard)
        with closing(cast("Generator[Exposed]", stream)):
            for _ in range(self._settings.discard):
                next(stream, None)
            yield stream

    def _settle(self) -> None:
        if self._settings.settle_ms:
            until_ns = self._clock.now_ns() + round(self._settings.settle_ms * 1e6)
            self._clock.sleep_until_ns(until_ns)

    def _elapsed_s(self) -> float:
        return self._before_s + self._since_start_s()

    def _since_start_s(self) -> float:
        return (self._clock.now_ns() - self._start_ns) * 1e-9

    def _step(self, n_frames: int, note: str) -> None:
        self._done += n_frames
        self._on_progress(Progress(task=self._task, done=self._done, total=self._total, note=note))
