"""The predict verb: options -> ``batch.predict`` -> what people and scripts read."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import msgspec

from livedenoise.batch.predict import PredictResult, predict
from livedenoise.core.constants import CameraConstants
from livedenoise.core.errors import ConfigError
from livedenoise.engines.cache import default_cache_dir
from livedenoise.view.progress import ProgressView


def run_predict(arguments: argparse.Namespace) -> int:
    """Denoise what the arguments name and return the exit code.

    Raises
    ------
    LiveDenoiseError
        As ``batch.predict``.
    """
    constants = _constants(arguments)
    with ProgressView() as progress:
        results = predict(
            arguments.input,
            arguments.output,
            model=arguments.model,
            engine=arguments.engine,
            calibration=arguments.calibration,
            constants=constants,
            dtype=arguments.dtype,
            tile=arguments.tile,
            on_progress=progress,
            cache_dir=default_cache_dir(),
        )
    if arguments.json:
        sys.stdout.write(json.dumps({"exit_code": 0, "results": _plain(results)}) + "\n")
    else:
        sys.stdout.write("".join(f"{line}\n" for line in report_lines(results)))
    return 0


def report_lines(results: list[PredictResult]) -> list[str]:
    """Return what was done, one line an input, each distinct note once."""
    lines = []
    for result in results:
        written = result.status == "written" and result.seconds > 0
        rate = f", {result.n_frames / result.seconds:.1f} frames/s" if written else ""
        tiled = ", tiled" if result.tiled else ""
        lines.append(f"{result.status:8} {result.output}  ({result.n_frames} frames{rate}{tiled})")
        if result.constants is not None and result.status == "written":
            lines.append(f"         {_constants_text(result.constants)}")
    lines += [f"! {note}" for note in dict.fromkeys(n for r in results for n in r.notes)]
    return lines


def _constants_text(constants: CameraConstants) -> str:
    text = (
        f"{constants.gain_e_per_adu:.4g} e-/count, offset {constants.offset_adu:.4g}, read noise "
        f"{constants.read_noise_e:.3g} e- ({constants.source})"
    )
    return f"{text}: {constants.note}" if constants.note else text


def _constants(arguments: argparse.Namespace) -> CameraConstants | None:
    given = (arguments.gain, arguments.offset, arguments.read_noise)
    if all(value is None for value in given):
        return None
    if arguments.calibration is not None:
        raise ConfigError(
            "--calibration and --gain/--offset/--read-noise exclude each other", "give one of them"
        )
    if any(value is None for value in given):
        raise ConfigError(
            f"--gain {given[0]}, --offset {given[1]}, --read-noise {given[2]}: all three are "
            "needed together",
            "give all three, or none for one estimate per recording",
        )
    if arguments.read_noise < 0:
        raise ConfigError(f"--read-noise must be at least 0, got {arguments.read_noise}")
    return CameraConstants(
        gain_e_per_adu=arguments.gain,
        offset_adu=arguments.offset,
        read_noise_e=arguments.read_noise,
        source="manual",
    )


def _plain(results: list[PredictResult]) -> object:
    return msgspec.to_builtins(results, enc_hook=_encode)


def _encode(value: object) -> str:
    if isinstance(value, Path):
        return str(value)
    raise NotImplementedError(f"cannot write {type(value).__name__} as JSON")
