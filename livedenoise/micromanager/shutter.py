"""The shutter of a microscope that is ours: closed unless it was told to open.

Knows: which device is the shutter, that a preset may choose another one or let the core move it by
itself again. Must not know: exposures.
"""

from __future__ import annotations

from livedenoise.core.errors import CameraError
from livedenoise.micromanager.changes import Changes
from livedenoise.micromanager.core import Core
from livedenoise.micromanager.devices import SHUTTER, require_device, wait_ready


class Shutter:
    """The light path of one core.

    Parameters
    ----------
    core, changes : Core, Changes
        Whose shutter.
    name : str
        Of the camera, for errors.
    device : str
        The shutter; "" follows the core's own choice.
    limit_s : float
        Longest wait for it.
    """

    def __init__(
        self, core: Core, changes: Changes, *, name: str, device: str, limit_s: float
    ) -> None:
        self._core = core
        self._changes = changes
        self._name = name
        self._device = device
        self._limit_s = limit_s
        self._label = ""
        self._is_open = False

    @property
    def exists(self) -> bool:
        """Return whether there is one, once ``hold`` was called."""
        return bool(self._label)

    def hold(self) -> None:
        """Take it from the core, and close it.

        Raises
        ------
        CameraError
            If the configured device is no shutter, or does not close.
        """
        if self._device:
            who = f"camera {self._name}: microscope.shutter"
            require_device(self._core, who, SHUTTER, self._device)
        self._changes.set_auto_shutter(is_on=False)
        self._label = self._chosen()
        if self._label:
            self._command(is_open=False)

    def follow(self) -> None:
        """Find out whether another shutter was chosen; it then is as the old one was.

        A preset may do that, and may let the core open the shutter by itself again.
        """
        self._changes.set_auto_shutter(is_on=False)
        chosen = self._chosen()
        if chosen == self._label:
            return
        was_open = self._is_open
        if self._label:
            self._command(is_open=False)
        self._label = chosen
        if chosen:
            self._command(is_open=was_open)

    def set(self, *, is_open: bool) -> None:
        """Open or close it, and wait for it.

        Raises
        ------
        CameraError
            If there is none, or it does not move.
        """
        if not self._label:
            raise CameraError(
                f"camera {self._name}: Micro-Manager has no shutter",
                "name one as camera.microscope.shutter, or as the core's shutter in the hardware "
                "configuration; without one, the plan's off value of the light makes it dark",
            )
        self._command(is_open=is_open)

    def _chosen(self) -> str:
        return self._device or self._core.text("getShutterDevice")

    def _command(self, *, is_open: bool) -> None:
        self._changes.set_shutter(self._label, is_open=is_open)
        wait_ready(self._core, self._label, self._limit_s)
        self._is_open = is_open
