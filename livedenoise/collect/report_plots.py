"""The plots of a collection's report.

Knows: how its numbers are drawn. Must not know: files, HTML, pixels.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from livedenoise.collect.report_numbers import CollectNumbers
from livedenoise.report import figures as fig
from livedenoise.report.parts import Picture


def ratio_plot(numbers: CollectNumbers, tolerance: float) -> Picture:
    """Draw measured over expected intensity ratio of each pair, in the order taken."""
    order = numbers.column("order")
    relative = numbers.column("ratio") / numbers.column("expected")
    error = numbers.column("ratio_error")

    def paint(figure: Any) -> None:  # noqa: ANN401 - matplotlib has no types
        axes = figure.add_subplot()
        axes.axhspan(1 - tolerance, 1 + tolerance, color=fig.SKY, alpha=0.18, lw=0)
        axes.axhline(1.0, color=fig.GREY, lw=0.8)
        for chosen, colour, name in _groups(numbers):
            axes.errorbar(
                order[chosen],
                relative[chosen],
                yerr=np.nan_to_num(error[chosen]),
                fmt="o",
                color=colour,
                label=name,
                ms=3.5,
                elinewidth=0.7,
            )
        if relative.size and np.nanmax(relative) > 3:
            axes.set_yscale("log")
        axes.legend()
        fig.label(axes, x="attempt, in the order taken", y="measured / expected ratio")

    return fig.picture(
        "ratio",
        paint,
        caption="Offset-subtracted intensity of low over high, divided by the ratio of exposure x "
        f"light. Bars: standard error. Band: tolerance of {tolerance:.0%}.",
        size_in=(7.2, 3.2),
    )


def shift_plot(numbers: CollectNumbers, limit_px: float) -> Picture:
    """Draw the shift of high against low: where, and when."""
    order, dy, dx = (numbers.column(name) for name in ("order", "dy_px", "dx_px"))

    def paint(figure: Any) -> None:  # noqa: ANN401
        where, when = figure.subplots(1, 2, width_ratios=(1, 1.7))
        angle = np.linspace(0, 2 * np.pi, 181)
        where.plot(limit_px * np.cos(angle), limit_px * np.sin(angle), color=fig.SKY, lw=1)
        for chosen, colour, name in _groups(numbers):
            where.plot(dx[chosen], dy[chosen], "o", color=colour, ms=3.5, label=name)
            size = np.hypot(dx[chosen], dy[chosen])
            when.plot(order[chosen], size, "o", color=colour, ms=3.5, label=name)
        when.axhline(limit_px, color=fig.SKY, lw=1)
        where.set_aspect("equal", adjustable="datalim")
        when.legend()
        fig.label(where, x="shift in x [px]", y="shift in y [px]")
        fig.label(when, x="attempt, in the order taken", y="shift [px]")

    return fig.picture(
        "shift",
        paint,
        caption=f"Shift of the high image against the low one. Line: limit of {limit_px:g} px; "
        "below it the shift is stored and taken out where pairs are exported or trained on.",
        size_in=(7.2, 3.0),
    )


def ladder_plot(numbers: CollectNumbers) -> Picture:
    """Draw the PSNR of low against high over the exposure of the ladder."""
    level, dose = numbers.column("level"), numbers.column("frame_dose_us") * 1e-3
    psnr, kept = numbers.column("psnr_db"), numbers.kept

    def paint(figure: Any) -> None:  # noqa: ANN401
        axes = figure.add_subplot()
        for rung in numbers.rungs:
            chosen = kept & (level == rung.level)
            axes.plot(dose[chosen], psnr[chosen], "o", color=fig.SKY, ms=3, alpha=0.5)
        x = [rung.exposure_us * rung.light * 1e-3 for rung in numbers.rungs]
        y = [rung.psnr_db for rung in numbers.rungs]
        spread = [rung.psnr_sd_db for rung in numbers.rungs]
        axes.errorbar(x, y, yerr=spread, fmt="o-", color=fig.BLUE, capsize=3)
        axes.set_xscale("log")
        axes.set_xticks(x, [f"{value:g}" for value in x])
        axes.set_xticks([], minor=True)
        fig.label(axes, x="exposure x light of the low frame [ms]", y="PSNR of low vs high [dB]")

    return fig.picture(
        "ladder",
        paint,
        caption="What the raw low frame reaches against its high partner (scaled to it): the "
        "baseline that any denoiser has to beat. Points: pairs; line: mean and standard "
        "deviation of each level.",
        size_in=(7.2, 3.4),
    )


def signal_plot(numbers: CollectNumbers) -> Picture:
    """Draw histograms of mean electrons per pixel, low and high."""
    kept = numbers.kept

    def paint(figure: Any) -> None:  # noqa: ANN401
        axes = figure.add_subplot()
        for name, colour, text in (("low_e", fig.ORANGE, "low"), ("high_e", fig.BLUE, "high")):
            values = numbers.column(name)[kept]
            values = values[values > 0]
            if values.size:
                spread = (values.min() * 0.95, values.max() * 1.05)
                axes.hist(
                    values, bins=np.geomspace(*spread, 30), color=colour, alpha=0.7, label=text
                )
        axes.set_xscale("log")
        axes.legend()
        fig.label(axes, x="mean signal per pixel and frame [e]", y="pairs")

    return fig.picture(
        "signal",
        paint,
        caption="Mean signal of the accepted pairs above offset.",
        size_in=(7.2, 2.8),
    )


def time_plot(numbers: CollectNumbers) -> Picture:
    """Draw elapsed time, overhead and accumulated dose over the attempts."""
    attempts = numbers.attempts

    def paint(figure: Any) -> None:  # noqa: ANN401
        time, dose = figure.subplots(1, 2)
        order = np.arange(len(attempts))
        time.plot(order, attempts[:, 2] * 1e3, color=fig.BLUE, label="whole field")
        time.plot(order, attempts[:, 3] * 1e3, color=fig.RED, label="overhead")
        if (attempts[:, 2:] > 0).any():
            time.set_yscale("log")
        time.legend()
        dose.plot(order, np.cumsum(attempts[:, 1]) * 1e-6, color=fig.ORANGE)
        fig.label(time, x="attempt", y="time [ms]")
        fig.label(dose, x="attempt", y="light dose, all fields [s at full light]")

    return fig.picture(
        "time",
        paint,
        caption="Left: time of each attempt, and what of it was neither exposure nor device nor "
        "settling. Right: light dose added up.",
        size_in=(7.2, 2.8),
    )


def _groups(numbers: CollectNumbers) -> list[tuple[Any, str, str]]:
    accepted = numbers.accepted
    groups = [(accepted, fig.BLUE, "accepted"), (~accepted, fig.RED, "rejected")]
    return [group for group in groups if group[0].any()]
