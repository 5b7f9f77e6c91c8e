"""Problems of a TOML file as lines for people: ``file:dotted.key: problem (got value)``.

Knows: how a file is read, how a validation error becomes one line. Must not know: which file.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic_core import ErrorDetails

from livedenoise.core.errors import ConfigError

_VALUE_PREFIX = "Value error, "


def read_toml(path: Path, what: str) -> dict[str, Any]:
    """Read a TOML file; ``what`` names its kind where it is missing ("configuration file").

    Raises
    ------
    ConfigError
        If the file is missing, cannot be read, or is not TOML.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such {what}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from error
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: not valid TOML: {error}") from error


def problem_line(name: str, keys: Iterable[object], text: str, shown: str = "") -> str:
    """Return ``name:dotted.key: text``; no keys mean the file as a whole."""
    return f"{name}:{'.'.join(map(str, keys)) or '(file)'}: {text}{shown}"


def problem_text(problem: ErrorDetails) -> str:
    """Return what is wrong, without the prefix of errors that validators raise."""
    return problem["msg"].removeprefix(_VALUE_PREFIX)


def got(value: object) -> str:
    """Return `` (got value)``, nothing for tables and lists: they are in the file."""
    return "" if isinstance(value, dict | list) else f" (got {value!r})"


def describe(name: str, problem: ErrorDetails, keys: Iterable[object] | None = None) -> str:
    """Return the line of one problem; ``keys`` replace those that pydantic names."""
    found = list(problem["loc"] if keys is None else keys)
    text, value = problem_text(problem), problem.get("input")
    if problem["type"] == "union_tag_not_found":
        found, text = [*found, "kind"], "Field required"
    elif problem["type"] == "union_tag_invalid":
        found, value = [*found, "kind"], problem["ctx"]["tag"]
        text = f"Input should be one of {problem['ctx']['expected_tags']}"
    return problem_line(name, found, text, "" if problem["type"] == "missing" else got(value))
