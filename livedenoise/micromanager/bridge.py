"""The connection to a running Micro-Manager: one question at a time, and never one without an end.

Knows: the socket under pyjavaz, deadlines, what a port can be held by. Must not know: MMCore.

pyjavaz waits for ever for an answer, and its objects ask again from their destructors and when the
interpreter ends: with Micro-Manager gone, both hang. Here every question has a deadline; the first
one missed ends the connection, and every later question fails at once. An object that is not used
any more is noted, and Java hears of it before the next question. Nothing happens at exit.

Java answers one question after the other: while it exposes for 10 s nobody else is answered.
"""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Iterator
from typing import Any, NamedTuple

from livedenoise.bus.context import new_context
from livedenoise.core.clock import now_ns
from livedenoise.core.errors import CameraError
from livedenoise.micromanager.core import CoreGoneError
from livedenoise.micromanager.java_messages import (
    ForeignAnswerError,
    JavaRefusedError,
    Message,
    destructor,
    read_answer,
)
from livedenoise.micromanager.java_port import (
    PortError,
    PortState,
    again_hint,
    judge_version,
    listens,
    not_micro_manager,
    start_hint,
)
from livedenoise.micromanager.versions import missing_packages

_REQ, _POLLOUT = 3, 2  # numbers of ZeroMQ's stable interface (zmq.h)
_EVENT_DISCONNECTED = 0x200
_SLICE_S = 0.02
"""Longest single wait, so that an interruption and a lost connection are noticed."""


class BridgeDeadError(CoreGoneError):
    """Micro-Manager does not answer, or went away; the connection is given up."""


class BridgeLostError(BridgeDeadError):
    """Micro-Manager closed the connection: it ended, or was killed."""


class InterruptedCallError(CameraError):
    """Another thread asked not to wait any longer for an answer."""


class _Owed(NamedTuple):
    """A question whose answer is still to come."""

    what: str
    limit_s: float
    deadline_ns: int


