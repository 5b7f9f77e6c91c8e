"""The receiving end of a ``FrameSender``: who may send now, what is taken, what is refused.

One sender at a time: while it is connected a second one is refused; its connection ends when it
says goodbye, its program ends, or its machine stops answering. A sender that comes back after a
broken connection is known by its session. Whatever arrives, nothing here raises: what cannot be
taken is counted in ``refused`` by reason and answered with that reason.

Knows: messages and connections. Must not know: cameras, rings.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import msgspec
import zmq

from livedenoise.bus import frames_wire as spoken
from livedenoise.bus.context import Context
from livedenoise.bus.curve import Gate
from livedenoise.bus.frames_wire import Limits, RefusedError, SentFrame
from livedenoise.core.clock import now_ns
from livedenoise.core.frame import Frame, frame_nbytes

_SLACK_BYTES = 1 << 16
"""Parts longer than the largest frame by more than this end the connection they come from."""

_ANSWERS_HWM = 1000
_LINGER_MS = 200
"""Time the last answers have to leave."""


class Arrival(msgspec.Struct, frozen=True, kw_only=True):
    """A frame that was received and fits.

    Attributes
    ----------
    facts : SentFrame
        What the sender says about it.
    pixels : ndarray
        (Y, X), read-only, in the memory it was received into.
    t_host_ns : int
        When it was complete here (``core.clock``).
    """

    facts: SentFrame
    pixels: Frame
    t_host_ns: int


class FrameIntake:
    """Takes frames from one sender at a time. One thread owns it.

    Parameters
    ----------
    context : zmq.Context
        Context of this process (with keys the intake has its own).
    endpoint : str
        Where senders connect; ``self.endpoint`` resolves a wildcard.
    limits : Limits
        The largest frame and its type.
    keys : Path or None
        Server's folder of CURVE keys; needed beyond loopback.
    hwm : int
        Frames that may wait in the socket.
    key, keys_key : str
        Names of the settings in messages.

    Attributes
    ----------
    refused : Counter
        Messages, frames and senders refused, by reason.
    senders : int
        Sessions that were welcomed.
    """

    def __init__(
        self,
        context: Context,
        endpoint: str,
        limits: Limits,
        *,
        keys: Path | None,
        hwm: int,
        key: str = "listen",
        keys_key: str = "keys",
    ) -> None:
        largest = frame_nbytes((limits.height, limits.width), limits.dtype)
        options: dict[int, int] = {
            zmq.RCVHWM: hwm,
            zmq.SNDHWM: _ANSWERS_HWM,
            zmq.MAXMSGSIZE: largest + _SLACK_BYTES,
            # Answering a sender that is gone is an error: that is how we know.
            zmq.ROUTER_MANDATORY: 1,
        }
        self._limits = limits
        self._gate = Gate(
            context, zmq.ROUTER, endpoint, keys=keys, options=options, key=key, keys_key=keys_key
        )
        self.endpoint = self._gate.endpoint
        self.refused: Counter[str] = Counter()
        self.unanswered = 0
        self.senders = 0
        self._sender = b""
        self._session = ""

    @property
    def handshakes_refused(self) -> int:
        """Return how many connections failed: wrong or missing key."""
        return self._gate.refused

    def receive(self, timeout_ms: int) -> Arrival | None:
        """Return the next frame of the sender, or None after ``timeout_ms`` or another message."""
        if not self._gate.socket.poll(timeout_ms):
            return None
        parts = self._gate.socket.recv_multipart(copy=False)
        identity, rest = bytes(parts[0].buffer), [part.buffer for part in parts[1:]]
        try:
            return self._take(identity, rest)
        except RefusedError as error:
            self._refuse(identity, error, _number_in(rest))
            return None

    def acknowledge(self, arrival: Arrival) -> None:
        """Tell the sender that its frame was taken, so that it may send another."""
        self._answer(self._sender, spoken.Taken(number=arrival.facts.number))

    def close(self) -> None:
        """Close the socket. Idempotent."""
        self._gate.close(_LINGER_MS)

    def _take(self, identity: bytes, parts: list[memoryview]) -> Arrival | None:
        message = spoken.decode(parts[0]) if len(parts) == 1 else None
        match message:
            case spoken.Hello():
                self._greet(identity, message)
                return None
            case spoken.Goodbye():
                self._check_sender(identity, message.session)
                self._sender = b""
                return None
        facts, pixels = spoken.frame_in(parts, self._limits)
        self._check_sender(identity, facts.session)
        return Arrival(facts=facts, pixels=pixels, t_host_ns=now_ns())

    def _greet(self, identity: bytes, hello: spoken.Hello) -> None:
        known = hello.session == self._session
        if not known and self._sender not in {b"", identity} and self._is_connected():
            raise RefusedError("second_sender", "another sender is connected; one at a time")
        self.senders += not known
        self._sender, self._session = identity, hello.session
        limits = self._limits
        welcome = spoken.Welcome(height=limits.height, width=limits.width, dtype=limits.dtype)
        self._answer(identity, welcome)

    def _check_sender(self, identity: bytes, session: str) -> None:
        if identity != self._sender or session != self._session:
            raise RefusedError("not_welcomed", "frames before a welcome; say hello first")

    def _is_connected(self) -> bool:
        return self._answer(self._sender, spoken.Ping())

    def _refuse(self, identity: bytes, error: RefusedError, number: int) -> None:
        self.refused[error.reason] += 1
        # Only a welcomed sender is told about its frames; a stranger is told to say hello.
        number = number if identity == self._sender else -1
        text = error.message[:400]
        self._answer(identity, spoken.Refused(reason=error.reason, text=text, number=number))

    def _answer(self, identity: bytes, message: spoken.Spoken) -> bool:
        """Send an answer; return whether the peer is still connected."""
        try:
            self._gate.socket.send_multipart([identity, spoken.encode(message)], zmq.NOBLOCK)
        except zmq.Again:
            # It does not read its answers: they are lost to it, nothing waits here.
            self.unanswered += 1
        except zmq.ZMQError as error:
            if error.errno != zmq.EHOSTUNREACH:
                raise
            return False
        return True


def _number_in(parts: list[memoryview]) -> int:
    """Return the number of a refused frame as far as its facts can be read, else -1."""
    try:
        return spoken.expect(spoken.decode(parts[0]), SentFrame).number if parts else -1
    except RefusedError:
        return -1
