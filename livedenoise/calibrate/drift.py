"""Whether the light drifted while the ladder was taken, and what each level got of it.

Knows: the reference level taken before and after each level. Must not know: cameras.
"""

from __future__ import annotations

import msgspec
import numpy as np

from livedenoise.calibrate.data import Series

SIGNIFICANT = 5.0
WORTH_TELLING = 0.01


def reference_series(lit: list[Series], offset_adu: float) -> list[tuple[float, float, float]]:
    """Return time in seconds, relative light (1 at the mean), and its standard error."""
    known = [s for s in lit if s.reference_adu is not None]
    signals = np.array([(s.reference_adu or 0.0) - offset_adu for s in known])
    if not len(signals) or signals.mean() <= 0:
        return []
    mean = float(signals.mean())
    return [
        (s.time_s, float(signal) / mean, s.reference_error_adu / mean)
        for s, signal in zip(known, signals, strict=True)
    ]


def with_relative_light(
    lit: list[Series], offset_adu: float
) -> tuple[list[Series], tuple[str, ...]]:
    """Return the series with the light each had by its reference, and warnings.

    The light is not changed where the references agree within their errors (five standard errors of
    their scatter), or where it is not known. ``light_error`` is then 0, else that of the reference.
    """
    found = reference_series(lit, offset_adu)
    if len(found) != len(lit) or len(found) < 3:
        return lit, ()
    relative = np.array([value for _, value, _ in found])
    error = float(np.sqrt(np.mean([e**2 for _, _, e in found])))
    span = float(np.ptp(relative))
    if error == 0.0 or span < SIGNIFICANT * error:
        return [msgspec.structs.replace(series, light_error=0.0) for series in lit], ()
    corrected = [
        series
        if series.light is None
        else msgspec.structs.replace(
            series, light=series.light * value, light_error=own / max(value, 1e-12)
        )
        for series, (_, value, own) in zip(lit, found, strict=True)
    ]
    if span < WORTH_TELLING:
        return corrected, ()
    told = (
        f"the light changed by {100 * span:.1f} % while the levels were taken (bleaching or a lamp "
        "that warms up); each level's light was taken from the reference frames before and after it"
    )
    return corrected, (told,)
