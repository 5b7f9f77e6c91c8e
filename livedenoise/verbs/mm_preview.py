"""``mm-preview``: denoised frames in Micro-Manager's own preview window. Experimental."""

from __future__ import annotations

import argparse
import signal
import sys
import threading
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

    def end(number: int, frame: FrameType | None) -> None:
        del number, frame
        stop.set()

    before = signal.signal(signal.SIGINT, end)
    core = connect_java("127.0.0.1", arguments.port, arguments.timeout)
    try:
        with FrameSubscriber(arguments.frames, stream=arguments.stream) as subscriber:
            if not arguments.json:
                sys.stdout.write(
                    f"{arguments.frames} -> preview of Micro-Manager on port {arguments.port}, "
                    f"at most {arguments.max_hz:g} frames a second; Ctrl-C ends it\n"
                )
            counts = push_forever(subscriber, core, arguments.max_hz, stop)
    finally:
        core.close()
        signal.signal(signal.SIGINT, before)
    if arguments.json:
        print_json(msgspec.to_builtins(counts))
    else:
        sys.stdout.write(
            f"shown {counts.shown}, left out {counts.left_out}, of another size {counts.unfit}\n"
        )
    return 0


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
