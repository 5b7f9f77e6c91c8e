"""Judging a camera of Micro-Manager and the way its frames take. Pure.

Knows: what was read, what the configuration asks, what is enough. Must not know: a core.
"""

from __future__ import annotations

import math

from livedenoise.core.check_facts import Finding, Level
from livedenoise.core.micromanager_config import MicroManagerCameraConfig
from livedenoise.micromanager.following import numbers_restart
from livedenoise.micromanager.java_port import EXPECTED_VERSION
from livedenoise.micromanager.look import Look
from livedenoise.micromanager.processing import Processing

ENOUGH_BUFFER_S = 2.0
"""The longest that a stop, a new part file or a busy disk keeps frames waiting."""

_IN_HAND = 1.1
_SLOW_CALL_MS = 5.0
_MIB = 1 << 20
_SAME = 0.05
_FASTER = (
    "a smaller camera.roi, camera.binning, or a longer exposure; or backend = "
    '"python"; or your own Acquisition(image_saved_fn=livedenoise.hook()) and kind = "network"'
)


def rate_hz(config: MicroManagerCameraConfig, look: Look, period_ns: int = 0) -> float:
    """Return the frames a second to expect, 0 for unknown.

    A measured period comes first, then the configuration, then the longest of exposure and
    readout: the camera delivers no faster.
    """
    if period_ns:
        return 1e9 / period_ns
    if config.rate_hz:
        return config.rate_hz
    exposures_ms = [event.exposure_us / 1000 for event in config.event] or [look.exposure_ms]
    if config.exposure_us:
        exposures_ms = [config.exposure_us / 1000]
    period_s = max(max(exposures_ms) * 1e-3, look.readout_s)
    return 1 / period_s if period_s > 0 else 0.0


def judge_camera(name: str, look: Look) -> Finding:
    """Say what the camera is and can do."""
    height, width = look.shape
    sensor = f"sensor {look.sensor[1]}x{look.sensor[0]}, " if look.sensor[0] else ""
    pixels = f"{look.pixel_type}, " if look.pixel_type else ""
    limits = look.exposure_limits_ms
    exposures = "no limits told" if limits is None else f"{limits[0]:g} to {limits[1]:g} ms"
    listed = f"{look.sequence_exposures}" if look.sequence_exposures else "none"
    channels = f", {look.channels} channels" if look.channels > 1 else ""
    text = (
        f"{look.camera} ({look.library} {look.device}: {look.description}), {sensor}"
        f"{width}x{height} at ({look.roi[0]}, {look.roi[1]}), {pixels}{look.bit_depth} bits; "
        f"exposure {look.exposure_ms:g} ms ({exposures}), exposures in a hardware sequence: "
        f"{listed}; binning {look.binning or '1'} of {', '.join(look.binnings) or '1'}{channels}"
    )
    if look.components != 1 or look.bytes_per_pixel not in (1, 2):
        mend = f'properties = {{ "{look.camera}" = {{ PixelType = "16bit" }} }} (or "8bit")'
        text += f"; {look.bytes_per_pixel} bytes and {look.components} components a pixel"
        return _finding(name, "micro-manager", "problem", text, mend)
    return _finding(name, "micro-manager", "ok", text)


def judge_buffer(config: MicroManagerCameraConfig, look: Look, fps: float) -> Finding:
    """Judge how long Micro-Manager's sequence buffer holds."""
    frames = look.buffer_mb * _MIB // max(1, look.frame_bytes)
    text = f"{look.buffer_mb} MiB, {frames} frames"
    if not fps:
        return _finding(config.name, "buffer", "ok", f"{text}; their rate is not known")
    seconds = frames / fps
    text += f", {seconds:.3g} s at {fps:.4g} fps"
    if seconds >= ENOUGH_BUFFER_S:
        return _finding(config.name, "buffer", "ok", text)
    needed = math.ceil(ENOUGH_BUFFER_S * fps * look.frame_bytes / _MIB / 64) * 64
    mend = f"buffer_mb = {needed} in the camera's section"
    if config.mode == "tap":
        mend = f"in Micro-Manager: Tools > Options > sequence buffer size, at least {needed} MB"
    text += f"; {ENOUGH_BUFFER_S:g} s are wanted"
    return _finding(config.name, "buffer", "warning", text, mend)


def judge_live(config: MicroManagerCameraConfig, look: Look, mmcore: str) -> Finding:
    """Judge whether a live view or a sequence runs."""
    name = config.name
    if config.mode == "own":
        if not look.running:
            return _finding(name, "live view", "ok", "none runs: the camera is free")
        text = "Micro-Manager runs a live view or a sequence: the camera cannot be started"
        return _finding(
            name, "live view", "problem", text, 'stop it there, or watch it with mode = "tap"'
        )
    if not look.running:
        mend = "press Live in Micro-Manager"
        return _finding(name, "live view", "warning", "none runs: there is nothing to tap", mend)
    text = "runs, and is only watched"
    if numbers_restart(mmcore):
        text += (
            f"; MMCore {mmcore or 'of unknown version'} counts frames anew whenever its buffer is "
            "full: what is lost at that moment is not counted (12.5 and newer go on counting)"
        )
    return _finding(name, "live view", "ok", text)


