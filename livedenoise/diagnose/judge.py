"""Which ways of training fit a kind of noise, and why.

Knows: what each method assumes. Must not know: how anything was measured.

Assumptions
-----------
Blind-spot methods (Noise2Void, Krull et al., CVPR 2019; N2V2; Khademi et al., WACV 2021;
Noise2Same, Blind2Unblind) predict a pixel from its neighbours: what neighbours share of the noise
is predicted too and stays in the image. A structured mask hides the neighbours along one line
(structN2V, Broaddus et al., ISBI 2020). Noise2Noise (Lehtinen et al., ICML 2018) needs two frames
of one scene with independent noise; correlation within a frame does not matter. Supervised
training (CARE, Weigert et al., Nature Methods 2018) assumes nothing of the noise, but needs pairs:
a sample that holds still while both exposures are taken.
"""

from __future__ import annotations

from livedenoise.diagnose.facts import Diagnosis, Fit, Method, Number, beyond, measured
from livedenoise.diagnose.limits import RANK, limited

WHITE = 0.05
"""Largest correlation of neighbours that a blind-spot method hardly notices."""
CORRELATED = 0.15
"""From here on the grain that a blind-spot method leaves is plain to see."""
ROW_NOISE = 0.1
TIME_CORRELATED = 0.05
MOVING = 0.1
MOSTLY_MOVING = 0.5
NOISE_FACTOR = 0.1
DRIFT_PX = 0.5
FLICKER = 0.05
LARGEST_ERROR = 0.05
"""With a larger standard error a correlation says nothing."""

_DIAGONALS = "the diagonals"


def judge(found: Diagnosis) -> tuple[Method, ...]:
    """Return every way of training with its verdict, the most fitting first."""
    methods = [
        _supervised(found),
        _noise2noise(found),
        _blind_spot(found),
        _struct_n2v(found),
        _poisson_gaussian(found),
    ]
    judged = [limited(method, found) for method in methods]
    return tuple(sorted(judged, key=lambda method: RANK[method.fit]))


def strongest(found: Diagnosis) -> tuple[str, Number] | None:
    """Return direction and correlation of the neighbours that share most, None if unknown."""
    named = {
        "along x": found.lag1_x,
        "along y": found.lag1_y,
        "along the diagonals": found.lag1_diagonal,
        "two pixels apart along x": found.lag2_x,
        "two pixels apart along y": found.lag2_y,
    }
    known = {name: number for name, number in named.items() if number.value is not None}
    if not known:
        return None
    direction = max(known, key=lambda name: abs(known[name].value or 0.0))
    return direction, known[direction]


def stripes(found: Diagnosis) -> list[str]:
    """Return which of rows and columns share enough noise to be seen."""
    named = {"rows": found.row_noise, "columns": found.column_noise}
    return [name for name, number in named.items() if beyond(number, ROW_NOISE)]


def shares_time(found: Diagnosis) -> bool:
    """Return whether the next frame shares noise."""
    return (found.lag1_time.value or 0.0) > 0 and beyond(found.lag1_time, TIME_CORRELATED)


def off_calibration(found: Diagnosis) -> bool:
    """Return whether the noise is not what the calibration given says."""
    factor = found.noise_factor
    if factor.value is None:
        return False
    return beyond(measured(factor.value - 1.0, factor.error), NOISE_FACTOR)


def _supervised(found: Diagnosis) -> Method:
    fit, why = _pairing(found)
    return Method(name="care", title="supervised on pairs (CARE)", fit=fit, why=why)


def _pairing(found: Diagnosis) -> tuple[Fit, str]:
    """Judge whether pairs of this sample can be recorded, one exposure after the other."""
    moving = found.moving.value
    if moving is None:
        return "unknown", (
            "needs pairs of low and high exposure of a fixed sample; whether this one holds still "
            "takes two frames that differ"
        )
    if beyond(found.drift, DRIFT_PX):
        return "with care", (
            f"pairs need a field that holds still, and this one drifts by {found.drift.value:.1f} "
            "px: take both exposures at once, and register them"
        )
    if moving > MOVING:
        return "does not fit" if moving > MOSTLY_MOVING else "with care", (
            f"pairs need a sample that holds still, and something moves in {moving:.0%} of the "
            "field: fix it, or train on a fixed sample of the same kind"
        )
    return "fits", (
        "the field holds still, and nothing is assumed of the noise; needs pairs of low and high "
        "exposure (livedenoise collect)"
    )


