"""The command line: one short function for each verb; heavy imports inside.

Errors become one message on stderr and the exit code of their kind (see ``core.errors``). With
``--json`` stdout carries exactly one object, whatever happens once the arguments are understood.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from livedenoise import __version__
from livedenoise.core.errors import (
    EXIT_ABORTED,
    EXIT_INTERNAL,
    ConfigError,
    LiveDenoiseError,
)

if TYPE_CHECKING:
    from livedenoise.core.config import Config
    from livedenoise.daemon.options import RunOptions
    from livedenoise.daemon.run import Daemon
    from livedenoise.daemon.summary import Summary

N = TypeVar("N", int, float)
DEMO_SECONDS = 30.0
_ENGINES = ("auto", "identity", "openvino", "onnxruntime")


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


def run(arguments: argparse.Namespace) -> int:
    """``livedenoise run CONFIG.toml``: cameras to denoiser to recorder."""
    from livedenoise.core.config import load_config
    from livedenoise.hardware import find_config

    path = find_config(arguments.config)
    return _run_config(load_config(path), path.read_text(encoding="utf-8"), arguments)


def demo(arguments: argparse.Namespace) -> int:
    """``livedenoise demo``: the simulated camera, for 30 s unless told otherwise."""
    if arguments.seconds is None and arguments.frames is None:
        arguments.seconds = DEMO_SECONDS
    arguments.config = "demo"
    return run(arguments)


def predict(arguments: argparse.Namespace) -> int:
    """``livedenoise predict INPUT OUTPUT``: the same engines over files."""
    from livedenoise.batch.command import run_predict

    return run_predict(arguments)


def print_json(data: object) -> None:
    """Print the one object of ``--json``."""
    sys.stdout.write(json.dumps(data) + "\n")
    sys.stdout.flush()


def _run_config(config: Config, text: str, arguments: argparse.Namespace) -> int:
    from livedenoise.daemon.options import with_options
    from livedenoise.daemon.run import Daemon

    options = _options(arguments)
    daemon = Daemon(with_options(config, options), options, config_text=text)
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, lambda *_: daemon.request_stop())
    summary = _watched(daemon, quiet=arguments.headless or arguments.json)
    _report(summary, as_json=arguments.json)
    return summary.exit_code


def _watched(daemon: Daemon, *, quiet: bool) -> Summary:
    if quiet:
        return daemon.run()
    from rich.console import Console

    from livedenoise.view.status import LiveStatus

    console = Console(stderr=True)
    with ExitStack() as stack:
        console.print(f"livedenoise {__version__}: preparing cameras and engine ...", style="dim")
        status: LiveStatus | None = None
        if console.is_terminal:
            status = stack.enter_context(LiveStatus(console))
        return daemon.run(status.show if status else None)


def _report(summary: Summary, *, as_json: bool) -> None:
    import msgspec

    for error in summary.errors:
        sys.stderr.write(f"livedenoise: {error}\n")
    if as_json:
        print_json(msgspec.to_builtins(summary))
        return
    if summary.errors and not summary.captured:
        sys.stderr.write(f"livedenoise: nothing was captured; logs: {summary.run_dir}\n")
        return
    from rich.console import Console

    from livedenoise.daemon.summary import summary_lines
    from livedenoise.view.summary import render_latency, render_lines

    console = Console()
    console.print(render_lines(summary_lines(summary), summary.notes))
    console.print(render_latency(summary.latency_ms))


def _options(arguments: argparse.Namespace) -> RunOptions:
    from livedenoise.daemon.options import RunOptions

    if arguments.seconds is not None and arguments.frames is not None:
        raise ConfigError("--seconds and --frames exclude each other", "give one of them")
    return RunOptions(
        seconds=arguments.seconds,
        frames=arguments.frames,
        out=arguments.out,
        input=arguments.input,
        model=arguments.model,
        engine=arguments.engine,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="livedenoise",
        description="Live denoising of low-exposure microscope frames at camera rate.",
        epilog="Exit codes: 0 clean, 2 configuration, 3 camera, 4 denoiser, 5 recording "
        "incomplete, 6 internal, 130 aborted.",
    )
    parser.add_argument("--version", action="version", version=f"livedenoise {__version__}")
    verbs = parser.add_subparsers(required=True, metavar="VERB")
    run_parser = verbs.add_parser("run", help="capture, denoise and record from a configuration")
    run_parser.add_argument(
        "config", metavar="CONFIG", help="TOML file, or the name of a shipped configuration"
    )
    _add_run_options(run_parser)
    run_parser.set_defaults(verb=run)
    demo_parser = verbs.add_parser("demo", help="the same with a simulated camera, for 30 s")
    _add_run_options(demo_parser)
    demo_parser.set_defaults(verb=demo)
    _add_predict(verbs.add_parser("predict", help="denoise files with the same engines"))
    return parser


def _add_run_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--seconds", type=_positive(float), metavar="S", help="stop after S seconds")
    add("--frames", type=_positive(int), metavar="N", help="stop after N frames of each camera")
    add("--out", type=Path, default=Path("runs"), metavar="DIR", help="where run folders are made")
    add("--input", type=Path, metavar="FILE", help="recording to replay (cameras of kind replay)")
    add("--model", metavar="M", help="shipped model or package folder")
    add("--engine", choices=_ENGINES, help="which engine serves the model")
    add("--headless", action="store_true", help="no live status")
    add("--json", action="store_true", help="print one JSON object and nothing else on stdout")


def _add_predict(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("input", type=Path, metavar="INPUT", help="TIFF or PNG, folder of them, or run folder")
    add("output", type=Path, metavar="OUTPUT", help="file, or folder for a folder")
    add("--model", default="realtime-m", metavar="M", help="shipped model or package folder")
    add("--engine", choices=_ENGINES, default="auto", help="which engine serves the model")
    add("--calibration", type=Path, metavar="C", help="calibration folder of the camera")
    add("--gain", type=_positive(float), metavar="E_PER_ADU", help="electrons per count")
    add("--offset", type=float, metavar="ADU", help="counts without light")
    add("--read-noise", type=float, metavar="E", help="read noise in electrons")
    add("--dtype", choices=("same", "float32"), default="same", help="pixel type of the outputs")
    add("--tile", type=_positive(int), metavar="PX", help="edge of the tiles; default: whole frame")
    add("--json", action="store_true", help="print one JSON object and nothing else on stdout")
    parser.set_defaults(verb=predict)


def _positive(kind: type[N]) -> Callable[[str], N]:
    def parse(text: str) -> N:
        value = kind(text)
        if not 0 < value < inf:
            raise argparse.ArgumentTypeError(f"must be a number above 0, got {text}")
        return value

    parse.__name__ = kind.__name__
    return parse


if __name__ == "__main__":
    sys.exit(main())
