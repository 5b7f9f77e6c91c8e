"""What keeps every way of training from fitting: pixels cut off, nothing to be seen.

Knows: a diagnosis. Must not know: what each method assumes.
"""

from __future__ import annotations

import msgspec

from livedenoise.diagnose.facts import Diagnosis, Fit, Method
from livedenoise.diagnose.suspicions import counts_photons

TOP_CARE = 1e-3
TOP_MOST = 0.05
ZERO_CARE = 0.01
ZERO_MOST = 0.1
"""Pixels at the highest count, and at 0: from where to take care, and from where nothing fits."""
_LEAST_STRUCTURE = 0.25
"""Contrast over noise below which an even field or none at all is what is seen."""
_LEAST_MOVING = 0.1
RANK: dict[Fit, int] = {"fits": 0, "with care": 1, "unknown": 2, "does not fit": 3}

_DARK = (
    "nothing is to be seen but noise that does not follow the signal: no light, or even light; "
    "give a recording of the sample"
)


def limited(method: Method, found: Diagnosis) -> Method:
    """Return the verdict with what holds for every method taken into account."""
    cut = cut_off(found)
    saturated = (found.saturated_fraction.value or 0.0) > TOP_MOST
    if is_featureless(found) and not saturated:
        return msgspec.structs.replace(method, fit="unknown", why=_DARK)
    return method if cut is None else _worse(method, *cut)


def is_featureless(found: Diagnosis) -> bool:
    """Return whether nothing is to be seen: dark frames, an even field."""
    if found.zero_fraction.value == 1.0:
        return True
    if found.noise_model != "gaussian" or found.structure.value is None:
        return False
    if (found.moving.value or 0.0) > _LEAST_MOVING:
        return False
    return found.structure.value <= _LEAST_STRUCTURE * (found.noise.value or 0.0)


def cut_off(found: Diagnosis) -> tuple[Fit, str] | None:
    """Return what clipped pixels mean for training, None where there are few.

    Pixels that are always 0 lie outside of the image (a mask, the border of a registered frame):
    what matters is the part of the others.
    """
    top, zero = found.saturated_fraction.value or 0.0, found.zero_fraction.value or 0.0
    if top > TOP_CARE:
        return ("does not fit" if top > TOP_MOST else "with care"), (
            f"{top:.1%} of the pixels are at the highest count, where neither signal nor noise is "
            "recorded: expose less"
        )
    if zero <= ZERO_CARE or counts_photons(found):
        return None
    rest = 1.0 - (found.constant.value or 0.0)
    among = max(0.0, zero - 1.0 + rest) / rest if rest > 0 else zero
    return ("does not fit" if among > ZERO_MOST else "with care"), (
        f"{zero:.1%} of the pixels are 0: the noise there is cut off, and what is learnt is too "
        "bright; raise the camera's offset, and crop what lies outside of the image"
    )


def _worse(method: Method, fit: Fit, why: str) -> Method:
    if RANK[method.fit] > RANK[fit]:
        return method
    both = why if method.fit == "fits" or fit == "does not fit" else f"{why}; {method.why}"
    return msgspec.structs.replace(method, fit=fit, why=both)
