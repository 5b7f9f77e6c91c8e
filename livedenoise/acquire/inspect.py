"""The stage of ``livedenoise check``: opens a camera as a run would, says what it found, ends.

Knows: the life cycle of cameras, and that some say more than their frames' size. Must not know:
rings, what is judged of the answer.

A camera that refuses is described all the same, where its kind allows: the refusal stands beside
what was found. Closing puts back what opening and preparing changed; a live view that somebody else
runs is neither stopped nor changed.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, Protocol, runtime_checkable

import msgspec

from livedenoise.acquire.cameras import make_camera, stream_request
from livedenoise.acquire.pump import AcquireSettings, camera_config
from livedenoise.bus import wire
from livedenoise.core.camera import Camera, CameraInfo, Prepared
from livedenoise.core.check_facts import Finding
from livedenoise.core.config import CameraConfig, MicroManagerCameraConfig
from livedenoise.core.errors import LiveDenoiseError
from livedenoise.supervise.stage import Pulse


@runtime_checkable
class TellsRefused(Protocol):
    """A camera that can be described in the state in which it refused to open.

    ``on_refused`` is called before anything is undone; ``findings`` may be asked then.
    """

    on_refused: Callable[[], None]

    def findings(self) -> tuple[Finding, ...]:
        """Return what there is to say."""
        ...


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """Why a camera did not open or prepare."""

    message: str
    hint: str
    exit_code: int


class Inspected(msgspec.Struct, frozen=True, kw_only=True):
    """What the stage says: ``info`` and ``prepared`` are there when nothing was refused."""

    info: CameraInfo | None = None
    prepared: Prepared | None = None
    findings: tuple[Finding, ...] = ()
    refusal: Refusal | None = None


def inspect_camera(camera: Camera, config: CameraConfig, n_frames: int | None) -> Inspected:
    """Open and prepare a camera, say what there is to say, and close it.

    Parameters
    ----------
    camera : Camera
        Not yet open. One with ``findings() -> tuple[Finding, ...]`` is asked for them once it was
        prepared, or refused to be: then they tell the state a run would have. One with
        ``on_refused`` as well (``TellsRefused``) is asked while it refuses to open.
    config : CameraConfig
        Its section.
    n_frames : int or None
        Of the run, None for until stopped.
    """
    with ExitStack() as undo:
        undo.callback(camera.close)
        found = _look(camera, config, n_frames)
        undo.pop_all()
    return msgspec.structs.replace(found, findings=(*found.findings, *_close(camera, config)))


def _look(camera: Camera, config: CameraConfig, n_frames: int | None) -> Inspected:
    told: list[Finding] = []
    if isinstance(camera, TellsRefused):
        camera.on_refused = lambda: told.extend(_findings(camera))
    try:
        info = camera.open()
    except LiveDenoiseError as error:
        return Inspected(refusal=_refusal(error), findings=tuple(told) or _unopened(config))
    try:
        prepared = camera.prepare(stream_request(config, n_frames))
    except LiveDenoiseError as error:
        return Inspected(info=info, refusal=_refusal(error), findings=_findings(camera))
    return Inspected(info=info, prepared=prepared, findings=_findings(camera))


def _close(camera: Camera, config: CameraConfig) -> tuple[Finding, ...]:
    """Close the camera before anything is said: what it could not put back is said too."""
    try:
        camera.close()
    except LiveDenoiseError as error:
        name = f"{config.name}: closed"
        return (
            Finding(group="cameras", name=name, ok="problem", text=error.message, mend=error.hint),
        )
    return ()


class InspectStage:
    """Opens a camera, and has nothing else to do.

    ``settings`` are those of the acquire stage.
    """

    def __init__(self, settings: dict[str, Any]) -> None:
        self._settings = msgspec.convert(settings, AcquireSettings)
        self._config = camera_config(self._settings.camera)
        self._camera = make_camera(self._config)

    def open(self) -> dict[str, Any]:
        """Return an ``Inspected`` as plain data."""
        inspected = inspect_camera(self._camera, self._config, self._settings.n_frames)
        found: dict[str, Any] = msgspec.to_builtins(inspected)
        return found

    def configure(self, settings: dict[str, Any]) -> dict[str, Any]:  # noqa: ARG002
        """Take nothing: it is never configured."""
        return {}

    def idle(self) -> None:
        """Wait to be ended."""

    def start(self, pulse: Pulse) -> None:
        """Have nothing to start."""

    def step(self) -> bool:
        """Be over."""
        return False

    def on_order(self, message: wire.AnyMessage) -> None:
        """Take no orders."""

    def request_stop(self, *, drain: bool) -> None:
        """Go on to the end: opening bounds itself, and the process may be ended."""

    def metrics(self) -> dict[str, Any]:
        """Return nothing."""
        return {}

    def facts(self) -> dict[str, Any]:
        """Return nothing: what was found was said on opening."""
        return {}

    def close(self) -> None:
        """Close the camera, where opening it was interrupted."""
        self._camera.close()


def _findings(camera: Camera) -> tuple[Finding, ...]:
    ask = getattr(camera, "findings", None)
    return () if ask is None else tuple(ask())


def _unopened(config: CameraConfig) -> tuple[Finding, ...]:
    if not isinstance(config, MicroManagerCameraConfig):
        return ()
    from livedenoise.micromanager.inspecting import inspect_unopened

    return inspect_unopened(config)


def _refusal(error: LiveDenoiseError) -> Refusal:
    return Refusal(message=error.message, hint=error.hint, exit_code=error.exit_code)
