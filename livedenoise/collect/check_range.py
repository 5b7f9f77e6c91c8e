"""Checks of the camera's range: pixels at the highest count and at count 0.

Knows: counts and hot pixels. Must not know: noise, places, files.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from livedenoise.collect.check_camera import PairCamera
from livedenoise.collect.program import Limits
from livedenoise.collect.shots import Taken
from livedenoise.collect.verdict import Check


def check_saturated(shots: Sequence[Taken], camera: PairCamera, limits: Limits) -> Check:
    """Check the pixels at the highest count in any frame, hot ones not counted."""
    parts = {_name(one): _saturated(one, camera) for one in shots}
    role = max(parts, key=lambda r: parts[r])
    value, limit = parts[role], limits.max_saturated_fraction
    text = f"{100 * value:.3g} % of the {role} shot at {camera.saturation_adu} counts"
    if value > limit:
        text += f" (limit {100 * limit:.3g} %): shorter exposure or less light for {role}"
    return Check(name="saturated", value=value, limit=limit, passed=value <= limit, text=text)


def check_zero(shots: Sequence[Taken], limits: Limits) -> Check:
    """Check the pixels at count 0: noise cut off there biases the mean of a dim image."""
    parts = {_name(one): _zero(one) for one in shots}
    role = max(parts, key=lambda r: parts[r])
    value, limit = parts[role], limits.max_zero_fraction
    text = f"{100 * value:.3g} % of the {role} shot at 0 counts"
    if value > limit:
        text += (
            f" (limit {100 * limit:.3g} %): noise is cut off and the mean biased; raise the "
            "camera's offset (black level)"
        )
    return Check(name="zero_clipped", value=value, limit=limit, passed=value <= limit, text=text)


def _name(taken: Taken) -> str:
    """Return which shot of a pair it is, in words: ``low``, ``high``, ``second low``."""
    return "second low" if taken.shot.part == "after" else taken.shot.role


def _saturated(taken: Taken, camera: PairCamera) -> float:
    """Return the fraction of pixels at the top that are not known to be hot."""
    image, top = taken.image, camera.saturation_adu
    at_top = int(np.count_nonzero(image >= top))
    if not camera.hot_index.size:
        return max(at_top / image.size, taken.saturated_fraction)
    hot = image.ravel()[camera.hot_index]
    of_hot = int(np.count_nonzero(hot >= top))
    # Of an average only the count over all frames is known: hot pixels that come near the top in
    # the mean are taken to have reached it in some frame.
    near = int(np.count_nonzero(hot >= 0.5 * top)) / image.size
    return max((at_top - of_hot) / image.size, taken.saturated_fraction - near, 0.0)


def _zero(taken: Taken) -> float:
    """Return the fraction of pixels at 0 in one frame (of an average: in any, shared out)."""
    at_zero = int(taken.image.size - np.count_nonzero(taken.image))
    return max(at_zero / taken.image.size, taken.zero_fraction / taken.shot.frames)
