"""``run`` and ``demo``: the live plane until it ends or is stopped, then its summary.

Stop signals: the first Ctrl-C or SIGTERM drains, the second aborts. A terminal that hangs up
(SIGHUP) drains too, however often it says so: shells and sessions say it twice.
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from livedenoise import __version__
from livedenoise.core.errors import ConfigError
from livedenoise.verbs.common import ENGINES, Verbs, positive, print_json
from livedenoise.verbs.screen import Screen, drop_output

if TYPE_CHECKING:
    from livedenoise.core.config import Config
    from livedenoise.daemon.options import RunOptions
    from livedenoise.daemon.run import Daemon
    from livedenoise.daemon.summary import Summary

DEMO_SECONDS = 30.0


def run(arguments: argparse.Namespace) -> int:
    """``livedenoise run CONFIG.toml``: cameras to denoiser to recorder."""
    from livedenoise.core.config import load_config
    from livedenoise.hardware import find_config

    path = find_config(arguments.config)
    config, text = load_config(path), path.read_text(encoding="utf-8")
    if arguments.detach:
        return _detach(config, arguments)
    return _run_config(config, text, arguments)


def demo(arguments: argparse.Namespace) -> int:
    """``livedenoise demo``: the simulated camera, for 30 s unless told otherwise."""
    if arguments.seconds is None and arguments.frames is None:
        arguments.seconds = DEMO_SECONDS
    arguments.config = "demo"
    return run(arguments)


def _run_config(config: Config, text: str, arguments: argparse.Namespace) -> int:
    from livedenoise.daemon.options import with_options
    from livedenoise.daemon.run import Daemon

    options = _options(arguments)
    daemon = Daemon(with_options(config, options), options, config_text=text)
    orders = StopOrders(daemon.request_stop)
    orders.listen()
    summary = _watched(daemon, quiet=arguments.headless or arguments.json)
    try:
        _report(summary, as_json=arguments.json)
    except OSError:
        if not orders.hung_up:
            raise
        # The terminal went away; the summary is in the run folder.
        drop_output()
    return summary.exit_code


def _detach(config: Config, arguments: argparse.Namespace) -> int:
    """Refuse here, where the user looks, what the run would refuse; then let it go."""
    from livedenoise.daemon.options import with_options
    from livedenoise.engines.package import resolve_model
    from livedenoise.verbs.detaching import run_detached

    denoise = with_options(config, _options(arguments)).denoise
    if denoise.enabled and denoise.engine != "identity":
        resolve_model(denoise.model)
    return run_detached(arguments)


class StopOrders:
    """Turns signals into requests to stop.

    Parameters
    ----------
    request_stop : callable
        The first call drains, the second aborts.
    """

    def __init__(self, request_stop: Callable[[], None]) -> None:
        self._request_stop = request_stop
        self._asked = False
        self._orders = 0
        self.hung_up = False

    def listen(self) -> None:
        """Take SIGINT, SIGTERM and, unless it is ignored (nohup), SIGHUP."""
        for name in (signal.SIGINT, signal.SIGTERM):
            signal.signal(name, lambda *_: self.order())
        hang_up = getattr(signal, "SIGHUP", None)
        if hang_up is not None and signal.getsignal(hang_up) is not signal.SIG_IGN:
            signal.signal(hang_up, lambda *_: self.hang_up())

    def order(self) -> None:
        """Somebody asks to stop, perhaps for the second time."""
        self._orders += 1
        if self._orders > 1 or not self._asked:
            self._asked = True
            self._request_stop()

    def hang_up(self) -> None:
        """Drain; never the second request, whatever came before."""
        self.hung_up = True
        if not self._asked:
            self._asked = True
            self._request_stop()


def _watched(daemon: Daemon, *, quiet: bool) -> Summary:
    if quiet:
        return daemon.run()
    from rich.console import Console

    from livedenoise.view.dashboard import Dashboard
    from livedenoise.view.keys import Keys

    console = Console(stderr=True)
    with ExitStack() as stack:
        console.print(f"livedenoise {__version__}: preparing cameras and engine ...", style="dim")
        screen: Screen | None = None
        if console.is_terminal:
            screen = stack.enter_context(Screen(Dashboard(console, keys=Keys())))
        return daemon.run(screen.show if screen else None)


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


def register(verbs: Verbs) -> None:
    """Add ``run`` and ``demo``."""
    run_parser = verbs.add_parser("run", help="capture, denoise and record from a configuration")
    run_parser.add_argument(
        "config", metavar="CONFIG", help="TOML file, or the name of a shipped configuration"
    )
    _add_run_options(run_parser)
    run_parser.set_defaults(verb=run)
    demo_parser = verbs.add_parser("demo", help="the same with a simulated camera, for 30 s")
    _add_run_options(demo_parser)
    demo_parser.set_defaults(verb=demo)


def _add_run_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--seconds", type=positive(float), metavar="S", help="stop after S seconds")
    add("--frames", type=positive(int), metavar="N", help="stop after N frames of each camera")
    add("--out", type=Path, default=Path("runs"), metavar="DIR", help="where run folders are made")
    add("--input", type=Path, metavar="FILE", help="recording to replay (cameras of kind replay)")
    add("--model", metavar="M", help="shipped model or package folder")
    add("--engine", choices=ENGINES, help="which engine serves the model")
    add("--headless", action="store_true", help="no live status")
    add("--detach", action="store_true", help="run in the background; see status, stop and dash")
    add("--json", action="store_true", help="print one JSON object and nothing else on stdout")
