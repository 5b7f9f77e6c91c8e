"""The control plane: the daemon's orders to its stages, their heartbeats and answers.

The daemon owns one ROUTER; each stage process has a ``ControlLink``: a thread that owns a DEALER,
sends heartbeats with the latest metrics and takes orders, so that a stop arrives even while the
stage's loop waits in a long exposure. Sockets never cross threads.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Any

import msgspec
import zmq

from livedenoise.bus import wire
from livedenoise.bus.context import Context, new_context
from livedenoise.core.clock import now_ns
from livedenoise.core.errors import BusError, WireError

_POLL_MS = 20
_MAX_QUEUED = 64
_MAX_STRANGERS = 1000
"""Messages of strangers passed over in one go."""


class _Peer(msgspec.Struct):
    """A stage the daemon expects; orders wait until it was heard of, so that none is lost."""

    stage: str
    heard: bool = False
    waiting: list[bytes] = []


class ControlServer:
    """The daemon's end. Only identities it was told of are listened to."""

    def __init__(self, context: Context, endpoint: str) -> None:
        self._socket = context.socket(zmq.ROUTER)
        self._socket.setsockopt(zmq.LINGER, 200)
        self._socket.setsockopt(zmq.RCVHWM, 1000)
        self._socket.setsockopt(zmq.MAXMSGSIZE, wire.MAX_MESSAGE_BYTES)
        self._socket.bind(endpoint)
        self.endpoint = self._socket.get_string(zmq.LAST_ENDPOINT)
        self._peers: dict[bytes, _Peer] = {}
        self.wire_errors = 0

    def expect(self, stage: str, identity: str) -> None:
        """Listen to ``stage`` under its unguessable identity, and no earlier one, from now on."""
        known = {key: peer for key, peer in self._peers.items() if peer.stage != stage}
        self._peers = known | {identity.encode(): _Peer(stage)}

    def send(self, stage: str, message: wire.Message) -> None:
        """Send an order to a stage; it waits here until the stage was heard of.

        An order to a stage that went away is dropped: its death is seen apart.

        Raises
        ------
        BusError
            If very many orders wait for a stage that was never heard of.
        """
        for identity, peer in self._peers.items():
            if peer.stage != stage:
                continue
            if peer.heard:
                self._socket.send_multipart([identity, wire.encode(message)])
            elif len(peer.waiting) < _MAX_QUEUED:
                peer.waiting.append(wire.encode(message))
            else:
                raise BusError(f"stage {stage}: {_MAX_QUEUED} orders wait and it never answered")

    def receive(self, timeout_ms: int) -> tuple[str, wire.AnyMessage] | None:
        """Return the next message and the stage it came from, or None after ``timeout_ms``."""
        for _ in range(_MAX_STRANGERS):
            if not self._socket.poll(timeout_ms):
                return None
            parts = self._socket.recv_multipart()
            peer = self._peers.get(parts[0])
            try:
                message = wire.decode_last(parts, 2)
            except WireError:
                peer = None
            if peer is not None:
                if not peer.heard:
                    self._greet(parts[0], peer)
                return peer.stage, message
            # What a stranger says does not hide what waits behind it.
            self.wire_errors += 1
            timeout_ms = 0
        return None

    def close(self) -> None:
        """Close the socket. Idempotent."""
        self._socket.close()

    def _greet(self, identity: bytes, peer: _Peer) -> None:
        peer.heard = True
        for data in peer.waiting:
            self._socket.send_multipart([identity, data])
        peer.waiting.clear()


