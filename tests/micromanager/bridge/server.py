"""Serving the protocol: a socket and a thread for each port, and what its commands do.

Knows: the commands and where their objects are. Must not know: what the objects are.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from typing import Any

import zmq

from bridge.faults import Call, Faults
from bridge.java import JavaError, JavaObject
from bridge.objects import Objects
from bridge.wire import decode, encode

Factory = Callable[..., JavaObject]
HOST = "tcp://127.0.0.1"


class Ports:
    """Hands out the ports after the server's own one."""

    def __init__(self, first: int) -> None:
        self._last = first
        self._lock = threading.Lock()

    def bind_next(self, context: zmq.Context[Any], kind: int) -> tuple[zmq.Socket[bytes], int]:
        """Return a socket bound to the next port that is free."""
        with self._lock:
            while True:
                self._last += 1
                made = context.socket(kind)
                try:
                    made.bind(f"{HOST}:{self._last}")
                except zmq.ZMQError:
                    made.close(0)
                    continue
                return made, self._last

    def next_free(self) -> int:
        """Return the next free port, for the client to bind.

        Looked for with a socket of the system's: one of ZeroMQ's is closed later, in another
        thread, and a socket that finds it still there gives up for good.
        """
        with self._lock:
            while True:
                self._last += 1
                with socket.socket() as probe:
                    try:
                        probe.bind(("127.0.0.1", self._last))
                    except OSError:
                        continue
                    return self._last


class Server:
    """The bridge's server.

    Parameters
    ----------
    port : int
        The main port.
    faults : Faults
        What goes wrong.
    """

    def __init__(self, port: int, faults: Faults) -> None:
        self.context: zmq.Context[Any] = zmq.Context()
        self.faults = faults
        self.objects = Objects()
        self.ports = Ports(port)
        self._classes: dict[str, tuple[tuple[tuple[str, ...], ...], Factory]] = {}
        self._port = port

    def offer(self, name: str, factory: Factory, *constructors: tuple[str, ...]) -> None:
        """Let clients construct a class; without ``constructors``, with no arguments."""
        self._classes[name] = (constructors or ((),), factory)

    def start(self) -> None:
        """Bind the main port and serve it."""
        main = self.context.socket(zmq.REP)
        main.bind(f"{HOST}:{self._port}")
        self._serve(main, self._port)

    def _serve(self, served: zmq.Socket[bytes], port: int) -> None:
        threading.Thread(target=self._loop, args=(served, port), daemon=True).start()

    def _loop(self, served: zmq.Socket[bytes], port: int) -> None:
        while True:
            message = decode(served.recv_multipart())
            served.send_multipart(encode(self._answer(message, port)), copy=False)

    def _answer(self, message: dict[str, Any], port: int) -> dict[str, Any]:
        named = [message[key] for key in ("command", "name") if key in message]
        call = Call(tuple(named), message.get("arguments", []))
        try:
            self.faults.before(call)
            reply = self._do(message, port)
            self.faults.after(call)
        except JavaError as error:
            return {"type": "exception", "value": f"{error}\n\tat bridge.Server(Native Method)\n"}
        except Exception as error:  # noqa: BLE001  (as Java's server: every exception travels)
            text = f"java.lang.RuntimeException: {type(error).__name__}: {error}\n"
            return {"type": "exception", "value": text}
        return reply

    def _do(self, message: dict[str, Any], port: int) -> dict[str, Any]:
        command = message["command"]
        if command in self._answering:
            return self._answering[command](self, message)
        return self._describing[command](self, message, port)

    # One function for each command.

    def _connect(self, _message: dict[str, Any]) -> dict[str, Any]:
        version = self.faults.version
        return {"type": "none"} | ({"version": version} if version else {})

    def _get_constructors(self, message: dict[str, Any]) -> dict[str, Any]:
        name = message["classpath"]
        constructors, _ = self._find_class(name)
        api = [{"name": name, "arguments": list(types)} for types in constructors]
        return {"type": "none", "api": api}

    def _constructor(self, message: dict[str, Any], port: int) -> dict[str, Any]:
        _, factory = self._find_class(message["classpath"])
        return self._described(factory(*self._arguments(message)), message, port)

    def _get_class(self, message: dict[str, Any], port: int) -> dict[str, Any]:
        self._find_class(message["classpath"])
        return self._described(JavaClass(message["classpath"]), message, port)

    def _run_method(self, message: dict[str, Any], port: int) -> dict[str, Any]:
        held = self.objects.find(message["hash-code"])
        if message["name"] in self.faults.answers:
            return self.objects.reply(self.faults.answers[message["name"]], port)
        types = tuple(message["argument-types"])
        result = held.java_call(message["name"], types, self._arguments(message))
        return self.objects.reply(result, port)

    def _get_field(self, message: dict[str, Any], port: int) -> dict[str, Any]:
        value = self.objects.find(message["hash-code"]).java_get(message["name"])
        return self.objects.reply(value, port)

    def _set_field(self, message: dict[str, Any]) -> dict[str, Any]:
        held = self.objects.find(message["hash-code"])
        (value,) = self.objects.arguments([message["value"]], [""])
        held.java_set(message["name"], value)
        return {"type": "none"}

    def _destructor(self, message: dict[str, Any]) -> dict[str, Any]:
        self.objects.forget(message["hash-code"])
        return {"type": "none"}

    _answering = {  # noqa: RUF012
        "connect": _connect, "get-constructors": _get_constructors, "set-field": _set_field,
        "destructor": _destructor,
    }  # fmt: skip
    _describing = {  # noqa: RUF012  (those whose result may be an object, which has a port)
        "constructor": _constructor, "get-class": _get_class, "run-method": _run_method,
        "get-field": _get_field,
    }  # fmt: skip

    def _find_class(self, name: str) -> tuple[tuple[tuple[str, ...], ...], Factory]:
        if name not in self._classes:
            raise JavaError(name, "java.lang.ClassNotFoundException")
        return self._classes[name]

    def _arguments(self, message: dict[str, Any]) -> list[Any]:
        types = message["argument-deserialization-types"]
        return self.objects.arguments(message["arguments"], types)

    def _described(self, held: JavaObject, message: dict[str, Any], port: int) -> dict[str, Any]:
        """Describe a new object, on a port and thread of its own when the client asks for it."""
        if message.get("new-port"):
            served, port = self.ports.bind_next(self.context, zmq.REP)
            self._serve(served, port)
        return self.objects.describe(held, port)


class JavaClass(JavaObject, name="java.lang.Class"):
    """A class as an object; none of those offered has static methods that clients use."""

    def __init__(self, classpath: str) -> None:
        self.classpath = classpath
