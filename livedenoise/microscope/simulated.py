"""The simulated microscope: exposures on command of a specimen without end, as a real one gives.

Knows: the life cycle and the commands of ``core.microscope.Microscope``, waiting, aborting, and
which devices there are. Must not know: how light, specimen, stage and faults make an image
(``microscope.simulated_view``).

Every command takes its real time on the clock that is given; with a manual clock nothing waits.
Frame k of a run is complete at ``start + (k + 1) * max(exposure, readout)``, and is rendered while
it is exposed. Noise is seeded by ``seed``, the place that was commanded, exposure, shutter, and how
many frames were exposed there before: different places never share noise, not even when another
process goes on, and the same commands at the same times give the same pixels.

Example
-------
>>> from livedenoise.core.clock import ManualClock
>>> from livedenoise.core.sensor_config import SensorConfig
>>> config = SimulatedCameraConfig(
...     kind="simulated", sensor=SensorConfig(width_px=32, height_px=16)
... )
>>> scope = SimulatedMicroscope(config, ManualClock())
>>> scope.open().shape
(16, 32)
>>> scope.set_shutter(is_open=True)
>>> [frame.t_host_ns for frame in scope.expose(20_000, 2)]
[20000000, 40000000]
>>> scope.close()
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from math import isfinite

import msgspec
import numpy as np
import numpy.typing as npt

from livedenoise.acquire.simulated import SimulatedCamera
from livedenoise.acquire.stream_limits import check_request
from livedenoise.core.camera import CameraInfo, StreamRequest
from livedenoise.core.camera_config import SimulatedCameraConfig
from livedenoise.core.clock import Clock, MonotonicClock
from livedenoise.core.errors import CameraError
from livedenoise.core.microscope import Exposed, MicroscopeInfo, Position, Setting
from livedenoise.imaging.sensor import expose as draw_frame
from livedenoise.imaging.sensor import readout_ns, sensor_constants
from livedenoise.microscope.simulated_faults import Disturbance, Injection
from livedenoise.microscope.simulated_view import SimulatedView

FloatImage = npt.NDArray[np.float32]

LIGHT = "Light"
POWER = "Power"
AUTOFOCUS = "Autofocus"

_SEED_TAG = 0xF4A3E
_SLICE_NS = 20_000_000
"""Longest sleep before ``abort`` is looked for again."""
_AUTOFOCUS_NS = 100_000_000
_HOME = Position(x_um=0.0, y_um=0.0, z_um=0.0)


class _Run:
    """One command to expose that is being carried out; ``ended`` says why it must not go on."""

    def __init__(self, exposure_us: int, n_frames: int, disturbance: Disturbance) -> None:
        self.exposure_us = exposure_us
        self.n_frames = n_frames
        self.disturbance = disturbance
        self.ended = ""


class SimulatedMicroscope:
    """A simulated microscope (``core.microscope.Microscope``).

    Parameters
    ----------
    config : SimulatedCameraConfig
        Sensor, scene, region, binning, seed, and the ``[camera.microscope]`` table.
    clock : Clock, optional
        Source of time; tests inject one.
    """

    def __init__(self, config: SimulatedCameraConfig, clock: Clock | None = None) -> None:
        self._config = config
        self._clock: Clock = clock or MonotonicClock()
        self._view: SimulatedView | None = None
        self._is_open = False
        self._run: _Run | None = None
        self._frames: dict[tuple[int, ...], int] = {}
        self._truth: FloatImage | None = None
        self.late_ns = 0
        """How much longer frames and moves took than real ones: time spent on rendering them."""

    def open(self) -> MicroscopeInfo:
        """Describe the microscope and look at the specimen. Shutter closed, light at 100 percent.

        Raises
        ------
        CameraError
            If it is open already, or the region does not fit the sensor.
        """
        config, scope = self._config, self._config.microscope
        if self._is_open:
            raise CameraError(f"microscope {config.name} is open already", "close it first")
        request = StreamRequest(exposure_us=1, roi=config.roi, binning=config.binning)
        roi = check_request(config, request)
        # What stands on the stage outlives a closing: a bleached place stays bleached.
        self._view = self._view or SimulatedView(config, roi)
        self._view.start(self._clock.now_ns())
        self._is_open = True
        return MicroscopeInfo(
            camera=self._camera_info(),
            shape=self._view.maps.shape,
            roi=roi,
            binning=config.binning,
            capabilities=("xy", "z", "shutter", "autofocus", "light"),
            pixel_size_um=scope.pixel_size_um * config.binning,
            exposure_min_us=scope.exposure_min_us,
            exposure_max_us=scope.exposure_max_us,
            simulated=True,
            notes=(f"light: device {LIGHT}, property {POWER}, percent",),
        )

    def expose(self, exposure_us: int, n_frames: int = 1) -> Generator[Exposed]:
        """Return the iterator over ``n_frames`` exposures; the first begins when it is asked for.

        Raises
        ------
        CameraError
            At once if the exposure is beyond the limits or the microscope is not open; while
            iterating if ``abort`` or ``close`` was called, or another exposure commanded.
        """
        view = self._need_open("expose")
        self._check_exposure(exposure_us, n_frames)
        self._end_run("another exposure was commanded")
        self._run = _Run(exposure_us, n_frames, view.command(exposure_us))
        return self._exposures(view, self._run)

    def set_shutter(self, *, is_open: bool) -> None:
        """Open or close the light path, at once."""
        view = self._need_open("set_shutter")
        view.let_light_fall(self._clock.now_ns())
        view.light.is_open = is_open

    def set_properties(self, settings: Sequence[Setting]) -> None:
        """Set the power of the light; it follows with ``light_lag_ms``, which is not waited for.

        Raises
        ------
        CameraError
            If there is no such device or property, or the value is no percentage.
        """
        view = self._need_open("set_properties")
        levels = [self._light_level(setting) for setting in settings]
        for level in levels:
            now_ns = self._clock.now_ns()
            view.let_light_fall(now_ns)
            view.light.set_level(level, now_ns)

    def read_property(self, device: str, name: str) -> str:
        """Return the power of the light as it is set, in percent.

        Raises
        ------
        CameraError
            If there is no such device or property.
        """
        view = self._need_open("read_property")
        self._check_property(device, name)
        return f"{view.light.level * 100.0:.10g}"

    def presets(self, group: str) -> tuple[str, ...]:  # noqa: ARG002  (the contract's)
        """Return none: there are no configuration groups."""
        self._need_open("presets")
        return ()

    def set_preset(self, group: str, preset: str) -> None:
        """Refuse: there are no configuration groups.

        Raises
        ------
        CameraError
            Always.
        """
        self._need_open("set_preset")
        raise CameraError(
            f"microscope {self._config.name}: no group {group} (preset {preset}): a simulated "
            "microscope has no configuration groups",
            "leave channels out of the plan, or use Micro-Manager",
        )

    def move(self, position: Position) -> None:
        """Move the axes that are named, at the speed of the stage.

        Raises
        ------
        CameraError
            If a coordinate is not finite.
        """
        view = self._need_open("move")
        axes = (position.x_um, position.y_um, position.z_um)
        if not all(value is None or isfinite(value) for value in axes):
            raise CameraError(
                f"microscope {self._config.name}: cannot move to {position}",
                "give finite coordinates in micrometres",
            )
        if position != Position():
            self._go(view, position)

    def position(self) -> Position:
        """Return where the stage says it is: where it was sent to."""
        return self._need_open("position").stage.position

    def autofocus(self, device: str = "", offset_um: float | None = None) -> float:
        """Find the focus by its own light, go ``offset_um`` above it, and return z.

        Raises
        ------
        CameraError
            If ``device`` is another one than ``Autofocus``.
        """
        view = self._need_open("autofocus")
        if device not in ("", AUTOFOCUS):
            raise CameraError(
                f"microscope {self._config.name}: no autofocus device {device}",
                f"leave it empty, or name {AUTOFOCUS}",
            )
        self._clock.sleep_until_ns(self._clock.now_ns() + _AUTOFOCUS_NS)
        z_um = view.stage.found_focus_um(self._clock.now_ns()) + (offset_um or 0.0)
        self._go(view, Position(z_um=z_um))
        return z_um

    def abort(self) -> None:
        """End the exposure in progress within 20 ms, from any thread. Idempotent."""
        self._end_run("it was aborted")

    def close(self) -> None:
        """Close the shutter, put light and stage back. Idempotent."""
        if not self._is_open:
            return
        view = self._need_open("close")
        self._end_run("the microscope was closed")
        self.set_shutter(is_open=False)
        view.light.set_level(1.0, self._clock.now_ns())
        if view.stage.position != _HOME:
            self._go(view, _HOME, look=False)
        self._is_open = False

    def truth(self) -> FloatImage:
        """Return the mean electrons of the last frame: what a perfect denoiser would find.

        Returns
        -------
        ndarray
            float32 (Y, X), after quantum efficiency, thermal electrons included, before EM gain,
            not clipped at the full well.

        Raises
        ------
        CameraError
            If nothing was exposed yet.
        """
        if self._truth is None:
            raise CameraError(
                f"microscope {self._config.name}: nothing was exposed yet", "expose first"
            )
        return self._truth

    def injected(self, visit: int | None = None, attempt: int | None = None) -> list[Injection]:
        """Return the faults that really met a frame: all, of one visit, or of one attempt."""
        return [] if self._view is None else self._view.faults.injected(visit, attempt)

    @property
    def visit(self) -> tuple[int, int]:
        """Return number and attempt of the place it stands at, as faults count them."""
        return self._need_open("visit").faults.visit

    def _exposures(self, view: SimulatedView, run: _Run) -> Generator[Exposed]:
        exposure_ns = run.exposure_us * 1000
        rows = self._config.roi[3] if self._config.roi else self._config.sensor.height_px
        period_ns = max(exposure_ns, readout_ns(self._config.sensor, rows, self._config.binning))
        start_ns = self._clock.now_ns()
        try:
            for frame in range(run.n_frames):
                self._check_run(run)
                began_ns, end_ns = self._clock.now_ns(), start_ns + (frame + 1) * period_ns
                exposed_us = run.disturbance.exposure_us(frame, run.exposure_us)
                truth = view.mean_electrons(end_ns - exposure_ns, end_ns, exposed_us)
                view.faults.note(run.disturbance, frame, is_lit=view.light.is_open)
                pixels = draw_frame(
                    truth, view.maps, self._config.sensor, self._noise(view, run.exposure_us)
                )
                self._count_late(max(began_ns, end_ns))
                self._wait(run, end_ns)
                self._truth = truth
                yield Exposed(
                    pixels=pixels,
                    exposure_us=run.exposure_us,
                    t_host_ns=max(end_ns, self._clock.now_ns()),
                )
        finally:
            run.ended = run.ended or "it is over"

    def _noise(self, view: SimulatedView, exposure_us: int) -> np.random.Generator:
        """Return the source of one frame's noise: of the place first, then of the count there."""
        at = view.stage.position
        # In nanometres; negative ones wrap, as entropy takes none.
        place = tuple(round(1000 * (um or 0.0)) % 2**64 for um in (at.x_um, at.y_um, at.z_um))
        key = (*place, exposure_us, int(view.light.is_open))
        count = self._frames.get(key, 0)
        self._frames[key] = count + 1
        entropy = np.random.SeedSequence([self._config.seed % 2**64, _SEED_TAG, *key, count])
        return np.random.Generator(np.random.SFC64(entropy))

    def _count_late(self, deadline_ns: int) -> None:
        self.late_ns += max(0, self._clock.now_ns() - deadline_ns)

    def _wait(self, run: _Run, deadline_ns: int) -> None:
        now_ns = self._clock.now_ns()
        while now_ns < deadline_ns:
            self._clock.sleep_until_ns(min(deadline_ns, now_ns + _SLICE_NS))
            self._check_run(run)
            now_ns = self._clock.now_ns()

    def _check_run(self, run: _Run) -> None:
        if run.ended:
            raise CameraError(
                f"microscope {self._config.name}: the exposure of {run.exposure_us} us ended "
                f"early: {run.ended}",
                "command the exposure again",
            )

    def _end_run(self, reason: str) -> None:
        run = self._run
        if run is not None and not run.ended:
            run.ended = reason

    def _go(self, view: SimulatedView, position: Position, *, look: bool = True) -> None:
        now_ns = self._clock.now_ns()
        view.let_light_fall(now_ns)
        there_ns = now_ns + view.stage.travel_ns(position)
        view.arrive(position, there_ns)
        if look:
            view.look(there_ns)
        self._count_late(there_ns)
        self._clock.sleep_until_ns(there_ns)

    def _check_exposure(self, exposure_us: int, n_frames: int) -> None:
        name, scope = self._config.name, self._config.microscope
        if not scope.exposure_min_us <= exposure_us <= scope.exposure_max_us:
            raise CameraError(
                f"microscope {name}: an exposure of {exposure_us} us is not within "
                f"{scope.exposure_min_us} to {scope.exposure_max_us} us",
                "change the exposure, or exposure_min_us and exposure_max_us of the microscope",
            )
        if n_frames < 1:
            raise CameraError(
                f"microscope {name}: {n_frames} frames were asked for, the least is 1",
                "ask for at least one frame",
            )

    def _light_level(self, setting: Setting) -> float:
        self._check_property(setting.device, setting.property)
        try:
            percent = float(setting.value)
        except ValueError:
            percent = -1.0
        if not 0.0 <= percent <= 100.0:
            raise CameraError(
                f"microscope {self._config.name}: {LIGHT}.{POWER} cannot be {setting.value!r}",
                "it takes a number from 0 to 100, in percent",
            )
        return percent / 100.0

    def _check_property(self, device: str, name: str) -> None:
        if (device, name) != (LIGHT, POWER):
            raise CameraError(
                f"microscope {self._config.name}: no property {name} of a device {device}",
                f"a simulated microscope has {LIGHT}.{POWER}",
            )

    def _camera_info(self) -> CameraInfo:
        info = SimulatedCamera(self._config).open()
        constants = sensor_constants(self._config.sensor, self._config.binning)
        return msgspec.structs.replace(info, constants=constants)

    def _need_open(self, step: str) -> SimulatedView:
        if self._view is None or not self._is_open:
            raise CameraError(
                f"microscope {self._config.name}: {step} before open",
                "the order is open, commands, close",
            )
        return self._view
