"""The objects that clients hold shadows of, and how values travel back to them.

Knows: hash codes, the kinds of reply. Must not know: sockets, Micro-Manager's calls.
"""

from __future__ import annotations

import itertools
import threading
from collections import Counter
from typing import Any

import numpy as np

from bridge.java import JavaError, JavaObject
from bridge.tagged import JsonObject
from bridge.wire import array_reply

_ARRAYS = {
    "byte[]": "u1", "short[]": "<i2", "char[]": "<u2", "int[]": "<i4", "long[]": "<i8",
    "float[]": "<f4", "double[]": "<f8", "boolean[]": "?",
}  # fmt: skip


class Objects:
    """Table from hash code to object. A hash code stands for one shadow, not for one object."""

    def __init__(self) -> None:
        self._objects: dict[str, JavaObject] = {}
        self._next = itertools.count(1)
        self._lock = threading.Lock()

    def alive(self) -> dict[str, int]:
        """Return how many shadows there are, by Java class."""
        with self._lock:
            return dict(Counter(held.java_name for held in self._objects.values()))

    def find(self, hash_code: str) -> JavaObject:
        """Return the object behind a shadow."""
        with self._lock:
            found = self._objects.get(hash_code)
        if found is None:
            raise JavaError(f"no object {hash_code}", "java.lang.NullPointerException")
        return found

    def forget(self, hash_code: str) -> None:
        """Let go of a shadow's object."""
        with self._lock:
            self._objects.pop(hash_code, None)

    def clear(self) -> None:
        """Let go of every object, as if every shadow had died."""
        with self._lock:
            self._objects.clear()

    def reply(self, value: Any, port: int) -> dict[str, Any]:
        """Return a value as it travels: itself, or a description to make a shadow of."""
        if value is None or isinstance(value, str | bool | int | float):
            return _plain(value)
        if isinstance(value, list | tuple):
            return {"type": "list", "value": [self.reply(item, port) for item in value]}
        if isinstance(value, np.ndarray):
            return array_reply(value)
        if isinstance(value, JsonObject):
            return {"type": "object", "class": "JSONObject", "value": value.text()}
        if isinstance(value, JavaObject):
            return self.describe(value, port)
        raise TypeError(f"{type(value).__name__} has no Java form")

    def describe(self, held: JavaObject, port: int) -> dict[str, Any]:
        """Return what a client makes a shadow from; the object lives until the shadow dies."""
        with self._lock:
            hash_code = f"{next(self._next):x}"
            self._objects[hash_code] = held
        return {
            "type": "unserialized-object",
            "class": held.java_name,
            "hash-code": hash_code,
            "port": port,
            "interfaces": list(held.java_interfaces),
            "fields": list(held.java_fields),
            "api": [spec.as_json() for spec in held.java_specs()],
        }

    def arguments(self, values: list[Any], types: list[str]) -> list[Any]:
        """Return a call's arguments: shadows as their objects, arrays as arrays of their type."""
        return [self._argument(value, kind) for value, kind in zip(values, types, strict=True)]

    def _argument(self, value: Any, kind: str) -> Any:
        if isinstance(value, dict) and "hash-code" in value:
            return self.find(value["hash-code"])
        if isinstance(value, bytes):
            return np.frombuffer(value, _ARRAYS[kind]).copy()
        return value


def _plain(value: str | float | None) -> dict[str, Any]:
    if value is None:
        return {"type": "null"}
    return {"type": "string" if isinstance(value, str) else "primitive", "value": value}