class DeadlineBridge:
    """A connection to Micro-Manager's ZMQ server on which every question has a deadline.

    Any thread may ask; one question is under way at a time.

    Parameters
    ----------
    host, port : str, int
        Where the server listens.
    timeout_s : float
        Longest wait for an answer, unless a question says otherwise.

    Attributes
    ----------
    version : str
        Of the server.
    notes : tuple of str
        What a user should know about this connection.
    questions : int
        How many were asked; each costs about 1 ms.

    Raises
    ------
    PortError
        If nothing listens, it does not answer in time, is not Micro-Manager's server, or is one of
        another major version.
    """

    def __init__(self, host: str, port: int, timeout_s: float) -> None:
        self.host, self.port, self.timeout_s = host, port, timeout_s
        self.notes: tuple[str, ...] = ()
        self.version = ""
        self.questions = 0
        self._lock = threading.Lock()
        self._dead = ""
        self._too_slow = False
        self._interruptions = 0
        self._owed: _Owed | None = None
        self._forgotten: deque[str] = deque()
        if not listens(host, port, timeout_s):
            raise PortError(
                f"nothing listens on {self.where}", start_hint(port), PortState("closed")
            )
        self._context = new_context()
        self._data, self._events = _open_socket(self._context, host, port)
        self._socket = self._data._socket  # noqa: SLF001 - pyjavaz offers no poll
        with contextlib.ExitStack() as undo:
            undo.callback(self.close)
            self._connect()
            undo.pop_all()

    @property
    def where(self) -> str:
        """Return the address."""
        return f"{self.host}:{self.port}"

    @property
    def dead(self) -> str:
        """Return why the connection was given up, empty while it is used."""
        return self._dead

    @property
    def too_slow(self) -> bool:
        """Return whether it was given up for a late answer, of a Micro-Manager still there."""
        with self._lock:
            return self._too_slow and not self._events.poll(0)

    def ask(self, message: Message, what: str, timeout_s: float | None = None) -> Message:
        """Ask one question and return the answer.

        Parameters
        ----------
        message : dict
            As ``java_messages`` makes it.
        what : str
            Name of the question, for errors.
        timeout_s : float, optional
            Longest wait; default that of the bridge.

        Raises
        ------
        JavaRefusedError
            If Java answers with an exception.
        BridgeDeadError
            If the answer does not come in time, now or for an earlier question.
        InterruptedCallError
            If ``interrupt`` is called meanwhile.
        """
        limit_s = self.timeout_s if timeout_s is None else timeout_s
        seen = self._interruptions
        with self._turn(what, limit_s, seen):
            self._free_forgotten(what, limit_s, seen)
            return self._exchange(message, what, limit_s, seen)

    def free_forgotten(self, limit_s: float) -> None:
        """Let Java free now what was forgotten, before the connection is closed.

        Does nothing while an answer is outstanding: it might take long.

        Raises
        ------
        CameraError
            As ``ask``.
        """
        seen = self._interruptions
        if self._owed is not None:
            return
        with self._turn("destructor", limit_s, seen):
            self._free_forgotten("destructor", limit_s, seen)

    def forget(self, hash_code: str) -> None:
        """Let Java free an object, with the next question. Never waits; from any thread."""
        if not self._dead:
            self._forgotten.append(hash_code)

    def interrupt(self) -> None:
        """Make every thread that waits here return with an error, within 50 ms.

        The answer that is still to come is read before the next question is asked, which waits for
        it. A question asked after this call is not interrupted.
        """
        self._interruptions += 1

    def close(self) -> None:
        """Close the connection; who waits returns with an error. Idempotent, never waits."""
        self._dead = self._dead or "it was closed"
        with self._lock:
            self._too_slow = False
            if not self._socket.closed:
                self._socket.disable_monitor()
                self._events.close(linger=0)
                self._socket.close(linger=0)
                self._context.term()

    def _connect(self) -> None:
        """Greet the server, and judge what answers.

        Raises
        ------
        PortError
            If it cannot be used.
        """
        try:
            answer = self.ask({"command": "connect", "debug": False}, "connect")
        except (ForeignAnswerError, JavaRefusedError) as error:
            raise not_micro_manager(self.where, error.message) from error
        except BridgeLostError as error:
            raise not_micro_manager(self.where, "it hung up") from error
        except BridgeDeadError as error:
            raise PortError(
                f"something listens on {self.where} and did not answer within {self.timeout_s:g} s",
                "if Micro-Manager hangs or an earlier one was left running, end it and start it "
                "again; if another program has the port, end that one",
                PortState("silent"),
            ) from error
        # Servers before 2.1 did not say.
        self.version = str(answer.get("version", "2.0.0"))
        self.notes = judge_version(self.version, self.where)

    @contextlib.contextmanager
    def _turn(self, what: str, limit_s: float, seen: int) -> Iterator[None]:
        """Have the connection for oneself, with no answer outstanding."""
        self._take_turn(what, limit_s, seen)
        try:
            self._check_alive(what)
            self._read_owed(what, seen)
            yield
        finally:
            self._lock.release()

    def _free_forgotten(self, what: str, limit_s: float, seen: int) -> None:
        while self._forgotten:
            self._exchange(destructor(self._forgotten.popleft()), what, limit_s, seen)

    def _take_turn(self, what: str, limit_s: float, seen: int) -> None:
        deadline_ns = _after(limit_s)
        while not self._lock.acquire(timeout=_SLICE_S):
            self._check_interrupted(what, seen)
            if now_ns() > deadline_ns:
                raise CameraError(
                    f"Micro-Manager ({self.where}) was busy with another call for {limit_s:g} s: "
                    f"{what} was not asked",
                    "ask again once it is done",
                )

    def _exchange(self, message: Message, what: str, limit_s: float, seen: int) -> Message:
        self._check_alive(what)
        if not self._socket.poll(int(limit_s * 1000), _POLLOUT):
            self._give_up(f"it took no question within {limit_s:g} s ({what})", too_slow=True)
            raise BridgeDeadError(*self._given_up())
        self.questions += 1
        # Noted first: whatever interrupts us from here on, an answer may come.
        self._owed = _Owed(what, limit_s, _after(limit_s))
        self._data.send(message)
        return read_answer(self._wait(self._owed, what, seen), what)

    def _read_owed(self, what: str, seen: int) -> None:
        """Read the answer that an interrupted question left behind."""
        if self._owed is None:
            return
        parts = self._wait(self._owed, what, seen)
        # Who asked was told that it was interrupted: an exception is nobody's any more.
        with contextlib.suppress(JavaRefusedError):
            answer = read_answer(parts, what)
            if answer["type"] == "unserialized-object":
                self.forget(str(answer["hash-code"]))

    def _wait(self, owed: _Owed, what: str, seen: int) -> list[bytes]:
        """Wait for the answer that is owed, until its deadline; ``what`` is asked for now."""
        while True:
            left_ms = (owed.deadline_ns - now_ns()) // 1_000_000
            if self._socket.poll(max(0, min(int(_SLICE_S * 1000), left_ms))):
                self._owed = None
                parts: list[bytes] = self._socket.recv_multipart()
                return parts
            self._check_interrupted(what, seen)
            self._check_alive(what)
            if left_ms <= 0:
                why = f"it did not answer {owed.what} within {owed.limit_s:g} s"
                self._give_up(why, too_slow=True)
                raise BridgeDeadError(*self._given_up())

    def _check_interrupted(self, what: str, seen: int) -> None:
        if self._interruptions != seen and not self._dead:
            raise InterruptedCallError(
                f"Micro-Manager ({self.where}): waiting for {what} was interrupted",
                "this is how a stop ends a long exposure",
            )

    def _check_alive(self, what: str) -> None:
        if not self._dead and self._events.poll(0):
            self._give_up(f"it went away while {what} was asked")
            raise BridgeLostError(*self._given_up())
        if self._dead:
            raise BridgeDeadError(
                f"Micro-Manager ({self.where}) is not asked {what}: {self._dead}",
                again_hint(self.port),
            )

    def _give_up(self, why: str, *, too_slow: bool = False) -> None:
        self._dead, self._too_slow = why, too_slow
        self._forgotten.clear()

    def _given_up(self) -> tuple[str, str]:
        return (
            f"Micro-Manager ({self.where}): {self._dead}; the connection is given up",
            again_hint(self.port),
        )


def probe_port(host: str, port: int, timeout_s: float) -> PortState:
    """Return what a port is held by, within about twice ``timeout_s``. Changes nothing there."""
    try:
        bridge = DeadlineBridge(host, port, timeout_s)
    except PortError as error:
        return error.state
    bridge.close()
    return PortState("answers", bridge.version)


def _open_socket(context: Any, host: str, port: int) -> tuple[Any, Any]:  # noqa: ANN401
    """Return pyjavaz's socket and the one that tells when the connection is lost."""
    try:
        from pyjavaz.bridge import _DataSocket
    except ImportError as error:
        raise missing_packages(error) from error

    data = _DataSocket(context, port, _REQ, ip_address=host)
    raw = data._socket  # noqa: SLF001 - pyjavaz offers no poll
    return data, raw.get_monitor_socket(_EVENT_DISCONNECTED)


def _after(seconds: float) -> int:
    return now_ns() + int(seconds * 1e9)