def _noise2noise(found: Diagnosis) -> Method:
    fit, why = _independence(found)
    return Method(
        name="n2n", title="Noise2Noise on repeats or neighbouring frames", fit=fit, why=why
    )


def _independence(found: Diagnosis) -> tuple[Fit, str]:
    if found.n_frames < 2:
        return "unknown", "one frame only: record repeats"
    if found.lag1_x.value is None:
        return "unknown", "no two frames that differ: record repeats"
    if shares_time(found):
        return "does not fit", (
            f"neighbouring frames share noise (correlation {found.lag1_time.value:.2f}): averaged "
            "or filtered in time; switch that off, or take frames further apart"
        )
    unsure = _unsure(found)
    if unsure:
        return "with care", "; ".join(unsure)
    return "fits", (
        "the noise of neighbouring frames is independent and the scene stands still; "
        "correlation within a frame does not matter"
    )


def _unsure(found: Diagnosis) -> list[str]:
    lines = []
    moving, repeated = found.moving.value, found.repeated.value
    if found.lag1_time.value is None:
        lines.append("the independence of frames could not be measured")
    if repeated:
        lines.append(f"leave out the {repeated:.0f} or more frames that are repeated")
    if moving is not None and moving > MOVING:
        lines.append(f"something moves in {moving:.0%} of the field: gate motion, or use repeats")
    if beyond(found.drift, DRIFT_PX):
        drift = found.drift.value
        lines.append(f"it drifts by {drift:.1f} px: use neighbouring frames, not distant ones")
    if beyond(found.flicker, FLICKER):
        most = "up to " if found.flicker.upper_limit else ""
        lines.append(f"the light flickers by {most}{found.flicker.value:.0%}: even it out first")
    return lines


def _blind_spot(found: Diagnosis) -> Method:
    fit, why = _blindness(found)
    return Method(name="n2v", title="blind spot (Noise2Void, N2V2, Noise2Same)", fit=fit, why=why)


def _blindness(found: Diagnosis) -> tuple[Fit, str]:
    largest = strongest(found)
    if largest is None:
        return "unknown", "the correlation of neighbours needs two frames that differ"
    where, number = largest
    value = number.value or 0.0
    if number.upper_limit and abs(value) > WHITE:
        return _moving(found, value)
    if (number.error or 0.0) > LARGEST_ERROR:
        return "unknown", "too few pixels to measure the correlation of neighbours"
    return _shared(where, value, stripes(found))


def finest(found: Diagnosis) -> tuple[str, Number] | None:
    """Return axis and correlation of the finest detail where it is largest, None if unknown."""
    named = {"x": found.fine_lag1_x, "y": found.fine_lag1_y}
    if any(number.value is None for number in named.values()):
        return None
    axis = max(named, key=lambda name: abs(named[name].value or 0.0))
    return axis, named[axis]


def _moving(found: Diagnosis, limit: float) -> tuple[Fit, str]:
    """Judge a field that moves everywhere, by its finest detail."""
    fine = finest(found)
    if fine is not None and beyond(fine[1], CORRELATED):
        return "does not fit", (
            f"neighbours share noise: {fine[1].value:.2f} along {fine[0]} even in the finest "
            "detail, which motion does not reach"
        )
    white = fine is not None and abs(fine[1].value or 0.0) <= CORRELATED
    seems = "; the finest detail seems white" if white else ""
    return "with care", (
        f"the scene moves, and motion reads as correlation (up to {limit:.2f}){seems}: "
        "repeat on a still sample to know"
    )


