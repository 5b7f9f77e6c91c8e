"""Write the keys of a plan into docs/collect.md from its models: type, default, meaning.

    python tools/make_plan_reference.py

Only what stands between the two marks is written. A test compares the page with what this writes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args, get_origin

import make_config_reference as reference
from pydantic import BaseModel

from livedenoise.collect.plan_model import (
    ChannelConfig,
    DarkConfig,
    HighConfig,
    LadderConfig,
    LightConfig,
    LowConfig,
    PlanConfig,
    RetryConfig,
    SplitConfig,
)
from livedenoise.collect.program import Limits

TARGET = Path(__file__).resolve().parents[1] / "docs" / "collect.md"
MARKS = ("<!-- keys: written by tools/make_plan_reference.py -->", "<!-- end of keys -->")
SECTIONS: tuple[tuple[str, type[BaseModel]], ...] = (
    ("(top level)", PlanConfig),
    ("[high]", HighConfig),
    ("[low]", LowConfig),
    ("[low.ladder]", LadderConfig),
    ("[[channel]]", ChannelConfig),
    ("[light]", LightConfig),
    ("[dark]", DarkConfig),
    ("[retry]", RetryConfig),
    ("[split]", SplitConfig),
    ("[checks]", Limits),
)
_TABLES = {"high", "low", "light", "dark", "retry", "split", "checks", "channel", "sequence"}


def main() -> None:
    """Write the page."""
    TARGET.write_text(render(TARGET.read_text(encoding="utf-8")), encoding="utf-8")


def render(page: str) -> str:
    """Return the page with the keys as they are."""
    before, _, rest = page.partition(MARKS[0])
    _, _, after = rest.partition(MARKS[1])
    keys = "\n".join(_section(title, model) for title, model in SECTIONS)
    return f"{before}{MARKS[0]}\n{keys}\n{MARKS[1]}{after}"


def _section(title: str, model: type[BaseModel]) -> str:
    doc = " ".join((model.__doc__ or "").split("\n\n")[0].split()).replace("``", "`")
    lines = [f"\n### {title}\n", f"{doc}\n"]
    lines += ["| key | values | default | meaning |", "| --- | --- | --- | --- |"]
    for name, field in model.model_fields.items():
        if model is PlanConfig and name in _TABLES:
            continue
        limits = reference._values(field)  # noqa: SLF001
        limits = limits.removeprefix(reference._type_text(field.annotation))  # noqa: SLF001
        values = _text(field.annotation) + limits
        default = reference._default(field)  # noqa: SLF001
        lines.append(f"| `{name}` | {values} | {default} | {field.description or ''} |")
    return "\n".join(lines)


def _text(kind: Any) -> str:  # noqa: ANN401
    """Return a type in words; lists and tables, which a camera's configuration has not got."""
    parts = [one for one in get_args(kind) if one is not type(None)]
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return "table"
    if get_origin(kind) is list:
        return f"list of {_text(parts[0])}"
    if get_origin(kind) is not None and "Union" in str(type(kind)) + str(get_origin(kind)):
        return " or ".join(_text(one) for one in parts)
    return reference._type_text(kind)  # noqa: SLF001


if __name__ == "__main__":
    main()
