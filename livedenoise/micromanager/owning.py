"""Having a core to oneself: reaching it, making sure that nobody else runs the camera, leaving it.

Knows: what of that belongs to which backend, and in which order a core is left. Must not know: how
frames are taken, what is made of them.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack

from livedenoise.core.errors import CameraError
from livedenoise.core.frame import frame_nbytes
from livedenoise.core.micromanager_config import MicroManagerCameraConfig
from livedenoise.micromanager.changes import Changes
from livedenoise.micromanager.core import Core, CoreGoneError
from livedenoise.micromanager.setup import Format

LIVE_VIEW_RUNS = "Micro-Manager runs a live view or a sequence"


def connect(config: MicroManagerCameraConfig) -> Core:
    """Start the core or attach to it.

    Raises
    ------
    CameraError
        If Micro-Manager cannot be had.
    """
    if config.backend == "java":
        from livedenoise.micromanager.java_core import connect_java

        return connect_java(config.host, config.port, config.call_timeout_s)
    from livedenoise.micromanager.app_folder import find_app
    from livedenoise.micromanager.python_core import DEFAULT_BUFFER_MB, start_python

    app = find_app(config.app_path)
    if config.config_file is None:
        raise CameraError(
            f"camera {config.name}: no hardware configuration is named",
            'set camera.config_file = "....cfg", the file Micro-Manager is started with',
        )
    # A file beside the configuration was found when that was read.
    return start_python(
        app, app / config.config_file, buffer_mb=config.buffer_mb or DEFAULT_BUFFER_MB
    )


def require_idle(core: Core, changes: Changes, name: str) -> None:
    """Make sure that no sequence runs; one that a killed predecessor left is stopped.

    Raises
    ------
    CameraError
        If somebody runs a live view or a sequence.
    """
    if not core.running():
        return
    if changes.inherited:
        # Our own predecessor's: it was killed, and its frames wait for nobody.
        limit_s = 5.0 + 1.2e-3 * core.exposure_ms()
        core.long_call("stopSequenceAcquisition", limit_s=limit_s)
        changes.inherited = False
        return
    raise CameraError(
        f"camera {name}: {LIVE_VIEW_RUNS}",
        'stop it there, or watch it with camera.mode = "tap"',
    )


def camera_still(core: Core, name: str, wanted: str) -> str:
    """Return the core's camera; an error when it is not ``wanted`` ("" for any).

    A preset may choose another one, and so may somebody at the window.
    """
    found = core.camera()
    if wanted and found != wanted:
        raise CameraError(
            f"camera {name}: the core's camera is {found}, {wanted} is meant",
            "set camera.device to it, or take the preset that changes it out of camera.presets",
        )
    return found


def where_from(core: Core, config: MicroManagerCameraConfig, label: str) -> list[str]:
    """Return what people should know about where the frames come from."""
    library = core.text("getDeviceLibrary", label)
    notes = [f"{label} ({library}) through Micro-Manager, {config.backend} backend"]
    if config.backend == "java" and config.config_file is not None:
        notes.append(f"{config.config_file.name} is not loaded: Micro-Manager has its own")
    return notes


def buffer_frames(core: Core, form: Format) -> int:
    """Return how many frames the core's buffer holds."""
    footprint = int(core.number("getCircularBufferMemoryFootprint")) << 20
    return max(1, footprint // frame_nbytes(form.shape, form.dtype))


def leave(core: Core, changes: Changes, finish: Callable[[], None]) -> None:
    """Stop the camera and put back what was changed; with one more try where nobody answered.

    Raises
    ------
    CameraError
        If the camera does not stop, or something cannot be put back; everything else is.
    """
    try:
        _finish_and_restore(changes, finish)
    except CoreGoneError as error:
        # One slow answer gave the connection up; Micro-Manager itself may be well.
        _reach_again(core, error)
        _finish_and_restore(changes, finish)


def _reach_again(core: Core, error: CoreGoneError) -> None:
    """Reach the core once more; what was not restored is in the error when that fails."""
    try:
        core.reconnect()
    except CameraError as lost:
        raise CoreGoneError(f"{error.message} ({lost.message})", error.hint) from lost


def _finish_and_restore(changes: Changes, finish: Callable[[], None]) -> None:
    with ExitStack() as steps:
        steps.callback(changes.restore)
        finish()
