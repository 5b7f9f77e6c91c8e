"""Where a denoised file came from: what is written into it, and whether it is the same again.

Knows: which facts decide the pixels of an output. Must not know: how files are read or written.
No key is called ``shape``: tifffile would take the description for its own.
"""

from __future__ import annotations

import hashlib
from math import isclose, nan
from typing import Any

import msgspec
import numpy as np

from livedenoise import __version__
from livedenoise.batch.constants import Resolved
from livedenoise.batch.jobs import Job
from livedenoise.core.clock import wall_time_text
from livedenoise.core.engine import EngineInfo
from livedenoise.core.source import FrameSource
from livedenoise.engines.package import ModelPackage

_DIGITS = 1e-6
IDENTITY_KEYS = (
    "version",
    "input",
    "input_sample_sha256",
    "n_frames",
    "frame_shape",
    "dtype",
    "out_dtype",
    "bit_depth",
    "model_sha256",
    "constants",
)
"""Facts that decide the pixels. Engines and tiles agree within a count: they are not among them."""


def identity_of(
    job: Job, resolved: Resolved | None, package: ModelPackage | None, sample_sha256: str
) -> dict[str, Any]:
    """Return the facts that decide the pixels of a job's output, as plain data."""
    return {
        "version": __version__,
        "input": job.input.resolve().name,
        "input_sample_sha256": sample_sha256,
        "n_frames": job.n_frames,
        "frame_shape": list(job.shape),
        "dtype": job.dtype,
        "out_dtype": job.out_dtype,
        "bit_depth": job.bit_depth,
        "model_sha256": "" if package is None else package.sha256,
        "constants": None if resolved is None else msgspec.to_builtins(resolved.constants),
    }


def provenance_of(
    identity: dict[str, Any],
    package: ModelPackage | None,
    info: EngineInfo,
    *,
    tiled: bool,
    notes: tuple[str, ...],
) -> dict[str, Any]:
    """Return everything that is written into an output."""
    return identity | {
        "model": "" if package is None else package.name,
        "model_hash": "" if package is None else package.hash,
        "engine": info.engine,
        "engine_version": info.version,
        "precision": info.precision,
        "device": info.device,
        "tiled": tiled,
        "units": "counts of the input",
        "notes": list(notes),
        "created": wall_time_text(),
    }


def first_difference(found: dict[str, Any], expected: dict[str, Any]) -> str:
    """Return which fact differs, with both values; empty when the same pixels are meant."""
    for key in IDENTITY_KEYS:
        was, now = found.get(key), expected[key]
        same = _same_constants(was, now) if key == "constants" else was == now
        if not same:
            return f"{key} is {was!r}, now {now!r}"
    return ""


def _same_constants(was: Any, now: Any) -> bool:  # noqa: ANN401  (JSON of any file)
    """Return whether constants agree; an estimate may differ in its last digits elsewhere."""
    if not isinstance(was, dict) or not isinstance(now, dict):
        return bool(was == now)
    numbers = [key for key, value in now.items() if isinstance(value, float)]
    words = set(now) - set(numbers) - {"note"}
    if any(was.get(key) != now[key] for key in words):
        return False
    return all(isclose(_number(was.get(key)), now[key], rel_tol=_DIGITS) for key in numbers)


def _number(value: Any) -> float:  # noqa: ANN401
    return float(value) if isinstance(value, int | float) else nan


def sample_sha256(source: FrameSource) -> str:
    """Return SHA-256 over first, middle and last frame of a recording and over its facts.

    It tells whether a file was replaced, without reading all of a long one.
    """
    digest = hashlib.sha256(f"{source.shape} {source.dtype} {source.n_frames}".encode())
    for index in sorted({0, source.n_frames // 2, source.n_frames - 1}):
        digest.update(np.ascontiguousarray(source.read(index)).data)
    return digest.hexdigest()
