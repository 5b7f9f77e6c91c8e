"""Diagnose a recording: read a sample, measure, judge, put it into words.

Knows: the order. Must not know: file formats, terminals.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from livedenoise.acquire.sources import open_source
from livedenoise.core.errors import ConfigError
from livedenoise.core.progress import OnProgress, Progress, ignore_progress
from livedenoise.core.source import FrameSource
from livedenoise.diagnose.facts import Diagnosis, Number
from livedenoise.diagnose.judge import judge
from livedenoise.diagnose.pixel_values import missing_counts, piled_counts, step_between_counts
from livedenoise.diagnose.sampling import LEAST_EDGE_PX, Sampled, sample
from livedenoise.diagnose.tiles import (
    MOVING_SIGMAS,
    TileSums,
    correlations,
    excess_sigmas,
    shared_noise,
    tile_sums,
)
from livedenoise.diagnose.trends import bleaching_and_flicker, drift, time_correlation
from livedenoise.diagnose.words import sentences
from livedenoise.imaging.noise_fit import NoiseFit, constants_from_fit, fit_noise

_TWO_FRAMES = "needs two consecutive frames"
_MOVES = "upper limit: the scene moves"


def diagnose(path: Path, on_progress: OnProgress = ignore_progress) -> Diagnosis:
    """Diagnose the noise of a recording.

    Parameters
    ----------
    path : Path
        TIFF (a stack of repeats or a movie), NDTiff data set or run folder.
    on_progress : callable
        Told of frames read.

    Raises
    ------
    ConfigError
        If it cannot be read, or its frames are smaller than 32 px.
    """
    with open_source(path) as source:
        if min(source.shape) < LEAST_EDGE_PX:
            raise ConfigError(
                f"{path}: frames are {source.shape} (Y, X), at least {LEAST_EDGE_PX} px are needed",
                "give larger frames",
            )

        def on_frame(done: int, total: int) -> None:
            on_progress(Progress(task="diagnose", done=done, total=total))

        sampled = sample(source, on_frame)
        measured = _measure(source, sampled)
    judged = msgspec.structs.replace(measured, methods=judge(measured))
    return msgspec.structs.replace(judged, summary=sentences(judged))


def _measure(source: FrameSource, sampled: Sampled) -> Diagnosis:
    fit = fit_noise(sampled.frames, bit_depth=source.bit_depth)
    constants = constants_from_fit(fit)
    shared = time_correlation(sampled.runs)
    sums = _sums(sampled, shared)
    numbers = _spatial(sums, fit) | _temporal(sampled, fit, constants.offset_adu)
    numbers["lag1_time"] = shared
    electrons = constants.model == "poisson_gaussian"
    why = "the noise does not follow the signal"
    gain = Number(
        value=constants.gain_e_per_adu,
        error=constants.gain_e_per_adu * fit.slope_error_adu / fit.slope_adu,
        unit="e/count",
    )
    read_noise = Number(value=constants.read_noise_e, unit="e")
    return Diagnosis(
        path=str(source.path),
        n_frames=source.n_frames,
        n_used=len(sampled.frames),
        shape=source.shape,
        dtype=source.dtype,
        bit_depth=source.bit_depth,
        noise_model=constants.model,
        gain=gain if electrons else Number(value=None, note=why),
        read_noise=read_noise if electrons else Number(value=None, note=why),
        offset=Number(value=constants.offset_adu, unit="counts"),
        noise=Number(value=fit.sigma_adu, unit="counts"),
        zero_fraction=Number(value=sampled.zero_fraction),
        saturated_fraction=Number(value=sampled.top_fraction),
        suspicions=_suspicions(source, sampled, fit, numbers),
        **_each(numbers),
    )


def _each(numbers: dict[str, Number]) -> dict[str, Any]:
    """Return the numbers as keywords, which a type checker cannot tell from other fields."""
    return dict(numbers)


def _sums(sampled: Sampled, shared: Number) -> TileSums | None:
    if len(sampled.runs[0]) < 2:
        return None
    runs = [[frame.astype(np.float32) for frame in run] for run in sampled.runs]
    return tile_sums(runs, far_ratio=1.0 / (1.0 - min(max(shared.value or 0.0, 0.0), 0.95)))


def _spatial(sums: TileSums | None, fit: NoiseFit) -> dict[str, Number]:
    names = ("lag1_x", "lag1_y", "lag1_diagonal", "lag2_x", "lag2_y", "row_noise", "column_noise")
    if sums is None or not sums.variance.any():
        why = _TWO_FRAMES if sums is None else "the frames do not differ at all"
        return {name: Number(value=None, note=why) for name in (*names, "moving")}
    value, error = correlations(sums)
    # LAGS: x, y, the two diagonals, two pixels in x and in y.
    diagonal = 2 if abs(value[2]) > abs(value[3]) else 3
    moving = float((excess_sigmas(sums) >= MOVING_SIGMAS).mean())
    note = _MOVES if fit.method == "moving frame pairs" else ""
    found = {
        name: Number(value=float(value[at]), error=float(error[at]), note=note)
        for name, at in zip(names, (0, 1, diagonal, 4, 5), strict=False)
    }
    shared, shared_error = shared_noise(sums)
    for at, name in enumerate(("row_noise", "column_noise")):
        found[name] = Number(value=float(shared[at]), error=float(shared_error[at]))
    return found | {"moving": Number(value=moving)}


def _temporal(sampled: Sampled, fit: NoiseFit, offset_adu: float) -> dict[str, Number]:
    pixels = sampled.frames[0].size
    bleaching, flicker = bleaching_and_flicker(
        sampled.trend_index, sampled.trend_mean, offset_adu, fit.sigma_adu / np.sqrt(pixels)
    )
    shift, _ = drift(sampled.runs, offset_adu)
    return {
        "bleaching": bleaching,
        "flicker": flicker,
        "drift": shift,
    }


def _suspicions(
    source: FrameSource, sampled: Sampled, fit: NoiseFit, numbers: dict[str, Number]
) -> tuple[str, ...]:
    found = _value_suspicions(source, sampled)
    if sampled.repeats:
        found.append(f"{sampled.repeats} frames equal the frame before: repeated, not exposed anew")
    lag1 = max(abs(numbers[name].value or 0.0) for name in ("lag1_x", "lag1_y"))
    if lag1 > 0.15 and not numbers["lag1_x"].note:
        found.append(
            f"neighbouring pixels share noise ({lag1:.2f}): smoothed, despeckled or resampled "
            "(a sensor's own pixels are independent)"
        )
    if fit.shared_noise or (numbers["lag1_time"].value or 0.0) > 0.15:
        found.append("neighbouring frames share noise: a running average or a filter in time")
    if source.dtype != "<f4" and 0.0 < fit.sigma_adu < 0.4:
        found.append(
            f"the noise is {fit.sigma_adu:.2f} counts: below the rounding to whole counts, or "
            "scaled down to fewer bits"
        )
    return tuple(found)


def _value_suspicions(source: FrameSource, sampled: Sampled) -> list[str]:
    if not sampled.histogram.size:
        return [f"pixels are {source.dtype}, not counts of a converter: processed already"]
    found = []
    step = step_between_counts(sampled.histogram)
    missing, piled = missing_counts(sampled.histogram), piled_counts(sampled.histogram)
    if step > 1:
        found.append(f"all counts are multiples of {step} apart: scaled up from fewer bits")
    elif missing > 0.02:
        found.append(f"{missing:.0%} of the counts never occur: stretched")
    if step <= 1 and piled > 0.02:
        found.append(f"{piled:.0%} of the counts occur far too often: squeezed or rounded twice")
    return found
