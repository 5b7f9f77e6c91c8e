"""Which part of a frame a quality sample looks at: one small block that wanders over the frame.

Knows: sizes and the number of the sample. Must not know: pixels, figures, streams.

A sample costs the same whatever the size of the camera. The block wanders by the R2 sequence, the
additive recurrence of the plastic number (Roberts, "The unreasonable effectiveness of quasirandom
sequences", 2018): any run of successive samples covers the frame evenly. Its centre is drawn over
the whole frame and the block then pushed inside, so a border pixel counts half as often as one in
the middle, and not almost never.

Example
-------
>>> sample_region(0, (100, 90))
(slice(0, 100, None), slice(0, 90, None))
"""

from __future__ import annotations

Region = tuple[slice, slice]

EDGE_PX = 128
"""Edge of the block; a smaller frame is taken whole."""

_PLASTIC = 1.32471795724474602596
"""The real root of x^3 = x + 1."""


def sample_region(index: int, shape: tuple[int, int], edge_px: int = EDGE_PX) -> Region:
    """Return the (Y, X) slices of sample ``index`` of frames of ``shape``, both below ``shape``."""
    rows = _span(index / _PLASTIC, shape[0], edge_px)
    columns = _span(index / _PLASTIC**2, shape[1], edge_px)
    return rows, columns


def centre_region(shape: tuple[int, int], edge_px: int) -> Region:
    """Return the (Y, X) slices of the block of at most ``edge_px`` in the middle of a frame."""
    return _around(shape[0] / 2, shape[0], edge_px), _around(shape[1] / 2, shape[1], edge_px)


def _span(turns: float, size: int, edge_px: int) -> slice:
    return _around((0.5 + turns) % 1.0 * size, size, edge_px)


def _around(centre: float, size: int, edge_px: int) -> slice:
    edge = min(edge_px, size)
    start = min(max(int(centre - edge / 2), 0), size - edge)
    return slice(start, start + edge)
