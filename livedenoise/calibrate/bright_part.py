"""Mean signal of the brightest part of the scene at each level: what linearity is judged by.

Knows: blocks of pixels, which of them are bright, the error of their mean. Must not know: the fit
of linearity, files, cameras.

The mean of a whole frame that is mostly dark never comes near saturation; its bright part does.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
import numpy.typing as npt

from livedenoise.calibrate.linearity import DoseLevel
from livedenoise.calibrate.stages import LitSeries
from livedenoise.imaging.ptc_distant import BLOCK_PX, block_sums
from livedenoise.imaging.ptc_moments import PixelSummary

BRIGHT_SHARE = 0.7
TOP_QUANTILE = 0.99
MOST_SATURATED = 1e-4
DRIFT_ERRORS = 4.0
PIXELS = BLOCK_PX**2

Mask = npt.NDArray[np.bool_]
DoubleMap = npt.NDArray[np.float64]


def dose_levels(
    levels: Sequence[LitSeries],
    usable: Sequence[int],
    *,
    offset_adu: float,
    offset_error_adu: float,
    thermal_adu_per_s: float,
    valid: Mask,
) -> list[DoseLevel]:
    """Return the doses with the signal of the bright part, of the levels whose light is known.

    Parameters
    ----------
    levels : sequence of LitSeries
        All of them.
    usable : sequence of int
        Numbers of those that are not saturated.
    offset_adu, offset_error_adu, thermal_adu_per_s : float
        Mean offset with its error, and mean dark current.
    valid : ndarray of bool (Y, X)
        False at defects.
    """
    if not levels:
        return []
    part = _Part(
        chosen=_bright(levels, usable, offset_adu, valid),
        valid=valid,
        offset_adu=offset_adu,
        offset_error_adu=offset_error_adu,
        thermal_adu_per_s=thermal_adu_per_s,
    )
    return [_dose(x, part) for x in levels if x.light]


class _Part(msgspec.Struct, frozen=True, kw_only=True):
    """Which blocks are looked at, and what is subtracted."""

    chosen: Mask
    valid: Mask
    offset_adu: float
    offset_error_adu: float
    thermal_adu_per_s: float


def _bright(
    levels: Sequence[LitSeries], usable: Sequence[int], offset_adu: float, valid: Mask
) -> Mask:
    """Return the blocks within 70 % of the brightest ones, (Y // 4, X // 4)."""
    pick = max if usable else min
    numbers = usable or range(len(levels))
    judged = pick((levels[i] for i in numbers), key=lambda x: float(x.summary.mean_adu.mean()))
    image, whole = _block_means(judged.summary.mean_adu, valid)
    signal = image - offset_adu
    top = float(np.quantile(signal[whole], TOP_QUANTILE))
    chosen = whole & (signal >= BRIGHT_SHARE * top)
    return np.asarray(chosen if chosen.any() else whole, dtype=np.bool_)


def _block_means(image: npt.NDArray[np.generic], valid: Mask) -> tuple[DoubleMap, Mask]:
    count = block_sums(valid)
    total = block_sums(np.where(valid, image, 0))
    return total / np.maximum(count, 1.0), count >= PIXELS / 2


def _dose(x: LitSeries, part: _Part) -> DoseLevel:
    summary, chosen = x.summary, part.chosen

    def over(image: npt.NDArray[np.generic]) -> float:
        return float(_block_means(image, part.valid)[0][chosen].mean())

    signal = over(summary.mean_adu) - part.offset_adu
    whole = max(float(summary.mean_adu.mean(dtype=np.float64)) - part.offset_adu, 1e-12)
    # Light that flickers moves bright and dark parts alike.
    common = summary.frame_mean_error_adu * signal / whole
    own = float(np.sqrt(over(summary.variance_adu2) / (chosen.sum() * PIXELS * summary.n_frames)))
    return DoseLevel(
        dose=x.exposure_us * 1e-6 * float(x.light or 0.0),
        signal_adu=signal - part.thermal_adu_per_s * x.exposure_us * 1e-6,
        error_adu=float(np.sqrt(common**2 + own**2 + part.offset_error_adu**2)),
        saturated=over(summary.saturated) / summary.n_frames > MOST_SATURATED,
        drift=summary.drift_adu / whole if _drifts(summary) else 0.0,
        light_error=x.light_error,
    )


def _drifts(summary: PixelSummary) -> bool:
    """Return whether the change of the frame means is more than their scatter makes."""
    # sd of the change along a line through n points that scatter by s: s sqrt(12 / n)
    by_chance = summary.flicker_adu * float(np.sqrt(12.0 / summary.n_frames))
    return abs(summary.drift_adu) > DRIFT_ERRORS * by_chance
