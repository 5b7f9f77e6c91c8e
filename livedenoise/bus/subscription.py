"""A SUB socket with its own context: bounded, encrypted where keys are given, refusals seen.

Knows: the connection. Must not know: what the messages mean. One thread owns it.
"""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import zmq
from zmq.utils.monitor import parse_monitor_message

from livedenoise.bus.context import new_context
from livedenoise.bus.curve import HANDSHAKE_FAILED, Socket, open_client
from livedenoise.bus.exposure import uses_ipv6
from livedenoise.core.errors import BusError

_RECONNECT_MS = 50
_RECONNECT_MAX_MS = 1000


class Subscription:
    """Receives one topic of one publisher.

    Parameters
    ----------
    endpoint : str
        Where the publisher is.
    topic : bytes
        Beginning of the topics wanted.
    keys : Path or None
        Client's folder of CURVE keys.
    hwm : int
        Messages that may wait in the socket.
    max_bytes : int
        Longest part taken; a longer one ends the connection.

    Raises
    ------
    BusError
        If the endpoint is not one.
    ConfigError
        If the keys cannot be used.
    """

    def __init__(
        self, endpoint: str, topic: bytes, *, keys: Path | None, hwm: int, max_bytes: int
    ) -> None:
        self.problem = ""
        self._context = new_context()
        with ExitStack() as undo:
            undo.callback(self._context.destroy, linger=0)
            self._open(endpoint, topic, keys, hwm, max_bytes)
            undo.pop_all()

    def receive(self, timeout_ms: int) -> list[memoryview] | None:
        """Return the parts of the next message, or None after ``timeout_ms``. Nothing is copied.

        Raises
        ------
        BusError
            If the subscription is closed.
        """
        if self._socket.closed:
            raise BusError("the subscriber is closed", "make a new one")
        if not self._socket.poll(timeout_ms):
            self._follow_handshakes()
            return None
        self.problem = ""
        return [part.buffer for part in self._socket.recv_multipart(copy=False)]

    def close(self) -> None:
        """Close the sockets. Idempotent."""
        if not self._socket.closed:
            self._socket.disable_monitor()
            self._monitor.close(linger=0)
            self._socket.close(linger=0)
            self._context.term()

    def _open(
        self, endpoint: str, topic: bytes, keys: Path | None, hwm: int, max_bytes: int
    ) -> None:
        self._socket = open_client(self._context, zmq.SUB, keys)
        options: dict[int, int] = {
            zmq.RCVHWM: hwm,
            zmq.MAXMSGSIZE: max_bytes,
            zmq.RECONNECT_IVL: _RECONNECT_MS,
            zmq.RECONNECT_IVL_MAX: _RECONNECT_MAX_MS,
            zmq.IPV6: int(uses_ipv6(endpoint)),
        }
        for option, value in options.items():
            self._socket.setsockopt(option, value)
        self._socket.monitor("inproc://events", HANDSHAKE_FAILED)
        self._monitor: Socket = self._context.socket(zmq.PAIR)
        self._monitor.connect("inproc://events")
        self._socket.setsockopt(zmq.SUBSCRIBE, topic)
        try:
            self._socket.connect(endpoint)
        except zmq.ZMQError as error:
            raise BusError(
                f"{endpoint!r} is not an endpoint to connect to: {error}", "tcp://ADDRESS:PORT"
            ) from error

    def _follow_handshakes(self) -> None:
        while self._monitor.poll(0):
            parse_monitor_message(self._monitor.recv_multipart())
            self.problem = "the other end does not accept this connection: wrong or missing key"
