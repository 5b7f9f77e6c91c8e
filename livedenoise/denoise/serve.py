"""The denoise stage: raw ring -> engine -> clean ring, around one engine.

Every published raw frame ends in exactly one of three counts: denoised, passthrough (the raw pixels
under the same seq, flagged, because the engine was not ready or failed) or skipped (with a reason).
The pixels are checked for having been overwritten after the engine's last read, before the result
is published; the raw frame is given back only afterwards. So what a killed denoiser owed is owed to
its successor, which leaves out the frames that were published already: no frame is counted, or
recorded, twice.
"""

from __future__ import annotations

from collections import deque
from typing import Any, TypeVar

import msgspec
import numpy as np

from livedenoise.bus import wire
from livedenoise.bus.backlog import Latest, Lossless, Policy
from livedenoise.bus.context import new_context
from livedenoise.bus.followed import FollowedStream
from livedenoise.bus.reader import Received
from livedenoise.bus.ring import Ring, RingSpec
from livedenoise.bus.slots import Grant
from livedenoise.bus.writer import FrameWriter
from livedenoise.core.clock import now_ns
from livedenoise.core.engine import Done, FrameView
from livedenoise.core.errors import BusError, DenoiseError, EngineDeadError
from livedenoise.core.frame import Frame, FrameFlags, FrameHeader
from livedenoise.core.log import get_logger
from livedenoise.core.metrics import StageMetrics
from livedenoise.denoise.gaps import CleanGaps
from livedenoise.denoise.serving import Serving, ServingSettings
from livedenoise.supervise.stage import Pulse, no_pulse

_log = get_logger(__name__)
T = TypeVar("T")
_ATTACH_S = 10.0
_IDLE_S = 0.05
_GLANCE_S = 0.001
_LOSSLESS_WAIT_S = 0.1
_OPENING_S = 60.0
"""Longest an estimate of the constants and the opening of an engine are expected to take."""


class DenoiseWiring(msgspec.Struct, frozen=True, kw_only=True):
    """What the stage is told once the rings exist.

    A killed predecessor published the frames up to ``after_seq``, and may not have released them.
    """

    raw_ring: RingSpec
    raw_endpoint: str
    clean_ring: RingSpec
    clean_endpoint: str
    lease_timeout_ns: int
    lossless: bool
    max_backlog: int
    max_age_ns: int
    late_ns: int
    max_failures: int
    serving: ServingSettings
    expect: tuple[str, ...] = ()
    after_seq: int = -1


class _InFlight(msgspec.Struct, frozen=True):
    frame: Received
    grant: Grant
    out: Frame


