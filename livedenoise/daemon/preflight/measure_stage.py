"""A stage that measures when it is opened and says what it found: the measuring child's entry.

Runs as a child process like any stage, with the same environment, so that copying and computing go
as they will in a run. Knows: which measurement was asked for. Must not know: what is enough.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from livedenoise.bus import wire
from livedenoise.bus.ring import RingSpec
from livedenoise.daemon.preflight.frames import FrameKind
from livedenoise.supervise.stage import Pulse

MEASURE = "livedenoise.daemon.preflight.measure_stage:MeasureStage"


class MeasureStage:
    """Measures on opening; has nothing else to do.

    ``settings`` holds ``what`` (``ring``, ``recorder`` or ``engine``), ``kind`` (a FrameKind),
    ``seconds`` (how long to go on at most) and what each measurement needs.
    """

    def __init__(self, settings: dict[str, Any]) -> None:
        self._settings = settings

    def open(self) -> dict[str, Any]:
        """Measure; return what was found as plain data."""
        settings = self._settings
        kind = msgspec.convert(settings["kind"], FrameKind)
        seconds = float(settings["seconds"])
        match settings["what"]:
            case "ring":
                from livedenoise.daemon.preflight.measure_ring import measure_ring

                spec = msgspec.convert(settings["ring"], RingSpec)
                return measure_ring(kind, spec, settings["endpoint"], seconds)
            case "recorder":
                from livedenoise.daemon.preflight.measure_recorder import measure_recorder

                return measure_recorder(kind, Path(settings["folder"]), seconds, settings)
            case _:
                from livedenoise.daemon.preflight.measure_engine import measure_engine

                return measure_engine(kind, settings["serving"], seconds)

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
        """Go on to the end: measurements bound themselves, and the process may be ended."""

    def metrics(self) -> dict[str, Any]:
        """Return nothing."""
        return {}

    def facts(self) -> dict[str, Any]:
        """Return nothing: what was found was said on opening."""
        return {}

    def close(self) -> None:
        """Keep nothing open."""
