"""Micro-Manager's core behind the bridge of a running Micro-Manager.

Knows: MMCoreJ's form of each call, what a frame looks like over the bridge, how long a call may
rightly take. Must not know: configurations, why a call is made.

Every call is one question of about 1 ms, unless its docstring says more; an object that is freed
costs one more, together with the next call. ``registerCallback`` is never called: it has room for
one listener, and Micro-Manager's window is that one.
"""

from __future__ import annotations

import contextlib
import re
import statistics
from contextlib import ExitStack
from importlib.metadata import PackageNotFoundError, version
from typing import Any, cast

import msgspec

from livedenoise.core.clock import now_ns
from livedenoise.core.errors import CameraError
from livedenoise.micromanager.bridge import BridgeDeadError, DeadlineBridge
from livedenoise.micromanager.core import (
    Core,
    CoreVersions,
    IncompleteFrameError,
    NoFrameError,
    Taken,
)
from livedenoise.micromanager.java_limits import EXPOSING, longest_wait_s
from livedenoise.micromanager.java_messages import JavaRefusedError
from livedenoise.micromanager.java_object import JavaObject, construct
from livedenoise.micromanager.java_port import again_hint, not_micro_manager
from livedenoise.micromanager.java_values import expect_array, expect_object, setting, size
from livedenoise.micromanager.tags import FrameTags, parse_tags

CORE_CLASS = "mmcorej.CMMCore"
STUDIO_CLASS = "org.micromanager.Studio"

_GOODBYE_S = 0.5
_EXPOSURE_FRESH_NS = 1_000_000_000
_RESHAPING = ("setROI", "clearROI", "setProperty", "setConfig", "setCameraDevice")
_EMPTY = re.compile("buffer is empty", re.IGNORECASE)


class JavaTags(FrameTags, frozen=True, kw_only=True):
    """Tags of a frame that came over the bridge.

    Attributes
    ----------
    received_ns : int
        When the core had the frame, by ``core.clock``; when it was read, if that is not told.
    """

    received_ns: int


