"""The acquire stage: camera -> raw ring. Numbers every frame and accounts for every lost one.

``seq`` is ours: it advances for each frame the camera delivered, and for each one its own numbers
say it lost, so that a gap in ``seq`` always means missing frames. Gaps are announced with their
reason: ``camera`` (lost before us) or ``ring_full`` (no slot in time).
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgspec

from livedenoise.acquire.cameras import make_camera, stream_request
from livedenoise.acquire.numbering import Numbering, Predecessor
from livedenoise.bus import wire
from livedenoise.bus.context import new_context
from livedenoise.bus.ring import Ring, RingSpec
from livedenoise.bus.slots import Grant
from livedenoise.bus.writer import FrameWriter
from livedenoise.core.camera import WAITS, Captured, Prepared
from livedenoise.core.clock import now_ns
from livedenoise.core.config import CameraConfig, parse_config
from livedenoise.core.errors import BusError, CameraError
from livedenoise.core.frame import Frame, FrameFlags, FrameHeader
from livedenoise.core.metrics import StageMetrics
from livedenoise.supervise.stage import Pulse, no_pulse

_DRAIN_SLICE_MS = 20
_STOP_S = 5.0
"""Longest wait for a camera that is being stopped; the contract allows it 2 s."""


class AcquireSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What the stage is told at birth. ``camera`` is one camera section as JSON data.

    ``journal`` is a file in which a camera may leave, for a successor of this process, what it
    changed in software that outlives it.
    """

    run_id: str
    camera: dict[str, Any]
    n_frames: int | None = None
    journal: str = ""


class AcquireWiring(msgspec.Struct, frozen=True, kw_only=True):
    """What the stage is told once the rings exist."""

    ring: RingSpec
    endpoint: str
    lease_timeout_ns: int
    calibration: str = ""
    truth_path: str = ""
    expect: tuple[str, ...] = ()
    predecessor: Predecessor | None = None


def camera_config(data: dict[str, Any]) -> CameraConfig:
    """Return one camera section from the JSON data it was sent as."""
    return parse_config({"camera": [data]}, "camera").camera[0]


