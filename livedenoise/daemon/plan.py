"""What each stage is told, worked out from the configuration and what the camera said. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from livedenoise.bus.doors import share_endpoint
from livedenoise.bus.ring import RingSpec, ring_spec
from livedenoise.core.calibration import Calibration, read_calibration
from livedenoise.core.camera import CameraInfo, Prepared
from livedenoise.core.config import CameraConfig, Config
from livedenoise.core.constants import CameraConstants
from livedenoise.core.errors import CalibrationError
from livedenoise.core.frame import frame_nbytes

ACQUIRE = "livedenoise.acquire.pump:AcquireStage"
INSPECT = "livedenoise.acquire.inspect:InspectStage"
"""Opens a camera for the preflight and describes it; never part of a run."""
DENOISE = "livedenoise.denoise.serve:DenoiseStage"
RECORD = "livedenoise.record.writer:RecordStage"
VIEW = "livedenoise.view.stage:ViewStage"
ENTRIES = {
    "acquire": ACQUIRE,
    "record": RECORD,
    "denoise": DENOISE,
    "record-clean": RECORD,
    "view": VIEW,
}
KINDS = tuple(ENTRIES)
"""Every kind of stage, in the order the stages of a line are brought up."""

_DEFAULT_AGE_NS = 1_000_000_000
_CLEAN_SHARE = 4
"""The clean ring gets a quarter of the raw ring's memory: nothing waits for it but a recorder."""


class CameraFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What an acquire stage reported."""

    info: CameraInfo
    prepared: Prepared


class Resolved(msgspec.Struct, frozen=True, kw_only=True):
    """Camera constants as used, and the calibration they came from."""

    constants: CameraConstants | None
    calibration: Calibration | None


def resolve_constants(config: CameraConfig, facts: CameraFacts) -> Resolved:
    """Choose the camera constants: calibration, then by hand, then the camera's own, else none.

    Raises
    ------
    CalibrationError
        If the calibration belongs to another sensor size; both are named.
    """
    if config.calibration is not None:
        calibration = read_calibration(config.calibration)
        sensor = facts.info.sensor
        if calibration.sensor != sensor:
            raise CalibrationError(
                f"{config.calibration}: made for a sensor of {calibration.sensor} (Y, X), "
                f"camera {config.name} has {sensor}",
                "calibrate this camera, or remove the key 'calibration'",
            )
        return Resolved(constants=calibration.constants, calibration=calibration)
    if config.constants is not None:
        values = config.constants.model_dump()
        return Resolved(constants=CameraConstants(**values, source="manual"), calibration=None)
    if config.estimate_constants:
        return Resolved(constants=None, calibration=None)
    constants = facts.prepared.constants or facts.info.constants
    return Resolved(constants=constants, calibration=None)


def raw_ring(config: Config, facts: CameraFacts) -> RingSpec:
    """Return the raw ring of a camera.

    Raises
    ------
    BusError
        If four frames do not fit the memory allowed.
    """
    return ring_spec(
        "raw",
        frame_nbytes(facts.prepared.max_shape, facts.prepared.dtype),
        memory_bytes=config.ring.memory_mb << 20,
        max_slots=config.ring.max_slots,
    )


def clean_ring(config: Config, facts: CameraFacts) -> RingSpec:
    """Return the clean ring of a camera."""
    frame_bytes = frame_nbytes(facts.prepared.max_shape, facts.prepared.dtype)
    allowed = config.ring.memory_mb << 20
    memory = min(allowed, max(allowed // _CLEAN_SHARE, 8 * (frame_bytes + 4096)))
    return ring_spec("clean", frame_bytes, memory_bytes=memory, max_slots=config.ring.max_slots)


def denoises_all(config: Config, facts: CameraFacts) -> bool:
    """Return whether the denoiser is owed every frame (a replay that waits for it)."""
    policy = config.denoise.policy
    return policy == "lossless" or (policy == "auto" and facts.prepared.lossless)


def denoise_wiring(
    config: Config,
    facts: CameraFacts,
    resolved: Resolved,
    *,
    raw: RingSpec,
    raw_endpoint: str,
    clean: RingSpec,
    clean_endpoint: str,
    package: Path | None,
    expect: Sequence[str] = (),
    after_seq: int = -1,
) -> dict[str, Any]:
    """Return the settings of a denoise stage.

    ``expect`` names LOSSLESS readers still to come; a predecessor published the frames up to
    ``after_seq``.
    """
    denoise, prepared = config.denoise, facts.prepared
    lossless = denoises_all(config, facts)
    period_ns = prepared.period_ns
    age_ns = int(period_ns * denoise.max_age_periods) or _DEFAULT_AGE_NS
    calibration = resolved.calibration
    return {
        "raw_ring": msgspec.to_builtins(raw),
        "raw_endpoint": raw_endpoint,
        "clean_ring": msgspec.to_builtins(clean),
        "clean_endpoint": clean_endpoint,
        "lease_timeout_ns": config.ring.lease_timeout_ms * 1_000_000,
        "lossless": lossless,
        "max_backlog": denoise.max_backlog,
        "max_age_ns": age_ns,
        "late_ns": 2 * period_ns or _DEFAULT_AGE_NS,
        "max_failures": denoise.max_failures,
        "expect": list(expect),
        "after_seq": after_seq,
        "serving": {
            "engine": denoise.engine,
            "package": "" if package is None else str(package),
            "precision": denoise.precision,
            "threads": denoise.threads,
            "shape": prepared.shape,
            "dtype": prepared.dtype,
            "bit_depth": prepared.bit_depth,
            "roi_x": prepared.roi[0],
            "roi_y": prepared.roi[1],
            "binning": prepared.binning,
            "constants": msgspec.to_builtins(resolved.constants),
            "calibration": "" if calibration is None else str(calibration.path),
            "estimate_frames": denoise.estimate_frames,
        },
    }


def record_wiring(
    config: Config,
    *,
    ring: RingSpec,
    endpoint: str,
    reader: str,
    stream: str,
    folder: Path,
    resume: bool = False,
    left_rings: Sequence[RingSpec] = (),
) -> dict[str, Any]:
    """Return the settings of a record stage; ``resume`` goes on in its predecessor's files."""
    return {
        "ring": msgspec.to_builtins(ring),
        "endpoint": endpoint,
        "reader": reader,
        "stream": stream,
        "folder": str(folder),
        "part_size_bytes": config.record.part_size_mb << 20,
        "fsync_every": config.record.fsync_every,
        "resume": resume,
        "left_rings": [msgspec.to_builtins(ring) for ring in left_rings],
    }


def view_wiring(
    config: Config,
    index: int,
    facts: CameraFacts,
    constants: CameraConstants | None,
    *,
    raw: RingSpec,
    raw_endpoint: str,
    clean: RingSpec | None,
    clean_endpoint: str,
) -> dict[str, Any]:
    """Return the settings of the view stage of the ``index``-th camera."""
    view, share, prepared = config.view, config.share, facts.prepared
    shared = share.enabled and share.frames != "none"
    return {
        "camera": facts.info.name,
        "raw_ring": msgspec.to_builtins(raw),
        "raw_endpoint": raw_endpoint,
        "clean_ring": msgspec.to_builtins(clean),
        "clean_endpoint": clean_endpoint,
        "constants": msgspec.to_builtins(constants),
        "quantum_efficiency": facts.info.quantum_efficiency,
        "bit_depth": prepared.bit_depth,
        "period_ns": prepared.period_ns,
        "sample_hz": view.sample_hz if view.enabled else 0.0,
        "window": view.window,
        "preview_px": view.preview_px,
        "share_endpoint": share_endpoint(config, index) if shared else "",
        "share_frames": share.frames,
        "share_max_hz": share.max_hz,
        "share_keys": "" if share.keys is None else str(share.keys),
    }
