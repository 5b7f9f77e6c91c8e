"""``mm-preview``: denoised frames in Micro-Manager's own preview window. Experimental."""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from types import FrameType

import msgspec

from livedenoise.verbs.common import Verbs, positive, print_json

_HELP = "show denoised frames in Micro-Manager's own preview (experimental)"
_DESCRIPTION = (
    "Experimental: never tried with a real Micro-Manager window. Shows what a running daemon "
    "shares ([share] enabled = true) in the preview of a running Micro-Manager on this machine, "
    "over its bridge. The live view there must be off: it draws in the same window."
)


def mm_preview(arguments: argparse.Namespace) -> int:
    """``livedenoise mm-preview [--port P] [--frames ENDPOINT] [--max-hz N]``."""
    from livedenoise.client import FrameSubscriber
    from livedenoise.client.mm_preview import push_forever
    from livedenoise.micromanager.java_core import connect_java

    stop = threading.Event()
    with ExitStack() as steps:
        # Signals are taken once there is a loop that heeds them: until then Ctrl-C ends as always.
        core = connect_java("127.0.0.1", arguments.port, arguments.timeout)
        steps.callback(core.close)
        subscriber = FrameSubscriber(arguments.frames, stream=arguments.stream)
        steps.enter_context(subscriber)
        steps.enter_context(_ended_by_signals(stop))
        if not arguments.json:
            sys.stdout.write(
                f"{arguments.frames} -> preview of Micro-Manager on port {arguments.port}, "
                f"at most {arguments.max_hz:g} frames a second; Ctrl-C ends it\n"
            )
            sys.stdout.flush()
        counts = push_forever(subscriber, core, arguments.max_hz, stop, on_silence=_say)
    if arguments.json:
        print_json(msgspec.to_builtins(counts))
    else:
        sys.stdout.write(
            f"shown {counts.shown}, left out {counts.left_out}, of another size {counts.unfit}\n"
        )
    return 0


def _say(text: str) -> None:
    """Say something that is not the result."""
    sys.stderr.write(f"livedenoise: {text}\n")
    sys.stderr.flush()


@contextmanager
def _ended_by_signals(stop: threading.Event) -> Iterator[None]:
    """Set ``stop`` on Ctrl-C and SIGTERM; afterwards they do what they did before."""

    def end(number: int, frame: FrameType | None) -> None:
        del number, frame
        stop.set()

    before = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def register(verbs: Verbs) -> None:
    """Add ``mm-preview``."""
    parser = verbs.add_parser("mm-preview", help=_HELP, description=_DESCRIPTION)
    add = parser.add_argument
    add("--port", type=int, default=4827, help="of Micro-Manager's ZMQ server (4827)")
    add(
        "--frames",
        default="tcp://127.0.0.1:5581",
        metavar="ENDPOINT",
        help="where the daemon shares its frames (tcp://127.0.0.1:5581)",
    )
    add("--stream", choices=("clean", "raw"), default="clean", help="which frames (clean)")
    add("--max-hz", type=positive(float), default=5.0, help="frames a second at most (5)")
    add("--timeout", type=positive(float), default=5.0, help="longest wait for an answer, s (5)")
    add("--json", action="store_true", help="print one JSON object and nothing else on stdout")
    parser.set_defaults(verb=mm_preview)
