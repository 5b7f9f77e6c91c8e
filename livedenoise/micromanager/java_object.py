"""Objects that live in Micro-Manager's Java, as handles of ours.

Knows: how to make, ask and free one over the bridge. Must not know: what any object is for.

pyjavaz's own shadows are not used: each registers a handler at the interpreter's exit that is never
taken back (a leak for every frame looked at), and asks Java from its destructor.
"""

from __future__ import annotations

from types import TracebackType
from typing import Self

from livedenoise.micromanager.bridge import DeadlineBridge
from livedenoise.micromanager.java_messages import (
    ForeignAnswerError,
    Handle,
    Message,
    constructor,
    get_field,
    run_method,
    value_of,
)


class JavaObject:
    """One object in Java. Freed when it is left or forgotten: Java hears of it with the next call.

    Parameters
    ----------
    bridge : DeadlineBridge
        The connection.
    handle : Handle
        What Java said about it.
    """

    def __init__(self, bridge: DeadlineBridge, handle: Handle) -> None:
        self._bridge = bridge
        self.handle = handle
        self._freed = False

    def call(self, name: str, *args: object, limit_s: float | None = None) -> object:
        """Call a method; one question.

        Returns None, a number, text, a dict, a flat array, or a ``JavaObject``.

        Raises
        ------
        CameraError
            If there is no such method, it fails, or it is not answered in time.
        """
        handles = [arg.handle if isinstance(arg, JavaObject) else arg for arg in args]
        return self._ask(run_method(self.handle, name, handles), shown(name, args), limit_s)

    def field(self, name: str) -> object:
        """Read a public field; one question.

        Raises
        ------
        CameraError
            If there is no such field, or it is not answered in time.
        """
        return self._ask(get_field(self.handle, name), name, None)

    def has(self, name: str) -> bool:
        """Return whether the object has such a method."""
        return name in self.handle.methods

    def free(self) -> None:
        """Let Java forget the object. Idempotent; never waits."""
        if not self._freed:
            self._freed = True
            self._bridge.forget(self.handle.hash_code)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.free()

    def __del__(self) -> None:
        self.free()

    def _ask(self, message: Message, what: str, limit_s: float | None) -> object:
        value = value_of(self._bridge.ask(message, what, limit_s), what)
        return JavaObject(self._bridge, value) if isinstance(value, Handle) else value


def construct(bridge: DeadlineBridge, classpath: str, *args: object) -> JavaObject:
    """Make an object of a class, or get the one that Micro-Manager has; two questions.

    Raises
    ------
    CameraError
        If there is no such class or constructor.
    """
    known = bridge.ask({"command": "get-constructors", "classpath": classpath}, classpath)
    message = constructor(classpath, known.get("api", []), args)
    value = value_of(bridge.ask(message, classpath), classpath)
    if not isinstance(value, Handle):
        raise ForeignAnswerError(
            f"Micro-Manager made {value!r} of {classpath}, an object was expected",
            "livedenoise check prints the versions; use those its documentation names",
        )
    return JavaObject(bridge, value)


def shown(name: str, args: tuple[object, ...]) -> str:
    """Return a call as an error shows it."""
    texts = [repr(arg) if isinstance(arg, str | int | float) else "..." for arg in args]
    return f"{name}({', '.join(texts)})" if args else name