class JavaCore(Core):
    """A core behind the bridge.

    Parameters
    ----------
    bridge : DeadlineBridge
        The connection.
    core : JavaObject
        ``mmcorej.CMMCore`` there.

    Attributes
    ----------
    notes : tuple of str
        What a user should know about the connection.
    peek_until_ns : int or None
        After this moment ``peek`` finds the newest frame only: a bound for those who look back
        over a slow bridge, while new frames come faster than they are copied.
    unshaped : int
        Frames seen by ``peek`` while the region was changing: their shape is not known.
    """

    backend = "java"
    cheap_tags = False
    exposure_sequences = True

    def __init__(self, bridge: DeadlineBridge, core: JavaObject) -> None:
        self._bridge = bridge
        self._core = core
        self.notes = bridge.notes
        self.peek_until_ns: int | None = None
        self.unshaped = 0
        self._shape: tuple[int, int] | None = None
        self._exposure_s = 0.0
        self._exposure_at_ns = -_EXPOSURE_FRESH_NS

    @property
    def questions(self) -> int:
        """Return how many questions the bridge has asked."""
        return self._bridge.questions

    def call(self, name: str, *args: object) -> object:
        """See ``Core.call``; a constant of an enumeration comes as its number (3 questions).

        The limit is the bridge's, or longer for what waits for a device (``java_limits``). What
        waits for an exposure may take the exposure longer, for which it is asked unless it is
        known since less than a second.
        """
        return self._within(self._limit_s(name), name, *args)

    def long_call(self, name: str, *args: object, limit_s: float) -> object:
        """See ``Core.long_call``; never less than the bridge's limit."""
        return self._within(max(limit_s, self._bridge.timeout_s), name, *args)

    def interrupt(self) -> None:
        """Make calls that wait in other threads return with InterruptedCallError, within 50 ms.

        What was asked goes on in Java; the next call waits for its end, as long as its limit says.
        """
        self._bridge.interrupt()

    def reconnect(self) -> None:
        """See ``Core.reconnect``: 3 questions over a new connection, to the same Micro-Manager.

        It is tried where an answer was late, which a camera that was merely slow explains. Java
        answers in turn: what was under way is done when this returns. Objects of the old
        connection stay in Java until it ends. Does nothing while the connection is used.

        Raises
        ------
        BridgeDeadError
            If Micro-Manager still does not answer within the bridge's limit, went away, or this
            core was closed.
        """
        old = self._bridge
        if not old.dead:
            return
        if not old.too_slow:
            raise BridgeDeadError(
                f"Micro-Manager ({old.where}) is not connected to again: {old.dead}",
                again_hint(old.port),
            )
        try:
            fresh = DeadlineBridge(old.host, old.port, old.timeout_s)
            self._core = _core_behind(fresh)
        except CameraError as error:
            raise BridgeDeadError(
                f"Micro-Manager ({old.where}): {old.dead}, and not after that: {error.message}",
                error.hint,
            ) from error
        fresh.questions += old.questions
        self._bridge, self.notes, self._shape = fresh, fresh.notes, None
        self._exposure_at_ns = -_EXPOSURE_FRESH_NS
        old.close()

    def versions(self) -> CoreVersions:
        """See ``Core.versions``; 2 questions."""
        # "Device API version 75, Module API version 10"
        words = self.text("getAPIVersionInfo").replace(",", " ").split()
        numbers = [int(word) for word in words if word.isdecimal()]
        return CoreVersions(
            mmcore=self.text("getVersionInfo").removeprefix("MMCore version "),
            device_interface=numbers[0] if numbers else 0,
            pycromanager=_installed("pycromanager"),
            bridge=self._bridge.version,
        )

    def pop(self, *, tags: bool) -> Taken:
        """See ``Core.pop``: 1 question, with tags 4 (call, tags, pixels, free).

        Without tags the shape is the last one known, asked for anew (2 questions) when the number
        of pixels does not fit it. A new region with the same number of pixels is for the owner of
        the camera to know: ``image_shape`` asks.
        """
        try:
            if tags:
                found = self._tagged("popNextTaggedImage")
                if found is None:
                    raise _changing("popNextTaggedImage")
                return found
            return self._shaped("popNextImage")
        except JavaRefusedError as error:
            if _EMPTY.search(error.said):
                raise NoFrameError("the sequence buffer is empty") from error
            raise

    def peek(self, before_newest: int) -> Taken | None:
        """See ``Core.peek``: 4 questions (call, tags, pixels, free), 1 when there is none."""
        until_ns = self.peek_until_ns
        if before_newest and until_ns is not None and now_ns() > until_ns:
            return None
        try:
            return self._tagged("getNBeforeLastTaggedImage", before_newest)
        except JavaRefusedError as error:
            if _EMPTY.search(error.said):
                return None
            raise

    def newest_nbytes(self) -> int:
        """Copy the newest frame of the sequence buffer; return its bytes, 0 for none: 1 question.

        For measuring: this is the fastest way in which a frame can come.
        """
        try:
            return expect_array(self._core.call("getLastImage"), "getLastImage").nbytes
        except JavaRefusedError as error:
            if _EMPTY.search(error.said):
                return 0
            raise

    def snap(self) -> Taken:
        """See ``Core.snap``: 2 questions, up to 3 more for exposure and shape."""
        self.call("snapImage")
        return self._shaped("getImage")

    def texts(self, name: str, *args: object) -> tuple[str, ...]:
        """See ``Core.texts``: 3 questions and one for each text."""
        with self._object(name, *args) as vector:
            return tuple(str(vector.call("get", index)) for index in range(size(vector)))

    def roi(self) -> tuple[int, int, int, int]:
        """See ``Core.roi``: 6 questions (call, 4 fields, free)."""
        with self._object("getROI") as rectangle:
            x, y, width, height = (
                int(cast("int", rectangle.field(name))) for name in ("x", "y", "width", "height")
            )
        return x, y, width, height

    def preset_settings(self, group: str, preset: str) -> tuple[tuple[str, str, str], ...]:
        """See ``Core.preset_settings``: 3 questions and 5 for each setting."""
        with self._object("getConfigData", group, preset) as data:
            return tuple(setting(data, index) for index in range(size(data)))

    def load_exposure_sequence(self, exposures_ms: list[float]) -> None:
        """See ``Core.load_exposure_sequence``: 5 questions and one for each exposure."""
        camera = self.camera()
        with construct(self._bridge, "mmcorej.DoubleVector") as vector:
            for exposure_ms in exposures_ms:
                vector.call("add", float(exposure_ms))
            self.call("loadExposureSequence", camera, vector)

    def image_shape(self) -> tuple[int, int]:
        """See ``Core.image_shape``: 2 questions."""
        self._shape = super().image_shape()
        return self._shape

    def studio(self) -> JavaObject:
        """Return Micro-Manager's ``Studio``: 2 questions; free it.

        Raises
        ------
        CameraError
            If the server has none: Micro-Manager runs without its window.
        """
        return construct(self._bridge, STUDIO_CLASS)

    def live_on(self) -> bool:
        """Return whether the live view of Micro-Manager's window is on: 6 questions.

        Raises
        ------
        CameraError
            If Micro-Manager runs without its window.
        """
        with self.studio() as studio, expect_object(studio.call("live"), "live") as live:
            return bool(live.call("isLiveModeOn"))

    def measure_round_trip_ms(self, n: int = 20) -> float:
        """Return the median time of one question, in ms; asks ``n``."""
        taken_ns = []
        for _ in range(n):
            began_ns = now_ns()
            self._core.call("getExposure")
            taken_ns.append(now_ns() - began_ns)
        return statistics.median(taken_ns) * 1e-6

    def close(self) -> None:
        """See ``Core.close``: one question for each object not yet freed.

        The camera, and whatever runs in Java, is left as it is. A Micro-Manager that does not
        answer any more is not waited for longer than 0.5 s.
        """
        self._core.free()
        self._bridge.interrupt()
        # It keeps what it is not told to free: a few objects, until it ends.
        with contextlib.suppress(CameraError):
            self._bridge.free_forgotten(_GOODBYE_S)
        self._bridge.close()

    def _within(self, limit_s: float, name: str, *args: object) -> object:
        value = self._core.call(name, *args, limit_s=limit_s)
        if name in _RESHAPING:
            self._shape = None
        if name == "getExposure" and not args and isinstance(value, int | float):
            self._note_exposure(float(value))
        if name == "setExposure":
            self._note_exposure(float(cast("float", args[-1])))
        if isinstance(value, JavaObject) and value.has("swigValue"):
            with value:
                return value.call("swigValue")
        return value

    def _note_exposure(self, exposure_ms: float) -> None:
        self._exposure_s, self._exposure_at_ns = exposure_ms * 1e-3, now_ns()

    def _limit_s(self, name: str) -> float:
        usual_s = longest_wait_s(name, self._bridge.timeout_s)
        if name not in EXPOSING:
            return usual_s
        if now_ns() - self._exposure_at_ns > _EXPOSURE_FRESH_NS:
            self.exposure_ms()
        return usual_s + self._exposure_s

    def _object(self, name: str, *args: object) -> JavaObject:
        return expect_object(self._core.call(name, *args), name)

    def _shaped(self, name: str) -> Taken:
        """Return the frame that a call gives as a flat array."""
        flat = expect_array(self._core.call(name, limit_s=self._limit_s(name)), name)
        shape = self._shape or self.image_shape()
        if shape[0] * shape[1] != flat.size:
            shape = self.image_shape()
        if shape[0] * shape[1] != flat.size:
            self.dtype()  # colour comes as more bytes per pixel: then this says so
            raise _changing(name)
        return Taken(flat.reshape(shape), FrameTags(shape=shape, dtype=flat.dtype.str))

    def _tagged(self, name: str, *args: object) -> Taken | None:
        """Return a frame with its tags; None when they do not belong to each other."""
        with self._object(name, *args) as image:
            tags = _java_tags(image)
            flat = expect_array(image.field("pix"), "pix")
        if tags.shape[0] * tags.shape[1] != flat.size or tags.dtype != flat.dtype.str:
            # Java writes the region as it is now beside pixels taken before it was changed.
            self.unshaped += 1
            return None
        self._shape = tags.shape
        return Taken(flat.reshape(tags.shape), tags)