def _shared(where: str, value: float, lines: list[str]) -> tuple[Fit, str]:
    if abs(value) <= WHITE and not lines:
        return "fits", f"neighbouring pixels have independent noise (at most {abs(value):.2f})"
    if abs(value) <= CORRELATED and lines:
        return "with care", f"whole {' and '.join(lines)} share noise: stripes stay"
    if abs(value) <= CORRELATED:
        return "with care", f"neighbours share some noise ({value:.2f} {where}): faint grain stays"
    return "does not fit", (
        f"neighbours share noise ({value:.2f} {where}): a blind-spot network predicts "
        "the grain and leaves it in"
    )


def _struct_n2v(found: Diagnosis) -> Method:
    fit, why = _masking(found)
    return Method(
        name="structn2v", title="blind spot with a structured mask (structN2V)", fit=fit, why=why
    )


def _masking(found: Diagnosis) -> tuple[Fit, str]:
    along = _lines_of_noise(found)
    if along is None:
        return "unknown", "the correlation of neighbours needs two frames that differ"
    if not along:
        return "with care", "not needed: neighbours are independent along both axes"
    if found.lag1_x.upper_limit:
        return _masking_moving(found)
    axis = along[0]
    if len(along) == 1 and axis != _DIAGONALS:
        return "fits", f"the noise correlates along {axis} only: mask {_mask(found, axis)}"
    return "does not fit", (
        f"the noise correlates along {' and '.join(along)}: a mask wide enough hides the structure"
    )


def _masking_moving(found: Diagnosis) -> tuple[Fit, str]:
    """Judge a field that moves everywhere, by its finest detail."""
    fine = {"x": found.fine_lag1_x, "y": found.fine_lag1_y}
    along = [axis for axis, number in fine.items() if beyond(number, CORRELATED)]
    if len(along) > 1:
        return "does not fit", "the noise correlates along x and y even in the finest detail"
    if along:
        return "with care", (
            "in the finest detail, which motion does not reach, the noise correlates along "
            f"{along[0]} only: mask one or two pixels to either side; repeat on a still sample "
            "to know"
        )
    return "with care", "the scene moves, and motion reads as correlation: take a still one"


def _lines_of_noise(found: Diagnosis) -> list[str] | None:
    """Return the directions of correlation, None if unknown."""
    named = {
        "x": (found.lag1_x, found.lag2_x, found.row_noise),
        "y": (found.lag1_y, found.lag2_y, found.column_noise),
    }
    if any(number.value is None for numbers in named.values() for number in numbers):
        return None
    along = [
        axis
        for axis, (lag1, lag2, line) in named.items()
        if abs(lag1.value or 0.0) > WHITE
        or abs(lag2.value or 0.0) > WHITE
        or beyond(line, ROW_NOISE)
    ]
    if abs(found.lag1_diagonal.value or 0.0) > WHITE:
        along.append(_DIAGONALS)
    return along


def _mask(found: Diagnosis, axis: str) -> str:
    line, lag2 = (
        (found.row_noise, found.lag2_x) if axis == "x" else (found.column_noise, found.lag2_y)
    )
    if beyond(line, ROW_NOISE):
        return f"as many pixels along {axis} as the network sees"
    far = "two pixels" if abs(lag2.value or 0.0) > WHITE else "one pixel"
    return f"{far} to either side along {axis}"


def _poisson_gaussian(found: Diagnosis) -> Method:
    name, title = "pg", "self-supervised Poisson-Gaussian (Khademi 2021)"
    fit, why = _blindness(found)
    if off_calibration(found) and fit == "fits":
        return Method(
            name=name,
            title=title,
            fit="with care",
            why=f"the noise is {found.noise_factor.value:.2f} times what the calibration says: "
            "processed on the camera, or another mode",
        )
    if found.noise_model == "gaussian" and fit == "fits":
        return Method(
            name=name,
            title=title,
            fit="with care",
            why="the variance does not follow the mean here: calibrate the camera, or take the "
            "uncalibrated likelihood",
        )
    return Method(name=name, title=title, fit=fit, why=why)