class AcquireStage:
    """Camera to raw ring."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self._settings = msgspec.convert(settings, AcquireSettings)
        self._config = camera_config(self._settings.camera)
        self._camera = make_camera(self._config)
        self._metrics = StageMetrics()
        self._prepared: Prepared | None = None
        self._writer: FrameWriter | None = None
        self._ring: Ring | None = None
        self._context = new_context()
        self._wiring: AcquireWiring | None = None
        self._frames: Iterator[Captured] = iter(())
        self._grant: tuple[Grant, Frame] | None = None
        self._numbering = Numbering()
        self._error: CameraError | None = None
        self._gap_before = False
        self._waits = False
        self._stopper: threading.Thread | None = None
        self._pulse: Pulse = no_pulse
        self._ended = False
        self._stopping = False
        self._abort = False

    def open(self) -> dict[str, Any]:
        """Open and prepare the camera."""
        keep_journal = getattr(self._camera, "keep_journal", None)
        if self._settings.journal and keep_journal is not None:
            keep_journal(Path(self._settings.journal))
        info = self._camera.open()
        self._waits = WAITS in info.capabilities
        prepared = self._camera.prepare(stream_request(self._config, self._settings.n_frames))
        self._prepared = prepared
        return {"info": msgspec.to_builtins(info), "prepared": msgspec.to_builtins(prepared)}

    def configure(self, settings: dict[str, Any]) -> dict[str, Any]:
        """Attach the raw ring and open the stream to readers."""
        wiring = msgspec.convert(settings, AcquireWiring)
        self._wiring = wiring
        self._ring = Ring.attach(wiring.ring)
        self._writer = FrameWriter(
            self._ring,
            self._context,
            wiring.endpoint,
            lease_timeout_ns=wiring.lease_timeout_ns,
            expect=wiring.expect,
        )
        self._numbering = Numbering(wiring.predecessor)
        save_truth = getattr(self._camera, "save_truth", None)
        if wiring.truth_path and save_truth is not None:
            save_truth(Path(wiring.truth_path))
        return {"endpoint": self._writer.endpoint}

    def idle(self) -> None:
        """Let readers attach."""
        if self._writer is not None:
            self._writer.service(0)

    def start(self, pulse: Pulse) -> None:
        """Start the camera."""
        self._pulse = pulse
        if hasattr(self._camera, "on_idle"):
            # A camera that waits for its next frame would else keep this loop from everybody.
            self._camera.on_idle = self._while_waiting
        self._camera.start()
        self._frames = self._camera.frames(self._get_slot)
        if self._stopping:
            # Asked to stop before there was a stream that could end.
            self._camera.stop()

    def step(self) -> bool:
        """Take one frame; after the last, wait for LOSSLESS readers to finish."""
        if self._abort:
            return False
        if self._ended:
            self._live_writer.service(_DRAIN_SLICE_MS)
            if not self._live_writer.settled():
                return True
            if self._error is not None:
                raise self._error
            return False
        try:
            captured = next(self._frames, None)
        except CameraError as error:
            # What was captured is still delivered and recorded before the error is raised.
            self._error, captured = error, None
        if captured is None:
            self._end()
        else:
            self._take(captured)
        return True

    def on_order(self, message: wire.AnyMessage) -> None:
        """Forget readers whose process died."""
        if isinstance(message, wire.ReaderGone):
            lost = self._live_writer.reader_gone(message.reader)
            self._metrics.counts["forgiven"] += lost

    def request_stop(self, *, drain: bool) -> None:
        """Stop the camera; its frames iterator then ends."""
        self._abort = self._abort or not drain
        self._stopping = True
        if self._stopper is None:
            # Not here: a camera may take 2 s to stop, and the heartbeats come from this thread.
            self._stopper = threading.Thread(target=self._stop_camera, name="stop", daemon=True)
            self._stopper.start()

    def _stop_camera(self) -> None:
        try:
            self._camera.stop()
        except CameraError as error:
            # Raised in the loop once everything captured was delivered.
            self._error = self._error or error

    def metrics(self) -> dict[str, Any]:
        """Return counts of the slot table and of losses."""
        writer = self._writer
        if writer is not None:
            table = writer.table
            self._metrics.counts.update(
                {
                    "captured": table.captured
                    - table.aborted
                    - table.writing
                    - self._metrics.counts["captured"],
                    "published": table.published - self._metrics.counts["published"],
                }
            )
            self._metrics.gauges["ring_fill"] = table.owed / table.n_slots
            self._metrics.gauges["wire_errors"] = writer.wire_errors
            self._metrics.gauges["first_host_ns"] = self._numbering.first_host_ns
        counters = getattr(self._camera, "counters", None)
        if counters is not None:
            # What a camera refused before it became a frame (network).
            self._metrics.gauges.update({f"camera.{k}": v for k, v in counters().items()})
        return self._metrics.snapshot()

    def facts(self) -> dict[str, Any]:
        """Return the totals the summary checks."""
        if self._writer is None:
            return {}
        table = self._writer.table
        table.check()
        return {
            "captured": table.captured - table.aborted - table.writing,
            "published": table.published,
            "dropped_full": table.dropped_full,
            "aborted": table.aborted,
            "revoked_leases": table.revoked_leases,
            "undelivered": dict(self._writer.undelivered),
            "first_host_ns": self._numbering.first_host_ns,
            "last_host_ns": self._numbering.last_host_ns,
            "bytes": self._metrics.counts["bytes"],
        }

    def close(self) -> None:
        """Release camera, sockets and ring, each also when another one fails."""
        if self._stopper is not None:
            self._stopper.join(_STOP_S)
        with ExitStack() as steps:
            steps.callback(self._context.term)
            if self._ring is not None:
                steps.callback(self._ring.close)
            if self._writer is not None:
                steps.callback(self._writer.close)
            steps.callback(self._camera.close)
            steps.callback(self._camera.stop)

    @property
    def _live_writer(self) -> FrameWriter:
        if self._writer is None:
            raise BusError("the acquire stage is not configured yet")
        return self._writer

    def _get_slot(self, shape: tuple[int, int], dtype: str, timeout_s: float) -> Frame | None:
        self._give_back()
        try:
            self._grant = self._live_writer.begin(shape, dtype, timeout_s)
        except BusError as error:
            raise CameraError(error.message, error.hint) from error
        if self._grant is None:
            # A lossless source waits on here until its readers release: one of them may be dead.
            self._pulse()
            return None
        return self._grant[1]

    def _while_waiting(self) -> None:
        """Let readers attach; a camera that may wait for ever also says that it lives."""
        self._live_writer.service(0)
        if self._waits:
            self._pulse()

    def _give_back(self) -> None:
        if self._grant is not None:
            self._live_writer.abort(self._grant[0])
            self._grant = None

    def _end(self) -> None:
        self._give_back()
        self._live_writer.end()
        self._ended = True

    def _take(self, captured: Captured) -> None:
        writer, counts = self._live_writer, self._metrics.counts
        seq, lost = self._numbering.number(captured)
        if lost:
            counts["lost_at_camera"] += lost
            writer.note_lost(lost)
            writer.note_gap(seq - lost, seq - 1, self._numbering.reason)
            self._gap_before = True
        if self._numbering.repeated:
            counts["out_of_order"] += 1
        if captured.discarded or self._grant is None:
            reason = captured.discarded or "no_pixels"
            self._give_back()
            writer.drop(seq, captured.t_host_ns)
            writer.note_gap(seq, seq, reason)
            self._metrics.dropped[reason] += 1
            self._gap_before = True
            return
        grant, _ = self._grant
        self._grant = None
        header = self._header(captured, seq, grant)
        self._gap_before = False
        self._metrics.hop("camera_to_ring", header.t_ring_ns - header.t_host_ns)
        counts["bytes"] += header.nbytes
        counts["saturated"] += header.has(FrameFlags.SATURATED)
        writer.publish(grant, header)

    def _header(self, captured: Captured, seq: int, grant: Grant) -> FrameHeader:
        prepared, wiring = self._prepared, self._wiring
        if prepared is None or wiring is None:
            raise BusError("the acquire stage is not configured yet")
        flags = captured.flags | (FrameFlags.AFTER_GAP if self._gap_before else 0)
        return FrameHeader(
            run_id=self._settings.run_id,
            camera=self._config.name,
            stream="raw",
            seq=seq,
            epoch=self._numbering.epoch,
            camera_seq=captured.camera_seq,
            t_camera_ns=captured.t_camera_ns,
            t_host_ns=captured.t_host_ns,
            t_ring_ns=now_ns(),
            t_infer_start_ns=0,
            t_infer_end_ns=0,
            t_publish_ns=0,
            height=captured.shape[0],
            width=captured.shape[1],
            dtype=captured.dtype,
            bit_depth=prepared.bit_depth,
            roi_x=captured.roi_x,
            roi_y=captured.roi_y,
            binning=captured.binning,
            channel=captured.channel,
            exposure_us=captured.exposure_us,
            slot=grant.slot,
            generation=grant.generation,
            ring_epoch=wiring.ring.ring_epoch,
            calibration=wiring.calibration,
            model="",
            event=captured.event,
            role=captured.role,
            flags=int(flags),
        )
