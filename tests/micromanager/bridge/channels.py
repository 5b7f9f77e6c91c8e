"""One-way sockets of an acquisition: events in, images out and back, notifications out, hooks.

Knows: the messages on these sockets. Must not know: what an acquisition does with them.

Who pushes binds and who pulls connects, on both sides: so a pulling socket of the server takes a
free port for the client to bind. Each socket is used by one thread only.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import zmq

from bridge.events import Event
from bridge.java import JavaObject, method
from bridge.server import HOST, Server
from bridge.tagged import JsonObject, TaggedImage
from bridge.wire import array_reply, decode, encode

IMAGES = 30
"""Images that wait between two stages, as in Micro-Manager; ZeroMQ's own queues come on top."""
_NOTIFICATIONS = 10_000
_TYPES = {"GRAY8": "u1", "GRAY16": "<u2", "RGB32": "u1"}
Message = dict[str, Any]


def run(target: Callable[[], None]) -> None:
    """Run a function on a thread of its own; the process does not wait for it."""
    threading.Thread(target=target, daemon=True).start()


class Pull:
    """Receives what the client pushes."""

    def __init__(self, server: Server) -> None:
        self.port = server.ports.next_free()
        self._socket = server.context.socket(zmq.PULL)
        self._socket.connect(f"{HOST}:{self.port}")

    def receive(self) -> Message:
        return decode(self._socket.recv_multipart())

    def poll(self, timeout_ms: int) -> bool:
        return bool(self._socket.poll(timeout_ms))

    def close(self) -> None:
        self._socket.close(0)


class Push:
    """Sends to the client."""

    def __init__(self, server: Server) -> None:
        self._socket, self.port = server.ports.bind_next(server.context, zmq.PUSH)

    def send(self, message: Message) -> None:
        self._socket.send_multipart(encode(message))

    def close(self) -> None:
        self._socket.close()  # what the client has not read yet is still delivered


class ImageProcessor(
    JavaObject,
    name="org.micromanager.remote.RemoteImageProcessor",
    interfaces=("org.micromanager.acqj.api.TaggedImageProcessor",),
):
    """Sends images to the client's process function and takes back what it returns.

    Attributes
    ----------
    source, sink : queue.Queue
        Images to process, and processed ones; None is the last.
    """

    def __init__(self, server: Server) -> None:
        self._push, self._pull = Push(server), Pull(server)
        self.source: queue.Queue[TaggedImage | None] = queue.Queue(IMAGES)
        self.sink: queue.Queue[TaggedImage | None] = queue.Queue(IMAGES)

    @method("int")
    def get_push_port(self) -> int:
        return self._push.port

    @method("int")
    def get_pull_port(self) -> int:
        return self._pull.port

    @method("void")
    def start_push(self) -> None:
        run(self._send_images)

    @method("void")
    def start_pull(self) -> None:
        run(self._take_images)

    def _send_images(self) -> None:
        while (image := self.source.get()) is not None:
            pixels = array_reply(image.pix)
            self._push.send({"metadata": image.tags.values, "pixels": pixels})
        self._push.send({"special": "finished"})
        self._push.close()

    def _take_images(self) -> None:
        while "special" not in (message := self._pull.receive()):
            tags = message["metadata"]
            pixels = np.frombuffer(message["pixels"], _TYPES[tags["PixelType"]])
            self.sink.put(TaggedImage(pixels, JsonObject(tags)))
        self.sink.put(None)
        self._pull.close()


class NotificationHandler(JavaObject, name="org.micromanager.remote.RemoteNotificationHandler"):
    """Tells the client what an acquisition does."""

    def __init__(self, server: Server, listen: Callable[[Callable[[Message], None]], None]) -> None:
        self._push = Push(server)
        self._waiting: queue.Queue[Message | None] = queue.Queue(_NOTIFICATIONS)
        listen(self._waiting.put)

    @method("int")
    def get_port(self) -> int:
        return self._push.port

    @method("void")
    def start(self) -> None:
        run(self._send)

    @method("void")
    def notification_handling_complete(self) -> None:
        self._waiting.put(None)

    def _send(self) -> None:
        while (notification := self._waiting.get()) is not None:
            self._push.send(notification)
        self._push.close()


class AcquisitionHook(
    JavaObject,
    name="org.micromanager.remote.RemoteAcqHook",
    interfaces=("org.micromanager.acqj.api.AcquisitionHook",),
):
    """Lets a function of the client look at events, and change or cancel them."""

    def __init__(self, server: Server) -> None:
        self._push, self._pull = Push(server), Pull(server)

    @method("int")
    def get_push_port(self) -> int:
        return self._push.port

    @method("int")
    def get_pull_port(self) -> int:
        return self._pull.port

    def apply(self, events: list[Event]) -> list[Event]:
        """Return what the client makes of the events; none when it cancels them."""
        self._push.send(events[0] if len(events) == 1 else {"events": events})
        answer = self._pull.receive()
        changed: list[Event] = answer.get("events", [answer] if answer else [])
        return changed

    def end(self) -> None:
        """Let the client's thread end."""
        self._push.send({"special": "acquisition-end"})
        self._pull.receive()
        self._push.close()
        self._pull.close()
