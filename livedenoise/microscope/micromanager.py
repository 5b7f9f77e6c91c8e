"""A microscope that Micro-Manager drives (``core.microscope.Microscope``), both backends.

Knows: the life cycle, which command goes to which device. Must not know: how calls reach the core,
how frames are taken out of it (``micromanager_exposing``).

While it is open the automatic shutter is off and the shutter is closed unless ``set_shutter``
opened it. Everything that is changed in Micro-Manager is put back by ``close``, also after an
error; with a journal also by the successor of a killed process. A shutter is left closed.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from livedenoise.core.errors import CameraError
from livedenoise.core.micromanager_config import MicroManagerCameraConfig
from livedenoise.core.microscope import Exposed, Microscope, MicroscopeInfo, Position, Setting
from livedenoise.micromanager.changes import Changes
from livedenoise.micromanager.core import Core
from livedenoise.micromanager.owning import connect, leave
from livedenoise.micromanager.setup import (
    apply_preset,
    apply_property,
    presets_of,
    read_property,
)
from livedenoise.microscope.micromanager_rig import Rig, set_up


def micromanager_microscope(
    config: MicroManagerCameraConfig, *, journal: Path | None = None
) -> Microscope:
    """Return the microscope of a configuration, not yet open; with its simulated sensor, if any."""
    scope = MicroManagerMicroscope(config, journal=journal)
    if config.microscope.sensor is None:
        return scope
    from livedenoise.microscope.overlay import SensorOverlay

    return SensorOverlay(scope, config.microscope, config.microscope.sensor)


class MicroManagerMicroscope:
    """A microscope of Micro-Manager's core: ours (python) or that of a running window (java).

    Parameters
    ----------
    config : MicroManagerCameraConfig
        With ``mode = "own"``.
    journal : Path, optional
        File that says what is changed, so that a successor can put it back. Of use where the core
        outlives this process (java), and used there only.
    """

    def __init__(self, config: MicroManagerCameraConfig, *, journal: Path | None = None) -> None:
        self._config = config
        self._journal = journal if config.backend == "java" else None
        self._core: Core | None = None
        self._changes: Changes | None = None
        self._rig: Rig | None = None
        self._commands: set[threading.Event] = set()

    def open(self) -> MicroscopeInfo:
        """Start the core or attach to it, darken, apply the configuration, describe.

        Raises
        ------
        CameraError
            If Micro-Manager, the camera or a device cannot be had, a live view runs, a setting is
            refused. What was changed until then is put back.
        """
        config = self._config
        if self._core is not None:
            raise CameraError(f"camera {config.name} is open already", "close it first")
        if config.mode != "own":
            raise CameraError(
                f'camera {config.name}: mode = "{config.mode}" only watches',
                'exposures on command need camera.mode = "own"',
            )
        with ExitStack() as undo:
            core = connect(config)
            undo.callback(self.close)
            self._core = core
            changes = Changes(core, self._journal)
            self._changes = changes
            self._rig = set_up(core, changes, config)
            undo.pop_all()
        return self._rig.info

    def expose(self, exposure_us: int, n_frames: int = 1) -> Iterator[Exposed]:
        """See ``Microscope.expose``."""
        rig = self._need("expose")
        self._check_exposure(rig.info, exposure_us, n_frames)
        with self._command() as aborted:
            yield from rig.exposing.frames(exposure_us, n_frames, aborted)

    def set_shutter(self, *, is_open: bool) -> None:
        """See ``Microscope.set_shutter``."""
        self._need("set_shutter").shutter.set(is_open=is_open)

    def set_properties(self, settings: Sequence[Setting]) -> None:
        """See ``Microscope.set_properties``."""
        rig = self._need("set_properties")
        for one in settings:
            who = f"camera {self._config.name}"
            apply_property(rig.core, rig.changes, who, (one.device, one.property), one.value)
        devices = {one.device for one in settings}
        if "Core" in devices:
            rig.shutter.follow()
        if devices & {"Core", rig.camera}:
            # The exposure may be one of its properties.
            rig.exposing.forget()

    def read_property(self, device: str, name: str) -> str:
        """See ``Microscope.read_property``."""
        rig = self._need("read_property")
        return read_property(rig.core, f"camera {self._config.name}", (device, name))

    def presets(self, group: str) -> tuple[str, ...]:
        """See ``Microscope.presets``."""
        return presets_of(self._need("presets").core, group)

    def set_preset(self, group: str, preset: str) -> None:
        """See ``Microscope.set_preset``. A shutter that it chooses is as the one before was."""
        rig = self._need("set_preset")
        apply_preset(rig.core, rig.changes, self._config.name, group, preset)
        rig.shutter.follow()
        rig.exposing.forget()

    def move(self, position: Position) -> None:
        """See ``Microscope.move``; x and y before z."""
        rig = self._need("move")
        with self._command() as aborted:
            if position.z_um is not None:
                rig.autofocus.let_go()
            rig.stage.move(position, aborted)

    def position(self) -> Position:
        """See ``Microscope.position``."""
        return self._need("position").stage.position()

    def autofocus(self, device: str = "", offset_um: float | None = None) -> float:
        """See ``Microscope.autofocus``."""
        rig = self._need("autofocus")
        with self._command() as aborted:
            return rig.autofocus.focus(device, offset_um, aborted)

    def abort(self) -> None:
        """End the command in progress with an error; nothing when there is none. Any thread."""
        commands, core = list(self._commands), self._core
        for command in commands:
            command.set()
        if commands and core is not None:
            core.interrupt()

    def close(self) -> None:
        """Close the shutter, put back what was changed, let go of the core. Idempotent.

        Raises
        ------
        CameraError
            If something could not be put back; everything else was.
        """
        core, self._core = self._core, None
        changes, self._changes = self._changes, None
        rig, self._rig = self._rig, None
        for command in list(self._commands):
            command.set()
        with ExitStack() as steps:
            if core is not None:
                steps.callback(core.close)
            if core is not None and changes is not None:
                steps.callback(leave, core, changes, lambda: _finish(changes, rig))

    def _check_exposure(self, info: MicroscopeInfo, exposure_us: int, n_frames: int) -> None:
        low_us, high_us = max(1, info.exposure_min_us), info.exposure_max_us
        if n_frames < 1:
            raise CameraError(
                f"camera {self._config.name}: {n_frames} frames were asked for, the least is 1",
                "ask for at least one frame",
            )
        if exposure_us < low_us or (high_us and exposure_us > high_us):
            limits = f"{low_us} to {high_us}" if high_us else f"at least {low_us}"
            raise CameraError(
                f"camera {self._config.name}: exposure_us = {exposure_us} was asked for, the "
                f"camera makes {limits}",
                "ask for an exposure within its limits",
            )

    @contextmanager
    def _command(self) -> Iterator[threading.Event]:
        """Let ``abort`` and ``close`` end what is done meanwhile."""
        aborted = threading.Event()
        self._commands.add(aborted)
        try:
            yield aborted
        finally:
            self._commands.discard(aborted)

    def _need(self, step: str) -> Rig:
        if self._rig is None:
            raise CameraError(
                f"camera {self._config.name}: {step} before open",
                "the order is open, commands, close",
            )
        return self._rig


def _finish(changes: Changes, rig: Rig | None) -> None:
    """Darken at once, then wait for an exposure that was ended early."""
    with ExitStack() as steps:
        if rig is not None:
            steps.callback(rig.exposing.finish)
        changes.darken()
