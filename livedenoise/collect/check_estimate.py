"""Camera constants where nobody measured them: from darks and from frames of the first field.

Knows: photon transfer through the dark point. Must not know: pairs, microscopes, files.
``imaging.noise_estimate`` finds how variance follows level; dark frames fix one end of that line.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from livedenoise.core.constants import CameraConstants
from livedenoise.core.frame import Frame
from livedenoise.imaging.noise_estimate import NoiseFit, fit_noise
from livedenoise.imaging.noise_fit import constants_from_fit, follows_signal

_LEAST_RISE = 0.05
_CLEAR_RISE = 0.5
"""Shot noise over dark noise that an estimate of the gain needs, and that makes a good one."""

_REWEIGHTINGS = 6


def estimate_constants(
    scenes: Iterable[Sequence[Frame]],
    offset_adu: float | None,
    dark_variance_adu2: float | None,
    *,
    bit_depth: int,
) -> CameraConstants:
    """Estimate camera constants from the frames of the first pairs.

    With offset and dark variance known, the line of photon transfer has a fixed point and the
    gain is all that is fitted: least squares through it over the levels of all scenes.

    Raises
    ------
    ValueError
        If there is no frame.
    """
    fits = [fit_noise(list(frames), bit_depth=bit_depth) for frames in scenes if len(frames)]
    if not fits:
        raise ValueError("no camera constants, and no frame to estimate them from")
    best = max(fits, key=lambda fit: (follows_signal(fit), fit.n_frames, fit.range_adu))
    guess = constants_from_fit(best, offset_adu=offset_adu)
    if offset_adu is None or dark_variance_adu2 is None:
        return guess
    gain = estimate_gain(fits, offset_adu, dark_variance_adu2)
    if gain is None:
        return guess
    read_noise_e = float(np.sqrt(dark_variance_adu2)) * gain
    note = (
        f"offset and read noise from darks, gain {gain:.4g} electrons per count from the noise of "
        f"{len(fits)} scenes above it"
    )
    return CameraConstants(
        gain_e_per_adu=gain,
        offset_adu=offset_adu,
        read_noise_e=read_noise_e,
        source="estimated",
        note=note,
    )


def estimate_gain(
    fits: Sequence[NoiseFit], offset_adu: float, dark_variance_adu2: float
) -> float | None:
    """Return electrons per count: ``variance - dark variance = (counts - offset) / gain``.

    Weighted ratio through the dark point (photon transfer: Janesick, "Photon Transfer", SPIE
    2007): one level is enough. Structure and motion only ever add to a variance, so of several
    scenes that say enough the one with the least noise counts. None where the noise hardly rises
    above that of the darks.
    """
    slopes = [_noise_slope(fit, offset_adu, dark_variance_adu2) for fit in fits]
    clear = [slope for slope, rise in slopes if rise > _CLEAR_RISE]
    weak = [slope for slope, rise in slopes if rise > _LEAST_RISE]
    if not weak:
        return None
    return 1.0 / min(clear) if clear else len(weak) / sum(weak)


def _noise_slope(
    fit: NoiseFit, offset_adu: float, dark_variance_adu2: float
) -> tuple[float, float]:
    """Return variance per count of signal, and the most it rises over that of the darks."""
    signal = np.array(fit.level_means) - offset_adu
    excess = np.array(fit.level_variances) - dark_variance_adu2
    weight, slope = np.ones_like(signal), 0.0
    for _ in range(_REWEIGHTINGS):
        power = float(np.sum(weight * signal))
        slope = float(np.sum(weight * excess)) / power if power > 0 else 0.0
        # From the model, not from the variances found: those that chance made small would rule.
        weight = 1.0 / np.maximum(slope * signal + dark_variance_adu2, 1e-12)
    return slope, slope * float(signal.max(initial=0.0)) / max(dark_variance_adu2, 1e-12)
