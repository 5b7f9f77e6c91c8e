"""Signs that pixels are not what a sensor gave.

Knows: what rescaling, filtering, averaging and repeating leave behind. Must not know: files, how
anything was measured.
"""

from __future__ import annotations

from livedenoise.diagnose.facts import Diagnosis, Number, beyond
from livedenoise.diagnose.pixel_values import missing_counts, step_between_counts, uneven_counts
from livedenoise.diagnose.sampling import Counts

CORRELATED = 0.15
"""From here on, neighbours share more noise than crosstalk between a sensor's pixels makes."""
TIME_CORRELATED = 0.15
_LEAST_MISSING = 0.02
_LEAST_UNEVEN = 0.02
_LEAST_CONSTANT = 0.05
_PHOTON_GAIN = 0.1
_PHOTON_OFFSET = 0.5
_SHEPPARD_ADU = 0.4
"""Noise below this is lost in the rounding to whole counts."""


def suspicions(found: Diagnosis, histogram: Counts) -> tuple[str, ...]:
    """Return what is suspected, in words.

    Parameters
    ----------
    found : Diagnosis
        Its numbers.
    histogram : ndarray of int64
        Pixels at each count; empty for float frames.
    """
    lines = _rescaled(histogram) if histogram.size else _floating(found)
    repeated = found.repeated.value
    if repeated:
        lines.append(f"{repeated:.0f} frames equal the frame before: repeated, not exposed anew")
    lines += _filtered(found) + _too_quiet(found)
    constant = found.constant.value or 0.0
    if _LEAST_CONSTANT < constant < 1.0:
        lines.append(
            f"{constant:.0%} of the field never changes by a count: masked, padded or cut off"
        )
    return tuple(lines)


def _floating(found: Diagnosis) -> list[str]:
    return [f"pixels are {found.dtype}, not counts of a converter: processed already"]


def _rescaled(histogram: Counts) -> list[str]:
    step, uneven = step_between_counts(histogram), uneven_counts(histogram)
    missing = missing_counts(histogram)
    if step > 1:
        return [f"the counts are multiples of {step}: scaled up from fewer bits"]
    if missing > _LEAST_MISSING:
        return [f"{missing:.0%} of the counts never occur: stretched"]
    if uneven > _LEAST_UNEVEN:
        return [f"{uneven:.0%} of the counts are far too frequent or too rare: rounded twice"]
    return []


def _filtered(found: Diagnosis) -> list[str]:
    lines = []
    near = [found.lag1_x, found.lag1_y]
    known = [n for n in near if n.value is not None and not n.upper_limit]
    largest = max(known, key=lambda n: abs(n.value or 0.0), default=Number(value=None))
    value = largest.value or 0.0
    if beyond(largest, CORRELATED):
        how = "smoothed, despeckled or resampled" if value > 0 else "sharpened or deconvolved"
        lines.append(
            f"neighbouring pixels share noise ({value:.2f}): {how} "
            "(a sensor's own pixels are independent)"
        )
    if beyond(found.lag1_time, TIME_CORRELATED):
        lines.append("neighbouring frames share noise: a running average or a filter in time")
    return lines


def counts_photons(found: Diagnosis) -> bool:
    """Return whether counts are single photons: one electron a count, none at 0 counts.

    A camera's line meets no noise at another count than 0, its offset; one cut off as well.
    """
    gain, read = found.gain.value, found.read_noise.value
    if gain is None or read is None or not found.zero_fraction.value:
        return False
    bare = (found.offset.value or 0.0) - read**2 / gain
    return abs(gain - 1.0) < _PHOTON_GAIN and abs(bare) < _PHOTON_OFFSET


def _too_quiet(found: Diagnosis) -> list[str]:
    noise = found.noise.value
    if found.dtype == "<f4" or noise is None or counts_photons(found):
        return []
    if not 0.0 < noise < _SHEPPARD_ADU:
        return []
    return [f"the noise is {noise:.2f} counts, below the rounding: denoised, or too few bits kept"]
