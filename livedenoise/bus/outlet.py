"""The sending end of a frame connection: says hello, sends, keeps account of every frame.

Frames that were sent and not answered yet are ``in_flight``: at most ``max_queue``. They are
answered (taken or refused) or, when the connection ends, lost. Law:
``sent == taken + sum(refused) + lost + in_flight``.

Knows: messages, the connection. Must not know: cameras, who calls. Not thread-safe.
"""

from __future__ import annotations

import secrets
from collections import Counter, deque
from contextlib import ExitStack
from pathlib import Path

import zmq
from zmq.utils.monitor import parse_monitor_message

from livedenoise.bus import frames_wire as spoken
from livedenoise.bus.context import new_context
from livedenoise.bus.curve import HANDSHAKE_FAILED, Socket, open_client
from livedenoise.bus.exposure import uses_ipv6
from livedenoise.bus.frames_wire import RefusedError, SentFrame
from livedenoise.core.clock import now_ns
from livedenoise.core.errors import BusError
from livedenoise.core.frame import Frame

_RETRY_NS = 1_000_000_000
"""After a refusal, time until hello is said again."""

_RECONNECT_MS = 50
_RECONNECT_MAX_MS = 1000
_EVENTS = zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED | HANDSHAKE_FAILED


class FrameOutlet:
    """One connection to a network camera, made and made again in the background.

    Parameters
    ----------
    endpoint : str
        ``tcp://ADDRESS:PORT`` of the camera's key ``listen``.
    keys : Path or None
        Client's folder of CURVE keys.
    max_queue : int
        Frames that may be sent and not answered.

    Raises
    ------
    BusError
        If the endpoint is not one.
    ConfigError
        If the keys cannot be used.
    """

    def __init__(self, endpoint: str, *, keys: Path | None, max_queue: int) -> None:
        self.session = secrets.token_hex(16)
        self._max_queue = max_queue
        self.welcome: spoken.Welcome | None = None
        self.problem = ""
        self.sent = self.taken = self.lost = self.wire_errors = 0
        self.handshakes_failed = self.refused_hellos = 0
        self.refused: Counter[str] = Counter()
        self._in_flight: deque[int] = deque()
        self._connected = False
        self._hello_ns: int | None = None
        self._context = new_context()
        with ExitStack() as undo:
            undo.callback(self._context.destroy, linger=0)
            self._socket = self._open(endpoint, keys)
            undo.pop_all()
        self._poller = zmq.Poller()
        self._poller.register(self._socket, zmq.POLLIN)
        self._poller.register(self._monitor, zmq.POLLIN)

    @property
    def in_flight(self) -> int:
        """Return how many frames were sent and not answered yet."""
        return len(self._in_flight)

    def obstacle(self) -> str:
        """Return why no frame can be sent now: "" when one can."""
        if self.welcome is None:
            return "refused" if self.problem else "not_connected"
        return "queue_full" if len(self._in_flight) >= self._max_queue else ""

    def service(self, timeout_ms: int) -> None:
        """Take what has come, waiting up to ``timeout_ms`` for the first of it."""
        ready = dict(self._poller.poll(timeout_ms))
        if self._monitor in ready:
            while self._monitor.poll(0):
                self._on_event(parse_monitor_message(self._monitor.recv_multipart())["event"])
        if self._socket in ready:
            self._take_answers()
        if self._hello_ns is not None and self._connected and now_ns() >= self._hello_ns:
            self._say_hello()

    def send(self, facts: SentFrame, pixels: Frame) -> bool:
        """Send one frame, without waiting; return False when the connection just went.

        What the receiver said it would refuse is sent without its pixels: it is counted there too.
        """
        fits = self.welcome is not None and _fits(facts, self.welcome)
        parts: list[bytes | memoryview] = [spoken.encode(facts)]
        if fits:
            parts.append(pixels.data)
        try:
            self._socket.send_multipart(parts, zmq.NOBLOCK)
        except zmq.Again:
            return False
        self.sent += 1
        self._in_flight.append(facts.number)
        return True

    def close(self, linger_ms: int) -> None:
        """Say goodbye and close, giving what is queued ``linger_ms`` to leave. Idempotent."""
        if self._socket.closed:
            return
        if self.welcome is not None:
            self._try_to_send(spoken.Goodbye(session=self.session))
        self._lose_in_flight()
        self._socket.disable_monitor()
        self._monitor.close(linger=0)
        self._socket.close(linger=linger_ms)
        self._context.term()

    def _open(self, endpoint: str, keys: Path | None) -> Socket:
        socket = open_client(self._context, zmq.DEALER, keys)
        options = {
            # A frame for nobody is not kept: it would come late, and unasked.
            zmq.IMMEDIATE: 1,
            zmq.SNDHWM: self._max_queue + 8,
            zmq.RCVHWM: 1000,
            zmq.MAXMSGSIZE: spoken.MAX_FACTS_BYTES,
            zmq.RECONNECT_IVL: _RECONNECT_MS,
            zmq.RECONNECT_IVL_MAX: _RECONNECT_MAX_MS,
            zmq.IPV6: int(uses_ipv6(endpoint)),
            zmq.LINGER: 0,
        }
        for option, value in options.items():
            socket.setsockopt(option, value)
        socket.monitor("inproc://events", _EVENTS)
        self._monitor: Socket = self._context.socket(zmq.PAIR)
        self._monitor.connect("inproc://events")
        try:
            socket.connect(endpoint)
        except zmq.ZMQError as error:
            raise BusError(
                f"{endpoint!r} is not an endpoint to connect to: {error}", "tcp://ADDRESS:PORT"
            ) from error
        return socket

    def _take_answers(self) -> None:
        # As many answers as frames can be in flight; a flood of others waits its turn.
        for _ in range(self._max_queue + 1):
            if not self._socket.poll(0):
                return
            self._on_answer(self._socket.recv_multipart())

    def _on_event(self, event: int) -> None:
        if event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
            self._connected, self._hello_ns, self.problem = True, 0, ""
        elif event == zmq.EVENT_DISCONNECTED:
            # What the other end answered before it went has come already.
            self._take_answers()
            if self.welcome is not None:
                self.problem = ""
            self._connected, self.welcome, self._hello_ns = False, None, None
            self._lose_in_flight()
        elif event & HANDSHAKE_FAILED:
            self.handshakes_failed += 1
            self.problem = "the other end does not accept this connection: wrong or missing key"

    def _say_hello(self) -> None:
        if self._try_to_send(spoken.Hello(session=self.session)):
            self._hello_ns = None

    def _try_to_send(self, message: spoken.Spoken) -> bool:
        try:
            self._socket.send(spoken.encode(message), zmq.NOBLOCK)
        except zmq.Again:
            return False
        return True

    def _on_answer(self, parts: list[bytes]) -> None:
        try:
            spoken.expect_parts(parts, 1)
            answer = spoken.decode(parts[0])
        except RefusedError:
            self.wire_errors += 1
            return
        match answer:
            case spoken.Welcome():
                self.welcome, self.problem = answer, ""
            case spoken.Taken():
                self.taken += self._settle(answer.number)
            case spoken.Refused():
                self._on_refused(answer)
            case spoken.Ping():
                pass
            case _:
                self.wire_errors += 1

    def _on_refused(self, answer: spoken.Refused) -> None:
        self.problem = answer.text or answer.reason
        if answer.number >= 0:
            self.refused[answer.reason] += self._settle(answer.number)
            return
        self.refused_hellos += 1
        self.welcome, self._hello_ns = None, now_ns() + _RETRY_NS
        self._lose_in_flight()

    def _settle(self, number: int) -> bool:
        """Take ``number`` off the frames in flight; return whether it was among them.

        Frames are answered in order: earlier ones without an answer have lost theirs.
        """
        if number not in self._in_flight:
            return False
        while self._in_flight.popleft() != number:
            self.lost += 1
        return True

    def _lose_in_flight(self) -> None:
        self.lost += len(self._in_flight)
        self._in_flight.clear()


def _fits(facts: SentFrame, welcome: spoken.Welcome) -> bool:
    limits = spoken.Limits(height=welcome.height, width=welcome.width, dtype=welcome.dtype)
    return limits.refusal(facts) is None
