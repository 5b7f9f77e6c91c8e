"""A diagnosis in sentences: the most important first.

Knows: what numbers mean to a microscopist. Must not know: how they were measured.
"""

from __future__ import annotations

from math import floor, log10

import msgspec

from livedenoise.diagnose.facts import Diagnosis, Number, beyond
from livedenoise.diagnose.judge import (
    CORRELATED,
    DRIFT_PX,
    MOVING,
    WHITE,
    finest,
    off_calibration,
    shares_time,
    stripes,
    strongest,
)
from livedenoise.diagnose.limits import is_featureless
from livedenoise.diagnose.suspicions import counts_photons


def sentences(found: Diagnosis) -> tuple[str, ...]:
    """Return what the numbers say."""
    lines = [_kind(found), _calibrated(found), _correlation(found), _grain(found)]
    lines += _stripes(found) + _clipping(found) + _changes(found)
    return tuple(line for line in lines if line)


def shown(number: Number, digits: int = 3) -> str:
    """Return a number with error and unit, or why there is none.

    Two digits of the error; ``digits`` of the number where no error is known.
    """
    if number.value is None:
        return f"not measured: {number.note}"
    figure = f"{number.value:.{digits}g}"
    if number.error:
        decimals = max(0, 1 - floor(log10(number.error)))
        figure = f"{number.value:.{decimals}f} ± {number.error:.{decimals}f}"
    note = f" ({number.note})" if number.note else ""
    unit = f" {number.unit}" if number.unit else ""
    return f"{figure}{unit}{note}"


def _kind(found: Diagnosis) -> str:
    if is_featureless(found):
        return (
            f"Nothing is to be seen but noise ({shown(found.noise)}) that does not follow the "
            "signal: no light, or even light."
        )
    if found.noise_model == "gaussian":
        return (
            f"The noise ({shown(found.noise)}) does not follow the signal: light is even or too "
            "faint, cut off, or the images were processed. Nothing can be said in electrons; "
            "calibrate the camera."
        )
    source = "given" if found.offset.note else "estimated; a calibration knows these better"
    offset = shown(msgspec.structs.replace(found.offset, note=""))
    return (
        f"The variance follows the mean: about {shown(found.gain)}, read noise about "
        f"{shown(found.read_noise)} with the offset taken at {offset} ({source})."
    )


def _calibrated(found: Diagnosis) -> str:
    factor = found.noise_factor
    if factor.value is None:
        return ""
    if off_calibration(found):
        return (
            f"The variance is {shown(factor)} times what the calibration says: processed on the "
            "camera, another mode, or another camera."
        )
    return f"The noise is what the calibration says ({shown(factor)} times its variance)."


def _grain(found: Diagnosis) -> str:
    """Return what correlation means for the gain, which alone says so in its note."""
    factor = found.grain_factor.value
    if found.gain.value is None or factor is None or "times too" not in found.gain.note:
        return ""
    return (
        f"If a filter made neighbours correlate, the sensor's own gain is near "
        f"{found.gain.value / factor:.3g} e/count, not {found.gain.value:.3g}: a filter lowers the "
        "variance of a pixel, here to "
        f"{1.0 / factor:.0%}."
    )


def _correlation(found: Diagnosis) -> str:
    largest = strongest(found)
    if largest is None:
        return "Without two frames that differ, noise and structure cannot be told apart."
    where, number = largest
    value = number.value or 0.0
    if number.upper_limit and abs(value) > WHITE:
        return _moving(found, where, value)
    if abs(value) <= WHITE:
        return f"Neighbouring pixels have independent noise (correlation at most {abs(value):.3f})."
    strength = "strongly" if abs(value) > CORRELATED else "slightly"
    return (
        f"The noise of neighbouring pixels is {strength} correlated: {value:.2f} {where}. "
        "A filter in camera, microscope or software, or resampling, does that."
    )


def _moving(found: Diagnosis, where: str, value: float) -> str:
    fine = finest(found)
    seen = ""
    if fine is not None:
        seen = f" In the finest detail, which motion does not reach: {shown(fine[1])}."
    return (
        f"Neighbouring pixels correlate by at most {value:.2f} ({where}); the scene moves, "
        f"and motion reads as correlation: record a still sample to know.{seen}"
    )


def _stripes(found: Diagnosis) -> list[str]:
    shares = {"rows": found.row_noise, "columns": found.column_noise}
    return [
        f"Whole {name} share noise, {shares[name].value:.0%} of a pixel's: expect stripes."
        for name in stripes(found)
    ]


def _clipping(found: Diagnosis) -> list[str]:
    lines = []
    zero, top = found.zero_fraction.value or 0.0, found.saturated_fraction.value or 0.0
    if zero > 1e-3 and counts_photons(found):
        lines.append(f"{zero:.0%} of the pixels are 0, as where single photons are counted.")
    elif zero > 1e-3:
        lines.append(
            f"{zero:.2%} of the pixels are 0: the dark end is cut off and means are biased; raise "
            "the camera's offset."
        )
    if top > 1e-4:
        lines.append(
            f"{top:.2%} of the pixels are at the highest count: the bright end is cut off; expose "
            "less."
        )
    return lines


def _bleaching(found: Diagnosis) -> list[str]:
    most, counts = found.bleaching, found.bleaching_adu
    if not beyond(most, 0.02):
        return []
    value = most.value or 0.0
    lost = f" ({abs(counts.value):.3g} counts)" if counts.value is not None else ""
    verb = "falls" if value > 0 else "rises"
    if not most.upper_limit:
        return [f"The signal {verb} by {abs(value):.1%}{lost} over the recording."]
    how = f"at most {abs(value):.1%}"
    if most.least is not None:
        how = f"{abs(most.least):.1%} to {abs(value):.1%}"
    text = (
        f"The signal {verb} by {how}{lost} over the recording: how much depends on the offset, "
        "which is not known (--offset, --calibration)."
    )
    return [text]


def _changes(found: Diagnosis) -> list[str]:
    lines = _bleaching(found)
    moving = found.moving.value or 0.0
    if beyond(found.flicker, 0.01):
        most = "at most " if found.flicker.upper_limit else ""
        lines.append(f"The light flickers by {most}{found.flicker.value:.1%} from frame to frame.")
    if beyond(found.drift, DRIFT_PX):
        least = "at least " if found.drift.note else ""
        lines.append(f"The field drifts by {least}{found.drift.value:.1f} px over the recording.")
    if moving > MOVING:
        lines.append(f"Something moves in {moving:.0%} of the field.")
    if shares_time(found):
        lines.append(
            f"Neighbouring frames share noise (correlation {found.lag1_time.value:.2f}): averaged "
            "in time."
        )
    return lines
