"""The record stage: one stream, losslessly, to disk. Owed every frame; releases it once written.

A full disk ends the recording, not the run: the file is finalised, the error names what is missing,
and the stage ends so that the live view goes on without it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from livedenoise.bus import wire
from livedenoise.bus.backlog import Lossless
from livedenoise.bus.context import new_context
from livedenoise.bus.reader import FrameReader, Received
from livedenoise.bus.ring import Ring, RingSpec
from livedenoise.core.errors import BusError, RecordError
from livedenoise.core.metrics import StageMetrics
from livedenoise.record.recorder import Recorder
from livedenoise.supervise.stage import Pulse

_ATTACH_S = 10.0
_IDLE_S = 0.05


class RecordWiring(msgspec.Struct, frozen=True, kw_only=True):
    """What the stage is told once the ring exists."""

    ring: RingSpec
    endpoint: str
    reader: str
    stream: str
    folder: str
    part_size_bytes: int
    fsync_every: int


class RecordStage:
    """One stream to disk."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self._settings = settings
        self._context = new_context()
        self._metrics = StageMetrics()
        self._ring: Ring | None = None
        self._reader: FrameReader | None = None
        self._recorder: Recorder | None = None
        self._summary: dict[str, Any] = {}
        self._drain = False
        self._abort = False

    def open(self) -> dict[str, Any]:
        """Nothing to open before the ring is known."""
        return {}

    def configure(self, settings: dict[str, Any]) -> dict[str, Any]:
        """Create the files and attach the stream."""
        wiring = msgspec.convert(settings, RecordWiring)
        self._recorder = Recorder(
            Path(wiring.folder),
            wiring.stream,
            part_size_bytes=wiring.part_size_bytes,
            fsync_every=wiring.fsync_every,
        )
        self._ring = Ring.attach(wiring.ring)
        self._reader = FrameReader(
            self._ring, self._context, wiring.endpoint, wiring.reader, Lossless()
        )
        self._reader.attach(_ATTACH_S)
        return {}

    def idle(self) -> None:
        """Nobody attaches to a recorder."""

    def start(self, pulse: Pulse) -> None:
        """Nothing to start: frames come when the camera does."""

    def step(self) -> bool:
        """Write one frame; True while more may come.

        Raises
        ------
        RecordError
            If a frame cannot be written, or the recording cannot be closed cleanly.
        """
        if self._abort:
            return self._finish()
        reader, recorder = self._live_reader, self._live_recorder
        item = reader.read(_IDLE_S)
        match item:
            case wire.Gap(first=first, last=last, reason=reason):
                recorder.note_gap(first, last, reason)
            case Received():
                self._append(item)
            case None:
                if reader.ended or self._drain:
                    return self._finish()
        return True

    def on_order(self, message: wire.AnyMessage) -> None:
        """No other orders exist."""

    def request_stop(self, *, drain: bool) -> None:
        """End after what has arrived (the stream's writer may be dead), or at once."""
        self._drain = True
        self._abort = self._abort or not drain

    def metrics(self) -> dict[str, Any]:
        """Return frames and bytes written."""
        return self._metrics.snapshot()

    def facts(self) -> dict[str, Any]:
        """Return the recording's summary."""
        return self._summary

    def close(self) -> None:
        """Finalise, whatever happened; release socket and ring."""
        self._finalise()
        if self._reader is not None:
            self._reader.close()
        if self._ring is not None:
            self._ring.close()
        self._context.term()

    def _append(self, frame: Received) -> None:
        try:
            self._live_recorder.append(frame.header, frame.pixels)
        except RecordError:
            self._metrics.counts["failed"] += 1
            raise
        self._metrics.counts["recorded"] += 1
        self._metrics.counts["bytes"] += frame.header.nbytes
        # Only now: until here the ring is the only copy.
        self._live_reader.release(frame)

    def _finish(self) -> bool:
        self._finalise()
        if self._summary.get("error"):
            # Frames are on disk, but the recording around them is not whole: never silent.
            raise RecordError(self._summary["error"], "the frames written so far are readable")
        return False

    def _finalise(self) -> None:
        if self._recorder is not None:
            self._summary = msgspec.to_builtins(self._recorder.finalise())
            self._recorder = None

    @property
    def _live_reader(self) -> FrameReader:
        if self._reader is None:
            raise BusError("the record stage is not configured yet")
        return self._reader

    @property
    def _live_recorder(self) -> Recorder:
        if self._recorder is None:
            raise BusError("the recording is finalised")
        return self._recorder
