"""Write docs/configuration.md from the models of the configuration: every key, type and default.

    python tools/make_config_reference.py

A test compares the file with what this writes, so the page cannot fall behind the code.
"""

from __future__ import annotations

import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from livedenoise.core.camera_config import (
    NetworkCameraConfig,
    ReplayCameraConfig,
    SimulatedCameraConfig,
)
from livedenoise.core.config import Config
from livedenoise.core.micromanager_config import MicroManagerCameraConfig

TARGET = Path(__file__).resolve().parents[1] / "docs" / "configuration.md"
HEAD = """# Configuration

One TOML file is one rig. Units are in the names of the keys. Unknown keys are refused, and all
problems of a file are reported at once. Relative paths start at the file's folder. Examples:
`hardware_configs/`. Written by `tools/make_config_reference.py`.
"""


def main() -> None:
    """Write the page."""
    TARGET.write_text(render(), encoding="utf-8")


def render() -> str:
    """Return the page."""
    parts = [HEAD, *_section("(top level)", Config)]
    parts += _section('[[camera]] with kind = "simulated"', SimulatedCameraConfig, "camera")
    parts += _section('[[camera]] with kind = "replay"', ReplayCameraConfig, "camera")
    parts += _section('[[camera]] with kind = "network"', NetworkCameraConfig, "camera")
    parts += _section('[[camera]] with kind = "micromanager"', MicroManagerCameraConfig, "camera")
    return "\n".join(parts) + "\n"


def _section(title: str, model: type[BaseModel], path: str = "") -> Iterator[str]:
    fields = model.model_fields.items()
    plain = [(name, field) for name, field in fields if _model_of(field) is None]
    yield f"## {title}\n"
    doc = (model.__doc__ or "").strip().splitlines()[0]
    yield f"{doc}\n"
    yield "| key | values | default | meaning |"
    yield "| --- | --- | --- | --- |"
    for name, field in plain:
        if name != "camera" and not (name == "kind" and path == "camera"):
            yield f"| `{name}` | {_values(field)} | {_default(field)} | {field.description or ''} |"
    yield ""
    for name, field in fields:
        nested = _model_of(field)
        if nested is not None:
            dotted = f"{path}.{name}" if path else name
            heading = f"[[{dotted}]]" if get_origin(field.annotation) is tuple else f"[{dotted}]"
            # Two kinds of camera have a table of this name, with different keys.
            of = f" with {title.partition(' with ')[2]}" if name == "microscope" else ""
            yield from _section(heading + of, nested, dotted)


def _model_of(field: FieldInfo) -> type[BaseModel] | None:
    for kind in (field.annotation, *get_args(field.annotation)):
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            return kind
    return None


def _values(field: FieldInfo) -> str:
    text = _type_text(field.annotation)
    limits = [
        f"{symbol} {getattr(limit, key)}"
        for limit in field.metadata
        for key, symbol in (("ge", "&ge;"), ("gt", ">"), ("le", "&le;"), ("lt", "<"))
        if getattr(limit, key, None) is not None
    ]
    return ", ".join([text, *limits])


def _type_text(kind: Any) -> str:  # noqa: ANN401
    if get_origin(kind) is Literal:
        return ", ".join(f"`{value!r}`".replace("'", '"') for value in get_args(kind))
    if get_origin(kind) == types.UnionType or str(get_origin(kind)) == "typing.Union":
        return ", ".join(_type_text(k) for k in get_args(kind) if k is not types.NoneType)
    names = {"Path": "path", "int": "integer", "float": "number", "str": "text", "bool": "yes/no"}
    if get_origin(kind) is dict:
        key, value = get_args(kind)
        return f"table of {_type_text(key)} = {_type_text(value)}"
    if get_origin(kind) is tuple:
        first, *_, last = get_args(kind)
        whole = {"integer": "integers"}.get(_type_text(first), _type_text(first))
        return f"list of {whole}" if last is Ellipsis else f"{len(get_args(kind))} integers"
    if hasattr(kind, "__metadata__"):
        return _type_text(get_args(kind)[0])
    return names.get(getattr(kind, "__name__", str(kind)), str(kind))


def _default(field: FieldInfo) -> str:
    if field.default is PydanticUndefined:
        return "required"
    if field.default is None:
        return "none"
    if isinstance(field.default, bool):
        return "`true`" if field.default else "`false`"
    text = f'"{field.default}"' if isinstance(field.default, str) else str(field.default)
    return f"`{text}`"


if __name__ == "__main__":
    main()
