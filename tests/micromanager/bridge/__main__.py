"""Start a server: ``python -m bridge --port 0`` prints its port as JSON and takes orders."""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
from typing import TextIO

import zmq

from bridge.acquisition import offer_acquisitions
from bridge.control import Control
from bridge.core import CMMCore
from bridge.faults import Faults
from bridge.live import LiveManager
from bridge.server import Server
from bridge.studio import Studio
from bridge.values import DoubleVector, HashMap, LongVector, StrVector

_PORTS = range(20_000, 32_000, 100)
"""Below the range that systems take ephemeral ports from; a server uses those that follow."""


def main() -> None:
    """Load a core, serve it, obey."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--configuration", default="MMConfig_demo.cfg")
    parser.add_argument("--buffer-mb", type=int, default=64)
    options = parser.parse_args()
    answers = _own_stdout()
    core = CMMCore(options.configuration, options.buffer_mb)
    live = LiveManager(core)
    server, port = _serve(options.port, core, live)
    print(json.dumps({"port": port}), file=answers, flush=True)
    Control(server, core, live).serve(sys.stdin, answers)


def _own_stdout() -> TextIO:
    """Return standard output for ourselves; whatever else prints goes to standard error."""
    ours = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    return ours


def _serve(port: int, core: CMMCore, live: LiveManager) -> tuple[Server, int]:
    ports = [port] if port else random.sample(_PORTS, len(_PORTS))
    for candidate in ports:
        server = Server(candidate, Faults())
        _offer(server, core, live)
        try:
            server.start()
        except zmq.ZMQError:
            continue
        return server, candidate
    raise SystemExit(f"no free port among {ports}")


def _offer(server: Server, core: CMMCore, live: LiveManager) -> None:
    offer_acquisitions(server, core)
    server.offer("mmcorej.CMMCore", lambda: core)
    server.offer("org.micromanager.Studio", lambda: Studio(core, live))
    for made in (StrVector, DoubleVector, LongVector, HashMap):
        server.offer(made.java_name, made, *made.java_constructors)


if __name__ == "__main__":
    main()
