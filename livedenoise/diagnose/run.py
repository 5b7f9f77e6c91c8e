"""Diagnose a recording: read a sample, measure, judge, put it into words.

Knows: the order. Must not know: file formats, terminals.
"""

from __future__ import annotations

from math import isfinite
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from livedenoise.acquire.sources import open_source
from livedenoise.core.calibration import read_calibration
from livedenoise.core.errors import ConfigError
from livedenoise.core.progress import OnProgress, Progress, ignore_progress
from livedenoise.core.source import FrameSource
from livedenoise.diagnose.correlation import correlations, grain_factor, shared_noise
from livedenoise.diagnose.drift import drift
from livedenoise.diagnose.facts import Diagnosis, Number, beyond, measured
from livedenoise.diagnose.fine import fine_correlation
from livedenoise.diagnose.judge import judge
from livedenoise.diagnose.levels import Known, Offset, camera_of, levels
from livedenoise.diagnose.light import Image, comparable_runs, structure_adu
from livedenoise.diagnose.limits import TOP_CARE, ZERO_CARE
from livedenoise.diagnose.motion import Motion, find_motion
from livedenoise.diagnose.sampling import LEAST_EDGE_PX, Sampled, sample
from livedenoise.diagnose.suspicions import suspicions
from livedenoise.diagnose.tiles import TileNoise, tile_noise
from livedenoise.diagnose.trends import brightness, time_correlation
from livedenoise.diagnose.words import sentences
from livedenoise.imaging.noise_fit import NoiseFit, fit_noise

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
    "grain_factor",
)
_MOSTLY = 0.5
_MOVES = "upper limit: the scene moves"
_SLOW = "upper limit: the finest detail seems white, and slow motion adds"
_FINE = 0.02
_ONLY_FAST = "only fast motion would be seen: fewer than 5 different frames in a row"


def diagnose(
    path: Path,
    on_progress: OnProgress = ignore_progress,
    *,
    offset_adu: float | None = None,
    calibration: Path | None = None,
) -> Diagnosis:
    """Diagnose the noise of a recording.

    Parameters
    ----------
    path : Path
        TIFF (a stack of repeats or a movie), NDTiff data set or run folder.
    on_progress : callable
        Told of frames read.
    offset_adu : float, optional
        Counts without light, where they are known.
    calibration : Path, optional
        Calibration folder of the camera: its offset is taken, and the noise compared with it.

    Raises
    ------
    ConfigError
        If it cannot be read, its frames are smaller than 32 px, or pixels are not finite; if both
        offset and calibration are given, or the offset is not finite.
    CalibrationError
        If the calibration cannot be read.
    """
    known = _known(offset_adu, calibration)
    with open_source(path) as source:
        if min(source.shape) < LEAST_EDGE_PX:
            raise ConfigError(
                f"{path}: frames are {source.shape} (Y, X), at least {LEAST_EDGE_PX} px are needed",
                "give larger frames",
            )

        def on_frame(done: int, total: int) -> None:
            on_progress(Progress(task="diagnose", done=done, total=total))

        sampled = sample(source, on_frame)
        found = _measure(source, sampled, known)
    found = msgspec.structs.replace(found, methods=judge(found))
    return msgspec.structs.replace(found, summary=sentences(found))


def _known(offset_adu: float | None, calibration: Path | None) -> Known:
    if calibration is not None and offset_adu is not None:
        raise ConfigError("--calibration and --offset exclude each other", "give one of them")
    if calibration is not None:
        return Known(calibrated=read_calibration(calibration).constants)
    if offset_adu is not None and not isfinite(offset_adu):
        raise ConfigError(f"--offset must be a finite number, got {offset_adu}", "give counts")
    return Known(offset_adu=offset_adu)


