"""Facts of each series for the report, and the warnings that follow from them.

Knows: what to worry about in frames taken for a calibration. Must not know: fits, files.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from livedenoise.calibrate.results import Level, Value
from livedenoise.imaging.ptc_moments import PixelSummary

WORRYING_CORRELATION = 0.02
WORRYING_ERRORS = 5.0
WORRYING_DRIFT = 0.05
WORRYING_FLICKER = 0.01
WORRYING_ZEROS = 1e-3
FINE_NOISE_ADU = 0.5
ROUNDING_ADU2 = 1.0 / 12.0


def level_of(
    summary: PixelSummary,
    exposure_us: float,
    light: float | None,
    *,
    offset_adu: float,
    excluded: str = "",
) -> Level:
    """Return the facts of a series; drift and flicker are relative to the mean above offset."""
    mean = float(summary.mean_adu.mean(dtype=np.float64))
    noise = float(np.sqrt(summary.variance_adu2.mean(dtype=np.float64)))
    # A dark series has no signal to drift: its noise is the scale there.
    scale = max(mean - offset_adu, noise, 1e-12)
    return Level(
        exposure_us=exposure_us,
        light=light,
        mean_adu=mean,
        mean_error_adu=summary.frame_mean_error_adu,
        variance_adu2=noise**2,
        n_frames=summary.n_frames,
        saturated_fraction=summary.saturated_fraction,
        zero_fraction=summary.zero_fraction,
        drift_fraction=summary.drift_adu / scale,
        flicker_fraction=summary.flicker_adu / scale,
        lag1_x=summary.lag1_x,
        lag1_y=summary.lag1_y,
        excluded=excluded,
    )


def correlations(series: Sequence[PixelSummary]) -> tuple[Value, Value, Value]:
    """Return lag-1 correlation in x and y, and the factor by which the gain comes out too high.

    Smoothing with a kernel of unit sum leaves the mean and divides the variance by the sum of the
    noise's autocorrelation (Moore, Ninkov & Forrest, Opt. Eng. 45, 2006, for coupled pixels); the
    sum is taken over the eight neighbours, so for a wide kernel it is a lower bound.
    """
    if not series:
        missing = Value.missing("no series of frames")
        return missing, missing, missing
    weight = np.array([1.0 / one.lag1_error**2 for one in series])
    x, y, diagonal = (
        float(np.average([getattr(s, name) for s in series], weights=weight))
        for name in ("lag1_x", "lag1_y", "lag1_diagonal")
    )
    error = float(1.0 / np.sqrt(weight.sum()))
    text = "frame differences"
    factor = 1.0 + 2.0 * x + 2.0 * y + 4.0 * diagonal
    return (
        Value(value=x, error=error, text=text),
        Value(value=y, error=error, text=text),
        Value(value=factor, error=error * float(np.sqrt(24.0)), text="sum over 8 neighbours"),
    )


def warnings_of(
    darks: Sequence[Level],
    levels: Sequence[Level],
    correlation: tuple[Value, Value, Value],
    *,
    scene_moved: bool = False,
) -> list[str]:
    """Return what people should know about the frames, one line each."""
    found = [*_correlation_warning(correlation, scene_moved=scene_moved)]
    for kind, series in (("dark", darks), ("light", levels)):
        found.extend(w for one in series for w in _series_warnings(kind, one))
    return found


def correlated(x: Value, y: Value) -> bool:
    """Return whether the correlation of neighbouring pixels is significant and worth telling."""
    if x.value is None or y.value is None:
        return False
    limit = max(WORRYING_CORRELATION, WORRYING_ERRORS * float(x.error or 0.0))
    return max(abs(x.value), abs(y.value)) > limit


def _correlation_warning(
    correlation: tuple[Value, Value, Value], *, scene_moved: bool
) -> list[str]:
    x, y, factor = correlation
    if x.value is None or y.value is None or factor.value is None:
        return []
    if not correlated(x, y):
        return []
    if scene_moved:
        return [
            (
                f"the noise of neighbouring pixels is correlated (x {x.value:.2f}, y "
                f"{y.value:.2f}): the scene moved, which does that and makes gain_e_per_adu too "
                "low; whether the images were smoothed besides cannot be told"
            )
        ]
    return [
        (
            f"the noise of neighbouring pixels is correlated (x {x.value:.2f}, y {y.value:.2f}): "
            f"the images were smoothed or resampled, so the variance is too low and gain_e_per_adu "
            f"too high by a factor of about {factor.value:.2f}"
        )
    ]


def _series_warnings(kind: str, one: Level) -> list[str]:
    name = f"{kind} series of {one.exposure_us:g} us at {one.mean_adu:.4g} ADU"
    found = []
    if one.zero_fraction > WORRYING_ZEROS:
        found.append(
            f"{name}: {one.zero_fraction:.1%} of the samples are zero, so mean and variance are "
            "cut off there (a dark series beyond 1 % is not used): raise the camera's offset"
        )
    if kind == "light" and abs(one.drift_fraction) > WORRYING_DRIFT:
        found.append(f"{name}: light changed by {one.drift_fraction:+.1%} (taken out)")
    if kind == "light" and one.flicker_fraction > WORRYING_FLICKER:
        found.append(f"{name}: light flickers by {one.flicker_fraction:.1%} (taken out)")
    return found


def rounding_warnings(bit_depth: int, variance_adu2: float | None, gain: Value) -> list[str]:
    """Return what the rounding to whole counts does to the read noise."""
    found = []
    if bit_depth <= 8 and gain.value is not None:
        rounding = gain.value * float(np.sqrt(ROUNDING_ADU2))
        found.append(
            f"{bit_depth}-bit: rounding adds 1/12 ADU^2 ({rounding:.3g} e rms), included in the "
            "read noise"
        )
    if variance_adu2 is not None and variance_adu2 < FINE_NOISE_ADU**2:
        found.append(
            f"dark noise of {np.sqrt(variance_adu2):.2f} ADU is below half a count: rounding "
            "distorts its variance and that of dim light"
        )
    return found
