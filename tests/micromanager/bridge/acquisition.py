"""``RemoteAcquisition``: an acquisition that a client feeds with events.

Knows: how events, engine, processor, storage and notifications hang together, and how an
acquisition ends. Must not know: how any of them works.

Three threads: events arrive, the engine executes them, images are saved. The end: no events left
-> the engine sends the last image (None) -> it passes the client's processor -> it is saved.
"""

from __future__ import annotations

import json
import queue
import threading
from collections.abc import Callable
from typing import Any

from bridge.channels import (
    IMAGES,
    AcquisitionHook,
    ImageProcessor,
    Message,
    NotificationHandler,
    Pull,
    run,
)
from bridge.core import CMMCore
from bridge.engine import Engine
from bridge.events import Event, is_end
from bridge.java import STRING, JavaError, JavaObject, method
from bridge.server import Server
from bridge.storage import DataSink, DiskStorage, RamStorage
from bridge.tagged import TaggedImage

_BATCHES = 1000
_POLL_MS = 20
_GENERATION, _BEFORE_HARDWARE, _AFTER_HARDWARE, _AFTER_CAMERA = range(4)


class RemoteAcquisition(
    JavaObject,
    name="org.micromanager.remote.RemoteAcquisition",
    interfaces=("org.micromanager.acqj.api.AcquisitionAPI",),
    fields=(
        "EVENT_GENERATION_HOOK",
        "BEFORE_HARDWARE_HOOK",
        "AFTER_HARDWARE_HOOK",
        "AFTER_CAMERA_HOOK",
    ),
):
    """See the module."""

    EVENT_GENERATION_HOOK = _GENERATION
    BEFORE_HARDWARE_HOOK = _BEFORE_HARDWARE
    AFTER_HARDWARE_HOOK = _AFTER_HARDWARE
    AFTER_CAMERA_HOOK = _AFTER_CAMERA

    def __init__(self, server: Server, core: CMMCore, storage: RamStorage | DiskStorage) -> None:
        self._sink = DataSink(storage)
        self._engine = Engine(core, self._tell_about, self._aborted_now)
        self._pull = Pull(server)
        self._batches: queue.Queue[list[Event]] = queue.Queue(_BATCHES)
        self._unprocessed: queue.Queue[TaggedImage | None] = queue.Queue(IMAGES)
        self._processor: ImageProcessor | None = None
        self._hooks: dict[int, list[AcquisitionHook]] = {kind: [] for kind in range(4)}
        self._listeners: list[Callable[[Message], None]] = []
        self._aborted, self._events_finished = threading.Event(), threading.Event()
        self._finished = threading.Event()
        self._exception: Exception | None = None
        self._saving = False
        run(self._receive_events)
        run(self._execute)

    # What the client calls.

    @method("int")
    def get_event_port(self) -> int:
        return self._pull.port

    @method("org.micromanager.acqj.api.AcqEngJDataSink")
    def get_data_sink(self) -> DataSink:
        return self._sink

    @method("void", "org.micromanager.acqj.api.TaggedImageProcessor")
    def add_image_processor(self, processor: ImageProcessor) -> None:
        self._processor = processor

    @method("void", "org.micromanager.acqj.api.AcquisitionHook", "int")
    def add_hook(self, hook: AcquisitionHook, kind: int) -> None:
        self._hooks[kind].append(hook)

    @method("void")
    def start(self) -> None:
        """Do nothing: events are executed as they come."""

    @method("boolean")
    def are_events_finished(self) -> bool:
        return self._events_finished.is_set()

    @method("boolean")
    def is_finished(self) -> bool:
        return self._finished.is_set()

    @method("boolean")
    def is_abort_requested(self) -> bool:
        return self._aborted.is_set()

    @method("void", "double")
    def block_until_events_finished(self, timeout_s: float) -> None:
        self._events_finished.wait(timeout_s)

    @method("void")
    def wait_for_completion(self) -> None:
        self._finished.wait()

    @method("void")
    def check_for_exceptions(self) -> None:
        if self._exception is not None:
            raise JavaError(str(self._exception), "java.lang.RuntimeException")

    @method("void")
    def abort(self) -> None:
        self._aborted.set()

    # What the server's other objects call.

    def listen(self, listener: Callable[[Message], None]) -> None:
        """Tell somebody about everything that happens from now on."""
        self._listeners.append(listener)

    def _aborted_now(self) -> bool:
        return self._aborted.is_set()

    def _tell(self, kind: str, milestone: str, payload: str | None = None) -> None:
        notification = {"type": kind, "milestone": milestone}
        if payload is not None:
            notification["payload"] = payload
        for listener in self._listeners:
            listener(notification)

    def _tell_about(self, kind: str, milestone: str, events: list[Event]) -> None:
        axes = [event["axes"] for event in events]
        self._tell(kind, milestone, json.dumps(axes[0] if len(axes) == 1 else axes))

    # Threads.

    def _receive_events(self) -> None:
        ended = False
        while not ended and not self._finished.is_set():
            if self._pull.poll(_POLL_MS):
                events = self._pull.receive()["events"]
                ended = is_end(events[-1])
                self._batches.put(events)
        self._pull.close()

    def _execute(self) -> None:
        try:
            while not self._aborted.is_set() and self._execute_next():
                pass
        except Exception as error:  # noqa: BLE001  (the client is told when it asks)
            self._exception = error
            self._aborted.set()
        self._end()

    def _execute_next(self) -> bool:
        """Execute one batch of events; False when it was the last."""
        try:
            events = self._batches.get(timeout=_POLL_MS / 1e3)
        except queue.Empty:
            return True
        if is_end(events[-1]):
            return False
        events = self._hooked(_GENERATION, events)
        for group in self._engine.groups(events):
            if self._aborted.is_set():
                return False
            self._execute_group(group)
        return True

    def _execute_group(self, group: list[Event]) -> None:
        if not (group := self._hooked(_BEFORE_HARDWARE, group)):
            return
        self._engine.set_hardware(group)
        if not (group := self._hooked(_AFTER_HARDWARE, group)):
            return
        for image in self._engine.images(group):
            self._first_queue().put(image)
        self._hooked(_AFTER_CAMERA, group)

    def _hooked(self, kind: int, events: list[Event]) -> list[Event]:
        for hook in self._hooks[kind]:
            events = hook.apply(events) if events else events
        return events

    def _first_queue(self) -> queue.Queue[TaggedImage | None]:
        """Return where images go first; the saving thread is started by the first of them."""
        if not self._saving:
            self._saving = True
            run(self._save)
        return self._processor.source if self._processor is not None else self._unprocessed

    def _end(self) -> None:
        for hooks in self._hooks.values():
            for hook in hooks:
                hook.end()
        self._first_queue().put(None)
        self._tell("global", "acq_events_finished")
        self._events_finished.set()

    def _save(self) -> None:
        source = self._processor.sink if self._processor is not None else self._unprocessed
        storage = self._sink.storage
        while (image := source.get()) is not None:
            try:
                self._tell("image", "image_saved", storage.put(image))
            except Exception as error:  # noqa: BLE001  (the client is told when it asks)
                self._exception = error
                self._aborted.set()
        storage.finish()
        self._tell("image", "data_sink_finished")
        self._finished.set()


