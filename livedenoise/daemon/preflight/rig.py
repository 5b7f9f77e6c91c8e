"""Judging the rig: what the cameras said, their constants, the model and the engines. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from livedenoise.core.camera import CameraInfo, Prepared
from livedenoise.core.check_facts import Finding, Level
from livedenoise.core.constants import CameraConstants
from livedenoise.core.engine import EngineInfo
from livedenoise.core.errors import EXIT_CONFIG, LiveDenoiseError
from livedenoise.daemon.preflight.demand import Demand

Reasons = Sequence[tuple[str, str | None]]
"""Engines in the order they are tried, each with why it cannot serve, or None."""


def judge_camera(info: CameraInfo, prepared: Prepared, demand: Demand) -> Finding:
    """Say what a camera that opened and prepared will deliver."""
    (height, width), (sensor_y, sensor_x) = prepared.shape, info.sensor
    x, y = prepared.roi[:2]
    where = "full sensor" if prepared.shape == info.sensor else f"at ({x}, {y}) of the sensor"
    binning = f", binning {prepared.binning}" if prepared.binning > 1 else ""
    if prepared.period_ns:
        rate = f"{demand.fps:.4g} fps ({prepared.period_ns * 1e-6:.4g} ms), "
        rate += f"{demand.mb_per_s:.4g} MB/s"
    else:
        rate = "as fast as frames are taken" if prepared.lossless else "its rate is not known"
    text = (
        f"{info.kind}, sensor {sensor_x}x{sensor_y}; {width}x{height} {where}{binning}, "
        f"{prepared.dtype.lstrip('<|')} with {prepared.bit_depth} bits, {rate}"
    )
    return Finding(group="cameras", name=demand.camera, ok="ok", text=text)


def judge_failure(camera: str, error: LiveDenoiseError) -> Finding:
    """Say why a camera did not open or prepare."""
    usual = "check that it is switched on, connected and used by nobody else"
    if error.exit_code == EXIT_CONFIG:
        usual = "mend the camera's section of the configuration"
    mend = error.hint or usual
    return Finding(group="cameras", name=camera, ok="problem", text=error.message, mend=mend)


def judge_constants(
    camera: str, constants: CameraConstants | None, frames_to_estimate: int
) -> Finding:
    """Judge what is known of a camera's gain, offset and read noise."""
    mend = "calibrate the camera, or give camera.constants by hand"
    if constants is None:
        text = (
            f"unknown: estimated from the first {frames_to_estimate} frames, which pass through "
            "undenoised"
        )
        return _constants(camera, "warning", text, mend)
    values = (
        f"{constants.gain_e_per_adu:.4g} e-/count, offset {constants.offset_adu:.4g}, read noise "
        f"{constants.read_noise_e:.3g} e-"
    )
    if constants.excess_noise_factor > 1:
        values += f", excess noise factor {constants.excess_noise_factor:.3g}"
    text = f"{values} ({constants.source})"
    if constants.model == "gaussian":
        text += ": the noise does not follow the signal, electrons are not meant literally"
        return _constants(camera, "warning", text, mend)
    if constants.source == "estimated":
        return _constants(camera, "warning", text, mend)
    return _constants(camera, "ok", text)


def judge_model_bits(camera: str, calibration_bits: int, bit_depth: int) -> Finding | None:
    """Judge a calibration's bit depth against the camera's; None when they agree."""
    if calibration_bits == bit_depth:
        return None
    text = f"the calibration is for {calibration_bits} bits, the camera delivers {bit_depth}"
    return _constants(camera, "warning", text, "calibrate this camera in this mode")


def judge_engine(camera: str, asked: str, reasons: Reasons, model: str) -> Finding:
    """Say which engine will serve a camera and why others do not."""
    able = [name for name, reason in reasons if reason is None]
    refused = [f"{name}: {reason}" for name, reason in reasons if reason is not None]
    name = f"{camera}: engine"
    if not able:
        mend = "install an engine (pip install openvino), or mend what is named"
        return Finding(group="engine", name=name, ok="problem", text="; ".join(refused), mend=mend)
    chosen = able[0]
    text = f"{chosen}, model {model}" if model else chosen
    if asked == "auto":
        text += ", chosen by auto"
        text += f"; {', '.join(able[1:])} could serve too" if len(able) > 1 else ""
    first = next(index for index, (_, reason) in enumerate(reasons) if reason is None)
    passed = refused[:first]
    if passed:
        return Finding(
            group="engine", name=name, ok="warning", text=f"{text}; not {'; not '.join(passed)}"
        )
    if chosen == "identity":
        text += ": copies frames, nothing is denoised"
        return Finding(group="engine", name=name, ok="warning", text=text)
    return Finding(group="engine", name=name, ok="ok", text=text)


def judge_opened_engine(camera: str, info: EngineInfo) -> Finding:
    """Say what an engine that opened is."""
    cached = "from the cache" if info.cached else "compiled now, cached for the next start"
    model = f", model {info.model} ({info.model_hash})" if info.model else ""
    text = (
        f"{info.engine} {info.version} {info.precision}{model}, opened in {info.open_ms:.0f} ms "
        f"{cached}" + "".join(f"; {note}" for note in info.notes)
    )
    ok: Level = "warning" if info.notes else "ok"
    return Finding(group="engine", name=f"{camera}: opened", ok=ok, text=text)


def _constants(camera: str, ok: Level, text: str, mend: str = "") -> Finding:
    return Finding(group="cameras", name=f"{camera}: constants", ok=ok, text=text, mend=mend)
