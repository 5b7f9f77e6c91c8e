"""Dark series: offset, read variance and dark current of every pixel, with their errors.

Knows: straight lines of dark mean against exposure. Must not know: light, gains, files.

The dark mean grows by the dark current times the exposure; its intercept at exposure zero is the
offset (EMVA Standard 1288, release 3.1, sec. 7). Thermal electrons have Poisson noise like any
other, so what they add to the variance is the photon transfer slope times what they add to the
mean, and is taken off. Offset and variance maps: Huang et al., Nature Methods 10, 2013.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
import numpy as np
import numpy.typing as npt

from livedenoise.calibrate.results import Index
from livedenoise.imaging.ptc_blocks import DarkReference
from livedenoise.imaging.ptc_moments import PixelSummary

DoubleMap = npt.NDArray[np.float64]

MOST_INFLATION = 2.0
SLOW_NOISE = 1.02
MOST_THERMAL = 0.1
OUTLIER_ERRORS = 5.0


class DarkFit(msgspec.Struct, frozen=True, kw_only=True):
    """What the dark series say, in counts.

    Attributes
    ----------
    offset_adu : ndarray float64 (Y, X)
        Mean counts at exposure zero (with one exposure: at that exposure).
    offset_error_adu : ndarray float64 (Y, X)
        Standard error of each pixel's offset.
    current_adu_per_s : ndarray float64 (Y, X) or None
        Dark current of each pixel; None with one exposure.
    pixel_current_error_adu_per_s : ndarray float64 (Y, X)
        Its standard error; zeros with one exposure.
    mean_offset_error_adu, current_error_adu_per_s : float
        Standard errors of the means over the pixels: from the frame means.
    slow_noise : float
        Median ratio of plain to difference variance: 1 without drift or slow telegraph noise.
    n_frames : int
        Of all series.
    exposures_s : tuple of float
        Of the series, ascending.
    """

    offset_adu: DoubleMap
    offset_error_adu: DoubleMap
    current_adu_per_s: DoubleMap | None
    pixel_current_error_adu_per_s: DoubleMap
    mean_offset_error_adu: float
    current_error_adu_per_s: float
    slow_noise: float
    n_frames: int
    exposures_s: tuple[float, ...]

    def mean_current(self, hot: Index | None) -> float:
        """Return the mean dark current of the pixels that are not hot, counts per second."""
        if self.current_adu_per_s is None:
            return 0.0
        normal = np.ones(self.current_adu_per_s.size, dtype=bool)
        if hot is not None:
            normal[hot] = False
        return float(self.current_adu_per_s.ravel()[normal].mean())


def fit_darks(darks: Mapping[float, PixelSummary]) -> DarkFit:
    """Fit the dark series, keyed by exposure in microseconds; at least one."""
    exposures = sorted(darks)
    series = [darks[e] for e in exposures]
    times = np.array(exposures) * 1e-6
    frames = np.array([float(s.n_frames) for s in series])
    errors = np.array([s.frame_mean_error_adu for s in series])
    current_weights, offset_weights = _line_weights(times, frames)
    current = None if current_weights is None else _combine(series, current_weights)
    weights = offset_weights
    if current_weights is not None and _inflation(offset_weights, frames) > MOST_INFLATION:
        weights = frames / frames.sum()
    offset = _combine(series, weights)
    if current is not None and weights is not offset_weights:
        offset -= float(np.median(current)) * float(weights @ times)
    return DarkFit(
        offset_adu=offset,
        offset_error_adu=_noise_of(series, weights),
        current_adu_per_s=current,
        pixel_current_error_adu_per_s=_noise_of(series, current_weights),
        mean_offset_error_adu=float(np.sqrt(np.sum((offset_weights * errors) ** 2))),
        current_error_adu_per_s=_current_error(current_weights, errors),
        slow_noise=_slow_noise(series),
        n_frames=int(frames.sum()),
        exposures_s=tuple(times.tolist()),
    )


def _line_weights(times: DoubleMap, frames: DoubleMap) -> tuple[DoubleMap | None, DoubleMap]:
    """Return weights of the series' means in slope (None with one exposure) and intercept."""
    share = frames / frames.sum()
    centre = float(share @ times)
    spread = float(share @ (times - centre) ** 2)
    if len(times) < 2 or spread <= 0:
        return None, share
    slope = share * (times - centre) / spread
    return slope, share - centre * slope


def _inflation(weights: DoubleMap, frames: DoubleMap) -> float:
    """Return the variance of the intercept over that of the best single series."""
    return float(np.sum(weights**2 / frames) * frames.max())


