"""Which calls of MMCore the bridge offers, with their Java types: read from pymmcore itself. Pure.

Knows: how SWIG writes a signature in Python and how it translates C++ types to Java's. Must not
know: how a call is made.

The calls whose Java form differs from Python's (images, regions, positions) are in ``core``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from bridge.java import OBJECT, STRING, Spec

_TYPES = {
    "char const *": STRING, "std::string": STRING, "bool": "boolean", "bool const": "boolean",
    "double": "double", "double const": "double", "float const": "float", "int": "int",
    "long": "int", "long const": "int", "long long": "long", "unsigned int": "long",
    "unsigned long": "long", "unsigned char": "short", "StrVector": "mmcorej.StrVector",
    "DoubleVector": "mmcorej.DoubleVector", "LongVector": "mmcorej.LongVector",
    "Configuration": "mmcorej.Configuration", "MM::PropertyType": "mmcorej.PropertyType",
    "MM::DeviceType": "mmcorej.DeviceType", "void *": OBJECT, None: "void",
}  # fmt: skip
_SKIPPED = {
    "getROI", "getXYPosition", "getImage", "getLastImage", "popNextImage", "getLastImageMD",
    "popNextImageMD", "getNBeforeLastImageMD", "acquire", "append", "disown", "next", "own",
    "registerCallback", "this", "thisown",
}  # fmt: skip
_SIGNATURE = re.compile(r"^(\w+)\((.*?)\)(?: -> (.*))?$", re.MULTILINE)
# Which of several fitting overloads a client gets is left to chance by Java's reflection. Here
# it is always the wrong one for text-like properties: a client that relies on luck fails.
_LUCK = {"float": 0, "double": 1, "boolean": 2, "int": 3}


def core_specs(core_class: type) -> list[Spec]:
    """Return the overloads of a core class, those with a Java form of their own left out."""
    names = (name for name in dir(core_class) if not name.startswith("_"))
    specs = [
        spec
        for name in names
        if name not in _SKIPPED
        for spec in _overloads(name, getattr(core_class, name).__doc__ or "")
    ]
    return sorted(specs, key=_order)


def _order(spec: Spec) -> tuple[str, int, int]:
    last = spec.arguments[-1] if spec.arguments else ""
    return spec.name, len(spec.arguments), _LUCK.get(last, len(_LUCK))


def _overloads(name: str, text: str) -> Iterator[Spec]:
    for found in _SIGNATURE.finditer(text):
        if found[1] != name:
            continue
        arguments = [part.strip() for part in found[2].split(",") if part.strip()]
        kinds = [_type(part) for part in arguments if part != "CMMCore self"]
        returns = _TYPES.get(found[3])
        if None in kinds or returns is None:
            continue  # a type that Java's side does not have
        required = sum("=" not in part for part in arguments if part != "CMMCore self")
        for count in range(required, len(kinds) + 1):
            yield Spec(name, tuple(str(kind) for kind in kinds[:count]), returns)


def _type(argument: str) -> str | None:
    declared, _, _ = argument.partition("=")
    kind, _, _ = declared.strip().rpartition(" ")
    return _TYPES.get(kind.strip())


def as_core_argument(value: Any, kind: str) -> Any:
    """Return an argument as pymmcore takes it."""
    if kind in {"float", "double"} and not isinstance(value, bool):
        return float(value)
    items = getattr(value, "items", None)
    return items if isinstance(items, list) else value
