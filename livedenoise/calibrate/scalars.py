"""Scalar constants from the fits: offset, read noise, dark current, spreads over the pixels.

Knows: how each follows from dark fit and photon transfer, and how its error does. Must not know:
how the fits were made, files, cameras.
"""

from __future__ import annotations

import msgspec
import numpy as np
import numpy.typing as npt

from livedenoise.calibrate.dark import DarkFit
from livedenoise.calibrate.pixel_maps import Response, SlopeMaps, is_detected
from livedenoise.calibrate.results import Index, Known, PhotonTransfer, Value
from livedenoise.imaging.ptc_blocks import TransferBlocks

DoubleMap = npt.NDArray[np.float64]

LEAST_VARIANCE_ADU2 = 1e-9
DARKEST_SHARE = 0.01
SIGNIFICANT_ERRORS = 3.0
NO_GAIN = "needs the gain"


class ReadNoise(msgspec.Struct, frozen=True, kw_only=True):
    """Root mean square and median over the pixels."""

    rms: Value
    median: Value


def relative_error(value: Value) -> float:
    """Return error over value, 0 where there is none."""
    return abs(float(value.error or 0.0) / value.value) if value.value else 0.0


def offset_from_darks(fit: DarkFit) -> Value:
    """Return the mean offset over all pixels."""
    pixels = float(np.sqrt(np.mean(fit.offset_error_adu**2) / fit.offset_adu.size))
    longest = max(fit.exposures_s)
    text = f"{fit.n_frames} dark frames"
    if fit.current_adu_per_s is None:
        text += f" of {longest:g} s: dark current within that time is in it"
    return Value(
        value=float(fit.offset_adu.mean()),
        error=float(np.hypot(fit.mean_offset_error_adu, pixels)),
        unit="ADU",
        text=text,
    )


def read_noise_from_darks(variance_adu2: DoubleMap, dof: float, gain: Value) -> ReadNoise:
    """Return the read noise from the dark variance of every pixel (rounding is in it)."""
    if gain.value is None:
        root = float(np.sqrt(variance_adu2.mean()))
        missing = Value.missing(f"{NO_GAIN}; {root:.4g} ADU rms in counts", "e")
        return ReadNoise(rms=missing, median=missing)
    if float(variance_adu2.mean()) < LEAST_VARIANCE_ADU2:
        return _rounding_noise(gain.value)
    mean = float(variance_adu2.mean())
    rms = float(np.sqrt(mean))
    # sd of the mean of variances, each with dof degrees of freedom
    mean_error = float(np.sqrt(2.0 * np.mean(variance_adu2**2) / (dof * variance_adu2.size)))
    relative = mean_error / (2.0 * mean) if mean > 0 else 0.0
    middle = float(np.sqrt(np.median(variance_adu2)))
    text = f"dark variance x gain, {dof:.0f} degrees of freedom a pixel, rounding included"
    of_gain = relative_error(gain)

    def value(noise_adu: float, part: float) -> Value:
        noise = noise_adu * float(gain.value or 0.0)
        return Value(value=noise, error=noise * float(np.hypot(part, of_gain)), unit="e", text=text)

    # The median is 1.25 times as uncertain as a mean.
    return ReadNoise(rms=value(rms, relative), median=value(middle, 1.25 * relative))


def _rounding_noise(gain_e_per_adu: float) -> ReadNoise:
    noise = Value(
        value=gain_e_per_adu * float(np.sqrt(1.0 / 12.0)),
        unit="e",
        status="assumed",
        text="the dark frames show no noise at all: that of rounding to counts is taken",
    )
    return ReadNoise(rms=noise, median=noise)


def offset_without_darks(
    blocks: TransferBlocks, transfer: PhotonTransfer | None, known: Known
) -> Value:
    """Return the offset where no dark series was taken: given, or assumed from the darkest part."""
    if known.offset_adu is not None:
        return Value(
            value=known.offset_adu, unit="ADU", status="given", text="no usable dark series"
        )
    if not len(blocks):
        return Value.missing("no frames", "ADU")
    darkest = float(np.quantile(blocks.raw_mean, DARKEST_SHARE))
    text = "no usable dark series: the darkest 1 % of the scene is taken, an upper bound"
    if transfer is not None and transfer.significant:
        zero = -transfer.intercept_adu2 / transfer.slope_adu
        if zero > darkest:
            text = "no usable dark series: where the photon transfer line reaches no variance"
            darkest = zero
    return Value(value=darkest, unit="ADU", status="assumed", text=text)