def _combine(series: list[PixelSummary], weights: DoubleMap) -> DoubleMap:
    total = np.zeros(series[0].shape)
    for weight, one in zip(weights, series, strict=True):
        total += float(weight) * one.mean_adu
    return total


def _noise_of(series: list[PixelSummary], weights: DoubleMap | None) -> DoubleMap:
    """Return the standard error of each pixel's weighted sum of means."""
    total = np.zeros(series[0].shape)
    if weights is not None:
        for weight, one in zip(weights, series, strict=True):
            total += float(weight) ** 2 * one.variance_adu2 / one.n_frames
    return np.sqrt(total)


def _current_error(weights: DoubleMap | None, errors: DoubleMap) -> float:
    return 0.0 if weights is None else float(np.sqrt(np.sum((weights * errors) ** 2)))


def _slow_noise(series: list[PixelSummary]) -> float:
    ratios = []
    for one in series:
        noisy = one.variance_adu2 > 1e-6
        if one.sample_variance_adu2 is not None and noisy.any():
            ratio = one.sample_variance_adu2[noisy] / one.variance_adu2[noisy]
            ratios.append(float(np.median(ratio)))
    return max(ratios, default=1.0)


def read_variance(
    darks: Mapping[float, PixelSummary], fit: DarkFit, slope_adu: float
) -> tuple[DoubleMap, float]:
    """Return the variance of every pixel without thermal noise, and its degrees of freedom.

    Parameters
    ----------
    darks : mapping
        As given to ``fit_darks``.
    fit : DarkFit
        Its result.
    slope_adu : float
        Photon transfer slope, counts of variance per count of signal (0: take nothing off).

    Notes
    -----
    Plain variances are used, for their degrees of freedom, unless slow drift is in them; then
    those from frame differences. Long exposures whose thermal noise is more than a tenth of the
    noise of the shortest are left out: what remains after subtraction would tell little.
    """
    drifting = fit.slow_noise > SLOW_NOISE
    current = None
    if fit.current_adu_per_s is not None and slope_adu > 0:
        current = slope_adu * _steadied(fit, fit.current_adu_per_s)
    thermal = 0.0 if current is None else max(float(np.mean(current)), 0.0)
    total, freedom = np.zeros(fit.offset_adu.shape), 0.0
    for exposure in _quiet_exposures(darks, thermal):
        one, time_s = darks[exposure], exposure * 1e-6
        plain = None if drifting else one.sample_variance_adu2
        dof = one.dof if plain is None else one.n_frames - 1.0
        total += dof * (one.variance_adu2 if plain is None else plain)
        if current is not None:
            total -= dof * time_s * current
        freedom += dof
    return np.maximum(total / freedom, 0.0), freedom


def _quiet_exposures(darks: Mapping[float, PixelSummary], thermal_adu2_per_s: float) -> list[float]:
    """Return the shortest exposure and those whose thermal noise is small beside it."""
    shortest = min(darks)
    noise = float(darks[shortest].variance_adu2.mean(dtype=np.float64))
    most = MOST_THERMAL * noise
    return [e for e in darks if e == shortest or thermal_adu2_per_s * e * 1e-6 <= most]


def _steadied(fit: DarkFit, current: DoubleMap) -> DoubleMap:
    """Return the dark current drawn towards its mean as far as its noise asks (empirical Bayes).

    The noise of a pixel's own current, times the exposure and the slope, would exceed the read
    noise of an electron-multiplying camera. A pixel five errors off keeps its own.
    """
    low, middle, high = np.quantile(current, (0.1587, 0.5, 0.8413))
    error = fit.pixel_current_error_adu_per_s
    noise = float(np.median(error**2))
    spread = max((0.5 * float(high - low)) ** 2 - noise, 0.0)
    weight = spread / (spread + noise) if spread + noise > 0 else 0.0
    outlier = np.abs(current - middle) > OUTLIER_ERRORS * np.maximum(error, 0.5 * (high - low))
    normal = current[~outlier]
    centre = float(normal.mean()) if normal.size else float(middle)
    return np.where(outlier, current, centre + weight * (current - centre))


def dark_reference(fit: DarkFit, variance: DoubleMap, dof: float) -> DarkReference:
    """Return what photon transfer subtracts; the frames are those the offset is worth."""
    noise, error = float(np.median(variance)), float(np.median(fit.offset_error_adu**2))
    return DarkReference(
        offset_adu=fit.offset_adu.astype(np.float32),
        variance_adu2=variance.astype(np.float32),
        n_frames=max(noise / error, 1.0) if error > 0 else float(fit.n_frames),
        dof=dof,
    )