class ControlLink:
    """A stage's end: a thread that talks to the daemon while the stage works.

    Parameters
    ----------
    on_stop : callable
        Called in this thread, with ``drain``, when the daemon orders a stop: once, and again when
        a later order says to abort.
    """

    def __init__(
        self, endpoint: str, identity: str, *, report_ms: int, on_stop: Callable[[bool], None]
    ) -> None:
        self._endpoint = endpoint
        self._identity = identity.encode()
        self._report_ns = report_ms * 1_000_000
        self._on_stop = on_stop
        self._inbox: queue.Queue[wire.AnyMessage] = queue.Queue(_MAX_QUEUED)
        self._outbox: queue.Queue[bytes] = queue.Queue(_MAX_QUEUED)
        self._beat: tuple[int, int, dict[str, Any]] = (now_ns(), 0, {})
        self._closing = threading.Event()
        self._stopped = False
        self._unsent: bytes | None = None
        self.rejected = 0
        self._thread = threading.Thread(target=self._run, name="control", daemon=True)
        self._thread.start()

    @property
    def stopped(self) -> bool:
        """Return whether the daemon ordered a stop."""
        return self._stopped

    def tick(self, metrics: dict[str, Any], busy_until_ns: int = 0) -> None:
        """Say that the loop moved, with its latest metrics; cheap enough for every step.

        Raises
        ------
        BusError
            If the link's thread died (``on_stop`` failed, metrics that cannot be sent).
        """
        if not (self._thread.is_alive() or self._closing.is_set()):
            raise BusError(f"{self._endpoint}: the link to the daemon died", "see the stage's log")
        self._beat = (now_ns(), busy_until_ns, metrics)

    def send(self, message: wire.Message) -> None:
        """Queue a message to the daemon.

        Raises
        ------
        BusError
            If the daemon has taken none of the last messages.
        """
        try:
            self._outbox.put(wire.encode(message), timeout=5)
        except queue.Full:
            raise BusError(f"{self._endpoint}: the daemon takes no messages") from None

    def wait(self, timeout_s: float) -> wire.AnyMessage | None:
        """Return the next order other than a stop, or None after ``timeout_s``."""
        try:
            return self._inbox.get(timeout=timeout_s)
        except queue.Empty:
            return None

    def orders(self) -> list[wire.AnyMessage]:
        """Return every order waiting, without waiting."""
        found = []
        while (message := self.wait(0)) is not None:
            found.append(message)
        return found

    def close(self) -> None:
        """Send what is queued and end the thread. Idempotent."""
        self._closing.set()
        self._thread.join(timeout=5)

    def _run(self) -> None:
        context = new_context()
        socket = context.socket(zmq.DEALER)
        socket.setsockopt(zmq.IDENTITY, self._identity)
        socket.setsockopt(zmq.LINGER, 1000)
        socket.setsockopt(zmq.SNDHWM, 100)
        socket.setsockopt(zmq.RECONNECT_IVL, 20)
        socket.connect(self._endpoint)
        try:
            self._loop(socket)
        finally:
            socket.close()
            context.term()

    def _loop(self, socket: zmq.Socket[bytes]) -> None:
        next_beat_ns = now_ns()
        while True:
            last_round = self._closing.is_set()
            self._send_queued(socket)
            if last_round:
                return
            if now_ns() >= next_beat_ns:
                next_beat_ns = now_ns() + self._report_ns
                self._send_beat(socket)
            if socket.poll(_POLL_MS):
                self._take(socket.recv_multipart())

    def _send_queued(self, socket: zmq.Socket[bytes]) -> None:
        while self._unsent is not None or not self._outbox.empty():
            if self._unsent is None:
                self._unsent = self._outbox.get_nowait()
            try:
                socket.send(self._unsent, zmq.NOBLOCK)
            except zmq.Again:
                # Kept and tried again next round: waiting here would keep orders from arriving.
                return
            self._unsent = None

    def _send_beat(self, socket: zmq.Socket[bytes]) -> None:
        t_step_ns, busy_until_ns, metrics = self._beat
        beat = wire.Beat(t_step_ns=t_step_ns, busy_until_ns=busy_until_ns, metrics=metrics)
        try:
            socket.send(wire.encode(beat), zmq.NOBLOCK)
        except zmq.Again:
            # The next beat says the same and more; the daemon notices silence by itself.
            self.rejected += 1

    def _take(self, parts: list[bytes]) -> None:
        try:
            message = wire.decode_last(parts, 1)
        except WireError:
            self.rejected += 1
            return
        if isinstance(message, wire.Stop):
            # A second order, to abort, must reach a stage that is still draining.
            if not self._stopped or not message.drain:
                self._stopped = True
                self._on_stop(message.drain)
            return
        try:
            self._inbox.put_nowait(message)
        except queue.Full:
            self.rejected += 1
