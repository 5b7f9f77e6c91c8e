"""The two stages of a calibration that need each other: darks, then photon transfer.

Knows: what the darks give to the fit, and what of it is left out. Must not know: maps, linearity,
files, cameras.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
import numpy as np
import numpy.typing as npt

from livedenoise.calibrate.dark import DarkFit, dark_reference, fit_darks, read_variance
from livedenoise.calibrate.defects import choose_series, hot_pixels, telegraph_pixels
from livedenoise.calibrate.doubts import refusal, still_blocks
from livedenoise.calibrate.em_gain import gain_and_excess
from livedenoise.calibrate.photon_transfer import photon_transfer
from livedenoise.calibrate.results import Defects, Known, PhotonTransfer, Value
from livedenoise.imaging.ptc_blocks import DarkReference, TransferBlocks, transfer_blocks
from livedenoise.imaging.ptc_moments import PixelSummary
from livedenoise.imaging.ptc_steady import Steadiness, steadiness

USABLE_SHARE = 0.98
NEAR_SATURATION = 0.9


class LitSeries(msgspec.Struct, frozen=True, kw_only=True):
    """Frames of one exposure and one light level (relative; None: nobody said).

    ``light_error`` is the relative standard error of the light where it was followed by reference
    frames, None where nobody looked.
    """

    exposure_us: float
    light: float | None
    summary: PixelSummary
    light_error: float | None = None


class Darkness(msgspec.Struct, frozen=True, kw_only=True):
    """What the dark series gave; all None or empty without them."""

    fit: DarkFit | None
    reference: DarkReference | None
    variance_adu2: npt.NDArray[np.float64] | None
    dof: float
    defects: Defects


class Transfer(msgspec.Struct, frozen=True, kw_only=True):
    """Blocks, fit, what they say of gain and excess noise, and whether frames are independent."""

    blocks: TransferBlocks | None
    fit: PhotonTransfer | None
    gain: Value
    excess: Value
    steady: Steadiness | None = None


def dark_stage(darks: Mapping[float, PixelSummary], slope_adu: float) -> Darkness:
    """Fit the darks; ``slope_adu`` takes thermal noise off the dark variance (0: leaves it)."""
    if not darks:
        text = "needs a usable dark series"
        none = Defects(
            hot_index=None,
            telegraph_index=None,
            dead_index=None,
            hot_text=text,
            telegraph_text=text,
        )
        return Darkness(fit=None, reference=None, variance_adu2=None, dof=0.0, defects=none)
    fit = fit_darks(darks)
    variance, dof = read_variance(darks, fit, slope_adu)
    if fit.current_adu_per_s is None:
        hot, text = hot_pixels(fit.offset_adu, fit.offset_error_adu)
        text = f"dark mean of one exposure, {text}"
    else:
        hot, text = hot_pixels(fit.current_adu_per_s, fit.pixel_current_error_adu_per_s)
        text = f"dark current, {text}"
    telegraph, telegraph_text = telegraph_pixels(choose_series(darks), hot)
    defects = Defects(
        hot_index=hot,
        telegraph_index=telegraph,
        dead_index=None,
        hot_text=text,
        telegraph_text=telegraph_text,
    )
    return Darkness(
        fit=fit,
        reference=dark_reference(fit, variance, dof),
        variance_adu2=variance,
        dof=dof,
        defects=defects,
    )


def ordinary_pixels(shape: tuple[int, int], defects: Defects) -> npt.NDArray[np.bool_]:
    """Return (Y, X), False at every defect."""
    ordinary = np.ones(shape, dtype=bool)
    for index in (defects.hot_index, defects.telegraph_index, defects.dead_index):
        if index is not None:
            ordinary.ravel()[index] = False
    return ordinary


def transfer_stage(levels: Sequence[LitSeries], darkness: Darkness, known: Known) -> Transfer:
    """Fit photon transfer of all lit series; defects and what moved are left out."""
    if not levels:
        return _no_gain(None, None, "needs light: no lit series was given", known)
    series = [x.summary for x in levels]
    valid = ordinary_pixels(series[0].shape, darkness.defects)
    steady = steadiness(series)
    blocks = still_blocks(transfer_blocks(series, darkness.reference, valid), steady)
    if known.saturation_adu is not None:
        blocks.clipped[blocks.raw_mean > NEAR_SATURATION * known.saturation_adu] = True
    fit = photon_transfer(blocks, dark_subtracted=darkness.fit is not None)
    if fit is None:
        return _no_gain(blocks, None, "every block of pixels is clipped", known, steady)
    if not fit.significant:
        reason = (
            f"the variance does not follow the signal (slope {fit.slope_adu:.3g} +- "
            f"{fit.slope_error_adu:.1g}, r2 {fit.r2:.2f})"
        )
        return _no_gain(blocks, fit, reason, known, steady)
    shared = refusal(steady)
    if shared:
        return _no_gain(blocks, fit, shared, known, steady)
    gain, excess = gain_and_excess(fit.slope_adu, fit.slope_error_adu, known)
    return Transfer(blocks=blocks, fit=fit, gain=gain, excess=excess, steady=steady)


def _no_gain(
    blocks: TransferBlocks | None,
    fit: PhotonTransfer | None,
    reason: str,
    known: Known,
    steady: Steadiness | None = None,
) -> Transfer:
    excess = Value.missing("needs the photon transfer slope")
    if known.excess_noise_factor is not None:
        excess = Value(value=known.excess_noise_factor, status="given")
    gain = Value.missing(reason, "e/ADU")
    return Transfer(blocks=blocks, fit=fit, gain=gain, excess=excess, steady=steady)


def unsaturated(levels: Sequence[LitSeries], transfer: Transfer) -> list[int]:
    """Return the numbers of the series whose pixels (nearly) all lie in the fitted range."""
    blocks, fit = transfer.blocks, transfer.fit
    if blocks is None or fit is None:
        return []
    good = ~blocks.clipped & (blocks.signal <= fit.signal_limit_adu)
    return [
        number
        for number in range(len(levels))
        if good[blocks.level == number].size and good[blocks.level == number].mean() > USABLE_SHARE
    ]
