"""The pictures of a collection's report: contact sheet of pairs, gallery of rejected ones.

Knows: pairs as arrays, how a screen stretches them. Must not know: HTML, checks.

Pictures are reduced while they are read: one thumbnail a pair stays in memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from livedenoise.collect.shots import Image
from livedenoise.report import figures as fig
from livedenoise.report.parts import Picture

EDGE_PX = 192
_COLUMNS = 4
_PERCENTILES = (1.0, 99.7)

Thumb = npt.NDArray[np.float32]


class PairThumbs(msgspec.Struct, frozen=True, kw_only=True):
    """Two small images of a pair, each stretched to [0, 1], and the line below them."""

    low: Thumb
    high: Thumb
    text: str


def pair_thumbs(low: Image, high: Image, text: str) -> PairThumbs:
    """Reduce a pair: the middle of it, so that its noise stays to be seen."""
    return PairThumbs(low=_stretched(low), high=_stretched(high), text=text)


def sheet(name: str, pairs: Sequence[PairThumbs], caption: str) -> Picture:
    """Draw pairs side by side: low left, high right, four pairs a row."""
    rows = -(-len(pairs) // _COLUMNS)

    def paint(figure: Any) -> None:  # noqa: ANN401 - matplotlib has no types
        grid = figure.subplots(rows, _COLUMNS, squeeze=False)
        for axes in grid.ravel():
            axes.set_axis_off()
        for axes, pair in zip(grid.ravel(), pairs, strict=False):
            gap = np.ones((pair.low.shape[0], 4), np.float32)
            joined = np.concatenate((pair.low, gap, pair.high), axis=1)
            axes.imshow(joined, cmap=fig.GREY_COLOURS, vmin=0, vmax=1, interpolation="nearest")
            axes.set_title(pair.text, fontsize=6.5, fontweight="normal")

    size = (8.4, 0.25 + 1.28 * rows)
    return fig.picture(name, paint, caption=caption, size_in=size)


def _stretched(image: Image) -> Thumb:
    rows, columns = (min(EDGE_PX, side) for side in image.shape)
    top, left = (image.shape[0] - rows) // 2, (image.shape[1] - columns) // 2
    middle = image[top : top + rows, left : left + columns].astype(np.float32)
    low, high = np.percentile(middle, _PERCENTILES)
    span = max(float(high - low), 1e-6)
    return np.asarray(np.clip((middle - np.float32(low)) / np.float32(span), 0, 1), np.float32)
