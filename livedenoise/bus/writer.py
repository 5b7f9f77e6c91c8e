"""The writing end of a stream: fills slots, tells readers, takes back what they release.

One process owns it. Readers attach by message, so a stream has any number of them; a reader that
vanishes never blocks the writer unless it is LOSSLESS, and then only until the daemon says so.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence

import msgspec
import zmq

from livedenoise.bus import wire
from livedenoise.bus.context import Context
from livedenoise.bus.ring import LEASE_ROWS, Ring, RingTotals
from livedenoise.bus.slots import Grant, SlotState, SlotTable
from livedenoise.core.clock import Clock, MonotonicClock
from livedenoise.core.errors import BusError, WireError
from livedenoise.core.frame import HEADER_VERSION, Frame, FrameHeader, frame_nbytes

_WAIT_SLICE_MS = 5
"""Longest sleep while the ring is full: leases expire without a message."""

MAX_LOSSLESS_READERS = 16
_MAX_GAPS = 16
"""Gaps that may wait for the next frame; more are joined, so that nothing grows without bound."""

_MAX_MESSAGES = 1000
"""Messages taken in one go: a flood of them must not keep the writer from its frames."""

_END_PATIENCE_NS = 2_000_000_000
"""How long the end of a stream waits for a LATEST reader that takes no messages."""


class _Reader(msgspec.Struct):
    name: str
    identity: bytes
    row: int
    unsent: deque[bytes]

    @property
    def lossless(self) -> bool:
        return self.row < 0


class _News(msgspec.Struct, frozen=True):
    """What was sent about a slot: the gaps before its frame, then its header."""

    seq: int
    messages: list[bytes]


class FrameWriter:
    """Publishes frames into a ring.

    Parameters
    ----------
    ring : Ring
        Attached ring; this object is its only writer.
    context : zmq.Context
        Context of this process.
    endpoint : str
        Where readers attach; a wildcard port is resolved in ``self.endpoint``.
    lease_timeout_ns : int
        Age at which a LATEST reader's lease no longer protects its slot.
    expect : sequence of str
        LOSSLESS readers that will attach: they are owed every frame from the first one on, so that
        nothing published before they attach is lost to them.
    """

    def __init__(
        self,
        ring: Ring,
        context: Context,
        endpoint: str,
        *,
        lease_timeout_ns: int,
        expect: Sequence[str] = (),
        clock: Clock | None = None,
    ) -> None:
        self._ring = ring
        self._clock = clock or MonotonicClock()
        self.table = SlotTable(ring.spec.n_slots, lease_timeout_ns)
        for name in expect:
            self.table.add_reader(name)
        self._last_seq = -1
        self._last_host_ns = 0
        self._lost_at_camera = 0
        self._ended_ns = 0
        self.undelivered: Counter[str] = Counter()
        self.wire_errors = 0
        self._readers: dict[str, _Reader] = {}
        self._news: dict[int, _News] = {}
        self._gaps: list[wire.Gap] = []
        self._ended: list[bytes] = []
        self._socket = context.socket(zmq.ROUTER)
        self._socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
        # Enough for every slot, its gap and a few control messages: never the limit in practice.
        self._socket.setsockopt(zmq.SNDHWM, 2 * ring.spec.n_slots + 64)
        self._socket.setsockopt(zmq.RCVHWM, 2 * ring.spec.n_slots + 64)
        self._socket.setsockopt(zmq.LINGER, 1000)
        self._socket.setsockopt(zmq.MAXMSGSIZE, wire.MAX_MESSAGE_BYTES)
        self._socket.bind(endpoint)
        self.endpoint = self._socket.get_string(zmq.LAST_ENDPOINT)

    def begin(
        self, shape: tuple[int, int], dtype: str, timeout_s: float
    ) -> tuple[Grant, Frame] | None:
        """Return a slot to write and its (Y, X) array, or None when none came free in time.

        Raises
        ------
        BusError
            If the frame is larger than a slot.
        """
        nbytes = frame_nbytes(shape, dtype)
        if nbytes > self._ring.spec.slot_bytes:
            raise BusError(
                f"frame {shape[1]}x{shape[0]} {dtype} of {nbytes} bytes is larger than the ring's "
                f"slots of {self._ring.spec.slot_bytes} bytes",
                "start a new run for the larger frame",
            )
        deadline_ns = self._clock.now_ns() + int(timeout_s * 1e9)
        while True:
            self.service(0)
            grant = self.table.begin(self._clock.now_ns(), self._ring.leases())
            if grant is not None:
                self._ring.set_generation(grant.slot, grant.generation - 1)
                self._news.pop(grant.slot, None)
                return grant, self._ring.view(grant.slot, shape, dtype)
            left_ns = deadline_ns - self._clock.now_ns()
            if left_ns <= 0:
                return None
            self.service(min(_WAIT_SLICE_MS, max(1, left_ns // 1_000_000)))

    def publish(self, grant: Grant, header: FrameHeader) -> None:
        """Make a written frame readable and tell every reader.

        Raises
        ------
        BusError
            If the grant was used already, or the header names another slot or does not fit it.
        """
        self._require_header(grant, header)
        self._require_current(grant)
        news = wire.encode(wire.Published(header=header))
        # Before the generation says that the frame is there: whoever finds it can read its header.
        self._ring.set_news(grant.slot, news)
        self.table.publish(grant.slot)
        self._ring.set_generation(grant.slot, grant.generation)
        self._last_seq, self._last_host_ns = header.seq, header.t_host_ns
        self._leave_totals()
        messages = [*self._take_gaps(), news]
        self._news[grant.slot] = _News(header.seq, messages)
        self._send_all(messages)

    def abort(self, grant: Grant) -> None:
        """Give a slot back; the readable frame it once held is gone.

        Raises
        ------
        BusError
            If the grant was used already.
        """
        self._require_current(grant)
        self.table.abort(grant.slot)
        self._ring.set_generation(grant.slot, self.table.generation(grant.slot))

    def drop(self, seq: int | None = None, t_host_ns: int = 0) -> None:
        """Count a captured frame that found no slot; its number is kept for a successor."""
        self.table.drop_full()
        if seq is not None:
            self._last_seq, self._last_host_ns = seq, t_host_ns
        self._leave_totals()

    def note_lost(self, count: int) -> None:
        """Count frames the camera says it lost; they are told of with ``note_gap``."""
        self._lost_at_camera += count

    def note_gap(self, first: int, last: int, reason: str) -> None:
        """Tell readers, before the next frame, that frames ``first`` to ``last`` are lost.

        Neighbours of one reason become one gap. When very many wait for the next frame they become
        one gap with all their reasons: everything between two published frames is lost.
        """
        gaps = self._gaps
        if gaps and gaps[-1].reason == reason and gaps[-1].last + 1 == first:
            first = gaps.pop().first
        elif len(gaps) >= _MAX_GAPS:
            reasons = {part for gap in gaps for part in gap.reason.split("+")} | {reason}
            first = min(first, gaps[0].first)
            last, reason = max(last, gaps[-1].last), "+".join(sorted(reasons))
            gaps.clear()
        gaps.append(wire.Gap(first=first, last=last, reason=reason))

    def end(self) -> None:
        """Tell every reader, and everyone who attaches later, that the stream is over."""
        end = wire.End(published=self.table.published)
        self._ended = [*self._take_gaps(), wire.encode(end)]
        self._ended_ns = self._clock.now_ns()
        for reader in self._readers.values():
            # Unlike frames, the end is kept for a LATEST reader that is behind: without it the
            # reader would wait for ever.
            self._deliver(reader, self._ended, keep=True)

    def settled(self) -> bool:
        """Return whether the stream is over for everybody: nothing owed, the end delivered.

        A LATEST reader that takes no messages is waited for 2 s: nobody else waits for a viewer.
        """
        if self.table.owed or not self._ended:
            return False
        waited_ns = self._clock.now_ns() - self._ended_ns
        return waited_ns > _END_PATIENCE_NS or not any(r.unsent for r in self._readers.values())

    def reader_gone(self, name: str) -> int:
        """Forget a dead reader; return the frames it was still owed (0 for LATEST readers)."""
        reader = self._readers.pop(name, None)
        if reader is not None and not reader.lossless:
            self._ring.clear_leases(reader.row)
        return self.table.remove_reader(name)

    def readers(self) -> list[str]:
        """Return the names of the attached readers."""
        return list(self._readers)

    def service(self, timeout_ms: int) -> None:
        """Take attach, release and detach messages; waits at most ``timeout_ms`` for the first."""
        # First: a reader whose socket was full may have room now, and says nothing about it.
        for reader in self._readers.values():
            self._flush(reader)
        if timeout_ms and not self._socket.poll(timeout_ms):
            return
        for _ in range(_MAX_MESSAGES):
            try:
                parts = self._socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                break
            self._handle(parts)

    def close(self) -> None:
        """Close the socket; the ring stays with its owner. Idempotent."""
        self._socket.close()

    def _leave_totals(self) -> None:
        table = self.table
        totals = RingTotals(
            captured=table.published + table.dropped_full,
            published=table.published,
            dropped_full=table.dropped_full,
            lost_at_camera=self._lost_at_camera,
            last_seq=self._last_seq,
            last_host_ns=self._last_host_ns,
        )
        self._ring.set_totals(totals)

    def _handle(self, parts: list[bytes]) -> None:
        try:
            message = wire.decode_last(parts, 2)
        except WireError:
            self.wire_errors += 1
            return
        identity = parts[0]
        match message:
            case wire.Attach():
                self._attach(identity, message)
            case wire.Release(slot=slot, generation=generation):
                name = self._name_of(identity)
                if name is None or not self.table.release(name, slot, generation):
                    self.undelivered["stray_release"] += 1
            case wire.Detach():
                name = self._name_of(identity)
                if name is not None:
                    self.reader_gone(name)
            case _:
                self.wire_errors += 1

    def _attach(self, identity: bytes, message: wire.Attach) -> None:
        name, previous = message.reader, self._readers.get(message.reader)
        if previous is not None and previous.identity == identity:
            # The same reader asked twice: it must not get the frames it is owed twice.
            self._try_send(identity, wire.encode(wire.Attached(row=previous.row)))
            return
        # A successor needs no room of its own: its predecessor's is its own.
        others = [reader for reader in self._readers.values() if reader is not previous]
        refused = _refusal(message, others)
        if refused:
            self._try_send(identity, wire.encode(wire.Attached(refused=refused)))
            return
        if previous is not None:
            self._retire(previous, successor_lossless=message.lossless)
        reader = _Reader(name, identity, -1 if message.lossless else _free_row(others), deque())
        self._readers[name] = reader
        self._deliver(reader, [wire.encode(wire.Attached(row=reader.row))])
        if message.lossless:
            self.table.add_reader(name)
            owed = [self._news[slot] for slot in self.table.owed_to(name)]
            for news in sorted(owed, key=lambda one: one.seq):
                self._deliver(reader, news.messages)
        self._deliver(reader, self._ended)

    def _retire(self, reader: _Reader, *, successor_lossless: bool) -> None:
        """Clear what a predecessor held, but for the frames its successor takes over."""
        if not reader.lossless:
            self._ring.clear_leases(reader.row)
        elif not successor_lossless:
            self.table.remove_reader(reader.name)

    def _require_current(self, grant: Grant) -> None:
        found = self.table.generation(grant.slot) + 1
        if found != grant.generation or self.table.state(grant.slot) is not SlotState.WRITING:
            raise BusError(
                f"slot {grant.slot}: the grant of generation {grant.generation} was used already "
                f"(the slot is {self.table.state(grant.slot).value}, generation {found - 1})"
            )

    def _require_header(self, grant: Grant, header: FrameHeader) -> None:
        spec = self._ring.spec
        told = (header.slot, header.generation, header.ring_epoch)
        true = (grant.slot, grant.generation, spec.ring_epoch)
        if told != true or not self._ring.holds(header):
            raise BusError(
                f"header of a {header.width}x{header.height} {header.dtype} frame in (slot, "
                f"generation, ring epoch) {told}; granted was {true} of {spec.slot_bytes} bytes"
            )

    def _take_gaps(self) -> list[bytes]:
        gaps, self._gaps = self._gaps, []
        return [wire.encode(gap) for gap in gaps]

    def _name_of(self, identity: bytes) -> str | None:
        for reader in self._readers.values():
            if reader.identity == identity:
                return reader.name
        return None

    def _send_all(self, messages: list[bytes]) -> None:
        for reader in self._readers.values():
            self._deliver(reader, messages)

    def _deliver(self, reader: _Reader, messages: list[bytes], *, keep: bool = False) -> None:
        """Send in order; what a LOSSLESS reader cannot take yet waits, bounded by owed slots."""
        keep = keep or reader.lossless
        for data in messages:
            if keep and reader.unsent:
                reader.unsent.append(data)
            elif not self._try_send(reader.identity, data):
                if keep:
                    reader.unsent.append(data)
                else:
                    self.undelivered[reader.name] += 1

    def _flush(self, reader: _Reader) -> None:
        while reader.unsent and self._try_send(reader.identity, reader.unsent[0]):
            reader.unsent.popleft()

    def _try_send(self, identity: bytes, data: bytes) -> bool:
        try:
            self._socket.send_multipart([identity, data], zmq.NOBLOCK)
        except zmq.ZMQError as error:
            if error.errno in (zmq.EAGAIN, zmq.EHOSTUNREACH):
                return False
            raise
        return True


def _refusal(message: wire.Attach, others: list[_Reader]) -> str:
    """Return why a reader cannot attach beside the ``others``; empty when it can."""
    if message.header_version != HEADER_VERSION:
        return f"header version {message.header_version}, this writer's is {HEADER_VERSION}"
    alike = sum(reader.lossless == message.lossless for reader in others)
    limit = MAX_LOSSLESS_READERS if message.lossless else LEASE_ROWS
    return f"{limit} readers are attached already" if alike >= limit else ""


def _free_row(others: list[_Reader]) -> int:
    taken = {reader.row for reader in others}
    return next(row for row in range(LEASE_ROWS) if row not in taken)
