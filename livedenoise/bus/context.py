"""The ZeroMQ context of a process, so that only this package imports zmq."""

from __future__ import annotations

import zmq

Context = zmq.Context[zmq.Socket[bytes]]
"""One for each process; ``term()`` it after its sockets are closed."""


def new_context() -> Context:
    """Return the context for this process's sockets."""
    return zmq.Context()
