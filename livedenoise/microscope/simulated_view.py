"""What falls on the sensor of a simulated microscope: specimen, light, stage and faults together.

Knows: how one exposure's mean electrons come about, and that light bleaches what it falls on.
Must not know: commands, waiting, threads: every time is given, and times only go on.

An exposure sees the specimen as it stands in the middle of it: blur by motion within one exposure
is not modelled. Light that falls while the stage travels is not counted; all other light behind an
open shutter bleaches the field in view, whether a frame is exposed or not.
"""

from __future__ import annotations

from math import expm1, sqrt

import numpy as np
import numpy.typing as npt

from livedenoise.core.camera_config import SimulatedCameraConfig
from livedenoise.core.microscope import Position
from livedenoise.imaging.sensor import bin_flux, draw_maps, true_electrons
from livedenoise.imaging.sensor_maps import SensorMaps
from livedenoise.microscope.bleaching import BleachingMap
from livedenoise.microscope.simulated_faults import Disturbance, FaultBook
from livedenoise.microscope.simulated_light import LightPath
from livedenoise.microscope.simulated_stage import SimulatedStage
from livedenoise.microscope.specimen import Specimen

FloatImage = npt.NDArray[np.float32]

_WIDER_BY_HALF = sqrt(1.5**2 - 1.0)
_OBJECT_RADIUS = 0.08
_OBJECT_MIN_PX = 3.0
_OBJECT_EDGE_PX = 1.5