def read_noise_without_darks(
    transfer: PhotonTransfer | None, offset: Value, gain: Value
) -> ReadNoise:
    """Return the read noise that goes with an offset: sqrt(slope * offset + intercept) * gain."""
    if transfer is None or gain.value is None or offset.value is None:
        missing = Value.missing(NO_GAIN, "e")
        return ReadNoise(rms=missing, median=missing)
    variance = transfer.slope_adu * offset.value + transfer.intercept_adu2
    noise = float(np.sqrt(max(variance, 0.0))) * gain.value
    given = offset.status == "given"
    text = (
        f"photon transfer line at the {offset.status} offset: only slope x offset + intercept "
        f"is determined without darks, {variance:.4g} ADU^2; rounding included"
    )
    error = None
    if given and variance > 0:
        error = noise * 0.5 * transfer.intercept_error_adu2 / variance
    rms = Value(
        value=noise, error=error, unit="e", status="measured" if given else "assumed", text=text
    )
    median = Value.missing("needs a usable dark series: without one pixels are not told apart", "e")
    return ReadNoise(rms=rms, median=median)


def dark_current(fit: DarkFit | None, gain: Value, hot: Index | None) -> Value:
    """Return the mean dark current of the pixels that are not hot."""
    if fit is None or fit.current_adu_per_s is None:
        return Value.missing("needs dark series of two exposures", "e/s")
    if gain.value is None:
        return Value.missing(NO_GAIN, "e/s")
    current = fit.mean_current(hot)
    statistical = fit.current_error_adu_per_s * gain.value
    value = current * gain.value
    error = float(np.hypot(statistical, value * relative_error(gain)))
    text = f"dark means between {min(fit.exposures_s):g} and {max(fit.exposures_s):g} s"
    if abs(value) < SIGNIFICANT_ERRORS * error:
        text += "; not distinguishable from none"
    return Value(value=value, error=error, unit="e/s", text=text)


def offset_spread(fit: DarkFit | None, gain: Value) -> Value:
    """Return the DSNU: sd of the offset over pixels, its noise taken out (EMVA 1288, sec. 8)."""
    if fit is None:
        return Value.missing("needs a usable dark series", "e")
    if gain.value is None:
        return Value.missing(NO_GAIN, "e")
    noise = float(np.mean(fit.offset_error_adu**2))
    total = float(fit.offset_adu.var())
    left = max(total - noise, 0.0)
    spread = float(np.sqrt(left)) * gain.value
    of_square = total * float(np.sqrt(2.0 / fit.offset_adu.size))
    error = of_square / (2.0 * np.sqrt(max(left, of_square, 1e-30))) * gain.value
    error = float(np.hypot(error, spread * relative_error(gain)))
    return Value(value=spread, error=error, unit="e", text="sd of the offset map, noise taken out")


def gain_spread(maps: SlopeMaps | None, response: Response | None) -> Value:
    """Return the PRNU: relative spread of the response over pixels (EMVA 1288, sec. 8)."""
    if response is not None:
        text = "response to even light, relative to 12 px around, noise taken out"
        return _spread_value(response.spread, response.spread_error, text)
    if maps is None:
        return Value.missing("needs even light (say flat_field), or 4 levels of many frames", "%")
    text = (
        f"gains from noise, {maps.n_levels} levels, {maps.n_frames} frames (even light tells more)"
    )
    return _spread_value(maps.spread, maps.spread_error, text)


def _spread_value(spread: float, error: float, text: str) -> Value:
    if not is_detected(spread, error):
        # Where nothing was found the error is the limit; else two standard errors of the square.
        most = error if spread == 0.0 else float(np.sqrt(spread**2 + 4.0 * spread * error))
        limit = f"below {100.0 * most:.2g} %, " if np.isfinite(most) else ""
        return Value.missing(f"{limit}not told from none: {text}", "%")
    return Value(value=100.0 * spread, error=100.0 * error, unit="%", text=text)
