"""What verbs share: argument types and the one JSON object of ``--json``."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from math import inf
from typing import TypeAlias, TypeVar

N = TypeVar("N", int, float)
ENGINES = ("auto", "identity", "openvino", "onnxruntime")
Verbs: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"  # noqa: SLF001


def print_json(data: object) -> None:
    """Print the one object of ``--json``."""
    sys.stdout.write(json.dumps(data) + "\n")
    sys.stdout.flush()


def positive(kind: type[N]) -> Callable[[str], N]:
    """Return the type of an argument that must be a finite number above 0."""

    def parse(text: str) -> N:
        value = kind(text)
        if not 0 < value < inf:
            raise argparse.ArgumentTypeError(f"must be a number above 0, got {text}")
        return value

    parse.__name__ = kind.__name__
    return parse
