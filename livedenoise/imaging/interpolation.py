"""Shift an image by a fraction of a pixel, fast: Lagrange interpolation of fifth degree.

Knows: one image and a shift. Must not know: how the shift was measured.

Six taps an axis and no filter over the whole image before, for checks while pairs are taken. What
is stored is aligned by splines (``imaging.registration.align_high``).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FloatImage = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]

_STRIP_PX = 1 << 17
_TAPS: Doubles = np.arange(-2.0, 4.0)
"""Six samples around the place wanted: Lagrange interpolation of fifth degree."""


def interpolate(
    image: FloatImage, shift_px: tuple[float, float]
) -> tuple[FloatImage, tuple[slice, slice]]:
    """Return ``image[y + dy, x + dx]`` for the pixels that have six neighbours each way, fast.

    Lagrange interpolation of fifth degree (Schaum, "Theory and design of local interpolators",
    CVGIP 55, 1993).

    Returns
    -------
    values : ndarray
        float32: the part ``region`` of the moved image.
    region : tuple of slice
        (Y, X) in the unmoved image.

    Raises
    ------
    ValueError
        If nothing is left of the image.
    """
    y, x = (_axis_taps(n, d) for n, d in zip(image.shape, shift_px, strict=True))
    values = np.empty((y.last - y.first, x.last - x.first), np.float32)
    # In strips that stay in the processor's cache.
    strip = max(1, _STRIP_PX // image.shape[1])
    for start in range(0, values.shape[0], strip):
        stop = min(start + strip, values.shape[0])
        rows = _weighted([(image[y.first + o + start : y.first + o + stop], t) for o, t in y.taps])
        columns = [(rows[:, x.first + o : x.last + o], t) for o, t in x.taps]
        values[start:stop] = _weighted(columns)
    return values, (slice(y.first, y.last), slice(x.first, x.last))


@dataclass(frozen=True)
class _AxisTaps:
    """Neighbours and their weights along one axis, and the pixels that have them all."""

    taps: tuple[tuple[int, float], ...]
    first: int
    last: int


def _axis_taps(length: int, shift: float) -> _AxisTaps:
    whole = int(np.floor(shift))
    weights = _lagrange(shift - whole)
    taps = tuple((int(o) + whole, float(w)) for o, w in zip(_TAPS, weights, strict=True) if w)
    first = max(0, *(-o for o, _ in taps), 0)
    last = length - max(0, *(o for o, _ in taps), 0)
    if last <= first:
        raise ValueError(f"a shift of {shift:g} px leaves nothing of {length} px")
    return _AxisTaps(taps, first, last)


def _weighted(parts: list[tuple[FloatImage, float]]) -> FloatImage:
    total = parts[0][0] * np.float32(parts[0][1])
    for part, weight in parts[1:]:
        total += part * np.float32(weight)
    return total


def _lagrange(fraction: float) -> Doubles:
    if fraction == 0.0:
        return np.asarray(_TAPS == 0, np.float64)
    taps: Doubles = np.ones(_TAPS.size)
    for i, at in enumerate(_TAPS):
        for other in _TAPS[at != _TAPS]:
            taps[i] *= (fraction - other) / (at - other)
    return np.asarray(taps, np.float64)
