"""Photon transfer: which levels may be fitted, the fit, and whether it means anything.

Knows: saturation as the variance shows it, the range of the fit, significance, goodness of fit.
Must not know: electrons, files, cameras.

EMVA Standard 1288 (release 3.1, sec. 6.6) puts saturation where the variance is highest and fits
from 0 to 70 % of it. A knee that is nearer than the brightest series, but not passed by it, shows
as a brightest point below the line; it is left out.
"""

from __future__ import annotations

import msgspec
import numpy as np

from livedenoise.calibrate.results import PhotonTransfer, TransferPoint
from livedenoise.imaging.ptc_blocks import TransferBlocks
from livedenoise.imaging.ptc_line import Bin, TransferLine, bin_blocks, fit_transfer

RANGE_OF_SATURATION = 0.7
COLLAPSE = 0.8
SIGNIFICANT_ERRORS = 5.0
LEAST_R2 = 0.5
LEAST_SHOT_SHARE = 0.25
MISSING_SHARE = 0.03
MISSING_ERRORS = 5.0
LEAST_FREEDOM = 3


def photon_transfer(blocks: TransferBlocks, *, dark_subtracted: bool) -> PhotonTransfer | None:
    """Fit the photon transfer curve of all series.

    Parameters
    ----------
    blocks : TransferBlocks
        Of all lit series.
    dark_subtracted : bool
        Whether signal and variance are those above the dark ones.

    Returns
    -------
    PhotonTransfer or None
        None if fewer than four blocks are free of clipping.
    """
    usable = ~blocks.clipped
    if usable.sum() < 4:
        return None
    bins = bin_blocks(blocks)
    limit = signal_limit(blocks, bins)
    chosen = usable & (blocks.signal <= limit)
    if chosen.sum() < 4:
        return None
    fitted = blocks.subset(chosen)
    line = fit_transfer(fitted, through_zero=dark_subtracted)
    return _result(blocks, fitted, line, bins, limit, dark_subtracted=dark_subtracted)


def signal_limit(blocks: TransferBlocks, bins: list[Bin]) -> float:
    """Return up to which signal the variance can be trusted; infinite where nothing ends it.

    Parameters
    ----------
    blocks : TransferBlocks
        All blocks; clipped ones are ignored except as a sign of saturation.
    bins : list of Bin
        Their bins.
    """
    order = sorted(bins, key=lambda b: b.signal)
    signal = np.array([b.signal for b in order])
    variance = np.array([b.variance for b in order])
    error = np.array([b.error for b in order])
    peak = int(np.argmax(variance))
    limit = float("inf")
    falls = peak < len(order) - 1 and variance[-1] < COLLAPSE * variance[peak]
    if falls and signal[peak] > 0:
        limit = RANGE_OF_SATURATION * float(signal[peak])
    free = blocks.signal[~blocks.clipped & (blocks.signal <= limit)]
    top = float(free.max()) if free.size else 0.0
    return _without_sagging_top(signal, variance, error, min(limit, top))


def _without_sagging_top(
    signal: np.ndarray[tuple[int], np.dtype[np.float64]],
    variance: np.ndarray[tuple[int], np.dtype[np.float64]],
    error: np.ndarray[tuple[int], np.dtype[np.float64]],
    limit: float,
) -> float:
    """Return the limit lowered below bins that lie under the line of the lower half."""
    below = signal <= 0.6 * limit
    if below.sum() < 3 or np.ptp(signal[below]) <= 0:
        return limit
    weight = 1.0 / np.maximum(error[below], 1e-12)
    slope, intercept = np.polyfit(signal[below], variance[below], 1, w=weight)
    line = slope * signal + intercept
    missing = line - variance
    sags = missing > np.maximum(MISSING_ERRORS * error, MISSING_SHARE * np.abs(line))
    for index in np.flatnonzero((signal <= limit) & ~below)[::-1]:
        if not sags[index]:
            break
        limit = 0.5 * float(signal[index] + signal[index - 1])
    return limit


