"""The stage of a simulated microscope: where it says it is, and what is really in view.

Knows: xy and z, their speed, error, drift, tilt and focus. Must not know: pixels, light, faults,
clocks: every time is given.

Signs. Stage coordinates are places of the specimen: at (x, y) that place is in the middle of the
sensor. A move by +dx um shows what lies farther in +x, so the image moves by -dx / pixel_size_um
columns; +dy moves it by -dy / pixel_size_um rows. A sample that drifts by (+dx, +dy) moves the
image the other way.
"""

from __future__ import annotations

from math import cos, hypot, pi, sin

import numpy as np

from livedenoise.core.microscope import Position
from livedenoise.core.microscope_config import SimulatedMicroscopeConfig

_SEED_TAG = 0x57A6E


class SimulatedStage:
    """Stage and focus drive.

    Parameters
    ----------
    config : SimulatedMicroscopeConfig
        Speed, errors, drift, tilt.
    seed : int
        Draws where moves really end and where the sample drifts to.
    """

    def __init__(self, config: SimulatedMicroscopeConfig, seed: int) -> None:
        self._config = config
        self._rng = np.random.default_rng(np.random.SeedSequence([seed % 2**64, _SEED_TAG]))
        direction = float(self._rng.uniform(0.0, 2.0 * pi))
        self._drift_um_per_s = (
            config.drift_um_per_s * cos(direction),
            config.drift_um_per_s * sin(direction),
        )
        self._xy_um = (0.0, 0.0)
        self._error_um = (0.0, 0.0)
        self._z_um = 0.0
        self._start_ns = 0
        self.arrived_ns = 0

    @property
    def position(self) -> Position:
        """Return where the stage says it is: where it was sent to."""
        return Position(x_um=self._xy_um[0], y_um=self._xy_um[1], z_um=self._z_um)

    def start(self, now_ns: int) -> None:
        """Begin: the sample begins to drift."""
        self._start_ns = self.arrived_ns = now_ns

    def travel_ns(self, position: Position) -> int:
        """Return how long it takes to go there: the longer of both drives."""
        x_um, y_um, z_um = self._completed(position)
        way_um = max(hypot(x_um - self._xy_um[0], y_um - self._xy_um[1]), abs(z_um - self._z_um))
        return round(way_um / self._config.stage_speed_um_per_s * 1e9)

    def arrive(self, position: Position, now_ns: int) -> None:
        """Stand where ``position`` says, but for the error of the xy stage."""
        x_um, y_um, self._z_um = self._completed(position)
        if position.x_um is None and position.y_um is None:
            return
        self._xy_um = (x_um, y_um)
        self.arrived_ns = now_ns
        spread = self._config.stage_error_um
        errors = self._rng.normal(0.0, 1.0, 2) * spread
        self._error_um = (float(errors[0]), float(errors[1]))

    def place_um(self, now_ns: int) -> tuple[float, float]:
        """Return the place (x, y) of the specimen that is really in the middle of the sensor."""
        passed_s = (now_ns - self._start_ns) * 1e-9
        x_um, y_um = (
            self._xy_um[axis] + self._error_um[axis] - self._drift_um_per_s[axis] * passed_s
            for axis in (0, 1)
        )
        return x_um, y_um

    def focus_um(self, now_ns: int) -> float:
        """Return the z at which the place in view is sharp."""
        drifted = self._config.focus_drift_um_per_s * (now_ns - self._start_ns) * 1e-9
        return self._config.tilt_um_per_mm * self.place_um(now_ns)[0] * 1e-3 + drifted

    def found_focus_um(self, now_ns: int) -> float:
        """Return the z that an autofocus finds: ``focus_um`` with its error."""
        error = float(self._rng.normal(0.0, 1.0)) * self._config.autofocus_error_um
        return self.focus_um(now_ns) + error

    def defocus_um(self, now_ns: int) -> float:
        """Return how far above its focus the place in view stands."""
        return self._z_um - self.focus_um(now_ns)

    def _completed(self, position: Position) -> tuple[float, float, float]:
        x_um = self._xy_um[0] if position.x_um is None else position.x_um
        y_um = self._xy_um[1] if position.y_um is None else position.y_um
        return x_um, y_um, self._z_um if position.z_um is None else position.z_um
