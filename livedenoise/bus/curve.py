"""Sockets that other machines may reach: CURVE encryption, who is let in, refusals counted.

A ``Gate`` owns one bound socket and a thread that answers ZeroMQ's authentication requests (ZAP,
RFC 27) and counts failed handshakes from the socket's monitor. With keys the socket has a context
of its own, because ZeroMQ allows one authenticator for each context: several gates in one process
do not meet. If the thread failed nobody would be let in.

Knows: keys, sockets' options. Must not know: what is sent.
"""

from __future__ import annotations

import itertools
import sys
import threading
from collections.abc import Mapping
from pathlib import Path

import zmq
from zmq.utils.monitor import parse_monitor_message
from zmq.utils.z85 import encode as z85

from livedenoise.bus.context import Context, new_context
from livedenoise.bus.exposure import safe_endpoint, uses_ipv6
from livedenoise.bus.keys import KeyPair, client_keys, is_authorised, server_keys
from livedenoise.core.errors import BusError, ConfigError
from livedenoise.core.log import get_logger

Socket = zmq.Socket[bytes]
_ZAP = "inproc://zeromq.zap.01"
_DOMAIN = b"livedenoise"
_HANDSHAKE_MS = 5000
_ALIVE_MS = 2000
_GONE_MS = 6000
HANDSHAKE_FAILED = (
    zmq.EVENT_HANDSHAKE_FAILED_AUTH
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
)
"""Events of a socket's monitor: wrong or missing key, another protocol."""
_names = itertools.count()


class Gate:
    """A bound socket, who may connect to it, and how many were refused.

    Parameters
    ----------
    context : zmq.Context
        Context of this process; not used with keys.
    kind : int
        ZeroMQ socket type.
    endpoint : str
        Where to bind; refused beyond loopback without keys. ``self.endpoint`` resolves a wildcard.
    keys : Path or None
        Server's folder of CURVE keys.
    key, keys_key : str
        Names of the two settings in messages.
    options : mapping
        Socket options set before binding.

    Raises
    ------
    ConfigError
        If the endpoint is exposed without keys, or the keys cannot be used.
    BusError
        If the endpoint cannot be bound.
    """

    def __init__(
        self,
        context: Context,
        kind: int,
        endpoint: str,
        *,
        keys: Path | None,
        options: Mapping[int, int],
        key: str = "endpoint",
        keys_key: str = "keys",
    ) -> None:
        address = safe_endpoint(endpoint, keys, key=key, keys_key=keys_key)
        if keys is not None:
            raise_descriptor_limit()
        pair = None if keys is None else server_keys(keys)
        self._own_context = None if keys is None else new_context()
        used = self._own_context or context
        self._doorman = _Doorman(used, keys)
        self.socket: Socket = used.socket(kind)
        try:
            self._prepare(address, pair, options)
            self.socket.bind(address)
        except zmq.ZMQError as error:
            self.close()
            raise BusError(
                f"{key} = {endpoint!r} cannot be bound: {error}",
                "another program uses it, or the address is not this machine's: take another",
            ) from error
        self.endpoint = self.socket.get_string(zmq.LAST_ENDPOINT)

    @property
    def refused(self) -> int:
        """Return how many connections failed the handshake: wrong or missing key, no ZeroMQ."""
        return self._doorman.refused

    def close(self, linger_ms: int = 0) -> None:
        """Close the socket and end the thread. Idempotent."""
        if not self.socket.closed:
            self.socket.disable_monitor()
            self.socket.close(linger=linger_ms)
        self._doorman.close()
        if self._own_context is not None:
            self._own_context.term()

    def _prepare(self, address: str, pair: KeyPair | None, options: Mapping[int, int]) -> None:
        keep_alive(self.socket)
        for option, value in options.items():
            self.socket.setsockopt(option, value)
        self.socket.setsockopt(zmq.IPV6, uses_ipv6(address))
        if pair is not None:
            self.socket.setsockopt(zmq.CURVE_SERVER, 1)
            self.socket.setsockopt(zmq.CURVE_SECRETKEY, pair.secret)
            self.socket.setsockopt(zmq.ZAP_DOMAIN, _DOMAIN)
            # Without an authenticator nobody is let in; ZeroMQ's default is everybody.
            self.socket.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 1)
        self._doorman.watch(self.socket)


