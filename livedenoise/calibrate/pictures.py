"""The pictures of a calibration report.

Knows: which part of a result becomes which picture. Must not know: HTML, measuring, files.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from livedenoise.calibrate.results import (
    CalibrationResult,
    Defects,
    Level,
    Linearity,
    PhotonTransfer,
    TransferPoint,
)
from livedenoise.core.constants import CameraConstants, CameraMaps
from livedenoise.report.figures import (
    BLACK,
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    RED,
    Axes,
    Figure,
    draw_histogram,
    draw_map,
    label,
    picture,
    plain_log_ticks,
)
from livedenoise.report.numbers import rounded
from livedenoise.report.parts import Picture

_MAP_SIZE = (7.4, 3.2)


def transfer_picture(result: CalibrationResult) -> Picture | None:
    """Return the photon transfer plot with its residuals; None where there is no fit."""
    transfer = result.transfer
    if transfer is None or not _shown(transfer.points):
        return None

    def paint(figure: Figure) -> None:
        upper, lower = figure.subplots(2, 1, sharex=True, gridspec_kw={"height_ratios": (3, 1)})
        _paint_points(upper, transfer)
        _paint_line(upper, transfer)
        _paint_limit((upper, lower), transfer)
        upper.set_xscale("log")
        upper.set_yscale("log")
        plain_log_ticks(lower.xaxis, [p.signal_adu for p in transfer.points])
        plain_log_ticks(upper.yaxis, [p.variance_adu2 for p in transfer.points])
        what = "above dark " if transfer.dark_subtracted else ""
        label(upper, y=f"temporal variance {what}[ADU²]", title="Photon transfer")
        signals = [p.signal_adu for p in _shown(transfer.points)]
        # One level alone would give axes without width.
        upper.set_xlim(min(signals) / 1.4, max(signals) * 1.4)
        upper.legend(loc="upper left")
        _paint_residuals(lower, transfer)
        lower_x = "signal above dark [ADU]" if transfer.dark_subtracted else "mean [ADU]"
        label(lower, x=lower_x, y="residual [%]")

    rejected = f" {transfer.n_rejected} of {transfer.n_blocks} blocks of pixels were too noisy to "
    rejected += "belong (motion, telegraph noise) and left out." if transfer.n_rejected else ""
    return picture(
        "photon-transfer",
        paint,
        caption="Variance of each group of equally bright pixels against its mean. The slope of "
        "the line is the excess noise factor over the gain in electrons per count."
        + (rejected if transfer.n_rejected else ""),
        alt="Log-log plot of temporal variance against mean signal with the fitted line",
        size_in=(7.2, 5.2),
    )


def _shown(points: Sequence[TransferPoint], *, used: bool | None = None) -> list[TransferPoint]:
    """Return the points that logarithmic axes can show: all, or those that were used or not."""
    positive = [p for p in points if p.signal_adu > 0 and p.variance_adu2 > 0]
    return positive if used is None else [p for p in positive if p.used is used]


def _paint_points(axes: Axes, transfer: PhotonTransfer) -> None:
    for used, colour, name in ((True, BLUE, "fitted"), (False, GREY, "not fitted")):
        points = _shown(transfer.points, used=used)
        if not points:
            continue
        axes.errorbar(
            [p.signal_adu for p in points],
            [p.variance_adu2 for p in points],
            yerr=[min(p.variance_error_adu2, 0.9 * p.variance_adu2) for p in points],
            fmt="o",
            color=colour,
            markerfacecolor=colour if used else "white",
            markersize=3.5,
            elinewidth=0.8,
            label=name,
        )


def _paint_line(axes: Axes, transfer: PhotonTransfer) -> None:
    signals = [p.signal_adu for p in _shown(transfer.points)]
    x = np.geomspace(min(signals), max(signals), 200)
    y = transfer.slope_adu * x + transfer.intercept_adu2
    positive = y > 0
    slope, error = rounded(transfer.slope_adu, transfer.slope_error_adu)
    name = f"slope {slope} ± {error} ADU"
    axes.plot(x[positive], y[positive], color=RED, label=name)


def _paint_limit(both: Sequence[Axes], transfer: PhotonTransfer) -> None:
    brightest = max(p.signal_adu for p in transfer.points)
    if not np.isfinite(transfer.signal_limit_adu) or transfer.signal_limit_adu >= brightest:
        return
    for axes, name in zip(both, ("end of the fit", None), strict=True):
        axes.axvline(transfer.signal_limit_adu, color=BLACK, linestyle=":", linewidth=1, label=name)


def _paint_residuals(axes: Axes, transfer: PhotonTransfer) -> None:
    axes.axhline(0, color=RED, linewidth=1)
    points = _shown(transfer.points, used=True)
    lines = [transfer.slope_adu * p.signal_adu + transfer.intercept_adu2 for p in points]
    both = [(p, y) for p, y in zip(points, lines, strict=True) if y > 0]
    axes.errorbar(
        [p.signal_adu for p, _ in both],
        [100 * (p.variance_adu2 / y - 1) for p, y in both],
        yerr=[100 * p.variance_error_adu2 / y for p, y in both],
        fmt="o",
        color=BLUE,
        markersize=3,
        elinewidth=0.8,
    )


def linearity_picture(linearity: Linearity) -> Picture | None:
    """Return deviations from the straight line; None where linearity was not measured."""
    points = linearity.points
    if not points:
        return None

    def paint(figure: Figure) -> None:
        axes = figure.add_subplot()
        axes.axhline(0, color=RED, linewidth=1)
        for used, colour in ((True, BLUE), (False, GREY)):
            chosen = [p for p in points if p.used is used]
            if chosen:
                axes.errorbar(
                    [p.signal_adu for p in chosen],
                    [p.deviation_percent for p in chosen],
                    yerr=[p.error_percent for p in chosen],
                    fmt="o",
                    color=colour,
                    markerfacecolor=colour if used else "white",
                    label="used" if used else "below 5 % or above 95 %",
                )
        axes.set_xscale("log")
        plain_log_ticks(axes.xaxis, [p.signal_adu for p in points])
        axes.legend(loc="upper right")
        label(axes, x="mean signal above offset [ADU]", y="deviation [%]", title="Linearity")
        spans = [abs(p.deviation_percent) + p.error_percent for p in points if p.used]
        reach = 2.5 * max(spans, default=1.0)
        axes.set_ylim(-reach, reach)

    return picture(
        "linearity",
        paint,
        caption="Mean signal against exposure x light, less the straight line of EMVA 1288. Points "
        "far from the line may lie outside the axes.",
        alt="Deviation of the mean signal from a straight line",
        size_in=(7.2, 3.0),
    )


def noise_picture(maps: CameraMaps, constants: CameraConstants) -> Picture:
    """Return the distribution of the read noise over the pixels."""
    noise_e = np.sqrt(maps.variance_adu2) * maps.gain_e_per_adu
    median = float(np.median(noise_e))

    def paint(figure: Figure) -> None:
        axes = figure.add_subplot()
        draw_histogram(axes, noise_e, x="read noise [e-]", title="Read noise of the pixels")
        axes.axvline(median, color=ORANGE, label=f"median {median:.3g} e-")
        rms = constants.read_noise_e
        axes.axvline(rms, color=RED, linestyle="--", label=f"rms {rms:.3g} e-")
        axes.legend()

    return picture(
        "read-noise",
        paint,
        caption="The tail to the right are pixels with telegraph noise or much dark current.",
        alt="Histogram of the read noise of the pixels",
        size_in=(7.2, 2.8),
    )


def map_pictures(maps: CameraMaps) -> tuple[Picture, ...]:
    """Return each map that is not the same everywhere, with the distribution of its values."""
    parts = (
        ("offset-map", maps.offset_adu, "Offset", "ADU"),
        ("gain-map", maps.gain_e_per_adu, "Gain", "e-/ADU"),
        ("variance-map", maps.variance_adu2, "Dark variance", "ADU²"),
    )
    return tuple(
        _map_picture(name, values, title, unit)
        for name, values, title, unit in parts
        if float(np.ptp(values)) > 0
    )


def _map_picture(name: str, values: np.ndarray, title: str, unit: str) -> Picture:
    def paint(figure: Figure) -> None:
        left, right = figure.subplots(1, 2, gridspec_kw={"width_ratios": (1.25, 1)})
        draw_map(figure, left, values, title=title, unit=unit)
        draw_histogram(right, values, x=f"{title.lower()} [{unit}]")

    return picture(
        name,
        paint,
        caption=f"{title} of each pixel: median {np.median(values):.4g} {unit}, standard deviation "
        f"{np.std(values, dtype=np.float64):.3g} {unit}.",
        alt=f"Map and histogram: {title.lower()}",
        size_in=_MAP_SIZE,
    )


def defects_picture(defects: Defects, shape: tuple[int, int]) -> Picture | None:
    """Return where hot, telegraph and dead pixels lie; None where there are none."""
    kinds = (
        ("hot", defects.hot_index, RED, "o"),
        ("telegraph", defects.telegraph_index, BLUE, "s"),
        ("dead", defects.dead_index, GREEN, "x"),
    )
    found = [(n, i, c, m) for n, i, c, m in kinds if i is not None and i.size]
    if not found:
        return None

    def paint(figure: Figure) -> None:
        axes = figure.add_subplot()
        for name, index, colour, marker in found:
            rows, columns = np.divmod(index, shape[1])
            size = max(2.0, 9.0 - 2.0 * np.log10(index.size))
            axes.scatter(
                columns,
                rows,
                s=size,
                c=colour,
                marker=marker,
                label=f"{name} ({index.size})",
                linewidths=0.6,
                alpha=0.8,
            )
        axes.set_xlim(-0.5, shape[1] - 0.5)
        axes.set_ylim(shape[0] - 0.5, -0.5)
        axes.set_aspect("equal")
        axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0))
        label(axes, x="x [px]", y="y [px]", title="Pixels out of the ordinary")

    return picture(
        "defects",
        paint,
        caption="Positions of hot, telegraph and dead pixels on the sensor region measured.",
        alt="Scatter plot of defect pixels",
        size_in=(6.0, 4.0),
    )


def dark_current_picture(result: CalibrationResult) -> Picture | None:
    """Return dark mean against exposure; None with one dark exposure."""
    levels: tuple[Level, ...] = result.dark_levels
    if len({level.exposure_us for level in levels}) < 2:
        return None
    seconds = np.array([level.exposure_us * 1e-6 for level in levels])
    means = np.array([level.mean_adu for level in levels])
    errors = [level.mean_error_adu for level in levels]
    slope, intercept = np.polyfit(seconds, means, 1)

    def paint(figure: Figure) -> None:
        axes = figure.add_subplot()
        axes.errorbar(seconds, means, yerr=errors, fmt="o", color=BLUE, label="dark series")
        x = np.array([0.0, seconds.max()])
        axes.plot(x, slope * x + intercept, color=RED, label=f"{slope:.3g} ADU/s")
        axes.ticklabel_format(axis="y", useOffset=False)
        axes.legend()
        label(axes, x="exposure [s]", y="mean [ADU]", title="Dark current")

    return picture(
        "dark-current",
        paint,
        caption="Mean of each dark series, all pixels. The value in the table leaves hot pixels "
        "out.",
        alt="Dark mean against exposure with a straight line",
        size_in=(7.2, 2.8),
    )


def drift_picture(reference: Sequence[tuple[float, float, float]]) -> Picture | None:
    """Return the light over the time of the measurement; None without a reference."""
    if len(reference) < 2:
        return None
    times, relative, errors = (np.array(column) for column in zip(*reference, strict=True))

    def paint(figure: Figure) -> None:
        axes = figure.add_subplot()
        axes.axhline(0, color=RED, linewidth=1)
        axes.errorbar(times, 100 * (relative - 1), yerr=100 * errors, fmt="o-", color=BLUE)
        label(axes, x="time [s]", y="change of light [%]", title="Drift of the light")

    return picture(
        "light-drift",
        paint,
        caption="Light at the middle of each level, from reference frames before and after it: "
        "the same exposure and light every time.",
        alt="Relative light against time",
        size_in=(7.2, 2.6),
    )
