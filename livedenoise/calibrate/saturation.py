"""Saturation: where the signal stops growing, and whether the converter or the pixel ends it.

Knows: blocks whose variance has collapsed. Must not know: files, cameras.

A pixel that is full gives the same count every time, so its variance falls to the read noise or,
at the top of the converter, to nothing (Janesick, "Photon Transfer", SPIE 2007, ch. 5).
"""

from __future__ import annotations

import numpy as np

from livedenoise.calibrate.results import PhotonTransfer, SaturationKind, Value
from livedenoise.core.frame import max_count
from livedenoise.imaging.ptc_blocks import FloatArray, Mask, TransferBlocks

COLLAPSED = 0.25
LEAST_BLOCKS = 4


def saturation(
    blocks: TransferBlocks, transfer: PhotonTransfer | None, bit_depth: int
) -> tuple[Value, SaturationKind]:
    """Return the counts at saturation, and what ends the range.

    Parameters
    ----------
    blocks : TransferBlocks
        Blocks of all lit series.
    transfer : PhotonTransfer or None
        The fit below saturation.
    bit_depth : int
        Valid bits.
    """
    top = float(max_count(bit_depth))
    at_top = blocks.raw_mean >= top - 0.5
    full = at_top | _collapsed(blocks, transfer)
    if full.sum() < LEAST_BLOCKS:
        highest = float(blocks.raw_mean.max()) if len(blocks) else 0.0
        reason = f"no level saturated; the brightest reached {highest:.0f} of {top:.0f} ADU"
        return Value.missing(reason, "ADU"), ""
    if at_top.sum() > 0.5 * full.sum():
        text = f"the converter ends at {top:.0f}"
        return Value(value=top, error=0.0, unit="ADU", text=text), "converter"
    flat, partly = _standing_at_top(blocks, full)
    text = "the variance collapses there"
    if at_top.any():
        text += ", in some pixels at the end of the converter"
    value = Value(
        value=float(np.median(flat)),
        # Where no series is full all over, how far the blocks still are from the top is not known.
        error=float(flat.std() if partly else flat.std() / np.sqrt(flat.size)) + 1e-3,
        unit="ADU",
        text=text,
    )
    return value, "full well"


def _collapsed(blocks: TransferBlocks, transfer: PhotonTransfer | None) -> Mask:
    """Return which blocks beyond the fitted range have lost their shot noise."""
    if transfer is None or not transfer.significant:
        return np.zeros(len(blocks), dtype=bool)
    expected = transfer.slope_adu * blocks.signal + transfer.intercept_adu2
    low = blocks.variance < COLLAPSED * expected
    return np.asarray(low & (blocks.signal > transfer.signal_limit_adu))


def _standing_at_top(blocks: TransferBlocks, collapsed: Mask) -> tuple[FloatArray, bool]:
    """Return the means of the brightest series that is full all over, else of the fullest half.

    The flag says that it is the latter.

    Blocks that are only just full still lie below the top.
    """
    means = blocks.raw_mean[collapsed]
    levels = blocks.level[collapsed]
    every = np.bincount(blocks.level)
    full = np.flatnonzero(np.bincount(levels, minlength=every.size) > 0.9 * np.maximum(every, 1))
    if full.size:
        series = [means[levels == number] for number in full]
        return max(series, key=lambda m: float(m.mean())), False
    return means[means >= np.median(means)], True


def full_well(
    saturation_adu: Value, kind: SaturationKind, offset_adu: Value, gain_e_per_adu: Value
) -> Value:
    """Return the full well in electrons, where it is what ends the range."""
    top, offset, gain = saturation_adu.value, offset_adu.value, gain_e_per_adu.value
    if top is None or offset is None or gain is None:
        return Value.missing("needs saturation, offset and gain", "e")
    electrons = (top - offset) * gain
    if kind == "converter":
        reason = f"the converter ends first, at {electrons:.0f} e"
        return Value.missing(reason, "e")
    relative = float(gain_e_per_adu.error or 0.0) / gain
    spread = float(np.hypot(saturation_adu.error or 0.0, offset_adu.error or 0.0)) * gain
    error = float(np.hypot(electrons * relative, spread))
    assumed = offset_adu.status == "assumed"
    return Value(
        value=electrons,
        error=error,
        unit="e",
        status="assumed" if assumed else "measured",
        text=f"variance collapses there{', counted from the assumed offset' if assumed else ''}",
    )