def _result(
    blocks: TransferBlocks,
    fitted: TransferBlocks,
    line: TransferLine,
    bins: list[Bin],
    limit: float,
    *,
    dark_subtracted: bool,
) -> PhotonTransfer:
    used = bin_blocks(fitted.subset(line.kept)) if line.kept.any() else []
    chi2, r2 = _goodness(used, line)
    freedom = max(len(used) - (1 if dark_subtracted else 2), 0)
    line = _widened(line, chi2, freedom)
    unused = [b for b in bins if b.signal > limit or _clipped_bin(blocks, b)]
    points = [_point(b, used=True) for b in used] + [_point(b, used=False) for b in unused]
    return PhotonTransfer(
        slope_adu=line.slope,
        slope_error_adu=line.slope_error,
        intercept_adu2=line.intercept,
        intercept_error_adu2=line.intercept_error if not dark_subtracted else 0.0,
        dark_subtracted=dark_subtracted,
        signal_limit_adu=limit,
        chi2=chi2,
        degrees_of_freedom=freedom,
        r2=r2,
        significant=_significant(fitted, line, r2, dark_subtracted=dark_subtracted),
        n_blocks=len(fitted),
        n_rejected=int(np.count_nonzero(~line.kept)),
        points=tuple(sorted(points, key=lambda p: (p.level, p.signal_adu))),
    )


def _widened(line: TransferLine, chi2: float, freedom: int) -> TransferLine:
    """Return the line with its errors scaled by sqrt(chi2 / dof) where that exceeds one.

    The jackknife knows the scatter between parts of the frame, not that the points are off a
    straight line (Particle Data Group, "Review of Particle Physics", 2022, sec. 5.2.2).
    """
    if freedom < LEAST_FREEDOM or chi2 <= freedom:
        return line
    scale = float(np.sqrt(chi2 / freedom))
    return msgspec.structs.replace(
        line,
        slope_error=line.slope_error * scale,
        intercept_error=line.intercept_error * scale,
    )


def _clipped_bin(blocks: TransferBlocks, one: Bin) -> bool:
    mine = blocks.clipped[blocks.level == one.level]
    return bool(mine.mean() > 0.5)


def _point(one: Bin, *, used: bool) -> TransferPoint:
    return TransferPoint(
        signal_adu=one.signal,
        variance_adu2=one.variance,
        variance_error_adu2=one.error,
        n_pixels=one.n_pixels,
        level=one.level,
        used=used,
    )


def _goodness(used: list[Bin], line: TransferLine) -> tuple[float, float]:
    """Return chi squared about the line, and the share of weighted variation it explains."""
    if not used:
        return 0.0, 0.0
    signal = np.array([b.signal for b in used])
    variance = np.array([b.variance for b in used])
    weight = 1.0 / np.maximum(np.array([b.error for b in used]), 1e-12) ** 2
    left = variance - line.slope * signal - line.intercept
    chi2 = float(np.sum(weight * left**2))
    # In relative terms: the weights of the dimmest points would hide everything bright.
    about = variance - np.average(variance)
    total = float(np.sum(about**2))
    r2 = 1.0 - float(np.sum(left**2)) / total if len(used) > 2 and total > 0 else 0.0
    return chi2, float(np.clip(r2, 0.0, 1.0))


def _significant(
    fitted: TransferBlocks, line: TransferLine, r2: float, *, dark_subtracted: bool
) -> bool:
    """Return whether the variance follows the signal well enough to speak of electrons.

    Without darks the line must also explain most of the variation, and the variance grow by a
    quarter over the range (as ``imaging.noise_fit`` asks of an estimate).
    """
    if not line.slope > SIGNIFICANT_ERRORS * line.slope_error:
        return False
    if dark_subtracted:
        return True
    low, high = np.quantile(fitted.signal, (0.01, 0.999))
    darkest = line.slope * float(low) + line.intercept
    return r2 >= LEAST_R2 and line.slope * float(high - low) > LEAST_SHOT_SHARE * darkest
