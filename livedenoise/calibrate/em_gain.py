"""Electron multiplication: excess noise factor, and what a photon transfer slope alone tells.

Knows: how slope, gain, multiplication and excess noise hang together. Must not know: pixels.

Electrons are input electrons: (counts - offset) * gain_e_per_adu, with the conversion gain divided
by the multiplication. Their variance is the excess noise factor F times their mean (Robbins &
Hadwen, IEEE Trans. Electron Devices 50, 2003), so the slope of variance against mean in counts is
F / gain_e_per_adu: the slope alone gives the ratio only.
"""

from __future__ import annotations

import numpy as np

from livedenoise.calibrate.results import Known, Status, Value

IMPOSSIBLE_ERRORS = 3.0


def excess_from_two_slopes(slope_on_adu: Value, slope_off_adu: Value, signal_ratio: Value) -> Value:
    """Return the excess noise factor from photon transfer with and without multiplication.

    With multiplication M the slope is ``F M / K``, without it ``1 / K`` (K: conversion gain in
    electrons per count), and M is the ratio of signals under the same light:
    ``F = slope_on / (slope_off * M)``.

    Parameters
    ----------
    slope_on_adu, slope_off_adu : Value
        Photon transfer slopes with multiplication on and off, same register and preamplifier.
    signal_ratio : Value
        Signal above offset, on over off, at the same light and exposure.
    """
    numbers = (slope_on_adu.value, slope_off_adu.value, signal_ratio.value)
    if any(n is None or n <= 0 for n in numbers):
        return Value.missing("needs both slopes and the ratio of the signals")
    on, off, ratio = (float(n) for n in numbers if n is not None)
    factor = on / (off * ratio)
    parts = [
        float(v.error or 0.0) / n
        for v, n in zip((slope_on_adu, slope_off_adu, signal_ratio), (on, off, ratio), strict=True)
    ]
    error = factor * float(np.sqrt(np.sum(np.square(parts))))
    return Value(value=factor, error=error, text=f"two slopes, multiplication {ratio:.4g}")


def gain_and_excess(slope_adu: float, slope_error_adu: float, known: Known) -> tuple[Value, Value]:
    """Return (gain_e_per_adu, excess noise factor) from a slope and what is known.

    Both are missing where the factor would be below 1 by more than three errors: no register
    takes noise away, so what was given is wrong.

    Parameters
    ----------
    slope_adu, slope_error_adu : float
        Photon transfer slope, > 0, and its standard error.
    known : Known
        With conversion gain and multiplication the excess noise factor is measured; with the
        factor the gain is; with the multiplication alone it is taken for that of a long register
        (Robbins & Hadwen, eq. 14), with neither to be 1.
    """
    relative = slope_error_adu / slope_adu
    if known.conversion_gain_e_per_adu is not None and known.em_gain is not None:
        gain = known.conversion_gain_e_per_adu / known.em_gain
        factor = slope_adu * gain
        if factor < 1.0 - IMPOSSIBLE_ERRORS * factor * relative:
            reason = (
                f"conversion gain or EM gain is wrong: with {known.conversion_gain_e_per_adu:g} "
                f"e/ADU / {known.em_gain:g} the excess noise factor would be {factor:.3g} +- "
                f"{factor * relative:.1g}, and it cannot be below 1"
            )
            return Value.missing(reason, "e/ADU"), Value.missing(reason)
        return (
            Value(value=gain, unit="e/ADU", status="given", text="conversion gain / EM gain"),
            Value(value=factor, error=factor * relative, text="photon transfer slope x gain"),
        )
    excess = _excess(known)
    factor = float(excess.value or 1.0)
    gain = factor / slope_adu
    text = "photon transfer"
    if excess.status != "assumed" and factor != 1.0:
        text += f", excess noise factor {factor:g} as given: the slope tells their ratio only"
    status: Status = "measured"
    if excess.status == "assumed" and (known.em_gain or 1.0) > 1.0:
        # What is not known is not measured: the slope gives the ratio only.
        text += f", excess noise factor {factor:.3g} assumed"
        status = "assumed"
    gain_value = Value(value=gain, error=gain * relative, unit="e/ADU", status=status, text=text)
    return gain_value, excess


def _excess(known: Known) -> Value:
    if known.excess_noise_factor is not None:
        text = "given; it is not told apart from the gain by the slope"
        return Value(value=known.excess_noise_factor, status="given", text=text)
    if (known.em_gain or 1.0) > 1.0:
        gain = float(known.em_gain or 1.0)
        text = (
            f"that of a long register at EM gain {gain:g} (2 - 1 / gain): give the conversion gain "
            "to measure it"
        )
        return Value(value=2.0 - 1.0 / gain, status="assumed", text=text)
    return Value(value=1.0, status="assumed", text="no electron multiplication was said of")
