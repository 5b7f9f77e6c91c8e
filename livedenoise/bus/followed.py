"""A stream whose writer may be replaced: the rest of the old ring is read, then the new one.

Knows: one reader at a time, the order in which old and new frames come, what was skipped in all.
Must not know: why a writer was replaced, what the frames are for.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable

import msgspec

from livedenoise.bus import wire
from livedenoise.bus.backlog import Lossless, Policy
from livedenoise.bus.context import Context
from livedenoise.bus.reader import FrameReader, Received
from livedenoise.bus.rescue import frames_left
from livedenoise.bus.ring import Ring, RingSpec
from livedenoise.core.clock import now_ns
from livedenoise.core.errors import BusError
from livedenoise.core.frame import FrameHeader
from livedenoise.core.log import get_logger

_log = get_logger(__name__)

_QUIET_NS = 100_000_000
"""Silence after which nothing more comes from a killed writer: what it sent is in the socket."""

_ATTACH_S = 0.1


class FollowedStream:
    """Reads a stream across replacements of its writer.

    Parameters
    ----------
    name : str
        The reader's name on the bus, the same at every writer.
    policy : callable
        Returns the policy of a new reader.

    Attributes
    ----------
    reason : str
        Why the writer was last replaced; the numbers missing at that seam are missing for this.
    """

    def __init__(self, context: Context, name: str, policy: Callable[[], Policy]) -> None:
        self._context = context
        self._name = name
        self._policy = policy
        self._ring: Ring | None = None
        self._reader: FrameReader | None = None
        self._next: wire.Reattach | None = None
        self._candidate: tuple[Ring, FrameReader] | None = None
        self._quiet_since_ns = 0
        self._complained_of: wire.Reattach | None = None
        self._past_skipped: Counter[str] = Counter()
        self._past_received = 0
        self._last_seq = -1
        self._searched = False
        self._left: deque[FrameHeader] = deque()
        self._rescued: set[int] = set()
        self.reason = ""
        self.reattached = 0

    def open(self, ring: RingSpec, endpoint: str, timeout_s: float, *, after_seq: int = -1) -> None:
        """Attach the first ring; frames up to ``after_seq`` were taken by a predecessor.

        Raises
        ------
        BusError
            If the ring is not there, or the writer refuses or does not answer in time.
        """
        self._last_seq = after_seq
        self._ring = Ring.attach(ring)
        self._reader = FrameReader(self._ring, self._context, endpoint, self._name, self._policy())
        self._reader.attach(timeout_s)

    def replace(self, message: wire.Reattach) -> None:
        """Take the order to follow a new writer; a later order takes the place of an earlier."""
        self._drop_candidate()
        self._next = message

    @property
    def ring_epoch(self) -> int:
        """Return the epoch of the ring being read; -1 for none."""
        return -1 if self._ring is None else self._ring.spec.ring_epoch

    @property
    def switching(self) -> bool:
        """Return whether a new writer is still to be attached."""
        return self._next is not None

    @property
    def ended(self) -> bool:
        """Return whether the stream is over and everything of it was taken."""
        return self._next is None and not self._left and self.reader.ended

    @property
    def backlog(self) -> int:
        """Return how many frames wait."""
        return len(self._left) + (0 if self._reader is None else self._reader.backlog)

    @property
    def received(self) -> int:
        """Return how many frames were handed out, by every reader so far."""
        return self._past_received + (0 if self._reader is None else self._reader.received)

    @property
    def skipped(self) -> Counter[str]:
        """Return frames not handed out, by reason."""
        return self._past_skipped + (Counter() if self._reader is None else self._reader.skipped)

    @property
    def reader(self) -> FrameReader:
        """Return the reader in use.

        Raises
        ------
        BusError
            If the stream was not opened, or is closed.
        """
        if self._reader is None:
            raise BusError(f"{self._name}: attached to no stream")
        return self._reader

    def read(self, timeout_s: float, *, may_switch: bool = True) -> Received | wire.Gap | None:
        """Return the next frame or gap; None when nothing came in time.

        ``may_switch`` says that no frame of the old ring is held any more. A new writer is asked
        until it answers, or another one is announced: whether it lives is the daemon's to watch.
        """
        if self._left:
            return self._next_rescued()
        taken = self.reader.read(timeout_s)
        if taken is not None:
            self._quiet_since_ns = 0
            if isinstance(taken, Received):
                self._last_seq = taken.header.seq
            return taken
        self._quiet_since_ns = self._quiet_since_ns or now_ns()
        if may_switch and self._next is not None and self._old_is_read():
            if self.rescue():
                return self._next_rescued()
            self._switch(self._next)
        return None

    def _next_rescued(self) -> Received:
        """Return the next frame found in a dead writer's ring."""
        header = self._left.popleft()
        ring = self._ring
        if ring is None:
            raise BusError(f"{self._name}: attached to no stream")
        pixels = ring.view(header.slot, header.shape, header.dtype)
        pixels.flags.writeable = False
        self._last_seq = header.seq
        self._rescued.add(header.seq)
        self._past_received += 1
        return Received(header=header, pixels=pixels)

    def is_whole(self, frame: Received) -> bool:
        """Return whether a frame that is held still has its pixels."""
        return self.is_rescued(frame) or self.reader.is_whole(frame)

    def release(self, frame: Received) -> bool:
        """Give a frame back; return whether its pixels were whole at this moment."""
        if frame.header.seq in self._rescued:
            # Its writer is gone: there is nobody to tell, and nothing is written there any more.
            self._rescued.discard(frame.header.seq)
            return True
        return self.reader.release(frame)

    def is_rescued(self, frame: Received) -> bool:
        """Return whether a frame was found in a dead writer's ring and is not released yet."""
        return frame.header.seq in self._rescued

    def rescue(self) -> bool:
        """Find, once for each ring, what a killed writer left there and told nobody of.

        Only for a LOSSLESS reader whose writer is gone for good. Return whether there is anything:
        ``read`` then hands it out.
        """
        ring = self._ring
        if ring is None or self._searched or not isinstance(self._policy(), Lossless):
            return False
        self._searched = True
        self._left.extend(frames_left(ring, self._last_seq))
        return bool(self._left)

    def close(self) -> None:
        """Leave the stream. Idempotent."""
        self._drop_candidate()
        self._close_current()

    def _close_current(self, *, writer_gone: bool = False) -> None:
        if self._reader is not None:
            self._past_skipped = self.skipped
            self._past_received = self.received
            self._reader.close(writer_gone=writer_gone)
            self._reader = None
        if self._ring is not None:
            self._ring.close()
            self._ring = None

    def _old_is_read(self) -> bool:
        """Return whether the old writer's last messages have come."""
        if self.reader.ended:
            return True
        return now_ns() - self._quiet_since_ns >= _QUIET_NS

    def _switch(self, order: wire.Reattach) -> None:
        """Attach the new writer; when it does not answer, keep the old one and ask again.

        The same reader asks every time: leaving and coming back would forgive what it is owed.
        """
        try:
            if self._candidate is None:
                self._candidate = self._new_candidate(order)
            ring, reader = self._candidate
            reader.attach(_ATTACH_S)
        except BusError as error:
            # Not ready yet, or its process died in turn and another order follows. Said once: what
            # never changes (it refuses this reader) must not pass in silence.
            if order is not self._complained_of:
                self._complained_of = order
                _log.warning("%s: asks again: %s", self._name, error.message)
            return
        self._candidate = None
        self._close_current(writer_gone=True)
        self._ring, self._reader, self._next = ring, reader, None
        self._searched = False
        self._quiet_since_ns = 0
        self.reason = order.reason
        self.reattached += 1

    def _new_candidate(self, order: wire.Reattach) -> tuple[Ring, FrameReader]:
        ring = Ring.attach(msgspec.convert(order.ring, RingSpec))
        reader = FrameReader(ring, self._context, order.endpoint, self._name, self._policy())
        return ring, reader

    def _drop_candidate(self) -> None:
        if self._candidate is not None:
            ring, reader = self._candidate
            self._candidate = None
            reader.close()
            ring.close()
