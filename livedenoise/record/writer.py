"""The record stage: one stream, losslessly, to disk. Owed every frame; releases it once written.

A full disk ends the recording, not the run: the file is finalised, the error names what is missing,
and the stage ends so that the live view goes on without it. A killed stage has a successor
(``resume``) that goes on in its recording. When the stream's writer is replaced the rest of the old
ring is read, then the new one; the numbers between the two become a gap with a reason.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from livedenoise.bus import wire
from livedenoise.bus.backlog import Lossless
from livedenoise.bus.context import new_context
from livedenoise.bus.followed import FollowedStream
from livedenoise.bus.reader import Received
from livedenoise.bus.rescue import frames_left
from livedenoise.bus.ring import Ring, RingSpec
from livedenoise.core.clock import now_ns
from livedenoise.core.errors import BusError, RecordError
from livedenoise.core.log import get_logger
from livedenoise.core.losses import REPLACED
from livedenoise.core.metrics import StageMetrics
from livedenoise.record.recorder import Recorder
from livedenoise.supervise.stage import Pulse, no_pulse

_ATTACH_S = 10.0
_IDLE_S = 0.05
_DRAIN_SWITCH_NS = 2_000_000_000
"""How long a stop waits for a new writer that was announced and does not answer."""

_FINALISE_S = 60.0
"""Longest silence while the many million frames of a resumed recording are counted at its end."""

_log = get_logger(__name__)


class RecordWiring(msgspec.Struct, frozen=True, kw_only=True):
    """What the stage is told once the ring exists.

    ``resume`` says that a killed predecessor may have begun this recording; ``left_rings`` are
    rings of killed camera processes that may hold frames it had not written yet.
    """

    ring: RingSpec
    endpoint: str
    reader: str
    stream: str
    folder: str
    part_size_bytes: int
    fsync_every: int
    resume: bool = False
    left_rings: tuple[RingSpec, ...] = ()


class RecordStage:
    """One stream to disk."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self._settings = settings
        self._context = new_context()
        self._metrics = StageMetrics()
        self._stream_name = ""
        self._stream: FollowedStream | None = None
        self._recorder: Recorder | None = None
        self._summary: dict[str, Any] = {}
        self._seam_reasons: set[str] = set()
        self._pulse: Pulse = no_pulse
        self._drain_ns = 0
        self._abort = False

    def open(self) -> dict[str, Any]:
        """Nothing to open before the ring is known."""
        return {}

    def configure(self, settings: dict[str, Any]) -> dict[str, Any]:
        """Create the files, or go on in a predecessor's, and attach the stream."""
        wiring = msgspec.convert(settings, RecordWiring)
        begin = Recorder.resume if wiring.resume else Recorder
        self._recorder = begin(
            Path(wiring.folder),
            wiring.stream,
            part_size_bytes=wiring.part_size_bytes,
            fsync_every=wiring.fsync_every,
        )
        for note in self._recorder.notes:
            _log.warning("%s: %s", wiring.folder, note)
        self._metrics.gauges["last_seq"] = self._recorder.next_seq - 1
        self._stream_name = wiring.stream
        for spec in wiring.left_rings:
            self._rescue(spec)
        if wiring.resume:
            # A stream that is owed has no hole nobody told of, unless its writer changed meanwhile.
            self._seam_reasons.add(REPLACED[wiring.stream])
        self._stream = FollowedStream(self._context, wiring.reader, Lossless)
        after_seq = self._recorder.next_seq - 1
        self._stream.open(wiring.ring, wiring.endpoint, _ATTACH_S, after_seq=after_seq)
        return {}

    def idle(self) -> None:
        """Nobody attaches to a recorder."""

    def start(self, pulse: Pulse) -> None:
        """Nothing to start: frames come when the camera does."""
        self._pulse = pulse

    def step(self) -> bool:
        """Write one frame; True while more may come.

        Raises
        ------
        RecordError
            If a frame cannot be written, or the recording cannot be closed cleanly.
        BusError
            If a new writer of the stream never answers.
        """
        if self._abort:
            return self._finish()
        stream = self._live_stream
        reattached = stream.reattached
        item = stream.read(_IDLE_S)
        if stream.reattached != reattached:
            self._metrics.counts["reattached"] += stream.reattached - reattached
            self._seam_reasons.add(stream.reason)
            if item is None:
                # What the new writer owes is on its way: even a stop waits for it.
                return True
        match item:
            case wire.Gap(first=first, last=last, reason=reason):
                self._close_seam(first)
                self._live_recorder.note_gap(first, last, reason)
            case Received():
                if stream.is_rescued(item):
                    # What was to be told before it died with its writer.
                    self._seam_reasons.add(REPLACED[self._stream_name])
                self._close_seam(item.header.seq)
                self._append(item)
            case None:
                # A killed writer may have left frames it told nobody of.
                if self._over() and (stream.ended or not stream.rescue()):
                    return self._finish()
        return True

    def on_order(self, message: wire.AnyMessage) -> None:
        """Follow the stream's new writer."""
        if isinstance(message, wire.Reattach) and message.stream == self._stream_name:
            self._live_stream.replace(message)

    def request_stop(self, *, drain: bool) -> None:
        """End after what has arrived (the stream's writer may be dead), or at once."""
        self._drain_ns = self._drain_ns or now_ns()
        self._abort = self._abort or not drain

    def metrics(self) -> dict[str, Any]:
        """Return frames and bytes written, and how many frames wait."""
        if self._stream is not None:
            self._metrics.gauges["backlog"] = self._stream.backlog
            self._metrics.gauges["ring_epoch"] = self._stream.ring_epoch
        return self._metrics.snapshot()

    def facts(self) -> dict[str, Any]:
        """Return the recording's summary."""
        return self._summary

    def close(self) -> None:
        """Finalise, whatever happened; release socket and ring."""
        self._finalise()
        if self._stream is not None:
            self._stream.close()
        self._context.term()

    def _rescue(self, spec: RingSpec) -> None:
        """Write what a killed camera process left in its ring and no recorder has written yet."""
        ring = Ring.attach(spec)
        try:
            for header in frames_left(ring, self._live_recorder.next_seq - 1):
                pixels = ring.view(header.slot, header.shape, header.dtype)
                self._seam_reasons.add(REPLACED[self._stream_name])
                self._close_seam(header.seq)
                self._live_recorder.append(header, pixels)
                self._metrics.counts["recorded"] += 1
                self._metrics.counts["rescued"] += 1
                self._metrics.counts["bytes"] += header.nbytes
        finally:
            ring.close()

    def _close_seam(self, first: int) -> None:
        """Write down what is missing between the old writer's last number and ``first``."""
        if not self._seam_reasons:
            return
        recorder = self._live_recorder
        if first > recorder.next_seq:
            recorder.note_gap(recorder.next_seq, first - 1, "+".join(sorted(self._seam_reasons)))
        self._seam_reasons.clear()

    def _append(self, frame: Received) -> None:
        counts = self._metrics.counts
        try:
            written = self._live_recorder.append(frame.header, frame.pixels)
        except RecordError:
            counts["failed"] += 1
            raise
        if written:
            counts["recorded"] += 1
            counts["bytes"] += frame.header.nbytes
            self._metrics.gauges["last_seq"] = frame.header.seq
        else:
            counts["already_recorded"] += 1
        # Only now: until here the ring is the only copy.
        self._live_stream.release(frame)

    def _over(self) -> bool:
        """Return whether nothing more comes: nothing waits, and this is not a killed writer."""
        stream = self._live_stream
        if stream.ended:
            return True
        if not self._drain_ns or stream.backlog:
            return False
        return not stream.switching or now_ns() - self._drain_ns > _DRAIN_SWITCH_NS

    def _finish(self) -> bool:
        if self._recorder is not None and self._recorder.resumed:
            self._pulse(busy_s=_FINALISE_S)
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
    def _live_stream(self) -> FollowedStream:
        if self._stream is None:
            raise BusError("the record stage is not configured yet")
        return self._stream

    @property
    def _live_recorder(self) -> Recorder:
        if self._recorder is None:
            raise BusError("the recording is finalised")
        return self._recorder
