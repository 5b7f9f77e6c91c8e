"""XY stage and focus drive of one microscope.

Knows: which devices they are, that an axis which is not named stays. Must not know: how a move is
commanded and checked (``moving``), why it is made.
"""

from __future__ import annotations

import threading
from math import isfinite

from livedenoise.core.errors import CameraError
from livedenoise.core.micromanager_config import MicroManagerCameraConfig
from livedenoise.core.microscope import Position
from livedenoise.micromanager.changes import Changes
from livedenoise.micromanager.core import Core
from livedenoise.micromanager.devices import STAGE, XY_STAGE, require_device
from livedenoise.micromanager.moving import MoveLimits, xy_of, z_of


class Stage:
    """The axes of one core. Which devices they are is settled once.

    Parameters
    ----------
    core, changes : Core, Changes
        Whose devices.
    config : MicroManagerCameraConfig
        Names devices and limits.

    Attributes
    ----------
    xy, focus : str
        Labels, "" where there is none.

    Raises
    ------
    CameraError
        If a configured device does not exist.
    """

    def __init__(self, core: Core, changes: Changes, config: MicroManagerCameraConfig) -> None:
        scope = config.microscope
        self._core = core
        self._changes = changes
        self._name = config.name
        self._limits = MoveLimits(scope.move_timeout_s, scope.xy_tolerance_um, scope.z_tolerance_um)
        who = f"camera {config.name}: microscope"
        if scope.xy_stage:
            require_device(core, f"{who}.xy_stage", XY_STAGE, scope.xy_stage)
        if scope.focus:
            require_device(core, f"{who}.focus", STAGE, scope.focus)
        self.xy = scope.xy_stage or core.text("getXYStageDevice")
        self.focus = scope.focus or core.text("getFocusDevice")

    def position(self) -> Position:
        """Return where the stage says it is; None for an axis that is not there."""
        x_um, y_um = xy_of(self._core, self.xy) if self.xy else (None, None)
        z_um = z_of(self._core, self.focus) if self.focus else None
        return Position(x_um=x_um, y_um=y_um, z_um=z_um)

    def move(self, position: Position, aborted: threading.Event) -> None:
        """Move the axes that are named, x and y before z, and wait until they are there.

        Raises
        ------
        CameraError
            If a coordinate is not finite (nothing moves), there is no such axis, or it does not
            arrive.
        """
        axes = (position.x_um, position.y_um, position.z_um)
        if not all(value is None or isfinite(value) for value in axes):
            # Before anything moves: not x and y first, and z refused then.
            raise CameraError(
                f"camera {self._name}: cannot move to {position}",
                "give finite coordinates in micrometres",
            )
        if position.x_um is not None or position.y_um is not None:
            self._move_xy(position.x_um, position.y_um, aborted)
        if position.z_um is not None:
            focus = self.require_focus()
            self._changes.move_z(focus, position.z_um, self._limits, aborted)

    def require_focus(self) -> str:
        """Return the focus drive.

        Raises
        ------
        CameraError
            If there is none.
        """
        if not self.focus:
            raise CameraError(
                f"camera {self._name}: Micro-Manager has no focus drive",
                "name one as camera.microscope.focus, or as the core's focus in the hardware "
                "configuration",
            )
        return self.focus

    def _move_xy(self, x_um: float | None, y_um: float | None, aborted: threading.Event) -> None:
        if not self.xy:
            raise CameraError(
                f"camera {self._name}: Micro-Manager has no XY stage",
                "name one as camera.microscope.xy_stage, or as the core's XY stage in the "
                "hardware configuration",
            )
        if x_um is None or y_um is None:
            here = xy_of(self._core, self.xy)
            x_um, y_um = here[0] if x_um is None else x_um, here[1] if y_um is None else y_um
        self._changes.move_xy(self.xy, (x_um, y_um), self._limits, aborted)