def judge_readout(config: MicroManagerCameraConfig, look: Look, fps: float) -> Finding | None:
    """Judge the frame period against the camera's readout; None where that is not known."""
    if not look.readout_s or not fps:
        return None
    period_ms, readout_ms = 1000 / fps, look.readout_s * 1000
    text = f"a frame every {period_ms:.4g} ms, the camera reads one out in {readout_ms:.4g} ms"
    if period_ms >= readout_ms * 0.99:
        return _finding(config.name, "readout", "ok", text)
    mend = f"rate_hz = {1 / look.readout_s:.4g} or less, or fewer rows (camera.roi)"
    return _finding(config.name, "readout", "warning", text, mend)


def judge_port(name: str, where: str, version: str, round_trip_ms: float) -> Finding:
    """Judge a Micro-Manager that answers."""
    text = f"{where} answers, server version {version}, {round_trip_ms:.3g} ms a call"
    if version != EXPECTED_VERSION:
        mend = f"a Micro-Manager nightly build whose server has version {EXPECTED_VERSION}"
        text += f"; {EXPECTED_VERSION} is expected"
        return _finding(name, "port", "warning", text, f"if a call fails: {mend}")
    if round_trip_ms > _SLOW_CALL_MS:
        mend = "end other programs, and scripts that use the same port"
        return _finding(name, "port", "warning", f"{text}: 1 ms is usual", mend)
    return _finding(name, "port", "ok", text)


def path_text(config: MicroManagerCameraConfig) -> str:
    """Return in words which way frames take."""
    if config.mode == "tap":
        return (
            "tap, java: frames of a live view are copied over Micro-Manager's bridge, none is taken"
        )
    if config.backend == "java":
        return "own, java: frames are popped over Micro-Manager's bridge"
    return "own, python: frames are popped in the camera's own process"


def judge_path(
    config: MicroManagerCameraConfig, look: Look, fps: float, ceiling_mb_per_s: float, how: str
) -> Finding:
    """Judge the way's ceiling against what the camera will deliver; MB are 1e6 bytes."""
    frame_mb = look.frame_bytes * 1e-6
    text = f"{path_text(config)}; ceiling {_plain(ceiling_mb_per_s)} MB/s"
    text += f" ({_plain(ceiling_mb_per_s / frame_mb)} fps; {how})"
    if not fps:
        return _finding(config.name, "path", "ok", f"{text}; the camera's rate is not known")
    needed = fps * frame_mb
    text += f", the camera delivers {_plain(needed)} MB/s ({fps:.4g} fps)"
    if ceiling_mb_per_s >= needed * _IN_HAND:
        return _finding(config.name, "path", "ok", text)
    if config.mode == "tap":
        text += ": frames in between are missed and counted"
    mend = _FASTER if config.backend == "java" else "a smaller camera.roi or camera.binning"
    return _finding(config.name, "path", "warning", text, mend)


def judge_processing(name: str, found: Processing) -> Finding:
    """Warn of pixel processing."""
    what = f"{found.device}: {found.property} = {found.value}" if found.property else found.device
    text = f"{what}: {found.does}; the noise is then not what the denoiser and calibration expect"
    return _finding(name, found.property or "image processor", "warning", text, found.mend)


def judge_own_constants(config: MicroManagerCameraConfig, look: Look) -> Finding | None:
    """Compare what the camera says of its gain with the configuration; None when it is silent."""
    gain, offset = look.own_gain_e_per_adu, look.own_offset_adu
    if not gain:
        return None
    text, told = f"the camera says {gain:.4g} e-/count", "..."
    if offset is not None:
        text, told = f"{text}, offset {offset:.4g}", f"{offset:.4g}"
    given = config.constants
    if given is not None:
        text += f"; set here: {given.gain_e_per_adu:.4g} e-/count, offset {given.offset_adu:.4g}"
        near = abs(given.gain_e_per_adu / gain - 1) <= _SAME
        near = near and (offset is None or abs(given.offset_adu - offset) <= 1)
    else:
        near = config.calibration is not None
    if near:
        return _finding(config.name, "own gain", "ok", text)
    mend = (
        f"constants = {{ gain_e_per_adu = {gain:.4g}, offset_adu = {told}, read_noise_e = ... }} "
        "in the camera's section, or calibrate it"
    )
    return _finding(config.name, "own gain", "warning", text, mend)


def _plain(value: float) -> str:
    """Return a number without an exponent."""
    return f"{value:.0f}" if value >= 1000 else f"{value:.4g}"


def _finding(camera: str, what: str, ok: Level, text: str, mend: str = "") -> Finding:
    return Finding(group="cameras", name=f"{camera}: {what}", ok=ok, text=text, mend=mend)