def connect_java(host: str, port: int, timeout_s: float) -> JavaCore:
    """Attach to a running Micro-Manager: 3 questions.

    Parameters
    ----------
    host, port : str, int
        Where its ZMQ server listens (Tools > Options > Run server on port).
    timeout_s : float
        Longest wait for an answer.

    Raises
    ------
    CameraError
        If nothing listens, it does not answer, is not Micro-Manager, or is of another version.
    """
    bridge = DeadlineBridge(host, port, timeout_s)
    return JavaCore(bridge, _core_behind(bridge))


def _core_behind(bridge: DeadlineBridge) -> JavaObject:
    """Return the core's handle; the connection is closed when there is none."""
    with ExitStack() as undo:
        undo.callback(bridge.close)
        try:
            core = construct(bridge, CORE_CLASS)
        except JavaRefusedError as error:
            why = f"it has no {CORE_CLASS} ({error.said})"
            raise not_micro_manager(bridge.where, why) from error
        undo.pop_all()
    return core


def _java_tags(image: JavaObject) -> JavaTags:
    tags = parse_tags(cast("dict[str, Any]", image.field("tags")))
    received_ns = now_ns() - max(0, tags.age_ns)
    return JavaTags(**msgspec.structs.asdict(tags), received_ns=received_ns)


def _changing(what: str) -> IncompleteFrameError:
    return IncompleteFrameError(
        f"Micro-Manager: the pixels of {what} do not fit the region",
        "somebody changes the region while the camera runs: stop the live view first",
    )


def _installed(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
