"""What a calibration cannot tell, or tells with a reservation: lines for people.

Knows: results and which of them to doubt. Must not know: how they were measured, files, cameras.
"""

from __future__ import annotations

import numpy as np

from livedenoise.calibrate import series_facts
from livedenoise.calibrate.dark import SLOW_NOISE
from livedenoise.calibrate.doubts import moved, unsteady_warnings
from livedenoise.calibrate.results import CalibrationResult, Linearity, Value
from livedenoise.calibrate.stages import Darkness, Transfer

NONLINEAR_PERCENT = 1.0
NONLINEAR_ERRORS = 3.0
POOR_FIT = 3.0
SEVERAL_ERRORS = 3.0
HIGHEST_EXCESS = 2.2


def limits_of(
    result: CalibrationResult, darkness: Darkness, transfer: Transfer, flat_refused: str
) -> list[str]:
    """Return the limits of a calibration, one line each.

    Parameters
    ----------
    result : CalibrationResult
        Complete but for its warnings.
    darkness : Darkness
        The dark stage.
    transfer : Transfer
        The photon transfer stage.
    flat_refused : str
        Why light that was called even was not used as such, or empty.
    """
    correlation = (result.lag1_x, result.lag1_y, result.correlation_factor)
    found = unsteady_warnings(transfer.steady)
    found += series_facts.warnings_of(
        result.dark_levels, result.levels, correlation, scene_moved=moved(transfer.steady)
    )
    variance = None if darkness.variance_adu2 is None else float(np.median(darkness.variance_adu2))
    gain = result.gain_e_per_adu
    found += series_facts.rounding_warnings(result.bit_depth, variance, gain)
    found += [*_fit_warnings(result), *_excess_warnings(result.excess_noise_factor)]
    found += [*_linearity_warnings(result.linearity)]
    if darkness.fit is not None and darkness.fit.slow_noise > SLOW_NOISE:
        found.append(
            f"dark frames drift: plain variance {darkness.fit.slow_noise:.2f} times that of frame "
            "differences, which were used instead"
        )
    if flat_refused:
        found.append(flat_refused)
    return found


def _fit_warnings(result: CalibrationResult) -> list[str]:
    fit = result.transfer
    found: list[str] = []
    if fit is None:
        return found
    if not fit.significant:
        found.append("the noise does not follow the signal: electrons cannot be had from this")
    elif not fit.dark_subtracted:
        found.append("no usable dark series: offset and read noise are not told apart by the data")
    if fit.degrees_of_freedom > 2 and fit.chi2 > POOR_FIT * fit.degrees_of_freedom:
        found.append(
            f"variance against signal is not a straight line within its errors (chi2 "
            f"{fit.chi2:.0f} for {fit.degrees_of_freedom} degrees of freedom)"
        )
    return found


def _excess_warnings(excess: Value) -> list[str]:
    if excess.status != "measured" or excess.value is None:
        return []
    if excess.value < 1.0:
        found = f"the excess noise factor came out as {excess.value:.3f}, within its error of 1"
        return [f"{found}: 1 is written (below 1 there is none)"]
    if excess.value - SEVERAL_ERRORS * float(excess.error or 0.0) > HIGHEST_EXCESS:
        above = f"an excess noise factor of {excess.value:.2f} is above the 2 of a perfect register"
        return [f"{above}: conversion gain or EM gain may be wrong, or there are spurious charges"]
    return []


def _linearity_warnings(found: Linearity) -> list[str]:
    largest = found.largest_percent
    if largest.value is None or largest.value < NONLINEAR_PERCENT:
        return []
    if largest.value < NONLINEAR_ERRORS * float(largest.error or 0.0):
        return []
    return [f"camera or light is not linear: up to {largest.value:.1f} % from the line"]
