"""What ``livedenoise check`` says of Micro-Manager: versions, camera, buffer, live view, the way.

Knows: in which order to look, how to look when the camera could not be opened. Must not know: who
asks, how findings are shown.

A core is only read: nothing is exposed, changed or stopped. What cannot be read becomes a finding
of its own, and the rest is still told.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from livedenoise.core.check_facts import Finding, Level
from livedenoise.core.clock import now_ns
from livedenoise.core.errors import CameraError
from livedenoise.core.micromanager_config import DEMO, MicroManagerCameraConfig
from livedenoise.micromanager import judging, packages
from livedenoise.micromanager.app_folder import find_app, folder_interface
from livedenoise.micromanager.core import Core, CoreVersions
from livedenoise.micromanager.look import Look, look_at
from livedenoise.micromanager.packages import Installed, installed, mend_interface, missing
from livedenoise.micromanager.processing import KNOWN, processing_in_use

_WRITTEN_FOR = "1.0"
"""Of pycromanager: its next one may call things by other names."""

_WORKING_SET_BYTES = 64 << 20
_COPY_S = 0.05

Findings = tuple[Finding, ...]


def inspect(core: Core, config: MicroManagerCameraConfig, *, period_ns: int = 0) -> Findings:
    """Return what there is to say of an open core and its camera.

    Parameters
    ----------
    core : Core
        The core; only read.
    config : MicroManagerCameraConfig
        What is asked of it.
    period_ns : int
        Time between frames where it was measured, 0 where not.
    """
    found = list(_told(config.name, "versions", lambda: _versions(core, config)))
    mmcore = core_version(core)
    if config.backend == "java":
        found += _told(config.name, "port", lambda: _port(core, config))
    try:
        look = look_at(core, config.device)
    except CameraError as error:
        return (*found, _failed(config.name, "micro-manager", error))
    fps = judging.rate_hz(config, look, period_ns)
    steps: list[tuple[str, Callable[[], list[Finding]]]] = [
        ("micro-manager", lambda: [judging.judge_camera(config.name, look)]),
        ("buffer", lambda: [judging.judge_buffer(config, look, fps)]),
        ("live view", lambda: [judging.judge_live(config, look, mmcore)]),
        ("readout", lambda: _some(judging.judge_readout(config, look, fps))),
        ("path", lambda: [_path(core, config, look, fps)]),
        ("own gain", lambda: _some(judging.judge_own_constants(config, look))),
        ("processing", lambda: _processing(core, config, look)),
    ]
    for what, step in steps:
        found += _told(config.name, what, step)
    return tuple(found)


def inspect_unopened(config: MicroManagerCameraConfig) -> Findings:
    """Return what there is to say when the camera did not open.

    A Micro-Manager that runs is asked again, without anything that the configuration changes: when
    it answers, everything ``inspect`` says is said. A hardware configuration is not loaded again:
    that takes up to a minute and starts every device anew. Why the camera did not open is for the
    caller to report.
    """
    found = installed()
    lacking = missing(found, backend=config.backend, demo=config.app_path == DEMO)
    versions = _packages(config, found, lacking)
    if config.backend == "java":
        return (versions, *([] if lacking else _unopened_java(config)))
    try:
        app = find_app(config.app_path)
    except CameraError as error:
        return (versions, _failed(config.name, "folder", error))
    return versions, _folder(config, app, found)


def copy_rate_mb_per_s(frame_bytes: int, seconds: float = _COPY_S) -> float:
    """Return the 1e6 bytes of frames a second that can be popped and put into a ring.

    Each frame is copied twice: out of the core's buffer into memory of its own, and into a slot.
    Buffer and slots are larger than a processor's cache, as in a run. What the core and the
    messages cost comes on top; ``tools/bench_micromanager.py`` measures all of it.
    """
    frame_bytes = max(1, frame_bytes)
    count = max(2, _WORKING_SET_BYTES // frame_bytes)
    buffer = np.ones((count, frame_bytes), np.uint8)
    slots = np.empty_like(buffer)
    slots[:] = 0
    done, began_ns = 0, now_ns()
    while (took_ns := now_ns() - began_ns) < seconds * 1e9 or done < 2:
        np.copyto(slots[done % count], buffer[done % count].copy())
        done += 1
    return done * frame_bytes * 1e3 / took_ns


def core_version(core: Core) -> str:
    """Return MMCore's version, "" when it does not tell."""
    try:
        return core.versions().mmcore
    except CameraError:
        # Reported as the finding "versions"; here it only decides about a remark.
        return ""


