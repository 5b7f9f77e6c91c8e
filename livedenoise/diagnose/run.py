"""Diagnose a recording: read a sample, measure, judge, put it into words.

Knows: the order. Must not know: file formats, terminals.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from livedenoise.acquire.sources import open_source
from livedenoise.core.constants import CameraConstants
from livedenoise.core.errors import ConfigError
from livedenoise.core.progress import OnProgress, Progress, ignore_progress
from livedenoise.core.source import FrameSource
from livedenoise.diagnose.correlation import correlations, shared_noise
from livedenoise.diagnose.facts import Diagnosis, Number, measured
from livedenoise.diagnose.fine import fine_correlation
from livedenoise.diagnose.judge import judge
from livedenoise.diagnose.light import Image, comparable_runs
from livedenoise.diagnose.motion import Motion, find_motion
from livedenoise.diagnose.sampling import LEAST_EDGE_PX, Sampled, sample
from livedenoise.diagnose.suspicions import suspicions
from livedenoise.diagnose.tiles import TileNoise, tile_noise
from livedenoise.diagnose.trends import bleaching_and_flicker, drift, time_correlation
from livedenoise.diagnose.words import sentences
from livedenoise.imaging.noise_fit import NoiseFit, constants_from_fit, fit_noise

_SPATIAL = (
    "lag1_x",
    "lag1_y",
    "lag1_diagonal",
    "lag2_x",
    "lag2_y",
    "fine_lag1_x",
    "fine_lag1_y",
    "row_noise",
    "column_noise",
    "lag1_time",
    "moving",
)
_MOSTLY = 0.5
_MOVES = "upper limit: the scene moves"
_ONLY_FAST = "only fast motion would be seen: fewer than 5 different frames in a row"
_DARKEST = "if the darkest part of the image is dark"
_LEVEL = "the noise does not follow the signal"


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
        If it cannot be read, its frames are smaller than 32 px, or pixels are not finite.
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
        found = _measure(source, sampled)
    found = msgspec.structs.replace(found, methods=judge(found))
    return msgspec.structs.replace(found, summary=sentences(found))


def _measure(source: FrameSource, sampled: Sampled) -> Diagnosis:
    fit = fit_noise(sampled.frames, bit_depth=source.bit_depth)
    constants = constants_from_fit(fit)
    runs = comparable_runs(sampled.runs)
    noise = tile_noise(runs) if runs else None
    numbers = _spatial(noise, runs) | _temporal(source, sampled, constants, _mean_noise(fit, noise))
    moves = (numbers["moving"].value or 0.0) > _MOSTLY
    shift = drift(sampled.runs, source.n_frames, constants.offset_adu, moves=moves)
    found = Diagnosis(
        path=str(source.path),
        n_frames=source.n_frames,
        n_used=len(sampled.frames),
        shape=source.shape,
        dtype=source.dtype,
        bit_depth=source.bit_depth,
        noise_model=constants.model,
        offset=measured(constants.offset_adu, unit="counts"),
        noise=measured(fit.sigma_adu, unit="counts"),
        repeated=measured(sampled.repeats),
        zero_fraction=measured(sampled.zero_fraction),
        saturated_fraction=measured(sampled.top_fraction),
        drift=shift,
        **_each(_electrons(fit, constants) | numbers),
    )
    constant = float((noise.variance == 0).mean()) if noise is not None else 0.0
    return msgspec.structs.replace(found, suspicions=suspicions(found, sampled.histogram, constant))


def _each(numbers: dict[str, Number]) -> dict[str, Any]:
    """Return the numbers as keywords, which a type checker cannot tell from other fields."""
    return dict(numbers)


def _electrons(fit: NoiseFit, constants: CameraConstants) -> dict[str, Number]:
    if constants.model != "poisson_gaussian":
        return {name: Number(value=None, note=_LEVEL) for name in ("gain", "read_noise")}
    gain = constants.gain_e_per_adu
    return {
        "gain": measured(gain, gain * fit.slope_error_adu / fit.slope_adu, unit="e/count"),
        "read_noise": measured(constants.read_noise_e, unit="e", note=_DARKEST, upper_limit=True),
    }


def _mean_noise(fit: NoiseFit, noise: TileNoise | None) -> float:
    """Return the noise of one pixel in the mean of a frame, counts: bright parts weigh more."""
    levels = float(np.sqrt(np.mean(np.maximum(fit.level_variances, 0.0))))
    direct = 0.0 if noise is None else float(np.sqrt(noise.variance.mean()))
    return max(fit.sigma_adu, levels, direct)


def _spatial(noise: TileNoise | None, runs: list[list[Image]]) -> dict[str, Number]:
    if noise is None or not noise.variance.any():
        return {name: Number(value=None, note="needs two frames that differ") for name in _SPATIAL}
    motion = find_motion(noise)
    note = _MOVES if motion.limit else ""
    lags = correlations(noise, motion.still)
    sides = [lags.pop("diagonal"), lags.pop("antidiagonal")]
    lags["lag1_diagonal"] = max(sides, key=lambda pair: abs(pair[0]))
    lags["row_noise"] = shared_noise(noise, motion.still, "x")
    lags["column_noise"] = shared_noise(noise, motion.still, "y")
    found = {
        name: measured(*pair, note=note, upper_limit=motion.limit) for name, pair in lags.items()
    }
    return found | {
        "fine_lag1_x": measured(*fine_correlation(noise, "x")),
        "fine_lag1_y": measured(*fine_correlation(noise, "y")),
        "lag1_time": time_correlation(runs, motion.still),
        "moving": _moving(motion, noise),
    }


def _moving(motion: Motion, noise: TileNoise) -> Number:
    return measured(float(motion.moving.mean()), note="" if noise.far is not None else _ONLY_FAST)


def _temporal(
    source: FrameSource, sampled: Sampled, constants: CameraConstants, noise_adu: float
) -> dict[str, Number]:
    pixels = source.shape[0] * source.shape[1]
    bleaching, flicker = bleaching_and_flicker(
        sampled.trend_index,
        sampled.trend_mean,
        constants.offset_adu,
        noise_adu / float(np.sqrt(pixels)),
    )
    return {"bleaching": bleaching, "flicker": flicker}