class _Doorman:
    """The thread of a gate: answers ZAP requests, counts failed handshakes."""

    def __init__(self, context: Context, keys: Path | None) -> None:
        self._context = context
        self._keys = keys
        self.refused = 0
        number = next(_names)
        self._monitor_name = f"inproc://monitor-{number}"
        self._end_name = f"inproc://end-{number}"
        self._end: Socket = context.socket(zmq.PAIR)
        self._end.bind(self._end_name)
        # Bound here, before the gate is: a client must never come before its doorman.
        self._zap: Socket | None = None
        if keys is not None:
            self._zap = context.socket(zmq.REP)
            self._zap.setsockopt(zmq.LINGER, 0)
            self._zap.bind(_ZAP)
        self._thread: threading.Thread | None = None

    def watch(self, socket: Socket) -> None:
        """Start the thread for a socket that is not bound yet."""
        socket.monitor(self._monitor_name, HANDSHAKE_FAILED)
        self._thread = threading.Thread(target=self._run, name="doorman", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread. Idempotent."""
        if self._end.closed:
            return
        if self._thread is None:
            if self._zap is not None:
                self._zap.close()
        else:
            self._end.send(b"")
            self._thread.join()
        self._end.close(linger=0)

    def _run(self) -> None:
        end, monitor = self._context.socket(zmq.PAIR), self._context.socket(zmq.PAIR)
        poller = zmq.Poller()
        try:
            end.connect(self._end_name)
            monitor.connect(self._monitor_name)
            for socket in (end, monitor, *([self._zap] if self._zap else [])):
                poller.register(socket, zmq.POLLIN)
            self._serve(poller, end, monitor)
        finally:
            end.close(linger=0)
            monitor.close(linger=0)
            if self._zap is not None:
                self._zap.close(linger=0)

    def _serve(self, poller: zmq.Poller, end: Socket, monitor: Socket) -> None:
        while True:
            ready = dict(poller.poll())
            if end in ready:
                return
            if monitor in ready:
                event = parse_monitor_message(monitor.recv_multipart())
                self.refused += bool(event["event"] & HANDSHAKE_FAILED)
            if self._zap is not None and self._zap in ready:
                self._answer(self._zap)

    def _answer(self, zap: Socket) -> None:
        parts = zap.recv_multipart()
        version, request = parts[0], parts[1] if len(parts) > 1 else b""
        code = b"200" if self._lets_in(parts) else b"400"
        zap.send_multipart([version, request, code, b"", b"", b""])

    def _lets_in(self, parts: list[bytes]) -> bool:
        """Return whether a ZAP request names CURVE and a public key that is authorised."""
        if len(parts) != 7 or self._keys is None or parts[2] != _DOMAIN:
            return False
        mechanism, credentials = parts[5], parts[6]
        if mechanism != b"CURVE" or len(credentials) != 32:
            return False
        try:
            return is_authorised(self._keys, z85(credentials))
        except (ConfigError, OSError) as error:
            get_logger(__name__).warning("nobody new is let in: %s", error)
            return False


def open_client(context: Context, kind: int, keys: Path | None) -> Socket:
    """Return a socket that will connect, with the client's keys where there are any.

    Raises
    ------
    ConfigError
        If the keys cannot be used.
    """
    pair = None if keys is None else client_keys(keys)
    socket = context.socket(kind)
    keep_alive(socket)
    if pair is not None:
        socket.setsockopt(zmq.CURVE_SERVERKEY, pair.server)
        socket.setsockopt(zmq.CURVE_PUBLICKEY, pair.own.public)
        socket.setsockopt(zmq.CURVE_SECRETKEY, pair.own.secret)
    return socket


def keep_alive(socket: Socket) -> None:
    """Notice a machine that vanished without a word within about six seconds."""
    socket.setsockopt(zmq.HANDSHAKE_IVL, _HANDSHAKE_MS)
    socket.setsockopt(zmq.HEARTBEAT_IVL, _ALIVE_MS)
    socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, _GONE_MS)


def raise_descriptor_limit() -> None:
    """Allow this process as many open files as the system lets it (POSIX).

    Whoever can reach an open port holds one for each connection until its handshake times out; with
    the usual soft limit of 1024 that could keep the process from its own files.
    """
    if sys.platform == "win32":
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
