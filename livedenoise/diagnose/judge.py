"""Which ways of training fit a kind of noise, and why.

Knows: what each method assumes. Must not know: how anything was measured.

Assumptions
-----------
Blind-spot methods (Noise2Void, Krull et al., CVPR 2019; N2V2; Khademi et al., WACV 2021;
Noise2Same, Blind2Unblind) predict a pixel from its neighbours: what neighbours share of the noise
is predicted too and stays in the image. Noise2Noise (Lehtinen et al., ICML 2018) needs two frames
of one scene with independent noise; correlation within a frame does not matter. Supervised
training (CARE, Weigert et al., Nature Methods 2018) needs pairs and assumes nothing of the noise.
"""

from __future__ import annotations

from livedenoise.diagnose.facts import Diagnosis, Fit, Method, Number

WHITE = 0.05
"""Largest correlation of neighbours that a blind-spot method hardly notices."""
CORRELATED = 0.15
"""From here on the grain that a blind-spot method leaves is plain to see."""
ROW_NOISE = 0.1
TIME_CORRELATED = 0.05
MOVING = 0.1
DRIFT_PX = 0.5

_ORDER: dict[Fit, int] = {"fits": 0, "with care": 1, "unknown": 2, "does not fit": 3}


def judge(found: Diagnosis) -> tuple[Method, ...]:
    """Return every way of training with its verdict, the most fitting first."""
    methods = [
        _supervised(),
        _noise2noise(found),
        _blind_spot(found),
        _struct_n2v(found),
        _poisson_gaussian(found),
    ]
    return tuple(sorted(methods, key=lambda method: _ORDER[method.fit]))


def strongest(found: Diagnosis) -> tuple[str, float] | None:
    """Return direction and size of the largest correlation between neighbours, None if unknown."""
    named = {"x": found.lag1_x, "y": found.lag1_y, "the diagonals": found.lag1_diagonal}
    known = {name: n.value for name, n in named.items() if n.value is not None}
    if not known:
        return None
    direction = max(known, key=lambda name: abs(known[name]))
    return direction, known[direction]


def _supervised() -> Method:
    return Method(
        name="care",
        title="supervised on pairs (CARE)",
        fit="fits",
        why="assumes nothing of the noise; needs pairs of low and high exposure of a fixed sample "
        "(livedenoise collect)",
    )


def _noise2noise(found: Diagnosis) -> Method:
    name, title = "n2n", "Noise2Noise on repeats or neighbouring frames"
    time, moving, drift = found.lag1_time, found.moving.value, found.drift.value
    if found.n_frames < 2:
        return Method(name=name, title=title, fit="unknown", why="one frame only: record repeats")
    if time.value is not None and time.value > max(TIME_CORRELATED, 3.0 * (time.error or 0.0)):
        why = (
            f"neighbouring frames share noise (correlation {time.value:.2f}): averaged or filtered "
            "in time; switch that off, or take frames further apart"
        )
        return Method(name=name, title=title, fit="does not fit", why=why)
    unsure = [] if time.value is not None else ["the independence of frames could not be measured"]
    if moving is not None and moving > MOVING:
        unsure.append(f"something moves in {moving:.0%} of the field: gate motion, or use repeats")
    if drift is not None and drift > DRIFT_PX:
        unsure.append(f"it drifts by {drift:.1f} px: use neighbouring frames, not distant ones")
    if unsure:
        return Method(name=name, title=title, fit="with care", why="; ".join(unsure))
    return Method(
        name=name,
        title=title,
        fit="fits",
        why="the noise of neighbouring frames is independent and the scene stands still; "
        "correlation within a frame does not matter",
    )


def _blind_spot(found: Diagnosis) -> Method:
    fit, why = _blindness(found)
    return Method(name="n2v", title="blind spot (Noise2Void, N2V2, Noise2Same)", fit=fit, why=why)


def _blindness(found: Diagnosis) -> tuple[Fit, str]:
    largest = strongest(found)
    if largest is None:
        return "unknown", "the correlation of neighbours needs two frames: record repeats"
    direction, value = largest
    shared = max((found.row_noise.value or 0.0), (found.column_noise.value or 0.0))
    if abs(value) <= WHITE and shared <= ROW_NOISE:
        return "fits", f"neighbouring pixels have independent noise (at most {value:.2f})"
    if abs(value) <= WHITE:
        return "with care", f"rows or columns share noise ({shared:.0%} of a pixel's): stripes stay"
    if found.lag1_x.note:
        return "with care", (
            f"neighbours correlate by up to {value:.2f} along {direction}, but the scene moves, "
            "and motion reads as correlation: repeat on a still sample"
        )
    if abs(value) <= CORRELATED:
        return "with care", (
            f"neighbours share some noise ({value:.2f} along {direction}): faint grain stays"
        )
    return "does not fit", (
        f"neighbours share noise ({value:.2f} along {direction}): a blind-spot network predicts "
        "the grain and leaves it in"
    )


def _struct_n2v(found: Diagnosis) -> Method:
    name, title = "structn2v", "blind spot with a structured mask (structN2V)"
    x, y = found.lag1_x, found.lag1_y
    diagonal = found.lag1_diagonal
    if x.value is None or y.value is None or diagonal.value is None:
        return Method(name=name, title=title, fit="unknown", why="needs two frames")
    along = [n for n, number in (("x", x), ("y", y)) if abs(number.value or 0.0) > WHITE]
    if not along:
        return Method(
            name=name,
            title=title,
            fit="with care",
            why="not needed: neighbours are independent along both axes",
        )
    if len(along) == 1 and abs(diagonal.value) <= WHITE:
        far = _reach(found, along[0])
        why = f"the noise correlates along {along[0]} only: mask {far} pixels along {along[0]}"
        return Method(name=name, title=title, fit="fits", why=why)
    why = "the noise correlates in more than one direction: a mask wide enough hides the structure"
    return Method(name=name, title=title, fit="does not fit", why=why)


def _reach(found: Diagnosis, axis: str) -> int:
    lag2: Number = found.lag2_x if axis == "x" else found.lag2_y
    return 5 if abs(lag2.value or 0.0) > WHITE else 3


def _poisson_gaussian(found: Diagnosis) -> Method:
    name, title = "pg", "self-supervised Poisson-Gaussian (Khademi 2021)"
    fit, why = _blindness(found)
    if found.noise_model == "gaussian" and fit != "does not fit":
        return Method(
            name=name,
            title=title,
            fit="with care",
            why="the variance does not follow the mean here: calibrate the camera, or take the "
            "uncalibrated likelihood",
        )
    return Method(name=name, title=title, fit=fit, why=why)
