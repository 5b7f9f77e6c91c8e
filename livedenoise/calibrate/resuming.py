"""Whether a calibration may go on: the same settings, configuration and darkness as at its begin.

Knows: what identifies a calibration, how dark frames of one camera mode may differ. Must not know:
taking frames, files of series.

A camera's mode is more than what it tells: offset and read noise of another readout mode differ
while name, sensor and bit depth are the same. Therefore the whole table of the configuration
counts, and a few dark frames are compared with those that were taken before.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from livedenoise.calibrate.data import Series
from livedenoise.calibrate.settings import AcquireSettings
from livedenoise.core.errors import CalibrationError
from livedenoise.core.microscope import MicroscopeInfo
from livedenoise.imaging.ptc_moments import PixelSummary

CHECK_FRAMES = 8
"""Dark frames that are taken and compared before a calibration goes on."""
_ERRORS = 5.0
_OFFSET_NOISES = 0.2
"""The offset may have moved by so much of the noise of a pixel (temperature)."""
_NOISE_CHANGE = 0.1


def identity_of(
    info: MicroscopeInfo,
    settings: AcquireSettings,
    configuration: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return what must be the same for a calibration to go on, as plain data.

    Parameters
    ----------
    configuration : mapping, optional
        The camera's table of the configuration as plain data (``configuration_of``).
    """
    return {
        "settings": msgspec.to_builtins(settings),
        "camera": info.camera.name,
        "kind": info.camera.kind,
        "sensor": list(info.camera.sensor),
        "roi": list(info.roi),
        "binning": info.binning,
        "bit_depth": info.camera.bit_depth,
    } | {f"configuration: {key}": value for key, value in (configuration or {}).items()}


def configuration_of(table: Mapping[str, Any]) -> dict[str, Any]:
    """Return every key of a camera's table with dots, and hashes of the files that it names.

    A file stands beside its name by its content: a hardware configuration may have been edited.
    """
    flat: dict[str, Any] = {}
    for key, value in table.items():
        if isinstance(value, Mapping):
            inside = configuration_of(value)
            flat |= {f"{key}.{name}": item for name, item in inside.items()}
            continue
        flat[key] = value
        if isinstance(value, Path) and value.is_file():
            flat[f"{key} (content)"] = hashlib.sha256(value.read_bytes()).hexdigest()[:16]
    return json_like(flat)


def json_like(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return facts as they come back from a JSON file."""
    plain: dict[str, Any] = json.loads(json.dumps(dict(facts), default=str))
    return plain


def require_same_darkness(before: Series, now: Series) -> None:
    """Refuse dark frames that are not of the mode of those taken before.

    The mean may differ by five standard errors of the frame means, or by a fifth of the noise of a
    pixel, whichever is more; the noise by a tenth, or five standard errors.

    Raises
    ------
    CalibrationError
        With both values.
    """
    was, found = before.summary, now.summary
    levels = [float(one.mean_adu.mean(dtype=np.float64)) for one in (was, found)]
    noises = [_noise_adu(one) for one in (was, found)]
    error = float(np.hypot(was.frame_mean_error_adu, found.frame_mean_error_adu))
    allowed = max(_ERRORS * error, _OFFSET_NOISES * noises[0])
    if abs(levels[1] - levels[0]) > allowed:
        raise _other_mode(
            f"have {levels[1]:.2f} counts now, those taken before have {levels[0]:.2f} "
            f"(up to {allowed:.2g} apart is allowed)"
        )
    relative = float(np.hypot(_noise_error(was), _noise_error(found)))
    if abs(noises[1] - noises[0]) > max(_NOISE_CHANGE, _ERRORS * relative) * noises[0]:
        raise _other_mode(
            f"have a noise of {noises[1]:.3g} counts now, those taken before {noises[0]:.3g}"
        )


def _other_mode(what: str) -> CalibrationError:
    return CalibrationError(
        f"dark frames {what}: the camera is in another mode, or light falls on it",
        "set the camera as it was, or start anew: delete the folder OUT.partial",
    )


def _noise_adu(summary: PixelSummary) -> float:
    return float(np.sqrt(summary.variance_adu2.mean(dtype=np.float64)))


def _noise_error(summary: PixelSummary) -> float:
    """Return the relative standard error of ``_noise_adu``, from the spread over the pixels."""
    variance = summary.variance_adu2.astype(np.float64)
    mean = float(variance.mean())
    return float(variance.std() / np.sqrt(variance.size)) / (2 * mean) if mean > 0 else 0.0
