"""What the checks say of a pair.

Knows: the form of a verdict. Must not know: how anything is measured.
"""

from __future__ import annotations

from typing import Literal

import msgspec

Reason = Literal[
    "ratio",
    "exposure",
    "saturated",
    "zero_clipped",
    "shift",
    "focus",
    "bleaching",
    "motion",
    "dark",
]
"""Why a pair is rejected. ``ratio``: intensities do not follow the dose (swapped, stale or wrong
exposure, flickering light, stuck shutter); ``exposure``: the camera read back another exposure;
``dark``: no light came through at all."""


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One thing measured: its value, its standard error, and the limit it was held to.

    ``value`` is None when it could not be measured on this pair (too few photons, no bracket):
    then ``passed`` is True and ``text`` says why.
    """

    name: Reason
    value: float | None
    error: float | None = None
    limit: float
    unit: str = ""
    passed: bool
    text: str


class PairVerdict(msgspec.Struct, frozen=True, kw_only=True):
    """Whether a pair may be trained on, and everything that was measured to know it.

    Attributes
    ----------
    accepted : bool
        No check failed.
    reasons : tuple of str
        Names of the checks that failed, the most telling first.
    checks : tuple of Check
        All checks.
    ratio, expected_ratio : float
        Offset-subtracted mean intensity of low over high: measured, and from exposure x light.
    dose_ratio : float
        Dose of high over low: exposure x light x frames averaged.
    shift_px : tuple of float
        (Y, X) by which the high image lies beside the low one: ``high[y + dy, x + dx]`` shows what
        ``low[y, x]`` does.
    shift_error_px : float
        Standard error of it.
    low_electrons, high_electrons : float
        Mean signal per pixel and frame, electrons.
    psnr_db : float
        Of low, scaled to high, against high (aligned); data range: the 99.9 percentile of high
        above offset. The baseline that any model must beat.
    """

    accepted: bool
    reasons: tuple[Reason, ...] = ()
    checks: tuple[Check, ...] = ()
    ratio: float = 0.0
    expected_ratio: float = 0.0
    dose_ratio: float = 0.0
    shift_px: tuple[float, float] = (0.0, 0.0)
    shift_error_px: float = 0.0
    low_electrons: float = 0.0
    high_electrons: float = 0.0
    psnr_db: float = 0.0
