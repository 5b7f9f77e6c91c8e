"""A pair for a glance in the terminal: low and high side by side, and the verdict. Pure.

Each image has its own contrast: the low one would be black beside the high one. Pixels are picked,
not averaged, so that the noise shows. Must not know: how pairs are taken or judged.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.console import Console, ConsoleOptions, RenderResult
from rich.segment import Segment
from rich.style import Style
from rich.text import Text

from livedenoise.view.picture import Grey, cells_of, picture_lines, resampled

_GAP = 2
_MAX_ROWS = 24
_PERCENTILES = (1.0, 99.7)
_TITLE = Style(dim=True)
Image = npt.NDArray[Any]


class PairPicture:
    """A rich renderable of one pair.

    Parameters
    ----------
    low, high : ndarray
        (Y, X), any numeric type.
    verdict_text : str
        The line below the pictures.
    width : int
        Columns to use at most; a narrower console is kept to.
    accepted : bool
        Whether the line is good news.
    """

    def __init__(
        self, low: Image, high: Image, verdict_text: str, width: int, *, accepted: bool = True
    ) -> None:
        self._pictures = (("low", low), ("high", high))
        self._text = Text(verdict_text, style="green" if accepted else "red")
        self._width = width

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield a line of titles, the pictures in half blocks, and the verdict."""
        columns = max(1, (min(self._width, options.max_width) - _GAP) // 2)
        mode = "ramp" if console.color_system is None or options.ascii_only else "segments"
        shapes = [cells_of(image.shape, columns, _MAX_ROWS) for _, image in self._pictures]
        wide = max(cells for cells, _ in shapes)
        yield from _titles([name for name, _ in self._pictures], wide)
        drawn = [
            picture_lines(_stretched(image, cells, rows), cells, rows, mode)
            for (_, image), (cells, rows) in zip(self._pictures, shapes, strict=True)
        ]
        for left, right in zip(*drawn, strict=True):
            yield from (*left, Segment(" " * (wide - shapes[0][0] + _GAP)), *right)
            yield Segment.line()
        yield self._text


def render_pair(
    low: Image, high: Image, verdict_text: str, width: int, *, accepted: bool = True
) -> PairPicture:
    """Return both images side by side as half-block characters, with the verdict below.

    Raises
    ------
    ValueError
        If the images are no (Y, X) arrays of the same shape.
    """
    if low.ndim != 2 or low.shape != high.shape or not low.size:
        raise ValueError(f"a pair is two images of one shape, got {low.shape} and {high.shape}")
    return PairPicture(low, high, verdict_text, width, accepted=accepted)


def _titles(names: Iterable[str], wide: int) -> Iterator[Segment]:
    yield Segment("".join(f"{name:<{wide + _GAP}}" for name in names).rstrip(), _TITLE)
    yield Segment.line()


def _stretched(image: Image, columns: int, rows: int) -> Grey:
    """Return the pixels to show: black is the 1st percentile, white the 99.7th.

    Only those are looked at: percentiles of every pixel of a large frame would take longer than a
    field may.
    """
    shown = resampled(image, 2 * rows, columns).astype(np.float32)
    black, white = np.percentile(shown, _PERCENTILES)
    scaled = (shown - black) * (255.0 / max(white - black, 1e-6))
    grey: Grey = np.clip(scaled, 0, 255).astype(np.uint8)
    return grey