def _measure(source: FrameSource, sampled: Sampled, known: Known) -> Diagnosis:
    comparable = comparable_runs(sampled.runs)
    evened = comparable.evened and not _cut_off(sampled)
    flat = [frame for run in comparable.runs for frame in run]
    fit = fit_noise(flat if evened else sampled.frames, bit_depth=source.bit_depth)
    camera = camera_of(fit, known)
    noise = tile_noise(comparable.runs) if comparable.runs else None
    numbers = _spatial(noise, comparable.runs) | _temporal(
        source, sampled, camera.offset, _mean_noise(fit, noise)
    )
    numbers |= levels(
        camera,
        numbers["grain_factor"],
        numbers["flicker"],
        evened=evened,
        rounded=np.dtype(source.dtype).kind == "u",
    )
    found = Diagnosis(
        path=str(source.path),
        n_frames=source.n_frames,
        n_used=len(sampled.frames),
        shape=source.shape,
        dtype=source.dtype,
        bit_depth=source.bit_depth,
        noise_model=camera.constants.model,
        noise=measured(fit.sigma_adu, unit="counts"),
        structure=_structure(sampled),
        repeated=measured(sampled.repeats),
        zero_fraction=measured(sampled.zero_fraction),
        saturated_fraction=measured(sampled.top_fraction),
        drift=_drift(source, sampled, camera.offset, numbers["moving"]),
        **_each(numbers),
    )
    return msgspec.structs.replace(found, suspicions=suspicions(found, sampled.histogram))


def _each(numbers: dict[str, Number]) -> dict[str, Any]:
    """Return the numbers as keywords, which a type checker cannot tell from other fields."""
    return dict(numbers)


def _cut_off(sampled: Sampled) -> bool:
    """Return whether pixels are cut off: divided by the light they would no longer look so."""
    return sampled.top_fraction > TOP_CARE or sampled.zero_fraction > ZERO_CARE


def _structure(sampled: Sampled) -> Number:
    if len(sampled.runs[0]) < 2:
        return Number(value=None, unit="counts", note="needs two frames")
    return measured(structure_adu(sampled.runs[0]), unit="counts")


def _drift(source: FrameSource, sampled: Sampled, offset: Offset, moving: Number) -> Number:
    return drift(
        sampled.runs,
        source.n_frames,
        offset.adu,
        starts=sampled.starts,
        moves=(moving.value or 0.0) > _MOSTLY,
    )


def _mean_noise(fit: NoiseFit, noise: TileNoise | None) -> float:
    """Return the noise of one pixel in the mean of a frame, counts: bright parts weigh more."""
    shot = float(np.sqrt(np.mean(np.maximum(fit.level_variances, 0.0))))
    direct = 0.0 if noise is None else float(np.sqrt(noise.variance.mean()))
    return max(fit.sigma_adu, shot, direct)


def _spatial(noise: TileNoise | None, runs: list[list[Image]]) -> dict[str, Number]:
    if noise is None or not noise.variance.any():
        none = Number(value=None, note="needs two frames that differ")
        return dict.fromkeys(_SPATIAL, none) | {"constant": none}
    motion = find_motion(noise)
    note = _MOVES if motion.limit else ""
    lags = correlations(noise, motion.still)
    sides = [lags.pop("diagonal"), lags.pop("antidiagonal")]
    lags["lag1_diagonal"] = max(sides, key=lambda pair: abs(pair[0]))
    lags["grain_factor"] = grain_factor(noise, motion.still)
    lags["row_noise"] = shared_noise(noise, motion.still, "x")
    lags["column_noise"] = shared_noise(noise, motion.still, "y")
    found = {
        name: measured(*pair, note=note, upper_limit=motion.limit) for name, pair in lags.items()
    }
    fine = {f"fine_lag1_{axis}": measured(*fine_correlation(noise, axis)) for axis in "xy"}
    if not any(beyond(number, _FINE) for number in fine.values()):
        found["grain_factor"] = _grain_limit(found["grain_factor"])
    return found | {
        **fine,
        "lag1_time": time_correlation(runs, motion.still),
        "moving": _moving(motion, noise),
        "constant": measured(float((noise.variance == 0).mean())),
    }


def _grain_limit(grain: Number) -> Number:
    """Return the sum of many small correlations as a limit: the finest detail seems white."""
    return msgspec.structs.replace(grain, note=_SLOW, upper_limit=True)


def _moving(motion: Motion, noise: TileNoise) -> Number:
    return measured(float(motion.moving.mean()), note="" if noise.far is not None else _ONLY_FAST)


def _temporal(
    source: FrameSource, sampled: Sampled, offset: Offset, noise_adu: float
) -> dict[str, Number]:
    pixels = source.shape[0] * source.shape[1]
    noise_of_mean = noise_adu / float(np.sqrt(pixels))
    return brightness(sampled.trend_index, sampled.trend_mean, offset, noise_of_mean)