class DenoiseStage:
    """Raw ring to clean ring."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self._warm = settings
        self._context = new_context()
        self._metrics = StageMetrics()
        self._wiring: DenoiseWiring | None = None
        self._clean_ring: Ring | None = None
        self._raw: FollowedStream | None = None
        self._writer: FrameWriter | None = None
        self._serving: Serving | None = None
        self._flight: deque[_InFlight] = deque()
        self._gaps = CleanGaps()
        self._last_seq = -1
        self._failures = 0
        self._pulse: Pulse = no_pulse
        self._ended = False
        self._drain = False
        self._abort = False

    def open(self) -> dict[str, Any]:
        """Import what the engine needs while the camera gets ready."""
        from livedenoise.engines.warm import warm_up_imports

        warm_up_imports(str(self._warm.get("engine", "auto")))
        return {}

    def configure(self, settings: dict[str, Any]) -> dict[str, Any]:
        """Load the engine and attach both rings."""
        wiring = msgspec.convert(settings, DenoiseWiring)
        self._wiring = wiring
        self._serving = Serving(wiring.serving)
        self._raw = FollowedStream(self._context, "denoise", lambda: _policy(wiring))
        after_seq = wiring.after_seq
        self._raw.open(wiring.raw_ring, wiring.raw_endpoint, _ATTACH_S, after_seq=after_seq)
        self._clean_ring = Ring.attach(wiring.clean_ring)
        self._writer = FrameWriter(
            self._clean_ring,
            self._context,
            wiring.clean_endpoint,
            lease_timeout_ns=wiring.lease_timeout_ns,
            expect=wiring.expect,
        )
        return {"endpoint": self._writer.endpoint, "serving": self._serving.facts()}

    def idle(self) -> None:
        """Let readers of the clean stream attach."""
        if self._writer is not None:
            self._writer.service(0)

    def start(self, pulse: Pulse) -> None:
        """Nothing to start: frames come when the camera does."""
        self._pulse = pulse

    def step(self) -> bool:
        """Submit what waits, publish what is done; at the end wait for LOSSLESS readers."""
        if self._abort:
            return False
        if self._ended:
            self._live_writer.service(20)
            return not self._live_writer.settled()
        submitted = self._fill()
        if self._flight:
            # A full engine is waited for; else the next frame may be submitted meanwhile.
            full = len(self._flight) >= self._live_serving.in_flight
            done = self._live_serving.poll(_IDLE_S if full else _GLANCE_S)
            if done is not None:
                self._finish(self._flight.popleft(), done)
        elif not submitted and self._stream_over():
            self._note_gaps(None)
            self._live_writer.end()
            self._ended = True
        return True

    def on_order(self, message: wire.AnyMessage) -> None:
        """Forget readers whose process died; follow the camera's new process."""
        match message:
            case wire.ReaderGone(reader=reader):
                self._metrics.counts["forgiven"] += self._live_writer.reader_gone(reader)
            case wire.Reattach(stream="raw"):
                self._live_raw.replace(message)

    def request_stop(self, *, drain: bool) -> None:
        """End after what has arrived (the stream's writer may be dead), or at once."""
        self._drain = True
        self._abort = self._abort or not drain

    def metrics(self) -> dict[str, Any]:
        """Return counts, drops and hops."""
        if self._raw is not None:
            self._metrics.gauges["backlog"] = self._raw.backlog
            self._metrics.counts["received"] = self._raw.received
            skipped = sum(self._skipped_by_reason().values())
            self._metrics.counts["skipped"] = skipped
        if self._writer is not None:
            table = self._writer.table
            self._metrics.gauges["clean_ring_fill"] = table.owed / table.n_slots
        snapshot = self._metrics.snapshot()
        serving = {} if self._serving is None else self._serving.facts()
        return snapshot | {"dropped": self._skipped_by_reason(), "serving": serving}

    def facts(self) -> dict[str, Any]:
        """Return the totals the summary checks."""
        counts = self._metrics.counts
        if self._raw is None or self._serving is None:
            return {}
        return {
            "denoised": counts["denoised"],
            "passthrough": counts["passthrough"],
            "skipped": self._skipped_by_reason(),
            "serving": self._serving.facts(),
        }

    def close(self) -> None:
        """Release engine, sockets and rings."""
        if self._serving is not None:
            self._serving.close()
        for part in (self._raw, self._writer, self._clean_ring):
            if part is not None:
                part.close()
        self._context.term()

    def _skipped_by_reason(self) -> dict[str, int]:
        reasons = self._metrics.dropped.copy()
        if self._raw is not None:
            reasons.update(self._raw.skipped)
        return {reason: count for reason, count in reasons.items() if count}

    def _stream_over(self) -> bool:
        raw = self._live_raw
        return raw.ended or (self._drain and raw.backlog == 0)

    def _fill(self) -> bool:
        """Submit frames until the engine is full or none waits; True when any was taken."""
        taken = False
        while len(self._flight) < self._live_serving.in_flight:
            self._live_writer.service(0)
            idle = not taken and not self._flight
            reattached = self._live_raw.reattached
            frame = self._live_raw.read(_IDLE_S if idle else 0, may_switch=not self._flight)
            if self._live_raw.reattached != reattached:
                self._gaps.seam(self._live_raw.reason)
                self._last_seq = -1
            if isinstance(frame, wire.Gap):
                self._gaps.lost(frame.first, frame.last, frame.reason)
                continue
            if frame is None:
                return taken
            taken = True
            if frame.header.seq <= self._live_wiring.after_seq:
                self._live_raw.release(frame)
                self._metrics.counts["already_denoised"] += 1
                continue
            self._gaps.took(frame.header.seq)
            self._submit(frame)
        return taken

    def _submit(self, frame: Received) -> None:
        header = frame.header
        serving = self._live_serving
        if serving.needs_change(header):
            self._flush_engine()
            self._pulse(_OPENING_S)
            serving.change(header)
        slot = self._clean_slot(header)
        if slot is None:
            self._live_raw.release(frame)
            reason = "aborted" if self._abort else "clean_ring_full"
            self._metrics.dropped[reason] += 1
            self._gaps.lost(header.seq, header.seq, reason)
            return
        flight = _InFlight(frame, *slot)
        if not serving.ready:
            self._pulse(_OPENING_S)
            serving.learn(frame)
            self._pass_through(flight)
            return
        reset = header.seq != self._last_seq + 1
        self._last_seq = header.seq
        try:
            serving.submit(FrameView(seq=header.seq, pixels=frame.pixels), flight.out, reset=reset)
        except DenoiseError as error:
            self._fail(flight, str(error))
            return
        self._flight.append(flight)

    def _flush_engine(self) -> None:
        while self._flight and not self._abort:
            done = self._live_serving.poll(_IDLE_S)
            if done is not None:
                self._finish(self._flight.popleft(), done)

    def _clean_slot(self, header: FrameHeader) -> tuple[Grant, Frame] | None:
        writer = self._live_writer
        if not self._live_wiring.lossless:
            return writer.begin(header.shape, header.dtype, 0)
        while not self._abort:
            slot = writer.begin(header.shape, header.dtype, _LOSSLESS_WAIT_S)
            if slot is not None:
                return slot
            # The recorder of the clean stream may be slow, and this stage is not; or it is dead.
            self._pulse()
        return None

    def _finish(self, flight: _InFlight, done: Done) -> None:
        header = flight.frame.header
        if done.seq != header.seq:
            raise EngineDeadError(f"the engine returned frame {done.seq}, {header.seq} was next")
        if done.error:
            self._fail(flight, done.error)
            return
        self._failures = 0
        flags = FrameFlags.DENOISED | (FrameFlags.CLIPPED if done.clipped else FrameFlags.NONE)
        self._metrics.counts["clipped_pixels"] += done.clipped
        self._publish(flight, flags, done)

    def _fail(self, flight: _InFlight, reason: str) -> None:
        """Let a frame the engine failed on pass through; too many in a row end the process."""
        self._failures += 1
        self._metrics.counts["engine_errors"] += 1
        _log.warning("frame %d passes through: %s", flight.frame.header.seq, reason)
        self._last_seq = -1
        self._pass_through(flight)
        if self._failures >= self._live_wiring.max_failures:
            raise EngineDeadError(
                f"the engine failed on {self._failures} frames in a row, last on frame "
                f"{flight.frame.header.seq}: {reason}",
                "the raw recording goes on; see the stage's log",
            )

    def _pass_through(self, flight: _InFlight) -> None:
        np.copyto(flight.out, flight.frame.pixels)
        moment = now_ns()
        seq = flight.frame.header.seq
        self._publish(
            flight, FrameFlags.PASSTHROUGH, Done(seq=seq, t_start_ns=moment, t_end_ns=moment)
        )

    def _publish(self, flight: _InFlight, flags: FrameFlags, done: Done) -> None:
        seq = flight.frame.header.seq
        if not self._live_raw.is_whole(flight.frame):
            self._live_raw.release(flight.frame)
            self._live_writer.abort(flight.grant)
            self._metrics.dropped["torn"] += 1
            self._gaps.lost(seq, seq, "torn")
            return
        self._note_gaps(seq)
        header = self._clean_header(flight, flags, done)
        self._live_writer.publish(flight.grant, header)
        # Only now: killed before this, a successor is owed the frame, and sees what was published.
        self._live_raw.release(flight.frame)
        self._metrics.gauges["last_publish_ns"] = header.t_publish_ns
        if flags & FrameFlags.DENOISED:
            self._metrics.counts["denoised"] += 1
            self._count_hops(header)
        else:
            self._metrics.counts["passthrough"] += 1

    def _note_gaps(self, before: int | None) -> None:
        """Tell the clean stream's readers what is missing before frame ``before`` (None: all)."""
        for gap in self._gaps.take(before):
            self._live_writer.note_gap(gap.first, gap.last, gap.reason)

    def _clean_header(self, flight: _InFlight, flags: FrameFlags, done: Done) -> FrameHeader:
        raw, wiring, moment = flight.frame.header, self._live_wiring, now_ns()
        if moment - raw.t_host_ns > wiring.late_ns:
            flags |= FrameFlags.LATE
            self._metrics.counts["late"] += 1
        return msgspec.structs.replace(
            raw,
            stream="clean",
            slot=flight.grant.slot,
            generation=flight.grant.generation,
            ring_epoch=wiring.clean_ring.ring_epoch,
            t_infer_start_ns=done.t_start_ns,
            t_infer_end_ns=done.t_end_ns,
            t_publish_ns=moment,
            model=self._live_serving.model_hash if flags & FrameFlags.DENOISED else "",
            flags=raw.flags | int(flags),
        )

    def _count_hops(self, header: FrameHeader) -> None:
        self._metrics.gauges.setdefault("first_denoised_ns", header.t_publish_ns)
        hop = self._metrics.hop
        hop("ring_to_engine", header.t_infer_start_ns - header.t_ring_ns)
        hop("inference", header.t_infer_end_ns - header.t_infer_start_ns)
        hop("publish", header.t_publish_ns - header.t_infer_end_ns)
        hop("camera_to_denoised", header.t_publish_ns - header.t_host_ns)

    @property
    def _live_wiring(self) -> DenoiseWiring:
        return _configured(self._wiring)

    @property
    def _live_raw(self) -> FollowedStream:
        return _configured(self._raw)

    @property
    def _live_writer(self) -> FrameWriter:
        return _configured(self._writer)

    @property
    def _live_serving(self) -> Serving:
        return _configured(self._serving)


def _policy(wiring: DenoiseWiring) -> Policy:
    return Lossless() if wiring.lossless else Latest(wiring.max_backlog, wiring.max_age_ns)


def _configured(part: T | None) -> T:
    if part is None:
        raise BusError("the denoise stage is not configured yet")
    return part
