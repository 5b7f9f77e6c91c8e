"""What is said over the bridge of a running Micro-Manager: messages and answers as data. Pure.

Knows: the protocol of pyjavaz (Micro-Manager's ZMQ server, version 5): how a Java method is chosen
among its overloads, how arguments are written, how an answer is read. Must not know: sockets.

A message is a dict; arrays travel as parts of their own, named by ``"@"`` and a number in the JSON
text. Java's exceptions arrive as text with a stack trace.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from livedenoise.core.errors import CameraError

Message = dict[str, Any]

_ARRAYS = {
    "byte-array": "|u1",
    "short-array": "<u2",
    "int-array": "<u4",
    "float-array": "<f4",
    "double-array": "<f8",
}
_INTEGERS = ("int", "long", "java.lang.Integer", "java.lang.Long", "short", "byte")
_REALS = ("double", "float", "java.lang.Double", "java.lang.Float")
_FITS: dict[type, tuple[str, ...]] = {
    bool: ("boolean", "java.lang.Boolean"),
    int: _INTEGERS + _REALS,
    float: _REALS,
    str: ("java.lang.String", "java.lang.Object"),
}
"""Java types a Python value may become, the best one first."""
_ARRAY_TYPES = {"|u1": "byte[]", "<u2": "short[]", "<i2": "short[]"}
_FRAME = re.compile(r"^\s*(at )?[\w.$<>/@ ]+\((Native Method|Unknown Source|[\w$]+\.\w+(:\d+)?)\)$")
_LABEL = re.compile(r"^(Caused by: )?([a-z]\w*\.)+\w*(Exception|Error)(: |$)")


class JavaRefusedError(CameraError):
    """Java answered a call with an exception. ``said`` is its message, without the stack."""

    def __init__(self, message: str, hint: str = "", *, said: str = "") -> None:
        super().__init__(message, hint)
        self.said = said


class ForeignAnswerError(CameraError):
    """The answer is not one of Micro-Manager's server."""


class Handle(msgspec.Struct, frozen=True):
    """An object that lives in Java: its number there, its classes, its methods."""

    hash_code: str
    java_class: str
    interfaces: tuple[str, ...]
    methods: dict[str, list[Message]]


def read_answer(parts: Sequence[bytes], what: str) -> Message:
    """Return an answer with its arrays in place.

    Raises
    ------
    ForeignAnswerError
        If it is not JSON with a type.
    JavaRefusedError
        If Java raised an exception.
    """
    try:
        answer = json.loads(parts[0].decode("iso-8859-1"))
        arrays = {
            int.from_bytes(parts[index], byteorder=sys.byteorder): parts[index + 1]
            for index in range(1, len(parts), 2)
        }
        kind = answer["type"]
    except (ValueError, TypeError, KeyError, IndexError) as error:
        raise ForeignAnswerError(
            f"the answer to {what} is not one of Micro-Manager: {parts[0][:60]!r}",
            "another program listens on this port: end it, or set another port in Micro-Manager",
        ) from error
    if kind == "exception":
        said = java_message(str(answer.get("value", "")))
        raise JavaRefusedError(
            f"Micro-Manager: {what} failed: {said}",
            "check the device in Micro-Manager's own window: the same call fails there",
            said=said,
        )
    if arrays and isinstance(answer.get("value"), str):
        answer["value"] = _array_named(answer["value"], arrays, what)
    return dict(answer)


def value_of(answer: Message, what: str) -> object:
    """Return what an answer holds: None, a number, text, a dict, a flat array, or a ``Handle``.

    Arrays are read-only and flat; ``short[]`` is uint16, as cameras mean it.

    Raises
    ------
    ForeignAnswerError
        If it is of a kind this version does not know.
    """
    match answer["type"]:
        case "none" | "null":
            return None
        case "primitive" | "string":
            return answer["value"]
        case "object":
            return json.loads(answer["value"])
        case "list":
            return [value_of(one, what) for one in answer["value"]]
        case "unserialized-object":
            return _handle(answer, what)
        case kind if kind in _ARRAYS and isinstance(answer.get("value"), bytes):
            return np.frombuffer(answer["value"], _ARRAYS[kind])
        case kind:
            raise ForeignAnswerError(
                f"{what} returned {kind!r}, which this version does not know",
                "livedenoise check prints the versions; use those its documentation names",
            )


def run_method(handle: Handle, name: str, args: Sequence[object]) -> Message:
    """Return the message that calls a method.

    Raises
    ------
    CameraError
        If the object has no such method, or none that takes these arguments.
    """
    return {
        "command": "run-method",
        "static": False,
        "hash-code": handle.hash_code,
        "java_class_name": handle.java_class,
        "name": name,
        **_arguments(f"{handle.java_class}.{name}", handle.methods.get(name, []), args),
    }