class SimulatedView:
    """The field in view, and what light does to it.

    Parameters
    ----------
    config : SimulatedCameraConfig
        Sensor, scene, region, binning and microscope.
    roi : tuple of int
        (x, y, width, height) in sensor pixels.

    Attributes
    ----------
    maps : SensorMaps
        Of the (binned) region.
    """

    def __init__(self, config: SimulatedCameraConfig, roi: tuple[int, int, int, int]) -> None:
        scope, sensor = config.microscope, config.sensor
        self._config = config
        self._roi = roi
        self._shape = (roi[3], roi[2])
        self._specimen = Specimen(config.scene, (sensor.height_px, sensor.width_px), config.seed)
        self._bleaching = BleachingMap(self._shape)
        self.maps: SensorMaps = draw_maps(sensor, config.seed, roi, config.binning)
        self.light = LightPath(scope.light_lag_ms * 1e-3)
        self.stage = SimulatedStage(scope, config.seed)
        self.faults = FaultBook(scope.fault, config.seed)
        self.disturbance = self.faults.between()
        self._seen_ns = 0

    def start(self, now_ns: int) -> None:
        """Begin: visits are counted from 0, the sample begins to drift."""
        self._seen_ns = now_ns
        self.stage.start(now_ns)
        self.faults.start()
        self._stand()

    def let_light_fall(self, now_ns: int) -> None:
        """Bleach the field by the light since the last call."""
        if now_ns <= self._seen_ns:
            return
        exponent = self._bleaching_rate() * self.light.dose_s(self._seen_ns, now_ns)
        self._bleaching.add(self._corner_px((self._seen_ns + now_ns) // 2), exponent)
        self._seen_ns = now_ns

    def arrive(self, position: Position, now_ns: int) -> None:
        """See another place or focus: the stage stands there now."""
        self._seen_ns = now_ns
        self.stage.arrive(position, now_ns)
        if position.x_um is not None or position.y_um is not None:
            there = self.stage.position
            self.faults.arrive(there.x_um or 0.0, there.y_um or 0.0)
            self._stand()

    def look(self, now_ns: int) -> None:
        """Render the specimen in view, so that the next exposure need not."""
        self._specimen.view(self._corner_px(now_ns), self._shape, self._blur_px(now_ns))

    def command(self, exposure_us: int) -> Disturbance:
        """Take a command to expose: return, and keep, what goes wrong with it."""
        self.disturbance = self.faults.command(exposure_us, is_lit=self.light.is_open)
        self.light.factor = self.disturbance.light
        return self.disturbance

    def mean_electrons(self, begin_ns: int, end_ns: int, exposure_us: int) -> FloatImage:
        """Return the mean electrons of one exposure, and let its light bleach the field.

        Parameters
        ----------
        begin_ns, end_ns : int
            When light is gathered.
        exposure_us : int
            What the sensor makes of it: another one than ``end - begin`` is a wrong exposure.

        Returns
        -------
        ndarray
            float32 (Y, X) of binned pixels (``imaging.sensor.true_electrons``).
        """
        self.let_light_fall(begin_ns)
        dose_s = self.light.dose_s(begin_ns, end_ns)
        flux = bin_flux(self._flux(begin_ns, end_ns, dose_s), self._config.binning)
        self.let_light_fall(end_ns)
        return true_electrons(flux, self.maps, self._config.sensor, exposure_us)

    def _flux(self, begin_ns: int, end_ns: int, dose_s: float) -> FloatImage:
        """Return photons per second and pixel, averaged over the exposure."""
        if dose_s <= 0:
            return np.zeros(self._shape, np.float32)
        middle_ns = (begin_ns + end_ns) // 2
        corner_px = self._corner_px(middle_ns)
        seen = self._specimen.view(corner_px, self._shape, self._blur_px(middle_ns))
        flux = seen * self._bleaching.left(corner_px)
        # The mean of exp(-k t) over the exposure: it bleaches while it is exposed.
        fades = self._bleaching_rate() * dose_s
        level = dose_s / ((end_ns - begin_ns) * 1e-9) * (-expm1(-fades) / fades if fades else 1.0)
        if self.disturbance.amount("moving_object"):
            flux = flux + self._object()
        lit: FloatImage = (flux * np.float32(level)).astype(np.float32, copy=False)
        return lit

    def _stand(self) -> None:
        self.disturbance = self.faults.between()
        self.light.factor = self.disturbance.light

    def _bleaching_rate(self) -> float:
        return self._config.microscope.bleaching_per_s + self.faults.bleaching_per_s

    def _corner_px(self, now_ns: int) -> tuple[float, float]:
        """Return the specimen pixel (Y, X) that the first pixel of the region sees."""
        pixel_um = self._config.microscope.pixel_size_um
        x_um, y_um = self.stage.place_um(now_ns)
        wrong = self.disturbance
        # A sample that drifts along +x shows what lies farther in -x.
        way_px = wrong.step_um / pixel_um - wrong.amount("drift") * self._stayed_s(now_ns)
        sensor = self._config.sensor
        return (
            y_um / pixel_um - (sensor.height_px - 1) / 2 + self._roi[1] + way_px * wrong.along[0],
            x_um / pixel_um - (sensor.width_px - 1) / 2 + self._roi[0] + way_px * wrong.along[1],
        )

    def _blur_px(self, now_ns: int) -> float:
        """Return the Gaussian that defocus adds: half wider in all at the depth of field."""
        away_um = self.disturbance.amount("defocus") * self._stayed_s(now_ns)
        away_um += self.stage.defocus_um(now_ns)
        sigma_px = self._config.scene.psf_sigma_px
        return _WIDER_BY_HALF * sigma_px * abs(away_um) / self._config.microscope.depth_of_field_um

    def _stayed_s(self, now_ns: int) -> float:
        return (now_ns - self.stage.arrived_ns) * 1e-9

    def _object(self) -> FloatImage:
        """Return a bright disc that swims to and fro through the middle of the field."""
        rows, columns = self._shape
        room_px = min(rows, columns) / 2.0
        radius_px = max(_OBJECT_MIN_PX, _OBJECT_RADIUS * min(rows, columns))
        wrong = self.disturbance
        span_px = max(room_px - radius_px, 1.0)
        way_px = _to_and_fro(wrong.amount("moving_object") * (wrong.number - 0.5), span_px)
        y = np.arange(rows, dtype=np.float32) - np.float32((rows - 1) / 2 + way_px * wrong.along[0])
        x = np.arange(columns, dtype=np.float32) - np.float32(
            (columns - 1) / 2 + way_px * wrong.along[1]
        )
        inside_px = radius_px - np.hypot(y[:, None], x[None, :])
        disc = np.clip(inside_px / np.float32(2.0 * _OBJECT_EDGE_PX) + 0.5, 0.0, 1.0)
        bright: FloatImage = disc * np.float32(self._config.scene.photons_per_s)
        return bright


def _to_and_fro(way_px: float, span_px: float) -> float:
    """Return the place on a line from -span to +span, after a way that is reflected at its ends."""
    turned = (way_px + span_px) % (4.0 * span_px)
    return min(turned, 4.0 * span_px - turned) - span_px
