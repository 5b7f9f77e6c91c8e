"""Whether dark frames are dark: a shutter that leaks, or does not close, is found out.

Knows: dark frames that brighten with exposure as lit ones do. Must not know: cameras.

Compared is the bright end of both (the 99.9 percentile over the pixels), so that a scene that is
mostly black does not hide a leak.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from livedenoise.calibrate.data import Series
from livedenoise.calibrate.ladder import PERCENTILE
from livedenoise.core.errors import CalibrationError
from livedenoise.core.frame import max_count

WORTH_TELLING = 0.1
NOT_DARK = 0.5
_FULL = 0.98
_HINT = "close the shutter for dark frames (does it work?), cover the camera, or use more light"


def bright_end_adu(series: Series) -> float:
    """Return the 99.9 percentile of the mean counts over the pixels."""
    return float(np.percentile(series.summary.mean_adu, PERCENTILE))


def require_unsaturated(darks: Sequence[Series], bit_depth: int) -> None:
    """Refuse dark frames that fill the range.

    Raises
    ------
    CalibrationError
        With their level.
    """
    for series in darks:
        level = bright_end_adu(series)
        if level > _FULL * max_count(bit_depth):
            raise CalibrationError(
                f"dark frames of {series.exposure_us / 1000:g} ms reach {level:.0f} of "
                f"{max_count(bit_depth)} counts: they are not dark",
                _HINT,
            )


def leaks(darks: Sequence[Series], lit_adu_per_us: float) -> list[str]:
    """Return warnings about light in the dark frames.

    Parameters
    ----------
    darks : sequence of Series
        By exposure; a single one tells nothing.
    lit_adu_per_us : float
        How fast the bright end grows with the light on, above 0.

    Raises
    ------
    CalibrationError
        If dark frames brighten more than half as fast as lit ones.
    """
    first, last = darks[0], darks[-1]
    if last.exposure_us <= first.exposure_us:
        return []
    rise_adu = bright_end_adu(last) - bright_end_adu(first)
    part = rise_adu / (last.exposure_us - first.exposure_us) / lit_adu_per_us
    told = f"dark frames brighten with exposure {100 * part:.0f} % as fast as lit ones"
    if part > NOT_DARK:
        raise CalibrationError(f"{told}: they are not dark, or the light is very weak", _HINT)
    if part < WORTH_TELLING:
        return []
    return [f"{told}: light or much dark current is in them, and dark current is not what it says"]
