"""Linearity: mean signal against exposure x light.

Knows: EMVA's fit of least relative deviations. Must not know: pixels, variances, files.

EMVA Standard 1288 (release 4.0 linear, sec. 6.7): a straight line is fitted to the levels between
5 and 95 % of saturation with weights 1 / signal^2; the linearity error is the mean absolute
relative deviation. What is called linearity holds for lamp and camera together.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np

from livedenoise.calibrate.results import Linearity, LinearityPoint, Value

LOWEST, HIGHEST = 0.05, 0.95
LEAST_LEVELS = 4
MOST_UNSTEADY = 0.01


class DoseLevel(msgspec.Struct, frozen=True, kw_only=True):
    """Mean signal above offset at a dose (exposure x light), with its standard error.

    ``drift`` is the relative change of the light while the level was taken; ``light_error`` the
    relative standard error of the light where it was followed by references, None where not.
    """

    dose: float
    signal_adu: float
    error_adu: float
    saturated: bool = False
    drift: float = 0.0
    light_error: float | None = None

    @property
    def unsteady(self) -> float:
        """Return by how much the light is unknown, relative.

        What a straight line between references leaves of a change d within a level is at most
        about d^2 / 12 (half a parabola of that height, averaged); without references it is d.
        """
        if self.light_error is None:
            return abs(self.drift)
        return max(self.light_error, self.drift**2 / 12.0)


def linearity(levels: Sequence[DoseLevel], saturation_signal_adu: float | None) -> Linearity:
    """Judge linearity; not measurable where the light is known to worse than 1 %.

    Parameters
    ----------
    levels : sequence of DoseLevel
        In any order.
    saturation_signal_adu : float, optional
        Signal at saturation; without it the range ends at the brightest level.
    """
    top = saturation_signal_adu
    if top is None:
        top = max((x.signal_adu for x in levels), default=0.0) / HIGHEST
    used = [
        not x.saturated and LOWEST * top <= x.signal_adu <= HIGHEST * top * (1 + 1e-9)
        for x in levels
    ]
    chosen = [x for x, take in zip(levels, used, strict=True) if take]
    if len({x.dose for x in chosen}) < LEAST_LEVELS:
        reason = (
            f"needs {LEAST_LEVELS} doses (exposure x light) between 5 and 95 % of saturation, "
            f"there are {len({x.dose for x in chosen})}"
        )
        missing = Value.missing(reason, "%")
        return Linearity(error_percent=missing, largest_percent=missing)
    unsteady = max(x.unsteady for x in chosen)
    if unsteady > MOST_UNSTEADY:
        missing = Value.missing(
            f"the light changed while the levels were taken and is known to {unsteady:.1%} only: "
            "camera and light are not told apart; take light that is constant",
            "%",
        )
        return Linearity(error_percent=missing, largest_percent=missing)
    slope, intercept = _relative_line(chosen)
    return _judge(levels, used, slope, intercept)


def _relative_line(levels: Sequence[DoseLevel]) -> tuple[float, float]:
    dose = np.array([x.dose for x in levels])
    signal = np.array([x.signal_adu for x in levels])
    slope, intercept = np.polyfit(dose, signal, 1, w=1.0 / signal)
    return float(slope), float(intercept)


def _judge(
    levels: Sequence[DoseLevel], used: Sequence[bool], slope: float, intercept: float
) -> Linearity:
    points = tuple(
        _point(x, slope * x.dose + intercept, used=take)
        for x, take in sorted(zip(levels, used, strict=True), key=lambda pair: pair[0].dose)
    )
    deviation = np.array([abs(p.deviation_percent) for p in points if p.used])
    error = np.array([p.error_percent for p in points if p.used])
    text = f"{deviation.size} levels, line through {intercept:.3g} ADU at no dose"
    if deviation.size < 9:
        text += "; EMVA 1288 asks for 9 or more"
    largest = int(np.argmax(deviation))
    return Linearity(
        error_percent=Value(
            value=float(deviation.mean()),
            error=float(np.sqrt(np.sum(error**2))) / deviation.size,
            unit="%",
            text=text,
        ),
        largest_percent=Value(
            value=float(deviation[largest]), error=float(error[largest]), unit="%", text=text
        ),
        points=points,
    )


def _point(level: DoseLevel, expected: float, *, used: bool) -> LinearityPoint:
    scale = 100.0 / expected if expected > 0 else 0.0
    return LinearityPoint(
        dose=level.dose,
        signal_adu=level.signal_adu,
        deviation_percent=(level.signal_adu - expected) * scale,
        error_percent=float(np.hypot(level.error_adu * scale, 100.0 * level.unsteady)),
        used=used,
    )
