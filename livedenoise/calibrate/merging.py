"""Whether dark files of one exposure may be one series: their levels must be those of one mode.

Knows: the mean of each file, the noise of a pixel. Must not know: formats, measuring.

Offsets of two readout modes, or of a covered camera and one that is not quite, give a series whose
mean lies between them and whose error hides it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np

from livedenoise.core.errors import ConfigError
from livedenoise.imaging.ptc_moments import PixelSummary

MOST_NOISES = 3.0
_LEAST_NOISE_ADU = 0.3
"""Rounding to whole counts alone is 0.29."""


class DarkFile(msgspec.Struct, frozen=True, kw_only=True):
    """One file of a dark series, with the mean of its frames in counts."""

    path: Path
    mean_adu: float


def require_one_level(files: Sequence[DarkFile], summary: PixelSummary) -> None:
    """Refuse files whose means differ by more than three times the noise of a pixel.

    Raises
    ------
    ConfigError
        Naming the darkest and the brightest file with their means.
    """
    if len(files) < 2:
        return
    low = min(files, key=lambda file: file.mean_adu)
    high = max(files, key=lambda file: file.mean_adu)
    # Of differences of successive frames less their mean: the step itself is not in it.
    noise = max(float(np.sqrt(np.median(summary.variance_adu2))), _LEAST_NOISE_ADU)
    if high.mean_adu - low.mean_adu <= MOST_NOISES * noise:
        return
    raise ConfigError(
        f"dark files of one exposure differ: {low.path} has {low.mean_adu:.1f} counts, {high.path} "
        f"{high.mean_adu:.1f}, and the noise of a pixel is {noise:.2g}",
        "they are of different camera modes or not all dark: leave one out; or of different "
        "exposures that neither files nor names say: name them dark_100ms.tif",
    )
