"""The live meter: moving averages of what samples say, as the figures of ``quality.definitions``.

Knows: samples, camera constants, when the scene moves. Must not know: clocks, sockets, streams.

Means of squares and of levels are averaged over the window first; roots, ratios and logarithms
come last, because the mean of logarithms is biased. Samples taken while the scene moves stay out of
every figure that compares frames; those figures then keep the value of the still scene before.

Example
-------
>>> meter = LiveMeter(window=50)
>>> meter.status().figures["signal_e"].value is None
True
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection

import numpy as np
import numpy.typing as npt

from livedenoise.core.constants import CameraConstants
from livedenoise.core.frame import max_count
from livedenoise.core.status import Figure, QualityStatus
from livedenoise.quality.definitions import FIGURES
from livedenoise.quality.motion import MotionDetector
from livedenoise.quality.sample import Burst, Sample, measure

LEAST_SAMPLES = 20
"""Samples before a figure has a value: single estimates scatter by about 1 dB."""

_MOMENTS = tuple(name for name in Sample.__struct_fields__ if name != "evidence")


class LiveMeter:
    """Quality of one camera's frames.

    Parameters
    ----------
    window : int
        Samples in each moving average, at least 20.
    constants : CameraConstants, optional
        What turns counts into electrons; without them the figures in electrons are missing.
    quantum_efficiency : float
        Electrons per photon, 0 when unknown.

    Raises
    ------
    ValueError
        If the window is shorter than 20 samples or the quantum efficiency is not in [0, 1].
    """

    def __init__(
        self,
        *,
        window: int,
        constants: CameraConstants | None = None,
        quantum_efficiency: float = 0.0,
    ) -> None:
        if window < LEAST_SAMPLES:
            raise ValueError(f"window must be >= {LEAST_SAMPLES} samples, got {window}")
        if not 0.0 <= quantum_efficiency <= 1.0:
            raise ValueError(f"quantum_efficiency must be in [0, 1], got {quantum_efficiency}")
        self._constants = constants
        self._quantum_efficiency = quantum_efficiency
        self._every: deque[Sample] = deque(maxlen=window)
        self._still: deque[Sample] = deque(maxlen=window)
        self._motion = MotionDetector()
        self._mode: tuple[object, ...] | None = None
        self._data_range: float | None = None
        self._status: QualityStatus | None = None

    def add(self, burst: Burst) -> None:
        """Take a sample. Another epoch, bit depth or data type starts every average anew.

        Raises
        ------
        ValueError
            If the burst has not four raw frames, or their shapes differ.
        """
        sample = measure(burst, self._literal_constants)
        dtype = burst.raw[0].dtype
        mode = (burst.epoch, burst.bit_depth, dtype)
        if mode != self._mode:
            self.reset()
            self._mode = mode
            self._data_range = float(max_count(burst.bit_depth)) if dtype.kind == "u" else None
        self._status = None
        self._every.append(sample)
        moving = self._motion.add(sample.evidence)
        if not moving:
            self._still.append(sample)
        # Weak motion shows only after some samples: those that were taken for still go as well.
        for _ in range(min(moving - 1, len(self._still))):
            self._still.pop()

    def learn(self, constants: CameraConstants) -> None:
        """Use these constants from now on; every average starts anew."""
        self._constants = constants
        self.reset()

    def reset(self) -> None:
        """Forget every sample."""
        self._every.clear()
        self._still.clear()
        self._motion.reset()
        self._status = None

    def status(self) -> QualityStatus:
        """Return every figure; a value is None before there are 20 samples for it."""
        if self._status is None:
            self._status = QualityStatus(
                figures=self._figures(),
                motion=self._motion.moving,
                constants="" if self._constants is None else self._constants.source,
            )
        return self._status

    @property
    def _literal_constants(self) -> CameraConstants | None:
        """Return the constants if they are meant literally: electrons, not a scale that fits."""
        constants = self._constants
        return constants if constants and constants.model == "poisson_gaussian" else None

    def _figures(self) -> dict[str, Figure]:
        every, still = _Means(self._every), _Means(self._still)
        found = {
            "saturated_fraction": every.figure("saturated"),
            "zero_fraction": every.figure("zero"),
            "variance_ratio": every.figure("residual_ratio"),
            **self._errors(still),
        }
        constants = self._literal_constants
        if constants is not None:
            found |= self._in_electrons(every, still, constants)
        return {key: found.get(key, Figure()) for key in FIGURES}

    def _errors(self, still: _Means) -> dict[str, Figure]:
        raw, clean = still.means("raw_mse_adu2", "clean_mse_adu2")
        lag1, power, noise_lag1, noise_power = still.means(
            "residual_lag1", "residual_power", "noise_lag1", "noise_power"
        )
        n = still.count("clean_mse_adu2")
        square = None if self._data_range is None else self._data_range**2
        residual_corr = _less(_ratio(lag1, power), _ratio(noise_lag1, noise_power))
        return {
            "gain_db": Figure(value=_decibel(raw, clean), n=n),
            "upsnr_db": Figure(value=_decibel(square, clean), n=n),
            "residual_corr": Figure(value=residual_corr, n=n),
        }

    def _in_electrons(
        self, every: _Means, still: _Means, constants: CameraConstants
    ) -> dict[str, Figure]:
        gain, n, n_still = constants.gain_e_per_adu, every.n, still.n
        signal = _electrons(every.mean("level_adu"), constants)
        expected = _expected_e2(signal, constants)
        temporal, level = still.means("temporal_adu2", "level_adu")
        measured = None if temporal is None else temporal * gain**2
        still_expected = _expected_e2(_electrons(level, constants), constants)
        bright = _electrons(every.mean("bright_adu"), constants)
        efficiency = self._quantum_efficiency or None
        return {
            "signal_e": Figure(value=signal, n=n),
            "bright_e": Figure(value=bright, n=every.count("bright_adu")),
            "photons": Figure(value=_ratio(signal, efficiency), n=n),
            "snr_db": Figure(value=_decibel(_square(signal), expected), n=n),
            "noise_e": Figure(value=_root(expected), n=n),
            "noise_measured_e": Figure(value=_root(measured), n=n_still),
            "noise_ratio": Figure(value=_root(_ratio(measured, still_expected)), n=n_still),
        }


class _Means:
    """Means over samples: of all names asked for together, over those that have every one."""

    def __init__(self, samples: Collection[Sample]) -> None:
        self.n = len(samples)
        rows = [[getattr(sample, name) for name in _MOMENTS] for sample in samples]
        columns = np.array(rows, np.float64).reshape(self.n, len(_MOMENTS)).T.copy()
        self._columns = dict(zip(_MOMENTS, columns, strict=True))
        self._known = dict(zip(_MOMENTS, np.isfinite(columns), strict=True))

    def count(self, *names: str) -> int:
        return int(np.count_nonzero(self._whole(names)))

    def figure(self, name: str) -> Figure:
        return Figure(value=self.mean(name), n=self.count(name))

    def mean(self, name: str) -> float | None:
        return self.means(name)[0]

    def means(self, *names: str) -> list[float | None]:
        whole = self._whole(names)
        if np.count_nonzero(whole) < LEAST_SAMPLES:
            return [None] * len(names)
        return [float(self._columns[name][whole].mean()) for name in names]

    def _whole(self, names: tuple[str, ...]) -> npt.NDArray[np.bool_]:
        whole: npt.NDArray[np.bool_] = self._known[names[0]]
        for name in names[1:]:
            whole = whole & self._known[name]
        return whole


def _electrons(level_adu: float | None, constants: CameraConstants) -> float | None:
    if level_adu is None:
        return None
    return (level_adu - constants.offset_adu) * constants.gain_e_per_adu


def _expected_e2(signal_e: float | None, constants: CameraConstants) -> float | None:
    if signal_e is None:
        return None
    shot = constants.excess_noise_factor * max(signal_e, 0.0)
    return shot + constants.read_noise_e**2


def _square(value: float | None) -> float | None:
    # Below zero (an offset given too high) there is no ratio in decibel.
    return None if value is None or value <= 0 else value**2


def _root(value: float | None) -> float | None:
    return None if value is None or value < 0 else float(value**0.5)


def _ratio(value: float | None, over: float | None) -> float | None:
    return None if value is None or over is None or over <= 0 else value / over


def _less(value: float | None, other: float | None) -> float | None:
    return None if value is None or other is None else value - other


def _decibel(value: float | None, over: float | None) -> float | None:
    """Return 10 log10 of a ratio of powers; None where one of them is not positive."""
    ratio = _ratio(value, over)
    return None if ratio is None or ratio <= 0 else float(10.0 * np.log10(ratio))
