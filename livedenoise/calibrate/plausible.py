"""Whether frames and what the user says of them fit together, before numbers are made of them.

Knows: dark and lit series, what is known beforehand. Must not know: files, measuring, writing.
"""

from __future__ import annotations

from livedenoise.calibrate.data import CalibrationData
from livedenoise.calibrate.results import CalibrationResult, Known
from livedenoise.core.errors import CalibrationError
from livedenoise.core.frame import max_count

_ERRORS = 5.0
_SMALL_ADU = 0.5


def require_light(data: CalibrationData) -> None:
    """Refuse lit series that are no brighter than the dark ones: most likely mistaken for them.

    Raises
    ------
    CalibrationError
        With both levels.
    """
    darks = {s.name: float(s.summary.mean_adu.mean()) for s in data.series if s.is_dark}
    lit = {s.name: float(s.summary.mean_adu.mean()) for s in data.series if not s.is_dark}
    if not darks or max(lit.values()) > min(darks.values()):
        return
    dark, light = min(darks, key=darks.__getitem__), max(lit, key=lit.__getitem__)
    raise CalibrationError(
        f"the brightest lit series ({light}) has {lit[light]:.1f} counts, the dark one ({dark}) "
        f"{darks[dark]:.1f}",
        "are they mistaken for each other? --dark PATH and --lit PATH say which is which",
    )


def require_saturation(data: CalibrationData, known: Known) -> None:
    """Refuse a saturation that is beyond the converter, or below every lit series.

    Raises
    ------
    CalibrationError
        With both values.
    """
    given, top = known.saturation_adu, max_count(data.bit_depth)
    if given is None:
        return
    if given > top:
        raise CalibrationError(
            f"--saturation {given:g} is above the highest count of {data.bit_depth} bits, {top}",
            "leave it out: the end of the converter is found without it",
        )
    lit = {s.name: float(s.summary.mean_adu.mean()) for s in data.series if not s.is_dark}
    dimmest = min(lit, key=lit.__getitem__)
    if given <= lit[dimmest]:
        raise CalibrationError(
            f"--saturation {given:g} is below the dimmest lit series ({dimmest}), which has "
            f"{lit[dimmest]:.1f} counts: nothing would be left to measure from",
            "give the count at which the signal stops growing, or leave it out",
        )


def offset_warnings(result: CalibrationResult, known: Known, *, has_darks: bool) -> tuple[str, ...]:
    """Return a warning where the offset given is not that of the dark frames, which count."""
    given, found = known.offset_adu, result.offset_adu
    if given is None or not has_darks or found.value is None or found.status != "measured":
        return ()
    if abs(given - found.value) <= max(_SMALL_ADU, _ERRORS * (found.error or 0.0)):
        return ()
    told = (
        f"--offset {given:g} was not used: the dark frames say {found.value:.2f}. One of them is "
        "of another camera mode"
    )
    return (told,)
