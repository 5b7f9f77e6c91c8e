"""A camera whose frames another program sends, on this machine or another.

Knows: the life cycle of ``core.camera.Camera``, what the configuration allows, how a sender's
numbers become the camera's. Must not know: messages, keys, rings.

Frames are stamped when they are complete here; the sender's clock is kept apart in
``t_camera_ns``. The stream outlives its senders: when one leaves, it waits for the next.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import numpy as np

from livedenoise.acquire.pacing import do_nothing
from livedenoise.bus.context import Context, new_context
from livedenoise.bus.frames_wire import Limits
from livedenoise.bus.intake import Arrival, FrameIntake
from livedenoise.core.camera import (
    WAITS,
    CameraInfo,
    Captured,
    GetSlot,
    Prepared,
    StreamRequest,
)
from livedenoise.core.camera_config import NetworkCameraConfig
from livedenoise.core.clock import Clock, MonotonicClock
from livedenoise.core.errors import BusError, CameraError
from livedenoise.core.frame import Frame, FrameFlags, max_count

RING_FULL = "ring_full"

_SLICE_MS = 50
"""Longest single wait, so that a stop is noticed."""

_PATIENCE_S = 0.5
"""How long a full ring is waited for when nobody says at which rate frames come."""

MAX_JUMP = 1_000_000
"""A sender's number further ahead than this is a new numbering, not a million lost frames."""


class SenderNumbers:
    """One numbering for all senders, from 0, in which a gap means frames lost on the way. Pure.

    A new session goes on after the last number, whatever it starts with. So does a camera that
    starts counting again, or jumps beyond ``MAX_JUMP``. A number that comes twice stays the same.
    """

    def __init__(self) -> None:
        self.renumbered = 0
        self._session = ""
        self._last_theirs = -1
        self._last = -1

    def number(self, session: str, theirs: int) -> int:
        """Return our number for the frame a sender calls ``theirs``."""
        step = theirs - self._last_theirs
        if session != self._session:
            step = 1
        elif step < 0 or step > MAX_JUMP:
            self.renumbered += 1
            step = 1
        self._session, self._last_theirs = session, theirs
        self._last += step
        return self._last