def constructor(classpath: str, known: Sequence[Message], args: Sequence[object]) -> Message:
    """Return the message that constructs an object, from the constructors Java says there are."""
    fitting = [one for one in known if one["name"] == classpath]
    return {
        "command": "constructor",
        "classpath": classpath,
        **_arguments(classpath, fitting, args),
    }


def get_field(handle: Handle, name: str) -> Message:
    """Return the message that reads a public field."""
    return {"command": "get-field", "hash-code": handle.hash_code, "name": name}


def destructor(handle_code: str) -> Message:
    """Return the message that lets Java forget an object."""
    return {"command": "destructor", "hash-code": handle_code}


def java_message(text: str) -> str:
    """Return what an exception says, without its class and its stack trace."""
    lines = text.strip().splitlines() or ["(no message)"]
    causes = [index for index, line in enumerate(lines) if line.startswith("Caused by: ")]
    said: list[str] = []
    for line in lines[causes[-1] if causes else 0 :]:
        if said and (_FRAME.match(line) or line.lstrip().startswith(("at ", "... "))):
            break
        said.append(line.strip())
    message = " ".join(line for line in said if line)
    return _LABEL.sub("", message) or message


def _arguments(what: str, overloads: Sequence[Message], args: Sequence[object]) -> Message:
    """Return the best overload's types and the arguments as they are sent."""
    ranked = [
        (sum(costs), tuple(overload["arguments"]))
        for overload in overloads
        if (costs := _costs(overload["arguments"], args)) is not None
    ]
    if not ranked:
        given = ", ".join(type(arg).__name__ for arg in args)
        raise CameraError(
            f"Micro-Manager has no {what}({given})",
            "livedenoise check prints the versions; use those its documentation names",
        )
    # Among equals the first by name: the order Java gives them in changes from run to run.
    types = min(ranked)[1]
    return {
        "argument-types": list(types),
        "argument-deserialization-types": [
            _sent_type(java_type, arg) for java_type, arg in zip(types, args, strict=True)
        ],
        "arguments": [_sent(java_type, arg) for java_type, arg in zip(types, args, strict=True)],
    }


def _costs(types: Sequence[str], args: Sequence[object]) -> list[int] | None:
    """Return how well each argument fits, 0 for best; None when one does not."""
    if len(types) != len(args):
        return None
    costs = [_cost(java_type, arg) for java_type, arg in zip(types, args, strict=True)]
    return None if -1 in costs else costs


def _cost(java_type: str, arg: object) -> int:
    # numpy's float64 is a float: its own class is not in the table.
    known = next((kind for kind in type(arg).__mro__ if kind in _FITS), None)
    fits: tuple[str, ...] = _FITS[known] if known is not None else ()
    if isinstance(arg, Handle):
        fits = (*arg.interfaces, "java.lang.Object")
    elif isinstance(arg, np.ndarray):
        fits = (_ARRAY_TYPES.get(arg.dtype.str, ""), "java.lang.Object")
    return fits.index(java_type) if java_type in fits else -1


def _sent_type(java_type: str, arg: object) -> str:
    return _ARRAY_TYPES[arg.dtype.str] if isinstance(arg, np.ndarray) else java_type


def _sent(java_type: str, arg: object) -> object:
    if isinstance(arg, Handle):
        return {"hash-code": arg.hash_code}
    if isinstance(arg, np.ndarray):
        return _bytes(arg)
    return float(arg) if isinstance(arg, int) and java_type in _REALS else arg


def _bytes(array: NDArray[Any]) -> bytes:
    return array.tobytes()


def _array_named(text: str, arrays: dict[int, bytes], what: str) -> bytes:
    """Return the array that "@" and a hexadecimal number name."""
    try:
        return arrays[int(text.removeprefix("@"), 16)]
    except (ValueError, KeyError) as error:
        raise ForeignAnswerError(
            f"the answer to {what} names an array {text[:20]!r} that did not come with it",
            "livedenoise check prints the versions; use those its documentation names",
        ) from error


def _handle(answer: Message, what: str) -> Handle:
    try:
        methods: dict[str, list[Message]] = {}
        for method in answer["api"]:
            methods.setdefault(method["name"], []).append(method)
        return Handle(
            str(answer["hash-code"]), answer["class"], tuple(answer["interfaces"]), methods
        )
    except (KeyError, TypeError) as error:
        raise ForeignAnswerError(
            f"the object that {what} returned is not described: {error!r}",
            "livedenoise check prints the versions; use those its documentation names",
        ) from error
