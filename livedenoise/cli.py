"""The command line: one short function for each verb; heavy imports inside.

Errors become one message on stderr and the exit code of their kind (see ``core.errors``). With
``--json`` stdout carries exactly one object, whatever happens once the arguments are understood.
"""

from __future__ import annotations

import argparse
import sys
import traceback
from collections.abc import Callable, Sequence

from livedenoise import __version__
from livedenoise.core.errors import EXIT_ABORTED, EXIT_INTERNAL, LiveDenoiseError
from livedenoise.verbs import (
    calibrating,
    checking,
    collecting,
    configs,
    control,
    diagnosing,
    exporting,
    keys,
    mm_preview,
    predicting,
    recovering,
    running,
)
from livedenoise.verbs.common import print_json

_GROUPS = (
    running,
    control,
    checking,
    configs,
    recovering,
    keys,
    mm_preview,
    predicting,
    collecting,
    exporting,
    diagnosing,
    calibrating,
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    arguments = _parser().parse_args(argv)
    verb: Callable[[argparse.Namespace], int] = arguments.verb
    try:
        return verb(arguments)
    except LiveDenoiseError as error:
        return _failed(arguments, error.exit_code, str(error))
    except KeyboardInterrupt:
        return _failed(arguments, EXIT_ABORTED, "interrupted")
    except Exception as error:  # noqa: BLE001  (the last frame of the program: reported, never lost)
        traceback.print_exc()
        return _failed(arguments, EXIT_INTERNAL, f"{type(error).__name__}: {error}")


def _failed(arguments: argparse.Namespace, exit_code: int, message: str) -> int:
    sys.stderr.write(f"livedenoise: {message}\n")
    if getattr(arguments, "json", False):
        print_json({"exit_code": exit_code, "errors": [message]})
    return exit_code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="livedenoise",
        description="Live denoising of low-exposure microscope frames at camera rate.",
        epilog="Exit codes: 0 clean, 2 configuration, 3 camera, 4 denoiser, 5 recording "
        "incomplete, 6 internal, 130 aborted.",
    )
    parser.add_argument("--version", action="version", version=f"livedenoise {__version__}")
    verbs = parser.add_subparsers(required=True, metavar="VERB")
    for group in _GROUPS:
        group.register(verbs)
    return parser


if __name__ == "__main__":
    sys.exit(main())
