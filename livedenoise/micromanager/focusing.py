"""Focusing by an autofocus device: once, or by locking a continuous focus.

Knows: the core's calls for both, what has to be let go before the focus drive moves. Must not know:
where and when it is focused.

Once is ``fullFocus``, which hardware (Nikon PFS, ASI CRISP, Olympus ZDC) and software devices have.
A lock is held until z is moved: nobody can send a drive somewhere that is held elsewhere.
"""

from __future__ import annotations

import threading

from livedenoise.core.clock import now_ns
from livedenoise.core.errors import CameraError
from livedenoise.core.micromanager_config import MicroManagerCameraConfig
from livedenoise.micromanager.changes import Changes
from livedenoise.micromanager.core import Core, CoreGoneError
from livedenoise.micromanager.devices import AUTOFOCUS, require_device, wait_ready
from livedenoise.micromanager.moving import z_of
from livedenoise.micromanager.stage import Stage

_LOOK_S = 0.02


class Autofocus:
    """The autofocus devices of one core.

    Parameters
    ----------
    core, changes : Core, Changes
        Whose devices.
    config : MicroManagerCameraConfig
        Names the device, says whether it locks.
    stage : Stage
        Whose focus drive it moves.

    Attributes
    ----------
    device : str
        Label of the one to use by default, "" where there is none.

    Raises
    ------
    CameraError
        If the configured device does not exist.
    """

    def __init__(
        self, core: Core, changes: Changes, config: MicroManagerCameraConfig, stage: Stage
    ) -> None:
        scope = config.microscope
        self._core = core
        self._changes = changes
        self._stage = stage
        self._who = f"camera {config.name}"
        self._locks = scope.autofocus_lock
        self._limit_s = scope.move_timeout_s
        if scope.autofocus:
            who = f"{self._who}: microscope.autofocus"
            require_device(core, who, AUTOFOCUS, scope.autofocus)
        self.device = scope.autofocus or core.text("getAutoFocusDevice")
        self._lock_is_on = core.flag("isContinuousFocusEnabled")

    @property
    def exists(self) -> bool:
        """Return whether there is an autofocus device and a focus drive."""
        return bool(self.device and self._stage.focus)

    def focus(self, device: str, offset_um: float | None, aborted: threading.Event) -> float:
        """Focus and return where the focus drive then stands, in micrometres.

        Parameters
        ----------
        device : str
            Autofocus device, "" for the default one.
        offset_um : float, optional
            Offset of the device, in its own unit (micrometres for most).

        Raises
        ------
        CameraError
            If there is no such device, or it does not find the focus.
        """
        label = self._chosen(device)
        drive = self._stage.require_focus()
        self._changes.note_z(drive)
        self._changes.set_autofocus(label)
        try:
            if offset_um is not None:
                self._changes.set_autofocus_offset(label, offset_um)
            if self._locks:
                self._lock(label, aborted)
            else:
                self._once(label)
        except CoreGoneError:
            raise
        except CameraError as error:
            raise CameraError(
                f"{self._who}: {label} did not focus: {error.message}",
                "try it in Micro-Manager's own window, with the same sample and light",
            ) from error
        wait_ready(self._core, drive, self._limit_s, aborted)
        return z_of(self._core, drive)

    def let_go(self) -> None:
        """Release a focus lock, ours or one that was found, before the focus drive is moved."""
        if self._lock_is_on:
            chosen = self._core.text("getAutoFocusDevice")
            self._changes.set_continuous_focus(chosen, is_on=False)
            self._lock_is_on = False

    def _chosen(self, device: str) -> str:
        if device and device != self.device:
            return require_device(self._core, f"{self._who}: autofocus", AUTOFOCUS, device)
        if not self.device:
            raise CameraError(
                f"{self._who}: Micro-Manager has no autofocus device",
                "name one as camera.microscope.autofocus, or take autofocus out of the plan",
            )
        return self.device

    def _once(self, label: str) -> None:
        # A lock that somebody left on would fight it.
        self.let_go()
        self._core.long_call("fullFocus", limit_s=self._limit_s)
        wait_ready(self._core, label, self._limit_s)

    def _lock(self, label: str, aborted: threading.Event) -> None:
        self._lock_is_on = True
        self._changes.set_continuous_focus(label, is_on=True)
        deadline_ns = now_ns() + int(self._limit_s * 1e9)
        while not self._core.flag("isContinuousFocusLocked"):
            if now_ns() > deadline_ns:
                self.let_go()
                raise CameraError(f"no lock within {self._limit_s:g} s")
            if aborted.wait(_LOOK_S):
                raise CameraError("waiting for its lock was aborted")
