"""The reading end of a stream: which frames to read, and whether what was read was whole.

A LOSSLESS reader releases every frame by message. A LATEST reader leases the slot in shared memory
before it reads, and ``release`` says whether the pixels were still the same after the last read:
False means torn, and whatever was computed from them must be thrown away.
"""

from __future__ import annotations

import secrets
from collections import Counter, deque

import msgspec
import zmq

from livedenoise.bus import wire
from livedenoise.bus.backlog import Lossless, Policy, take
from livedenoise.bus.context import Context
from livedenoise.bus.ring import LEASES_PER_READER, Ring
from livedenoise.bus.slots import Lease
from livedenoise.core.clock import Clock, MonotonicClock
from livedenoise.core.errors import BusError, WireError
from livedenoise.core.frame import Frame, FrameHeader


class Received(msgspec.Struct, frozen=True, kw_only=True):
    """A frame to read: header and read-only (Y, X) pixels, valid until released."""

    header: FrameHeader
    pixels: Frame
    lease_cell: int = -1


class FrameReader:
    """Reads the frames of a stream.

    Parameters
    ----------
    ring : Ring
        The stream's ring, attached by this process.
    context : zmq.Context
        Context of this process.
    endpoint : str
        The writer's endpoint.
    name : str
        Name of the reader; a successor of the same name takes over its owed frames.
    policy : Lossless or Latest
        Which frames to take.

    Attributes
    ----------
    received : int
        Frames handed out by ``read``.
    skipped : Counter
        Frames not handed out, by reason: ``backlog`` (the policy jumped over them) and
        ``overwritten`` (their slot was reused first). Every frame the writer announced to this
        reader is received, skipped or waiting.
    published : int or None
        Frames of the whole stream once it has ended, None before.
    """

    def __init__(
        self,
        ring: Ring,
        context: Context,
        endpoint: str,
        name: str,
        policy: Policy,
        *,
        clock: Clock | None = None,
    ) -> None:
        self._ring = ring
        self._name = name
        self._policy = policy
        self._clock = clock or MonotonicClock()
        self._pending: deque[FrameHeader] = deque()
        self._gaps: deque[tuple[int, wire.Gap]] = deque()
        self._passed = 0
        self._held = 0
        self._row = -1
        self._cells = list(range(LEASES_PER_READER))
        self.skipped: Counter[str] = Counter()
        self.received = 0
        self.wire_errors = 0
        self.published: int | None = None
        self._socket = context.socket(zmq.DEALER)
        self._socket.setsockopt(zmq.IDENTITY, f"{name}-{secrets.token_hex(8)}".encode())
        self._socket.setsockopt(zmq.RCVHWM, 2 * ring.spec.n_slots + 64)
        self._socket.setsockopt(zmq.SNDHWM, 2 * ring.spec.n_slots + 64)
        self._socket.setsockopt(zmq.LINGER, 1000)
        self._socket.setsockopt(zmq.MAXMSGSIZE, wire.MAX_MESSAGE_BYTES)
        # libzmq retries an endpoint that is not bound yet after this long.
        self._socket.setsockopt(zmq.RECONNECT_IVL, 20)
        self._socket.connect(endpoint)
        self._endpoint = endpoint

    @property
    def ended(self) -> bool:
        """Return whether the stream is over and every frame and gap was taken or skipped."""
        return self.published is not None and not self._pending and not self._gaps

    @property
    def backlog(self) -> int:
        """Return how many frames wait."""
        return len(self._pending)

    def attach(self, timeout_s: float) -> None:
        """Ask the writer for the stream and wait for its answer.

        Raises
        ------
        BusError
            If the writer refuses or does not answer in time.
        """
        lossless = isinstance(self._policy, Lossless)
        self.request_attach()
        deadline_ns = self._clock.now_ns() + int(timeout_s * 1e9)
        while (left_ns := deadline_ns - self._clock.now_ns()) > 0:
            if not self._socket.poll(max(1, left_ns // 1_000_000)):
                continue
            message = self._receive()
            if isinstance(message, wire.Attached):
                self._accept(message, lossless=lossless)
                return
            if message is not None:
                self._on_message(message)
        raise BusError(f"{self._endpoint}: no answer to {self._name} within {timeout_s:.1f} s")

    def request_attach(self) -> None:
        """Send the request only; the answer is taken by ``attach`` or the next read."""
        lossless = isinstance(self._policy, Lossless)
        self._socket.send(wire.encode(wire.Attach(reader=self._name, lossless=lossless)))

    def read(self, timeout_s: float) -> Received | wire.Gap | None:
        """Return the next frame or gap, or None when nothing came within ``timeout_s``."""
        deadline_ns = self._clock.now_ns() + int(timeout_s * 1e9)
        while True:
            self._drain_socket()
            taken = self._take()
            if taken is not None:
                return taken
            left_ns = deadline_ns - self._clock.now_ns()
            if left_ns <= 0 or self.ended or not self._has_room:
                return None
            self._socket.poll(max(1, left_ns // 1_000_000))

    def is_whole(self, frame: Received) -> bool:
        """Return whether a frame's pixels were not overwritten up to this moment."""
        return self._ring.is_current(frame.header.slot, frame.header.generation)

    def release(self, frame: Received) -> bool:
        """Give a frame back, once; return whether its pixels were whole at this moment.

        Raises
        ------
        BusError
            If the frame's lease was given back already.
        """
        header = frame.header
        if frame.lease_cell in self._cells:
            raise BusError(f"frame {header.seq} was released by {self._name} already")
        self._held -= 1
        whole = self.is_whole(frame)
        if frame.lease_cell >= 0:
            self._give_cell_back(frame.lease_cell)
        else:
            message = wire.Release(slot=header.slot, generation=header.generation)
            self._socket.send(wire.encode(message))
        return whole

    def close(self, *, writer_gone: bool = False) -> None:
        """Leave the stream; nothing is said to a writer that is known to be gone. Idempotent."""
        if self._socket.closed:
            return
        if writer_gone:
            self._socket.close(linger=0)
            return
        # A writer that takes no messages any more is gone: there is nobody to tell.
        if not self._is_square and self._socket.poll(0, zmq.POLLOUT):
            self._socket.send(wire.encode(wire.Detach()), zmq.NOBLOCK)
        self._socket.close()

    @property
    def _is_square(self) -> bool:
        """Return whether the stream has ended and nothing is owed: its writer may be gone already.

        A word that nobody takes would hold up the end of this process.
        """
        if self.published is None or not isinstance(self._policy, Lossless):
            return self.published is not None
        return self.ended and not self._held

    def _take(self) -> Received | wire.Gap | None:
        while True:
            if self._gap_is_next():
                return self._gaps.popleft()[1]
            if not self._policy_may_take():
                return None
            header, skipped = take(self._pending, self._policy, self._clock.now_ns())
            if header is None:
                return None
            self._skip(len(skipped))
            if self._gap_is_next():
                # It lay among the skipped frames, so it comes before the frame jumped to.
                self._pending.appendleft(header)
                continue
            self._passed += 1
            frame = self._open_frame(header)
            if frame is not None:
                self.received += 1
                self._held += 1
                return frame
            self.skipped["overwritten"] += 1

    def _gap_is_next(self) -> bool:
        return bool(self._gaps) and self._gaps[0][0] <= self._passed

    def _skip(self, skipped: int) -> None:
        self._passed += skipped
        self.skipped["backlog"] += skipped

    def _policy_may_take(self) -> bool:
        return isinstance(self._policy, Lossless) or bool(self._cells)

    def _open_frame(self, header: FrameHeader) -> Received | None:
        """Lease (LATEST) and view a frame; None when its slot has been reused already."""
        cell = -1
        if not isinstance(self._policy, Lossless):
            cell = self._cells.pop()
            lease = Lease(header.slot, header.generation, self._clock.now_ns())
            self._ring.write_lease(self._row, cell, lease)
        if not self._ring.is_current(header.slot, header.generation):
            # For LOSSLESS only when this reader was taken for dead and its frames were forgiven.
            self._give_cell_back(cell)
            return None
        pixels = self._ring.view(header.slot, header.shape, header.dtype)
        pixels.flags.writeable = False
        return Received(header=header, pixels=pixels, lease_cell=cell)

    def _give_cell_back(self, cell: int) -> None:
        if cell >= 0:
            self._ring.write_lease(self._row, cell, None)
            self._cells.append(cell)

    def _accept(self, message: wire.Attached, *, lossless: bool) -> None:
        if message.refused:
            raise BusError(f"{self._endpoint}: {self._name} was refused: {message.refused}")
        if not lossless:
            self._row = message.row

    @property
    def _has_room(self) -> bool:
        return len(self._gaps) <= self._ring.spec.n_slots

    def _drain_socket(self) -> None:
        # Gaps are as bounded as frames: what does not fit waits in the socket, which is bounded.
        while self._has_room and self._socket.poll(0):
            message = self._receive()
            if message is not None:
                self._on_message(message)

    def _on_message(self, message: wire.AnyMessage) -> None:
        match message:
            case wire.Published(header=header):
                self._append(header)
            case wire.Gap():
                # Delivered after the frames that came before it.
                self._gaps.append((self._passed + len(self._pending), message))
            case wire.End(published=published):
                self.published = published
            case wire.Attached():
                self._accept(message, lossless=isinstance(self._policy, Lossless))
            case _:
                self.wire_errors += 1

    def _append(self, header: FrameHeader) -> None:
        if not self._ring.holds(header):
            self.wire_errors += 1
            return
        lossless = isinstance(self._policy, Lossless)
        if not lossless and len(self._pending) >= self._ring.spec.n_slots:
            # The ring has gone round: the oldest is overwritten or about to be.
            self._pending.popleft()
            self._skip(1)
        self._pending.append(header)

    def _receive(self) -> wire.AnyMessage | None:
        parts = self._socket.recv_multipart()
        try:
            return wire.decode_last(parts, 1)
        except WireError:
            self.wire_errors += 1
            return None