class AcquisitionFactory(JavaObject, name="org.micromanager.remote.RemoteAcquisitionFactory"):
    """Makes acquisitions."""

    def __init__(self, server: Server, core: CMMCore) -> None:
        self._server, self._core = server, core

    @method(
        "org.micromanager.remote.RemoteAcquisition", STRING, STRING, "boolean", "int", "boolean"
    )
    def create_acquisition(self, folder: str | None, name: str, *rest: Any) -> RemoteAcquisition:
        del rest  # viewer, saving queue, debug: there is no viewer, and the queues are bounded
        storage = RamStorage() if folder is None else DiskStorage(folder, name)
        return RemoteAcquisition(self._server, self._core, storage)


def offer_acquisitions(server: Server, core: CMMCore) -> None:
    """Let clients construct what an acquisition is made of."""
    package = "org.micromanager.remote"
    api = ("org.micromanager.acqj.api.AcquisitionAPI",)
    server.offer(
        f"{package}.RemoteAcquisitionFactory",
        lambda _core: AcquisitionFactory(server, core),
        ("mmcorej.CMMCore",),
    )
    server.offer(f"{package}.RemoteImageProcessor", lambda: ImageProcessor(server))
    server.offer(f"{package}.RemoteAcqHook", lambda _acquisition: AcquisitionHook(server), api)
    server.offer(
        f"{package}.RemoteNotificationHandler",
        lambda acquisition: NotificationHandler(server, acquisition.listen),
        api,
    )
