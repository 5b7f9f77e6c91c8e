"""A simulated sensor before a microscope whose frames are ideal images: demos without hardware.

Knows: how a frame without noise becomes light on a sensor, that exposing takes its time. Must not
know: which microscope is behind it, how the sensor's noise comes about (``imaging.sensor``).

Micro-Manager's DemoCamera in its mode "Fluorescent Beads" is a fixed sample on a real (demo) stage:
it moves with x and y, blurs with z, has no noise, and ignores exposure and shutter. Here each of
its frames is taken as the light that falls on a pixel:

    photons per second = (background + flux x count / full count) x light level,

nothing while the shutter is closed; that is exposed for the commanded time (mean electrons =
quantum efficiency x photons, plus dark current), and read out with offset, gain and noise. The
camera behind it exposes as shortly as it can: only the pattern comes from there. The time that
was commanded passes all the same.

Data of it is marked as simulated, and is never called real.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack

import msgspec
import numpy as np
import numpy.typing as npt

from livedenoise.core.clock import now_ns
from livedenoise.core.errors import CameraError
from livedenoise.core.frame import max_count
from livedenoise.core.microscope import (
    Exposed,
    Microscope,
    MicroscopeInfo,
    Pixels,
    Position,
    Setting,
)
from livedenoise.core.microscope_config import MicroManagerScopeConfig
from livedenoise.core.sensor_config import SensorConfig
from livedenoise.imaging.sensor import (
    counts_dtype,
    draw_maps,
    expose,
    sensor_constants,
    true_electrons,
)
from livedenoise.imaging.sensor_maps import SensorMaps

_NOISE_TAG = 0x0E71A7
_SHORT_US = 1000
"""Exposure behind the overlay where the camera does not tell its shortest."""
_LONGEST_US = 3_600_000_000


class SensorOverlay:
    """A microscope whose camera is replaced by a simulated sensor; all else is the inner one's.

    Parameters
    ----------
    inner : Microscope
        Delivers images without noise.
    config : MicroManagerScopeConfig
        Photon flux, light property, seed.
    sensor : SensorConfig
        The sensor; its size is that of the inner camera.
    """

    def __init__(
        self, inner: Microscope, config: MicroManagerScopeConfig, sensor: SensorConfig
    ) -> None:
        self._inner = inner
        self._config = config
        self._sensor = sensor
        self._info: MicroscopeInfo | None = None
        self._maps: SensorMaps | None = None
        self._inner_us = _SHORT_US
        self._full_adu = 1
        self._is_lit = False
        self._place = Position()
        self._frames = 0
        self._commands: set[threading.Event] = set()

    def open(self) -> MicroscopeInfo:
        """See ``Microscope.open``.

        Raises
        ------
        CameraError
            As the inner microscope, or if the light property cannot be read as a number.
        """
        inner = self._inner.open()
        with ExitStack() as undo:
            undo.callback(self.close)
            info = self._take_over(inner)
            self._light()
            undo.pop_all()
        self._info = info
        return info

    def expose(self, exposure_us: int, n_frames: int = 1) -> Iterator[Exposed]:
        """See ``Microscope.expose``; frame k is complete ``(k + 1) * exposure_us`` after the start.

        Or as soon after it as it is computed.
        """
        info, maps = self._need("expose")
        self._check(info, exposure_us, n_frames)
        aborted = threading.Event()
        self._commands.add(aborted)
        try:
            began_ns, level = now_ns(), self._light()
            for number in range(n_frames):
                pixels = self._frame(maps, exposure_us, level)
                self._wait_until(began_ns + (number + 1) * exposure_us * 1000, aborted)
                yield Exposed(pixels=pixels, exposure_us=exposure_us, t_host_ns=now_ns())
        finally:
            self._commands.discard(aborted)

    def set_shutter(self, *, is_open: bool) -> None:
        """See ``Microscope.set_shutter``."""
        self._inner.set_shutter(is_open=is_open)
        self._is_lit = is_open

    def set_properties(self, settings: Sequence[Setting]) -> None:
        """See ``Microscope.set_properties``."""
        self._inner.set_properties(settings)

    def read_property(self, device: str, name: str) -> str:
        """See ``Microscope.read_property``."""
        return self._inner.read_property(device, name)

    def presets(self, group: str) -> tuple[str, ...]:
        """See ``Microscope.presets``."""
        return self._inner.presets(group)

    def set_preset(self, group: str, preset: str) -> None:
        """See ``Microscope.set_preset``."""
        self._inner.set_preset(group, preset)

    def move(self, position: Position) -> None:
        """See ``Microscope.move``."""
        self._inner.move(position)
        self._place = self._inner.position()

    def position(self) -> Position:
        """See ``Microscope.position``."""
        return self._inner.position()

    def autofocus(self, device: str = "", offset_um: float | None = None) -> float:
        """See ``Microscope.autofocus``."""
        found_um = self._inner.autofocus(device, offset_um)
        self._place = self._inner.position()
        return found_um

    def abort(self) -> None:
        """See ``Microscope.abort``."""
        for command in list(self._commands):
            command.set()
        self._inner.abort()

    def close(self) -> None:
        """See ``Microscope.close``."""
        self._info, self._maps, self._is_lit = None, None, False
        for command in list(self._commands):
            command.set()
        self._inner.close()

    def _take_over(self, inner: MicroscopeInfo) -> MicroscopeInfo:
        """Put the sensor where the inner camera's is: the same size, region and binning."""
        config, camera = self._config, inner.camera
        rows, columns = camera.sensor
        sensor = self._sensor.model_copy(update={"width_px": columns, "height_px": rows})
        self._sensor = sensor
        self._maps = draw_maps(sensor, config.sensor_seed, inner.roi, inner.binning)
        self._inner_us = inner.exposure_min_us or _SHORT_US
        self._full_adu = config.sensor_full_adu or max_count(camera.bit_depth)
        self._place = self._inner.position()
        self._frames = 0
        # Without a shutter there is always light; with one it is closed now.
        self._is_lit = "shutter" not in inner.capabilities
        note = "light and sensor are simulated: only the pattern is the camera's"
        return msgspec.structs.replace(
            inner,
            camera=msgspec.structs.replace(
                camera,
                dtype=counts_dtype(sensor.bit_depth).str,
                bit_depth=sensor.bit_depth,
                constants=sensor_constants(sensor, inner.binning),
                quantum_efficiency=sensor.quantum_efficiency,
                notes=(*camera.notes, note),
            ),
            exposure_min_us=1,
            exposure_max_us=_LONGEST_US,
            simulated=True,
            notes=(*inner.notes, note),
        )

    def _frame(self, maps: SensorMaps, exposure_us: int, level: float) -> Pixels:
        (ideal,) = self._inner.expose(self._inner_us, 1)
        flux = self._photons_per_s(ideal.pixels, level)
        mean_e = true_electrons(flux, maps, self._sensor, exposure_us)
        return expose(mean_e, maps, self._sensor, self._random())

    def _photons_per_s(self, pixels: Pixels, level: float) -> npt.NDArray[np.float32]:
        config = self._config
        if not self._is_lit:
            return np.zeros(pixels.shape, np.float32)
        flux = pixels.astype(np.float32)
        flux *= np.float32(level * config.sensor_photons_per_s / self._full_adu)
        flux += np.float32(level * config.sensor_background_photons_per_s)
        return flux

    def _light(self) -> float:
        """Return the light level, 1 for full."""
        config = self._config
        if not config.light_device:
            return 1.0
        text = self._inner.read_property(config.light_device, config.light_property)
        try:
            return max(0.0, float(text) / config.light_full)
        except ValueError:
            raise CameraError(
                f"{config.light_device}.{config.light_property} is {text!r}, the light level must "
                "be a number",
                "name another property as camera.microscope.light_property",
            ) from None

    def _random(self) -> np.random.Generator:
        """Return the source of one frame's noise.

        It depends on seed, place and count: frames of a collection that was killed and resumed,
        which counts anew, do not get the noise of earlier ones.
        """
        place = [round(1000 * (value or 0.0)) % 2**32 for value in _axes(self._place)]
        entropy = [self._config.sensor_seed % 2**64, _NOISE_TAG, self._frames, *place]
        self._frames += 1
        return np.random.Generator(np.random.SFC64(np.random.SeedSequence(entropy)))

    def _wait_until(self, deadline_ns: int, aborted: threading.Event) -> None:
        left_ns = deadline_ns - now_ns()
        if aborted.is_set() or (left_ns > 0 and aborted.wait(left_ns * 1e-9)):
            raise CameraError("the exposure was aborted", "nothing is wrong with the camera")

    def _check(self, info: MicroscopeInfo, exposure_us: int, n_frames: int) -> None:
        if n_frames < 1:
            raise CameraError(
                f"camera {info.camera.name}: {n_frames} frames were asked for, the least is 1",
                "ask for at least one frame",
            )
        if not info.exposure_min_us <= exposure_us <= info.exposure_max_us:
            raise CameraError(
                f"camera {info.camera.name}: exposure_us = {exposure_us} was asked for, the sensor "
                f"makes {info.exposure_min_us} to {info.exposure_max_us}",
                "ask for an exposure within its limits",
            )

    def _need(self, step: str) -> tuple[MicroscopeInfo, SensorMaps]:
        if self._info is None or self._maps is None:
            raise CameraError(f"{step} before open", "the order is open, commands, close")
        return self._info, self._maps


def _axes(position: Position) -> tuple[float | None, ...]:
    return position.x_um, position.y_um, position.z_um
