"""Questions to a daemon from outside its run: one ROUTER that answers who knows the token.

Knows: sockets, tokens, limits. Must not know: what is asked, how it is answered.

The daemon's loop polls it and never waits. Whoever sends nonsense, too much, or a wrong token gets
no answer and is counted. A frame on the wire is ``[number, message]``: the number comes back with
the answer, so that a late answer is not taken for the next one.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from typing import Any, TypeAlias

import zmq

from livedenoise.bus import wire
from livedenoise.bus.context import Context, new_context
from livedenoise.core.clock import now_ns
from livedenoise.core.closing import Closing
from livedenoise.core.errors import BusError, WireError

MAX_ASK_BYTES = 1 << 14
"""Refused above this, before it is looked at: questions are short, answers are long."""
MAX_PER_POLL = 16
"""Messages one poll takes, good or bad: a flood costs the daemon's loop this much and no more."""
_MIN_TOKEN = 16
_MAX_NUMBER_BYTES = 16
_MAX_ANSWERS_WAITING = 8

ReplyTo: TypeAlias = tuple[bytes, bytes]
"""Who asked, and the number of the question."""


class RemoteServer:
    """The daemon's end.

    Parameters
    ----------
    token : str
        The secret to answer to, at least 16 characters.

    Attributes
    ----------
    endpoint : str
        Where it really listens.
    refused : int
        Messages that got no answer: malformed, too large, not a question, wrong token. What is
        above the size of any message never arrives: the connection is closed below.
    """

    def __init__(self, context: Context, endpoint: str, token: str) -> None:
        if len(token) < _MIN_TOKEN:
            raise ValueError(f"token of {len(token)} characters, at least {_MIN_TOKEN} needed")
        self._token = token.encode()
        self._socket = context.socket(zmq.ROUTER)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.setsockopt(zmq.RCVHWM, 2 * MAX_PER_POLL)
        # Answers to one who does not read them are dropped beyond this: a ROUTER never waits.
        self._socket.setsockopt(zmq.SNDHWM, _MAX_ANSWERS_WAITING)
        self._socket.setsockopt(zmq.MAXMSGSIZE, wire.MAX_MESSAGE_BYTES)
        self._socket.bind(endpoint)
        self.endpoint = self._socket.get_string(zmq.LAST_ENDPOINT)
        self.refused = 0

    def poll(self) -> list[tuple[ReplyTo, wire.Ask]]:
        """Return the questions that wait, at most ``MAX_PER_POLL`` messages looked at."""
        asks = []
        for _ in range(MAX_PER_POLL):
            try:
                parts = self._socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                break
            ask = self._admitted(parts)
            if ask is None:
                self.refused += 1
            else:
                asks.append(((parts[0], parts[1]), ask))
        return asks

    def answer(self, reply_to: ReplyTo, answer: wire.Answer) -> None:
        """Answer; at once, and for nothing when the one who asked went away.

        Raises
        ------
        WireError
            If the answer is too large to be sent.
        """
        self._socket.send_multipart([*reply_to, wire.encode(answer)], zmq.NOBLOCK)

    def close(self) -> None:
        """Close the socket. Idempotent."""
        self._socket.close()

    def _admitted(self, parts: list[bytes]) -> wire.Ask | None:
        if len(parts) != 3 or len(parts[1]) > _MAX_NUMBER_BYTES or len(parts[2]) > MAX_ASK_BYTES:
            return None
        try:
            ask = wire.expect(wire.decode(parts[2]), wire.Ask)
        except WireError:
            return None
        # Takes as long for a token that is right at first and wrong later.
        return ask if hmac.compare_digest(ask.token.encode(), self._token) else None


class RemoteClient(Closing):
    """The end of whoever asks; one thread's. A context manager."""

    def __init__(self, endpoint: str, token: str) -> None:
        self._endpoint = endpoint
        self._token = token
        self._number = 0
        self._context = new_context()
        self._socket = self._context.socket(zmq.DEALER)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.setsockopt(zmq.SNDHWM, 2 * MAX_PER_POLL)
        self._socket.setsockopt(zmq.RECONNECT_IVL, 50)
        self._socket.setsockopt(zmq.MAXMSGSIZE, wire.MAX_MESSAGE_BYTES)
        self._socket.connect(endpoint)

    def ask(
        self, verb: str, arguments: Mapping[str, Any] | None = None, timeout_s: float = 3.0
    ) -> wire.Answer:
        """Ask and wait for the answer; ``Answer.error`` says when it was not done.

        Raises
        ------
        BusError
            If no answer comes within ``timeout_s``.
        WireError
            If the answer is not one.
        """
        self._number += 1
        number = self._number.to_bytes(8, "big")
        ask = wire.Ask(token=self._token, verb=verb, arguments=dict(arguments or {}))
        try:
            self._socket.send_multipart([number, wire.encode(ask)], zmq.NOBLOCK)
        except zmq.Again:
            raise self._silent("takes no more questions") from None
        deadline_ns = now_ns() + int(timeout_s * 1e9)
        while (left_ns := deadline_ns - now_ns()) > 0:
            if not self._socket.poll(left_ns // 1_000_000 + 1):
                continue
            parts = self._socket.recv_multipart()
            if parts[0] == number:
                return wire.expect(wire.decode_last(parts, 2), wire.Answer)
        raise self._silent(f"no answer to '{verb}' within {timeout_s:g} s")

    def close(self) -> None:
        """Close the socket; a question not yet sent is dropped. Idempotent."""
        self._socket.close()
        self._context.term()

    def _silent(self, what: str) -> BusError:
        return BusError(
            f"daemon at {self._endpoint}: {what}",
            "it may be busy or hang: see the logs in its run folder",
        )