class NetworkCamera:
    """Frames from ``livedenoise.client.FrameSender`` as a camera (``core.camera.Camera``).

    Parameters
    ----------
    config : NetworkCameraConfig
        Where to listen, the largest frame, keys.
    clock : Clock, optional
        Source of time; tests inject one.

    Attributes
    ----------
    on_idle : callable
        Called in the thread of ``frames``, about every 50 ms, while no frame comes.
    """

    def __init__(self, config: NetworkCameraConfig, clock: Clock | None = None) -> None:
        self._config = config
        self._clock: Clock = clock or MonotonicClock()
        self.on_idle: Callable[[], None] = do_nothing
        self._context: Context | None = None
        self._intake: FrameIntake | None = None
        self._prepared: Prepared | None = None
        self._run: _Run | None = None
        self._numbers = SenderNumbers()

    @property
    def endpoint(self) -> str:
        """Return where senders connect, with the port that was chosen.

        Raises
        ------
        CameraError
            If the camera is not open.
        """
        return self._need_intake("endpoint").endpoint

    def open(self) -> CameraInfo:
        """Listen for senders.

        Raises
        ------
        ConfigError
            If ``listen`` could be reached from other machines and there are no keys, or the keys
            cannot be used.
        CameraError
            If the address cannot be bound, or the camera is open already.
        """
        config = self._config
        if self._intake is not None:
            raise CameraError(f"camera {config.name} is open already", "close it first")
        context = new_context()
        with ExitStack() as undo:
            undo.callback(context.term)
            try:
                self._intake = FrameIntake(
                    context,
                    config.listen,
                    self._limits,
                    keys=config.keys,
                    hwm=config.buffer_frames,
                    key=f"camera {config.name}: listen",
                )
            except BusError as error:
                raise CameraError(error.message, error.hint) from error
            undo.pop_all()
        self._context = context
        who = "anybody on this machine" if config.keys is None else "clients with keys"
        return CameraInfo(
            name=config.name,
            kind=config.kind,
            sensor=(config.height_px, config.width_px),
            dtype=self._limits.dtype,
            bit_depth=config.bit_depth,
            max_rate_hz=config.rate_hz or 0.0,
            capabilities=(WAITS,),
            notes=(f"listens on {self._intake.endpoint} for {who}",),
        )

    def prepare(self, request: StreamRequest) -> Prepared:
        """Say what will be delivered: frames up to the configured size.

        Raises
        ------
        CameraError
            If the camera is not open, or asked for what only the sender can do: a region, binning,
            a list of events.
        """
        self._need_intake("prepare")
        self.stop()
        self._prepared, self._run = None, None
        config = self._config
        _check(config.name, request)
        rate_hz = request.rate_hz or config.rate_hz
        shape = (config.height_px, config.width_px)
        self._prepared = Prepared(
            shape=shape,
            max_shape=shape,
            dtype=self._limits.dtype,
            bit_depth=config.bit_depth,
            period_ns=round(1e9 / rate_hz) if rate_hz else 0,
            exposure_us=config.exposure_us,
            roi=(0, 0, config.width_px, config.height_px),
            buffer_frames=config.buffer_frames,
            n_frames=request.n_frames,
        )
        return self._prepared

    def start(self) -> None:
        """Take frames from now on.

        Raises
        ------
        CameraError
            If the camera is not prepared.
        """
        if self._prepared is None:
            raise self._out_of_order("start", "prepare")
        # The pump expects 0 for the first frame after each start.
        self._numbers = SenderNumbers()
        self._run = _Run(self._prepared)

    def frames(self, get_slot: GetSlot) -> Iterator[Captured]:
        """Return the iterator over every frame that arrives, until stopped or ``n_frames``.

        Raises
        ------
        CameraError
            At once if the camera is not started; while iterating when no frame has come within
            ``first_frame_timeout_s``.
        """
        run = self._run
        if run is None:
            raise self._out_of_order("frames", "start")
        return self._frames(run, get_slot)

    def stop(self) -> None:
        """End the stream: idempotent, from any thread; ``frames`` then ends within 0.1 s."""
        run = self._run
        if run is not None:
            run.stopped.set()

    def close(self) -> None:
        """Stop listening. Idempotent."""
        self.stop()
        intake, self._intake = self._intake, None
        context, self._context = self._context, None
        self._prepared, self._run = None, None
        if intake is not None:
            intake.close()
        if context is not None:
            context.term()

    def counters(self) -> dict[str, int]:
        """Return what was refused, by reason, and how many senders there were.

        ``refused_REASON`` counts messages and frames, ``refused_second_sender`` senders that came
        while another was connected, ``refused_handshake`` connections without the right key.
        """
        intake = self._intake
        if intake is None:
            return {}
        found = {f"refused_{reason}": count for reason, count in dict(intake.refused).items()}
        found["refused_handshake"] = intake.handshakes_refused
        return found | {"senders": intake.senders, "renumbered": self._numbers.renumbered}

    @property
    def _limits(self) -> Limits:
        config = self._config
        dtype = "|u1" if config.bit_depth == 8 else "<u2"
        return Limits(height=config.height_px, width=config.width_px, dtype=dtype)

    def _frames(self, run: _Run, get_slot: GetSlot) -> Iterator[Captured]:
        intake = self._need_intake("frames")
        began_ns = self._clock.now_ns()
        while not run.over:
            arrival = intake.receive(_SLICE_MS)
            if arrival is None:
                self.on_idle()
                self._check_first_frame(run, began_ns)
                continue
            slot = self._wait_for_slot(run, arrival, get_slot)
            if slot is None and run.stopped.is_set():
                return
            if slot is not None:
                np.copyto(slot, arrival.pixels)
            run.delivered += 1
            captured = self._captured(arrival, discarded=slot is None)
            intake.acknowledge(arrival)
            yield captured

    def _wait_for_slot(self, run: _Run, arrival: Arrival, get_slot: GetSlot) -> Frame | None:
        """Return a slot, or None on a stop, or when the socket's own buffer must be full by now."""
        pixels, left_s = arrival.pixels, run.patience_s
        while True:
            slice_s = min(left_s, _SLICE_MS * 1e-3)
            slot = get_slot(pixels.shape, pixels.dtype.str, slice_s)
            left_s -= slice_s
            if slot is not None or left_s <= 0 or run.stopped.is_set():
                return slot

    def _captured(self, arrival: Arrival, *, discarded: bool) -> Captured:
        facts, pixels = arrival.facts, arrival.pixels
        saturated = int(pixels.max()) >= max_count(self._config.bit_depth)
        return Captured(
            camera_seq=self._numbers.number(facts.session, facts.camera_seq),
            t_host_ns=arrival.t_host_ns,
            t_camera_ns=facts.t_camera_ns,
            shape=(facts.height, facts.width),
            dtype=facts.dtype,
            exposure_us=facts.exposure_us or self._config.exposure_us,
            roi_x=facts.roi_x,
            roi_y=facts.roi_y,
            binning=facts.binning,
            channel=facts.channel,
            event=facts.event,
            role=facts.role,
            flags=int(FrameFlags.SATURATED) if saturated else 0,
            discarded=RING_FULL if discarded else "",
        )

    def _check_first_frame(self, run: _Run, began_ns: int) -> None:
        limit_s = self._config.first_frame_timeout_s
        waited_s = (self._clock.now_ns() - began_ns) * 1e-9
        if limit_s and not run.delivered and waited_s >= limit_s:
            raise CameraError(
                f"camera {self._config.name}: no frame within {waited_s:.1f} s, "
                f"first_frame_timeout_s is {limit_s:g}",
                f"start the sender for {self.endpoint}, or set first_frame_timeout_s = 0 to wait",
            )

    def _need_intake(self, step: str) -> FrameIntake:
        if self._intake is None:
            raise self._out_of_order(step, "open")
        return self._intake

    def _out_of_order(self, step: str, missing: str) -> CameraError:
        return CameraError(
            f"camera {self._config.name}: {step} before {missing}",
            "the order is open, prepare, start, frames, stop, close",
        )


class _Run:
    """One stream, from ``start`` to ``stop`` or its last frame."""

    def __init__(self, prepared: Prepared) -> None:
        self.stopped = threading.Event()
        self.delivered = 0
        self._n_frames = prepared.n_frames
        held_s = prepared.buffer_frames * prepared.period_ns * 1e-9
        self.patience_s = min(held_s, 10.0) or _PATIENCE_S

    @property
    def over(self) -> bool:
        """Return whether the stream has ended."""
        done = self._n_frames is not None and self.delivered >= self._n_frames
        return done or self.stopped.is_set()


def _check(name: str, request: StreamRequest) -> None:
    if request.n_frames is not None and request.n_frames < 1:
        raise CameraError(
            f"camera {name}: {request.n_frames} frames were asked for, the least is 1",
            "ask for at least one frame",
        )
    for what, value, none in (
        ("roi", request.roi, None),
        ("binning", request.binning, 1),
        ("events", request.events, ()),
    ):
        if value != none:
            raise CameraError(
                f"camera {name}: {what} = {value} was asked for, frames come as they are sent",
                f"set {what} in the program that sends",
            )
