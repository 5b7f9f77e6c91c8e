"""A stage is sent to numbers only, and a position that is no number is not where it was sent."""

from __future__ import annotations

import math
import threading
from typing import cast

import pytest

from livedenoise.core.errors import CameraError
from livedenoise.core.micromanager_config import MicroManagerCameraConfig
from livedenoise.core.microscope import Position
from livedenoise.micromanager.changes import Changes
from livedenoise.micromanager.core import Core
from livedenoise.micromanager.moving import go_xy, go_z
from livedenoise.micromanager.stage import Stage


class LostCore:
    """A core whose stage answers anything, and stands nowhere."""

    def __init__(self) -> None:
        self.sent: list[tuple[object, ...]] = []

    def text(self, name: str) -> str:
        return {"getXYStageDevice": "XY", "getFocusDevice": "Z"}[name]

    def number(self, _name: str, *_args: object) -> float:
        return math.nan

    def flag(self, _name: str, *_args: object) -> bool:
        return False

    def long_call(self, *args: object, limit_s: float) -> None:
        assert limit_s > 0
        self.sent.append(args)


def test_a_stage_that_stands_nowhere_has_not_arrived() -> None:
    core = cast("Core", LostCore())
    with pytest.raises(CameraError, match="at nan, nan um"):
        go_xy(core, "XY", (1.0, 2.0))
    with pytest.raises(CameraError, match="at nan um"):
        go_z(core, "Z", 3.0)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_stage_is_not_sent_to_what_is_no_number(bad: float) -> None:
    core = LostCore()
    for go in (
        lambda: go_xy(cast("Core", core), "XY", (0.0, bad)),
        lambda: go_z(cast("Core", core), "Z", bad),
    ):
        with pytest.raises(CameraError, match="finite coordinates"):
            go()
    assert not core.sent


@pytest.mark.parametrize("axis", ["x_um", "y_um", "z_um"])
def test_no_axis_moves_where_one_is_no_number(axis: str) -> None:
    core = LostCore()
    config = MicroManagerCameraConfig(kind="micromanager", backend="python")
    stage = Stage(cast("Core", core), cast("Changes", None), config)
    where = {"x_um": 1.0, "y_um": 2.0, "z_um": 3.0} | {axis: math.nan}
    with pytest.raises(CameraError, match="cannot move to"):
        stage.move(Position(**where), threading.Event())
    assert not core.sent