def _versions(core: Core, config: MicroManagerCameraConfig) -> list[Finding]:
    versions, there = core.versions(), installed()
    text = f"MMCore {versions.mmcore}, device interface {versions.device_interface}"
    text += f"; {there.text()}"
    if config.backend == "python":
        text += f"; adapters in {', '.join(core.texts('getDeviceAdapterSearchPaths'))}"
    level, mend = _other_pycromanager(versions, there)
    return [_finding(config.name, "versions", level, text, mend)]


def _other_pycromanager(versions: CoreVersions, there: Installed) -> tuple[Level, str]:
    version = versions.pycromanager or there.pycromanager
    if version.startswith(f"{_WRITTEN_FOR}."):
        return "ok", ""
    return "warning", f'written for pycromanager {_WRITTEN_FOR}: pip install "pycromanager==1.0.2"'


def _port(core: Core, config: MicroManagerCameraConfig) -> list[Finding]:
    from livedenoise.micromanager.java_core import JavaCore

    if not isinstance(core, JavaCore):
        return []
    where = f"{config.host}:{config.port}"
    version, round_trip_ms = core.versions().bridge, core.measure_round_trip_ms()
    return [judging.judge_port(config.name, where, version, round_trip_ms)]


def _path(core: Core, config: MicroManagerCameraConfig, look: Look, fps: float) -> Finding:
    if config.backend == "java":
        from livedenoise.micromanager.ceiling import OWN_QUESTIONS, TAP_QUESTIONS, bridge_ceiling

        questions = TAP_QUESTIONS if config.mode == "tap" else OWN_QUESTIONS
        rate = bridge_ceiling(core, look.frame_bytes, questions=questions)
        how = f"{questions} calls a frame, measured over the bridge"
        return judging.judge_path(config, look, fps, rate, how)
    rate = copy_rate_mb_per_s(look.frame_bytes)
    return judging.judge_path(
        config, look, fps, rate, "two copies of frames of this size, measured"
    )


def _processing(core: Core, config: MicroManagerCameraConfig, look: Look) -> list[Finding]:
    used = processing_in_use(core, look.camera)
    if used:
        return [judging.judge_processing(config.name, one) for one in used]
    text = "none of the pixel processing known of this adapter is on"
    if look.library not in KNOWN:
        text = f"which pixel processing {look.library} may do is not known here: see its properties"
    return [_finding(config.name, "processing", "ok", text)]


def _packages(config: MicroManagerCameraConfig, found: Installed, lacking: str) -> Finding:
    if not lacking:
        return _finding(config.name, "versions", "ok", found.text())
    extra = (
        packages.DEMO if config.app_path == DEMO and config.backend == "python" else packages.REAL
    )
    text = f"{found.text()}; not installed: {lacking}"
    return _finding(config.name, "versions", "problem", text, extra)


def _folder(config: MicroManagerCameraConfig, app: Path, found: Installed) -> Finding:
    theirs, ours = folder_interface(app), found.device_interface
    text = f"{app}, device interface {theirs or 'not told'}"
    if not theirs or not ours or theirs == ours:
        return _finding(config.name, "folder", "ok", text)
    text += f"; the installed pymmcore {found.pymmcore} has {ours}"
    mend = packages.DEMO if config.app_path == DEMO else mend_interface(theirs)
    return _finding(config.name, "folder", "problem", text, mend)


def _unopened_java(config: MicroManagerCameraConfig) -> Findings:
    from livedenoise.micromanager.java_core import connect_java
    from livedenoise.micromanager.java_port import PortError

    try:
        core = connect_java(config.host, config.port, config.call_timeout_s)
    except PortError as error:
        version = f", server version {error.state.version}" if error.state.version else ""
        text = f"{error.state.state}{version}: {error.message}"
        return (_finding(config.name, "port", "problem", text, error.hint),)
    except CameraError as error:
        return (_failed(config.name, "port", error),)
    try:
        return inspect(core, config)
    finally:
        core.close()


def _told(name: str, what: str, step: Callable[[], list[Finding]]) -> Iterator[Finding]:
    """Yield what a step found, or that it failed."""
    try:
        yield from step()
    except CameraError as error:
        yield _failed(name, what, error)


def _some(finding: Finding | None) -> list[Finding]:
    return [] if finding is None else [finding]


def _failed(name: str, what: str, error: CameraError) -> Finding:
    return _finding(name, what, "problem", error.message, error.hint)


def _finding(name: str, what: str, ok: Level, text: str, mend: str = "") -> Finding:
    return Finding(group="cameras", name=f"{name}: {what}", ok=ok, text=text, mend=mend)
