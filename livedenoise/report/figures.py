r"""Pictures for reports: one look, drawn by matplotlib's object interface.

Knows: size, style, colours, how a figure becomes a PNG. Must not know: what is drawn.

Never pyplot: it keeps figures alive and picks a window system. Colours are those of Okabe and Ito
(Color Universal Design, 2008), which the colour-blind tell apart; maps use cividis.

Example
-------
>>> def paint(figure):
...     axes = figure.add_subplot()
...     axes.plot([0, 1], [0, 1], color=BLUE)
...     label(axes, x="time [s]", y="mean [counts]")
>>> picture("line", paint, caption="A line.", size_in=(2, 2)).png[:4]
b'\x89PNG'
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from livedenoise.report.parts import Picture

BLACK = "#000000"
BLUE = "#0072B2"
ORANGE = "#E69F00"
GREEN = "#009E73"
RED = "#D55E00"
SKY = "#56B4E9"
PURPLE = "#CC79A7"
GREY = "#7a848c"
COLOURS = (BLUE, ORANGE, GREEN, RED, SKY, PURPLE)
MAP_COLOURS = "cividis"
GREY_COLOURS = "gray"

DPI = 130
_MAP_PIXELS = 1024
_TWO_DECADES = 100.0
_STYLE: dict[Any, Any] = {
    "font.size": 9.0,
    "font.family": "DejaVu Sans",
    "axes.titlesize": 10.0,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 9.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#5b6670",
    "axes.linewidth": 0.8,
    "axes.grid": True,
    "grid.color": "#e3e8ec",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "lines.linewidth": 1.4,
    "lines.markersize": 4.0,
    "xtick.color": "#3a434a",
    "ytick.color": "#3a434a",
    "figure.facecolor": "white",
    "axes.facecolor": "white",
}

# Figures and axes of matplotlib have no published types.
Figure = Any
Axes = Any
Paint = Callable[[Any], None]


def picture(
    name: str,
    paint: Paint,
    *,
    caption: str,
    alt: str = "",
    size_in: tuple[float, float] = (7.2, 4.0),
) -> Picture:
    """Draw a figure and return it as a PNG.

    Parameters
    ----------
    name : str
        File name without its ending.
    paint : callable
        Takes the empty figure and draws on it.
    caption, alt : str
        Below the picture; in place of it.
    size_in : tuple of float
        Width, height in inches.
    """
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure as NewFigure

    buffer = io.BytesIO()
    with rc_context(_STYLE):
        figure = NewFigure(figsize=size_in, layout="constrained")
        FigureCanvasAgg(figure)
        paint(figure)
        figure.savefig(buffer, format="png", dpi=DPI)
        figure.clear()
    return Picture(name=name, png=buffer.getvalue(), caption=caption, alt=alt)


def label(axes: Axes, *, x: str = "", y: str = "", title: str = "") -> None:
    """Name the axes, each with its unit."""
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.set_title(title)


def plain_log_ticks(axis: Any, values: Sequence[float]) -> None:  # noqa: ANN401  (matplotlib)
    """Write 1, 2, 5, 10, 20 ... at a logarithmic axis whose values span less than two decades.

    Matplotlib writes 2 x 10^1 there, and the labels run into each other.
    """
    from matplotlib.ticker import FormatStrFormatter, LogLocator, NullFormatter

    shown = [value for value in values if value > 0]
    if not shown or max(shown) / min(shown) > _TWO_DECADES:
        return
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.set_major_formatter(FormatStrFormatter("%g"))
    axis.set_minor_formatter(NullFormatter())


def draw_map(
    figure: Figure,
    axes: Axes,
    values: npt.NDArray[Any],
    *,
    title: str,
    unit: str,
    colours: str = MAP_COLOURS,
    percentiles: tuple[float, float] = (0.5, 99.5),
) -> None:
    """Draw a map (Y, X) with its colour bar.

    Colours end at percentiles, so that one pixel cannot darken the rest. Large maps are shown as
    means over blocks.
    """
    shown = reduced(values)
    low, high = _limits(values, percentiles)
    rows, columns = values.shape
    image = axes.imshow(
        shown,
        cmap=colours,
        vmin=low,
        vmax=high,
        extent=(-0.5, columns - 0.5, rows - 0.5, -0.5),
        interpolation="nearest",
    )
    axes.grid(visible=False)
    axes.spines[["top", "right"]].set_visible(True)
    label(axes, x="x [px]", y="y [px]", title=title)
    bar = figure.colorbar(image, ax=axes, shrink=0.85, extend="both")
    bar.set_label(unit)
    bar.outline.set_linewidth(0.6)


def draw_histogram(
    axes: Axes,
    values: npt.NDArray[Any],
    *,
    x: str,
    title: str = "",
    log: bool = True,
    percentiles: tuple[float, float] = (0.0, 100.0),
    colour: str = BLUE,
) -> None:
    """Draw how many pixels have which value; a logarithmic axis shows the few that stand apart."""
    finite = np.asarray(values, np.float64).ravel()
    finite = finite[np.isfinite(finite)]
    low, high = _limits(finite, percentiles)
    bins = min(120, max(10, finite.size // 20))
    counts, edges = np.histogram(finite, bins, (low, high))
    # One outline: a bar for each bin takes a tenth of a second to draw.
    axes.stairs(counts, edges, fill=True, color=colour)
    if log and counts.any():
        axes.set_yscale("log")
        axes.set_ylim(0.6, 2.0 * float(counts.max()))
    label(axes, x=x, y="pixels", title=title)


def reduced(values: npt.NDArray[Any], side: int = _MAP_PIXELS) -> npt.NDArray[np.float64]:
    """Return a map no larger than ``side`` on either axis, by means over whole blocks.

    Incomplete blocks at the far edges are left out.
    """
    factor = -(-max(values.shape) // side)
    if factor <= 1:
        return np.asarray(values, np.float64)
    rows, columns = (max(1, n // factor) for n in values.shape)
    steps = [min(factor, n) for n in values.shape]
    kept = values[: rows * steps[0], : columns * steps[1]]
    means: npt.NDArray[np.float64] = kept.reshape(rows, steps[0], columns, steps[1]).mean(
        axis=(1, 3), dtype=np.float64
    )
    return means


def _limits(values: npt.NDArray[Any], percentiles: tuple[float, float]) -> tuple[float, float]:
    finite = values[np.isfinite(values)]
    if finite.size == 0:
        return 0.0, 1.0
    low, high = (float(v) for v in np.percentile(finite, percentiles))
    if high > low:
        return low, high
    # All alike: a range around the value, so that axis and colours have one.
    margin = max(abs(low) * 0.01, 1e-6)
    return low - margin, high + margin
