"""The bridge's messages: JSON with its arrays beside it, as multipart ZeroMQ messages. Pure.

Knows: how pyjavaz writes and reads arrays (``"@<id>"`` in the JSON, then a part with the four bytes
of the identifier and one with the data). Must not know: sockets, commands.

The two directions differ: the client writes the identifier as a signed decimal number with the
item size (``"@-12_2"``), the server as an unsigned hexadecimal one (``"@fffffff4"``).
"""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

ENCODING = "iso-8859-1"

_KINDS = {
    "b1": "boolean-array", "u1": "byte-array", "i1": "byte-array", "i2": "short-array",
    "u2": "short-array", "i4": "int-array", "f4": "float-array", "f8": "double-array",
}  # fmt: skip
_identifiers = itertools.count(1)


def encode(message: Mapping[str, Any]) -> list[bytes]:
    """Return the parts of a message whose leaves may be ``bytes``."""
    arrays: list[bytes] = []
    text = json.dumps(_without_bytes(message, arrays))
    return [text.encode(ENCODING), *arrays]


def _without_bytes(value: Any, arrays: list[bytes]) -> Any:
    if isinstance(value, bytes):
        identifier = next(_identifiers) & 0xFFFFFFFF
        arrays += [identifier.to_bytes(4, sys.byteorder), value]
        return f"@{identifier:x}"
    if isinstance(value, Mapping):
        return {key: _without_bytes(item, arrays) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_bytes(item, arrays) for item in value]
    return value


def decode(parts: Sequence[bytes]) -> dict[str, Any]:
    """Return the client's message with ``bytes`` where its arrays were."""
    arrays = {
        int.from_bytes(name, sys.byteorder, signed=True): data
        for name, data in zip(parts[1::2], parts[2::2], strict=True)
    }
    message = _with_bytes(json.loads(parts[0].decode(ENCODING)), arrays)
    if not isinstance(message, dict):
        raise TypeError(f"a message is a JSON object, got {message!r}")
    return message


def _with_bytes(value: Any, arrays: Mapping[int, bytes]) -> Any:
    if isinstance(value, str) and value.startswith("@") and arrays:
        number, _, _ = value[1:].partition("_")
        return arrays[int(number)]
    if isinstance(value, dict):
        return {key: _with_bytes(item, arrays) for key, item in value.items()}
    if isinstance(value, list):
        return [_with_bytes(item, arrays) for item in value]
    return value


def array_reply(array: np.ndarray[Any, Any]) -> dict[str, Any]:
    """Return how an array travels: flat, its kind named after Java's type."""
    kind = _KINDS[array.dtype.str[1:]]
    return {"type": kind, "value": np.ascontiguousarray(array).tobytes()}
