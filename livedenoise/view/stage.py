"""The view stage: what can be seen and said of a camera's frames, beside the denoiser.

A process of its own that reads both streams LATEST: nothing on the way from camera to disk or
screen waits for it, and it may miss any frame. A few times a second it takes a burst (see
``view.bursts``), updates the live figures and the small pictures, and reports both with its
metrics; between bursts it sleeps and gives back what came meanwhile in bulk. With sharing on it
also publishes frames. Writes nothing on disk.

Knows: rings, readers, when a sample is due. Must not know: how figures are computed or drawn.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any, Literal

import msgspec

from livedenoise.bus import wire
from livedenoise.bus.backlog import Latest
from livedenoise.bus.context import Context, new_context
from livedenoise.bus.reader import FrameReader
from livedenoise.bus.ring import Ring, RingSpec
from livedenoise.core.clock import now_ns
from livedenoise.core.constants import CameraConstants
from livedenoise.core.errors import BusError
from livedenoise.core.metrics import StageMetrics
from livedenoise.core.status import Preview
from livedenoise.quality.meter import LiveMeter
from livedenoise.supervise.stage import Pulse
from livedenoise.view.bursts import BurstTaker, Taken, discard_waiting
from livedenoise.view.preview import PreviewMaker
from livedenoise.view.sharing import Sharer

_READER = "view"
_SHARE_READER = "share"
_MAX_BACKLOG = 8
"""Frames a burst may lie behind the newest one; of more, all but the newest are skipped."""

_ANY_AGE_NS = 1 << 62
_SAMPLE_POLICY = Latest(max_backlog=_MAX_BACKLOG, max_age_ns=_ANY_AGE_NS)
_SHARE_POLICY = Latest(max_backlog=1, max_age_ns=_ANY_AGE_NS)

_SLICE_S = 0.2
"""Longest sleep of one step: the loop must show that it moves."""

_SHARE_SLICE_S = 0.005
_PATIENCE_NS = 250_000_000


class ViewWiring(msgspec.Struct, frozen=True, kw_only=True):
    """What the stage is told once the rings exist.

    Attributes
    ----------
    clean_ring, clean_endpoint : RingSpec or None, str
        The denoised stream; None and "" when nothing is denoised.
    constants : CameraConstants or None
        None until they are learnt (``wire.Learnt``).
    quantum_efficiency : float
        Electrons per photon, 0 for unknown.
    bit_depth : int
        Of the first epoch; each frame's own header counts.
    period_ns : int
        Frame period, 0 for unknown.
    sample_hz : float
        Samples of quality a second; 0 takes none (for sharing only).
    window : int
        Samples in a moving average.
    share_endpoint : str
        Where frames are published; "" for nowhere.
    share_frames : str
        Which: "clean", "raw", "both" or "none".
    share_max_hz : float
        Frames a second of each stream.
    share_keys : str
        Folder of CURVE keys, "" for none.
    """

    camera: str
    raw_ring: RingSpec
    raw_endpoint: str
    clean_ring: RingSpec | None
    clean_endpoint: str
    constants: CameraConstants | None
    quantum_efficiency: float
    bit_depth: int
    period_ns: int
    sample_hz: float
    window: int
    preview_px: int
    share_endpoint: str = ""
    share_frames: Literal["clean", "raw", "both", "none"] = "none"
    share_max_hz: float = 30.0
    share_keys: str = ""


class _Stream:
    """One stream as this process reads it: its ring, a reader for samples, one for sharing."""

    def __init__(self, context: Context, ring: RingSpec, endpoint: str, *, shared: bool) -> None:
        self._ring = Ring.attach(ring)
        self.reader = FrameReader(self._ring, context, endpoint, _READER, _SAMPLE_POLICY)
        self.shared: FrameReader | None = None
        # Sent only, never waited for: a writer that hangs must not hang its viewer.
        self.reader.request_attach()
        if shared:
            self.shared = FrameReader(self._ring, context, endpoint, _SHARE_READER, _SHARE_POLICY)
            self.shared.request_attach()

    def close(self) -> None:
        """Leave the stream. Idempotent."""
        for reader in (self.reader, self.shared):
            if reader is not None:
                reader.close()
        self._ring.close()


class ViewStage:
    """Samples of both streams to figures, pictures and subscribers.

    ``settings`` may hold ``niceness``: how far its process steps back behind the others.
    """

    def __init__(self, settings: dict[str, Any]) -> None:
        self._niceness = int(settings.get("niceness", 0))
        self._context = new_context()
        self._metrics = StageMetrics()
        self._wiring: ViewWiring | None = None
        self._streams: dict[str, _Stream] = {}
        self._taker: BurstTaker | None = None
        self._meter: LiveMeter | None = None
        self._sharer: Sharer | None = None
        self._pictures = PreviewMaker()
        self._epoch = -1
        self._preview: Preview | None = None
        self._due_ns = 0
        self._slice_s = _SLICE_S
        self._stop = threading.Event()

    def open(self) -> dict[str, Any]:
        """Step back behind the stages that must not wait."""
        if self._niceness and hasattr(os, "nice"):
            os.nice(self._niceness)
        return {}

    def configure(self, settings: dict[str, Any]) -> dict[str, Any]:
        """Attach both rings and ask for both streams; open the publisher when frames are shared.

        Raises
        ------
        BusError
            If a ring does not exist or the publisher's address cannot be bound.
        ConfigError
            If that address can be reached from other machines and there are no keys.
        """
        wiring = msgspec.convert(settings, ViewWiring)
        self._wiring = wiring
        self._meter = LiveMeter(
            window=wiring.window,
            constants=wiring.constants,
            quantum_efficiency=wiring.quantum_efficiency,
        )
        patience_ns = _PATIENCE_NS + 2 * wiring.period_ns
        self._taker = BurstTaker(preview_px=wiring.preview_px, patience_ns=patience_ns)
        self._attach("raw", wiring.raw_ring, wiring.raw_endpoint)
        if wiring.clean_ring is not None:
            self._attach("clean", wiring.clean_ring, wiring.clean_endpoint)
        if wiring.period_ns:
            # Headers wait in the socket meanwhile, which holds those of two rounds of the ring.
            round_s = wiring.raw_ring.n_slots * wiring.period_ns * 1e-9
            self._slice_s = min(_SLICE_S, max(round_s, _SHARE_SLICE_S))
        if not wiring.share_endpoint:
            return {}
        self._sharer = Sharer(
            self._context,
            wiring.share_endpoint,
            max_hz=wiring.share_max_hz,
            keys=Path(wiring.share_keys) if wiring.share_keys else None,
        )
        return {"share": self._sharer.endpoint}

    def idle(self) -> None:
        """Nobody attaches to a viewer."""

    def start(self, pulse: Pulse) -> None:
        """Ask for the first sample now; frames come when the camera does."""
        del pulse
        self._due_ns = now_ns()

    def step(self) -> bool:
        """Share what is due, then read on for a sample or sleep; False once the stream is over."""
        raw = self._live_streams["raw"].reader
        if self._stop.is_set() or raw.published is not None:
            return False
        self._share()
        moment_ns = now_ns()
        wait_s = self._slice_s if self._sharer is None else _SHARE_SLICE_S
        if self._live_wiring.sample_hz <= 0 or moment_ns < self._due_ns:
            self._rest(wait_s, moment_ns)
            return True
        clean = self._streams.get("clean")
        reader = None if clean is None else clean.reader
        taken = self._live_taker.take(raw, reader, moment_ns, wait_s)
        if taken is not None:
            self._use(taken)
            self._due_ns = self._next_due_ns(moment_ns)
        return True

    def on_order(self, message: wire.AnyMessage) -> None:
        """Follow a stream to its new writer; use constants that were found while running.

        Raises
        ------
        BusError
            If the new ring does not exist.
        """
        match message:
            case wire.Reattach(stream=stream, ring=ring, endpoint=endpoint):
                self._attach(stream, msgspec.convert(ring, RingSpec), endpoint)
                self._live_taker.reset()
            case wire.Learnt(facts=facts) if facts.get("constants") is not None:
                self._live_meter.learn(msgspec.convert(facts["constants"], CameraConstants))

    def request_stop(self, *, drain: bool) -> None:
        """End at once: there is nothing to drain."""
        del drain
        self._stop.set()

    def metrics(self) -> dict[str, Any]:
        """Return the counts, the figures and the last preview, pixels as bytes."""
        counts = self._metrics.counts
        if self._taker is not None:
            for reason, n in self._taker.counts.items():
                counts[reason] = n
        if self._sharer is not None:
            counts["shared"] = self._sharer.sent
            counts["share_refused"] = self._sharer.refused
            counts["shared_torn"] = self._sharer.counts["shared_torn"]
        quality = None if self._meter is None else self._meter.status()
        return self._metrics.snapshot() | {
            "quality": msgspec.to_builtins(quality),
            "preview": msgspec.to_builtins(self._preview, builtin_types=(bytes,)),
        }

    def facts(self) -> dict[str, Any]:
        """Return how many samples were taken."""
        if self._wiring is None:
            return {}
        return {"samples": self._metrics.counts["samples"]}

    def close(self) -> None:
        """Release sockets and rings. Idempotent."""
        for stream in self._streams.values():
            stream.close()
        if self._sharer is not None:
            self._sharer.close()
        self._context.term()

    def _attach(self, name: str, ring: RingSpec, endpoint: str) -> None:
        old = self._streams.pop(name, None)
        if old is not None:
            old.close()
        wiring = self._live_wiring
        shared = bool(wiring.share_endpoint) and wiring.share_frames in (name, "both")
        self._streams[name] = _Stream(self._context, ring, endpoint, shared=shared)

    def _share(self) -> None:
        if self._sharer is None:
            return
        for name, stream in self._streams.items():
            if stream.shared is not None:
                self._sharer.share(name, stream.shared, now_ns())

    def _rest(self, longest_s: float, moment_ns: int) -> None:
        """Sleep until a sample is due, then give back the frames that came meanwhile."""
        wait_s = longest_s
        if self._live_wiring.sample_hz > 0:
            wait_s = min(longest_s, (self._due_ns - moment_ns) * 1e-9)
        self._stop.wait(wait_s)
        for stream in self._streams.values():
            discard_waiting(stream.reader)

    def _use(self, taken: Taken) -> None:
        self._metrics.counts["samples"] += 1
        if taken.header.epoch != self._epoch:
            self._epoch = taken.header.epoch
            self._pictures.reset()
        self._live_meter.add(taken.burst)
        self._preview = self._pictures.make(taken.header.seq, taken.raw, taken.clean)

    def _next_due_ns(self, moment_ns: int) -> int:
        # From the deadline, not from now, so that delays do not add up; none is caught up with.
        interval_ns = int(1e9 / self._live_wiring.sample_hz)
        return max(self._due_ns + interval_ns, moment_ns)

    @property
    def _live_streams(self) -> dict[str, _Stream]:
        if "raw" not in self._streams:
            raise BusError("the view stage is not configured yet")
        return self._streams

    @property
    def _live_wiring(self) -> ViewWiring:
        if self._wiring is None:
            raise BusError("the view stage is not configured yet")
        return self._wiring

    @property
    def _live_taker(self) -> BurstTaker:
        if self._taker is None:
            raise BusError("the view stage is not configured yet")
        return self._taker

    @property
    def _live_meter(self) -> LiveMeter:
        if self._meter is None:
            raise BusError("the view stage is not configured yet")
        return self._meter
